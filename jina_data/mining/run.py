"""Mine hard negatives: read the pairs, embed them, find the closest texts of each anchor, choose, write.

A run stops anywhere and goes on from there: texts, vectors and negatives lie in units, each whole or not at all.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jina_data.embed.load import load_embedder
from jina_data.mining.choose import Chooser, Stock
from jina_data.mining.config import MineConfig
from jina_data.mining.folder import MiningFolder
from jina_data.mining.outputs import Outputs
from jina_data.mining.pairs import Pairs, write_pairs
from jina_data.mining.report import MineReport
from jina_data.mining.store import UNIT_ROWS, Texts, Vectors, embed
from jina_data.progress import Progress, Quiet
from jina_data.run.files import whole_path
from jina_data.run.resume import ResumableRun


def mine(
    config: MineConfig, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> MineReport:
    """Mine negatives into a run folder, or go on with a run that was stopped there; a finished one is left as it is.

    Raises:
        JinaDataError: the inputs, the config, a model or the folder are not as they must be.
    """
    progress = progress or Quiet()
    config.check()
    inputs, corpus = config.files()
    run = ResumableRun(MiningFolder(Path(out)), config.fingerprint(inputs, corpus), progress, overwrite=overwrite)
    if run.is_finished():
        run.report_finished()
    else:
        with run.session():
            if not run.is_complete:
                MineSession(run, config, (inputs, corpus)).run()
            run.finish()
    return MineReport.load(run.folder.path)


class MineSession:
    """One session of a run: the steps that are not done yet."""

    def __init__(self, run: ResumableRun, config: MineConfig, files: Any) -> None:
        self.state, self.config, self.progress, self.events = run, config, run.progress, run.events
        self.folder = MiningFolder(run.folder.path)
        self.inputs, self.corpus = files

    # ---------------------------------------------------------------------------------------------------------- steps

    def run(self) -> None:
        """Do the remaining work."""
        pairs = self._read()
        anchors, corpus = (Texts(self.folder.texts(kind)) for kind in ("anchors", "corpus"))
        vectors, cut = self._embed({"anchors": anchors, "corpus": corpus})
        stock = Stock(pairs, anchors, corpus, vectors["anchors"], vectors["corpus"])
        refused = self._choose(stock)
        with self.events.unit("write"), self.progress.task("writing", len(pairs)) as task:
            outputs = Outputs(self.folder, stock, self.config, [*self.inputs, *self.corpus])
            outputs.write(task)
            report = outputs.report(
                seconds=self.state.seconds(),
                peak_memory_bytes=self.state.peak_memory_bytes(),
                cut=cut,
                refused=refused,
            )
            outputs.write_report(report)
        self.state.mark_complete(outputs.manifest(report, self.state.fingerprint))

    def _read(self) -> Pairs:
        if not self.folder.pairs.exists():
            with self.events.unit("read"):
                write_pairs(
                    self.folder.pairs,
                    self.folder.texts,
                    inputs=self.inputs,
                    corpus=self.corpus,
                    roles=self.config.roles,
                    limit=self.config.limit,
                    message=self.progress.message,
                )
        return Pairs(self.folder.pairs)

    def _embed(self, texts: dict[str, Texts]) -> tuple[dict[str, Vectors], dict[str, int]]:
        embedder = load_embedder(self.config.embedder, self.config.device)
        prompts = {"anchors": self.config.query_prompt, "corpus": self.config.corpus_prompt}
        vectors = {kind: Vectors(self.folder.vectors(kind), embedder.dim) for kind in texts}
        with self.progress.task("embedding", sum(map(len, texts.values()))) as task:
            cut = {
                kind: embed(
                    *(texts[kind], vectors[kind], embedder),
                    prompt=prompts[kind],
                    kind=kind,
                    events=self.events,
                    task=task,
                )
                for kind in texts
            }
        return vectors, cut

    def _choose(self, stock: Stock) -> int:
        """Choose the negatives of all anchors; return how many candidates the cross-encoder refused."""
        scorer = None
        if self.config.cross_encoder is not None:
            from jina_data.embed.cross_encoder import load_pair_scorer

            scorer = load_pair_scorer(self.config.cross_encoder, self.config.device)
        choose, refused = partial(Chooser(stock, self.config, scorer).choose), 0
        with self.progress.task("mining", len(stock.anchors)) as task:
            for unit in range(-(-len(stock.anchors) // UNIT_ROWS)):
                first, stop = unit * UNIT_ROWS, min((unit + 1) * UNIT_ROWS, len(stock.anchors))
                path = self.folder.found / f"part-{unit:06d}.parquet"
                if not path.exists():
                    with self.events.unit(f"mine {unit}"), whole_path(path) as temporary:
                        pq.write_table(choose(first, stop), temporary)
                refused += sum(pq.read_table(path, columns=["cross_refused"]).column(0).to_pylist())
                task.advance(stop - first)
        return refused

"""Runs `mine`: reads the pairs, embeds all texts, chooses negatives among the closest texts, writes the outputs.

A run can be stopped at any time and resumed: vectors and negatives are written in units, and each file appears only
when it is complete.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jina_data.embed.load import load_embedder
from jina_data.embed.prompts import with_prompt
from jina_data.mining.choose import Chooser, MiningData
from jina_data.mining.config import MineConfig
from jina_data.mining.folder import MiningFolder
from jina_data.mining.outputs import MineOutputs
from jina_data.mining.pairs import Pairs, write_pairs
from jina_data.mining.report import MineReport
from jina_data.mining.store import UNIT_ROWS, TextStore, Vectors, embed
from jina_data.progress import Progress, SilentProgress
from jina_data.run.files import atomic_path
from jina_data.run.inputs import RunInputs, check_apart
from jina_data.run.resume import ResumableRun


def mine(
    config: MineConfig, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> MineReport:
    """Mine negatives into a run folder, or resume the run in it; a finished run is not changed.

    Raises:
        JinaDataError: the inputs, the config, a model or the folder cannot be used.
    """
    progress = progress or SilentProgress()
    config.check()
    check_apart([*config.inputs, *config.corpus], Path(out))
    inputs, corpus = config.files()
    run = ResumableRun(MiningFolder(Path(out)), config.fingerprint(inputs, corpus), progress, overwrite=overwrite)
    if run.is_finished():
        run.report_finished()
    else:
        if line := config.prompts_line():
            progress.message(line)
        with run.session():
            if not run.is_complete:
                MineSession(run, config, (inputs, corpus)).run()
            run.finish()
    return MineReport.load(run.folder.path)


class MineSession:
    """A session of a run: does the steps that are not done yet."""

    def __init__(self, run: ResumableRun[MiningFolder], config: MineConfig, files: Any) -> None:
        self.resumable_run, self.config, self.progress, self.events = run, config, run.progress, run.events
        self.folder = run.folder
        self.inputs, self.corpus = files
        self.given = RunInputs.open(config.inputs)
        """The runs among the inputs, whose roles, sources and licences carry over."""

    # ---------------------------------------------------------------------------------------------------------- steps

    def run(self) -> None:
        """Do the remaining work."""
        pairs = self._read()
        anchors, corpus = (TextStore(self.folder.texts(kind)) for kind in ("anchors", "corpus"))
        vectors, cut = self._embed({"anchors": anchors, "corpus": corpus})
        data = MiningData(pairs, anchors, corpus, vectors["anchors"], vectors["corpus"])
        refused = self._choose(data)
        with self.events.unit("write"), self.progress.task("writing", len(pairs)) as task:
            files = [*self.inputs, *self.corpus]
            outputs = MineOutputs(self.folder, data, self.config, files, licenses=self.given.licenses)
            outputs.write(task)
            report = outputs.report(
                seconds=self.resumable_run.seconds(),
                peak_memory_bytes=self.resumable_run.peak_memory_bytes(),
                cut=cut,
                refused=refused,
            )
            outputs.write_report(report)
        self.resumable_run.mark_complete(outputs.manifest(report, self.resumable_run.fingerprint))

    def _read(self) -> Pairs:
        if not self.folder.pairs.exists():
            carried = self.given.roles(self.config.roles)
            for line in self.given.notices(carried):
                self.progress.message(line)
            with self.events.unit("read"):
                write_pairs(
                    self.folder.pairs,
                    self.folder.texts,
                    inputs=self.inputs,
                    corpus=self.corpus,
                    roles={**carried, **self.config.roles},
                    limit=self.config.limit,
                    message=self.progress.message,
                )
        return Pairs(self.folder.pairs)

    def _embed(self, texts: dict[str, TextStore]) -> tuple[dict[str, Vectors], dict[str, int]]:
        """Embed anchors and corpus; return their vectors, and how many texts were truncated, by kind."""
        embedder = load_embedder(self.config.embedder, self.config.device)
        embedders = {
            kind: with_prompt(embedder, prompt)
            for kind, prompt in zip(("anchors", "corpus"), self.config.prompts, strict=True)
        }
        vectors = {kind: Vectors(self.folder.vectors(kind), embedder.dim) for kind in texts}
        with self.progress.task("embedding", sum(map(len, texts.values()))) as task:
            cut = {
                kind: embed(texts[kind], vectors[kind], embedders[kind], kind=kind, events=self.events, task=task)
                for kind in texts
            }
        return vectors, cut

    def _choose(self, data: MiningData) -> int:
        """Choose the negatives of all anchors; return how many candidates the cross-encoder refused."""
        scorer = None
        if self.config.cross_encoder is not None:
            from jina_data.embed.cross_encoder import load_pair_scorer

            scorer = load_pair_scorer(self.config.cross_encoder, self.config.device)
        chooser, refused = Chooser(data, self.config, scorer), 0
        with self.progress.task("mining", len(data.anchors)) as task:
            for unit in range(-(-len(data.anchors) // UNIT_ROWS)):
                start, stop = unit * UNIT_ROWS, min((unit + 1) * UNIT_ROWS, len(data.anchors))
                path = self.folder.negatives(unit)
                if not path.exists():
                    with self.events.unit(f"mine {unit}"), atomic_path(path) as temporary:
                        pq.write_table(chooser.choose(start, stop), temporary)
                refused += sum(pq.read_table(path, columns=["cross_refused"]).column(0).to_pylist())
                task.advance(stop - start)
        return refused

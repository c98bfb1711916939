"""Mine hard negatives: read the pairs, embed them, find the closest texts of each anchor, choose, write.

A run stops anywhere and goes on from there: texts, vectors and negatives lie in units, each whole or not at all.
"""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jina_data.embed.load import load_embedder
from jina_data.errors import JinaDataError, RunFolderError, StoppedError
from jina_data.mining.choose import Chooser, Stock
from jina_data.mining.config import MineSettings, differences
from jina_data.mining.folder import MiningFolder
from jina_data.mining.outputs import Outputs
from jina_data.mining.pairs import Pairs, write_pairs
from jina_data.mining.report import MineReport
from jina_data.mining.store import UNIT_ROWS, Texts, Vectors, embed
from jina_data.progress import Progress, Quiet
from jina_data.run.events import Events
from jina_data.run.files import remove, resource_errors, whole_path, write_json
from jina_data.run.folder import check_folder
from jina_data.run.memory import MemoryWatch
from jina_data.run.resume import fingerprint_hash


def mine(
    settings: MineSettings, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> MineReport:
    """Mine negatives into a run folder, or go on with a run that was stopped there; a finished one is left as it is.

    Raises:
        JinaDataError: the inputs, the settings, a model or the folder are not as they must be.
    """
    progress = progress or Quiet()
    settings.check()
    inputs, corpus = settings.files()
    folder = MiningFolder(Path(out))
    check_folder(folder, overwrite=overwrite)
    fingerprint: dict[str, Any] = json.loads(json.dumps(settings.fingerprint(inputs, corpus)))
    if folder.is_finished and not overwrite:
        return _finished(folder, fingerprint, progress)
    with folder.locked(), resource_errors(folder.path):
        return MineRun(folder, settings, progress, (inputs, corpus)).go(fingerprint, overwrite=overwrite)


def _finished(folder: MiningFolder, fingerprint: dict[str, Any], progress: Progress) -> MineReport:
    manifest = folder.read_json(folder.manifest)
    if manifest["fingerprint_sha256"] != fingerprint_hash(fingerprint):
        what = differences(manifest["fingerprint"], fingerprint)
        raise RunFolderError(
            f"{folder.path} holds a finished run with {what}. Name another folder, or replace it with --overwrite"
        )
    remove(folder.path / ".trash")  # a kill may have left it
    progress.say(f"{folder.path} is finished: same inputs, same settings; nothing to do")
    return MineReport.load(folder.path)


class MineRun:
    """One session of a run, from its start or from where the last session stopped."""

    def __init__(self, folder: MiningFolder, settings: MineSettings, progress: Progress, files: Any) -> None:
        self.folder, self.settings, self.progress = folder, settings, progress
        self.inputs, self.corpus = files
        self.events = Events(folder.events)

    def go(self, fingerprint: dict[str, Any], *, overwrite: bool) -> MineReport:
        """Do what is left to do."""
        self._start(fingerprint, overwrite=overwrite)
        started, watch = time.perf_counter(), MemoryWatch()
        try:
            with watch:
                if not self._complete.exists():
                    self._work(fingerprint, watch, started)
                return self._finish()
        except KeyboardInterrupt:
            raise StoppedError(
                f"stopped. Give the same command again: the run in {self.folder.path} goes on where it stopped"
            ) from None
        finally:
            if self.events.path.exists():
                seconds = round(time.perf_counter() - started, 3)
                self.events.write("session", seconds=seconds, peak_memory_bytes=watch.peak_bytes)

    @property
    def _complete(self) -> Path:
        """Says that every output is written; what is left is to move them into place."""
        return self.folder.work / "complete.json"

    def _start(self, fingerprint: dict[str, Any], *, overwrite: bool) -> None:
        """Begin, or make sure that what was begun here is the same run."""
        record = self.folder.work / "run.json"
        for half in self.folder.work.glob(".*.tmp"):
            remove(half)
        if overwrite and (self.folder.manifest.exists() or record.exists()):
            self.folder.clear()
        if record.exists():
            begun = self.folder.read_json(record)
            if begun != fingerprint:
                raise RunFolderError(
                    f"{self.folder.path} holds an unfinished run with {differences(begun, fingerprint)}. "
                    "Name another folder, or start anew with --overwrite"
                )
            self.progress.say(f"going on with the run in {self.folder.path}")
            self.events.mend()
            self.events.write("resume")
            return
        self.folder.clear()
        self.events.write("start")
        write_json(record, fingerprint)

    # ---------------------------------------------------------------------------------------------------------- steps

    def _work(self, fingerprint: dict[str, Any], watch: MemoryWatch, started: float) -> None:
        pairs = self._read()
        anchors, corpus = (Texts(self.folder.texts(kind)) for kind in ("anchors", "corpus"))
        vectors, cut = self._embed({"anchors": anchors, "corpus": corpus})
        stock = Stock(pairs, anchors, corpus, vectors["anchors"], vectors["corpus"])
        refused = self._choose(stock)
        sessions = [event for event in self.events.read() if event["event"] == "session"]
        with self.events.unit("write"), self.progress.task("writing", len(pairs)) as task:
            outputs = Outputs(self.folder, stock, self.settings, [*self.inputs, *self.corpus])
            outputs.write(task)
            report = outputs.report(
                seconds=sum(event["seconds"] for event in sessions) + time.perf_counter() - started,
                peak_memory_bytes=max([watch.peak_bytes, *(event["peak_memory_bytes"] for event in sessions)]),
                cut=cut,
                refused=refused,
            )
            outputs.write_report(report)
        write_json(self._complete, outputs.manifest(report, fingerprint))

    def _read(self) -> Pairs:
        if not self.folder.pairs.exists():
            try:
                with self.events.unit("read"):
                    write_pairs(
                        self.folder.pairs,
                        self.folder.texts,
                        inputs=self.inputs,
                        corpus=self.corpus,
                        roles=self.settings.roles,
                        limit=self.settings.limit,
                        say=self.progress.say,
                    )
            except JinaDataError:
                self.folder.clear()  # there is nothing to go on with, so the next call may have other settings
                raise
        return Pairs(self.folder.pairs)

    def _embed(self, texts: dict[str, Texts]) -> tuple[dict[str, Vectors], dict[str, int]]:
        embedder = load_embedder(self.settings.embedder, self.settings.device)
        prompts = {"anchors": self.settings.query_prompt, "corpus": self.settings.corpus_prompt}
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
        if self.settings.cross_encoder is not None:
            from jina_data.embed.cross_encoder import load_pair_scorer

            scorer = load_pair_scorer(self.settings.cross_encoder, self.settings.device)
        choose, refused = partial(Chooser(stock, self.settings, scorer).choose), 0
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

    def _finish(self) -> MineReport:
        """Move the outputs into place; the manifest comes last and says that the run is whole."""
        for name in self.folder.outputs:
            if (self.folder.out / name).exists():
                remove(self.folder.path / name)
                (self.folder.out / name).replace(self.folder.path / name)
        write_json(self.folder.manifest, self.folder.read_json(self._complete))
        self.events.write("done")
        self.folder.discard_work()
        return MineReport.load(self.folder.path)

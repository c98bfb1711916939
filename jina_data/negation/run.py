"""Write negatives for the pairs of some sources: ask, check, ask again with the reason, write, account for every pair.

A run stops anywhere and goes on from there: pairs, answers and rounds each lie in a file, whole or not at all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jina_data.errors import InputError, RunFolderError, StoppedError, UsageError
from jina_data.llm.request_ledger import RequestLedger
from jina_data.negation.config import NegateOptions, NegateSettings, differences
from jina_data.negation.folder import NegationFolder
from jina_data.negation.outputs import Outputs
from jina_data.negation.pairs import Answer, Judge
from jina_data.negation.report import NegateReport
from jina_data.negation.requester import Asking, check_money
from jina_data.negation.rounds import Rounds
from jina_data.negation.rules import RuleGenerator
from jina_data.negation.sources import COUNTS, PAIR_SCHEMA, write_pairs
from jina_data.negation.verify import Seen, Verifier
from jina_data.progress import Progress, Quiet
from jina_data.run.events import Events
from jina_data.run.files import remove, resource_errors, whole_path, write_json
from jina_data.run.folder import check_folder
from jina_data.run.memory import MemoryWatch
from jina_data.run.resume import fingerprint_hash


def negate(
    settings: NegateSettings,
    out: str | Path,
    *,
    options: NegateOptions | None = None,
    progress: Progress | None = None,
) -> NegateReport:
    """Write negatives into a run folder, or go on with a run that was stopped there.

    A run that ended with pairs unanswered goes on with those; one that ended without is left as it is.

    Raises:
        JinaDataError: the sources, the settings, the server or the folder are not as they must be.
    """
    options, progress = options or NegateOptions(), progress or Quiet()
    settings.check()
    folder = NegationFolder(Path(out))
    check_folder(folder, overwrite=options.overwrite)
    check_money(settings, options)
    fingerprint = settings.fingerprint()
    if folder.is_finished and not options.overwrite:
        report = _finished(folder, fingerprint)
        if not report.pairs.unanswered:
            progress.say(f"{folder.path} is finished: same sources, same settings; nothing to do")
            return report
        progress.say(f"going on with the {report.pairs.unanswered:,} pairs that have no answer")
    with folder.locked(), resource_errors(folder.path):
        return NegateRun(folder, settings, options, progress).go(fingerprint)


def _finished(folder: NegationFolder, fingerprint: dict[str, Any]) -> NegateReport:
    manifest = folder.read_json(folder.manifest)
    if manifest["fingerprint_sha256"] != fingerprint_hash(fingerprint):
        what = differences(manifest["fingerprint"], fingerprint)
        raise RunFolderError(
            f"{folder.path} holds a finished run with {what}. Name another folder, or replace it with --overwrite"
        )
    remove(folder.path / ".trash")  # a kill may have left it
    return NegateReport.load(folder.path)


class NegateRun:
    """One session of a run, from its start or from where the last session stopped."""

    def __init__(
        self, folder: NegationFolder, settings: NegateSettings, options: NegateOptions, progress: Progress
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.options = options
        self.progress = progress
        self.events = Events(folder.events)
        self.rounds = Rounds(folder)
        self.rules = RuleGenerator()
        self.stopped: str | None = None

    def go(self, fingerprint: dict[str, Any]) -> NegateReport:
        """Do what is left to do."""
        self._start(fingerprint)
        started = time.perf_counter()
        watch = MemoryWatch()
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

    def _start(self, fingerprint: dict[str, Any]) -> None:
        """Begin, or make sure that what was begun here is the same run."""
        record = self.folder.work / "run.json"
        if self.options.overwrite and (self.folder.manifest.exists() or record.exists()):
            self.folder.clear()
        self.folder.discard_scratch()
        if record.exists():
            begun = self.folder.read_json(record)
            if begun != json.loads(json.dumps(fingerprint)):
                raise RunFolderError(
                    f"{self.folder.path} holds an unfinished run with {differences(begun, fingerprint)}. "
                    "Name another folder, or start anew with --overwrite"
                )
            self.progress.say(f"going on with the run in {self.folder.path}")
            self.events.mend()
            self.events.write("resume")
            return
        if self.folder.manifest.exists():
            self.folder.clear_work()  # what is there stays until the new outputs replace it
            self.events.write("resume")
        else:
            self.folder.clear()
            self.events.write("start")
        write_json(record, fingerprint)

    # ---------------------------------------------------------------------------------------------------------- steps

    def _work(self, fingerprint: dict[str, Any], watch: MemoryWatch, started: float) -> None:
        self._make_pairs()
        if self.settings.generator == "rules":
            self._round(self._rule_answers)
            self._write(fingerprint, watch, started, None)
            return
        with RequestLedger(self.folder.ledger) as ledger:
            ledger.recover()
            if self.options.mode == "online" and (batches := ledger.open_batches()):
                raise UsageError(
                    f"{len(batches)} batches of this run are under way; go on with --mode batch until they have ended"
                )
            asking = Asking(ledger, self.folder, self.settings, self.options, self.progress)
            while self._is_another():
                self._ask(asking)
                judge = asking.judge()
                self._round(lambda: asking.answers(self.rounds, self.stopped), judge)
                ledger.recover()
                self._stop(judge.stopped if judge is not None else None)
            self._write(fingerprint, watch, started, asking)

    def _make_pairs(self) -> None:
        settings = self.settings
        if not self.folder.pairs.exists():
            with self.events.unit("pairs") as said:
                counts = write_pairs(
                    settings.sources,
                    self.folder.pairs,
                    seed=settings.seed,
                    limit=settings.limit,
                    test_fraction=settings.test_fraction,
                    mix=settings.shares,
                    restate=settings.restate,
                    progress=self.progress,
                )
                said["rows"] = sum(counts.pairs.values())
        if settings.recipe is not None and not self.folder.clean_pairs.exists():
            with self.events.unit("clean"):
                clean_pairs(self.folder, settings.recipe, settings.seed, self.progress)

    def _is_another(self) -> bool:
        """Tell whether there is a round to ask: the first, or one for what was rejected, while money lasts."""
        number = self.rounds.number
        if self.stopped is not None or number > self.settings.retries:
            return False
        return number == 0 or next(self.rounds.questions(1), None) is not None

    def _ask(self, asking: Asking) -> None:
        """Ask the questions of the next round that have no answer yet."""
        number = self.rounds.number
        with self.events.unit(f"ask {number}") as said, self.progress.task(_round_name("asking", number), None) as task:
            outcome = asking.ask(self.rounds, task.advance)
            said.update(rows=outcome.answered, failed=outcome.failed, known=outcome.known, stopped=outcome.stopped)
        asking.ledger.recover()
        if outcome.stopped == "batches":
            raise StoppedError(
                "batches are under way. Give the same command again to fetch their results, from here or another "
                "process; without --no-wait it waits for them"
            )
        self._stop(outcome.stopped)

    def _stop(self, why: str | None) -> None:
        """Take down that nothing more is asked, and say so."""
        if why == "max_cost" and self.stopped is None:
            self.progress.say("stopped before --max-cost would be exceeded; the rest stays unanswered")
        self.stopped = self.stopped or why

    # -------------------------------------------------------------------------------------------------------- answers

    def _round(self, answers: Any, judge: Judge | None = None) -> None:
        """Check the answers of the next round, unless that was done."""
        number = self.rounds.number
        if self.settings.generator == "rules" and number:
            return
        seen = Seen(self.folder.accepted_texts)
        try:
            with self.events.unit(f"check {number}"), self.progress.task(_round_name("checking", number), None) as task:
                verifier = Verifier(self.settings.verify, seen=seen, nli=self._nli(), judge=judge)
                self.rounds.write(_counted(answers(), task.advance), verifier)
        finally:
            seen.close()

    def _nli(self) -> Judge | None:
        if self.settings.nli is None:
            return None
        from jina_data.negation.nli import load_nli_judge

        return load_nli_judge(self.settings.nli)

    def _rule_answers(self) -> Iterator[tuple[int, Answer]]:
        for question in self.rounds.questions(1):
            yield question.places[0], self.rules.generate(question.pairs[0])

    def _write(self, fingerprint: dict[str, Any], watch: MemoryWatch, started: float, asking: Asking | None) -> None:
        """Write all outputs, and mark them as complete."""
        requests, judged = (None, None) if asking is None else (asking.requests(), asking.judged())
        sessions = [event for event in self.events.read() if event["event"] == "session"]
        with self.events.unit("write"), self.progress.task("writing", None) as task:
            outputs = Outputs(self.folder, fingerprint, self.settings)
            outputs.write_pairs(self.rounds, task.advance)
            report = outputs.write_report(
                requests,
                judged,
                seconds=sum(event["seconds"] for event in sessions) + time.perf_counter() - started,
                peak_memory_bytes=max([watch.peak_bytes, *(event["peak_memory_bytes"] for event in sessions)]),
            )
        write_json(self._complete, outputs.manifest(report))

    def _finish(self) -> NegateReport:
        """Move the outputs into place; the manifest comes last and says that the run is whole."""
        for name in self.folder.outputs:
            if (self.folder.out / name).exists():
                remove(self.folder.path / name)
                (self.folder.out / name).replace(self.folder.path / name)
        write_json(self.folder.manifest, self.folder.read_json(self._complete))
        self.events.write("done")
        self.folder.discard_work()
        return NegateReport.load(self.folder.path)


def _counted(answers: Iterator[Any], advance: Any) -> Iterator[Any]:
    number = 0
    for answer in answers:
        yield answer
        number += 1
        if number % 1000 == 0:
            advance(1000)
    advance(number % 1000)


def _round_name(word: str, number: int) -> str:
    return word if number == 0 else f"{word} again ({number})"


def clean_pairs(folder: NegationFolder, recipe: str, seed: int, progress: Progress) -> None:
    """Run a recipe over the pairs; the anchor is its anchor, the entailment its positive.

    Raises:
        JinaDataError: the recipe does not fit, or leaves nothing.
    """
    from jina_data.clean.run import RecipeChoice, RunOptions, clean, default_workers

    inner = folder.work / "clean"
    report = clean(
        RecipeChoice(recipe, seed=seed),
        [str(folder.pairs)],
        inner,
        columns={"anchor": ("anchor",), "positive": ("entailment",), "source": ("source",)},
        options=RunOptions(workers=default_workers([str(folder.pairs)])),
        progress=progress,
    )
    if not report.rows.kept:
        raise InputError(f"the recipe {recipe} drops all {report.rows.read:,} pairs; choose a milder one with --recipe")
    rows = report.to_json()["rows"]
    stages = [{"name": stage.name, "dropped": dict(stage.dropped)} for stage in report.stages]
    write_json(folder.cleaned, {"recipe": recipe, "rows": rows, "stages": stages})
    said = pq.read_metadata(folder.pairs).metadata[COUNTS]
    with whole_path(folder.clean_pairs) as temporary, pq.ParquetWriter(temporary, PAIR_SCHEMA) as sink:
        sink.add_key_value_metadata({COUNTS: said})
        for part in sorted((inner / "data").glob("part-*.parquet")):
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(4096, columns=PAIR_SCHEMA.names):
                    sink.write_batch(batch.cast(PAIR_SCHEMA))

"""Write negatives for the pairs of some sources: ask, check, ask again with the reason, write, account for every pair.

A run stops anywhere and goes on from there: pairs, answers and rounds each lie in a file, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jina_data.errors import InputError, StoppedError, UsageError
from jina_data.llm.request_ledger import RequestLedger
from jina_data.negation.config import NegateConfig
from jina_data.negation.folder import NegationFolder
from jina_data.negation.outputs import Outputs
from jina_data.negation.pairs import Answer, Judge
from jina_data.negation.report import NegateReport
from jina_data.negation.requester import Requester, check_cost
from jina_data.negation.rounds import Rounds
from jina_data.negation.rules import RuleGenerator
from jina_data.negation.sources import COUNTS, PAIR_SCHEMA, write_pairs
from jina_data.negation.verify import AcceptedTexts, Verifier
from jina_data.progress import Progress, Quiet
from jina_data.run.files import whole_path, write_json
from jina_data.run.resume import ResumableRun


def negate(
    config: NegateConfig, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> NegateReport:
    """Write negatives into a run folder, or go on with a run that was stopped there.

    A run that ended with pairs unanswered goes on with those; one that ended without is left as it is.

    Raises:
        JinaDataError: the sources, the settings, the server or the folder are not as they must be.
    """
    progress = progress or Quiet()
    config.check()
    folder = NegationFolder(Path(out))
    run = ResumableRun(folder, config.fingerprint(), progress, overwrite=overwrite)
    check_cost(config)
    if run.is_finished():
        report = NegateReport.load(folder.path)
        if not report.pairs.unanswered:
            run.report_finished()
            return report
        progress.message(f"resuming with the {report.pairs.unanswered:,} pairs that have no answer")
    with run.session():
        if not run.is_complete:
            NegateSession(run, config).run()
        run.finish()
    return NegateReport.load(folder.path)


class NegateSession:
    """One session of a run: the steps that are not done yet."""

    def __init__(self, run: ResumableRun, config: NegateConfig) -> None:
        self.state = run
        self.folder = NegationFolder(run.folder.path)
        self.config = config
        self.progress = run.progress
        self.events = run.events
        self.rounds = Rounds(self.folder)
        self.rules = RuleGenerator()
        self.stopped: str | None = None

    # ---------------------------------------------------------------------------------------------------------- steps

    def run(self) -> None:
        """Do the remaining work."""
        self._make_pairs()
        if self.config.generator == "rules":
            self._round(self._rule_answers)
            self._write(None)
            return
        with RequestLedger(self.folder.ledger) as ledger:
            ledger.recover()
            if self.config.requests.mode == "online" and (batches := ledger.open_batches()):
                raise UsageError(
                    f"{len(batches)} batches of this run are under way; go on with --mode batch until they have ended"
                )
            asking = Requester(ledger, self.folder, self.config, self.progress)
            while self._is_another():
                self._ask(asking)
                judge = asking.judge()
                self._round(lambda: asking.answers(self.rounds, self.stopped), judge)
                ledger.recover()
                self._stop(judge.stopped if judge is not None else None)
            self._write(asking)

    def _make_pairs(self) -> None:
        config = self.config
        if not self.folder.pairs.exists():
            with self.events.unit("pairs") as said:
                counts = write_pairs(
                    config.sources,
                    self.folder.pairs,
                    seed=config.seed,
                    limit=config.limit,
                    test_fraction=config.test_fraction,
                    mix=config.shares,
                    restate=config.restate,
                    progress=self.progress,
                )
                said["rows"] = sum(counts.pairs.values())
        if config.recipe is not None and not self.folder.clean_pairs.exists():
            with self.events.unit("clean"):
                clean_pairs(self.folder, config.recipe, config.seed, self.progress)

    def _is_another(self) -> bool:
        """Tell whether there is a round to ask: the first, or one for what was rejected, while money lasts."""
        number = self.rounds.number
        if self.stopped is not None or number > self.config.retries:
            return False
        return number == 0 or next(self.rounds.questions(1), None) is not None

    def _ask(self, asking: Requester) -> None:
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
            self.progress.message("stopped before --max-cost would be exceeded; the rest stays unanswered")
        self.stopped = self.stopped or why

    # -------------------------------------------------------------------------------------------------------- answers

    def _round(self, answers: Any, judge: Judge | None = None) -> None:
        """Check the answers of the next round, unless that was done."""
        number = self.rounds.number
        if self.config.generator == "rules" and number:
            return
        seen = AcceptedTexts(self.folder.accepted_texts)
        try:
            with self.events.unit(f"check {number}"), self.progress.task(_round_name("checking", number), None) as task:
                verifier = Verifier(self.config.verify, seen=seen, nli=self._nli(), judge=judge)
                self.rounds.write(_counted(answers(), task.advance), verifier)
        finally:
            seen.close()

    def _nli(self) -> Judge | None:
        if self.config.nli is None:
            return None
        from jina_data.negation.nli import load_nli_judge

        return load_nli_judge(self.config.nli)

    def _rule_answers(self) -> Iterator[tuple[int, Answer]]:
        for question in self.rounds.questions(1):
            yield question.places[0], self.rules.generate(question.pairs[0])

    def _write(self, asking: Requester | None) -> None:
        """Write all outputs, and mark them as complete."""
        requests, judged = (None, None) if asking is None else (asking.requests(), asking.judged())
        with self.events.unit("write"), self.progress.task("writing", None) as task:
            outputs = Outputs(self.folder, self.state.fingerprint, self.config)
            outputs.write_pairs(self.rounds, task.advance)
            report = outputs.write_report(
                requests,
                judged,
                seconds=self.state.seconds(),
                peak_memory_bytes=self.state.peak_memory_bytes(),
            )
        self.state.mark_complete(outputs.manifest(report))


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
    from jina_data.clean.run import CleanConfig, RecipeChoice, clean, default_workers

    inner = folder.work / "clean"
    report = clean(
        CleanConfig(
            recipe=RecipeChoice(recipe, seed=seed),
            inputs=[str(folder.pairs)],
            columns={"anchor": ("anchor",), "positive": ("entailment",), "source": ("source",)},
            workers=default_workers([str(folder.pairs)]),
        ),
        inner,
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

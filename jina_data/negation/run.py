"""Writes negatives for the pairs of sources: request, check, request again with the reason, write the dataset.

A run can stop at any point and resume there: pairs, answers and rounds are in files that are complete or absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jina_data.errors import InputError, StoppedError, UsageError
from jina_data.llm.patience import FIRST_ANSWERS
from jina_data.llm.request_ledger import RequestLedger
from jina_data.negation.config import NegateConfig
from jina_data.negation.folder import NegationFolder
from jina_data.negation.outputs import NegateOutputs
from jina_data.negation.pairs import Answer, Judge
from jina_data.negation.report import NegateReport
from jina_data.negation.requester import Requester, check_cost
from jina_data.negation.rounds import Rounds
from jina_data.negation.rules import RuleGenerator
from jina_data.negation.sources import COUNTS, PAIR_SCHEMA, write_pairs
from jina_data.negation.verify import AcceptedTexts, Verifier
from jina_data.progress import Progress, SilentProgress
from jina_data.run.files import atomic_path, write_json
from jina_data.run.resume import ResumableRun


def negate(
    config: NegateConfig, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> NegateReport:
    """Write negatives into a run folder, or resume the run in it.

    A finished run with unanswered pairs resumes with those; a finished run without them is not changed.

    Raises:
        JinaDataError: the sources, the settings, the server or the folder are not valid.
    """
    progress = progress or SilentProgress()
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
    """One session of a run, which does the steps that are not done yet."""

    def __init__(self, run: ResumableRun[NegationFolder], config: NegateConfig) -> None:
        self.resumable_run = run
        self.folder = run.folder
        self.config = config
        self.progress = run.progress
        self.events = run.events
        self.rounds = Rounds(self.folder)
        self.rules = RuleGenerator()
        self.stopped: str | None = None
        """Why no more requests are sent: max_cost or unusable."""
        self.advice = ""

    # ---------------------------------------------------------------------------------------------------------- steps

    def run(self) -> None:
        """Do all remaining steps.

        Each round sends its questions, checks the answers and writes the file of the round. Rounds repeat until no pair
        is rejected, the maximum number of retries is reached, or the cost limit stops the run.
        """
        self._make_pairs()
        if self.config.generator == "rules":
            self._finish_round(self._rule_answers)
            self._write(None)
            return
        with RequestLedger(self.folder.ledger) as ledger:
            ledger.recover()
            if self.config.requests.mode == "online" and (batches := ledger.open_batches()):
                raise UsageError(
                    f"{len(batches)} batches of this run are in progress; resume with --mode batch until they end"
                )
            requester = Requester(ledger, self.folder, self.config, self.progress)
            while self._has_next_round():
                self._send_questions(requester)
                judge = requester.make_judge()
                self._finish_round(lambda: requester.answers(self.rounds, self.stopped), judge)
                ledger.recover()
                self._stop_if_unusable(requester)
                if judge is not None:
                    self._stop(judge.stopped, judge.advice)
            self._write(requester)

    def _make_pairs(self) -> None:
        config = self.config
        if not self.folder.pairs.exists():
            with self.events.unit("pairs") as metrics:
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
                metrics["rows"] = sum(counts.pairs.values())
        if config.recipe is not None and not self.folder.clean_pairs.exists():
            with self.events.unit("clean"):
                clean_pairs(self.folder, config.recipe, config.seed, self.progress)

    def _has_next_round(self) -> bool:
        """Return whether there is a next round: the first, or a retry of rejected pairs within the limits."""
        number = self.rounds.number
        if self.stopped is not None or number > self.config.retries:
            return False
        return number == 0 or next(self.rounds.questions(1), None) is not None

    def _send_questions(self, requester: Requester) -> None:
        """Send the questions of the next round that have no answer yet."""
        number = self.rounds.number
        with (
            self.events.unit(f"ask {number}") as metrics,
            self.progress.task(_round_name("asking", number), None) as task,
        ):
            outcome = requester.ask(self.rounds, task.advance)
            metrics.update(
                rows=outcome.answered, failed=outcome.failed, known=outcome.already_answered, stopped=outcome.stopped
            )
        requester.ledger.recover()
        if outcome.stopped == "batches":
            raise StoppedError(
                "batches are in progress. Run the same command again to fetch their results, in this or another "
                "process; without --no-wait it waits for them"
            )
        self._stop(outcome.stopped, outcome.advice)

    def _stop(self, reason: str | None, advice: str = "") -> None:
        """Record why no more requests are sent, and report it; None changes nothing."""
        if reason is None or self.stopped is not None:
            return
        self.stopped, self.advice = reason, advice
        if reason == "max_cost":
            self.progress.message("stopped before --max-cost would be exceeded; the remaining pairs have no answer")

    def _stop_if_unusable(self, requester: Requester) -> None:
        """Do not ask again if nearly no answer of the first round can be used, since that would cost the same again."""
        if self.rounds.number == 1 and self.stopped is None:
            watch = self.rounds.watch_answers(0)
            if watch.n_answers >= FIRST_ANSWERS and watch.is_mostly_unusable:
                self._stop("unusable", requester.advice(watch))

    def _advice(self, requester: Requester) -> str:
        """Return what to do if nearly no answer can be used, in the first round and in the last; else nothing."""
        watches = [self.rounds.watch_answers(number) for number in {0, self.rounds.number - 1}]
        return requester.advice(watches[-1]) if all(watch.is_mostly_unusable for watch in watches) else ""

    # -------------------------------------------------------------------------------------------------------- answers

    def _finish_round(self, answers: Any, judge: Judge | None = None) -> None:
        """Check the answers of the next round and write its file. Rules have one round only."""
        number = self.rounds.number
        if self.config.generator == "rules" and number:
            return
        accepted = AcceptedTexts(self.folder.accepted_texts)
        try:
            with self.events.unit(f"check {number}"), self.progress.task(_round_name("checking", number), None) as task:
                verifier = Verifier(self.config.verify, accepted=accepted, nli=self._nli(), judge=judge)
                self.rounds.write(_with_progress(answers(), task.advance), verifier)
        finally:
            accepted.close()

    def _nli(self) -> Judge | None:
        if self.config.nli is None:
            return None
        from jina_data.negation.nli import load_nli_judge

        return load_nli_judge(self.config.nli)

    def _rule_answers(self) -> Iterator[tuple[int, Answer]]:
        for question in self.rounds.questions(1):
            yield question.positions[0], self.rules.generate(question.pairs[0])

    def _write(self, requester: Requester | None) -> None:
        """Write all outputs, and mark them as complete."""
        requests, judge = (None, None) if requester is None else (requester.writer_account(), requester.judge_account())
        advice = self.advice or ("" if requester is None else self._advice(requester))
        with self.events.unit("write"), self.progress.task("writing", None) as task:
            outputs = NegateOutputs(self.folder, self.resumable_run.fingerprint, self.config)
            outputs.write_pairs(self.rounds, task.advance)
            report = outputs.write_report(
                requests,
                judge,
                stopped=self.stopped,
                advice=advice or None,
                seconds=self.resumable_run.seconds(),
                peak_memory_bytes=self.resumable_run.peak_memory_bytes(),
            )
        self.resumable_run.mark_complete(outputs.manifest(report))


def _with_progress(answers: Iterator[Any], advance: Any) -> Iterator[Any]:
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
    """Clean the pairs with a recipe. The anchor has the role anchor, the entailment the role positive.

    Raises:
        JinaDataError: the recipe is not valid for pairs, or it drops all of them.
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
        raise InputError(
            f"the recipe {recipe} drops all {report.rows.read:,} pairs; choose a less strict one with --recipe"
        )
    rows = report.to_json()["rows"]
    stages = [{"name": stage.name, "dropped": dict(stage.dropped)} for stage in report.stages]
    write_json(folder.cleaned, {"recipe": recipe, "rows": rows, "stages": stages})
    counts = pq.read_metadata(folder.pairs).metadata[COUNTS]
    with atomic_path(folder.clean_pairs) as temporary, pq.ParquetWriter(temporary, PAIR_SCHEMA) as sink:
        sink.add_key_value_metadata({COUNTS: counts})
        for part in sorted((inner / "data").glob("part-*.parquet")):
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(4096, columns=PAIR_SCHEMA.names):
                    sink.write_batch(batch.cast(PAIR_SCHEMA))

"""Provides the rounds of a run: all pairs in the first, then the rejected ones with the reason; one file for each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.llm.patience import ADVICE, AnswerWatch
from jina_data.negation.folder import NegationFolder
from jina_data.negation.pairs import Answer, Pair
from jina_data.negation.prompt import Question, Rejection
from jina_data.negation.sources import read_pairs
from jina_data.negation.verify import NOT_JUDGED, Verifier
from jina_data.run.files import atomic_path

State = Literal["accepted", "rejected", "unanswered"]

BATCH_ROWS = 512

ROUND_SCHEMA = pa.schema(
    [
        ("place", pa.int64()),
        *((name, pa.string()) for name in ("state", "negative", "raw", "finish_reason", "refusal", "model")),
        *((name, pa.string()) for name in ("prompt_hash", "reason", "detail", "kind")),
        ("flags", pa.list_(pa.string())),
        ("scores", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The result of a pair in one round. `reason` and `detail` explain a rejection or a missing answer."""

    place: int
    """The position of the pair in the file of pairs."""
    state: State
    negative: str | None = None
    raw: str | None = None
    finish_reason: str | None = None
    refusal: str | None = None
    model: str | None = None
    prompt_hash: str | None = None
    reason: str | None = None
    detail: str = ""
    kind: str | None = None
    flags: Sequence[str] = ()
    scores: str = "{}"


@dataclass(frozen=True, slots=True)
class MissingAnswer:
    """Why a pair has no answer."""

    reason: str
    detail: str


class Rounds:
    """The rounds of a run over the pairs of a file. All data is streamed: memory does not grow with the pairs."""

    def __init__(self, folder: NegationFolder) -> None:
        self.folder = folder

    @property
    def number(self) -> int:
        """The number of finished rounds, which is also the number of the next round."""
        number = 0
        while self.folder.round(number).exists():
            number += 1
        return number

    def walk(self, pairs: Iterable[Pair]) -> Iterator[tuple[int, Pair, list[Attempt]]]:
        """Yield every pair with its position and its attempts in the finished rounds."""
        # The files of rounds are in the order of the pairs, so one pass over all of them is enough.
        readers = [_RoundReader(_rows(self.folder, number)) for number in range(self.number)]
        for position, pair in enumerate(pairs):
            yield position, pair, [row for reader in readers if (row := reader.take(position)) is not None]

    def questions(self, pairs_per_question: int) -> Iterator[Question]:
        """Yield the questions of the next round: all pairs in the first, then the pairs that were rejected last."""
        open_pairs = (
            (position, pair, tuple(_rejection(attempt) for attempt in history))
            for position, pair, history in self.walk(read_pairs(pairs_of(self.folder)))
            if len(history) == self.number and (not history or history[-1].state == "rejected")
        )
        while group := list(islice(open_pairs, pairs_per_question)):
            yield Question(*(tuple(column) for column in zip(*group, strict=True)))

    def watch_answers(self, number: int) -> AnswerWatch:
        """Return the counts of the answers of a finished round that have no usable negative."""
        watch = AnswerWatch()
        for attempt in _rows(self.folder, number):
            if attempt.state != "unanswered":
                watch.add(attempt.reason if attempt.reason in ADVICE else None, attempt.raw)
        return watch

    def write(self, answers: Iterable[tuple[int, Answer | MissingAnswer]], verifier: Verifier) -> None:
        """Finish the next round: check its answers, in the order of the pairs, and write the file of the round."""
        source = iter(answers)
        path = self.folder.round(self.number)
        with atomic_path(path) as temporary, pq.ParquetWriter(temporary, ROUND_SCHEMA, compression="zstd") as sink:
            while group := list(islice(source, BATCH_ROWS)):
                rows = [asdict(row) for row in _checked(group, verifier)]
                sink.write_table(pa.Table.from_pylist(rows, ROUND_SCHEMA))


def pairs_of(folder: NegationFolder) -> Path:
    """Return the file of pairs of the run: the cleaned one if the run has a recipe."""
    return folder.clean_pairs if folder.clean_pairs.exists() else folder.pairs


class _RoundReader:
    """Returns the rows of a round by position; positions must be requested in increasing order."""

    def __init__(self, rows: Iterator[Attempt]) -> None:
        self.rows = rows
        self.next = next(rows, None)

    def take(self, position: int) -> Attempt | None:
        if self.next is None or self.next.place != position:
            return None
        attempt, self.next = self.next, next(self.rows, None)
        return attempt


def _rows(folder: NegationFolder, number: int) -> Iterator[Attempt]:
    names = [column.name for column in fields(Attempt)]
    with pq.ParquetFile(folder.round(number)) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            for row in batch.to_pylist():
                yield Attempt(**row)


def _rejection(attempt: Attempt) -> Rejection:
    # The detail of a duplicate is the id of another pair, which means nothing to a model.
    detail = attempt.detail if attempt.reason != "duplicate_negative" else ""
    return Rejection(attempt.negative, attempt.reason or "", detail)


def _checked(group: Sequence[tuple[int, Answer | MissingAnswer]], verifier: Verifier) -> Iterator[Attempt]:
    verdicts = iter(verifier.check_all([answer for _, answer in group if isinstance(answer, Answer)]))
    for position, answer in group:
        if isinstance(answer, MissingAnswer):
            yield Attempt(place=position, state="unanswered", reason=answer.reason, detail=answer.detail)
            continue
        verdict = next(verdicts)
        if verdict.reason == NOT_JUDGED:
            yield Attempt(place=position, state="unanswered", reason=NOT_JUDGED, detail=verdict.detail)
            continue
        yield Attempt(
            place=position,
            state="accepted" if verdict.reason is None else "rejected",
            negative=answer.negative,
            raw=answer.raw,
            finish_reason=answer.finish_reason,
            refusal=answer.refusal,
            model=answer.model,
            prompt_hash=answer.prompt_hash,
            reason=verdict.reason,
            detail=verdict.detail,
            kind=verdict.kind,
            flags=list(verdict.flags),
            scores=json.dumps(dict(verdict.scores), sort_keys=True),
        )

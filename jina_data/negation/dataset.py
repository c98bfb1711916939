"""Writes the dataset: triplets and full rows by split, rejected negatives with reasons, and unanswered pairs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.errors import LawError
from jina_data.negation.pairs import Pair
from jina_data.negation.rounds import Attempt

SHARD_ROWS, GROUP_ROWS = 500_000, 10_000

SCORES = ("length_ratio", "token_overlap", "nli_contradiction", "judge_contradiction")
"""The scores that the checks may measure."""

_TEXT = pa.string()
_SCORES = pa.struct([(name, pa.float64()) for name in SCORES])
_ORIGIN = [(name, _TEXT) for name in ("source", "source_id", "source_license")]
_WRITER = [(name, _TEXT) for name in ("generator", "model", "prompt_hash")]

TRIPLET_SCHEMA = pa.schema([(name, _TEXT) for name in ("anchor", "entailment", "negative")])
"""Only the texts: trainers treat every column as an input."""

FULL_SCHEMA = pa.schema(
    [
        ("id", _TEXT),
        *((name, _TEXT) for name in ("anchor", "entailment", "negative")),
        *_ORIGIN,
        ("kind", _TEXT),
        ("kind_found", _TEXT),
        *_WRITER,
        ("attempt", pa.int32()),
        ("flags", pa.list_(_TEXT)),
        ("scores", _SCORES),
    ]
)

_PAIR = [("id", _TEXT), ("anchor", _TEXT), ("entailment", _TEXT), *_ORIGIN, ("split", _TEXT), ("kind", _TEXT)]

REJECTED_SCHEMA = pa.schema(
    [
        *_PAIR,
        ("attempt", pa.int32()),
        ("final", pa.bool_()),
        *((name, _TEXT) for name in ("negative", "reason", "detail", "raw", "finish_reason", "refusal")),
        *_WRITER,
        ("scores", _SCORES),
    ]
)

UNANSWERED_SCHEMA = pa.schema([*_PAIR, ("attempt", pa.int32()), ("error", _TEXT), ("detail", _TEXT)])


class Shards:
    """Writes rows into numbered Parquet files with a common name; with `always`, there is at least one file."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema, *, always: bool) -> None:
        self.folder = folder
        self.name = name
        self.schema = schema
        self.number = self.rows = 0
        self.buffer: list[Mapping[str, Any]] = []
        self.writer: pq.ParquetWriter | None = None
        if always:
            self._open()

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.name}-{self.number:05d}.parquet"
        self.writer = pq.ParquetWriter(path, self.schema, compression="zstd", compression_level=3)
        self.number, self.rows = self.number + 1, 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        self.buffer.append(row)
        if len(self.buffer) == GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self.buffer:
            return
        if self.writer is None or self.rows >= SHARD_ROWS:
            self._close()
            self._open()
        assert self.writer is not None
        self.writer.write_table(pa.Table.from_pylist(self.buffer, self.schema), row_group_size=GROUP_ROWS)
        self.rows += len(self.buffer)
        self.buffer = []

    def _close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def close(self) -> None:
        """Write the buffered rows, and close the last file."""
        self._flush()
        self._close()


class DatasetWriter:
    """Writes every pair to its output, in the order of the pairs."""

    def __init__(self, out: Path, generator: str) -> None:
        self.generator = generator
        self.triplets = {
            split: Shards(out / "data" / "triplet", split, TRIPLET_SCHEMA, always=split == "train")
            for split in ("train", "test")
        }
        self.full = {
            split: Shards(out / "data" / "full", split, FULL_SCHEMA, always=split == "train")
            for split in ("train", "test")
        }
        self.rejected = Shards(out / "rejected", "part", REJECTED_SCHEMA, always=True)
        self.unanswered = Shards(out / "unanswered", "part", UNANSWERED_SCHEMA, always=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for shards in (*self.triplets.values(), *self.full.values(), self.rejected, self.unanswered):
            shards.close()

    def add(self, pair: Pair, history: Sequence[Attempt]) -> None:
        """Write a pair by its last attempt, and every attempt that was rejected."""
        for number, attempt in enumerate(history):
            if attempt.state == "rejected":
                self._reject(pair, attempt, number, is_final=attempt is history[-1])
        last, number = history[-1], len(history) - 1
        if last.state == "accepted":
            self._accept(pair, last, number)
        elif last.state == "unanswered":
            row = {"attempt": number, "error": last.reason, "detail": last.detail}
            self.unanswered.add({**_pair_row(pair), **row})

    def _accept(self, pair: Pair, attempt: Attempt, number: int) -> None:
        texts = {"anchor": pair.anchor, "entailment": pair.entailment, "negative": attempt.negative}
        self.triplets[pair.split].add(texts)
        row = {"kind_found": attempt.kind, "attempt": number, "flags": list(attempt.flags), **self._writer_row(attempt)}
        self.full[pair.split].add({**_pair_row(pair), **texts, **row})

    def _reject(self, pair: Pair, attempt: Attempt, number: int, *, is_final: bool) -> None:
        names = ("negative", "reason", "detail", "raw", "finish_reason", "refusal")
        details = {name: getattr(attempt, name) for name in names}
        row = {"attempt": number, "final": is_final, **details, **self._writer_row(attempt)}
        self.rejected.add({**_pair_row(pair), **row})

    def _writer_row(self, attempt: Attempt) -> dict[str, Any]:
        scores = json.loads(attempt.scores)
        unknown = scores.keys() - set(SCORES)
        assert not unknown, f"a score without a column: {unknown}"
        return {
            "generator": self.generator,
            "model": attempt.model,
            "prompt_hash": attempt.prompt_hash,
            "scores": {name: scores.get(name) for name in SCORES},
        }


def _pair_row(pair: Pair) -> dict[str, Any]:
    names = ("id", "anchor", "entailment", "source", "source_id", "source_license", "split", "kind")
    return {name: getattr(pair, name) for name in names}


def check_laws(out: Path, pairs: Path, counted: Mapping[str, Mapping[str, int]]) -> None:
    """Check that every pair is in exactly one output, by counting the rows of the files.

    `counted` has the counts of the report for each source: pairs, accepted, rejected, unanswered.

    Raises:
        LawError: the counts of the files, the pairs and the report differ.
    """
    with duckdb.connect() as con:
        for name, files, where in (
            ("pairs", [pairs], "true"),
            ("accepted", sorted((out / "data" / "full").glob("*.parquet")), "true"),
            ("rejected", sorted((out / "rejected").glob("*.parquet")), "final"),
            ("unanswered", sorted((out / "unanswered").glob("*.parquet")), "true"),
        ):
            con.read_parquet([str(path) for path in files]).filter(where).project("id, source").create_view(name)
        # Joins the pairs with the outputs by id and counts the outputs of each source. A pair in two outputs counts
        # twice, so the counts differ from the report; a pair in none breaks pairs = accepted + rejected + unanswered.
        # Output rows with an unknown id are only in `n_fates`.
        rows = con.execute(
            "SELECT source, count(*), count(*) FILTER (fate = 'accepted'), count(*) FILTER (fate = 'rejected'), "
            "count(*) FILTER (fate = 'unanswered') FROM pairs LEFT JOIN (SELECT id, 'accepted' AS fate FROM accepted "
            "UNION ALL SELECT id, 'rejected' FROM rejected UNION ALL SELECT id, 'unanswered' FROM unanswered) "
            "USING (id) GROUP BY 1"
        ).fetchall()
        n_fates = sum(_count(con, name) for name in ("accepted", "rejected", "unanswered"))
        n_pairs = _count(con, "pairs")
    names = ("pairs", "accepted", "rejected", "unanswered")
    totals = {source: dict(zip(names, counts, strict=True)) for source, *counts in rows}
    if totals != counted or any(counts["pairs"] != sum(list(counts.values())[1:]) for counts in totals.values()):
        raise LawError(f"the counts of the pairs differ: the report has {counted}, the files have {totals}")
    if n_fates != n_pairs:
        raise LawError(
            f"the counts of the pairs differ: {n_pairs} pairs, but {n_fates} in data/, rejected/ and unanswered/"
        )
    _check_triplets(out / "data")


def _count(con: duckdb.DuckDBPyConnection, view: str) -> int:
    return int(con.execute(f"SELECT count(*) FROM {view}").fetchall()[0][0])


def _check_triplets(data: Path) -> None:
    """Check that data/triplet/ has the same texts as data/full/, row by row."""
    for path in sorted((data / "full").glob("*.parquet")):
        batches = zip(_batches(path), _batches(data / "triplet" / path.name), strict=True)
        if not all(full.equals(triplet) for full, triplet in batches):
            raise LawError(f"data/triplet/{path.name} and data/full/{path.name} have different texts")
    if {file.name for file in (data / "full").iterdir()} != {file.name for file in (data / "triplet").iterdir()}:
        raise LawError("data/triplet and data/full have different files")


def _batches(path: Path) -> Iterable[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(GROUP_ROWS, columns=TRIPLET_SCHEMA.names)

"""Writes the pairs of a run from raw sources into one Parquet file: deduplicated, split by group, each with a kind.

The pairs are ordered by a seeded hash of their texts: the same sources and seed give the same bytes, and the first N
pairs are a random sample.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.english.cues import Kind
from jina_data.english.texts import folded, hash_64
from jina_data.errors import InputError, UsageError
from jina_data.negation.corpora import CORPORA, Candidate, NamedSource, UnusableRow, parse_source
from jina_data.negation.kinds import BOUND, DEFAULT_MIX, KindChooser, checked_mix, possible_kinds
from jina_data.negation.pairs import Pair
from jina_data.progress import Progress, SilentProgress
from jina_data.run.files import atomic_path
from jina_data.run.resources import resource_errors

__all__ = ["CORPORA", "SourceCounts", "parse_source", "read_counts", "read_pairs", "write_pairs"]

BATCH_ROWS = 4096
COUNTS = b"jina_data.pair_counts"
PAIR_SCHEMA = pa.schema([(column.name, pa.string()) for column in fields(Pair)])

_CANDIDATES = pa.schema(
    [
        ("number", pa.int64()),
        *((name, pa.string()) for name in ("location", "source", "source_id", "source_license", "group", "unique_key")),
        *((name, pa.string()) for name in ("anchor", "entailment", "folded")),
        ("split_hash", pa.uint64()),
        ("choice_hash", pa.uint64()),
        *((kind, pa.bool_()) for kind in BOUND),
    ]
)

_CHOOSE_PAIRS = """
create temp table captions as
    select *, row_number() over (partition by source, unique_key order by choice_hash, number) as rank
    from (select *, row_number() over (partition by source, unique_key, folded order by choice_hash, number) as copy
          from candidates where entailment is null)
    where copy = 1;
create temp table chosen as
    select * exclude (rank) from (
        select *, row_number() over (partition by source, unique_key order by choice_hash, number) as rank
        from candidates where entailment is not null)
    where rank = 1
    union all by name
    select second.* exclude (anchor, entailment, copy, rank, location, choice_hash), first.choice_hash,
           first.location || '+' || second.location as location, first.anchor, second.anchor as entailment
    from captions as first join captions as second using (source, unique_key)
    where first.rank = 1 and second.rank = 2;
"""
"""Chooses one pair for each premise, sentence or image: the one with the lowest hash.

`captions` has the distinct captions of each image (rank 1, 2, ... by hash; `copy` numbers equal captions, of which the
first stays). `chosen` has the pairs of rank 1, and for each image the pair of its captions of rank 1 and 2.
"""

_UNCHOSEN_COUNTS = """
select source, 'group_taken' as reason,
       count(*) filter (where entailment is not null)
       - count(distinct unique_key) filter (where entailment is not null) as unchosen
from candidates group by source
union all select source, 'same_text', (select count(*) from candidates as c
                                       where c.source = captions.source and c.entailment is null) - count(*)
from captions group by source
union all select source, 'single_caption', count(*) from (
    select source, unique_key from captions group by source, unique_key having count(*) = 1) group by source
union all select source, 'other_half', count(*) from captions where rank = 1
    and (source, unique_key) in (select (source, unique_key) from captions where rank = 2) group by source
union all select source, 'group_taken', count(*) from captions where rank > 2 group by source
"""
"""Counts the candidates of each source that are in no pair, by reason, so that rows = pairs + unusable holds.

In order: pairs of a premise, sentence or image with a chosen pair; captions equal to another one of the image; captions
without a second one; one of the two captions of each pair; further captions of an image with a pair.
"""


@dataclass(frozen=True)
class SourceCounts:
    """Numbers of rows, pairs and unusable rows of each source; rows = pairs + unusable."""

    rows: Mapping[str, int]
    pairs: Mapping[str, int]
    unusable: Mapping[str, Mapping[str, int]]
    kinds: Mapping[str, int]
    splits: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the counts as a JSON object."""
        return asdict(self)


def write_pairs(
    sources: Sequence[NamedSource | str],
    path: Path,
    *,
    seed: int = 0,
    limit: int | None = None,
    test_fraction: float = 0.05,
    test_groups: int | None = None,
    mix: Mapping[Kind, float] = DEFAULT_MIX,
    restate: bool = False,
    memory_bytes: int = 2**30,
    progress: Progress | None = None,
) -> SourceCounts:
    """Write the pairs of all sources into one Parquet file, completely or not at all; return the counts.

    Args:
        sources: `NAME=PATH`, or the results of `parse_source`.
        path: the file to write.
        seed: the seed of the order, the split and the kinds.
        limit: maximum number of pairs, from all sources in the order of their hashes.
        test_fraction: share of the groups in the split `test`.
        test_groups: number of groups in the split `test`, in place of a share.
        mix: the shares of the kinds.
        restate: add pairs of a text and its paraphrase by a negated opposite; each counts as a row of its source.
        memory_bytes: memory limit of DuckDB while it chooses the pairs; it spills to the folder of `path`.
        progress: reports the rows read.

    Raises:
        InputError: a source cannot be read, or no row is a pair.
        UsageError: a setting is out of range.
    """
    named_sources = [parse_source(source) if isinstance(source, str) else source for source in sources]
    shares = checked_mix(mix)
    if not 0 <= test_fraction < 1:
        raise UsageError(f"test_fraction is {test_fraction}; expected 0 or more, below 1")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".pairs-") as folder, resource_errors(path.parent):
        scratch = Path(folder)
        with (progress or SilentProgress()).task("pairs", None) as task:
            unusable, rows = _write_candidates(named_sources, scratch, seed=seed, restate=restate, advance=task.advance)
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_bytes // 2**20}MiB",
            "temp_directory": str(scratch),
            "threads": 1,
        }
        with duckdb.connect(config=settings) as con:
            con.read_parquet(str(scratch / "candidates.parquet")).create_view("candidates")
            con.execute(_CHOOSE_PAIRS)
            for source, reason, n_unchosen in con.execute(_UNCHOSEN_COUNTS).fetchall():
                unusable[source, reason] += n_unchosen
            chooser = KindChooser(shares, _available_shares(con), seed)
            max_test_hash = _max_test_hash(con, test_fraction, test_groups, limit)
            return _write(con, path, chooser, rows=rows, unusable=unusable, limit=limit, max_test_hash=max_test_hash)


def _write_candidates(
    sources: Sequence[NamedSource], scratch: Path, *, seed: int, restate: bool, advance: Any
) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Write the candidates; return the unusable rows by source and reason, and all rows by source."""
    unusable: Counter[tuple[str, str]] = Counter()
    rows: Counter[str] = Counter()
    batch: list[dict[str, Any]] = []
    with pq.ParquetWriter(scratch / "candidates.parquet", _CANDIDATES, compression="zstd") as sink:

        def flush() -> None:
            sink.write_table(pa.Table.from_pylist(batch, _CANDIDATES))
            batch.clear()

        n_rows = 0
        for source in sources:
            for candidate in source.candidates(scratch, restate=restate):
                rows[candidate.source] += 1
                n_rows += 1
                if isinstance(candidate, UnusableRow):
                    unusable[candidate.source, candidate.reason] += 1
                else:
                    batch.append(_candidate_row(candidate, n_rows, seed))
                if len(batch) == BATCH_ROWS:
                    flush()
                if n_rows % BATCH_ROWS == 0:
                    advance(BATCH_ROWS)
        flush()
        advance(n_rows % BATCH_ROWS)
    return unusable, rows


def _candidate_row(candidate: Candidate, number: int, seed: int) -> dict[str, Any]:
    is_caption = candidate.entailment is None
    kinds = possible_kinds(candidate.anchor if candidate.entailment is None else candidate.entailment)
    return {
        **asdict(candidate),
        "number": number,
        "group": _hash_text(candidate.group),
        "unique_key": _hash_text(candidate.unique_key),
        "folded": folded(candidate.anchor) if is_caption else None,
        "split_hash": hash_64(seed, "split", _hash_text(candidate.group)),
        "choice_hash": hash_64(seed, "choice", candidate.source, candidate.anchor, candidate.entailment or ""),
        **{kind: kind in kinds for kind in BOUND},
    }


def _hash_text(group: str) -> str:
    """Replace the text of a group `text:TEXT` by its hash; return other groups as they are."""
    name, _, text = group.partition(":")
    return f"text:{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}" if name == "text" else group


def _available_shares(con: duckdb.DuckDBPyConnection) -> dict[Kind, float]:
    """Return the share of the chosen pairs that allow each bound kind."""
    shares = con.execute(f"select {', '.join(f'avg({kind}::int)' for kind in BOUND)} from chosen").fetchall()[0]
    return {kind: float(share or 0) for kind, share in zip(BOUND, shares, strict=True)}


def _max_test_hash(con: duckdb.DuckDBPyConnection, fraction: float, groups: int | None, limit: int | None) -> int:
    """Return the highest split hash of a group in the test split, -1 if no group is in it."""
    if groups is None:
        return int(fraction * 2**64) - 1
    if groups == 0:
        return -1
    # The N lowest split hashes among the pairs within the limit; equal hashes are one group.
    n_found, max_hash = con.execute(
        """
        with kept as (select split_hash from chosen order by choice_hash, number limit $limit),
             test as (select distinct split_hash from kept order by split_hash limit $groups)
        select count(*), max(split_hash) from test
        """,
        {"limit": limit if limit is not None else 2**62, "groups": groups},
    ).fetchall()[0]
    if n_found < groups:
        raise InputError(f"the sources have {n_found:,} groups, fewer than the {groups:,} requested for the test split")
    return int(max_hash)


def _write(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    chooser: KindChooser,
    *,
    rows: Counter[str],
    unusable: Counter[tuple[str, str]],
    limit: int | None,
    max_test_hash: int,
) -> SourceCounts:
    tallies: dict[str, Counter[str]] = {"source": Counter(), "kind": Counter(), "split": Counter()}
    order = "select * from chosen order by choice_hash, number"
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, PAIR_SCHEMA, compression="zstd") as sink:
        n_remaining = limit if limit is not None else 2**62
        for batch in con.sql(order).to_arrow_reader(BATCH_ROWS):
            candidates = batch.to_pylist()
            for row in candidates[n_remaining:]:
                unusable[row["source"], "over_limit"] += 1
            pairs = [_pair(row, chooser, max_test_hash) for row in candidates[:n_remaining]]
            n_remaining -= len(pairs)
            for pair in pairs:
                for column, tally in tallies.items():
                    tally[getattr(pair, column)] += 1
            sink.write_table(pa.Table.from_pylist([asdict(pair) for pair in pairs], PAIR_SCHEMA))
        counts = _counts(rows, tallies, unusable)
        if not sum(tallies["source"].values()):
            reasons = (
                f"{name}: {reason} {n:,}" for name, found in counts.unusable.items() for reason, n in found.items()
            )
            raise InputError(
                f"no row of the sources is a pair ({'; '.join(reasons) or 'no rows'}). Check the columns of the "
                "sources and the labels: only entailments become pairs"
            )
        sink.add_key_value_metadata({COUNTS: json.dumps(counts.to_json(), sort_keys=True)})
    return counts


def _counts(
    rows: Counter[str], tallies: Mapping[str, Counter[str]], unusable: Counter[tuple[str, str]]
) -> SourceCounts:
    by_source: dict[str, dict[str, int]] = {source: {} for source in rows}
    for (source, reason), count in sorted(unusable.items()):
        if count:
            by_source[source][reason] = count
    totals = {name: dict(sorted(tally.items())) for name, tally in tallies.items()}
    return SourceCounts(dict(rows), totals["source"], by_source, totals["kind"], totals["split"])


def _pair(row: Mapping[str, Any], chooser: KindChooser, max_test_hash: int) -> Pair:
    identity = "\0".join((row["location"], row["anchor"], row["entailment"]))
    pair_id = f"{row['source']}-{hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()}"
    kinds: list[Kind] = [kind for kind in BOUND if row[kind]]
    return Pair(
        id=pair_id,
        source=row["source"],
        source_id=row["source_id"],
        source_license=row["source_license"],
        group=row["group"],
        split="test" if row["split_hash"] <= max_test_hash else "train",
        anchor=row["anchor"],
        entailment=row["entailment"],
        kind=chooser.choose(pair_id, kinds),
    )


def read_pairs(path: Path, *, start: int = 0) -> Iterator[Pair]:
    """Yield the pairs of a file that `write_pairs` wrote, in order, from row `start` on.

    Raises:
        InputError: the file does not exist, or it is not a file of pairs.
    """
    with _open_pairs(path) as file:
        n_rows = 0
        for batch in file.iter_batches(BATCH_ROWS):
            if n_rows + batch.num_rows > start:
                for row in batch.slice(max(start - n_rows, 0)).to_pylist():
                    yield Pair(**row)
            n_rows += batch.num_rows


def read_counts(path: Path) -> SourceCounts:
    """Return the counts in a file that `write_pairs` wrote.

    Raises:
        InputError: the file does not exist, or it is not a file of pairs.
    """
    with _open_pairs(path) as file:
        return SourceCounts(**json.loads(cast(Mapping[bytes, bytes], file.metadata.metadata)[COUNTS]))


def _open_pairs(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as pairs: {error}. Write it again from the sources") from None
    if not file.schema_arrow.remove_metadata().equals(PAIR_SCHEMA) or COUNTS not in (file.metadata.metadata or {}):
        raise InputError(
            f"{path}: expected the columns {', '.join(PAIR_SCHEMA.names)}. Write it again from the sources"
        )
    return file

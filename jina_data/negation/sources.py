"""From raw sources to the pairs of a run: one of each group, split by group, with a kind, in one Parquet file.

The order of the file is that of a seeded hash of the texts: the same sources and seed give the same bytes, and the
first N rows are a sample.
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
from jina_data.negation.corpora import CORPORA, Candidate, NamedSource, Unusable, parse_source
from jina_data.negation.kinds import BOUND, DEFAULT_MIX, KindChooser, checked_mix, possible
from jina_data.negation.pairs import Pair
from jina_data.progress import Progress, Quiet
from jina_data.run.files import resource_errors, whole_path

__all__ = ["CORPORA", "PairCounts", "parse_source", "read_counts", "read_pairs", "write_pairs"]

BATCH_ROWS = 4096
COUNTS = b"jina_data.pair_counts"
PAIR_SCHEMA = pa.schema([(column.name, pa.string()) for column in fields(Pair)])

_CANDIDATES = pa.schema(
    [
        ("number", pa.int64()),
        *((name, pa.string()) for name in ("place", "source", "source_id", "source_license", "group", "once")),
        *((name, pa.string()) for name in ("anchor", "entailment", "folded")),
        ("split_hash", pa.uint64()),
        ("choice", pa.uint64()),
        *((kind, pa.bool_()) for kind in BOUND),
    ]
)

_CHOSEN = """
create temp table captions as
    select *, row_number() over (partition by source, once order by choice, number) as rank
    from (select *, row_number() over (partition by source, once, folded order by choice, number) as copy
          from candidates where entailment is null)
    where copy = 1;
create temp table chosen as
    select * exclude (turn) from (
        select *, row_number() over (partition by source, once order by choice, number) as turn
        from candidates where entailment is not null)
    where turn = 1
    union all by name
    select second.* exclude (anchor, entailment, copy, rank, place, choice), first.choice,
           first.place || '+' || second.place as place, first.anchor, second.anchor as entailment
    from captions as first join captions as second using (source, once)
    where first.rank = 1 and second.rank = 2;
"""
"""One pair of each premise, sentence or image: that with the lowest hash; of an image two captions that differ."""

_LOST = """
select source, 'group_taken' as reason,
       count(*) filter (where entailment is not null)
       - count(distinct once) filter (where entailment is not null) as lost
from candidates group by source
union all select source, 'same_text', (select count(*) from candidates as c
                                       where c.source = captions.source and c.entailment is null) - count(*)
from captions group by source
union all select source, 'single_caption', count(*) from (
    select source, once from captions group by source, once having count(*) = 1) group by source
union all select source, 'other_half', count(*) from captions where rank = 1
    and (source, once) in (select (source, once) from captions where rank = 2) group by source
union all select source, 'group_taken', count(*) from captions where rank > 2 group by source
"""


@dataclass(frozen=True)
class PairCounts:
    """What became of the rows of the sources; rows = pairs + unusable, for each."""

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
) -> PairCounts:
    """Write the pairs of all sources into one Parquet file, whole or not at all; return what became of the rows.

    Args:
        sources: as `parse_source` gives them, or as the user named them.
        limit: so many pairs at most, taken from all sources as they come by their hashes.
        test_fraction: the share of groups that go to the split `test`.
        test_groups: so many groups go there instead.
        mix: the shares of the kinds.
        restate: add pairs of a text and its paraphrase by a negated opposite; each counts as a row of its source.
        memory_bytes: what the choice among all rows may hold; it goes on on disk, beside `path`.

    Raises:
        InputError: a source cannot be read, or no row of all of them is a pair.
        UsageError: a setting is out of range.
    """
    named = [parse_source(one) if isinstance(one, str) else one for one in sources]
    shares = checked_mix(mix)
    if not 0 <= test_fraction < 1:
        raise UsageError(f"test_fraction is {test_fraction}; expected 0 or more, below 1")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".pairs-") as folder, resource_errors(path.parent):
        scratch = Path(folder)
        with (progress or Quiet()).task("pairs", None) as task:
            unusable, rows = _write_candidates(named, scratch, seed=seed, restate=restate, advance=task.advance)
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_bytes // 2**20}MiB",
            "temp_directory": str(scratch),
            "threads": 1,
        }
        with duckdb.connect(config=settings) as con:
            con.read_parquet(str(scratch / "candidates.parquet")).create_view("candidates")
            con.execute(_CHOSEN)
            for source, reason, lost in con.execute(_LOST).fetchall():
                unusable[source, reason] += lost
            chooser = KindChooser(shares, _available(con), seed)
            last_test = _last_test(con, test_fraction, test_groups, limit)
            return _write(con, path, chooser, rows=rows, unusable=unusable, limit=limit, last_test=last_test)


def _write_candidates(
    sources: Sequence[NamedSource], scratch: Path, *, seed: int, restate: bool, advance: Any
) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Write every row that may be a pair; count the others by source and reason, and all rows by source."""
    unusable: Counter[tuple[str, str]] = Counter()
    rows: Counter[str] = Counter()
    batch: list[dict[str, Any]] = []
    with pq.ParquetWriter(scratch / "candidates.parquet", _CANDIDATES, compression="zstd") as sink:

        def flush() -> None:
            sink.write_table(pa.Table.from_pylist(batch, _CANDIDATES))
            batch.clear()

        seen = 0
        for source in sources:
            for found in source.candidates(scratch, restate=restate):
                rows[found.source] += 1
                seen += 1
                if isinstance(found, Unusable):
                    unusable[found.source, found.reason] += 1
                else:
                    batch.append(_candidate_row(found, seen, seed))
                if len(batch) == BATCH_ROWS:
                    flush()
                if seen % BATCH_ROWS == 0:
                    advance(BATCH_ROWS)
        flush()
        advance(seen % BATCH_ROWS)
    return unusable, rows


def _candidate_row(found: Candidate, number: int, seed: int) -> dict[str, Any]:
    said = asdict(found)
    kinds = possible(found.entailment if found.entailment is not None else found.anchor)
    return {
        **said,
        "number": number,
        "group": _short(found.group),
        "once": _short(found.once),
        "folded": folded(found.anchor) if found.entailment is None else None,
        "split_hash": hash_64(seed, "split", _short(found.group)),
        "choice": hash_64(seed, "choice", found.source, found.anchor, found.entailment or ""),
        **{kind: kind in kinds for kind in BOUND},
    }


def _short(group: str) -> str:
    """Write a group that is a text as a hash."""
    name, _, text = group.partition(":")
    return f"text:{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}" if name == "text" else group


def _available(con: duckdb.DuckDBPyConnection) -> dict[Kind, float]:
    """Return the share of the chosen pairs that can take each bound kind."""
    shares = con.execute(f"select {', '.join(f'avg({kind}::int)' for kind in BOUND)} from chosen").fetchall()[0]
    return {kind: float(share or 0) for kind, share in zip(BOUND, shares, strict=True)}


def _last_test(con: duckdb.DuckDBPyConnection, fraction: float, groups: int | None, limit: int | None) -> int:
    """Return the highest hash of a group that goes to the test split, -1 where none goes."""
    if groups is None:
        return int(fraction * 2**64) - 1
    if groups == 0:
        return -1
    total, last = con.execute(
        """
        with kept as (select split_hash from chosen order by choice, number limit $limit),
             first as (select distinct split_hash from kept order by split_hash limit $groups)
        select count(*), max(split_hash) from first
        """,
        {"limit": limit if limit is not None else 2**62, "groups": groups},
    ).fetchall()[0]
    if total < groups:
        raise InputError(f"the sources give {total:,} groups, fewer than the {groups:,} asked for the test split")
    return int(last)


def _write(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    chooser: KindChooser,
    *,
    rows: Counter[str],
    unusable: Counter[tuple[str, str]],
    limit: int | None,
    last_test: int,
) -> PairCounts:
    tallies: dict[str, Counter[str]] = {"source": Counter(), "kind": Counter(), "split": Counter()}
    order = "select * from chosen order by choice, number"
    with whole_path(path) as temporary, pq.ParquetWriter(temporary, PAIR_SCHEMA, compression="zstd") as sink:
        left = limit if limit is not None else 2**62
        for batch in con.sql(order).to_arrow_reader(BATCH_ROWS):
            found = batch.to_pylist()
            for one in found[left:]:
                unusable[one["source"], "over_limit"] += 1
            pairs = [_pair(one, chooser, last_test) for one in found[:left]]
            left -= len(pairs)
            for pair in pairs:
                for column, tally in tallies.items():
                    tally[getattr(pair, column)] += 1
            sink.write_table(pa.Table.from_pylist([asdict(pair) for pair in pairs], PAIR_SCHEMA))
        counts = _counts(rows, tallies, unusable)
        if not sum(tallies["source"].values()):
            raise InputError(f"no row of the sources is a pair: {dict(counts.unusable)}. Check that the names fit")
        sink.add_key_value_metadata({COUNTS: json.dumps(counts.to_json(), sort_keys=True)})
    return counts


def _counts(rows: Counter[str], tallies: Mapping[str, Counter[str]], unusable: Counter[tuple[str, str]]) -> PairCounts:
    by_source: dict[str, dict[str, int]] = {source: {} for source in rows}
    for (source, reason), count in sorted(unusable.items()):
        if count:
            by_source[source][reason] = count
    said = {name: dict(sorted(tally.items())) for name, tally in tallies.items()}
    return PairCounts(dict(rows), said["source"], by_source, said["kind"], said["split"])


def _pair(one: Mapping[str, Any], chooser: KindChooser, last_test: int) -> Pair:
    identity = "\0".join((one["place"], one["anchor"], one["entailment"]))
    pair_id = f"{one['source']}-{hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()}"
    kinds: list[Kind] = [kind for kind in BOUND if one[kind]]
    return Pair(
        id=pair_id,
        source=one["source"],
        source_id=one["source_id"],
        source_license=one["source_license"],
        group=one["group"],
        split="test" if one["split_hash"] <= last_test else "train",
        anchor=one["anchor"],
        entailment=one["entailment"],
        kind=chooser.choose(pair_id, kinds),
    )


def read_pairs(path: Path, *, start: int = 0) -> Iterator[Pair]:
    """Yield the pairs that `write_pairs` wrote, in order, from a row on; a batch at a time.

    Raises:
        InputError: the file is not there, or not such a file.
    """
    with _opened(path) as file:
        row = 0
        for batch in file.iter_batches(BATCH_ROWS):
            if row + batch.num_rows > start:
                for one in batch.slice(max(start - row, 0)).to_pylist():
                    yield Pair(**one)
            row += batch.num_rows


def read_counts(path: Path) -> PairCounts:
    """Return what `write_pairs` said of the rows of the sources.

    Raises:
        InputError: the file is not there, or not such a file.
    """
    with _opened(path) as file:
        return PairCounts(**json.loads(cast(Mapping[bytes, bytes], file.metadata.metadata)[COUNTS]))


def _opened(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as pairs: {error}. Write it anew from the sources") from None
    if not file.schema_arrow.remove_metadata().equals(PAIR_SCHEMA) or COUNTS not in (file.metadata.metadata or {}):
        raise InputError(f"{path}: expected the columns {', '.join(PAIR_SCHEMA.names)}. Write it anew from the sources")
    return file

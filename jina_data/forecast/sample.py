"""Draw a seeded sample of the input, cheaply: single rows where all can be read, else blocks of rows that lie together.

Small input is read as a whole: then rows are drawn one by one, and how often the content of each occurs is counted for
the stages that drop repeats. Of large input, blocks are read from everywhere in files that split, and from the
beginning of those that can only be read in sequence.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.clean.plan import Plan
from jina_data.clean.units import first_rows
from jina_data.forecast.repeats import count_keys, repeat_keys, repeats
from jina_data.kernels.keys import KeyArray
from jina_data.read import ROW, InputFile, ParsedRange, RangeSpec, parse_range, split, stream_ranges, unite_or_none

SAMPLE_ROWS = 20_000
"""Rows of a sample, where no stage runs a large model."""
MODEL_ROWS = 1_000
"""Rows of a sample, where one does on a CPU."""
MODEL_BYTES = 300 * 2**20
"""A model that needs more than this in a process is a large one: a transformer."""
SAMPLE_BYTES = 24 * 2**20
"""Most bytes of a sample in memory: long texts take their time in any number."""
READ_BYTES = 256 * 2**20
"""Input up to about this size is read as a whole; what is compressed counts threefold."""

SALT = 0x706C616E

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Rows drawn from one range of a file, numbered from 0, and the block that each record was drawn with.

    `keys` holds a number for the content of each row (not of unreadable records) for the stages that drop repeats.
    """

    file_index: int
    parsed: ParsedRange
    blocks: IntArray
    keys: Mapping[int, KeyArray]


@dataclass(frozen=True)
class Drawn:
    """A sample of the input, and what was learned about all of it on the way.

    `n_rows` are the records of the input: low, expected, high; `n_unreadable` those that cannot be rows, where all
    were read. `weights` says how many records of the input each file's rows stand for, relative to the mean.
    `occurrences` holds the sorted keys of all contents with their counts, by stage, where the input was read as a
    whole. `parse_seconds` are those of all input in one process, `longest_seconds` those of its largest file that only
    one can read. `closeness` is how small rows are that lie together, compressed, beside those of the sample.
    """

    parts: Sequence[Part]
    n_rows: tuple[float, float, float]
    way: Literal["all", "rows", "blocks"]
    n_ranges: int
    parsed_bytes: float
    parse_seconds: float
    longest_seconds: float
    weights: Mapping[int, float]
    occurrences: Mapping[int, tuple[KeyArray, IntArray]]
    n_unreadable: int | None = None
    closeness: float = 1.0
    notes: Sequence[str] = ()

    @property
    def n_sampled(self) -> int:
        """The records of the sample, unreadable ones too."""
        return sum(part.parsed.row_count for part in self.parts)


def draw(plan: Plan) -> Drawn:
    """Draw a sample of a plan's input: all of it, rows, or blocks of rows."""
    from jina_data.forecast.blocks import draw_blocks

    n_rows = sample_rows(plan)
    stored = sum((file.size or 0) * (1 if _is_plain(file) else 3) for file in plan.inputs)
    unknown = [file.name for file in plan.inputs if not _tells_size(plan, file)]
    if unknown or stored <= READ_BYTES or plan.limit is not None:
        whole = _Reading(plan, n_rows).go(unknown)
        if whole is not None:
            return whole
    return draw_blocks(plan, n_rows)


def _tells_size(plan: Plan, file: InputFile) -> bool:
    """Tell whether it is known how much is behind a place in a file."""
    by_rows = file.format in ("parquet", "datasets")
    return file.size is not None and not (by_rows and split(file, plan.views[0].schema) is None)


def sample_rows(plan: Plan) -> int:
    """Return how many rows a sample of this plan has at most. It does not depend on how fast the machine is."""
    is_slow = plan.device == "cpu" and any(stage.process_bytes() > MODEL_BYTES for stage in plan.stages)
    return MODEL_ROWS if is_slow else SAMPLE_ROWS


def generator(plan: Plan, *numbers: int) -> np.random.Generator:
    """Return the random numbers of a plan's seed, for one purpose: those that nobody else draws from the same seed."""
    return np.random.default_rng([SALT, plan.recipe.seed % 2**63, *numbers])


def _is_plain(file: InputFile) -> bool:
    return file.compression is None and file.format != "parquet"


class Settled:
    """Parses ranges to types that unite, in order: what does not fit those before becomes unreadable, as in a run."""

    def __init__(self, plan: Plan) -> None:
        self._first = self._schema = plan.views[0].schema

    def spec(self, file: InputFile, spec: RangeSpec) -> ParsedRange:
        """Parse a range of a file that splits."""
        parsed = parse_range(file, spec, self._first)
        return parsed if self._fits(parsed) else parse_range(file, spec, self._schema)

    def stream(self, file: InputFile) -> Iterator[ParsedRange]:
        """Parse a file in sequence."""
        end: dict[str, int] | None = None
        for parsed in stream_ranges(file, self._first):
            fitting = parsed
            if not self._fits(parsed):
                fitting = next(stream_ranges(file, self._schema, end, parsed.number))
            end = parsed.end
            yield fitting

    def ranges(self, file: InputFile) -> Iterator[ParsedRange]:
        """Parse a file range by range, in order."""
        specs = split(file, self._first)
        return self.stream(file) if specs is None else (self.spec(file, spec) for spec in specs)

    def _fits(self, parsed: ParsedRange) -> bool:
        wider = unite_or_none(self._schema, parsed.rows.schema.remove(parsed.rows.schema.get_field_index(ROW)))
        self._schema = self._schema if wider is None else wider
        return wider is not None


class _Reading:
    """Reads all input, or up to the limit of the run, and keeps the rows with the smallest random numbers."""

    def __init__(self, plan: Plan, n_wanted: int) -> None:
        self.plan = plan
        self.n_wanted = n_wanted
        self.settled = Settled(plan)
        self.kept: list[tuple[Part, npt.NDArray[np.float64]]] = []
        self.below = 1.0
        self.n_rows = self.n_unreadable = self.n_bytes = self.n_ranges = 0
        self.seconds: dict[int, float] = {}
        self.packed = np.zeros(2)
        self.keys: dict[int, list[KeyArray]] = {index: [] for index in repeats(plan)}

    def go(self, unknown: Sequence[str]) -> Drawn | None:
        """Return the sample; None where the input turned out to be too large to be read as a whole.

        Where files do not tell their size, what was read until then has to do.
        """
        notes = []
        for file in self.plan.inputs:
            started = time.perf_counter()
            for parsed in self._limited(file):
                self.seconds[file.index] = self.seconds.get(file.index, 0.0) + time.perf_counter() - started
                self._take(file, parsed)
                if self.n_bytes > 4 * READ_BYTES:
                    break
                started = time.perf_counter()
            if self.n_bytes > 4 * READ_BYTES:
                if not unknown:
                    return None
                notes.append(
                    f"{', '.join(unknown)}: how many rows there are is not known. "
                    f"This is the forecast for the first {self.n_rows:,} rows of the input"
                )
                break
        self._thin(min(self.n_wanted, self._most()))
        is_all = self.below == 1.0
        longest = [seconds for index, seconds in self.seconds.items() if not self._splits(index)]
        return Drawn(
            parts=[part for part, _ in self.kept],
            n_rows=(self.n_rows, self.n_rows, self.n_rows),
            way="all" if is_all else "rows",
            n_ranges=self.n_ranges,
            parsed_bytes=self.n_bytes,
            parse_seconds=sum(self.seconds.values()),
            longest_seconds=max(longest, default=0.0),
            weights={},
            occurrences={} if is_all else {index: count_keys(found) for index, found in self.keys.items()},
            n_unreadable=self.n_unreadable,
            closeness=1.0 if is_all else closeness(self.packed, [part for part, _ in self.kept]),
            notes=notes,
        )

    def _limited(self, file: InputFile) -> Iterator[ParsedRange]:
        limit = self.plan.limit
        if limit is not None and self.n_rows >= limit:
            return
        for parsed in self.settled.ranges(file):
            yield parsed if limit is None else first_rows(parsed, limit - self.n_rows)
            if limit is not None and self.n_rows >= limit:
                return

    def _splits(self, file_index: int) -> bool:
        file = self.plan.inputs[file_index]
        return self.plan.limit is None and split(file, self.plan.views[0].schema) is not None

    def _take(self, file: InputFile, parsed: ParsedRange) -> None:
        numbers = generator(self.plan, 1, file.index, parsed.number).random(parsed.row_count)
        keys = {index: repeat_keys(self.plan, index, parsed.rows) for index in self.keys}
        for index, found in keys.items():
            self.keys[index].append(found)
        blocks = self.n_rows + np.arange(parsed.row_count)
        self.n_rows += parsed.row_count
        self.n_unreadable += len(parsed.unreadable)
        self.n_bytes += parsed.rows.nbytes
        if self.n_ranges & (self.n_ranges - 1) == 0:  # few are enough: the first, second, third, fifth, ninth ...
            self.packed += (packed_bytes([parsed.rows]), parsed.rows.nbytes)
        self.n_ranges += 1
        chosen = np.flatnonzero(numbers < self.below)
        self.kept.append((pick(Part(file.index, parsed, blocks, keys), chosen), numbers[chosen]))
        if sum(len(some) for _, some in self.kept) > 2 * self.n_wanted:
            self._thin(self.n_wanted)

    def _most(self) -> int:
        return max(1, int(SAMPLE_BYTES * self.n_rows / max(1, self.n_bytes)))

    def _thin(self, n_wanted: int) -> None:
        """Keep the rows with the smallest numbers."""
        numbers = np.concatenate([some for _, some in self.kept]) if self.kept else np.empty(0)
        if len(numbers) <= n_wanted:
            return
        self.below = float(np.partition(numbers, n_wanted)[n_wanted])
        thinned = []
        for part, some in self.kept:
            chosen = np.flatnonzero(some < self.below)
            thinned.append((pick(part, chosen), some[chosen]))
        self.kept = thinned


def pick(part: Part, chosen: IntArray) -> Part:
    """Return the records of a part at some positions (ascending), numbered anew."""
    parsed = part.parsed
    if len(chosen) == parsed.row_count:
        return part
    positions = parsed.rows.column(ROW).to_numpy()
    mask = np.isin(positions, chosen)
    rows = parsed.rows.filter(pa.array(mask))
    numbered = pa.array(np.searchsorted(chosen, positions[mask]).astype(np.int32))
    rows = rows.set_column(rows.schema.get_field_index(ROW), ROW, numbered)
    among = set(chosen.tolist())
    unreadable = [
        replace(broken, row=int(np.searchsorted(chosen, broken.row)))
        for broken in parsed.unreadable
        if broken.row in among
    ]
    picked = replace(parsed, rows=rows, unreadable=unreadable, row_count=len(chosen))
    keys = {index: found[mask] for index, found in part.keys.items()}
    return Part(part.file_index, picked, part.blocks[chosen], keys)


def packed_bytes(tables: Sequence[pa.Table]) -> int:
    """Return the size of some rows as Parquet, compressed as the outputs are."""
    whole = pa.concat_tables(tables, promote_options="permissive").drop_columns([ROW])
    sink = pa.BufferOutputStream()
    pq.write_table(whole, sink, compression="zstd", row_group_size=max(1, whole.num_rows))
    return int(sink.tell())


def closeness(packed: npt.NDArray[np.float64], parts: Sequence[Part]) -> float:
    """Return how small rows are that lie together (`packed`: bytes as Parquet, in memory) beside those of a sample."""
    tables = [part.parsed.rows for part in parts]
    n_bytes = sum(table.nbytes for table in tables)
    if not n_bytes or not packed[1]:
        return 1.0
    return float(np.clip(packed[0] / packed[1] * n_bytes / packed_bytes(tables), 0.2, 1.5))

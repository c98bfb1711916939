"""Draw a seeded sample of the input, cheaply: single rows where all can be read, else blocks of rows that lie together.

Small input is read as a whole: then rows are drawn one by one, and how often the content of each occurs is counted for
the stages that drop repeats. Of large input, blocks are read from everywhere in files that split, and from the
beginning of those that can only be read in sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.clean.plan import Plan
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
class InputSample:
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


def sample_rows(plan: Plan) -> int:
    """Return how many rows a sample of this plan has at most. It does not depend on how fast the machine is."""
    is_slow = plan.device == "cpu" and any(stage.process_bytes() > MODEL_BYTES for stage in plan.stages)
    return MODEL_ROWS if is_slow else SAMPLE_ROWS


def generator(plan: Plan, *numbers: int) -> np.random.Generator:
    """Return the random numbers of a plan's seed, for one purpose: those that nobody else draws from the same seed."""
    return np.random.default_rng([SALT, plan.recipe.seed % 2**63, *numbers])


class TypedReader:
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

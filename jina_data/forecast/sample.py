"""Seeded samples of the input: single rows if all of it can be read, else blocks of adjacent rows.

Small input is read completely. Rows are then drawn one by one, and the occurrences of each content are counted for the
stages that drop repeats. From large input, blocks are read from random positions of files that can be split, and from
the beginning of files that can only be read in sequence.
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
from jina_data.read import (
    ROW,
    InputFile,
    ParsedRange,
    RangeSpec,
    is_exact,
    parse_range,
    split,
    stream_ranges,
    unite_schemas,
)

SAMPLE_ROWS = 20_000
"""Rows of a sample if no stage runs a large model."""
MODEL_ROWS = 1_000
"""Rows of a sample if a stage runs a large model on a CPU."""
MODEL_BYTES = 400 * 2**20
"""A model is large, such as a transformer, if a process needs more memory than this for it."""
SAMPLE_BYTES = 24 * 2**20
"""Maximum bytes of a sample in memory, which limits the time for long texts."""
READ_BYTES = 256 * 2**20
"""Input up to about this size is read completely; compressed bytes count three times."""

SALT = 0x706C616E

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Rows drawn from one range of a file, numbered from 0, and the block of each record.

    `keys` has the number of the content of each row (not of unreadable records), for each stage that drops repeats.
    """

    file_index: int
    parsed: ParsedRange
    blocks: IntArray
    keys: Mapping[int, KeyArray]


@dataclass(frozen=True)
class InputSample:
    """A sample of the input, with estimates for all of the input.

    `n_rows` is the number of records of the input (low, expected, high), and `n_unreadable` the number of unreadable
    ones, if all were read. `way` is "all" (the sample is the input), "rows" or "blocks". `weights` is the number of
    input records that a sampled row of each file represents, relative to the mean. `occurrences` has the sorted numbers
    of all contents with their counts, by stage, if the input was read completely. `parse_seconds` is the time to parse
    all input in one process, and `longest_seconds` that of the largest file that cannot be split.
    `compression_factor` is the compressed size of adjacent rows relative to that of the sampled rows.
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
    compression_factor: float = 1.0
    notes: Sequence[str] = ()

    @property
    def n_sampled(self) -> int:
        """The number of records of the sample, including unreadable ones."""
        return sum(part.parsed.row_count for part in self.parts)


def sample_rows(plan: Plan) -> int:
    """Return the maximum number of rows of a sample. It does not depend on the speed of the machine."""
    is_slow = plan.device == "cpu" and any(stage.process_bytes() > MODEL_BYTES for stage in plan.stages)
    return MODEL_ROWS if is_slow else SAMPLE_ROWS


def generator(plan: Plan, *numbers: int) -> np.random.Generator:
    """Return a generator from the seed of a plan. Each purpose has different `numbers`, so no two share draws."""
    return np.random.default_rng([SALT, plan.recipe.seed % 2**63, *numbers])


class TypedReader:
    """Parses ranges to compatible types, in order; values that do not fit become unreadable records, as in a run."""

    def __init__(self, plan: Plan) -> None:
        self._input_schema = self._schema = plan.views[0].schema

    def spec(self, file: InputFile, spec: RangeSpec) -> ParsedRange:
        """Parse a range of a file that can be split."""
        parsed = parse_range(file, spec, self._input_schema)
        return parsed if self._fits(parsed) else parse_range(file, spec, self._schema)

    def stream(self, file: InputFile) -> Iterator[ParsedRange]:
        """Parse a file in sequence."""
        end: dict[str, int] | None = None
        for parsed in stream_ranges(file, self._input_schema):
            fitting = parsed
            if not self._fits(parsed):
                fitting = next(stream_ranges(file, self._schema, end, parsed.number))
            end = parsed.end
            yield fitting

    def ranges(self, file: InputFile) -> Iterator[ParsedRange]:
        """Parse a file range by range, in order."""
        specs = split(file, self._input_schema)
        return self.stream(file) if specs is None else (self.spec(file, spec) for spec in specs)

    def _fits(self, parsed: ParsedRange) -> bool:
        found = parsed.rows.schema
        self._schema = unite_schemas([self._schema, found])
        columns = (column for column in found if column.name != ROW)
        return all(is_exact(column.type, self._schema.field(column.name).type) for column in columns)


def select_records(part: Part, chosen: IntArray) -> Part:
    """Return the records of a part at the given positions (ascending), numbered from 0."""
    parsed = part.parsed
    if len(chosen) == parsed.row_count:
        return part
    positions = parsed.rows.column(ROW).to_numpy()
    mask = np.isin(positions, chosen)
    rows = parsed.rows.filter(pa.array(mask))
    numbered = pa.array(np.searchsorted(chosen, positions[mask]).astype(np.int32))
    rows = rows.set_column(rows.schema.get_field_index(ROW), ROW, numbered)
    is_chosen = set(chosen.tolist())
    unreadable = [
        replace(broken, row=int(np.searchsorted(chosen, broken.row)))
        for broken in parsed.unreadable
        if broken.row in is_chosen
    ]
    selected = replace(parsed, rows=rows, unreadable=unreadable, row_count=len(chosen))
    keys = {index: numbers[mask] for index, numbers in part.keys.items()}
    return Part(part.file_index, selected, part.blocks[chosen], keys)


def parquet_bytes(tables: Sequence[pa.Table]) -> int:
    """Return the size of the tables as Parquet, compressed like the outputs of a run."""
    table = pa.concat_tables(tables, promote_options="permissive").drop_columns([ROW])
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=max(1, table.num_rows))
    return int(sink.tell())


def compression_factor(packed: npt.NDArray[np.float64], parts: Sequence[Part]) -> float:
    """Return the compression of adjacent rows (`packed`: bytes as Parquet, in memory) relative to that of a sample."""
    tables = [part.parsed.rows for part in parts]
    n_bytes = sum(table.nbytes for table in tables)
    if not n_bytes or not packed[1]:
        return 1.0
    return float(np.clip(packed[0] / packed[1] * n_bytes / parquet_bytes(tables), 0.2, 1.5))

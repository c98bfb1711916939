"""Draws blocks of rows from input that is too large to be read completely."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zstandard

from jina_data.clean.plan import Plan
from jina_data.forecast.sample import (
    SAMPLE_BYTES,
    InputSample,
    IntArray,
    Part,
    TypedReader,
    compression_factor,
    generator,
    parquet_bytes,
    select_records,
)
from jina_data.read import InputFile, ParsedRange, RangeSpec, split
from jina_data.read.streams import ByteSource, open_stored
from jina_data.stages.rows import FloatArray

BLOCKS = 64
"""Number of blocks drawn from files that can be split."""
STREAMS = 8
"""Number of files to read, of those that can only be read in sequence."""
STREAM_BLOCKS = 8
"""Number of blocks that the rows from the beginning of such a file count as."""

STEP_BYTES = 2**13
"""Resolution of positions in a compressed file."""


@dataclass(frozen=True)
class FirstRange:
    """The first range of a file: rows, bytes in memory, size in units of the file, and seconds to parse."""

    n_rows: int
    n_bytes: int
    units: float
    seconds: float

    @property
    def row_units(self) -> float:
        """Units of the file for each row."""
        return max(self.units / max(1, self.n_rows), 1e-9)


@dataclass(frozen=True)
class Extent:
    """The size of a file: in rows (Parquet), bytes (JSON lines), or stored bytes of a stream."""

    file: InputFile
    kind: str
    size: float


def draw_blocks(plan: Plan, n_rows: int) -> InputSample:
    """Draw about `n_rows` rows in blocks. The number of rows of the input is exact for Parquet, else estimated."""
    return _BlockSampler(plan, n_rows).run()


class _BlockSampler:
    def __init__(self, plan: Plan, n_rows: int) -> None:
        self.plan = plan
        self.reader = TypedReader(plan)
        self.rng = generator(plan, 2)
        self.extents = [_extent(plan, file) for file in plan.inputs if file.size != 0]
        self.packed = np.zeros(2)
        kinds = dict.fromkeys(extent.kind for extent in self.extents)
        self.first_ranges = {kind: self._parse_first_range(kind) for kind in kinds}
        in_memory = [
            int(SAMPLE_BYTES * first_range.n_rows / max(1, first_range.n_bytes))
            for first_range in self.first_ranges.values()
        ]
        self.n_target = max(1, min([n_rows, *in_memory]))
        all_extents = self.extents
        self.extents = self._apply_limit(all_extents)
        self.is_cut = sum(map(self._rows_of, self.extents)) < sum(map(self._rows_of, all_extents))
        self.n_blocks = 0
        self.notes: list[str] = []

    def run(self) -> InputSample:
        estimated = {extent.file.index: self._rows_of(extent) for extent in self.extents}
        total = sum(estimated.values())
        parts: list[Part] = []
        row_counts: dict[str, tuple[float, float]] = {}
        for kind in self.first_ranges:
            extents = [extent for extent in self.extents if extent.kind == kind]
            share = sum(estimated[extent.file.index] for extent in extents) / max(total, 1e-9)
            n_target = max(1, round(self.n_target * share))
            draw_parts = self._draw_from_streams if kind == "stream" else self._draw_from_splits
            kind_parts, n_rows, deviation = draw_parts(extents, n_target)
            parts += kind_parts
            row_counts[kind] = (n_rows, deviation)
        return self._assemble(sorted(parts, key=lambda part: part.file_index), row_counts)

    def _assemble(self, parts: Sequence[Part], row_counts: dict[str, tuple[float, float]]) -> InputSample:
        """Return the sample, given its parts and the (rows, standard deviation) of the files of each kind."""
        kinds = {extent.file.index: extent.kind for extent in self.extents}
        sampled = dict.fromkeys(row_counts, 0)
        for part in parts:
            sampled[kinds[part.file_index]] += part.parsed.row_count
        n_sampled = max(1, sum(sampled.values()))
        expected = max(float(n_sampled), sum(n_rows for n_rows, _ in row_counts.values()))
        error = 1.96 * float(np.sqrt(sum(deviation**2 for _, deviation in row_counts.values())))
        low, high = max(float(n_sampled), expected - error), expected + error
        if self.plan.limit is not None and self.is_cut:
            low = expected = high = float(self.plan.limit)
        weights = {
            index: row_counts[kind][0] / max(1, sampled[kind]) * n_sampled / max(1.0, expected)
            for index, kind in kinds.items()
        }

        def scale(kind: str, value: float) -> float:
            """Scale a value of the first range of a kind to all rows of the kind."""
            return row_counts[kind][0] * value / max(1, self.first_ranges[kind].n_rows)

        seconds = {kind: scale(kind, first_range.seconds) for kind, first_range in self.first_ranges.items()}
        stream_sizes = [extent.size for extent in self.extents if extent.kind == "stream"]
        longest = max(stream_sizes, default=0.0) / max(1.0, sum(stream_sizes))
        return InputSample(
            parts=parts,
            n_rows=(low, expected, high),
            way="blocks",
            n_ranges=sum(self._n_ranges(extent) for extent in self.extents),
            parsed_bytes=sum(scale(kind, first_range.n_bytes) for kind, first_range in self.first_ranges.items()),
            parse_seconds=sum(seconds.values()),
            longest_seconds=longest * seconds.get("stream", 0.0),
            weights=weights,
            occurrences={},
            compression_factor=compression_factor(self.packed, parts),
            notes=self.notes,
        )

    # ------------------------------------------------------------------------------------------------ first ranges

    def _parse_first_range(self, kind: str) -> FirstRange:
        """Parse the first range of the largest file of a kind."""
        extents = [extent for extent in self.extents if extent.kind == kind]
        extent = max(extents, key=lambda extent: extent.size)
        started = time.perf_counter()
        parsed = next(iter(self.reader.ranges(extent.file)))
        seconds = time.perf_counter() - started
        self.packed += (parquet_bytes([parsed.rows]), parsed.rows.nbytes)
        return FirstRange(parsed.row_count, parsed.rows.nbytes, _units(extent, parsed), seconds)

    def _apply_limit(self, extents: Sequence[Extent]) -> list[Extent]:
        """Return the beginning of the input that holds the rows up to the limit of the run."""
        n_remaining = float("inf") if self.plan.limit is None else float(self.plan.limit)
        limited = []
        for extent in extents:
            if n_remaining > 0:
                size = min(extent.size, n_remaining * self.first_ranges[extent.kind].row_units)
                limited.append(replace(extent, size=size))
            n_remaining -= self._rows_of(extent)
        return limited

    def _rows_of(self, extent: Extent) -> float:
        return extent.size / self.first_ranges[extent.kind].row_units

    def _n_ranges(self, extent: Extent) -> int:
        return max(1, round(extent.size / max(1e-9, self.first_ranges[extent.kind].units) + 0.49))

    # ------------------------------------------------------------------------------------------------ files that split

    def _draw_from_splits(self, extents: Sequence[Extent], n_target: int) -> tuple[list[Part], float, float]:
        """Draw one block from each of equal intervals of the files, placed end to end.

        Returns:
            The blocks, the estimated number of rows of the files, and its standard deviation.
        """
        n_blocks = max(1, min(BLOCKS, n_target))
        row_units = self.first_ranges[extents[0].kind].row_units
        length = max(1.0, n_target / n_blocks * row_units)
        total = sum(extent.size for extent in extents)
        starts = (np.arange(n_blocks) + self.rng.random(n_blocks)) * total / n_blocks
        parts: list[Part] = []
        spans: list[int] = []
        for extent, start, stop in _place_blocks(extents, starts.tolist(), length):
            spec = RangeSpec(extent.file.index, len(parts), start, stop)
            parsed = self.reader.spec(extent.file, spec)
            parts.append(self._part(extent.file.index, parsed, np.zeros(parsed.row_count, np.int64)))
            spans.append(stop - start)
        if extents[0].kind == "rows":
            return parts, total, 0.0
        counts = np.array([part.parsed.row_count for part in parts], np.float64)
        return parts, *_estimate_total(counts, np.array(spans, np.float64), total)

    def _part(self, file_index: int, parsed: ParsedRange, blocks: IntArray) -> Part:
        n_before = self.n_blocks
        self.n_blocks += int(blocks.max(initial=-1)) + 1
        return Part(file_index, parsed, blocks + n_before, {})

    # ------------------------------------------------------------------------------------------------ streams

    def _draw_from_streams(self, extents: Sequence[Extent], n_target: int) -> tuple[list[Part], float, float]:
        """Draw rows from the first range of several files, which are drawn with probabilities by size.

        Returns:
            As `_draw_from_splits`.
        """
        sizes = np.array([extent.size for extent in extents], np.float64)
        n_files = min(STREAMS, len(extents))
        chosen = np.sort(self.rng.choice(len(extents), n_files, replace=False, p=sizes / sizes.sum()))
        parts, counts, spans = [], [], []
        for position in chosen.tolist():
            extent = extents[position]
            parsed = next(self.reader.stream(extent.file))
            counts.append(parsed.row_count)
            spans.append(_units(extent, parsed))
            n_rows = min(parsed.row_count, max(1, n_target // n_files))
            rows = np.sort(self.rng.choice(parsed.row_count, n_rows, replace=False))
            blocks = rows * STREAM_BLOCKS // max(1, parsed.row_count)
            first_range = Part(extent.file.index, parsed, np.zeros(parsed.row_count, np.int64), {})
            parts.append(self._part(extent.file.index, select_records(first_range, rows).parsed, blocks))
        total, deviation = _estimate_total(
            np.array(counts, np.float64), np.array(spans, np.float64), float(sizes.sum())
        )
        self.notes.append(
            f"only the beginning of {n_files} of {len(extents)} compressed or unsplittable files was read; "
            "the run will differ if later rows differ"
        )
        return parts, total, max(deviation, 0.02 * total)


def _extent(plan: Plan, file: InputFile) -> Extent:
    specs = split(file, plan.views[0].schema)
    if specs is None:
        return Extent(file, "stream", float(file.size or 0))
    return Extent(file, "rows" if file.format == "parquet" else "bytes", float(specs[-1].stop if specs else 0))


def _place_blocks(
    extents: Sequence[Extent], starts: Sequence[float], length: float
) -> Iterator[tuple[Extent, int, int]]:
    """Yield (file, start, stop) of each block. A block stays within the file in which it starts.

    `starts` are ascending positions in the files placed end to end, of which the current one covers `lower` to `upper`.
    """
    lower, upper = 0.0, 0.0
    current = -1
    for position in starts:
        while position >= upper:
            current += 1
            lower, upper = upper, upper + extents[current].size
        start = int(position - lower)
        stop = min(int(extents[current].size), start + max(1, round(length)))
        yield extents[current], max(0, min(start, stop - 1)), stop


def _estimate_total(counts: FloatArray, spans: FloatArray, total: float) -> tuple[float, float]:
    """Estimate the rows of a total size, and the standard deviation, from the `counts` of rows in `spans` of it."""
    rate = counts.sum() / spans.sum()
    if len(counts) < 2:
        return rate * total, 0.05 * rate * total
    # The variance of a ratio estimator.
    residuals = counts - rate * spans
    variance = len(counts) / (len(counts) - 1) * (residuals**2).sum() / spans.sum() ** 2
    return rate * total, float(np.sqrt(variance)) * total


def _units(extent: Extent, parsed: ParsedRange) -> float:
    """Return the size of the first range of a file, in the units of the extent."""
    if extent.kind == "rows":
        return float(parsed.row_count)
    offset = parsed.end.get("offset", 0)
    if extent.file.compression is None:
        return max(1.0, min(float(offset), extent.size))
    return max(1.0, min(float(_stored_before(extent.file, offset)), extent.size))


def _stored_before(file: InputFile, offset: int) -> int:
    """Return about how many stored bytes of a compressed file hold the first `offset` bytes of its content."""
    if file.compression not in ("gzip", "zstd") or file.option("encoding"):
        with ByteSource(file, buffer_bytes=STEP_BYTES) as source:
            source.move_to(offset)
            return source.stored_bytes()

    def start() -> Any:
        return zlib.decompressobj(31) if file.compression == "gzip" else zstandard.ZstdDecompressor().decompressobj()

    # A file may consist of several frames: data after the end of a frame is for the next one.
    frame, n_bytes, n_stored, unused = start(), 0, 0, b""
    with open_stored(file) as stored:
        while data := unused or stored.read(STEP_BYTES):
            n_decompressed = len(frame.decompress(data))
            unused = frame.unused_data if frame.eof else b""
            frame = start() if frame.eof else frame
            n_used = len(data) - len(unused)
            if n_bytes + n_decompressed >= offset:
                return n_stored + n_used * (offset - n_bytes) // max(1, n_decompressed)
            n_bytes, n_stored = n_bytes + n_decompressed, n_stored + n_used
    return n_stored

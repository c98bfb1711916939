"""Draw blocks of rows from input that is too large to be read as a whole."""

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
    closeness,
    generator,
    packed_bytes,
    pick,
)
from jina_data.read import InputFile, ParsedRange, RangeSpec, split
from jina_data.read.streams import open_stored
from jina_data.stages.rows import FloatArray

BLOCKS = 64
"""Blocks that are drawn from files that split."""
STREAMS = 8
"""Files that are looked into, of those that can only be read in sequence."""
STREAM_BLOCKS = 8
"""Blocks that the rows from the beginning of such a file are taken for."""
STEP_BYTES = 2**13
"""How closely it is told where in a compressed file a row is."""


@dataclass(frozen=True)
class Look:
    """What the first range of a file shows: its rows, its size in memory, in the file's units, and in seconds."""

    n_rows: int
    n_bytes: int
    units: float
    seconds: float

    @property
    def row_units(self) -> float:
        """Units of the file that a row takes."""
        return max(self.units / max(1, self.n_rows), 1e-9)


@dataclass(frozen=True)
class Extent:
    """How large a file is: in rows (Parquet), bytes (JSON lines), or stored bytes of a stream."""

    file: InputFile
    kind: str
    size: float


def draw_blocks(plan: Plan, n_rows: int) -> InputSample:
    """Draw about `n_rows` rows in blocks; the number of rows of all input is exact for Parquet, else estimated."""
    return _Drawing(plan, n_rows).go()


class _Drawing:
    def __init__(self, plan: Plan, n_rows: int) -> None:
        self.plan = plan
        self.settled = TypedReader(plan)
        self.rng = generator(plan, 2)
        self.extents = [_extent(plan, file) for file in plan.inputs if file.size != 0]
        self.packed = np.zeros(2)
        kinds = dict.fromkeys(extent.kind for extent in self.extents)
        self.looks = {kind: self._look(kind) for kind in kinds}
        self.n_wanted = max(1, min([n_rows, *(self._rows_in(look, SAMPLE_BYTES) for look in self.looks.values())]))
        whole = self.extents
        self.extents = self._cut(whole)
        self.is_cut = sum(map(self._rows_of, self.extents)) < sum(map(self._rows_of, whole))
        self.n_blocks = 0
        self.notes: list[str] = []

    def go(self) -> InputSample:
        estimated = {extent.file.index: self._rows_of(extent) for extent in self.extents}
        total = sum(estimated.values())
        parts: list[Part] = []
        found: dict[str, tuple[float, float]] = {}
        for kind in self.looks:
            mine = [extent for extent in self.extents if extent.kind == kind]
            share = sum(estimated[extent.file.index] for extent in mine) / max(total, 1e-9)
            wanted = max(1, round(self.n_wanted * share))
            drawn, n_rows, deviation = self._stream(mine, wanted) if kind == "stream" else self._split(mine, wanted)
            parts += drawn
            found[kind] = (n_rows, deviation)
        return self._drawn(sorted(parts, key=lambda part: part.file_index), found)

    def _drawn(self, parts: Sequence[Part], found: dict[str, tuple[float, float]]) -> InputSample:
        kinds = {extent.file.index: extent.kind for extent in self.extents}
        sampled = dict.fromkeys(found, 0)
        for part in parts:
            sampled[kinds[part.file_index]] += part.parsed.row_count
        n_sampled = max(1, sum(sampled.values()))
        expected = max(float(n_sampled), sum(n_rows for n_rows, _ in found.values()))
        error = 1.96 * float(np.sqrt(sum(deviation**2 for _, deviation in found.values())))
        low, high = max(float(n_sampled), expected - error), expected + error
        if self.plan.limit is not None and self.is_cut:
            low = expected = high = float(self.plan.limit)
        weights = {
            index: found[kind][0] / max(1, sampled[kind]) * n_sampled / max(1.0, expected)
            for index, kind in kinds.items()
        }
        seconds = {kind: found[kind][0] * look.seconds / max(1, look.n_rows) for kind, look in self.looks.items()}
        streams = [extent for extent in self.extents if extent.kind == "stream"]
        longest = max((extent.size for extent in streams), default=0.0) / max(1.0, sum(one.size for one in streams))
        return InputSample(
            parts=parts,
            n_rows=(low, expected, high),
            way="blocks",
            n_ranges=sum(self._n_ranges(extent) for extent in self.extents),
            parsed_bytes=sum(found[kind][0] * look.n_bytes / max(1, look.n_rows) for kind, look in self.looks.items()),
            parse_seconds=sum(seconds.values()),
            longest_seconds=longest * seconds.get("stream", 0.0),
            weights=weights,
            occurrences={},
            closeness=closeness(self.packed, parts),
            notes=self.notes,
        )

    # ------------------------------------------------------------------------------------------------ first looks

    def _look(self, kind: str) -> Look:
        """Parse the first range of the largest file of a kind."""
        extent = max((one for one in self.extents if one.kind == kind), key=lambda one: one.size)
        started = time.perf_counter()
        parsed = next(iter(self.settled.ranges(extent.file)))
        seconds = time.perf_counter() - started
        self.packed += (packed_bytes([parsed.rows]), parsed.rows.nbytes)
        return Look(parsed.row_count, parsed.rows.nbytes, _units(extent, parsed), seconds)

    def _rows_in(self, look: Look, n_bytes: int) -> int:
        return int(n_bytes * look.n_rows / max(1, look.n_bytes))

    def _cut(self, extents: Sequence[Extent]) -> list[Extent]:
        """Return the beginning of the input that holds the rows of the run's limit."""
        left = float("inf") if self.plan.limit is None else float(self.plan.limit)
        cut = []
        for extent in extents:
            if left > 0:
                cut.append(replace(extent, size=min(extent.size, left * self.looks[extent.kind].row_units)))
            left -= self._rows_of(extent)
        return cut

    def _rows_of(self, extent: Extent) -> float:
        return extent.size / self.looks[extent.kind].row_units

    def _n_ranges(self, extent: Extent) -> int:
        return max(1, round(extent.size / max(1e-9, self.looks[extent.kind].units) + 0.49))

    # ------------------------------------------------------------------------------------------------ files that split

    def _split(self, extents: Sequence[Extent], wanted: int) -> tuple[list[Part], float, float]:
        """Draw one block from each of equally many rows or bytes, laid end to end."""
        n_blocks = max(1, min(BLOCKS, wanted))
        row_units = self.looks[extents[0].kind].row_units
        length = max(1.0, wanted / n_blocks * row_units)
        total = sum(extent.size for extent in extents)
        starts = (np.arange(n_blocks) + self.rng.random(n_blocks)) * total / n_blocks
        parts: list[Part] = []
        spans: list[int] = []
        for extent, begin, end in _placed(extents, starts.tolist(), length):
            spec = RangeSpec(extent.file.index, len(parts), begin, end)
            parsed = self.settled.spec(extent.file, spec)
            parts.append(self._part(extent.file.index, parsed, np.zeros(parsed.row_count, np.int64)))
            spans.append(end - begin)
        if extents[0].kind == "rows":
            return parts, total, 0.0
        counts = np.array([part.parsed.row_count for part in parts], np.float64)
        return parts, *_ratio(counts, np.array(spans, np.float64), total)

    def _part(self, file_index: int, parsed: ParsedRange, blocks: IntArray) -> Part:
        n_before = self.n_blocks
        self.n_blocks += int(blocks.max(initial=-1)) + 1
        return Part(file_index, parsed, blocks + n_before, {})

    # ------------------------------------------------------------------------------------------------ streams

    def _stream(self, extents: Sequence[Extent], wanted: int) -> tuple[list[Part], float, float]:
        """Take rows from the first range of some files, drawn by size."""
        sizes = np.array([extent.size for extent in extents], np.float64)
        n_files = min(STREAMS, len(extents))
        chosen = np.sort(self.rng.choice(len(extents), n_files, replace=False, p=sizes / sizes.sum()))
        parts, counts, spans = [], [], []
        for position in chosen.tolist():
            extent = extents[position]
            parsed = next(self.settled.stream(extent.file))
            counts.append(parsed.row_count)
            spans.append(_units(extent, parsed))
            n_rows = min(parsed.row_count, max(1, wanted // n_files))
            rows = np.sort(self.rng.choice(parsed.row_count, n_rows, replace=False))
            blocks = rows * STREAM_BLOCKS // max(1, parsed.row_count)
            whole = Part(extent.file.index, parsed, np.zeros(parsed.row_count, np.int64), {})
            parts.append(self._part(extent.file.index, pick(whole, rows).parsed, blocks))
        total, deviation = _ratio(np.array(counts, np.float64), np.array(spans, np.float64), float(sizes.sum()))
        self.notes.append(
            f"{n_files} of {len(extents)} compressed or unsplittable files were read at their beginning only: "
            "where rows further behind differ, so will the run"
        )
        return parts, total, max(deviation, 0.02 * total)


def _extent(plan: Plan, file: InputFile) -> Extent:
    specs = split(file, plan.views[0].schema)
    if specs is None:
        return Extent(file, "stream", float(file.size or 0))
    return Extent(file, "rows" if file.format == "parquet" else "bytes", float(specs[-1].stop if specs else 0))


def _placed(extents: Sequence[Extent], starts: Sequence[float], length: float) -> Iterator[tuple[Extent, int, int]]:
    """Yield the span of each block, in order, inside the file where it begins."""
    first, behind = 0.0, 0.0
    at = -1
    for start in starts:
        while start >= behind:
            at += 1
            first, behind = behind, behind + extents[at].size
        begin = int(start - first)
        end = min(int(extents[at].size), begin + max(1, round(length)))
        yield extents[at], max(0, min(begin, end - 1)), end


def _ratio(counts: FloatArray, spans: FloatArray, total: float) -> tuple[float, float]:
    """Estimate how many rows a total holds from the counts in some spans of it; with the standard deviation."""
    rate = counts.sum() / spans.sum()
    if len(counts) < 2:
        return rate * total, 0.05 * rate * total
    residuals = counts - rate * spans
    variance = len(counts) / (len(counts) - 1) * (residuals**2).sum() / spans.sum() ** 2
    return rate * total, float(np.sqrt(variance)) * total


def _units(extent: Extent, parsed: ParsedRange) -> float:
    """Return how much of the file a first range takes, in the units of its size."""
    if extent.kind == "rows":
        return float(parsed.row_count)
    offset = parsed.end.get("offset", 0)
    if extent.file.compression is None:
        return max(1.0, min(float(offset), extent.size))
    return max(1.0, min(float(_stored_before(extent.file, offset)), extent.size))


def _stored_before(file: InputFile, offset: int) -> int:
    """Return the stored bytes that hold the first `offset` bytes of a compressed file, about."""

    def start() -> Any:
        return zlib.decompressobj(31) if file.compression == "gzip" else zstandard.ZstdDecompressor().decompressobj()

    frame, n_bytes, n_stored, rest = start(), 0, 0, b""
    with open_stored(file) as stored:
        while data := rest or stored.read(STEP_BYTES):
            n_last = len(frame.decompress(data))
            rest = frame.unused_data if frame.eof else b""
            frame = start() if frame.eof else frame
            taken = len(data) - len(rest)
            if n_bytes + n_last >= offset:
                return n_stored + taken * (offset - n_bytes) // max(1, n_last)
            n_bytes, n_stored = n_bytes + n_last, n_stored + taken
    return n_stored

"""Draws the sample of a forecast: all of the input, rows of it, or blocks of rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from jina_data.clean.plan import Plan
from jina_data.clean.units import first_rows
from jina_data.forecast.repeats import content_numbers, count_keys, find_repeat_stages
from jina_data.forecast.sample import (
    READ_BYTES,
    SAMPLE_BYTES,
    InputSample,
    Part,
    TypedReader,
    compression_factor,
    generator,
    parquet_bytes,
    sample_rows,
    select_records,
)
from jina_data.kernels.keys import KeyArray
from jina_data.read import InputFile, ParsedRange, split


def draw(plan: Plan) -> InputSample:
    """Draw a sample of the input of a plan: all of it, rows, or blocks of rows."""
    from jina_data.forecast.blocks import draw_blocks

    n_rows = sample_rows(plan)
    stored = sum((file.size or 0) * (1 if _is_plain(file) else 3) for file in plan.inputs)
    unknown = [file.name for file in plan.inputs if not _has_known_size(plan, file)]
    if unknown or stored <= READ_BYTES or plan.limit is not None:
        sample = _SampleReader(plan, n_rows).run(unknown)
        if sample is not None:
            return sample
    return draw_blocks(plan, n_rows)


def _has_known_size(plan: Plan, file: InputFile) -> bool:
    """Return whether the remaining size of a file is known at every position."""
    by_rows = file.format in ("parquet", "arrow", "datasets")
    return file.size is not None and not (by_rows and split(file, plan.views[0].schema) is None)


def _is_plain(file: InputFile) -> bool:
    return file.compression is None and file.format not in ("parquet", "arrow")


class _SampleReader:
    """Reads all input, or up to the limit of the run, and keeps the rows with the smallest random numbers.

    Every row with a number below `below` is in `kept`, so the kept rows are a uniform sample at any time.
    """

    def __init__(self, plan: Plan, n_target: int) -> None:
        self.plan = plan
        self.n_target = n_target
        self.reader = TypedReader(plan)
        self.kept: list[tuple[Part, npt.NDArray[np.float64]]] = []
        self.below = 1.0
        self.n_rows = self.n_unreadable = self.n_bytes = self.n_ranges = 0
        self.seconds: dict[int, float] = {}
        self.packed = np.zeros(2)
        self.keys: dict[int, list[KeyArray]] = {index: [] for index in find_repeat_stages(plan)}

    def run(self, unknown: Sequence[str]) -> InputSample | None:
        """Return the sample, or None if the input is too large to be read completely.

        If there are files of `unknown` size, the sample is of the rows that were read up to that point.
        """
        notes = []
        for file in self.plan.inputs:
            started = time.perf_counter()
            for parsed in self._limited(file):
                self.seconds[file.index] = self.seconds.get(file.index, 0.0) + time.perf_counter() - started
                self._add(file, parsed)
                if self.n_bytes > 4 * READ_BYTES:
                    break
                started = time.perf_counter()
            if self.n_bytes > 4 * READ_BYTES:
                if not unknown:
                    return None
                notes.append(
                    f"{', '.join(unknown)}: the number of rows is unknown. "
                    f"This forecast is for the first {self.n_rows:,} rows of the input"
                )
                break
        self._shrink(min(self.n_target, self._max_rows()))
        is_all = self.below == 1.0
        longest = [seconds for index, seconds in self.seconds.items() if not self._splits(index)]
        return InputSample(
            parts=[part for part, _ in self.kept],
            n_rows=(self.n_rows, self.n_rows, self.n_rows),
            way="all" if is_all else "rows",
            n_ranges=self.n_ranges,
            parsed_bytes=self.n_bytes,
            parse_seconds=sum(self.seconds.values()),
            longest_seconds=max(longest, default=0.0),
            weights={},
            occurrences={} if is_all else {index: count_keys(batches) for index, batches in self.keys.items()},
            n_unreadable=self.n_unreadable,
            compression_factor=1.0 if is_all else compression_factor(self.packed, [part for part, _ in self.kept]),
            notes=notes,
        )

    def _limited(self, file: InputFile) -> Iterator[ParsedRange]:
        limit = self.plan.limit
        if limit is not None and self.n_rows >= limit:
            return
        for parsed in self.reader.ranges(file):
            yield parsed if limit is None else first_rows(parsed, limit - self.n_rows)
            if limit is not None and self.n_rows >= limit:
                return

    def _splits(self, file_index: int) -> bool:
        file = self.plan.inputs[file_index]
        return self.plan.limit is None and split(file, self.plan.views[0].schema) is not None

    def _add(self, file: InputFile, parsed: ParsedRange) -> None:
        numbers = generator(self.plan, 1, file.index, parsed.number).random(parsed.row_count)
        keys = {index: content_numbers(self.plan, index, parsed.rows) for index in self.keys}
        for index, content in keys.items():
            self.keys[index].append(content)
        blocks = self.n_rows + np.arange(parsed.row_count)
        self.n_rows += parsed.row_count
        self.n_unreadable += len(parsed.unreadable)
        self.n_bytes += parsed.rows.nbytes
        if self.n_ranges & (self.n_ranges - 1) == 0:  # a few ranges are enough: the 1st, 2nd, 3rd, 5th, 9th ...
            self.packed += (parquet_bytes([parsed.rows]), parsed.rows.nbytes)
        self.n_ranges += 1
        chosen = np.flatnonzero(numbers < self.below)
        self.kept.append((select_records(Part(file.index, parsed, blocks, keys), chosen), numbers[chosen]))
        if sum(len(part_numbers) for _, part_numbers in self.kept) > 2 * self.n_target:
            self._shrink(self.n_target)

    def _max_rows(self) -> int:
        return max(1, int(SAMPLE_BYTES * self.n_rows / max(1, self.n_bytes)))

    def _shrink(self, n_target: int) -> None:
        """Keep the rows with the smallest random numbers."""
        numbers = np.concatenate([part_numbers for _, part_numbers in self.kept]) if self.kept else np.empty(0)
        if len(numbers) <= n_target:
            return
        self.below = float(np.partition(numbers, n_target)[n_target])
        kept = []
        for part, part_numbers in self.kept:
            chosen = np.flatnonzero(part_numbers < self.below)
            kept.append((select_records(part, chosen), part_numbers[chosen]))
        self.kept = kept

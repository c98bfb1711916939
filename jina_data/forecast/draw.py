"""."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from jina_data.clean.plan import Plan
from jina_data.clean.units import first_rows
from jina_data.forecast.repeats import count_keys, repeat_keys, repeats
from jina_data.forecast.sample import (
    READ_BYTES,
    SAMPLE_BYTES,
    InputSample,
    Part,
    TypedReader,
    closeness,
    generator,
    packed_bytes,
    pick,
    sample_rows,
)
from jina_data.kernels.keys import KeyArray
from jina_data.read import InputFile, ParsedRange, split


def draw(plan: Plan) -> InputSample:
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


def _is_plain(file: InputFile) -> bool:
    return file.compression is None and file.format != "parquet"


class _Reading:
    """Reads all input, or up to the limit of the run, and keeps the rows with the smallest random numbers."""

    def __init__(self, plan: Plan, n_wanted: int) -> None:
        self.plan = plan
        self.n_wanted = n_wanted
        self.settled = TypedReader(plan)
        self.kept: list[tuple[Part, npt.NDArray[np.float64]]] = []
        self.below = 1.0
        self.n_rows = self.n_unreadable = self.n_bytes = self.n_ranges = 0
        self.seconds: dict[int, float] = {}
        self.packed = np.zeros(2)
        self.keys: dict[int, list[KeyArray]] = {index: [] for index in repeats(plan)}

    def go(self, unknown: Sequence[str]) -> InputSample | None:
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
        return InputSample(
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

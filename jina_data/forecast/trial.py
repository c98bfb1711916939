"""Runs the stages on a sample, in a temporary folder, and collects outcomes, times and sizes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from typing_extensions import override

from jina_data.clean.folder import CleanFolder
from jina_data.clean.plan import InputRange, Plan
from jina_data.clean.session import CleanSession
from jina_data.clean.spool import write_range
from jina_data.engines.local import MemoryBudget
from jina_data.forecast.sample import IntArray, Part
from jina_data.progress import SilentProgress
from jina_data.read import ROW, ParsedRange
from jina_data.read.model import ROW_BITS
from jina_data.run.files import write_json
from jina_data.run.memory import MemoryWatch
from jina_data.run.resources import resource_errors
from jina_data.run.resume import ResumableRun
from jina_data.stages import Stage
from jina_data.stages.sample import Sample

Step = tuple[str, int]
"""A step of a run: "read", "load", "keys", "stage", "decide", "outside" (keys of reference rows), "ledger", "data" or
"dropped", and the number of the pass or stage (0 if there is only one)."""


@dataclass(frozen=True)
class SampleOutcomes:
    """The outcomes of N sampled records, in order of row id.

    `stage` is the index of the stage that dropped a row, KEPT or UNREADABLE. `partner` is the position of the row that
    it repeats, or -1 if that is not in the sample.
    """

    row_ids: npt.NDArray[np.uint64]
    stage: IntArray
    reason: Sequence[str | None]
    partner: IntArray


KEPT, UNREADABLE = -1, -2


@dataclass(frozen=True)
class Trial:
    """The results of a run over a sample: outcomes, seconds and units of every step, and bytes of every folder.

    `scored` is the number of texts that models scored, by stage. `ranks` has the ranks of `consistency` by position, 0
    if a row did not reach the stage. `fit_results` has the facts of each barrier stage.
    """

    n_rows: int
    outcomes: SampleOutcomes
    seconds: Mapping[Step, float]
    units: Mapping[Step, int]
    rows: Mapping[Step, int]
    sizes: Mapping[str, int]
    scored: Mapping[int, int]
    ranks: Mapping[int, IntArray]
    fit_results: Mapping[int, dict[str, Any]]
    peak_memory_bytes: int
    describe_seconds: float


def run_trial(plan: Plan, parts: Sequence[Part], budget: MemoryBudget, reuse: Sequence[Path], *, merge: bool) -> Trial:
    """Run the stages of a plan over parts of its input, in a folder that is deleted afterwards.

    Args:
        merge: join the parts of a file, so that ranges are as long as in a run.
    """
    plan = replace(plan, recipe=replace(plan.recipe, stages=tuple(map(_without_sampling, plan.stages))), limit=None)
    with tempfile.TemporaryDirectory(prefix="jina-data-plan-") as path:
        folder = CleanFolder(Path(path) / "run")
        run = ResumableRun(folder, plan.fingerprint(), SilentProgress())
        with folder.locked(), resource_errors(folder.path):
            run.begin()
            return _TrialSession(plan, run, budget, reuse=reuse).trial(merge_parts(parts) if merge else parts)


def _without_sampling(stage: Stage) -> Stage:
    """Replace a `sample` stage without weights by one that keeps all rows; its result is computed without a trial."""
    if isinstance(stage, Sample) and not stage.weights:
        return Sample(fraction=1.0)
    return stage


class _TrialSession(CleanSession):
    """A session whose input is a parsed sample."""

    def trial(self, parts: Sequence[Part]) -> Trial:
        """Run all steps on the parts and measure them."""
        self.parts = parts
        self.pieces: Sequence[InputRange] = ()
        self.describe_seconds = 0.0
        try:
            with MemoryWatch(0.05) as watch:
                self._run_steps()
        finally:
            self.engine.close()
        return self._collect(watch.peak_bytes)

    @override
    def _read(self) -> None:
        numbers = dict.fromkeys(range(len(self.plan.inputs)), 0)
        for part in self.parts:
            number = numbers[part.file_index]
            with self.events.unit(f"read {part.file_index}:{number}") as metrics:
                parsed = replace(part.parsed, number=number)
                metrics["rows"] = write_range(self.folder, part.file_index, parsed).n_rows
            numbers[part.file_index] += 1
        for index, n_ranges in numbers.items():
            write_json(self.folder.end_of_file(index), {"ranges": n_ranges})
            write_json(self.folder.input_sha256(index), {"sha256": None})

    @override
    def _write_report(self, pieces: Sequence[InputRange]) -> None:
        started = time.perf_counter()
        super()._write_report(pieces)
        self.describe_seconds = time.perf_counter() - started

    # ------------------------------------------------------------------------------------------------ results

    def _collect(self, peak_bytes: int) -> Trial:
        outcomes = self._outcomes()
        seconds: dict[Step, float] = {}
        units: dict[Step, int] = {}
        rows: dict[Step, int] = {}
        scored: dict[int, int] = {}
        for event in self.events.read():
            if event["event"] == "finish":
                for step, value in self._steps(event).items():
                    seconds[step] = seconds.get(step, 0.0) + value
                    units[step] = units.get(step, 0) + 1
                    rows[step] = rows.get(step, 0) + event.get("rows", 0)
                index = self._scoring(event)
                counts = event.get("scores", {}).values()
                scored[index] = scored.get(index, 0) + sum(count.get("computed", 0) for count in counts)
        fit_results = {index: self._fit_result(index) for index in range(len(self.plan.stages))}
        return Trial(
            n_rows=len(outcomes.stage),
            outcomes=outcomes,
            seconds=seconds,
            units=units,
            rows=rows,
            sizes=self._sizes(),
            scored=scored,
            ranks={index: ranks for index in fit_results if (ranks := self._ranks(index, outcomes)) is not None},
            fit_results=fit_results,
            peak_memory_bytes=peak_bytes,
            describe_seconds=self.describe_seconds,
        )

    def _steps(self, event: Mapping[str, Any]) -> dict[Step, float]:
        """Return the seconds of a unit by step."""
        kind, _, number = str(event["unit"]).partition(" ")
        if kind == "pass":
            current = self.plan.passes[int(number.partition(":")[0])]
            by_stage = {int(index): float(value) for index, value in event["stages"].items()}
            steps: dict[Step, float] = {
                ("keys" if index == current.keys_for else "stage", index): value for index, value in by_stage.items()
            }
            return steps | {("load", current.number): event["seconds"] - sum(by_stage.values())}
        of_stage = kind in ("decide", "outside")
        return {(kind, int(number.partition(":")[0]) if of_stage else 0): event["seconds"]}

    def _scoring(self, event: Mapping[str, Any]) -> int:
        """Return the stage whose model ran in a unit, or -1."""
        kind, _, number = str(event["unit"]).partition(" ")
        if kind != "pass":
            return int(event.get("stage", -1))
        current = self.plan.passes[int(number.partition(":")[0])]
        models = [index for index in (*current.stages, current.keys_for) if index is not None]
        return next((index for index in reversed(models) if self.plan.stages[index].process_bytes()), -1)

    def _fit_result(self, index: int) -> dict[str, Any]:
        path = self.folder.barrier_result(index)
        return dict(self.folder.read_json(path)) if path.exists() else {}

    def _outcomes(self) -> SampleOutcomes:
        names = ["row_id", "stage_index", "stage", "reason", "partner_row_id"]
        ledger = pq.read_table(self.folder.out / "ledger", columns=names).sort_by("row_id")
        row_ids = ledger.column("row_id").to_numpy()
        stage = pc.fill_null(ledger.column("stage_index").cast(pa.int64()), KEPT).to_numpy().copy()
        stage[pc.fill_null(pc.equal(ledger.column("stage"), "read"), False).to_numpy()] = UNREADABLE
        partner = np.full(len(row_ids), -1, np.int64)
        has_partner = ledger.column("partner_row_id").is_valid().to_numpy()
        partner[has_partner] = np.searchsorted(row_ids, ledger.column("partner_row_id").drop_null().to_numpy())
        return SampleOutcomes(row_ids, stage, ledger.column("reason").to_pylist(), partner)

    def _ranks(self, index: int, outcomes: SampleOutcomes) -> IntArray | None:
        path = self.folder.out / "scores" / f"{index:02d}-{self.plan.stages[index].name}"
        if self.plan.stages[index].name != "consistency" or not path.is_dir():
            return None
        scores = pq.read_table(path, columns=["row_id", "rank"])
        ranks = np.zeros(len(outcomes.row_ids), np.int64)
        ranks[np.searchsorted(outcomes.row_ids, scores.column("row_id").to_numpy())] = scores.column("rank").to_numpy()
        return ranks

    def _sizes(self) -> dict[str, int]:
        """Return the bytes of each folder of the run, work and outputs, by its name in a finished run."""
        sizes: dict[str, int] = {}
        for path in self.folder.path.rglob("*"):
            if path.is_file():
                parts = path.relative_to(self.folder.path).parts
                # Outputs are written to .work/out until the run is finished.
                inside = parts[2:] if parts[:2] == (".work", "out") else parts
                depth = 2 if inside[0] in (".work", "scores") else 1
                name = "/".join(inside[:depth])
                sizes[name] = sizes.get(name, 0) + path.stat().st_size
        return sizes


def merge_parts(parts: Sequence[Part]) -> list[Part]:
    """Join consecutive parts of the same file with the same types."""
    out: list[Part] = []
    for part in parts:
        last = out[-1] if out else None
        fits = last is not None and (last.file_index, last.parsed.rows.schema) == (
            part.file_index,
            part.parsed.rows.schema,
        )
        if last is None or not fits:
            out.append(part)
        else:
            out[-1] = _concatenate(last, part)
    return out


def _concatenate(part: Part, following: Part) -> Part:
    shift = part.parsed.row_count
    rows = following.parsed.rows
    numbers = pc.add(rows.column(ROW), pa.scalar(shift, pa.int32()))
    table = pa.concat_tables([part.parsed.rows, rows.set_column(rows.schema.get_field_index(ROW), ROW, numbers)])
    unreadable = [
        *part.parsed.unreadable,
        *(replace(broken, row=broken.row + shift) for broken in following.parsed.unreadable),
    ]
    parsed = ParsedRange(part.parsed.number, table.combine_chunks(), unreadable, shift + following.parsed.row_count, 0)
    return Part(part.file_index, parsed, np.concatenate([part.blocks, following.blocks]), {})


def block_of_rows(parts: Sequence[Part]) -> IntArray:
    """Return the block of every sampled record, in order of row id."""
    return np.concatenate([np.empty(0, np.int64), *(part.blocks for part in parts)])


def file_of_rows(outcomes: SampleOutcomes) -> IntArray:
    """Return the index of the file of every sampled record."""
    return (outcomes.row_ids >> np.uint64(ROW_BITS)).astype(np.int64)

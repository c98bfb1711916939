"""Runs one session of a clean run: the steps in order, each over the units of work that are not done."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.clean.checks import check_laws
from jina_data.clean.folder import CleanFolder
from jina_data.clean.ledger import RangeCounts, ledger_groups, ledger_path, read_counts
from jina_data.clean.notices import MAX_UNREADABLE, ReadFailures, check_readable, find_failures
from jina_data.clean.origins import write_sources
from jina_data.clean.plan import InputRange, Pass, Plan
from jina_data.clean.report import CleanReport, build_report
from jina_data.clean.report_page import write_html
from jina_data.clean.rows import SURVIVES, fetch
from jina_data.clean.shards import cut_shards
from jina_data.clean.spool import is_exact_range, read_facts, unreadable_rows, write_range
from jina_data.clean.units import do_unit, first_rows
from jina_data.clean.worker import WorkerContext, open_worker
from jina_data.engines.base import Engine
from jina_data.engines.local import LocalEngine, MemoryBudget
from jina_data.errors import InputError, ModelError, RecipeError
from jina_data.progress import Progress
from jina_data.read import (
    InputFile,
    RangeSpec,
    all_ranges,
    split,
    unite_schemas,
)
from jina_data.read.model import ROW_BITS
from jina_data.run.files import atomic_file, atomic_path, remove, write_json
from jina_data.run.resume import ResumableRun, versions
from jina_data.stages.base import Barrier, Collective, RemainingRows, literal, quoted
from jina_data.stages.reference import ReferenceRows
from jina_data.stages.score_cache import build_index

MENDED = {
    "padded": "rows with fewer fields than columns; the missing ones are null",
    "repeated_headers": "lines that repeat the header; they are not rows",
    "rules": "lines of dashes or numbers of rows around the table; they are not rows",
}
"""What is reported about the counts of ranges."""


class CleanSession:
    """One session of a run: it does the steps that are not done."""

    def __init__(
        self,
        plan: Plan,
        run: ResumableRun[CleanFolder],
        budget: MemoryBudget,
        *,
        reuse: Sequence[Path] = (),
        max_unreadable: float = MAX_UNREADABLE,
    ) -> None:
        self.plan = plan
        self.resumable_run = run
        self.reuse = reuse
        self.max_unreadable = max_unreadable
        self.failures: Sequence[ReadFailures] = ()
        self.folder = run.folder
        self.progress = run.progress
        self.budget = budget
        self.engine: Engine = LocalEngine(self.folder, budget)
        self.events = run.events

    def run(self) -> CleanReport:
        """Do the remaining work. If an input, recipe or model error makes resuming pointless, the folder is cleared."""
        # A failed read of a remote input may succeed next time, so only local input errors end a run for good.
        is_local = all(file.is_local for file in self.plan.inputs)
        with self.resumable_run.session(unresumable=(InputError, RecipeError, ModelError) if is_local else ()):
            try:
                if not self.resumable_run.is_complete:
                    self._run_steps()
            finally:
                self.engine.close()
            self.resumable_run.finish()
        return CleanReport.load(self.folder.path)

    def _run_steps(self) -> None:
        prepare_stages(self.plan, self.progress)
        build_index([self.folder.cache, *(CleanFolder(path).cache for path in self.reuse)], self.folder.old_index)
        self.engine.set_plan(self.plan)
        self._read()
        pieces, schema = self._list_ranges()
        self.failures = find_failures(self.folder, self.plan, pieces)
        check_readable(self.failures, self.max_unreadable)
        if schema != self.plan.views[0].schema:
            self.plan = self.plan.with_schema(schema)
            self.engine.set_plan(self.plan)
        n_rows = sum(piece.n_rows - piece.n_unreadable for piece in pieces)
        self._read_reference_rows()
        write_sources(self.folder, self.plan)
        for current in self.plan.passes if pieces else ():
            self._run_pass(current, pieces, n_rows)
        counts = self._write_ledger(pieces)
        self._write_shards(pieces, counts)
        self._write_unreadable(pieces)
        self._write_report(pieces)

    def _map(self, step: str, total_rows: int | None, units: Sequence[tuple[Any, ...]]) -> None:
        """Run units on the engine; their progress comes from the event log, since other processes may do them."""
        if not units:
            return
        with self.progress.task(step, total_rows) as task, self.events.follow(task.advance):
            for _ in self.engine.map(do_unit, units):
                pass

    # ------------------------------------------------------------------------------------------------- reading

    def _read(self) -> None:
        """Parse every input into the spool, and compute its sha256."""
        schema = self.plan.views[0].schema
        units: list[tuple[Any, ...]] = []
        splits: dict[int, int] = {}
        for file in self.plan.inputs:
            if not self.folder.input_sha256(file.index).exists():
                units.append(("digest", file.index))
            if self.folder.end_of_file(file.index).exists():
                continue
            specs = None if self.plan.limit is not None else split(file, schema)
            if specs is None:
                units.append(("stream", file.index))
            else:
                splits[file.index] = len(specs)
                todo = [spec for spec in specs if not self._is_read(spec)]
                # Consecutive ranges go to one worker, because Parquet is decoded from the start of a row group.
                size = max(1, min(16, len(todo) // (4 * self.budget.workers)))
                units += [("ranges", todo[start : start + size]) for start in range(0, len(todo), size)]
        if self.plan.limit is not None:
            self._read_limited(schema)
            units = [unit for unit in units if unit[0] == "digest"]
        self._map("reading", None, units)
        for index, n_ranges in splits.items():
            write_json(self.folder.end_of_file(index), {"ranges": n_ranges})

    def _is_read(self, spec: RangeSpec) -> bool:
        return self.folder.spool(spec.file_index, spec.number).exists()

    def _read_limited(self, schema: pa.Schema) -> None:
        """Parse the first rows of the input, in order, up to the limit."""
        assert self.plan.limit is not None
        remaining = self.plan.limit
        for file in self.plan.inputs:
            if self.folder.end_of_file(file.index).exists():
                n_ranges = self.folder.read_json(self.folder.end_of_file(file.index))["ranges"]
                remaining -= sum(read_facts(self.folder, file.index, number)[0].n_rows for number in range(n_ranges))
                continue
            n_ranges = 0
            if remaining > 0:
                for parsed in all_ranges(file, schema):
                    with self.events.unit(f"read {file.index}:{parsed.number}") as metrics:
                        facts = write_range(self.folder, file.index, first_rows(parsed, remaining))
                        metrics["rows"] = facts.n_rows
                    n_ranges, remaining = n_ranges + 1, remaining - facts.n_rows
                    if remaining <= 0:
                        break
            write_json(self.folder.end_of_file(file.index), {"ranges": n_ranges})

    def _list_ranges(self) -> tuple[list[InputRange], pa.Schema]:
        """Number the rows of all ranges, and unite their schemas."""
        schema = self._settle_schema()
        pieces: list[InputRange] = []
        for file in self.plan.inputs:
            first_row = first_line = 0
            mended: Counter[str] = Counter()
            for number in range(self._n_ranges(file)):
                facts, _ = read_facts(self.folder, file.index, number)
                mended.update(facts.counts)
                pieces.append(
                    InputRange(
                        ordinal=len(pieces),
                        file_index=file.index,
                        number=number,
                        first_row=first_row,
                        n_rows=facts.n_rows,
                        n_unreadable=facts.n_unreadable,
                        first_line=first_line,
                        n_bytes=facts.n_bytes,
                    )
                )
                first_row, first_line = first_row + facts.n_rows, first_line + facts.n_lines
            self._report_mended(file, mended)
        return pieces, schema

    def _n_ranges(self, file: InputFile) -> int:
        n_ranges: int = self.folder.read_json(self.folder.end_of_file(file.index))["ranges"]
        return n_ranges

    def _report_mended(self, file: InputFile, counts: Counter[str]) -> None:
        """Report rows of a file that were filled up, and headers that were skipped."""
        for name, text in MENDED.items():
            if n_rows := counts[name]:
                self.progress.message(f"{file.name}: {n_rows:,} {text}")

    def _settle_schema(self) -> pa.Schema:
        """Return the schema of all ranges.

        Workers parse ranges against the schema of the sample, without the schemas of other ranges. Ranges that cannot
        be cast to the common schema without loss are parsed again with it, which may widen it once more.
        """
        schema = self.plan.views[0].schema
        while True:
            before = schema
            for file in self.plan.inputs:
                for number in range(self._n_ranges(file)):
                    found = read_facts(self.folder, file.index, number)[1]
                    schema = unite_schemas([schema, found], file.text_columns)
            todo = [(file.index, numbers) for file in self.plan.inputs if (numbers := self._inexact(file, schema))]
            if not todo or schema.equals(before):
                return schema
            self._map("reading again", None, [("again", index, numbers, schema) for index, numbers in todo])

    def _inexact(self, file: InputFile, schema: pa.Schema) -> list[int]:
        return [
            number for number in range(self._n_ranges(file)) if not is_exact_range(self.folder, file, number, schema)
        ]

    def _read_reference_rows(self) -> None:
        """Compute the keys of the reference rows that collective stages compare with."""
        units = [
            ("outside", index, number)
            for index, files in self.plan.outside.items()
            if isinstance(self.plan.stages[index], Collective)
            for number in range(len(files))
            if not self.folder.outside(index, number).exists()
        ]
        self._map("reading reference files", None, units)

    # -------------------------------------------------------------------------------------------------- passes

    def _run_pass(self, current: Pass, pieces: Sequence[InputRange], n_rows: int) -> None:
        names = [self.plan.stages[index].name for index in current.stages]
        if current.keys_for is not None:
            names.append(f"keys for {self.plan.stages[current.keys_for].name}")
        todo = [piece for piece in pieces if not self.folder.state(current.number, piece.ordinal).exists()]
        self._map(", ".join(names) or "no stages", n_rows, [("pass", current, piece) for piece in todo])
        if current.keys_for is not None:
            self._run_cross_row_stage(current, current.keys_for, pieces)

    def _run_cross_row_stage(self, current: Pass, index: int, pieces: Sequence[InputRange]) -> None:
        """Fit a barrier stage to the keys of all remaining rows, or let a collective stage decide about them."""
        stage = self.plan.stages[index]
        done = self.folder.barrier_result(index) if isinstance(stage, Barrier) else self.folder.dropped_rows(index)
        if done.exists():
            return
        remove(self.folder.barrier_files(index))
        if isinstance(stage, Barrier):  # only these use the score cache
            build_index([self.folder.cache], self.folder.index)
        worker = open_worker(self.plan, self.folder, self.budget.duckdb, self.budget.workers)
        with self.progress.task(stage.name, None), worker.con, self.events.unit(f"decide {index}") as metrics:
            remaining = self._remaining_rows(worker, current, index, pieces)
            if isinstance(stage, Barrier):
                write_json(done, stage.fit(remaining))
            else:
                assert isinstance(stage, Collective)
                with atomic_path(done) as temporary:
                    stage.decide(remaining).order("row_id").write_parquet(str(temporary))
                    write_json(self.folder.stage_facts(index), remaining.facts)
            metrics["stage"] = index
            if counts := worker.context.cache.take_counts():
                metrics["scores"] = counts

    def _remaining_rows(
        self, worker: WorkerContext, current: Pass, index: int, pieces: Sequence[InputRange]
    ) -> RemainingRows:
        """Return the keys of the rows that remain after a pass, and of the reference rows of the stage, as views."""
        files = [str(path) for path in sorted(self.folder.state(current.number, 0).parent.glob("range-*.parquet"))]
        names = [name for name in pq.read_schema(files[0]).names if name.startswith("key:")]
        columns = ", ".join(f"{quoted(name)} AS {quoted(name.removeprefix('key:'))}" for name in names)
        worker.con.read_parquet(files).create_view("states")
        worker.con.execute(f"CREATE VIEW survivors AS SELECT {columns} FROM states WHERE stage = {SURVIVES}")
        return RemainingRows(
            worker.con,
            "survivors",
            worker.context,
            partial(fetch, worker, current, pieces),
            self._reference_rows(worker, index),
            self.folder.barrier_files(index),
        )

    def _reference_rows(self, worker: WorkerContext, index: int) -> ReferenceRows | None:
        files = self.plan.outside.get(index, ())
        if not files:
            return None
        paths = [literal(str(self.folder.outside(index, number))) for number in range(len(files))]
        # One row for each reference row: its id, packed as (file << ROW_BITS) + row, and its keys.
        query = " UNION ALL ".join(
            f"SELECT {number << ROW_BITS}::UBIGINT + row AS packed_row_id, * EXCLUDE (row) FROM read_parquet({path})"
            for number, path in enumerate(paths)
        )
        worker.con.execute(f"CREATE VIEW outside AS {query}")
        return ReferenceRows(files, "outside")

    # ------------------------------------------------------------------------------------------------- writing

    def _write_ledger(self, pieces: Sequence[InputRange]) -> list[RangeCounts]:
        groups = ledger_groups(pieces)
        units = [
            ("ledger", number, group)
            for number, group in enumerate(groups)
            if not ledger_path(self.folder, number).exists()
        ]
        self._map("ledger", sum(piece.n_rows for piece in pieces), units)
        return [count for number in range(len(groups)) for count in read_counts(self.folder, number)]

    def _write_shards(self, pieces: Sequence[InputRange], counts: Sequence[RangeCounts]) -> None:
        shards = [*cut_shards("data", pieces, counts), *cut_shards("dropped", pieces, counts)]
        units = [("shard", shard) for shard in shards if not shard.path(self.folder, self.plan.out_format).exists()]
        self._map("data and dropped", sum(count.kept + count.dropped for count in counts), units)

    def _write_unreadable(self, pieces: Sequence[InputRange]) -> None:
        with atomic_file(self.folder.out / "unreadable.jsonl", "w") as sink:
            for piece in pieces:
                for record in unreadable_rows(self.folder, piece):
                    file = self.plan.file_name(piece.file_index)
                    row, line = piece.first_row + record.pop("row"), record.pop("line")
                    line = None if line is None else piece.first_line + line
                    sink.write(json.dumps({"file": file, "row": row, "line": line, **record}) + "\n")

    def _write_report(self, pieces: Sequence[InputRange]) -> None:
        """Write the report, check the row counts of all outputs, and mark the outputs as complete."""
        run, fingerprint = self.resumable_run, self.resumable_run.fingerprint
        events = list(self.events.read())
        worker = open_worker(self.plan, self.folder, self.budget.duckdb, self.budget.workers)
        with worker.con:
            paths = {index: self.folder.barrier_result(index) for index in range(len(self.plan.stages))}
            facts = {index: self.folder.read_json(path) for index, path in paths.items() if path.exists()}
            report = build_report(
                self.plan,
                self.folder,
                events,
                con=worker.con,
                facts=facts,
                seconds=run.seconds(),
                peak_memory_bytes=run.peak_memory_bytes(),
                failures=self.failures,
            )
            check_laws(self.folder.out, report, pieces)
            write_json(self.folder.out / "report.json", report.to_json())
            write_html(report, worker, pieces)
        rows = dict.fromkeys(range(len(self.plan.inputs)), 0)
        for piece in pieces:
            rows[piece.file_index] += piece.n_rows
        inputs = [
            {
                "name": self.plan.file_name(file.index),
                "size": file.size,
                "sha256": self.folder.read_json(self.folder.input_sha256(file.index))["sha256"],
                "rows": rows[file.index],
            }
            for file in self.plan.inputs
        ]
        manifest = {
            "kind": "clean",
            "inputs": inputs,
            "recipe": self.plan.recipe.to_dict(),
            "recipe_sha256": self.plan.recipe.sha256,
            "roles": fingerprint["roles"],
            "source": fingerprint["source"],
            "data_roles": {role: list(names) for role, names in self.plan.views[-1].roles.items()},
            "data_source": self.plan.views[-1].source,
            "seed": self.plan.recipe.seed,
            "versions": versions(),
            "models": fingerprint["models"],
        }
        run.mark_complete(manifest)


def prepare_stages(plan: Plan, progress: Progress) -> None:
    """Load models and compile kernels once, before workers need them; report it if it takes more than 1.5 seconds."""
    timer = threading.Timer(
        1.5, progress.message, ["preparing text kernels and models (compiled once on this machine, then cached) ..."]
    )
    timer.daemon = True
    timer.start()
    try:
        for stage in plan.stages:
            stage.prepare()
    finally:
        timer.cancel()

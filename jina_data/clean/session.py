"""One session of a clean run: step by step over the units that are not done yet."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.clean.checks import check_laws
from jina_data.clean.folder import CleanFolder
from jina_data.clean.ledger import RangeCounts, ledger_groups, ledger_path, read_counts
from jina_data.clean.plan import Pass, Plan, Range
from jina_data.clean.report import CleanReport, build_report
from jina_data.clean.report_page import write_html
from jina_data.clean.rows import SURVIVES, fetch
from jina_data.clean.shards import cut_shards
from jina_data.clean.spool import read_facts, unreadable_rows, write_range
from jina_data.clean.units import do_unit, first_rows
from jina_data.clean.worker import WorkerContext, open_worker
from jina_data.engines.local import LocalEngine, MemoryBudget
from jina_data.errors import InputError, ModelError, RecipeError
from jina_data.progress import Progress
from jina_data.read import (
    InputFile,
    RangeSpec,
    all_ranges,
    parse_range,
    split,
    stream_ranges,
    unite_or_none,
    unite_schemas,
)
from jina_data.run.files import remove, whole_file, whole_path, write_json
from jina_data.run.resume import ResumableRun, versions
from jina_data.stages.base import Barrier, Collective, RemainingRows, literal, quoted
from jina_data.stages.reference import ROW_BITS, ReferenceRows
from jina_data.stages.score_cache import build_index


class Session:
    """One session of a run: the steps that are not done yet."""

    def __init__(self, plan: Plan, run: ResumableRun, budget: MemoryBudget, *, reuse: Sequence[Path] = ()) -> None:
        self.plan = plan
        self.run_state = run
        self.reuse = reuse
        self.folder = CleanFolder(run.folder.path)
        self.progress = run.progress
        self.budget = budget
        self.engine = LocalEngine(self.folder, budget)
        self.events = run.events

    def run(self) -> CleanReport:
        """Do the remaining work. A run that cannot resume with its input leaves nothing behind."""
        # A failed read of a remote input may succeed next time, so only local input errors end a run for good.
        is_local = all(file.is_local for file in self.plan.inputs)
        with self.run_state.session(unresumable=(InputError, RecipeError, ModelError) if is_local else ()):
            try:
                if not self.run_state.is_complete:
                    self._work()
            finally:
                self.engine.close()
            self.run_state.finish()
        return CleanReport.load(self.folder.path)

    def _work(self) -> None:
        prepare(self.plan, self.progress)
        build_index([self.folder.cache, *(CleanFolder(path).cache for path in self.reuse)], self.folder.old_index)
        self.engine.set_plan(self.plan)
        self._read()
        pieces, schema = self._settle()
        if schema != self.plan.views[0].schema:
            self.plan = self.plan.with_schema(schema)
            self.engine.set_plan(self.plan)
        n_rows = sum(piece.n_rows - piece.n_unreadable for piece in pieces)
        self._read_outside()
        for current in self.plan.passes if pieces else ():
            self._run_pass(current, pieces, n_rows)
        counts = self._write_ledger(pieces)
        self._write_shards(pieces, counts)
        self._write_unreadable(pieces)
        self._describe(pieces)

    def _map(self, step: str, total_rows: int | None, units: Sequence[tuple[Any, ...]]) -> None:
        """Run units wherever the engine likes; their progress is read from the log."""
        if not units:
            return
        with self.progress.task(step, total_rows) as task, self.events.followed(task.advance):
            for _ in self.engine.map(do_unit, units):
                pass

    # ------------------------------------------------------------------------------------------------- reading

    def _read(self) -> None:
        """Parse every input into the spool, and hash it."""
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
                # Neighbours go to one worker: Parquet is decoded from the start of a row group.
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
        """Parse the first rows of the input, in order, until the limit is reached."""
        assert self.plan.limit is not None
        left = self.plan.limit
        for file in self.plan.inputs:
            if self.folder.end_of_file(file.index).exists():
                n_ranges = self.folder.read_json(self.folder.end_of_file(file.index))["ranges"]
                left -= sum(read_facts(self.folder, file.index, number)[0].n_rows for number in range(n_ranges))
                continue
            n_ranges = 0
            if left > 0:
                for parsed in all_ranges(file, schema):
                    with self.events.unit(f"read {file.index}:{parsed.number}") as said:
                        facts = write_range(self.folder, file.index, first_rows(parsed, left))
                        said["rows"] = facts.n_rows
                    n_ranges, left = n_ranges + 1, left - facts.n_rows
                    if left <= 0:
                        break
            write_json(self.folder.end_of_file(file.index), {"ranges": n_ranges})

    def _settle(self) -> tuple[list[Range], pa.Schema]:
        """Number the rows of all ranges, and settle the types of the columns.

        A range that parsed against the sample to types that do not unite with those of the ranges before it is parsed
        again: its rows that do not fit become unreadable. That happens in order, so it does not depend on workers.
        """
        pieces: list[Range] = []
        schema = self.plan.views[0].schema
        for file in self.plan.inputs:
            n_ranges = self.folder.read_json(self.folder.end_of_file(file.index))["ranges"]
            first_row = first_line = 0
            end: dict[str, int] | None = None
            for number in range(n_ranges):
                facts, own = read_facts(self.folder, file.index, number)
                wider = unite_or_none(schema, own)
                if wider is None:
                    self._parse_again(file, number, schema, end)
                    facts, own = read_facts(self.folder, file.index, number)
                    wider = unite_schemas([("the rows before", schema), (f"{file.name}, range {number}", own)])
                schema, end = wider, facts.end
                pieces.append(
                    Range(
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
        return pieces, schema

    def _parse_again(self, file: InputFile, number: int, schema: pa.Schema, end: dict[str, int] | None) -> None:
        specs = split(file, schema)
        if specs is None:
            parsed = next(stream_ranges(file, schema, end, number))
        else:
            parsed = parse_range(file, specs[number], schema)
        limit = read_facts(self.folder, file.index, number)[0].n_rows
        write_range(self.folder, file.index, first_rows(parsed, limit))

    def _read_outside(self) -> None:
        """Make the keys of the outside rows that collective stages compare with."""
        units = [
            ("outside", index, number)
            for index, files in self.plan.outside.items()
            if isinstance(self.plan.stages[index], Collective)
            for number in range(len(files))
            if not self.folder.outside(index, number).exists()
        ]
        self._map("reading what to compare with", None, units)

    # -------------------------------------------------------------------------------------------------- passes

    def _run_pass(self, current: Pass, pieces: Sequence[Range], n_rows: int) -> None:
        names = [self.plan.stages[index].name for index in current.stages]
        if current.keys_for is not None:
            names.append(f"keys for {self.plan.stages[current.keys_for].name}")
        todo = [piece for piece in pieces if not self.folder.state(current.number, piece.ordinal).exists()]
        self._map(", ".join(names) or "no stages", n_rows, [("pass", current, piece) for piece in todo])
        if current.keys_for is not None:
            self._look(current, current.keys_for, pieces)

    def _look(self, current: Pass, index: int, pieces: Sequence[Range]) -> None:
        """Let a collective stage decide, or a barrier look, over the keys of all survivors."""
        stage = self.plan.stages[index]
        done = self.folder.barrier_result(index) if isinstance(stage, Barrier) else self.folder.dropped_rows(index)
        if done.exists():
            return
        remove(self.folder.barrier_files(index))
        if isinstance(stage, Barrier):  # only these look for scores
            build_index([self.folder.cache], self.folder.index)
        worker = open_worker(self.plan, self.folder, self.budget.duckdb, self.budget.workers)
        with self.progress.task(stage.name, None), worker.con, self.events.unit(f"decide {index}") as said:
            survivors = self._survivors(worker, current, index, pieces)
            if isinstance(stage, Barrier):
                write_json(done, stage.fit(survivors))
            else:
                assert isinstance(stage, Collective)
                with whole_path(done) as temporary:
                    stage.decide(survivors).order("row_id").write_parquet(str(temporary))
                    write_json(self.folder.stage_facts(index), survivors.facts)
            said["stage"] = index
            if counts := worker.context.cache.take_counts():
                said["scores"] = counts

    def _survivors(self, worker: WorkerContext, current: Pass, index: int, pieces: Sequence[Range]) -> RemainingRows:
        """Name the keys that the survivors of a pass left, and those of the rows outside."""
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
            self._outside(worker, index),
            self.folder.barrier_files(index),
        )

    def _outside(self, worker: WorkerContext, index: int) -> ReferenceRows | None:
        files = self.plan.outside.get(index, ())
        if not files:
            return None
        paths = [literal(str(self.folder.outside(index, number))) for number in range(len(files))]
        places = " UNION ALL ".join(
            f"SELECT {number << ROW_BITS}::UBIGINT + row AS packed_row_id, * EXCLUDE (row) FROM read_parquet({path})"
            for number, path in enumerate(paths)
        )
        worker.con.execute(f"CREATE VIEW outside AS {places}")
        return ReferenceRows(files, "outside")

    # ------------------------------------------------------------------------------------------------- writing

    def _write_ledger(self, pieces: Sequence[Range]) -> list[RangeCounts]:
        groups = ledger_groups(pieces)
        units = [
            ("ledger", number, group)
            for number, group in enumerate(groups)
            if not ledger_path(self.folder, number).exists()
        ]
        self._map("ledger", sum(piece.n_rows for piece in pieces), units)
        return [count for number in range(len(groups)) for count in read_counts(self.folder, number)]

    def _write_shards(self, pieces: Sequence[Range], counts: Sequence[RangeCounts]) -> None:
        shards = [*cut_shards("data", pieces, counts), *cut_shards("dropped", pieces, counts)]
        units = [("shard", one) for one in shards if not one.path(self.folder, self.plan.out_format).exists()]
        self._map("data and dropped", sum(count.kept + count.dropped for count in counts), units)

    def _write_unreadable(self, pieces: Sequence[Range]) -> None:
        with whole_file(self.folder.out / "unreadable.jsonl", "w") as sink:
            for piece in pieces:
                for broken in unreadable_rows(self.folder, piece):
                    file = self.plan.file_name(piece.file_index)
                    row, line = piece.first_row + broken.pop("row"), broken.pop("line")
                    line = None if line is None else piece.first_line + line
                    sink.write(json.dumps({"file": file, "row": row, "line": line, **broken}) + "\n")

    def _describe(self, pieces: Sequence[Range]) -> None:
        """Write the report, check the row counts of all outputs, and mark the outputs as complete."""
        run, fingerprint = self.run_state, self.run_state.fingerprint
        events = list(self.events.read())
        worker = open_worker(self.plan, self.folder, self.budget.duckdb, self.budget.workers)
        with worker.con:
            seen = {index: self.folder.barrier_result(index) for index in range(len(self.plan.stages))}
            facts = {index: self.folder.read_json(path) for index, path in seen.items() if path.exists()}
            report = build_report(
                self.plan,
                self.folder,
                events,
                con=worker.con,
                facts=facts,
                seconds=run.seconds(),
                peak_memory_bytes=run.peak_memory_bytes(),
            )
            check_laws(self.folder.out, report, pieces)
            write_json(self.folder.out / "report.json", report.to_json())
            write_html(report, worker, pieces)
        rows = dict.fromkeys(range(len(self.plan.inputs)), 0)
        for piece in pieces:
            rows[piece.file_index] += piece.n_rows
        inputs = [
            {
                "name": file.name,
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
            "seed": self.plan.recipe.seed,
            "versions": versions(),
            "models": fingerprint["models"],
        }
        run.mark_complete(manifest)


def prepare(plan: Plan, progress: Progress) -> None:
    """Load models and compile kernels once, before workers need them; say so where it takes a while."""
    told = threading.Timer(
        1.5, progress.message, ["preparing text kernels and models (compiled once on this machine, then cached) ..."]
    )
    told.daemon = True
    told.start()
    try:
        for stage in plan.stages:
            stage.prepare()
    finally:
        told.cancel()

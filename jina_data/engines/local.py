"""Runs units of work in worker processes on this machine, within one memory budget."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

import pyarrow as pa

from jina_data.clean.folder import CleanFolder
from jina_data.clean.plan import Plan
from jina_data.clean.worker import WorkerContext, open_worker
from jina_data.engines.base import Work
from jina_data.errors import ResourceError
from jina_data.run.resources import resource_errors

PROCESS_BYTES = 260 * 2**20
"""The memory of a process before it reads a row: interpreter, Arrow, DuckDB, kernels, small models."""

WORK_BYTES = 240 * 2**20
"""The additional memory of a worker for the range that it processes."""


@dataclass(frozen=True)
class MemoryBudget:
    """The memory of the process tree in bytes, the number of workers it allows, and the part for DuckDB."""

    total: int
    workers: int
    duckdb: int

    @classmethod
    def share(cls, memory_limit_bytes: int, workers: int, model_bytes: int = 0) -> MemoryBudget:
        """Divide a limit among at most `workers` workers, each with `model_bytes` of models.

        Raises:
            ResourceError: the limit is too low for one worker.
        """
        worker_bytes = PROCESS_BYTES + WORK_BYTES + model_bytes
        if memory_limit_bytes < worker_bytes:
            raise ResourceError(
                f"a memory limit of {memory_limit_bytes / 10**6:.0f}MB is too low: "
                f"one process needs {math.ceil(worker_bytes / 10**6)}MB. Raise --memory-limit"
            )
        # One worker runs in this process; several run beside it, so the parent process counts too.
        n_workers = 1
        while n_workers < workers and PROCESS_BYTES + (n_workers + 1) * worker_bytes <= memory_limit_bytes:
            n_workers += 1
        n_processes = 1 if n_workers == 1 else n_workers + 1
        spare = memory_limit_bytes - n_processes * (PROCESS_BYTES + model_bytes)
        return cls(memory_limit_bytes, n_workers, max(64 * 2**20, int(spare * 0.6)))


THREAD_NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class LocalEngine:
    """Runs units in `workers` processes; with one worker, in this process."""

    def __init__(self, folder: CleanFolder, budget: MemoryBudget) -> None:
        """Create an engine for a memory budget; call `set_plan` before `map`."""
        self.folder = folder
        self.budget = budget
        self._pool: ProcessPoolExecutor | None = None
        self._foreign_children = set(multiprocessing.active_children())  # of the calling program
        self._plan: Plan | None = None

    def set_plan(self, plan: Plan) -> None:
        """Set the plan for new workers, and end the workers that have an earlier plan."""
        self.close()
        self._plan = plan

    def map(self, work: Work, units: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """Run `work(worker, *unit)` for every unit; yield each unit with its result when it ends, in any order."""
        assert self._plan is not None
        if self.budget.workers == 1 or len(units) <= 1:
            worker = open_worker(self._plan, self.folder, self.budget.duckdb)
            with worker.con:
                for unit in units:
                    yield unit, _run_unit(worker, work, unit)
        else:
            yield from self._map_pool(work, units)

    def _map_pool(self, work: Work, units: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Any]]:
        pool = self._pool or self._start()
        # At most two units per worker are submitted at a time, so that the next one is ready when a unit ends.
        waiting = iter(units)
        running: dict[Future[Any], tuple[Any, ...]] = {}
        try:
            while True:
                while len(running) < 2 * self.budget.workers and (unit := next(waiting, None)) is not None:
                    with _no_interrupt():
                        running[pool.submit(_run_in_worker, work, unit)] = unit
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    unit = running.pop(future)
                    yield unit, future.result()
        except BrokenProcessPool:
            raise ResourceError(
                "a worker process ended early. The most likely cause is a lack of memory: lower --workers or raise "
                '--memory-limit. If you call jina-data from a script, put the call under `if __name__ == "__main__":`, '
                "because workers import the script. Then run the same command again: the run will resume"
            ) from None

    def _start(self) -> ProcessPoolExecutor:
        assert self._plan is not None
        for name in THREAD_NAMES:  # a matrix product in each worker would otherwise use all cores
            os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // self.budget.workers)))
        self._pool = ProcessPoolExecutor(
            self.budget.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(self._plan, self.folder, self.budget.duckdb // self.budget.workers),
        )
        return self._pool

    def close(self) -> None:
        """End the workers, even in the middle of a unit: a unit writes its output atomically."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                if child not in self._foreign_children:
                    child.terminate()
            # The threads of the pool end now; otherwise they would print errors when Python exits.
            pool.shutdown(wait=True)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Block SIGINT while a worker may start: the worker inherits the block, so that only the parent handles Ctrl-C."""
    resource_tracker.ensure_running()  # starting it inside the block would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: WorkerContext | None = None
"""The context of this process, if it is a worker."""


def _start_worker(plan: Plan, folder: CleanFolder, duckdb_bytes: int) -> None:
    global _worker  # noqa: PLW0603 - the initializer of a pool cannot return a value
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    pa.set_cpu_count(1)
    _worker = open_worker(plan, folder, duckdb_bytes)


def _exit_with_parent() -> None:
    """End this worker when its parent ends, so that a killed run leaves no processes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_in_worker(work: Work, unit: tuple[Any, ...]) -> Any:
    assert _worker is not None
    return _run_unit(_worker, work, unit)


def _run_unit(worker: WorkerContext, work: Work, unit: tuple[Any, ...]) -> Any:
    with resource_errors(worker.folder.path):
        result = work(worker, *unit)
    pa.default_memory_pool().release_unused()
    return result

"""The local engine: worker processes on this machine, within one memory budget."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any, Protocol

import pyarrow as pa

from jina_data.clean.folder import CleanFolder
from jina_data.clean.plan import Plan
from jina_data.clean.worker import WorkerContext, open_worker
from jina_data.errors import ResourceError
from jina_data.run.files import resource_errors

PROCESS_BYTES = 260 * 2**20
"""What a process holds before it has read a row: interpreter, Arrow, DuckDB, kernels, models."""

WORK_BYTES = 240 * 2**20
"""What a worker needs beside that for the range it works on."""


@dataclass(frozen=True)
class MemoryBudget:
    """How the memory of the whole process tree is shared out, in bytes."""

    total: int
    workers: int
    duckdb: int

    @classmethod
    def share(cls, memory_limit_bytes: int, workers: int, model_bytes: int = 0) -> MemoryBudget:
        """Share out a limit; fewer workers run where it does not hold the number wanted, with their models.

        Raises:
            ResourceError: the limit does not hold one worker.
        """
        least = PROCESS_BYTES + WORK_BYTES + model_bytes
        if memory_limit_bytes < least:
            raise ResourceError(
                f"a memory limit of {memory_limit_bytes / 10**6:.0f}MB is too little: "
                f"one process needs {math.ceil(least / 10**6)}MB. Raise --memory-limit"
            )
        most = 1
        while most < workers and PROCESS_BYTES + (most + 1) * least <= memory_limit_bytes:
            most += 1
        processes = 1 if most == 1 else most + 1
        spare = memory_limit_bytes - processes * (PROCESS_BYTES + model_bytes)
        return cls(memory_limit_bytes, most, max(64 * 2**20, int(spare * 0.6)))


THREAD_NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Work = Callable[..., Any]
"""A function of a worker and the arguments of one unit."""


class Engine(Protocol):
    """Decides where units run. Every engine gives the same rows."""

    def map(self, work: Work, units: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """Run `work(worker, *unit)` for every unit; yield each unit with its answer as it ends, in any order."""
        ...


class LocalEngine:
    """Runs units in `workers` processes; with one worker, in this process."""

    def __init__(self, folder: CleanFolder, budget: MemoryBudget) -> None:
        """Make an engine that works within a budget; `set_plan` comes before `map`."""
        self.folder = folder
        self.budget = budget
        self._pool: ProcessPoolExecutor | None = None
        self._others = set(multiprocessing.active_children())  # of a program that calls us
        self._plan: Plan | None = None

    def set_plan(self, plan: Plan) -> None:
        """Hand the workers a plan; those that work by another are let go."""
        self.close()
        self._plan = plan

    def map(self, work: Work, units: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """Run `work(worker, *unit)` for every unit; yield each unit with its answer as it ends, in any order."""
        assert self._plan is not None
        if self.budget.workers == 1 or len(units) <= 1:
            worker = open_worker(self._plan, self.folder, self.budget.duckdb)
            with worker.con:
                for unit in units:
                    yield unit, _do(worker, work, unit)
        else:
            yield from self._map_pool(work, units)

    def _map_pool(self, work: Work, units: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Any]]:
        pool = self._pool or self._start()
        waiting = iter(units)
        running: dict[Future[Any], tuple[Any, ...]] = {}
        try:
            while True:
                while len(running) < 2 * self.budget.workers and (unit := next(waiting, None)) is not None:
                    with _no_interrupt():
                        running[pool.submit(_work_here, work, unit)] = unit
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    unit = running.pop(future)
                    yield unit, future.result()
        except BrokenProcessPool:
            raise ResourceError(
                "a worker process ended early. Most likely memory ran out: lower --workers or raise --memory-limit. "
                'In a script of your own, the call must stand under `if __name__ == "__main__":`, since workers import '
                "the script. Then start again: the run goes on where it stopped"
            ) from None

    def _start(self) -> ProcessPoolExecutor:
        assert self._plan is not None
        for name in THREAD_NAMES:  # workers share the cores out: a matrix product in each would take all of them
            os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // self.budget.workers)))
        self._pool = ProcessPoolExecutor(
            self.budget.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_set_up,
            initargs=(self._plan, self.folder, self.budget.duckdb // self.budget.workers),
        )
        return self._pool

    def close(self) -> None:
        """Let the workers go, in the middle of a unit if need be: a unit leaves all of its output or none."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                if child not in self._others:
                    child.terminate()
            # Its threads end now that nobody works; left alone, they would complain when Python exits.
            pool.shutdown(wait=True)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Hold Ctrl-C back while a worker may be started: it inherits that, and leaves the answer to its parent."""
    resource_tracker.ensure_running()  # started below, it would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_desk: WorkerContext | None = None
"""The worker of this process, where it is a worker."""


def _set_up(plan: Plan, folder: CleanFolder, duckdb_bytes: int) -> None:
    global _desk  # noqa: PLW0603 - a pool hands its workers nothing else to keep
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    pa.set_cpu_count(1)
    _desk = open_worker(plan, folder, duckdb_bytes)


def _leave_with_parent() -> None:
    """End this worker when its parent is gone, so that a killed run leaves nobody at work."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work_here(work: Work, unit: tuple[Any, ...]) -> Any:
    assert _desk is not None
    return _do(_desk, work, unit)


def _do(worker: WorkerContext, work: Work, unit: tuple[Any, ...]) -> Any:
    with resource_errors(worker.folder.path):
        answer = work(worker, *unit)
    pa.default_memory_pool().release_unused()
    return answer

"""The context of a worker: plan, run folder, event log and DuckDB connection."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from jina_data.clean.folder import CleanFolder
from jina_data.clean.plan import Plan
from jina_data.run.events import Events
from jina_data.stages.base import Context
from jina_data.stages.score_cache import ScoreCache


@dataclass
class WorkerContext:
    """The plan, the run folder, the event log, the DuckDB connection of a worker, and the context of its stages."""

    plan: Plan
    folder: CleanFolder
    events: Events
    con: duckdb.DuckDBPyConnection
    context: Context


def open_worker(plan: Plan, folder: CleanFolder, duckdb_bytes: int, threads: int = 1) -> WorkerContext:
    """Set up a worker; its DuckDB may use `threads` threads and `duckdb_bytes` of memory."""
    temporary = folder.work / "duckdb"
    con = duckdb.connect(
        config={
            "threads": threads,
            "memory_limit": f"{duckdb_bytes // 2**20}MiB",
            "temp_directory": str(temporary),
            "preserve_insertion_order": False,
        }
    )
    cache = ScoreCache(folder.cache, (folder.index, folder.old_index))
    context = Context(plan.recipe.seed, plan.device, cache)
    return WorkerContext(plan, folder, Events(folder.events), con, context)

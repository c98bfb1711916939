"""What a worker has at hand."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from jina_data.folder import Events, RunFolder
from jina_data.plan import Plan


@dataclass
class Desk:
    """What a worker has at hand: the plan, the run folder, the log, and its DuckDB connection."""

    plan: Plan
    folder: RunFolder
    events: Events
    con: duckdb.DuckDBPyConnection


def open_desk(plan: Plan, folder: RunFolder, duckdb_bytes: int, threads: int = 1) -> Desk:
    """Set up a worker, whose DuckDB may use so many threads."""
    temporary = folder.work / "duckdb"
    con = duckdb.connect(
        config={
            "threads": threads,
            "memory_limit": f"{duckdb_bytes // 2**20}MiB",
            "temp_directory": str(temporary),
            "preserve_insertion_order": False,
        }
    )
    return Desk(plan, folder, Events(folder.events), con)

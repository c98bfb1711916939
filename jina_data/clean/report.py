"""The report of a clean run: counts of every stage, reason, file and source, from the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa

from jina_data.clean.counts import PartCounts, RowCounts, StageCounts
from jina_data.clean.folder import CleanFolder
from jina_data.clean.funnel import funnel_html, funnel_text
from jina_data.clean.histograms import Bins, ScoreCounts, count_scores
from jina_data.clean.judged import Judged, count_judged, judged_notices
from jina_data.clean.kept_rows import kept_rows, to_dataset, to_pandas
from jina_data.clean.ledger import READ_STAGE
from jina_data.clean.markup_count import markup_warnings
from jina_data.clean.notices import ReadFailures, drop_notices, unreadable_notices
from jina_data.clean.plan import Plan
from jina_data.clean.repeated_count import repeated_warnings
from jina_data.errors import RunFolderError
from jina_data.run.names import parquet_in
from jina_data.run.resume import versions
from jina_data.stages.base import Threshold
from jina_data.stages.consistency import Consistency
from jina_data.stages.score_cache import CutCounts, count_cut


@dataclass(frozen=True)
class CleanReport:
    """The result of a clean run. `path` is the folder of the finished run; `warnings` are whole sentences."""

    rows: RowCounts
    stages: Sequence[StageCounts]
    files: Sequence[PartCounts]
    sources: Sequence[PartCounts]
    seconds: float
    peak_memory_bytes: int
    recipe_sha256: str
    versions: Mapping[str, str]
    seed: int
    judged: Sequence[Judged] = ()
    cut: Sequence[CutCounts] = ()
    scores: Sequence[ScoreCounts] = ()
    warnings: Sequence[str] = ()
    path: Path | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load the report of a finished run.

        Raises:
            RunFolderError: there is no finished run in this folder.
        """
        run = CleanFolder(Path(folder))
        if not run.manifest.exists():
            state = "an unfinished run" if run.work.exists() else "no run"
            raise RunFolderError(f"{folder} holds {state}; expected the folder of a finished run (with manifest.json)")
        if (kind := run.read_json(run.manifest).get("kind", "clean")) != "clean":
            raise RunFolderError(
                f"{folder} holds a run of {kind!r}; expected a run of 'clean'. Its results are in {folder}/report.html"
            )
        values = run.read_json(run.path / "report.json")
        return cls(
            rows=RowCounts(**values.pop("rows")),
            stages=[StageCounts(**stage) for stage in values.pop("stages")],
            files=[PartCounts(**part) for part in values.pop("files")],
            sources=[PartCounts(**part) for part in values.pop("sources")],
            scores=[_load_score(score) for score in values.pop("scores", [])],
            judged=[Judged(**part) for part in values.pop("judged", [])],
            cut=[CutCounts(**counts) for counts in values.pop("cut", [])],
            path=Path(folder),
            **values,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data, as in report.json."""
        values = asdict(self)
        del values["path"]
        return values

    def __str__(self) -> str:
        return funnel_text(self)

    def _repr_html_(self) -> str:
        return funnel_html(self)

    def to_arrow(self) -> pa.Table:
        """Return the kept rows, as in data/.

        Raises:
            RunFolderError: the report was not loaded from a folder, or the folder has no data.
        """
        if self.path is None:
            raise RunFolderError("the report has no folder; load it with CleanReport.load(folder)")
        return kept_rows(self.path)

    def to_pandas(self) -> Any:
        """Return the kept rows as a pandas frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return to_pandas(self.to_arrow())

    def to_dataset(self) -> Any:
        """Return the kept rows as a `datasets.Dataset` in memory.

        Raises:
            MissingExtraError: datasets is not installed.
        """
        return to_dataset(self.to_arrow())


def build_report(
    plan: Plan,
    folder: CleanFolder,
    events: Sequence[Mapping[str, Any]],
    *,
    con: duckdb.DuckDBPyConnection,
    facts: Mapping[int, Mapping[str, Any]],
    seconds: float,
    peak_memory_bytes: int,
    failures: Sequence[ReadFailures] = (),
) -> CleanReport:
    """Count the ledger and the scores in the output folder of a run.

    The ledger stays in `con` as the view `ledger`.

    Args:
        events: the event log, for the time of each stage.
        facts: the results of the barrier stages, by stage index.
        failures: the files with unreadable records.
    """
    con.read_parquet(parquet_in(folder.out / "ledger")).create_view("ledger")
    rows = _count_rows(con)
    files = _count_parts(con, "file", [plan.file_name(file.index) for file in plan.inputs])
    sources = _count_parts(con, "source", [])
    dropped = con.execute(
        "SELECT stage_index, reason, count(*) FROM ledger WHERE stage_index IS NOT NULL GROUP BY 1, 2 "
        "ORDER BY 1, 3 DESC, 2"
    ).fetchall()
    report = CleanReport(
        rows=rows,
        stages=_count_stages(plan, rows, dropped, _stage_seconds(events)),
        files=files,
        sources=sources,
        seconds=round(seconds, 3),
        peak_memory_bytes=peak_memory_bytes,
        recipe_sha256=plan.recipe.sha256,
        versions=versions(),
        seed=plan.recipe.seed,
        scores=count_scores(con, plan, folder.out / "scores"),
        judged=[part for index, of_stage in facts.items() for part in _count_judged(con, plan, index, of_stage)],
        cut=count_cut(folder.cache),
        warnings=[*markup_warnings(plan, events), *repeated_warnings(con, plan, folder, rows.kept)],
    )
    lines = [
        *unreadable_notices(failures),
        *drop_notices(con, plan),
        *notices(report),
    ]
    return replace(report, warnings=lines)


def _load_score(values: Mapping[str, Any]) -> ScoreCounts:
    limits = tuple(Threshold(**limit) for limit in values["thresholds"])
    return ScoreCounts(**{**values, "bins": Bins(**values["bins"]), "thresholds": limits})


def _count_rows(con: duckdb.DuckDBPyConnection) -> RowCounts:
    row = con.execute(
        "SELECT count(*), count(*) FILTER (kept), count(*) FILTER (stage_index IS NOT NULL), "
        "count(*) FILTER (stage = ?) FROM ledger",
        [READ_STAGE],
    ).fetchone()
    assert row is not None
    return RowCounts(*row)


def _count_parts(con: duckdb.DuckDBPyConnection, column: str, names: Sequence[str]) -> list[PartCounts]:
    """Count the rows of each file or source: first those in `names`, even without rows, then the others.

    The others are in the order of their first rows.
    """
    counted = con.execute(
        f"SELECT {column}, count(*), count(*) FILTER (kept), count(*) FILTER (stage_index IS NOT NULL), "
        f"count(*) FILTER (stage = ?) FROM ledger GROUP BY 1 ORDER BY min(row_id)",
        [READ_STAGE],
    ).fetchall()
    reasons: dict[str, dict[str, int]] = {}
    for name, reason, count in con.execute(
        f"SELECT {column}, reason, count(*) AS n FROM ledger WHERE NOT kept GROUP BY 1, 2 ORDER BY 1, n DESC, 2"
    ).fetchall():
        reasons.setdefault(name, {})[reason] = count
    parts = {
        name: PartCounts(name, read, kept, dropped, unreadable, reasons.get(name, {}))
        for name, read, kept, dropped, unreadable in counted
    }
    return [parts.pop(name, PartCounts(name, 0, 0, 0, 0)) for name in names] + list(parts.values())


def _count_stages(
    plan: Plan, rows: RowCounts, dropped: Sequence[tuple[int, str, int]], seconds: Mapping[int, float]
) -> list[StageCounts]:
    rows_in = rows.read - rows.unreadable
    stages = []
    for index, stage in enumerate(plan.stages):
        reasons = {reason: count for stage_index, reason, count in dropped if stage_index == index}
        rows_out = rows_in - sum(reasons.values())
        stages.append(StageCounts(index, stage.name, rows_in, rows_out, round(seconds.get(index, 0.0), 3), reasons))
        rows_in = rows_out
    return stages


def _stage_seconds(events: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Add up the seconds of each stage over all workers. A unit that ran again after a kill counts once."""
    finished = {event["unit"]: event for event in events if event["event"] == "finish"}
    seconds: dict[int, float] = {}
    for event in finished.values():
        for index, value in event.get("stages", {}).items():
            seconds[int(index)] = seconds.get(int(index), 0.0) + value
        if "stage" in event:
            seconds[event["stage"]] = seconds.get(event["stage"], 0.0) + event["seconds"]
    return seconds


def _count_judged(con: duckdb.DuckDBPyConnection, plan: Plan, index: int, facts: Mapping[str, Any]) -> Sequence[Judged]:
    stage = plan.stages[index]
    if not isinstance(stage, Consistency):
        return ()
    return count_judged(con, index, facts, stage.top_k if stage.min_precision is None else None)


def notices(report: CleanReport) -> list[str]:
    """Return all warnings of a run, with those about pairs that `consistency` could not judge."""
    stages = dict.fromkeys(part.stage for part in report.judged)
    return [
        *report.warnings,
        *(
            notice
            for index in stages
            for notice in judged_notices(
                report.stages[index].name, [part for part in report.judged if part.stage == index]
            )
        ),
    ]

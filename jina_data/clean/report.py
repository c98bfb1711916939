"""The report of a clean run: counts of every stage, reason, file and source, from the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import duckdb

from jina_data.clean.folder import CleanFolder
from jina_data.clean.histograms import Bins, ScoreCounts, count_scores
from jina_data.clean.ledger import READ_STAGE
from jina_data.clean.plan import Plan
from jina_data.errors import RunFolderError
from jina_data.run.resume import versions
from jina_data.stages.base import Threshold
from jina_data.stages.mismatch import Mismatch, count_mismatches
from jina_data.stages.score_cache import CutCounts, count_cut


@dataclass(frozen=True)
class RowCounts:
    """How many rows were read, and what became of them: read = kept + dropped + unreadable."""

    read: int
    kept: int
    dropped: int
    unreadable: int


@dataclass(frozen=True)
class StageCounts:
    """What one stage did. Stages that ran as one query share their seconds, which the first of them shows."""

    index: int
    name: str
    rows_in: int
    rows_out: int
    seconds: float
    dropped: Mapping[str, int]


@dataclass(frozen=True)
class PartCounts:
    """What became of the rows of a file or a source."""

    name: str
    read: int
    kept: int
    dropped: int
    unreadable: int
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CleanReport:
    """What a clean run did. `path` is its folder once it is finished."""

    rows: RowCounts
    stages: Sequence[StageCounts]
    files: Sequence[PartCounts]
    sources: Sequence[PartCounts]
    seconds: float
    peak_memory_bytes: int
    recipe_sha256: str
    versions: Mapping[str, str]
    seed: int
    mismatch: Sequence[Mismatch] = ()
    cut: Sequence[CutCounts] = ()
    scores: Sequence[ScoreCounts] = ()
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
            raise RunFolderError(f"{folder} holds {state}; expected the folder of a finished one (with manifest.json)")
        if (kind := run.read_json(run.manifest).get("kind", "clean")) != "clean":
            raise RunFolderError(
                f"{folder} holds a run of {kind!r}; expected one of clean. Open {folder}/report.html for what it did"
            )
        values = run.read_json(run.path / "report.json")
        return cls(
            rows=RowCounts(**values.pop("rows")),
            stages=[StageCounts(**stage) for stage in values.pop("stages")],
            files=[PartCounts(**part) for part in values.pop("files")],
            sources=[PartCounts(**part) for part in values.pop("sources")],
            scores=[_load_score(score) for score in values.pop("scores", [])],
            mismatch=[Mismatch(**one) for one in values.pop("mismatch", [])],
            cut=[CutCounts(**counts) for counts in values.pop("cut", [])],
            path=Path(folder),
            **values,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data, as in report.json."""
        values = asdict(self)
        del values["path"]
        return values


def build_report(
    plan: Plan,
    folder: CleanFolder,
    events: Sequence[Mapping[str, Any]],
    *,
    con: duckdb.DuckDBPyConnection,
    facts: Mapping[int, Mapping[str, Any]],
    seconds: float,
    peak_memory_bytes: int,
) -> CleanReport:
    """Count the ledger and the scores of a run at work; the time of each stage comes from its log, and `facts` are what
    stages that looked at all rows saw, by their index.

    The ledger stays in `con` as a view of that name.
    """
    con.read_parquet(str(folder.out / "ledger" / "*.parquet")).create_view("ledger")
    rows = _count_rows(con)
    files = _count_parts(con, "file", [file.name for file in plan.inputs])
    sources = _count_parts(con, "source", [])
    dropped = con.execute(
        "SELECT stage_index, reason, count(*) FROM ledger WHERE stage_index IS NOT NULL GROUP BY 1, 2 "
        "ORDER BY 1, 3 DESC, 2"
    ).fetchall()
    return CleanReport(
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
        mismatch=[one for index, seen in facts.items() for one in count_mismatches(con, index, seen)],
        cut=count_cut(folder.cache),
    )


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


def _count_parts(con: duckdb.DuckDBPyConnection, column: str, known: Sequence[str]) -> list[PartCounts]:
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
    return [parts.pop(name, PartCounts(name, 0, 0, 0, 0)) for name in known] + list(parts.values())


def _count_stages(
    plan: Plan, rows: RowCounts, dropped: Sequence[tuple[int, str, int]], seconds: Mapping[int, float]
) -> list[StageCounts]:
    left = rows.read - rows.unreadable
    stages = []
    for index, stage in enumerate(plan.stages):
        reasons = {reason: count for at, reason, count in dropped if at == index}
        rows_out = left - sum(reasons.values())
        stages.append(StageCounts(index, stage.name, left, rows_out, round(seconds.get(index, 0.0), 3), reasons))
        left = rows_out
    return stages


def _stage_seconds(events: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Add up the seconds of each stage over all workers; units that a kill had repeated count once."""
    finished = {event["unit"]: event for event in events if event["event"] == "finish"}
    seconds: dict[int, float] = {}
    for event in finished.values():
        for index, value in event.get("stages", {}).items():
            seconds[int(index)] = seconds.get(int(index), 0.0) + value
        if "stage" in event:
            seconds[event["stage"]] = seconds.get(event["stage"], 0.0) + event["seconds"]
    return seconds


def truncation_notice(counts: CutCounts) -> str:
    """Return a line about the texts, or pairs of texts, that a model cut."""
    return (
        f"{counts.cut:,} of {counts.count:,} {counts.reads} were longer than the model's limit of "
        f"{counts.max_tokens:,} tokens and were cut ({counts.model})"
    )


def notices(report: CleanReport) -> list[str]:
    """Return a sentence or two for each thing that deserves a look."""
    return [
        _of_mismatch(report.stages[one.stage].name, one) for one in report.mismatch if one.spared or one.is_excessive
    ]


def _of_mismatch(stage: str, one: Mismatch) -> str:
    """Tell of a source from which a stage would take, or took, many more pairs than may be wrong."""
    source = one.source or "the smaller sources"
    unrelated = f"about {one.share:.0%} (at most {one.at_most:.0%}) of its pairs look unrelated"
    if one.spared:
        return (
            f"{stage} left {source} alone: {unrelated}, but it would have dropped {one.over:.0%}: its model cannot "
            "tell the good ones from those. Choose one that fits (embedder), or read what it measured in scores/"
        )
    return (
        f"{stage} dropped {one.dropped / one.rows:.0%} of {source}, but {unrelated}: the rest are probably good pairs. "
        "Look at them with inspect; raise top_k, set min_precision, take a model that fits, or leave the stage out"
    )

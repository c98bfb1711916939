"""The report as one HTML page that needs no network."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import yaml

from jina_data.clean import charts
from jina_data.clean.ledger import READ_REASON, READ_STAGE, row_name
from jina_data.clean.plan import Plan, Range
from jina_data.clean.report import CleanReport, PartCounts, notices, truncation_notice
from jina_data.clean.report_samples import sample_drops, sample_unreadable
from jina_data.clean.worker import WorkerContext
from jina_data.html import page
from jina_data.run.files import whole_file
from jina_data.stages.base import Barrier, quoted

MAX_PARTS, MAX_LABELS = 40, 30
"""So many files, sources and languages have a row of their own."""


def write_html(report: CleanReport, worker: WorkerContext, pieces: Sequence[Range]) -> None:
    """Write report.html, while the run is at work; `worker.con` has the view `ledger`."""
    with whole_file(worker.folder.out / "report.html", "w") as sink:
        sink.write(render_report(report, worker, pieces))


def render_report(report: CleanReport, worker: WorkerContext, pieces: Sequence[Range]) -> str:
    """Return the page."""
    plan = worker.plan
    return page.render(
        "report.html",
        report=report,
        box=charts,
        roles=plan.views[0].roles,
        matrices=_matrices(report),
        scores=_scores(report),
        languages=_languages(worker),
        notes=_notes(worker, report),
        notices=notices(report),
        drops=sample_drops(worker, pieces),
        unreadable=sample_unreadable(worker),
        recipe=recipe_yaml(plan),
        command=command_line(plan),
        models=plan.model_hashes(),
        cut=[truncation_notice(counts) for counts in report.cut],
    )


# --------------------------------------------------------------------------------------------------- what was dropped


def _matrices(report: CleanReport) -> list[dict[str, Any]]:
    """Return the rows that were dropped by file and source against reason, the largest where there are many."""
    same = [vars(part) for part in report.files] == [vars(part) for part in report.sources]
    parts = [("file", report.files)] if same else [("file", report.files), ("source", report.sources)]
    reasons = list(dict.fromkeys(reason for stage in report.stages for reason in stage.dropped))
    if report.rows.unreadable:
        reasons.insert(0, READ_REASON)
    homes = {reason: [stage.name for stage in report.stages if reason in stage.dropped] for reason in reasons}
    homes[READ_REASON] = [READ_STAGE]
    return [
        {
            "word": word,
            "same": same,
            "reasons": [(", ".join(homes[reason]), reason) for reason in reasons],
            "parts": _largest(counts),
            "left_out": max(0, len(counts) - MAX_PARTS),
        }
        for word, counts in parts
    ]


def _largest(parts: Sequence[PartCounts]) -> list[PartCounts]:
    """Return the parts with the most rows, in their order."""
    kept = sorted(range(len(parts)), key=lambda place: (-parts[place].read, place))[:MAX_PARTS]
    return [parts[place] for place in sorted(kept)]


# -------------------------------------------------------------------------------------------------- what was measured


def _scores(report: CleanReport) -> list[dict[str, Any]]:
    """Return the histograms by stage."""
    out = []
    for index, group in groupby(report.scores, lambda score: score.stage):
        drawn = []
        for score in group:
            chart = charts.histogram(score)
            drawn.append({"score": score, "chart": chart, **charts.legend(chart, score)})
        out.append({"index": index, "name": report.stages[index].name, "charts": drawn})
    return out


def _languages(worker: WorkerContext) -> list[dict[str, Any]]:
    """Return what the `language` stages found, by role: rows, rows dropped and mean probability of each label."""
    out = []
    for index, stage in enumerate(worker.plan.stages):
        files = sorted((worker.folder.out / "scores" / f"{index:02d}-{stage.name}").glob("part-*.parquet"))
        if stage.name != "language" or not files:
            continue
        worker.con.read_parquet([str(path) for path in files]).create_view("labelled", replace=True)
        columns = worker.con.sql("FROM labelled").columns
        out += [
            {"index": index, "role": role, **_labels(worker, index, role)}
            for role in worker.plan.views[index].roles
            if f"{role}.language" in columns
        ]
    return out


def _labels(worker: WorkerContext, index: int, role: str) -> dict[str, Any]:
    """Count the labels of a role, most frequent first; the mean does not depend on the order of the rows."""
    label, probability = quoted(f"{role}.language"), quoted(f"{role}.probability")
    found = worker.con.execute(
        f"SELECT coalesce({label}, '(none)'), count(*), "
        "count(*) FILTER (row_id IN (SELECT row_id FROM ledger WHERE stage_index = ?)), "
        f"sum(({probability} * 1e6)::BIGINT)::BIGINT FROM labelled WHERE {probability} IS NOT NULL "
        "GROUP BY 1 ORDER BY 2 DESC, 1",
        [index],
    ).fetchall()
    rest = found[MAX_LABELS:]
    if rest:
        _, *sums = zip(*rest, strict=True)
        found = [*found[:MAX_LABELS], (f"{len(rest)} others", *(sum(column) for column in sums))]
    keys = ("label", "rows", "dropped", "probability")
    labels = [dict(zip(keys, (*row[:3], row[3] / 1e6 / row[1]), strict=True)) for row in found]
    return {"labels": labels}


def _notes(worker: WorkerContext, report: CleanReport) -> list[dict[str, Any]]:
    """Return what stages that looked at all rows have to tell of them."""
    out = []
    for index, stage in enumerate(worker.plan.stages):
        path = worker.folder.barrier_result(index) if isinstance(stage, Barrier) else worker.folder.stage_facts(index)
        facts: dict[str, Any] = worker.folder.read_json(path) if path.exists() else {}
        plain = {key: value for key, value in facts.items() if isinstance(value, int | float | str)}
        note = {"index": index, "name": stage.name, "facts": plain, **_bands(worker.plan, facts)}
        note |= {"mismatch": [one for one in report.mismatch if one.stage == index]}
        if plain or len(note) > 4:
            out.append(note)
    return out


def _bands(plan: Plan, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the curve of banded hashes and the largest buckets, where a stage worked with such."""
    if not {"num_buckets", "hashes_per_bucket", "threshold"} <= facts.keys():
        return {}
    settings = (facts["num_buckets"], facts["hashes_per_bucket"])
    return {
        "curve": charts.lsh_curve(*settings, facts["threshold"]),
        "at_threshold": charts.shares_band(facts["threshold"], *settings),
        "buckets": [
            {"rows": bucket["rows"], "place": row_name(plan, bucket["row_id"])}
            for bucket in facts.get("largest_buckets", ())
        ],
    }


# ------------------------------------------------------------------------------------------------------ how to repeat


def recipe_yaml(plan: Plan) -> str:
    """Return the recipe with every option spelled out, such that it reads back as the same."""
    recipe = plan.recipe.to_dict()
    plain: str = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100)
    # A character that the page cannot show as it is stands there as an escape.
    escaped: str = yaml.safe_dump(recipe, sort_keys=False, width=100)
    return plain if page.visible(plain) == plain else escaped


def command_line(plan: Plan) -> str:
    """Return the command that repeats the run with this recipe in a file."""
    view = plan.views[0]
    roles = {**view.roles, **({"source": (view.source,)} if view.source is not None else {})}
    names = [file.name for file in plan.inputs]
    words = ["jina-data", "clean", "-o", "NEW_DIR", "-p", "recipe.yaml"]
    for role, columns in roles.items():
        if plan.recipe.columns.get(role) != columns:
            words += ["-c", f"{role}={','.join(columns)}"]
    words += ["--seed", str(plan.recipe.seed)]
    words += ["--limit", str(plan.limit)] if plan.limit is not None else []
    words += ["--format", plan.out_format] if plan.out_format != "parquet" else []
    words += ["--device", plan.device] if plan.process_bytes() else []
    words += ["--"] if any(name.startswith("-") for name in names) else []
    return shlex.join([*words, *names])

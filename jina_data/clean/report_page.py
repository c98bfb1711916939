"""Renders the report of a run as one HTML page without external files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import yaml

from jina_data.clean import charts
from jina_data.clean.counts import PartCounts
from jina_data.clean.funnel import truncation_notice
from jina_data.clean.ledger import READ_REASON, READ_STAGE, row_name
from jina_data.clean.plan import InputRange, Plan
from jina_data.clean.report import CleanReport
from jina_data.clean.report_samples import sample_drops, sample_unreadable
from jina_data.clean.worker import WorkerContext
from jina_data.html import page
from jina_data.run.files import atomic_file
from jina_data.stages.base import Barrier, quoted

MAX_PARTS, MAX_LABELS = 40, 30
"""The files or sources, and the languages, that have their own row in a table."""


def write_html(report: CleanReport, worker: WorkerContext, pieces: Sequence[InputRange]) -> None:
    """Write report.html to the work folder; `worker.con` has the view `ledger`."""
    with atomic_file(worker.folder.out / "report.html", "w") as sink:
        sink.write(render_report(report, worker, pieces))


def render_report(report: CleanReport, worker: WorkerContext, pieces: Sequence[InputRange]) -> str:
    """Return the page as HTML."""
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
        notices=report.warnings,
        drops=sample_drops(worker, pieces),
        unreadable=sample_unreadable(worker),
        recipe=recipe_yaml(plan),
        command=command_line(plan),
        models=plan.model_hashes(),
        cut=[truncation_notice(counts) for counts in report.cut],
    )


# --------------------------------------------------------------------------------------------------- what was dropped


def _matrices(report: CleanReport) -> list[dict[str, Any]]:
    """Return the counts of dropped rows by file and reason, and by source and reason; only the largest if many."""
    same = [vars(part) for part in report.files] == [vars(part) for part in report.sources]
    parts = [("file", report.files)] if same else [("file", report.files), ("source", report.sources)]
    reasons = list(dict.fromkeys(reason for stage in report.stages for reason in stage.dropped))
    if report.rows.unreadable:
        reasons.insert(0, READ_REASON)
    stages = {reason: [stage.name for stage in report.stages if reason in stage.dropped] for reason in reasons}
    stages[READ_REASON] = [READ_STAGE]
    return [
        {
            "word": word,
            "same": same,
            "reasons": [(", ".join(stages[reason]), reason) for reason in reasons],
            "parts": _largest(counts),
            "left_out": max(0, len(counts) - MAX_PARTS),
        }
        for word, counts in parts
    ]


def _largest(parts: Sequence[PartCounts]) -> list[PartCounts]:
    """Return the parts with the most rows, in the order of `parts`."""
    largest = sorted(range(len(parts)), key=lambda index: (-parts[index].read, index))[:MAX_PARTS]
    return [parts[index] for index in sorted(largest)]


# -------------------------------------------------------------------------------------------------- what was measured


def _scores(report: CleanReport) -> list[dict[str, Any]]:
    """Return the histograms by stage."""
    out = []
    for index, group in groupby(report.scores, lambda score: score.stage):
        stage_charts = []
        for score in group:
            chart = charts.histogram(score)
            stage_charts.append({"score": score, "chart": chart, **charts.legend(chart, score)})
        out.append({"index": index, "name": report.stages[index].name, "charts": stage_charts})
    return out


def _languages(worker: WorkerContext) -> list[dict[str, Any]]:
    """Return the labels of each `language` stage by role, with their rows, dropped rows and mean probability."""
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
    """Count the labels of a role, most frequent first; the rarest labels are summed up as "N others"."""
    label, probability = quoted(f"{role}.language"), quoted(f"{role}.probability")
    # One row for each label: its rows, those that the stage dropped for any text, and the sum of its probabilities in
    # millionths. A sum of integers does not depend on the order of the rows, so reruns give the same page.
    counted = worker.con.execute(
        f"SELECT coalesce({label}, '(none)'), count(*), "
        "count(*) FILTER (row_id IN (SELECT row_id FROM ledger WHERE stage_index = ?)), "
        f"sum(({probability} * 1e6)::BIGINT)::BIGINT FROM labelled WHERE {probability} IS NOT NULL "
        "GROUP BY 1 ORDER BY 2 DESC, 1",
        [index],
    ).fetchall()
    rare = counted[MAX_LABELS:]
    if rare:
        _, *sums = zip(*rare, strict=True)
        counted = [*counted[:MAX_LABELS], (f"{len(rare)} others", *(sum(column) for column in sums))]
    keys = ("label", "rows", "dropped", "probability")
    labels = [dict(zip(keys, (*row[:3], row[3] / 1e6 / row[1]), strict=True)) for row in counted]
    return {"labels": labels}


def _notes(worker: WorkerContext, report: CleanReport) -> list[dict[str, Any]]:
    """Return the facts of the cross-row stages."""
    out = []
    for index, stage in enumerate(worker.plan.stages):
        path = worker.folder.barrier_result(index) if isinstance(stage, Barrier) else worker.folder.stage_facts(index)
        facts: dict[str, Any] = worker.folder.read_json(path) if path.exists() else {}
        plain = {key: value for key, value in facts.items() if isinstance(value, int | float | str)}
        note = {"index": index, "name": stage.name, "facts": plain, **_bands(worker.plan, facts)}
        note |= {"judged": [part for part in report.judged if part.stage == index]}
        if plain or len(note) > 4:
            out.append(note)
    return out


def _bands(plan: Plan, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the curve of banded hashes and the largest buckets of a stage; nothing for other stages."""
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
    """Return the recipe as YAML with every option; parsing it gives the same recipe."""
    recipe = plan.recipe.to_dict()
    plain: str = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100)
    # Characters that the page would replace are written as YAML escapes.
    escaped: str = yaml.safe_dump(recipe, sort_keys=False, width=100)
    return plain if page.visible(plain) == plain else escaped


def command_line(plan: Plan) -> str:
    """Return the command that repeats the run, with the recipe in recipe.yaml."""
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

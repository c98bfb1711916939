"""Counts the texts of a run that contain HTML, and warns if the recipe keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc

from jina_data.clean.plan import Plan
from jina_data.stages.markup import SUSPECTED
from jina_data.stages.normalize import Normalize
from jina_data.stages.rows import Rows

WARNED_SHARE = 0.01
"""The share of texts with HTML above which a run warns."""


def keeps_markup(plan: Plan) -> tuple[str, ...]:
    """Return the roles whose texts no stage extracts from HTML."""
    roles = tuple(plan.views[0].roles)
    for stage in plan.stages:
        if isinstance(stage, Normalize) and stage.markup:
            roles = tuple(role for role in roles if stage.roles is not None and role not in stage.roles)
    return roles


def count_markup(rows: Rows, roles: Sequence[str]) -> dict[str, int]:
    """Return the number of texts of some roles, and of those with HTML tags or entities."""
    n_texts = n_markup = 0
    for role in roles:
        if all(name in rows.batch.schema.names for name in rows.view.roles[role]):
            values = rows.texts(role).values
            n_texts += len(values)
            n_markup += pc.sum(pc.match_substring_regex(values, SUSPECTED)).as_py() or 0
    return {"texts": n_texts, "with_markup": n_markup}


def markup_warnings(plan: Plan, events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a warning if many texts of the run contain HTML; `events` is the event log."""
    counts = {event["unit"]: event["markup"] for event in events if event["event"] == "finish" and "markup" in event}
    n_texts = sum(count["texts"] for count in counts.values())
    n_markup = sum(count["with_markup"] for count in counts.values())
    if not n_markup or n_markup <= WARNED_SHARE * n_texts:
        return []
    numbers = [number for number, stage in enumerate(plan.stages) if isinstance(stage, Normalize)]
    advice = "add the stage `normalize: {markup: true}` to the recipe, before all others"
    if numbers:
        advice = f"-s {'normalize' if len(numbers) == 1 else 'normalize#1'}.markup=true"
    return [
        f"{n_markup:,} of {n_texts:,} texts ({100 * n_markup / n_texts:.0f} %) contain HTML tags or entities, such as "
        f"<p> or &amp;, which stay in the texts. To extract the text, use normalize.markup: {advice}"
    ]

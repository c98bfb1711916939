"""The account of `consistency`: which pairs it judged, by source and language, and what it says about the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jina_data.stages.competence import FEW, IMPRECISE, UNKNOWN

if TYPE_CHECKING:
    import duckdb

PRECISION = 0.75
"""If less than this share of the dropped pairs of a source seem to be mismatched, the report warns."""

_MEANING = {
    UNKNOWN: "its ranks do not separate these pairs from random ones",
    IMPRECISE: "no limit drops mismatched pairs without too many good ones, or too few pairs are mismatched to tell",
    FEW: "there are too few pairs to tell",
}


@dataclass(frozen=True)
class Judged:
    """What a `consistency` stage did with the pairs of a source in a language: `rows` of them reached the stage.

    Pairs with a rank above `limit` are dropped; null: nothing is dropped, for the reason `why`, and the pairs count as
    not judged. About the share `share` of the pairs of the source is mismatched. Of the dropped pairs, at least the
    share `precision` is mismatched, with 95 % confidence. `dropped` are all pairs of the source that were dropped.
    """

    stage: int
    source: str
    language: str
    rows: int
    dropped: int
    limit: int | None
    share: float
    precision: float
    why: str = ""


def count_judged(
    con: duckdb.DuckDBPyConnection, stage: int, facts: Mapping[str, Any], top_k: int | None
) -> list[Judged]:
    """Return the judgements in the facts of a stage; `con` has the view `ledger`. `top_k`: the limit of all sources."""
    groups = {(group["source"], group["language"]): group for group in facts.get("groups", ())}
    own = {source for source, _ in groups}
    query = "SELECT source, count(*) FROM ledger WHERE stage_index = ? GROUP BY source"
    dropped = dict(con.execute(query, [stage]).fetchall())
    judged = []
    for source, language, rows in facts.get("counts", ()):
        name = source if source in own else None
        group = groups.get((name, language)) or groups.get((name, None)) or {}
        limit = group.get("limit") if top_k is None else top_k
        why = "" if limit else group.get("why") or FEW
        share, precision = group.get("share", 0.0), group.get("precision", 0.0)
        if top_k is not None:
            why = group.get("why", "") if group.get("why") == UNKNOWN else ""
        judged.append(Judged(stage, source, language, rows, dropped.get(source, 0), limit, share, precision, why))
    return judged


def judged_notices(name: str, judged: Sequence[Judged]) -> list[str]:
    """Return a sentence for each source with pairs that were not judged, or that were dropped without evidence."""
    by_source: dict[str, list[Judged]] = {}
    for part in judged:
        by_source.setdefault(part.source, []).append(part)
    return [notice for parts in by_source.values() for notice in _notices(name, parts)]


def _notices(name: str, parts: Sequence[Judged]) -> list[str]:
    source, rows = parts[0].source, sum(part.rows for part in parts)
    unjudged = [part for part in parts if part.limit is None]
    lines = []
    if unjudged:
        reason = max({part.why for part in unjudged}, key=lambda why: sum(p.rows for p in unjudged if p.why == why))
        lines.append(
            f"{name} did not judge {sum(part.rows for part in unjudged):,} of {rows:,} pairs of {source} "
            f"({_languages(unjudged)}) and kept them: {_MEANING[reason]}. {_advice(name, reason)}"
        )
    unknown = [part for part in parts if part.limit is not None and part.why == UNKNOWN]
    if unknown and parts[0].dropped:
        count = sum(part.rows for part in unknown)
        lines.append(
            f"{name} judged {count:,} of {rows:,} pairs of {source} ({_languages(unknown)}), although "
            f"{_MEANING[UNKNOWN]}: it drops good pairs of these. {_advice(name, UNKNOWN)}; or filter by language "
            f"first, or set {name}.min_precision"
        )
    known = [part for part in parts if part.limit is not None and part.why != UNKNOWN]
    dropped = known[0].dropped if known else 0
    if known and not unjudged and not unknown and dropped and known[0].share * rows < PRECISION * dropped:
        lines.append(
            f"{name} dropped {_percent(dropped / rows)} of the pairs of {source}, but only about "
            f"{_percent(known[0].share)} seem to be mismatched, so many of the drops are good pairs. Check them with "
            f"`jina-data inspect DIR --label {name}`; then use a stronger model (-s {name}.embedder=MODEL), raise "
            f"top_k, or set {name}.min_precision"
        )
    return lines


def _languages(parts: Sequence[Judged], most: int = 4) -> str:
    ordered = sorted(parts, key=lambda part: (-part.rows, part.language))
    named = [f"{part.language} {part.rows:,}" for part in ordered[:most]]
    others = sum(part.rows for part in ordered[most:])
    return ", ".join([*named, *([f"others {others:,}"] if others else [])])


def _advice(name: str, why: str) -> str:
    if why == FEW:
        return "More pairs of this kind would help"
    return f"A model that knows such texts may help: -s {name}.embedder=MODEL"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"

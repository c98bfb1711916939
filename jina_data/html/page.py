"""Renders the HTML templates of the package: one jinja environment, visible control characters, compact numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment

Item = TypeVar("Item")

INVISIBLE = {
    # Control characters become their symbols (U+2400 ...). C1 controls, characters that change the direction of a line,
    # and characters that UTF-8 cannot encode become U+FFFD.
    **{code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)},
    0x7F: 0x2421,
    **dict.fromkeys(
        [*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)], 0xFFFD
    ),
    0xFFFE: 0xFFFD,
    0xFFFF: 0xFFFD,
}


def render(template: str, **values: Any) -> str:
    """Render a page from jina_data/templates; every value is escaped."""
    return _html_environment().get_template(template).render(**values)


@cache
def _html_environment() -> Environment:
    """Return the environment of the pages; it keeps its compiled templates for later pages of this process."""
    return template_environment(is_html=True)


def template_environment(*, is_html: bool) -> Environment:
    """Return the environment of all templates; `is_html` escapes values and shows control characters.

    Filters: `count` (1,234; four decimals for a float), `percent` (part, total), `compact` (12.5k), `largest`
    (the items with the largest attribute), `n_more` (how many items it leaves out).
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("jina_data"),
        autoescape=is_html,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not is_html,
        finalize=visible if is_html else None,
    )
    environment.filters |= {"count": count, "percent": percent, "compact": compact}
    environment.filters |= {"largest": largest, "n_more": n_more}
    return environment


def visible(value: Any) -> Any:
    """Replace control characters in a string, so that a page shows them and no text can change its layout."""
    return value.translate(INVISIBLE) if isinstance(value, str) and not isinstance(value, Markup) else value


MAX_ROWS = 40
"""The maximum number of sources or files in a list for readers; the largest are shown."""


def largest(items: Sequence[Item], size: str, limit: int = MAX_ROWS) -> list[Item]:
    """Return the items with the largest values of an attribute or key, in their order."""
    if len(items) <= limit:
        return list(items)

    def value(number: int) -> Any:
        item: Any = items[number]
        return item[size] if isinstance(item, Mapping) else getattr(item, size)

    chosen = sorted(range(len(items)), key=lambda number: (-value(number), number))[:limit]
    return [items[number] for number in sorted(chosen)]


def n_more(items: Sequence[Any], limit: int = MAX_ROWS) -> int:
    """Return how many items `largest` leaves out."""
    return max(0, len(items) - limit)


def count(value: float) -> str:
    """Format a number with thousands separators; a float gets four decimals."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"


def percent(part: int, total: int) -> str:
    """Format a share as a percentage with one decimal."""
    share = 100 * part / total if total else 0.0
    return f"{share:.1f} %"


def compact(value: float) -> str:
    """Format a number compactly: 12.5k, 0.003."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{value:,.0f}" if value == round(value) else f"{value:.3g}"

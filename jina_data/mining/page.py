"""The report of a run that mines, as one HTML page that needs no network."""

from __future__ import annotations

from pathlib import Path

import yaml

from jina_data import charts
from jina_data.drops import Shown, Span, compare
from jina_data.folder import whole_file
from jina_data.mining.report import MineReport
from jina_data.page import visible
from jina_data.report import percent

MOST_CHARS = 600


def write_html(path: Path, report: MineReport) -> None:
    """Write report.html."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(
        loader=PackageLoader("jina_data"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.filters |= {"count": "{:,}".format, "percent": percent, "compact": charts.compact}
    samples = []
    for row in report.audit["samples"]:
        positive, negative = compare(row["positive"], row["negative"])
        anchor = Shown(
            [Span(row["anchor"][:MOST_CHARS])], len(row["anchor"]), cut_behind=len(row["anchor"]) > MOST_CHARS
        )
        samples.append({**row, "anchor": anchor, "positive": positive, "negative": negative})
    settings = yaml.safe_dump(dict(report.settings), sort_keys=False, allow_unicode=True)
    page = environment.get_template("mining.html").render(report=report, samples=samples, settings=settings)
    with whole_file(path, "w") as sink:
        sink.write(page)

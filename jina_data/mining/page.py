"""The report of a run that mines, as one HTML page that needs no network."""

from __future__ import annotations

from pathlib import Path

import yaml

from jina_data.clean import charts
from jina_data.clean.report import percent
from jina_data.clean.report_page import visible
from jina_data.clean.report_samples import Shown, Span, compare
from jina_data.mining.report import MineReport
from jina_data.run.folder import whole_file

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
        positive, negative = _side_by_side(row["positive"], row["negative"])
        samples.append({**row, "anchor": _beginning(row["anchor"]), "positive": positive, "negative": negative})
    settings = yaml.safe_dump(dict(report.settings), sort_keys=False, allow_unicode=True)
    page = environment.get_template("mining.html").render(report=report, samples=samples, settings=settings)
    with whole_file(path, "w") as sink:
        sink.write(page)


def _side_by_side(positive: str, negative: str) -> tuple[Shown, Shown]:
    """Mark what differs, if most does not: where most does, marks say nothing."""
    marked = compare(positive, negative)
    spans = [span for shown in marked for span in shown.spans]
    differs = sum(len(span.text) for span in spans if span.differs)
    if 2 * differs <= sum(len(span.text) for span in spans):
        return marked
    return _beginning(positive), _beginning(negative)


def _beginning(text: str) -> Shown:
    return Shown([Span(text[:MOST_CHARS])], len(text), cut_behind=len(text) > MOST_CHARS)

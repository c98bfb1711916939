"""The report of a run of `mine`: counts, scores of positives and negatives, and possible false negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from jina_data.errors import RunFolderError
from jina_data.html import page
from jina_data.html.page import largest, n_more, percent
from jina_data.html.text_diff import Excerpt, Span, compare
from jina_data.mining.folder import MiningFolder
from jina_data.run.files import atomic_file


@dataclass(frozen=True)
class MineReport:
    """The report of a run; `path` is the folder of a finished run."""

    rows: Mapping[str, int]
    """read = kept + dropped."""
    dropped: Mapping[str, int]
    """By reason."""
    sources: Sequence[Mapping[str, Any]]
    """For each source: name, read, kept, dropped, and its rows in data/ (`written`)."""
    written: int
    """The rows of data/: one per negative for triplets, one per pair for n-tuples."""
    anchors: int
    """Distinct anchors."""
    corpus: Mapping[str, int]
    """Distinct texts: all, and those that are positives."""
    negatives: Mapping[str, int]
    """The number of pairs by their number of negatives."""
    scores: Mapping[str, Mapping[str, float]]
    """Quantiles of the scores of positives, of negatives, and of positive - negative."""
    audit: Mapping[str, Any]
    cut: Mapping[str, int]
    """Texts that the embedder truncated: anchors and corpus."""
    cross_refused: int | None
    settings: Mapping[str, Any]
    seconds: float
    peak_memory_bytes: int
    versions: Mapping[str, str]
    seed: int
    path: Path | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load the report of a finished run.

        Raises:
            RunFolderError: the folder does not hold a finished run of `mine`.
        """
        run = MiningFolder(Path(folder))
        if not run.manifest.exists() or run.read_json(run.manifest).get("kind") != "mine":
            raise RunFolderError(f"{folder} is not the folder of a finished run of `jina-data mine`")
        return cls(**run.read_json(run.path / "report.json"), path=Path(folder))

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        values = asdict(self)
        del values["path"]
        return values

    def lines(self) -> list[str]:
        """Return the summary of the run as a few lines."""
        rows, audit = self.rows, self.audit
        lines = [
            f"{self.written:,} rows for {rows['kept']:,} of {rows['read']:,} pairs, "
            f"from {self.corpus['texts']:,} texts; {self.seconds:.1f} s, "
            f"{self.peak_memory_bytes / 2**20:,.0f} MiB peak memory"
        ]
        if n := audit["negatives"]:
            closer, above = audit["above_positive"], audit["above_quantile"]
            quantile = audit["quantile"]
            limit = "the median positive" if quantile == 0.5 else f"the {100 * quantile:g} % quantile of the positives"
            lines.append(
                f"possible false negatives: {closer:,} ({percent(closer, n)}) score at least as high as their "
                f"positive; {above:,} ({percent(above, n)}) score at least as high as {limit}"
            )
        else:
            lines.append(
                "no pair got enough negatives: too few texts are within the limits. Relax --min-score, --max-score or "
                "the margin, or add texts with --corpus"
            )
        if self.cross_refused is not None:
            lines.append(f"the cross-encoder refused {self.cross_refused:,} candidates")
        if cut := sum(self.cut.values()):
            lines.append(f"{cut:,} texts were truncated at the maximum length of the embedder")
        return lines


def print_report(report: MineReport, console: Console | None = None) -> None:
    """Print the counts by source, the scores, and the paths of the outputs."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("source", overflow="fold")
    for name in ("pairs", "kept", "dropped", "rows"):
        table.add_column(name, justify="right")
    for source in largest(report.sources, "read"):
        table.add_row(source["name"], *(f"{source[name]:,}" for name in ("read", "kept", "dropped", "written")))
    if n := n_more(report.sources):
        table.add_row(f"and {n:,} more; see report.json")
    console.print(table)
    if report.scores:
        _print_scores(report, console)
    for line in report.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for name, content in (("data", "negatives"), ("dropped", "dropped pairs"), ("report.html", "report")):
        console.print(f"{content + ':':<22}{report.path}/{name}", highlight=False, markup=False, soft_wrap=True)


def _print_scores(report: MineReport, console: Console) -> None:
    scores = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    scores.add_column("similarity")
    quantiles = list(next(iter(report.scores.values())))
    for name in quantiles:
        scores.add_column(name, justify="right")
    for series, values in report.scores.items():
        scores.add_row(series, *(f"{values[name]:.3f}" for name in quantiles))
    console.print(scores)


MAX_CHARS = 600
"""Maximum number of characters of a sample text without marks."""


def write_html(path: Path, report: MineReport) -> None:
    """Write report.html."""
    samples = []
    for row in report.audit["samples"]:
        positive, negative = _side_by_side(row["positive"], row["negative"])
        samples.append({**row, "anchor": _truncated(row["anchor"]), "positive": positive, "negative": negative})
    settings = yaml.safe_dump(dict(report.settings), sort_keys=False, allow_unicode=True)
    text = page.render("mining.html", report=report, samples=samples, settings=settings)
    with atomic_file(path, "w") as sink:
        sink.write(text)


def _side_by_side(positive: str, negative: str) -> tuple[Excerpt, Excerpt]:
    """Mark the differences of two texts, unless more than half of the characters differ."""
    marked = compare(positive, negative)
    spans = [span for text in marked for span in text.spans]
    differs = sum(len(span.text) for span in spans if span.differs)
    if 2 * differs <= sum(len(span.text) for span in spans):
        return marked
    return _truncated(positive), _truncated(negative)


def _truncated(text: str) -> Excerpt:
    return Excerpt([Span(text[:MAX_CHARS])], len(text), cut_after=len(text) > MAX_CHARS)

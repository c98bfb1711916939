"""The report of a run that mines: counts, how close positives and negatives are, and negatives that may be none."""

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
from jina_data.html.page import percent
from jina_data.html.text_diff import Excerpt, Span, compare
from jina_data.mining.folder import MiningFolder
from jina_data.run.files import whole_file


@dataclass(frozen=True)
class MineReport:
    """What a run did. `path` is its folder once it is finished."""

    rows: Mapping[str, int]
    """read = kept + dropped."""
    dropped: Mapping[str, int]
    """By reason."""
    sources: Sequence[Mapping[str, Any]]
    """For each source: name, read, kept, dropped, and the rows of data/ it has."""
    written: int
    """The rows of data/: one a negative for triplets, one a pair for n-tuples."""
    anchors: int
    corpus: Mapping[str, int]
    """Different texts: all, and those of the pairs' positives."""
    negatives: Mapping[str, int]
    """How many pairs got how many negatives."""
    scores: Mapping[str, Mapping[str, float]]
    """Quantiles of how close positives, negatives, and the positive minus the negative are."""
    audit: Mapping[str, Any]
    cut: Mapping[str, int]
    """Texts longer than the embedder reads: anchors and corpus."""
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
            RunFolderError: there is no finished run that mined in this folder.
        """
        run = MiningFolder(Path(folder))
        if not run.manifest.exists() or run.read_json(run.manifest).get("kind") != "mine":
            raise RunFolderError(f"{folder} is not the folder of a finished run of `jina-data mine`")
        return cls(**run.read_json(run.path / "report.json"), path=Path(folder))

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        said = asdict(self)
        del said["path"]
        return said

    def lines(self) -> list[str]:
        """Return what the report says in a few sentences."""
        rows, audit = self.rows, self.audit
        said = [
            f"{self.written:,} rows for {rows['kept']:,} of {rows['read']:,} pairs, "
            f"from {self.corpus['texts']:,} texts; {self.seconds:.1f} s, "
            f"{self.peak_memory_bytes / 2**20:,.0f} MiB at the peak"
        ]
        if n := audit["negatives"]:
            closer, above = audit["above_positive"], audit["above_quantile"]
            share = f"{100 * audit['quantile']:.0f} %"
            said.append(
                f"may be no negatives: {closer:,} ({percent(closer, n)}) are as close to the anchor as its positive, "
                f"{above:,} ({percent(above, n)}) as close as {share} of all positives are to theirs"
            )
        else:
            said.append(
                "no pair got enough negatives: too few texts are as close, and as far, as the settings want. Loosen "
                "--min-score, --max-score or the margin, or name more texts with --corpus"
            )
        if self.cross_refused is not None:
            said.append(f"the cross-encoder refused {self.cross_refused:,} candidates")
        if cut := sum(self.cut.values()):
            said.append(f"{cut:,} texts were longer than the embedder reads, and were cut")
        return said


def print_report(report: MineReport, console: Console | None = None) -> None:
    """Print what became of the pairs by source, how close negatives are, and where things are."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("source", overflow="fold")
    for name in ("pairs", "kept", "dropped", "rows"):
        table.add_column(name, justify="right")
    for source in report.sources:
        table.add_row(source["name"], *(f"{source[name]:,}" for name in ("read", "kept", "dropped", "written")))
    console.print(table)
    if report.scores:
        _print_scores(report, console)
    for line in report.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for name, what in (("data", "negatives"), ("dropped", "dropped and why"), ("report.html", "the report")):
        console.print(f"{what + ':':<22}{report.path}/{name}", highlight=False, markup=False, soft_wrap=True)


def _print_scores(report: MineReport, console: Console) -> None:
    scores = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    scores.add_column("closeness")
    quantiles = list(next(iter(report.scores.values())))
    for name in quantiles:
        scores.add_column(name, justify="right")
    for what, values in report.scores.items():
        scores.add_row(what, *(f"{values[name]:.3f}" for name in quantiles))
    console.print(scores)


MOST_CHARS = 600


def write_html(path: Path, report: MineReport) -> None:
    """Write report.html."""
    samples = []
    for row in report.audit["samples"]:
        positive, negative = _side_by_side(row["positive"], row["negative"])
        samples.append({**row, "anchor": _beginning(row["anchor"]), "positive": positive, "negative": negative})
    settings = yaml.safe_dump(dict(report.settings), sort_keys=False, allow_unicode=True)
    text = page.render("mining.html", report=report, samples=samples, settings=settings)
    with whole_file(path, "w") as sink:
        sink.write(text)


def _side_by_side(positive: str, negative: str) -> tuple[Excerpt, Excerpt]:
    """Mark what differs, if most does not: where most does, marks say nothing."""
    marked = compare(positive, negative)
    spans = [span for shown in marked for span in shown.spans]
    differs = sum(len(span.text) for span in spans if span.differs)
    if 2 * differs <= sum(len(span.text) for span in spans):
        return marked
    return _beginning(positive), _beginning(negative)


def _beginning(text: str) -> Excerpt:
    return Excerpt([Span(text[:MOST_CHARS])], len(text), cut_after=len(text) > MOST_CHARS)

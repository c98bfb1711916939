"""The funnel of a run: rows in and out of every stage, for the terminal, for `print`, and for notebooks."""

from __future__ import annotations

import html
import io
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from rich import box
from rich.console import Console
from rich.table import Table

from jina_data.clean.counts import RowCounts, StageCounts
from jina_data.clean.notices import with_folder
from jina_data.html.page import percent
from jina_data.stages.score_cache import CutCounts

COLUMNS = ("stage", "rows in", "dropped", "rows out", "of all", "reasons")


class FunnelReport(Protocol):
    """What the funnel shows of a report."""

    @property
    def rows(self) -> RowCounts:
        """The rows of the run."""

    @property
    def stages(self) -> Sequence[StageCounts]:
        """The rows of each stage."""

    @property
    def seconds(self) -> float:
        """The time of the run."""

    @property
    def peak_memory_bytes(self) -> int:
        """The peak memory of the run."""

    @property
    def cut(self) -> Sequence[CutCounts]:
        """The texts that models truncated."""

    @property
    def warnings(self) -> Sequence[str]:
        """The warnings of the run."""

    @property
    def path(self) -> Path | None:
        """The run folder."""


def print_funnel(report: FunnelReport, console: Console | None = None) -> None:
    """Print the rows in and out of every stage with the reasons, the warnings, and the paths of the outputs."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in COLUMNS:
        is_number = name not in ("stage", "reasons")
        table.add_column(
            name, justify="right" if is_number else "left", overflow="fold" if name == "reasons" else "ellipsis"
        )
    for cells in _cells(report):
        table.add_row(*cells)
    console.print(table)
    console.print(_totals(report), highlight=False)
    for counts in report.cut:
        if counts.cut:
            console.print(truncation_notice(counts), highlight=False, markup=False, soft_wrap=True)
    for notice in report.warnings:
        console.print(
            f"warning: {with_folder(notice, report.path)}", highlight=False, markup=False, style="bold", soft_wrap=True
        )
    for label, place in (
        ("kept rows", f"{report.path}/data"),
        ("dropped rows and why", f"{report.path}/dropped"),
        ("report", f"{report.path}/report.html"),
        ("inspect with", f"jina-data inspect {report.path}"),
    ):
        console.print(f"{label + ':':<22}{place}", highlight=False, markup=False, soft_wrap=True)


def _cells(report: FunnelReport) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each row of the funnel, as texts."""
    rows = report.rows
    parsed = rows.read - rows.unreadable
    unreadable = f"unreadable {rows.unreadable:,}" if rows.unreadable else ""
    yield "read", f"{rows.read:,}", f"{rows.unreadable:,}", f"{parsed:,}", percent(parsed, rows.read), unreadable
    for stage in report.stages:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in stage.dropped.items())
        dropped, share = stage.rows_in - stage.rows_out, percent(stage.rows_out, rows.read)
        yield stage.name, f"{stage.rows_in:,}", f"{dropped:,}", f"{stage.rows_out:,}", share, reasons


def _totals(report: FunnelReport) -> str:
    rows = report.rows
    return (
        f"{rows.kept:,} of {rows.read:,} rows kept, {rows.dropped:,} dropped, {rows.unreadable:,} unreadable; "
        f"{report.seconds:.1f} s, {report.peak_memory_bytes / 2**20:,.0f} MiB at the peak"
    )


def funnel_text(report: FunnelReport) -> str:
    """Return what `print_funnel` prints, as plain text in the width of the terminal."""
    width = shutil.get_terminal_size((120, 24)).columns
    print_funnel(report, Console(file=(sink := io.StringIO()), width=width))
    return sink.getvalue().rstrip("\n")


def funnel_html(report: FunnelReport) -> str:
    """Return the funnel as an HTML table, with the totals, the warnings and the place of the outputs."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>" for cells in _cells(report)
    )
    lines = [_totals(report), *(f"warning: {notice}" for notice in report.warnings), f"kept rows: {report.path}/data"]
    text = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{text}"


def truncation_notice(counts: CutCounts) -> str:
    """Return a line about the texts, or pairs of texts, that a model truncated."""
    return (
        f"{counts.cut:,} of {counts.count:,} {counts.reads} were longer than the model's limit of "
        f"{counts.max_tokens:,} tokens and were cut ({counts.model})"
    )

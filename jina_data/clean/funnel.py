"""The funnel of a run as a table for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from jina_data.clean.notices import with_folder
from jina_data.clean.report import CleanReport, truncation_notice
from jina_data.html.page import percent


def print_funnel(report: CleanReport, console: Console | None = None) -> None:
    """Print the rows in and out of every stage with the reasons, the warnings, and the paths of the outputs."""
    console = console or Console()
    rows = report.rows
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    for name in ("rows in", "dropped", "rows out", "of all"):
        table.add_column(name, justify="right")
    table.add_column("reasons", overflow="fold")
    parsed = rows.read - rows.unreadable
    table.add_row(
        "read", f"{rows.read:,}", f"{rows.unreadable:,}", f"{parsed:,}", percent(parsed, rows.read),
        f"unreadable {rows.unreadable:,}" if rows.unreadable else "",
    )  # fmt: skip
    for stage in report.stages:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in stage.dropped.items())
        dropped = stage.rows_in - stage.rows_out
        share = percent(stage.rows_out, rows.read)
        table.add_row(stage.name, f"{stage.rows_in:,}", f"{dropped:,}", f"{stage.rows_out:,}", share, reasons)
    console.print(table)
    console.print(
        f"{rows.kept:,} of {rows.read:,} rows kept, {rows.dropped:,} dropped, {rows.unreadable:,} unreadable; "
        f"{report.seconds:.1f} s, {report.peak_memory_bytes / 2**20:,.0f} MiB at the peak",
        highlight=False,
    )
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

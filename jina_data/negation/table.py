"""What became of the pairs of a run as a table in the terminal, and what a run would cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from jina_data.html.page import percent
from jina_data.llm.cost import dollars
from jina_data.negation.forecast import Outlook
from jina_data.negation.report import NegateReport


def print_report(report: NegateReport, console: Console | None = None) -> None:
    """Print what became of the pairs by source, what it cost, and where things are."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("source")
    for name in ("pairs", "accepted", "rejected", "unanswered", "of all"):
        table.add_column(name, justify="right")
    table.add_column("reasons", overflow="fold")
    for source in report.sources:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in list(source.reasons.items())[:5])
        counts = (source.total, source.accepted, source.rejected, source.unanswered)
        table.add_row(source.name, *(f"{n:,}" for n in counts), percent(source.accepted, source.total), reasons)
    console.print(table)
    pairs = report.pairs
    _say(
        console,
        f"{pairs.accepted:,} negatives for {pairs.total:,} pairs ({report.splits['train']:,} to train, "
        f"{report.splits['test']:,} to test), {pairs.rejected:,} rejected, {pairs.unanswered:,} unanswered; "
        f"{report.seconds:.1f} s, {report.peak_memory_bytes / 2**20:,.0f} MiB at the peak",
    )
    _say(console, f"words of negation alone tell {report.cues['accuracy']:.1%} of the negatives (50 % is chance)")
    if report.requests is not None:
        _say(console, requests_line(report.requests))
    if report.judge is not None:
        _say(console, f"judge {report.judge['model']}: {requests_line(report.judge)}")
    for warning in report.warnings:
        _say(console, f"note: {warning}")
    for name, what in (("data", "triplets"), ("rejected", "rejected and why"), ("report.html", "the report")):
        _say(console, f"{what + ':':<22}{report.path}/{name}")


def requests_line(said: Mapping[str, Any]) -> str:
    """Return what the requests to a model took, on one line."""
    cost = "cost not known" if said["usd"] is None else f"{dollars(said['usd'])} by {said['price']}"
    doubt = f", at most {dollars(said['usd_in_doubt'])} more in doubt" if said.get("usd_in_doubt") else ""
    return (
        f"{said['requests']:,} requests sent {said['sends']:,} times, {said['tokens_in']:,} tokens in "
        f"({said['tokens_cached']:,} cached), {said['tokens_out']:,} out; {cost}{doubt}"
    )


def print_outlook(outlook: Outlook, console: Console | None = None) -> None:
    """Print what a run would ask and cost."""
    console = console or Console()
    for line in outlook.lines():
        _say(console, line)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)

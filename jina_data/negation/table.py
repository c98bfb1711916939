"""Prints the report of a negate run as a table in the terminal, and the forecast of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from jina_data.html.page import largest, n_more, percent
from jina_data.llm.cost import dollars
from jina_data.negation.forecast import CostForecast
from jina_data.negation.report import NegateReport


def print_report(report: NegateReport, console: Console | None = None) -> None:
    """Print the counts by source, the cost, the warnings, and the paths of the outputs."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("source")
    for name in ("pairs", "accepted", "rejected", "unanswered", "of all"):
        table.add_column(name, justify="right")
    table.add_column("reasons", overflow="fold")
    for source in largest(report.sources, "total"):
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in list(source.reasons.items())[:5])
        counts = (source.total, source.accepted, source.rejected, source.unanswered)
        table.add_row(source.name, *(f"{n:,}" for n in counts), percent(source.accepted, source.total), reasons)
    if n := n_more(report.sources):
        table.add_row(f"and {n:,} more; see report.json")
    console.print(table)
    for name, reasons in report.rows["unusable"].items():
        counts_by_reason = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
        no_pairs = f"{sum(reasons.values()):,} of {report.rows['rows'][name]:,} rows give no pair"
        if reasons:
            _print(console, f"{name}: {no_pairs}: {counts_by_reason}")
    pairs = report.pairs
    _print(
        console,
        f"{pairs.accepted:,} negatives for {pairs.total:,} pairs ({report.splits['train']:,} to train, "
        f"{report.splits['test']:,} to test), {pairs.rejected:,} rejected, {pairs.unanswered:,} unanswered; "
        f"{report.seconds:.1f} s, {report.peak_memory_bytes / 2**20:,.0f} MiB at the peak",
    )
    _print(console, f"negation words alone identify {report.cues['accuracy']:.1%} of the negatives (50 % is chance)")
    if report.requests is not None:
        _print(console, requests_line(report.requests))
    if report.judge is not None:
        _print(console, f"judge {report.judge['model']}: {requests_line(report.judge)}")
    for warning in report.warnings:
        _print(console, f"warning: {warning}")
    for name, label in (("data", "triplets"), ("rejected", "rejected negatives"), ("report.html", "report")):
        _print(console, f"{label + ':':<22}{report.path}/{name}")


def requests_line(account: Mapping[str, Any]) -> str:
    """Return the requests to a model and their cost as one line."""
    cost = "cost not known" if account["usd"] is None else f"{dollars(account['usd'])} by {account['price']}"
    doubt = f", at most {dollars(account['usd_in_doubt'])} more in doubt" if account.get("usd_in_doubt") else ""
    return (
        f"{account['requests']:,} requests sent {account['sends']:,} times, {account['tokens_in']:,} tokens in "
        f"({account['tokens_cached']:,} cached), {account['tokens_out']:,} out; {cost}{doubt}"
    )


def print_forecast(forecast: CostForecast, console: Console | None = None) -> None:
    """Print the forecast of a run."""
    console = console or Console()
    for line in forecast.lines():
        _print(console, line)


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)

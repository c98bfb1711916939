"""Prints the forecast of a run as a table in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from jina_data.forecast.estimates import Interval
from jina_data.forecast.forecast import ConsistencyCost, Forecast

WAYS = {
    "all": "all of the input, so the counts are exact",
    "rows": "drawn from all rows",
    "blocks": "in blocks from all over the input",
}


def print_forecast(forecast: Forecast, console: Console | None = None) -> None:
    """Print the cost of `consistency` first, then the rows of every stage, and the time, memory and disk of the run."""
    console = console or Console()
    for cost in forecast.consistency:
        console.print(consistency_line(cost), highlight=False, soft_wrap=True)
    console.print(
        f"forecast for {count(forecast.rows)} rows from a sample of {forecast.sampled_rows:,}, "
        f"{WAYS[forecast.way]}; nothing was written",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_table(forecast))
    for name, text in _lines(forecast):
        console.print(f"{name + ':':<14}{text}", highlight=False, soft_wrap=True)
    for note in forecast.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)


def consistency_line(cost: ConsistencyCost) -> str:
    """Return the line on the cost of a `consistency` stage."""
    return (
        f"consistency: 2 x {short(cost.anchors)} anchors x {short(cost.pool)} texts of the pool x {cost.dim} "
        f"dimensions = {cost.operations:.1e} operations, {duration(cost.count_seconds)} "
        f"(at {cost.operations_per_second:.1e} a second, measured); "
        f"{short(cost.texts)} texts to embed, {duration(cost.embed_seconds)} of one worker"
    )


def _table(forecast: Forecast) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    for name in ("rows in", "kept", "95 % interval", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("reasons", overflow="fold")
    parsed = Interval(
        forecast.rows.low - forecast.unreadable.high,
        forecast.rows.expected - forecast.unreadable.expected,
        forecast.rows.high - forecast.unreadable.low,
    )
    broken = f"unreadable {forecast.unreadable.expected:,.0f}" if forecast.unreadable.expected else ""
    table.add_row(
        "read", f"{forecast.rows.expected:,.0f}", *_kept(parsed), f"{forecast.step_seconds['read']:.1f}", broken
    )
    for stage in forecast.stages:
        reasons = ", ".join(f"{reason} {number:,.0f}" for reason, number in stage.dropped.items() if number)
        table.add_row(
            stage.name, f"{stage.rows_in.expected:,.0f}", *_kept(stage.rows_out),
            f"{stage.seconds.expected:.1f}", reasons,
        )  # fmt: skip
    return table


def _kept(rows: Interval) -> tuple[str, str]:
    return f"{rows.expected:,.0f}", "exact" if rows.low == rows.high else f"{rows.low:,.0f} to {rows.high:,.0f}"


def _lines(forecast: Forecast) -> list[tuple[str, str]]:
    limit = forecast.memory_limit_bytes
    return [
        ("kept", f"{count(forecast.kept)} of {forecast.rows.expected:,.0f} rows"),
        ("time", f"{between(forecast.seconds, duration)} with {forecast.workers} workers"),
        ("memory", f"{between(forecast.peak_memory_bytes, size)} at the peak, of {size(limit)} allowed"),
        ("disk", f"{between(forecast.work_bytes, size)} at most, {size(forecast.folder_bytes.expected)} at the end"),
        ("data/", between(forecast.data_bytes, size)),
        ("dropped/", between(forecast.dropped_bytes, size)),
    ]


def count(rows: Interval) -> str:
    """Format a number of rows, with its interval if it is not exact."""
    if rows.low == rows.high:
        return f"{rows.expected:,.0f}"
    return f"{rows.expected:,.0f} ({rows.low:,.0f} to {rows.high:,.0f})"


def between(interval: Interval, write: object) -> str:
    """Format an interval as "about x (y to z)"."""
    assert callable(write)
    low, expected, high = write(interval.low), write(interval.expected), write(interval.high)
    return f"about {expected}" + ("" if low == high else f" ({low} to {high})")


def short(number: float) -> str:
    """Format a number with a unit: 1.2 M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            value = number / (limit if unit != "k" else 1e3)
            return f"{value:.3g} {unit}"
    return f"{number:,.0f}"


def size(n_bytes: float) -> str:
    """Format a number of bytes."""
    for limit, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if n_bytes >= limit:
            return f"{n_bytes / limit:,.3g} {unit}"
    return f"{n_bytes / 2**10:,.0f} KiB"


def duration(seconds: float) -> str:
    """Format a number of seconds."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"

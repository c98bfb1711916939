"""Progress: what bars and plain lines show of steps that count rows, that count none, and that stop."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from jina_data.progress import BarProgress, LineProgress, Progress


def last_screen(work: Callable[[Progress], None], width: int = 80) -> list[str]:
    """Return the lines that stay on a terminal after some work."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, record=True, color_system=None)
    work(BarProgress(console))
    # The last frame follows the last carriage return; earlier ones were erased.
    written = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in written.rpartition("\x1b[?25h")[0].rpartition("\x1b[2K")[2].splitlines()]


def test_a_finished_step_has_a_mark_its_rows_and_its_time() -> None:
    def work(progress: Progress) -> None:
        with progress.task("keys for near_dedup", 3_169) as task:
            task.advance(1_000)
            task.advance(2_018)

    (line,) = last_screen(work)
    assert line.startswith("✓ keys for near_dedup")
    assert "━━━━━━━━━━   3,018 rows " in line
    assert line.endswith(" 0:00:00")


def test_a_step_that_counts_no_rows_shows_none() -> None:
    def work(progress: Progress) -> None:
        with progress.task("near_dedup", None):
            pass

    (line,) = last_screen(work)
    assert line.split() == ["✓", "near_dedup", "━━━━━━━━━━", "0:00:00"]


def test_a_step_of_an_unknown_number_of_rows_finishes() -> None:
    def work(progress: Progress) -> None:
        with progress.task("reading", None) as task:
            task.advance(12)

    (line,) = last_screen(work)
    assert line.startswith("✓ reading ")
    assert " 12 rows " in line


def test_a_step_that_stops_is_not_shown_as_finished() -> None:
    def work(progress: Progress) -> None:
        with progress.task("reading", 100) as task:
            task.advance(12)
            raise KeyboardInterrupt

    def stopped(progress: Progress) -> None:
        with pytest.raises(KeyboardInterrupt):
            work(progress)

    (line,) = last_screen(stopped)
    assert line.startswith("✕ reading ")
    assert "✓" not in line
    assert " 12 rows " in line


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_long_name_is_cut_to_the_terminal(width: int) -> None:
    name = "normalize, length, rules, language, keys for exact_dedup"

    def work(progress: Progress) -> None:
        with progress.task(name, 12_345_678) as task:
            task.advance(12_345_678)

    (line,) = last_screen(work, width)
    assert len(line) <= width
    assert (name in line) == (width == 200)
    assert ("12,345,678 rows" in line) == (width >= 80)


def test_markup_in_a_name_is_shown_as_it_is() -> None:
    def work(progress: Progress) -> None:
        with progress.task("[bold]odd[/bold].jsonl", None):
            pass

    assert "[bold]odd[/bold].jsonl" in last_screen(work)[0]


def test_plain_lines() -> None:
    sink = io.StringIO()
    progress = LineProgress(sink, period_seconds=0.0)
    with progress.task("reading", None):
        pass
    with progress.task("ledger", 10) as task:
        task.advance(4)
        task.advance(3)
    lines = sink.getvalue().splitlines()
    assert lines[0] == "reading: 0.0 s"
    assert lines[1].startswith("ledger: 4 of 10 rows, ")
    assert lines[-1].startswith("ledger: 7 rows, ")
    assert lines[-1].endswith(" rows/s")

"""Run the command line in a process of its own."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from jina_data.cli import main

JINA_DATA = (sys.executable, "-c", "from jina_data.cli import main; main()")


def jina_data(*arguments: str | Path, cwd: Path | None = None) -> Call:
    """Call the command within this process, which saves the imports."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(cwd or Path.cwd()),
    ):
        patch.setattr(sys, "argv", ["jina-data", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            return Call(int(stop.code or 0), out.getvalue(), err.getvalue())
    return Call(0, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Call:
    """What a call of the command gave."""

    returncode: int
    stdout: str
    stderr: str

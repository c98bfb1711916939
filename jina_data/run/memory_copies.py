"""Keeps copies of data from memory in a run folder while a run needs them."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jina_data.read import InputFile
from jina_data.read.memory import Inputs, copy_inputs, has_data, list_inputs
from jina_data.run.files import remove
from jina_data.run.folder import COPIES
from jina_data.run.resources import resource_errors


@contextlib.contextmanager
def copied_inputs(inputs: Inputs, out: Path | None) -> Iterator[list[str | InputFile]]:
    """Yield inputs with files in place of data from memory; the files are removed at the end.

    They lie in the run folder, whose disk has room for the run; without a run folder, among temporary files.

    Raises:
        UsageError: an input is no data.
        InputError: the data cannot be read.
    """
    listed = list_inputs(inputs)
    if not has_data(listed):
        yield copy_inputs(listed, Path())
        return
    with _copies_folder(out) as folder:
        with resource_errors(folder if out is None else out):
            files = copy_inputs(listed, folder)
        yield files


@contextlib.contextmanager
def _copies_folder(out: Path | None) -> Iterator[Path]:
    if out is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    is_new = not out.exists()
    parent = out / COPIES
    parent.mkdir(parents=True, exist_ok=True)
    _remove_old(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{socket.gethostname()}-{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        remove(folder)
        for path in (parent, *((out,) if is_new else ())):
            with contextlib.suppress(OSError):
                path.rmdir()


def _remove_old(parent: Path) -> None:
    """Remove the copies of killed processes of this machine."""
    for folder in parent.glob(f"{socket.gethostname()}-*"):
        pid = folder.name.removeprefix(f"{socket.gethostname()}-").partition("-")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            remove(folder)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

"""The paths of a run folder, its lock, and the checks before a run may write into it."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from filelock import FileLock, Timeout

from jina_data.errors import RunFolderError, first_line
from jina_data.run.files import remove
from jina_data.run.names import plain_name

COPIES = ".copies"
"""The folder with copies of inputs from memory, while a process needs them."""


@dataclass(frozen=True)
class RunFolder:
    """The paths that every run folder has. Each command names its outputs and work files in a subclass."""

    path: Path

    outputs: ClassVar[tuple[str, ...]] = ()
    """Files and folders of a finished run, apart from events.jsonl and manifest.json."""
    side_files: ClassVar[tuple[str, ...]] = ()
    """Files and folders that a run keeps next to its outputs, and that the manifest does not list."""
    keeps_side_files: ClassVar[bool] = False
    """Whether `clear` leaves the side files in place."""
    work_name: ClassVar[re.Pattern[str]] = re.compile(r"lock|(run|complete)\.json|out|\..*\.tmp")
    """The names in the work folder."""
    shard_name: ClassVar[re.Pattern[str]] = re.compile(r"part-[0-9]{5,}\.(parquet|jsonl)")
    """The names of files inside the output folders."""

    @property
    def work(self) -> Path:
        """The files that a resumed run needs; removed after success."""
        return self.path / ".work"

    @property
    def out(self) -> Path:
        """The outputs while they are being written; moved to the run folder when all are complete."""
        return self.work / "out"

    @property
    def record(self) -> Path:
        """The fingerprint of the unfinished run."""
        return self.work / "run.json"

    @property
    def complete(self) -> Path:
        """The manifest before the outputs are moved into place: its existence marks all outputs as written."""
        return self.work / "complete.json"

    @property
    def events(self) -> Path:
        """The log of units of work begun and finished."""
        return self.path / "events.jsonl"

    @property
    def manifest(self) -> Path:
        """Written last: a run folder with a manifest is finished."""
        return self.path / "manifest.json"

    @property
    def is_finished(self) -> bool:
        """Whether a run finished in this folder, and no later run began."""
        return self.manifest.exists() and not self.record.exists()

    @property
    def is_run(self) -> bool:
        """Whether a run, finished or not, wrote this folder: it has a manifest or a work folder of a run."""
        if self.work.is_dir():
            return all(self.work_name.fullmatch(entry.name) for entry in self.work.iterdir())
        try:
            return "fingerprint_sha256" in json.loads(self.manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return False

    @property
    def has_progress(self) -> bool:
        """Whether an unfinished run has work to resume; if not, a run with other settings may replace it."""
        return True

    def finished_fingerprint(self) -> Any:
        """Return the fingerprint of the finished run; None if its manifest has none.

        Raises:
            RunFolderError: the manifest is missing or not JSON.
        """
        return self.read_json(self.manifest).get("fingerprint")

    def read_json(self, path: Path) -> Any:
        """Read one of the folder's JSON files.

        Raises:
            RunFolderError: the file is missing, or not JSON.
        """
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{path} cannot be read: {error}. Is {self.path} the folder of a run?") from None

    def clear(self) -> None:
        """Remove the files that runs write, and no others; the lock file stays."""
        side_files = () if self.keeps_side_files else self.side_files
        for name in ("manifest.json", *self.outputs, *side_files, "events.jsonl", ".trash", ".publish"):
            remove(self.path / name)
        self.clear_work()

    def clear_if_empty(self) -> None:
        """Remove the files of a failed run that has no work to resume."""
        if not self.has_progress:
            self.clear()

    def clear_work(self) -> None:
        """Remove the files that only a resumed run needs; the lock file stays."""
        if self.work.is_dir():
            for entry in self.work.iterdir():
                if entry.name != "lock":
                    remove(entry)

    def discard_work(self) -> None:
        """Remove the work folder. It is renamed first, so that a kill cannot leave an incomplete work folder."""
        self.discard_trash()
        trash = self.path / ".trash"
        self.work.replace(trash)
        remove(trash)

    def discard_trash(self) -> None:
        """Remove a renamed work folder that a kill left."""
        remove(self.path / ".trash")

    def discard_partial_files(self) -> None:
        """Remove the files that a killed run was writing; only the holder of the lock may call this."""
        for partial in list(self.work.rglob(".*.tmp")):
            remove(partial)

    def foreign_names(self) -> list[str]:
        """Return the names in the folder and its output folders that runs do not write."""
        kept = (".work", ".trash", ".publish", COPIES)
        expected = {"manifest.json", *self.outputs, *self.side_files, "events.jsonl", *kept}
        names = [entry.name for entry in self.path.iterdir() if entry.name not in expected]
        for output in self.outputs:
            files = (path for path in (self.path / output).rglob("*") if not path.is_dir())
            names += [str(path.relative_to(self.path)) for path in files if not self.shard_name.fullmatch(path.name)]
        return sorted(names)

    def check_writable(self, *, overwrite: bool) -> None:
        """Check that a run may write here.

        Raises:
            RunFolderError: the path is a file, or the folder has files that runs do not write.
        """
        if plain_name(str(self.path.absolute())) != str(self.path.absolute()):
            raise RunFolderError(
                f"the name of the output folder, {plain_name(str(self.path))}, is not UTF-8, which the libraries "
                "that write there cannot use. Name another folder with -o"
            )
        if os.sep != "\\" and "\\" in str(self.path.absolute()):
            raise RunFolderError(
                f"the name of the output folder, {self.path}, has a backslash, which DuckDB treats as a separator. "
                "Name another folder with -o"
            )
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file; -o expects a folder")
        if not self.path.is_dir():
            return
        foreign = self.foreign_names()
        if not self.is_run and any(entry.name != COPIES for entry in self.path.iterdir()):
            example = foreign[0] if foreign else "parts of a run"
            raise RunFolderError(
                f"the output folder {self.path} is not empty and not the folder of a run (it holds {example}). "
                "Name a new folder; --overwrite replaces earlier runs only"
            )
        is_left_over = not self.manifest.exists() and not self.record.exists()
        if foreign and (overwrite or is_left_over):
            raise RunFolderError(f"{self.path} holds {foreign[0]}, which no run wrote; move it away before --overwrite")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, so that no second run works in it.

        Raises:
            RunFolderError: another run has the lock, or the folder is not writable.
        """
        is_new = not self.path.exists()
        with file_lock(
            self.work,
            busy=f"{self.path} is in use by another run; wait for it, or name another folder",
            failed=f"the output folder {self.path} cannot be written",
        ):
            self.discard_partial_files()
            try:
                yield
            finally:
                self._remove_if_empty(is_new=is_new)

    def _remove_if_empty(self, *, is_new: bool) -> None:
        """Remove the work folder if it contains only the lock, and the run folder too if it is empty and new."""
        if not self.work.is_dir() or any(entry.name != "lock" for entry in self.work.iterdir()):
            return
        remove(self.work)
        if is_new and not any(self.path.iterdir()):
            self.path.rmdir()


@contextlib.contextmanager
def file_lock(folder: Path, *, busy: str, failed: str) -> Iterator[None]:
    """Lock the file `lock` in a folder, which is created if missing; the lock ends with the process.

    Raises:
        RunFolderError: another process has the lock (`busy`), or it cannot be written (`failed` and the cause).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(blocking=False)
    except Timeout:
        raise RunFolderError(busy) from None
    except OSError as error:
        raise RunFolderError(f"{failed}: {error.strerror or first_line(error)}") from None
    try:
        yield
    finally:
        lock.release()

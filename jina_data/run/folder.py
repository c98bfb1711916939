"""The run folder: where everything of a run is, how files appear in it whole, and who works on it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jina_data.errors import RunFolderError
from jina_data.run.files import remove

OUTPUTS = ("data", "dropped", "ledger", "scores", "unreadable.jsonl", "report.json", "report.html")
"""What a finished run leaves, beside events.jsonl and manifest.json."""

WORK_NAME = re.compile(
    r"lock|(run|complete|(look|facts)-\d+)\.json|decide-\d+\.parquet|(pass|outside|look)-\d+|spool|digest|out|duckdb"
    r"|index|old-index|\..*\.tmp"
)
"""What a run keeps in its work folder."""

SHARD_NAME = re.compile(r"part-[0-9]{5,}\.(parquet|jsonl)")
"""What the files in a run's output folders are called."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run folder. Another kind of run names other files in a subclass."""

    path: Path

    outputs: ClassVar[tuple[str, ...]] = OUTPUTS
    kept: ClassVar[tuple[str, ...]] = ("cache",)
    """What stays beside the outputs and is not among them, since its bytes depend on the order of work."""
    work_name: ClassVar[re.Pattern[str]] = WORK_NAME
    shard_name: ClassVar[re.Pattern[str]] = SHARD_NAME

    @property
    def work(self) -> Path:
        """What a resumed run needs; gone after success."""
        return self.path / ".work"

    @property
    def out(self) -> Path:
        """The outputs while they are being written; moved to the run folder when all are whole."""
        return self.work / "out"

    @property
    def events(self) -> Path:
        """The log of units begun and finished."""
        return self.path / "events.jsonl"

    @property
    def manifest(self) -> Path:
        """Written last: a run folder with a manifest is finished."""
        return self.path / "manifest.json"

    def spool(self, file_index: int, number: int) -> Path:
        """The parsed rows of a fixed range."""
        return self.work / "spool" / f"file-{file_index:05d}-range-{number:06d}.parquet"

    def broken(self, file_index: int, number: int) -> Path:
        """What could not be parsed in a fixed range; there only where something could not."""
        return self.spool(file_index, number).with_suffix(".jsonl")

    def end_of_file(self, file_index: int) -> Path:
        """Says that a file was read to its end, and in how many ranges."""
        return self.work / "spool" / f"file-{file_index:05d}.json"

    def digest(self, file_index: int) -> Path:
        """The sha256 of an input file."""
        return self.work / "digest" / f"file-{file_index:05d}.json"

    def state(self, pass_number: int, ordinal: int) -> Path:
        """What the stages of a pass said of the rows of a fixed range."""
        return self.work / f"pass-{pass_number:02d}" / f"range-{ordinal:06d}.parquet"

    def decision(self, stage_index: int) -> Path:
        """The rows that a collective stage drops, in order of row id."""
        return self.work / f"decide-{stage_index:02d}.parquet"

    def seen(self, stage_index: int) -> Path:
        """What a barrier stage saw when it looked at all survivors."""
        return self.work / f"look-{stage_index:02d}.json"

    def facts(self, stage_index: int) -> Path:
        """What a collective stage found worth reporting."""
        return self.work / f"facts-{stage_index:02d}.json"

    def looked(self, stage_index: int) -> Path:
        """The files that a stage kept for itself when it looked at all survivors."""
        return self.work / f"look-{stage_index:02d}"

    def outside(self, stage_index: int, file_index: int) -> Path:
        """The keys of the rows of an outside file that a stage compares with."""
        return self.work / f"outside-{stage_index:02d}" / f"file-{file_index:05d}.parquet"

    @property
    def cache(self) -> Path:
        """The scores of models by content; stays, for `--reuse`."""
        return self.path / "cache"

    @property
    def index(self) -> Path:
        """The index of the scores in `cache`."""
        return self.work / "index"

    @property
    def old_index(self) -> Path:
        """The index of the scores that were there when the session began: of other runs, and of this one."""
        return self.work / "old-index"

    @property
    def is_finished(self) -> bool:
        """Whether a run ended here with success, and no other has begun since."""
        return self.manifest.exists() and not (self.work / "run.json").exists()

    @property
    def is_run(self) -> bool:
        """Whether a run wrote here, finished or not: it left a manifest, or a work folder of its own making."""
        if self.work.is_dir():
            return all(self.work_name.fullmatch(entry.name) for entry in self.work.iterdir())
        try:
            return "fingerprint_sha256" in json.loads(self.manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return False

    def read_json(self, path: Path) -> Any:
        """Read one of the folder's JSON files.

        Raises:
            RunFolderError: it is not there, or not JSON.
        """
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{path} cannot be read: {error}. Is {self.path} the folder of a run?") from None

    def clear(self) -> None:
        """Remove what a run wrote here, and nothing else; the lock stays with its holder."""
        for name in ("manifest.json", *self.outputs, *self.kept, "events.jsonl", ".trash", ".publish"):
            remove(self.path / name)
        if self.work.is_dir():
            for entry in self.work.iterdir():
                if entry.name != "lock":
                    remove(entry)

    def discard_work(self) -> None:
        """Remove what only a resumed run needs. It goes under another name first, so that no half of it is left."""
        trash = self.path / ".trash"
        remove(trash)
        self.work.replace(trash)
        remove(trash)

    def foreign(self) -> list[str]:
        """Return the names in the folder that no run wrote, those inside its output folders too."""
        known = {"manifest.json", *self.outputs, *self.kept, "events.jsonl", ".work", ".trash", ".publish"}
        found = [entry.name for entry in self.path.iterdir() if entry.name not in known]
        for name in self.outputs:
            inside = (path for path in (self.path / name).rglob("*") if not path.is_dir())
            found += [str(path.relative_to(self.path)) for path in inside if not self.shard_name.fullmatch(path.name)]
        return sorted(found)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second run.

        Raises:
            RunFolderError: another run holds it, or it is not writable.
        """
        is_new = not self.path.exists()
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            lock = (self.work / "lock").open("a")
        except OSError as error:
            raise RunFolderError(f"the output folder {self.path} cannot be written: {error.strerror}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunFolderError(
                    f"another run is at work in {self.path}; wait for it, or name another folder"
                ) from None
            self._discard_halves()
            try:
                yield
            finally:
                self._leave(is_new=is_new)

    def _discard_halves(self) -> None:
        """Remove what a killed run was in the middle of writing; whoever holds the lock is alone here."""
        remove(self.work / "duckdb")
        for half in list(self.work.rglob(".*.tmp")):
            remove(half)

    def _leave(self, *, is_new: bool) -> None:
        """Remove the lock where nothing else is left of a run, and the folder with it if it was not there before."""
        if not self.work.is_dir() or any(entry.name != "lock" for entry in self.work.iterdir()):
            return
        remove(self.work)
        if is_new and not any(self.path.iterdir()):
            self.path.rmdir()


def check_folder(folder: RunFolder, *, overwrite: bool) -> None:
    """Make sure that a run may write here.

    Raises:
        RunFolderError: it is a file, or holds what no run wrote.
    """
    if folder.path.exists() and not folder.path.is_dir():
        raise RunFolderError(f"{folder.path} is a file; -o names a folder")
    if not folder.path.is_dir():
        return
    foreign = folder.foreign()
    if not folder.is_run and any(folder.path.iterdir()):
        held = foreign[0] if foreign else "parts of a run"
        raise RunFolderError(
            f"the output folder {folder.path} is not empty and not the folder of a run (it holds {held}). "
            "Name a new folder; --overwrite replaces earlier runs only"
        )
    is_left_over = not folder.manifest.exists() and not (folder.work / "run.json").exists()
    if foreign and (overwrite or is_left_over):
        raise RunFolderError(f"{folder.path} holds {foreign[0]}, which no run wrote; move it away before --overwrite")

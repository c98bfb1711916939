"""The run folder of training, and whether a run may begin, go on or has nothing to do in it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jina_data.errors import RunFolderError
from jina_data.run.files import remove, write_json
from jina_data.run.folder import RunFolder
from jina_data.train.checkpoint import last_checkpoint


@dataclass(frozen=True)
class TrainFolder(RunFolder):
    """The paths of a training run."""

    outputs: ClassVar[tuple[str, ...]] = (
        *("model", "checkpoints", "failed", "tensorboard", "metrics.jsonl", "report.json", "report.html"),
    )
    kept: ClassVar[tuple[str, ...]] = ()
    work_name: ClassVar[re.Pattern[str]] = re.compile(
        r"lock|run\.json|tokenizer\.json|input-\d+\.parquet|model|\..*\.tmp"
    )
    shard_name: ClassVar[re.Pattern[str]] = re.compile(r".*")

    @property
    def model(self) -> Path:
        """The trained model."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """What a stopped run goes on from."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """A line for each step."""
        return self.path / "metrics.jsonl"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer that was learned from the input."""
        return self.work / "tokenizer.json"

    @property
    def record(self) -> Path:
        """The fingerprint of the run under way."""
        return self.work / "run.json"

    def is_done(self, fingerprint: Mapping[str, Any]) -> bool:
        """Tell whether this very run is finished.

        Raises:
            RunFolderError: another one is.
        """
        if not self.is_finished:
            return False
        manifest = self.read_json(self.manifest)
        if manifest.get("fingerprint_sha256") != hash_of(fingerprint):
            what = differences(manifest.get("fingerprint", {}), fingerprint)
            raise RunFolderError(
                f"{self.path} holds a finished run with {what}. Name another folder, or replace it with --overwrite"
            )
        remove(self.path / ".trash")
        return True

    def begin(self, fingerprint: Mapping[str, Any], *, overwrite: bool) -> bool:
        """Begin a run, or make sure that the one under way is the same; tell whether it goes on.

        A run that came to no checkpoint gives way: one that failed at once can be tried with other settings.

        Raises:
            RunFolderError: another run is under way.
        """
        if overwrite:
            self.clear()
        if self.record.exists():
            begun = self.read_json(self.record)
            is_same = hash_of(begun) == hash_of(fingerprint)
            if not is_same and last_checkpoint(self.checkpoints) is not None:
                raise RunFolderError(
                    f"{self.path} holds an unfinished run with {differences(begun, fingerprint)}. Give that command "
                    "again, or begin anew with --overwrite"
                )
            if is_same:
                return True
        self.clear()
        write_json(self.record, dict(fingerprint))
        return False


def hash_of(fingerprint: Mapping[str, Any]) -> str:
    """Return the sha256 of a fingerprint."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in words what differs between two fingerprints."""
    old, new = json.loads(json.dumps(old)), json.loads(json.dumps(new))
    before, after = old.get("settings", {}), new.get("settings", {})
    changed = [
        f"{name} {before.get(name)!r} (now {after.get(name)!r})"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    words = {"inputs": "other inputs (names, sizes or times)", "start": "another start", "version": "another version"}
    changed += [said for key, said in words.items() if old.get(key) != new.get(key)]
    return ", ".join(changed) or "other settings"

"""The paths of a run folder of `train`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jina_data.run.folder import RunFolder
from jina_data.train.checkpoint import last_checkpoint


@dataclass(frozen=True)
class TrainFolder(RunFolder):
    """The paths of a training run."""

    outputs: ClassVar[tuple[str, ...]] = (
        *("model", "checkpoints", "failed", "tensorboard", "metrics.jsonl", "report.json", "report.html"),
    )
    work_name: ClassVar[re.Pattern[str]] = re.compile(
        r"lock|(run|complete)\.json|tokenizer\.json|input-\d+\.parquet|out|\..*\.tmp"
    )
    shard_name: ClassVar[re.Pattern[str]] = re.compile(r".*")

    @property
    def model(self) -> Path:
        """The trained model."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints that a stopped run resumes from."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """The metrics, one line per step."""
        return self.path / "metrics.jsonl"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer that was trained on the input."""
        return self.work / "tokenizer.json"

    @property
    def has_progress(self) -> bool:
        """Whether there is a checkpoint; a run without one is replaced by a run with other settings."""
        return last_checkpoint(self.checkpoints) is not None

    def clear_if_empty(self) -> None:
        """Remove the files of a failed run, unless it saved the batch that made it fail."""
        if not (self.path / "failed").exists():
            super().clear_if_empty()

"""Saves and loads checkpoints, from which a run resumes; each is written atomically."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from jina_data.errors import RunFolderError, first_line
from jina_data.run.files import remove

_NAME = re.compile(r"step-\d{8}")


@dataclass(frozen=True)
class TrainProgress:
    """The progress of a run: finished steps, tokens, seconds of training, and the state of the data."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    data: Any = None


def save_checkpoint(folder: Path, done: TrainProgress, module: nn.Module, optimizer: Optimizer, *, keep: int) -> Path:
    """Write a checkpoint to a temporary folder, sync it to disk, rename it, and remove old checkpoints."""
    final = folder / f"step-{done.step:08d}"
    temporary = folder / f".{final.name}.tmp"
    remove(temporary)
    temporary.mkdir(parents=True)
    torch.save(module.state_dict(), temporary / "model.pt")
    torch.save(optimizer.state_dict(), temporary / "optimizer.pt")
    (temporary / "state.json").write_text(json.dumps(vars(done)), encoding="utf-8")
    for path in (*temporary.iterdir(), temporary):
        _sync(path)
    remove(final)
    temporary.replace(final)
    _sync(folder)
    for old in _complete_checkpoints(folder)[:-keep]:
        remove(old)
    return final


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint, and remove incomplete ones that a killed process left."""
    for partial in folder.glob(".step-*.tmp"):
        remove(partial)
    checkpoints = _complete_checkpoints(folder)
    return checkpoints[-1] if checkpoints else None


def load_checkpoint(path: Path, module: nn.Module, optimizer: Optimizer) -> TrainProgress:
    """Load a checkpoint into model and optimizer.

    Raises:
        RunFolderError: the checkpoint is damaged or of another model.
    """
    device = next(module.parameters()).device
    try:
        module.load_state_dict(torch.load(path / "model.pt", map_location=device, weights_only=True))
        optimizer.load_state_dict(torch.load(path / "optimizer.pt", map_location=device, weights_only=True))
        return TrainProgress(**json.loads((path / "state.json").read_text(encoding="utf-8")))
    except Exception as error:
        raise RunFolderError(
            f"the checkpoint {path} cannot be read: {first_line(error)}. Remove that folder to resume from the "
            "previous checkpoint, or start over with --overwrite"
        ) from None


def _complete_checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

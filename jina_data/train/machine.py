"""What the machine says: signals to stop, memory and disks that are full, names and sizes for the report."""

from __future__ import annotations

import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch

from jina_data.errors import ResourceError, StoppedError
from jina_data.train.config import TrainConfig

PACKAGES = ("jina-data", "torch", "numpy", "pyarrow", "tokenizers", "transformers", "sentence-transformers")
"""Whose versions the manifest tells."""


@contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on Ctrl-C and SIGTERM, so that the step is finished and saved; a second Ctrl-C stops at once.

    Raises:
        StoppedError: that second one came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {int(number): signal.getsignal(number) for number in numbers}

    def handle(number: int, _frame: object) -> None:
        stop()
        signal.signal(number, before[number])

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError("stopped; the same command goes on from the last checkpoint") from None
    finally:
        for number in numbers:
            signal.signal(number, before[number])


@contextmanager
def resource_errors(config: TrainConfig, folder: Path, *, token_budget: int) -> Iterator[None]:
    """Say which setting to lower where the memory of a GPU is full, and what to do where the disk is.

    Raises:
        ResourceError: one of them is.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"the GPU is out of memory: {str(error).splitlines()[0]} Try, in this order: "
            f"{', '.join(_lower(config, token_budget))}; a smaller --batch-size gives fewer negatives"
        ) from None
    except (OSError, RuntimeError) as error:
        # torch.save tells no reason of its own: the file could not be written on.
        if not any(said in str(error) for said in ("No space left", "PytorchStreamWriter", "inline_container")):
            raise
        raise ResourceError(
            f"the disk of {folder} is full. Make room and give the same command again: the run goes on from its last "
            "checkpoint"
        ) from None


def _lower(config: TrainConfig, token_budget: int) -> list[str]:
    is_new = config.micro_tokens is None and config.phase != "mlm"
    found = [f"--micro-tokens {token_budget // 2}" + (" (turns GradCache on)" if is_new else "")]
    found += [] if config.gradient_checkpointing else ["--gradient-checkpointing"]
    found += [] if config.precision == "bf16" else ["--precision bf16"]
    return [*found, f"--max-length below {config.length}"]


def peak_bytes(device: torch.device) -> int:
    """Return the most memory that tensors took on a GPU, or this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def device_name(device: torch.device) -> str:
    """Return what a device calls itself."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that training uses."""
    return {"python": sys.version.split()[0], **{name: _version(name) for name in PACKAGES}}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

"""Handles stop signals and full memory or disks, and reads names and sizes of the machine for the report."""

from __future__ import annotations

import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from jina_data.errors import JinaDataError, ResourceError, StoppedError
from jina_data.run.resources import is_disk_full
from jina_data.train.config import TrainConfig

PACKAGES = ("jina-data", "torch", "numpy", "pyarrow", "tokenizers", "transformers", "sentence-transformers")
"""The packages whose versions the manifest contains."""


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on Ctrl-C and SIGTERM, so that the step is finished and saved; a second Ctrl-C stops at once.

    Raises:
        StoppedError: on the second Ctrl-C.
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
        raise StoppedError("stopped. Run the same command again to resume from the last checkpoint") from None
    finally:
        for number in numbers:
            signal.signal(number, before[number])


@contextmanager
def translate_resource_errors(config: TrainConfig, folder: Path, *, token_budget: int) -> Iterator[None]:
    """Turn errors of a full GPU memory or disk into messages that say what to do.

    Raises:
        ResourceError: the GPU memory or the disk is full.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"the GPU is out of memory: {str(error).splitlines()[0]} Try, in this order: "
            f"{', '.join(_memory_options(config, token_budget))}; a smaller --batch-size gives fewer negatives"
        ) from None
    except Exception as error:
        if isinstance(error, JinaDataError) or not is_disk_full(error):
            raise
        raise ResourceError(
            f"the disk of {folder} is full. Free space, then run the same command again to resume from the last "
            "checkpoint"
        ) from None


def _memory_options(config: TrainConfig, token_budget: int) -> list[str]:
    enables_cache = config.micro_tokens is None and config.phase != "mlm"
    options = [f"--micro-tokens {token_budget // 2}" + (" (turns GradCache on)" if enables_cache else "")]
    options += [] if config.gradient_checkpointing else ["--gradient-checkpointing"]
    options += [] if config.precision == "bf16" else ["--precision bf16"]
    return [*options, f"--max-length below {config.length}"]


def peak_bytes(device: torch.device) -> int:
    """Return the peak memory of tensors on a GPU, or of this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def device_name(device: torch.device) -> str:
    """Return the name of a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"

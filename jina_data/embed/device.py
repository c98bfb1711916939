"""Chooses between CPU and CUDA."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path

from jina_data.errors import ResourceError


def settle_device(device: str) -> str:
    """Return "cuda" or "cpu": the requested device, or with "auto" the one that is available.

    Raises:
        ResourceError: cuda was requested and is not available.
    """
    if device == "cpu":
        return "cpu"
    has_cuda = find_spec("torch") is not None and _has_driver() and _has_cuda()
    if device == "cuda" and not has_cuda:
        raise ResourceError("--device cuda: no CUDA device, or torch has no CUDA support. Use --device cpu, or auto")
    return "cuda" if has_cuda else "cpu"


def _has_driver() -> bool:
    """Return whether a GPU driver is installed, NVIDIA's or AMD's; without a driver, torch need not be loaded."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())

"""Options of the encoder: devices, types and limits found by what the user named, or refused in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

import torch

from jina_data.encoder.checks import check_whole
from jina_data.errors import ResourceError, UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]


def find_device(name: str | torch.device | None) -> torch.device:
    """Return a device by its name; by default a GPU where there is one.

    Raises:
        ResourceError: there is no such device here.
        UsageError: there is no such device anywhere.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        device = torch.device(name or ("cuda" if n_gpus else "cpu"))
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"there is no device {name!r}; expected 'cpu', 'cuda', 'cuda:1' and so on, or 'mps'")
    if device.type == "cuda" and not n_gpus:
        raise ResourceError(f"device {str(name)!r}: no CUDA device, or a torch without CUDA. Use 'cpu'")
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        raise ResourceError(f"device {str(name)!r}: there are {n_gpus} CUDA devices, counted from 0. Use 'cuda:0'")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ResourceError(f"device {str(name)!r}: this machine or this torch has none. Use 'cpu'")
    return device


def find_dtype(name: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """Return the type of weights: by default float32 on a CPU, bfloat16 on a GPU.

    Raises:
        UsageError: it is none for weights.
    """
    if name is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype = getattr(torch, name, None) if isinstance(name, str) else name
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise UsageError(f"dtype is {name!r}; expected float32, bfloat16 or float16")
    return dtype


def check_option(name: str, value: int | None, *, most: int | None = None) -> None:
    """Refuse an option that is neither None nor a whole number above 0.

    Raises:
        UsageError: it is something else.
    """
    try:
        if value is not None:
            check_whole(name, value, most=most)
    except ValueError as error:
        of_model = ", the dimensions of the model" if most is not None else ""
        raise UsageError(f"{error}{of_model}") from None


def check_precision(precision: object) -> None:
    """Refuse a precision that there is not.

    Raises:
        UsageError: there is no such precision.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision is {precision!r}; expected one of {', '.join(get_args(Precision))}")


def check_prompts(prompts: Mapping[str, str]) -> dict[str, str]:
    """Return prompts by name.

    Raises:
        UsageError: they are something else than texts by name.
    """
    if not isinstance(prompts, Mapping) or not all(isinstance(text, str) for text in prompts.values()):
        raise UsageError(f"prompts is {prompts!r}; expected texts by name, such as {{'query': 'search: '}}")
    return dict(prompts)


def words_needed(tokenizer: Tokenizer) -> int:
    """Return how many vectors a model must have for a tokenizer: one more than the largest number of a word.

    Raises:
        UsageError: it is no tokenizer of the `tokenizers` library.
    """
    if not hasattr(tokenizer, "get_vocab_size"):
        raise UsageError(
            f"the tokenizer is of type {type(tokenizer).__name__}; expected one of the library tokenizers (what "
            "transformers has holds it as .backend_tokenizer)"
        )
    return max(tokenizer.get_vocab().values(), default=-1) + 1

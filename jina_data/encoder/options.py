"""Checks the options of the encoder, and finds devices and dtypes by name."""

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
    """Return a device by its name; by default a GPU if there is one.

    Raises:
        ResourceError: this machine has no such device.
        UsageError: the name is not a device.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        device = torch.device(name or ("cuda" if n_gpus else "cpu"))
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"there is no device {name!r}; expected 'cpu', 'cuda', 'cuda:1' and so on, or 'mps'")
    if device.type == "cuda" and not n_gpus:
        raise ResourceError(f"device {str(name)!r}: no CUDA device, or torch has no CUDA support. Use 'cpu'")
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        raise ResourceError(f"device {str(name)!r}: there are {n_gpus} CUDA devices, counted from 0. Use 'cuda:0'")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ResourceError(f"device {str(name)!r}: this machine or torch does not support it. Use 'cpu'")
    return device


def find_dtype(name: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """Return the dtype of weights; by default float32 on a CPU, bfloat16 on a GPU.

    Raises:
        UsageError: the dtype is not supported.
    """
    if name is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype = getattr(torch, name, None) if isinstance(name, str) else name
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise UsageError(f"dtype is {name!r}; expected float32, bfloat16 or float16")
    return dtype


def check_option(name: str, value: int | None, *, maximum: int | None = None) -> None:
    """Check that an option is None, or a whole number above 0 and at most `maximum`.

    Raises:
        UsageError: it is not.
    """
    try:
        if value is not None:
            check_whole(name, value, maximum=maximum)
    except ValueError as error:
        of_model = ", the dimensions of the model" if maximum is not None else ""
        raise UsageError(f"{error}{of_model}") from None


def check_precision(precision: object) -> None:
    """Check the name of a precision.

    Raises:
        UsageError: there is no such precision.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision is {precision!r}; expected one of {', '.join(get_args(Precision))}")


def check_prompts(prompts: Mapping[str, str]) -> dict[str, str]:
    """Return prompts as a dict.

    Raises:
        UsageError: the prompts are not a mapping from names to strings.
    """
    if not isinstance(prompts, Mapping) or not all(isinstance(text, str) for text in prompts.values()):
        raise UsageError(f"prompts is {prompts!r}; expected strings by name, such as {{'query': 'search: '}}")
    return dict(prompts)


def check_default_prompt(name: str | None, prompts: Mapping[str, str]) -> str | None:
    """Return the name of the default prompt; None if it stands for no text.

    Raises:
        UsageError: it is not the name of a prompt.
    """
    if name is None or name in prompts or name in ("query", "document"):
        return name if name in prompts else None
    raise UsageError(f"default_prompt_name is {name!r}; expected one of the prompts: {', '.join(prompts) or 'none'}")


def required_vocab_size(tokenizer: Tokenizer) -> int:
    """Return the number of vectors that a model needs for a tokenizer: the largest word id plus 1.

    Raises:
        UsageError: it is not a tokenizer of the `tokenizers` library.
    """
    if not hasattr(tokenizer, "get_vocab_size"):
        raise UsageError(
            f"the tokenizer is of type {type(tokenizer).__name__}; expected one of the tokenizers library. A "
            "tokenizer of transformers has it as .backend_tokenizer"
        )
    return max(tokenizer.get_vocab().values(), default=-1) + 1

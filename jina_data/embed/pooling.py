"""Turns token vectors into text vectors without torch: the modules of a sentence-transformers folder, in numpy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jina_data.errors import ModelError

FloatArray = npt.NDArray[np.float32]
Layer = Callable[[FloatArray], FloatArray]

MODULES, CONFIG, WEIGHTS = "modules.json", "config.json", "model.safetensors"
_OWN = "sentence_transformers."
_IDENTITY, _TANH = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Tanh"
_SETTINGS = ("config.json", "config_sentence_transformers.json", "sentence_*_config.json", "tokenizer_config.json")
_VOCABULARY = ("tokenizer.json", "vocab.txt")


def _mean(tokens: FloatArray) -> FloatArray:
    return _divide(tokens.sum(0), len(tokens))


def _mean_sqrt(tokens: FloatArray) -> FloatArray:
    return _divide(tokens.sum(0), float(np.sqrt(len(tokens))))


def _divide(total: FloatArray, by: float) -> FloatArray:
    scaled: FloatArray = (total / np.float32(max(by, 1e-9))).astype(np.float32)
    return scaled


def _first(tokens: FloatArray) -> FloatArray:
    first: FloatArray = tokens[0]
    return first


def _last(tokens: FloatArray) -> FloatArray:
    last: FloatArray = tokens[-1]
    return last


def _max(tokens: FloatArray) -> FloatArray:
    highest: FloatArray = tokens.max(0)
    return highest


MODES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "cls": _first,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "lasttoken": _last,
}
"""Pooling modes by their names in sentence-transformers. Each turns the vectors of S tokens, (S, H), into one, (H,)."""

_OLD_NAMES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The keys of old files, in the order in which their vectors are concatenated."""


@dataclass(frozen=True)
class Head:
    """What a folder does with the token vectors of a transformer: pooling, then layers."""

    folder: Path
    """The folder of the transformer: its config and tokenizer."""
    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    layers: tuple[Layer, ...] = field(default=(), repr=False)

    def pool(self, tokens: FloatArray, n_skipped: int = 0) -> FloatArray:
        """Return the vector of a text, (D,), from those of its S tokens, (S, H).

        `n_skipped` tokens at the start, those of a prompt, are left out if the folder says so.
        """
        counted = tokens[n_skipped:] if not self.include_prompt and n_skipped < len(tokens) else tokens
        vector = np.concatenate([MODES[mode](counted) for mode in self.modes])
        for layer in self.layers:
            vector = layer(vector)
        return vector


def module_files(folder: Path) -> list[Path]:
    """Return the files of a folder that the vectors depend on, without the transformer's weights."""
    base = _transformer_folder(folder, _modules(folder))
    found = [path for pattern in _SETTINGS for path in [*folder.glob(pattern), *base.glob(pattern)]]
    vocabulary = next((base / name for name in _VOCABULARY if (base / name).is_file()), None)
    found += [folder / MODULES, *([vocabulary] if vocabulary else [])]
    for _, path in _modules(folder):
        found += [folder / path / name for name in (CONFIG, WEIGHTS) if path and folder / path != base]
    return sorted({path for path in found if path.is_file()})


def read_head(folder: Path) -> Head:
    """Read the modules of a folder; without modules.json, as in sentence-transformers, the mean of the tokens.

    Raises:
        ModelError: a file is broken, or a module is not supported.
    """
    modules = _modules(folder)
    kinds = [kind.rpartition(".")[2] if kind.startswith(_OWN) else kind for kind, _ in modules]
    if kinds[:1] != ["Transformer"] or kinds[1:2] not in ([], ["Pooling"]):
        raise ModelError(
            f"{folder} has the modules {', '.join(kinds)}; expected those of sentence-transformers: a Transformer, "
            "then a Pooling. Load it with sentence-transformers: the name without onnx:"
        )
    modes, include_prompt = _read_pooling(folder / modules[1][1] / CONFIG) if len(modules) > 1 else (("mean",), True)
    layers = [_read_layer(kind, folder / path) for kind, (_, path) in zip(kinds[2:], modules[2:], strict=True)]
    return Head(_transformer_folder(folder, modules), modes, include_prompt, tuple(layers))


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        ModelError: the file holds something else.
    """
    values = _json(path)
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds {type(values).__name__}; expected a JSON object. Copy it again")
    return values


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}. Copy it again") from None


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Return the type and path of each module."""
    path = folder / MODULES
    if not path.is_file():
        return [(f"{_OWN}Transformer", "")]
    try:
        return [(str(entry["type"]), str(entry["path"])) for entry in _json(path)]
    except (TypeError, KeyError) as error:
        raise ModelError(f"{path} is broken: {error!r}. Copy it again") from None


def _transformer_folder(folder: Path, modules: list[tuple[str, str]]) -> Path:
    return folder / modules[0][1] if modules else folder


def _read_pooling(path: Path) -> tuple[tuple[str, ...], bool]:
    """Return the pooling modes of a file, and whether the tokens of a prompt count."""
    values = read_json(path)
    modes = values.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in _OLD_NAMES.items() if values.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if unknown := [str(mode) for mode in modes if mode not in MODES]:
        raise ModelError(
            f"{path}: pooling {', '.join(unknown)} is not supported without torch; expected {', '.join(MODES)}. Load "
            "it with sentence-transformers: the name without onnx:"
        )
    return tuple(modes), values.get("include_prompt") is not False


def _read_layer(kind: str, folder: Path) -> Layer:
    if kind == "Normalize":
        return _normalize
    if kind == "Dense":
        return _read_dense(folder)
    raise ModelError(
        f"{folder.parent} has a module {kind}, which is not supported without torch; expected Pooling, Dense or "
        "Normalize. Load it with sentence-transformers: the name without onnx:"
    )


def _normalize(vector: FloatArray) -> FloatArray:
    return _divide(vector, float(np.linalg.norm(vector)))


def _read_dense(folder: Path) -> Layer:
    """Read a linear layer with or without tanh."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    values = read_json(folder / CONFIG)
    activation, residual = values.get("activation_function", _TANH), values.get("use_residual", False)
    inputs = {values.get(key) or "sentence_embedding" for key in ("module_input_name", "module_output_name")}
    if activation not in (_IDENTITY, _TANH) or residual or inputs != {"sentence_embedding"}:
        raise ModelError(
            f"{folder / CONFIG}: only a linear layer on the text vector is supported without torch, alone or with "
            "tanh. Load it with sentence-transformers: the name without onnx:"
        )
    try:
        weights = load_file(folder / WEIGHTS)
        matrix = weights["linear.weight"].astype(np.float32)
        bias = weights["linear.bias"].astype(np.float32) if values.get("bias", True) else np.float32(0)
    except (OSError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"the Dense layer in {folder} cannot be read: {error}. Save the model with a new sentence-transformers, "
            f"which writes {WEIGHTS}"
        ) from None

    def dense(vector: FloatArray) -> FloatArray:
        # One text at a time: the product of a matrix with several vectors depends on their number.
        outputs: FloatArray = matrix @ vector + bias
        return np.tanh(outputs) if activation == _TANH else outputs

    return dense

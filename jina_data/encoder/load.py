"""Loads models from folders and from the Hugging Face Hub; all weights must match by name and shape."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jina_data.embed.prompts import read_prompts
from jina_data.encoder.jina_bert import JinaBert, JinaBertConfig, JinaBertForMaskedLM
from jina_data.encoder.t5 import T5Config, T5Encoder
from jina_data.errors import ModelError, first_line

Model = JinaBert | T5Encoder

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
OLD_WEIGHTS = "pytorch_model.bin"

_QK_NORM_NAMES = re.compile(r"jina-embeddings-v2-base-(code|de|es|zh)|qk-post-norm")
_QK_NORM_KEYS = re.compile(r"attention\.self\.\w*norm\w*\.")
_DOWNLOAD_PATTERNS = [
    CONFIG,
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "vocab.txt",
    "*sentence*.json",
]
_MAX_LISTED = 6
_MAX_LIMIT = 10**6
"""Larger values in tokenizer_config.json mean no limit."""


def find_folder(name: str | Path) -> Path:
    """Return the folder of a model: the named folder, or the cache of the Hub client; downloads if needed.

    Raises:
        ModelError: there is no such folder and no such model on the Hub, or the model is not supported.
    """
    _check_no_qk_norm(str(name), str(name))
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or str(name).startswith((".", "/", "~")) or str(name).count("/") > 1:
        raise ModelError(f"{name}: no such folder; expected a folder with {CONFIG}, {WEIGHTS} and tokenizer.json")
    from huggingface_hub import snapshot_download

    try:
        try:
            return Path(snapshot_download(str(name), local_files_only=True, allow_patterns=_DOWNLOAD_PATTERNS))
        except Exception:  # the model is not in the cache yet
            return Path(snapshot_download(str(name), allow_patterns=_DOWNLOAD_PATTERNS))
    except Exception as error:
        raise ModelError(
            f"{name!r} is neither a folder nor a model on the Hugging Face Hub ({first_line(error)}). Name a folder "
            f"with {CONFIG}, {WEIGHTS} and tokenizer.json, or a model such as jinaai/jina-embeddings-v2-small-en"
        ) from None


def read_config(folder: Path) -> JinaBertConfig | T5Config:
    """Read config.json as the configuration of a JinaBERT or a T5 encoder.

    Raises:
        ModelError: the file is missing or broken, or is of another model.
    """
    path = folder / CONFIG
    values = _read_json(path)
    _check_no_qk_norm(json.dumps([values.get("_name_or_path"), values.get("auto_map")]), str(folder))
    try:
        if values.get("model_type") == "t5":
            return T5Config.from_dict(values)
        if values.get("model_type") in ("bert", "jina_bert") and values.get("position_embedding_type") == "alibi":
            return JinaBertConfig.from_dict(values)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: {error}") from None
    kind, positions = values.get("model_type"), values.get("position_embedding_type")
    raise ModelError(
        f"{path} has model_type {kind!r} and position_embedding_type {positions!r}; expected JinaBERT (bert or "
        "jina_bert with alibi) or t5. Load other models with sentence-transformers"
    )


def check_pipeline(folder: Path) -> None:
    """Check that a sentence-transformers folder only computes the mean of token vectors.

    Raises:
        ModelError: the folder has other modules or another pooling.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        modules = [(entry["type"].rpartition(".")[2], entry["path"]) for entry in entries]
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path} is broken: {error!r}. Copy it again") from None
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer"], ["Transformer", "Pooling"]):
        raise ModelError(
            f"{folder} has the modules {', '.join(kinds)}; expected only a transformer and a mean pooling. "
            "Load it with sentence-transformers"
        )
    pooling = _read_json(folder / modules[1][1] / CONFIG) if len(modules) > 1 else {"pooling_mode": "mean"}
    other_modes = [
        key for key, on in pooling.items() if key.startswith("pooling_mode_") and on and "_mean_tokens" not in key
    ]
    if other_modes or pooling.get("pooling_mode", "mean") != "mean":
        raise ModelError(
            f"{folder} has another pooling; expected the mean of tokens. Load it with sentence-transformers"
        )
    if pooling.get("include_prompt") is False and read_prompts(folder).texts:
        raise ModelError(
            f"{folder} leaves the prompt out of its mean (include_prompt is false); expected the mean of all tokens. "
            "Load it with sentence-transformers"
        )


def read_settings(folder: Path) -> dict[str, Any]:
    """Read `max_length` and the prompts from the files for transformers and sentence-transformers in a folder.

    Raises:
        ModelError: a file is broken.
    """
    limits = [_limit(folder / "sentence_bert_config.json", "max_seq_length")]
    limits.append(_limit(folder / "tokenizer_config.json", "model_max_length"))
    prompts = read_prompts(folder)
    return {
        "max_length": min((limit for limit in limits if limit is not None), default=None),
        "prompts": prompts.texts,
        "default_prompt_name": prompts.default_name,
    }


def _limit(path: Path, key: str) -> int | None:
    limit = _read_json(path).get(key) if path.is_file() else None
    if limit is None or (isinstance(limit, int | float) and limit > _MAX_LIMIT):
        return None
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ModelError(f"{path}: {key} is {limit!r}; expected a whole number above 0. Fix the file, or copy it again")
    return limit


def load_model(folder: Path) -> Model:
    """Load the encoder of a folder, in full precision.

    Raises:
        ModelError: a file is missing or broken, or the weights do not match the model exactly.
    """
    config = read_config(folder)
    with torch.device("meta"):
        model = T5Encoder(config) if isinstance(config, T5Config) else JinaBert(config)
    weights = read_weights(folder)
    _assign_weights(model, _select_t5(weights) if isinstance(config, T5Config) else _select_jina_bert(weights), folder)
    return model.eval()


def load_masked_lm(folder: Path) -> JinaBertForMaskedLM:
    """Load a JinaBERT with its MLM head.

    Raises:
        ModelError: as in `load_model`, or the folder has no head.
    """
    config = read_config(folder)
    if not isinstance(config, JinaBertConfig):
        raise ModelError(f"{folder} holds a T5 encoder; expected a JinaBERT with an MLM head")
    with torch.device("meta"):
        model = JinaBertForMaskedLM(config)
    weights = read_weights(folder)
    body = {f"bert.{name}": weight for name, weight in _select_jina_bert(weights).items()}
    head = {name: weight for name, weight in weights.items() if name.startswith("cls.predictions.")}
    # Published files also store the tied weights of the decoder; they must equal the weights they are tied to.
    tied = {"decoder.weight": "bert.embeddings.word_embeddings.weight", "decoder.bias": "cls.predictions.bias"}
    for end, name in tied.items():
        copy = head.pop(f"cls.predictions.{end}", None)
        if copy is not None and not torch.equal(copy, (body | head).get(name, copy)):
            raise ModelError(
                f"{folder}: cls.predictions.{end} differs from {name}; expected the same values: they are tied"
            )
    _assign_weights(model, body | head, folder)
    return model.eval()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read all weights of a folder unchanged, from safetensors (one or several files) or pytorch_model.bin.

    Raises:
        ModelError: there are no weights, or a file is truncated or broken.
    """
    from safetensors.torch import load_file

    index = folder / f"{WEIGHTS}.index.json"
    if index.is_file():
        names: Sequence[str] = sorted(set(_read_json(index).get("weight_map", {}).values()))
    else:
        names = [WEIGHTS] if (folder / WEIGHTS).is_file() else [OLD_WEIGHTS]
    weights: dict[str, Tensor] = {}
    for name in names:
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{folder} has no {name}; expected the weights of the model in {WEIGHTS}. Copy them there")
        try:
            weights |= load_file(path) if name.endswith(".safetensors") else torch.load(path, weights_only=True)
        except Exception as error:
            raise ModelError(
                f"{path} ({path.stat().st_size:,} bytes) is truncated or broken: {first_line(error)}. Copy or download "
                "it again"
            ) from None
    return weights


def _select_jina_bert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder weights of a published JinaBERT: without the prefix `bert.` and without the head."""
    named = {name.removeprefix("bert."): weight for name, weight in weights.items()}
    return {name: weight for name, weight in named.items() if not name.startswith("cls.")}


def _select_t5(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder weights of a published T5: without the decoder, and with the shared embedding only once."""
    kept = {name: weight for name, weight in weights.items() if not name.startswith(("decoder.", "lm_head."))}
    embedding = kept.pop("encoder.embed_tokens.weight", None)
    if embedding is not None:
        kept.setdefault("shared.weight", embedding)
    return kept


def _assign_weights(model: torch.nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Assign weights to a model in full precision; names and shapes must match exactly."""
    expected = model.state_dict()
    if any(_QK_NORM_KEYS.search(name) for name in weights):
        _check_no_qk_norm("qk-post-norm", str(folder))
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    if missing or unexpected:
        lists = {"missing": missing, "unexpected": unexpected}
        parts = [f"{label}: {_shorten_list(names)}" for label, names in lists.items() if names]
        raise ModelError(
            f"the weights of {folder} do not match {type(model).__name__} ({'; '.join(parts)}). Check that {CONFIG} "
            "and the weights are of the same model; missing weights are never initialized randomly"
        )
    for name, weight in weights.items():
        if weight.shape != expected[name].shape:
            raise ModelError(
                f"{folder}: {name} has shape {tuple(weight.shape)}; expected {tuple(expected[name].shape)} by "
                f"{CONFIG}. Check that both are of the same model"
            )
    model.load_state_dict({name: weight.float() for name, weight in weights.items()}, assign=True)


def _check_no_qk_norm(text: str, source: str) -> None:
    """Check that a model name, or the contents of a config, does not name a JinaBERT with query and key norms."""
    if _QK_NORM_NAMES.search(text):
        raise ModelError(
            f"{source} is a JinaBERT with norms on queries and keys (such as jina-embeddings-v2-base-code and "
            "-de), which is not supported. Use jinaai/jina-embeddings-v2-small-en or -base-en, or load it with "
            "sentence-transformers"
        )


def _shorten_list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"{path.parent} has no {path.name}; expected the folder of a saved model")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}. Copy it again") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds {type(values).__name__}; expected a JSON object")
    return values

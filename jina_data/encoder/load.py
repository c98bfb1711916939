"""Models from folders and from the Hugging Face Hub: weights checked name by name, never filled up with random ones."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jina_data.encoder.jina_bert import JinaBert, JinaBertConfig, JinaBertForMaskedLM
from jina_data.encoder.t5 import T5Config, T5Encoder
from jina_data.errors import ModelError

Model = JinaBert | T5Encoder

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
OLD_WEIGHTS = "pytorch_model.bin"

_QK_NORM_NAMES = re.compile(r"jina-embeddings-v2-base-(code|de|es|zh)|qk-post-norm")
_QK_NORM_KEYS = re.compile(r"attention\.self\.\w*norm\w*\.")
_FETCHED = [CONFIG, "*.safetensors", "*.safetensors.index.json", "tokenizer*.json", "vocab.txt", "*sentence*.json"]
_SHOWN_KEYS = 6
_LONGEST_LIMIT = 10**6
"""What is above stands for no limit, in tokenizer_config.json."""


def find_folder(name: str | Path) -> Path:
    """Return the folder of a model: the one named, else where the Hub's client keeps it; it may have to fetch it.

    Raises:
        ModelError: there is no such folder, and the Hub gives none; or the model is of a kind that is not supported.
    """
    _refuse_qk_norm(str(name), str(name))
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or str(name).startswith((".", "/", "~")) or str(name).count("/") > 1:
        raise ModelError(f"{name}: no such folder; expected one with {CONFIG}, {WEIGHTS} and tokenizer.json")
    from huggingface_hub import snapshot_download

    try:
        try:
            return Path(snapshot_download(str(name), local_files_only=True, allow_patterns=_FETCHED))
        except Exception:  # it is not on this machine yet
            return Path(snapshot_download(str(name), allow_patterns=_FETCHED))
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{name!r} is neither a folder nor a model that the Hugging Face Hub gives ({first}). Name a folder with "
            f"{CONFIG}, {WEIGHTS} and tokenizer.json, or a model such as jinaai/jina-embeddings-v2-small-en"
        ) from None


def read_config(folder: Path) -> JinaBertConfig | T5Config:
    """Read a config.json, and tell from it which model it is of.

    Raises:
        ModelError: it is missing or broken, or of a model that is neither JinaBERT nor T5.
    """
    path = folder / CONFIG
    values = _read_json(path)
    _refuse_qk_norm(json.dumps([values.get("_name_or_path"), values.get("auto_map")]), str(folder))
    try:
        if values.get("model_type") == "t5":
            return T5Config.from_dict(values)
        if values.get("model_type") in ("bert", "jina_bert") and values.get("position_embedding_type") == "alibi":
            return JinaBertConfig.from_dict(values)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: {error}") from None
    kind, positions = values.get("model_type"), values.get("position_embedding_type")
    raise ModelError(
        f"{path} is of a model of type {kind!r} with position_embedding_type {positions!r}; expected JinaBERT (bert or "
        "jina_bert with alibi) or t5. Load other models with sentence-transformers"
    )


def check_pipeline(folder: Path) -> None:
    """Refuse a folder of sentence-transformers that does more than take the mean of token vectors.

    Raises:
        ModelError: it has other modules, or another pooling.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return
    try:
        modules = [
            (one["type"].rpartition(".")[2], one["path"]) for one in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path} is broken: {error!r}. Copy it anew") from None
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer"], ["Transformer", "Pooling"]):
        raise ModelError(
            f"{folder} has the modules {', '.join(kinds)}; expected a transformer and a mean pooling, and nothing "
            "behind them. Load it with sentence-transformers"
        )
    pooling = _read_json(folder / modules[1][1] / CONFIG) if len(modules) > 1 else {"pooling_mode": "mean"}
    others = [
        key for key, on in pooling.items() if key.startswith("pooling_mode_") and on and "_mean_tokens" not in key
    ]
    if others or pooling.get("pooling_mode", "mean") != "mean":
        raise ModelError(f"{folder} has another pooling than the mean of tokens. Load it with sentence-transformers")


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what the files for transformers and sentence-transformers in a folder say: `max_length` and `prompts`.

    Raises:
        ModelError: such a file is broken.
    """
    limits = [_limit(folder / "sentence_bert_config.json", "max_seq_length")]
    limits.append(_limit(folder / "tokenizer_config.json", "model_max_length"))
    path = folder / "config_sentence_transformers.json"
    prompts = _read_json(path).get("prompts") if path.is_file() else None
    if not isinstance(prompts, dict | None) or not all(
        isinstance(text, str | None) for text in (prompts or {}).values()
    ):
        raise ModelError(f"{path}: prompts is {prompts!r}; expected texts by name. Mend the file, or copy it anew")
    return {
        "max_length": min((limit for limit in limits if limit is not None), default=None),
        "prompts": {name: text for name, text in (prompts or {}).items() if text},
    }


def _limit(path: Path, key: str) -> int | None:
    limit = _read_json(path).get(key) if path.is_file() else None
    if limit is None or (isinstance(limit, int | float) and limit > _LONGEST_LIMIT):
        return None
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ModelError(f"{path}: {key} is {limit!r}; expected a whole number above 0. Mend the file, or copy it anew")
    return limit


def load_model(folder: Path) -> Model:
    """Load the encoder of a folder, in full precision.

    Raises:
        ModelError: the folder lacks a file, a file is broken, or the weights are not exactly those of the model.
    """
    config = read_config(folder)
    with torch.device("meta"):
        model = T5Encoder(config) if isinstance(config, T5Config) else JinaBert(config)
    weights = read_weights(folder)
    _fill(model, _of_t5(weights) if isinstance(config, T5Config) else _of_jina_bert(weights), folder)
    return model.eval()


def load_masked_lm(folder: Path) -> JinaBertForMaskedLM:
    """Load a JinaBERT with its head for masked words.

    Raises:
        ModelError: as `load_model`; also where the folder holds no head.
    """
    config = read_config(folder)
    if not isinstance(config, JinaBertConfig):
        raise ModelError(f"{folder} holds a T5 encoder; expected a JinaBERT with a head for masked words")
    with torch.device("meta"):
        model = JinaBertForMaskedLM(config)
    weights = read_weights(folder)
    body = {f"bert.{name}": weight for name, weight in _of_jina_bert(weights).items()}
    head = {name: weight for name, weight in weights.items() if name.startswith("cls.predictions.")}
    tied = {"decoder.weight": "bert.embeddings.word_embeddings.weight", "decoder.bias": "cls.predictions.bias"}
    for end, name in tied.items():
        copy = head.pop(f"cls.predictions.{end}", None)
        if copy is not None and not torch.equal(copy, (body | head).get(name, copy)):
            raise ModelError(
                f"{folder}: cls.predictions.{end} differs from {name}; expected a copy, as JinaBERT has it"
            )
    _fill(model, body | head, folder)
    return model.eval()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read all weights of a folder, as they are: safetensors (one file or several), else pytorch_model.bin.

    Raises:
        ModelError: there are none, or a file is truncated or broken.
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
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"{path} ({path.stat().st_size:,} bytes) is truncated or broken: {first}. Copy or download it anew"
            ) from None
    return weights


def _of_jina_bert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the encoder out of published weights: without the prefix `bert.` and without a head."""
    named = {name.removeprefix("bert."): weight for name, weight in weights.items()}
    return {name: weight for name, weight in named.items() if not name.startswith("cls.")}


def _of_t5(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the encoder out of published weights: without the decoder, and with the shared vectors once."""
    kept = {name: weight for name, weight in weights.items() if not name.startswith(("decoder.", "lm_head."))}
    twice = kept.pop("encoder.embed_tokens.weight", None)
    if twice is not None:
        kept.setdefault("shared.weight", twice)
    return kept


def _fill(model: torch.nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Put weights into a model, in full precision, if they are exactly those it has."""
    expected = model.state_dict()
    if any(_QK_NORM_KEYS.search(name) for name in weights):
        _refuse_qk_norm("qk-post-norm", str(folder))
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    if missing or unexpected:
        lists = {"missing": missing, "unexpected": unexpected}
        parts = [f"{what}: {_listed(names)}" for what, names in lists.items() if names]
        raise ModelError(
            f"the weights of {folder} are not those of {type(model).__name__} ({'; '.join(parts)}). "
            f"Check that {CONFIG} and the weights are of one model; nothing was filled up with random numbers"
        )
    for name, weight in weights.items():
        if weight.shape != expected[name].shape:
            raise ModelError(
                f"{folder}: {name} has shape {tuple(weight.shape)}, but {tuple(expected[name].shape)} by {CONFIG}. "
                "Check that both are of one model"
            )
    model.load_state_dict({name: weight.float() for name, weight in weights.items()}, assign=True)


def _refuse_qk_norm(told: str, place: str) -> None:
    if _QK_NORM_NAMES.search(told):
        raise ModelError(
            f"{place} is a JinaBERT with norms on queries and keys (as jina-embeddings-v2-base-code and -de), which is "
            "not supported. Use jinaai/jina-embeddings-v2-small-en or -base-en, or load it with sentence-transformers"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_KEYS} more" if len(names) > _SHOWN_KEYS else ""
    return ", ".join(names[:_SHOWN_KEYS]) + more


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"{path.parent} has no {path.name}; expected the folder of a saved model")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}. Copy it anew") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds {type(values).__name__}; expected an object")
    return values

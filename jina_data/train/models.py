"""What can be trained, behind one small interface: our encoder, any sentence-transformers model, a static table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from jina_data.embed.base import STATIC
from jina_data.embed.jina_encoder import is_encoder_folder
from jina_data.embed.model_files import model_folder, no_progress_bars, require_torch
from jina_data.encoder.batches import Ids, padded, tokenize_start
from jina_data.encoder.encoder import Encoder
from jina_data.encoder.jina_bert import PRESETS as JINA_BERT_PRESETS
from jina_data.encoder.jina_bert import JinaBert
from jina_data.encoder.pooling import mean_pool
from jina_data.encoder.t5 import PRESETS as T5_PRESETS
from jina_data.encoder.tokenizer import copy_tokenizer, load_tokenizer
from jina_data.errors import ModelError, UsageError, first_line
from jina_data.train.packing import can_pack, embed_packed, let_pack

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

TRAIN_TOKENIZER = "train:"

PRESETS = {
    **{name: ("jina-bert", name) for name in JINA_BERT_PRESETS},
    **{f"jina-bert-{name}": ("jina-bert", name) for name in JINA_BERT_PRESETS},
    **{f"t5-{name}": ("t5", name) for name in T5_PRESETS},
}
"""Models with random weights, by the names that --model takes."""

_WORDS = "▁*[^▁]+|▁+"


MICRO_TOKENS = {"cpu": 2**10, "cuda": 2**15}
"""Tokens of a micro-batch of a transformer: few on a CPU, for its caches and little padding; enough to fill a GPU."""
PACKED_TOKENS = 2**11
"""The same on a CPU where texts lie end to end."""


class TrainableModel(Protocol):
    """A model under training."""

    module: nn.Module
    """Its weights."""
    max_length: int | None
    """The most tokens of a text that it can read; None: any number."""
    micro_tokens: Mapping[str, int]
    """Tokens that best go through it at a time, by kind of device."""

    def tokenize(self, texts: Sequence[str], max_length: int) -> Ids:
        """Return the tokens of texts, cut at a length. It may be called from another thread."""
        ...

    def embed(self, ids: Ids) -> Tensor:
        """Return the vectors of tokenized texts, (B, D) float32, with a graph where gradients are on."""
        ...

    def save(self, folder: Path) -> None:
        """Save the model into a folder that `load_embedder` and SentenceTransformer load."""
        ...

    def checkpoint_activations(self) -> None:
        """Save memory: compute what is inside the layers again in the backward pass."""
        ...

    def compile(self) -> None:
        """Let torch.compile fuse what it can."""
        ...


class EncoderTrainee:
    """Our encoder: JinaBERT or T5."""

    micro_tokens: Mapping[str, int] = MICRO_TOKENS

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.module: nn.Module = encoder.model
        self.max_length: int | None = encoder.max_length

    def tokenize(self, texts: Sequence[str], max_length: int) -> Ids:
        """Return the tokens of texts."""
        return tokenize_start(self.encoder.tokenizer, texts, max_length)

    def embed(self, ids: Ids) -> Tensor:
        """Return the mean of the token vectors of each text, (B, D)."""
        input_ids, mask = padded(ids, self.encoder.pad_id)
        hidden_BSD = self.module(input_ids.to(self.encoder.device, non_blocking=True), mask)
        return mean_pool(hidden_BSD, mask)

    def save(self, folder: Path) -> None:
        """Save encoder and tokenizer."""
        self.encoder.save_pretrained(folder)

    def checkpoint_activations(self) -> None:
        """Compute what is inside the layers again in the backward pass."""
        self.encoder.model.encoder.checkpoints = True

    def compile(self) -> None:
        """Compile the parts of the layers whose shapes only differ in the number of tokens."""
        stack: Any = self.encoder.model.encoder
        if isinstance(self.encoder.model, JinaBert):
            parts = [part for layer in stack.layer for part in (layer.mlp, layer.attention.output)]
        else:
            parts = list(stack.block)
        for part in parts:
            part.compile(dynamic=True)


class TransformerTrainee:
    """A sentence-transformers model that begins with a transformer and its tokenizer."""

    def __init__(self, model: SentenceTransformer, name: str) -> None:
        backend = getattr(model.tokenizer, "backend_tokenizer", None)
        if not hasattr(model[0], "auto_model") or backend is None:
            raise ModelError(
                f"{name} begins with a {type(model[0]).__name__} that cannot be fed with tokens; expected a "
                "transformer with a fast tokenizer, or a StaticEmbedding"
            )
        self.model = model
        self.module: nn.Module = model
        self.pad_id = int(model.tokenizer.pad_token_id or 0)
        limits = [model.max_seq_length, model.tokenizer.model_max_length]
        self.max_length: int | None = min((int(one) for one in limits if one and one < 10**9), default=None)
        self._tokenizer = copy_tokenizer(backend)
        self._lowers = bool(getattr(model[0], "do_lower_case", False))
        self.micro_tokens: Mapping[str, int] = MICRO_TOKENS
        self._packs = model.device.type == "cpu" and can_pack(model)
        if self._packs:
            let_pack(model)
            self.micro_tokens = {**MICRO_TOKENS, "cpu": PACKED_TOKENS}

    def tokenize(self, texts: Sequence[str], max_length: int) -> Ids:
        """Return the tokens of texts, with the special tokens of the model."""
        return tokenize_start(self._tokenizer, [text.lower() for text in texts] if self._lowers else texts, max_length)

    def embed(self, ids: Ids) -> Tensor:
        """Return what the last module gives, (B, D)."""
        if self._packs and all(map(len, ids)):
            return embed_packed(self.model, ids).float()
        input_ids, mask = padded(ids, self.pad_id)
        device = self.model.device
        found = self.model({"input_ids": input_ids.to(device), "attention_mask": mask.to(device)})
        vectors: Tensor = found["sentence_embedding"]
        return vectors.float()

    def save(self, folder: Path) -> None:
        """Save all modules as sentence-transformers does."""
        with no_progress_bars():
            self.model.save_pretrained(str(folder), create_model_card=False)

    def checkpoint_activations(self) -> None:
        """Compute what is inside the layers again in the backward pass."""
        model = self._transformer
        # Newer versions of transformers have another name for it, and warn under the old one.
        new_name, old_name = "activation_checkpointing_enable", "gradient_checkpointing_enable"
        enable = getattr(model, new_name if hasattr(model, new_name) else old_name)
        enable({"use_reentrant": False})

    def compile(self) -> None:
        """Compile its layers; sentence-transformers calls `forward`, which passes over a compiled whole."""
        self._packs = False  # each count of texts would be compiled anew
        stacks = [module for module in self._transformer.modules() if isinstance(module, nn.ModuleList)]
        for layer in (layer for stack in stacks for layer in stack):
            layer.compile(dynamic=True)

    @property
    def _transformer(self) -> Any:
        return self.model[0].auto_model


class StaticTrainee:
    """A table of token vectors: the vector of a text is the mean of its tokens' vectors."""

    max_length: int | None = None
    # Each micro-batch costs a gradient as large as the table, and there is no padding to save.
    micro_tokens: Mapping[str, int] = {"cpu": 2**22, "cuda": 2**22}

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model
        self.module: nn.Module = model
        self._tokenizer = copy_tokenizer(_first(model).tokenizer)

    def tokenize(self, texts: Sequence[str], max_length: int) -> Ids:
        """Return the tokens of texts, without special ones, as StaticEmbedding takes them."""
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids[:max_length], np.int32) for one in found]

    def embed(self, ids: Ids) -> Tensor:
        """Return the mean of the token vectors, (B, D); a text without tokens gets zeros."""
        device = self.model.device
        flat = torch.from_numpy(np.concatenate([*ids, np.empty(0, np.int32)]).astype(np.int64)).to(device)
        starts = np.cumsum([0, *(len(one) for one in ids[:-1])])
        found = self.model({"input_ids": flat, "offsets": torch.from_numpy(starts).to(device)})
        vectors: Tensor = found["sentence_embedding"]
        return vectors.float()

    def save(self, folder: Path) -> None:
        """Save as sentence-transformers does."""
        with no_progress_bars():
            self.model.save_pretrained(str(folder), create_model_card=False)

    def checkpoint_activations(self) -> None:
        """Do nothing: there are no layers."""

    def compile(self) -> None:
        """Do nothing: a look-up has nothing to fuse."""


def load_trainee(name: str, *, tokenizer: Tokenizer | None, device: str, seed: int) -> TrainableModel:
    """Load what training starts from, in full precision.

    Args:
        name: a preset, "static", the folder of a run or a model, or a name on the Hub.
        tokenizer: of a preset.
        device: where it is trained.
        seed: of the weights of a preset.

    Raises:
        ModelError: there is no such model, or it cannot be trained.
        UsageError: a preset without a tokenizer.
    """
    folder = started_folder(name)
    if folder is None and name in PRESETS:
        kind, preset = PRESETS[name]
        check_start(name, has_tokenizer=tokenizer is not None)
        assert tokenizer is not None
        return EncoderTrainee(
            Encoder.from_preset(preset, tokenizer, kind=kind, seed=seed, device=device, dtype="float32")
        )
    if folder is None and name == STATIC:
        return StaticTrainee(_static(device))
    folder = folder or model_folder(name, "model")
    if is_encoder_folder(folder):
        return EncoderTrainee(Encoder.from_pretrained(folder, device=device, dtype="float32"))
    require_torch(name, "model")
    from sentence_transformers import SentenceTransformer

    try:
        with no_progress_bars():
            model = SentenceTransformer(str(folder), device=device, local_files_only=True)
    except Exception as error:
        raise ModelError(f"{name} cannot be loaded from {folder}: {first_line(error)}") from error
    model.float()
    is_static = type(model[0]).__name__ == "StaticEmbedding"
    return StaticTrainee(model) if is_static else TransformerTrainee(model, name)


def check_start(name: str, *, has_tokenizer: bool) -> None:
    """Make sure that a preset comes with a tokenizer.

    Raises:
        UsageError: it does not.
    """
    if name in PRESETS and not has_tokenizer and started_folder(name) is None:
        raise UsageError(f"{name} is a preset, which needs --tokenizer: a file, or {TRAIN_TOKENIZER}VOCAB")


def started_folder(name: str) -> Path | None:
    """Return the folder of a model that lies on this machine: that of a training run is its model/."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return None
    inside = folder / "model"
    return inside if (inside / "config.json").is_file() or (inside / "modules.json").is_file() else folder


def read_tokenizer(name: str) -> Tokenizer:
    """Load a tokenizer from a tokenizer.json, or from the folder of a model or a run.

    Raises:
        ModelError: it is none.
    """
    from tokenizers import Tokenizer

    path = Path(name).expanduser()
    if path.is_dir():
        return load_tokenizer(started_folder(name) or path)
    if path.name == "vocab.txt":
        return load_tokenizer(path.parent)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        raise ModelError(
            f"--tokenizer {name} cannot be read: {error}. Name a tokenizer.json, the folder of a model, or "
            f"{TRAIN_TOKENIZER}VOCAB to learn one from the input"
        ) from None


def _first(model: SentenceTransformer) -> Any:
    return model[0]


def _static(device: str) -> SentenceTransformer:
    """Return the bundled static model as one that sentence-transformers trains, saves and loads."""
    require_torch(STATIC, "model")
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

    from jina_data.embed.static import static_files

    weights, vocabulary = static_files()
    tokenizer = Tokenizer.from_file(str(vocabulary))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), tokenizer.normalizer])
    # No token goes over a blank (StaticEmbedder asks), so words may be tokenized, and remembered, one by one.
    if not any(re.search("[^▁]▁", token) for token in tokenizer.get_vocab()):
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    table = load_file(weights)["embedding.weight"].float()
    model: Any = SentenceTransformer(modules=[StaticEmbedding(tokenizer, table)], device=device)
    found: SentenceTransformer = model
    return found

"""Models that can be trained, behind one interface: the encoder, sentence-transformers models, and static tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from jina_data.embed.base import ONNX, STATIC
from jina_data.embed.jina_encoder import is_encoder_folder
from jina_data.embed.model_files import model_folder, no_progress_bars, require_torch, token_limit
from jina_data.embed.token_limits import max_tokens_of
from jina_data.encoder.batches import Ids, padded, tokenize_start
from jina_data.encoder.encoder import Encoder
from jina_data.encoder.jina_bert import PRESETS as JINA_BERT_PRESETS
from jina_data.encoder.jina_bert import JinaBert
from jina_data.encoder.pooling import mean_pool
from jina_data.encoder.t5 import PRESETS as T5_PRESETS
from jina_data.encoder.tokenizer import copy_tokenizer, load_tokenizer
from jina_data.errors import ModelError, UsageError, first_line
from jina_data.train.packing import can_pack, embed_packed, enable_packing

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

TRAIN_TOKENIZER = "train:"

PRESETS = {
    **{name: ("jina-bert", name) for name in JINA_BERT_PRESETS},
    **{f"jina-bert-{name}": ("jina-bert", name) for name in JINA_BERT_PRESETS},
    **{f"t5-{name}": ("t5", name) for name in T5_PRESETS},
}
"""Models with random weights, by their names for --model."""

_WORDS = "▁*[^▁]+|▁+"


MICRO_TOKENS = {"cpu": 2**10, "cuda": 2**15}
"""Tokens per micro-batch of a transformer: few on a CPU, to fit its caches and limit padding; enough to fill a GPU."""
PACKED_TOKENS = 2**11
"""Tokens per micro-batch of packed texts on a CPU."""


class TrainableModel(Protocol):
    """A model under training."""

    module: nn.Module
    """The module with the weights."""
    max_length: int | None
    """Maximum number of tokens of a text; None: no limit."""
    micro_tokens: Mapping[str, int]
    """Tokens per micro-batch, by device type."""
    is_static: bool
    """Whether the model is a table of token vectors, which learns at far higher rates than a transformer."""

    @property
    def prompted(self) -> Any:
        """The encoder, or the model of sentence-transformers, which has the prompts."""
        ...

    def tokenize(self, texts: Sequence[str], max_length: int) -> Ids:
        """Return the tokens of texts, truncated to `max_length`. May be called from another thread."""
        ...

    def embed(self, ids: Ids) -> Tensor:
        """Return the vectors of tokenized texts, (B, D) float32, with a graph if gradients are enabled."""
        ...

    def save(self, folder: Path) -> None:
        """Save the model into a folder that `load_embedder` and SentenceTransformer load."""
        ...

    def checkpoint_activations(self) -> None:
        """Recompute the activations of layers in the backward pass to save memory."""
        ...

    def compile(self) -> None:
        """Compile the layers with torch.compile."""
        ...


class TrainableEncoder:
    """The encoder of jina-data: JinaBERT or T5."""

    is_static = False
    micro_tokens: Mapping[str, int] = MICRO_TOKENS

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.module: nn.Module = encoder.model
        self.max_length: int | None = encoder.max_length

    @property
    def prompted(self) -> Any:
        """The encoder."""
        return self.encoder

    def tokenize(self, texts: Sequence[str], max_length: int) -> Ids:
        """Return the tokens of texts."""
        return tokenize_start(self.encoder.tokenizer, texts, max_length)

    def embed(self, ids: Ids) -> Tensor:
        """Return the mean of the token vectors of each text, (B, D)."""
        input_ids, mask = padded(ids, self.encoder.pad_id)
        hidden_BSD = self.module(input_ids.to(self.encoder.device, non_blocking=True), mask)
        return mean_pool(hidden_BSD, mask)

    def save(self, folder: Path) -> None:
        """Save the encoder and its tokenizer."""
        self.encoder.save_pretrained(folder)

    def checkpoint_activations(self) -> None:
        """Recompute the activations of layers in the backward pass."""
        self.encoder.model.encoder.checkpoints = True

    def compile(self) -> None:
        """Compile the parts of the layers whose shapes differ only in the number of tokens."""
        stack: Any = self.encoder.model.encoder
        if isinstance(self.encoder.model, JinaBert):
            parts = [part for layer in stack.layer for part in (layer.mlp, layer.attention.output)]
        else:
            parts = list(stack.block)
        for part in parts:
            part.compile(dynamic=True)


class TrainableTransformer:
    """A sentence-transformers model that starts with a transformer and its tokenizer."""

    is_static = False

    def __init__(self, model: SentenceTransformer, name: str) -> None:
        backend = getattr(model.tokenizer, "backend_tokenizer", None)
        if not hasattr(model[0], "auto_model") or backend is None:
            raise ModelError(
                f"{name} starts with a {type(model[0]).__name__} that does not accept tokens; expected a transformer "
                "with a fast tokenizer, or a StaticEmbedding"
            )
        self.model = model
        self.module: nn.Module = model
        self.pad_id = int(model.tokenizer.pad_token_id or 0)
        self.max_length: int | None = token_limit(max_tokens_of(model))
        self._tokenizer = copy_tokenizer(backend)
        self._lowers = bool(getattr(model[0], "do_lower_case", False))
        self.micro_tokens: Mapping[str, int] = MICRO_TOKENS
        self._is_packed = model.device.type == "cpu" and can_pack(model)
        if self._is_packed:
            enable_packing(model)
            self.micro_tokens = {**MICRO_TOKENS, "cpu": PACKED_TOKENS}

    @property
    def prompted(self) -> Any:
        """The model of sentence-transformers."""
        return self.model

    def tokenize(self, texts: Sequence[str], max_length: int) -> Ids:
        """Return the tokens of texts, with special tokens."""
        return tokenize_start(self._tokenizer, [text.lower() for text in texts] if self._lowers else texts, max_length)

    def embed(self, ids: Ids) -> Tensor:
        """Return the output of the last module, (B, D)."""
        if self._is_packed and all(map(len, ids)):
            return embed_packed(self.model, ids).float()
        input_ids, mask = padded(ids, self.pad_id)
        device = self.model.device
        outputs = self.model({"input_ids": input_ids.to(device), "attention_mask": mask.to(device)})
        vectors: Tensor = outputs["sentence_embedding"]
        return vectors.float()

    def save(self, folder: Path) -> None:
        """Save all modules with sentence-transformers."""
        with no_progress_bars():
            self.model.save_pretrained(str(folder), create_model_card=False)

    def checkpoint_activations(self) -> None:
        """Recompute the activations of layers in the backward pass."""
        model = self._transformer
        # Newer versions of transformers have a new name for this method, and warn about the old one.
        new_name, old_name = "activation_checkpointing_enable", "gradient_checkpointing_enable"
        enable = getattr(model, new_name if hasattr(model, new_name) else old_name)
        enable({"use_reentrant": False})

    def compile(self) -> None:
        """Compile the layers; sentence-transformers calls `forward` directly, which bypasses a compiled model."""
        self._is_packed = False  # each number of texts would be compiled again
        stacks = [module for module in self._transformer.modules() if isinstance(module, nn.ModuleList)]
        for layer in (layer for stack in stacks for layer in stack):
            layer.compile(dynamic=True)

    @property
    def _transformer(self) -> Any:
        return self.model[0].auto_model


class TrainableStatic:
    """A table of token vectors: the vector of a text is the mean of its token vectors."""

    max_length: int | None = None
    is_static = True
    # Each micro-batch computes a gradient as large as the table, and there is no padding that small batches would save.
    micro_tokens: Mapping[str, int] = {"cpu": 2**22, "cuda": 2**22}

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model
        self.module: nn.Module = model
        self._tokenizer = copy_tokenizer(_first(model).tokenizer)

    @property
    def prompted(self) -> Any:
        """The model of sentence-transformers."""
        return self.model

    def tokenize(self, texts: Sequence[str], max_length: int) -> Ids:
        """Return the tokens of texts without special tokens, as StaticEmbedding does."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids[:max_length], np.int32) for encoding in encodings]

    def embed(self, ids: Ids) -> Tensor:
        """Return the mean of the token vectors, (B, D); zeros for a text without tokens."""
        device = self.model.device
        flat = torch.from_numpy(np.concatenate([*ids, np.empty(0, np.int32)]).astype(np.int64)).to(device)
        starts = np.cumsum([0, *(len(tokens) for tokens in ids[:-1])])
        outputs = self.model({"input_ids": flat, "offsets": torch.from_numpy(starts).to(device)})
        vectors: Tensor = outputs["sentence_embedding"]
        return vectors.float()

    def save(self, folder: Path) -> None:
        """Save the model with sentence-transformers."""
        with no_progress_bars():
            self.model.save_pretrained(str(folder), create_model_card=False)

    def checkpoint_activations(self) -> None:
        """Do nothing: there are no layers."""

    def compile(self) -> None:
        """Do nothing: there are no layers."""


def load_trainable(name: str, *, tokenizer: Tokenizer | None, device: str, seed: int) -> TrainableModel:
    """Load the initial model of a training run, in full precision.

    Args:
        name: a preset, "static", the folder of a run or a model, or a name on the Hub.
        tokenizer: the tokenizer of a preset.
        device: the device of the training.
        seed: the seed of the random weights of a preset.

    Raises:
        ModelError: there is no such model, or it cannot be trained.
        UsageError: a preset without a tokenizer, or a model in ONNX Runtime.
    """
    check_start(name, has_tokenizer=tokenizer is not None)
    folder = find_local_folder(name)
    if folder is None and name in PRESETS:
        kind, preset = PRESETS[name]
        assert tokenizer is not None
        return TrainableEncoder(
            Encoder.from_preset(preset, tokenizer, kind=kind, seed=seed, device=device, dtype="float32")
        )
    if folder is None and name == STATIC:
        return TrainableStatic(_load_static(device))
    folder = folder or model_folder(name, "model")
    if is_encoder_folder(folder):
        return TrainableEncoder(Encoder.from_pretrained(folder, device=device, dtype="float32"))
    require_torch(name, "model")
    from sentence_transformers import SentenceTransformer

    try:
        with no_progress_bars():
            model = SentenceTransformer(str(folder), device=device, local_files_only=True)
    except Exception as error:
        raise ModelError(f"{name} cannot be loaded from {folder}: {first_line(error)}") from error
    model.float()
    is_static = type(model[0]).__name__ == "StaticEmbedding"
    return TrainableStatic(model) if is_static else TrainableTransformer(model, name)


def check_start(name: str, *, has_tokenizer: bool) -> None:
    """Check that a model can be trained, and that a preset has a tokenizer.

    Raises:
        UsageError: it cannot, or it has none.
    """
    if name.startswith(ONNX):
        raise UsageError(f"{name} cannot be trained: ONNX Runtime only encodes. Name the model without {ONNX}")
    if name in PRESETS and not has_tokenizer and find_local_folder(name) is None:
        raise UsageError(f"{name} is a preset, which needs --tokenizer: a file, or {TRAIN_TOKENIZER}VOCAB")


def find_local_folder(name: str) -> Path | None:
    """Return the folder of a local model, or None; for a training run it is its model/."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return None
    of_run = folder / "model"
    return of_run if (of_run / "config.json").is_file() or (of_run / "modules.json").is_file() else folder


def read_tokenizer(name: str) -> Tokenizer:
    """Load a tokenizer from tokenizer.json or vocab.txt, or from the folder of a model or a run.

    Raises:
        ModelError: it cannot be read as a tokenizer.
    """
    from tokenizers import Tokenizer

    path = Path(name).expanduser()
    if path.is_dir():
        return load_tokenizer(find_local_folder(name) or path)
    if path.name == "vocab.txt":
        return load_tokenizer(path.parent)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        raise ModelError(
            f"--tokenizer {name} cannot be read: {error}. Name a tokenizer.json, the folder of a model, or "
            f"{TRAIN_TOKENIZER}VOCAB to train one on the input"
        ) from None


def _first(model: SentenceTransformer) -> Any:
    return model[0]


def _load_static(device: str) -> SentenceTransformer:
    """Return the bundled static model as a sentence-transformers model."""
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
    # If no token spans a blank (as in StaticEmbedder), words are tokenized one by one, which the tokenizer caches.
    if not any(re.search("[^▁]▁", token) for token in tokenizer.get_vocab()):
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    table = load_file(weights)["embedding.weight"].float()
    model: Any = SentenceTransformer(modules=[StaticEmbedding(tokenizer, table)], device=device)
    return cast("SentenceTransformer", model)

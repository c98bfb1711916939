"""The encoder: it turns texts into vectors, with the method names of sentence-transformers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from jina_data.embed.prompts import DOCUMENT_NAMES, QUERY_NAMES, ModelPrompts
from jina_data.encoder.batches import check_texts, padded, token_batches, tokenize
from jina_data.encoder.jina_bert import JinaBert, JinaBertConfig
from jina_data.encoder.load import Model, check_pipeline, find_folder, load_model, read_settings
from jina_data.encoder.options import (
    Precision,
    check_default_prompt,
    check_option,
    check_precision,
    check_prompts,
    find_device,
    find_dtype,
    required_vocab_size,
)
from jina_data.encoder.pooling import mean_pool, unit_length
from jina_data.encoder.save import model_dim, save_model
from jina_data.encoder.t5 import T5Config, T5Encoder
from jina_data.encoder.tokenizer import copy_tokenizer, load_tokenizer
from jina_data.errors import MissingExtraError, ModelError, UsageError
from jina_data.progress import Task, progress_for

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CPU_TOKENS, CUDA_TOKENS = 2**12, 2**16
"""Tokens in a batch."""

T5_MAX_LENGTH = 512
"""The length that T5 was trained on; its relative positions have no limit."""

log = logging.getLogger("jina_data.encoder")


class Encoder:
    """A model with its tokenizer: `encode` returns the mean of the token vectors of each text.

    The vector of a text depends only on that text, up to rounding: batches and other texts change it by less than 1e-5
    in full precision. Texts with more than `max_length` tokens are truncated; their number is logged and added to
    `n_cut`.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        *,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        max_length: int | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
    ) -> None:
        """Combine a model and a tokenizer.

        Args:
            model: a JinaBERT or a T5 encoder.
            tokenizer: a tokenizer of the `tokenizers` library.
            device: "cpu", "cuda", "cuda:1" ...; by default a GPU if there is one.
            dtype: dtype of weights and activations; by default float32 on a CPU, bfloat16 on a GPU.
            max_length: maximum number of tokens of a text; by default that of the config for JinaBERT, 512 for T5.
            prompts: prefixes of texts, by name; `encode_query` and `encode_document` use `query` and `document`.
            default_prompt_name: the name of the prompt that `encode` uses if no other is given.

        Raises:
            ModelError: the tokenizer has more words than the model has vectors.
            ResourceError: there is no such device.
            UsageError: an option has an invalid value.
        """
        if required_vocab_size(tokenizer) > model.config.vocab_size:
            raise ModelError(
                f"the tokenizer has {required_vocab_size(tokenizer):,} words, but the model has only "
                f"{model.config.vocab_size:,} vectors; expected the tokenizer of this model"
            )
        self.tokenizer = copy_tokenizer(tokenizer)
        self.device = find_device(device)
        self.dtype = find_dtype(dtype, self.device)
        self.max_length = _default_max_length(model) if max_length is None else self._checked_length(max_length)
        self.prompts = check_prompts(prompts or {})
        self.default_prompt_name = check_default_prompt(default_prompt_name, self.prompts)
        self.model = model.to(self.device, self.dtype).eval()
        self.dim = model_dim(model)
        self.n_cut = 0

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Self:
        """Load a model from a folder or from the Hub, such as jinaai/jina-embeddings-v2-small-en.

        `options` are those of the constructor.

        Raises:
            ModelError: there is no such model, one of its files is missing or broken, or its weights do not fit.
        """
        folder = find_folder(name)
        check_pipeline(folder)
        settings = read_settings(folder)
        return cls(load_model(folder), load_tokenizer(folder), **{**settings, **options})

    @classmethod
    def from_preset(
        cls, preset: str, tokenizer: Tokenizer, *, kind: str = "jina-bert", seed: int = 0, **options: Any
    ) -> Self:
        """Create a model with random weights for training: a preset such as "small", of kind "jina-bert" or "t5".

        Its vocabulary size is that of the tokenizer, rounded up to a multiple of 64.

        Raises:
            UsageError: there is no such preset or kind.
        """
        vocab_size = -(-required_vocab_size(tokenizer) // 64) * 64
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = _random_model(kind, preset, vocab_size)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return cls(model, tokenizer, **options)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save weights, configuration and tokenizer into a folder that `from_pretrained` loads.

        sentence-transformers also loads the folder: see docs/encoder.md.
        """
        model = self.model.float() if self.dtype != torch.float32 else self.model
        try:
            prompts = ModelPrompts(self.prompts, self.default_prompt_name)
            save_model(model, Path(folder), tokenizer=self.tokenizer, max_length=self.max_length, prompts=prompts)
        finally:
            self.model.to(self.dtype)

    # -------------------------------------------------------------------------------------------------- encode

    def encode(
        self,
        texts: str | Sequence[str],
        batch_size: int | None = None,
        *,
        max_length: int | None = None,
        normalize_embeddings: bool = False,
        convert_to_tensor: bool = False,
        convert_to_numpy: bool = True,
        show_progress_bar: bool = False,
        device: str | None = None,
        precision: Precision = "float32",
        truncate_dim: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
    ) -> Any:
        """Return the vectors of texts as an array or a tensor, (N, D); of a single text, (D,).

        Args:
            texts: one or several texts.
            batch_size: maximum number of texts in a batch; by default limited only by a token budget.
            max_length: maximum number of tokens of a text, by default that of the encoder.
            normalize_embeddings: scale vectors to length 1.
            convert_to_tensor: return a tensor on the device instead of an array.
            convert_to_numpy: return an array; if both are false, a list of tensors.
            show_progress_bar: show a progress bar.
            device: move the model to this device first.
            precision: float32, or one of the quantized types of sentence-transformers.
            truncate_dim: keep only the first `truncate_dim` dimensions.
            prompt: a prefix for each text; "" for none.
            prompt_name: the name of a prompt in `prompts`; without both, the default prompt of the model is used.

        Raises:
            InputError: a text is not a string; the message names its position.
            UsageError: an option is out of range.
        """
        is_single = isinstance(texts, str)
        prompted = self._prompted(check_texts(texts), prompt, prompt_name)
        max_length = self.max_length if max_length is None else self._checked_length(max_length)
        check_option("batch_size", batch_size)
        check_option("truncate_dim", truncate_dim, maximum=self.dim)
        check_precision(precision)
        if device is not None:
            self.to(device)
        with progress_for(quiet=not show_progress_bar).task("encode", len(prompted)) as task:
            vectors = self._encode(prompted, batch_size, max_length, task)
        vectors = vectors[:, :truncate_dim]
        if normalize_embeddings:
            vectors = unit_length(vectors)
        if precision != "float32":
            vectors = _quantized(vectors, precision)
        out = vectors if convert_to_tensor else vectors.cpu().numpy() if convert_to_numpy else list(vectors)
        return out[0] if is_single else out

    def encode_query(self, texts: str | Sequence[str], **options: Any) -> Any:
        """Return the vectors of queries, with the prompt `query` if the model has one, else without a prompt."""
        return self.encode(texts, **self._with_prompt(QUERY_NAMES, options))

    def encode_document(self, texts: str | Sequence[str], **options: Any) -> Any:
        """Return the vectors of documents, with the prompt `document`, `passage` or `corpus`, else without a prompt."""
        return self.encode(texts, **self._with_prompt(DOCUMENT_NAMES, options))

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Return the cosine similarity of each of N vectors with each of M, (N, M)."""
        rows_ND, rows_MD = _same_width(embeddings1, embeddings2)
        return unit_length(rows_ND) @ unit_length(rows_MD).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Return the cosine similarity of each of N vectors with its counterpart, (N,)."""
        rows_ND, others_ND = _same_width(embeddings1, embeddings2)
        return (unit_length(rows_ND) * unit_length(others_ND)).sum(-1)

    def to(self, device: str) -> Self:
        """Move the model to a device.

        Raises:
            ResourceError: there is no such device.
        """
        self.device = find_device(device)
        self.model.to(self.device)
        return self

    def _encode(self, texts: Sequence[str], batch_size: int | None, max_length: int, task: Task) -> Tensor:
        """Return the vectors of texts, (N, D) float32 on the device."""
        tokens = tokenize(self.tokenizer, texts, max_length)
        if tokens.n_cut:
            self.n_cut += tokens.n_cut
            log.warning("%d of %d texts had more than %d tokens and were cut", tokens.n_cut, len(texts), max_length)
        out = torch.empty(len(texts), self.dim, device=self.device)
        budget = CPU_TOKENS if self.device.type == "cpu" else CUDA_TOKENS
        with torch.inference_mode():
            for positions in token_batches(tokens.lengths, token_budget=budget, batch_size=batch_size):
                input_ids, mask = padded([tokens.ids[position] for position in positions], self.pad_id)
                # The mask stays on the CPU: reading its lengths to choose the layout then needs no GPU synchronization.
                hidden = self.model(input_ids.to(self.device, non_blocking=True), mask)
                out[torch.from_numpy(positions).to(self.device)] = mean_pool(hidden, mask)
                task.advance(len(positions))
        return out

    @property
    def pad_id(self) -> int:
        """The id of the padding token."""
        return self.model.config.pad_token_id

    def _checked_length(self, max_length: int) -> int:
        check_option("max_length", max_length)
        n_framing = self.tokenizer.num_special_tokens_to_add(is_pair=False)
        if max_length <= n_framing:
            raise UsageError(
                f"max_length is {max_length}; expected at least {n_framing + 1}, since the tokenizer adds {n_framing} "
                "special tokens to each text"
            )
        return max_length

    def _with_prompt(self, names: Sequence[str], options: dict[str, Any]) -> dict[str, Any]:
        if options.get("prompt") is not None or options.get("prompt_name") is not None:
            return options
        return {**options, "prompt": next((self.prompts[name] for name in names if self.prompts.get(name)), "")}

    def _prompted(self, texts: Sequence[str], prompt: str | None, prompt_name: str | None) -> Sequence[str]:
        prompt_name = self.default_prompt_name if prompt_name is None else prompt_name
        if prompt is None and prompt_name is not None:
            if prompt_name not in self.prompts:
                names = ", ".join(self.prompts) or "none"
                raise UsageError(f"there is no prompt {prompt_name!r}; the model has: {names}")
            prompt = self.prompts[prompt_name]
        if not isinstance(prompt, str | None):
            raise UsageError(f"prompt is {prompt!r}; expected a string, the prefix of each text")
        return [prompt + text for text in texts] if prompt else texts


def _random_model(kind: str, preset: str, vocab_size: int) -> Model:
    if kind == "jina-bert":
        return JinaBert(JinaBertConfig.preset(preset, vocab_size=vocab_size))
    if kind == "t5":
        return T5Encoder(T5Config.preset(preset, vocab_size=vocab_size))
    raise ValueError(f"there is no model of kind {kind!r}; expected jina-bert or t5")


def _default_max_length(model: Model) -> int:
    return model.config.max_position_embeddings if isinstance(model, JinaBert) else T5_MAX_LENGTH


def _same_width(embeddings1: Any, embeddings2: Any) -> tuple[Tensor, Tensor]:
    """Return vectors, or lists of vectors, as rows of the same width."""
    try:
        rows, other_rows = _rows(embeddings1), _rows(embeddings2)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(
            "similarity got something else than vectors; expected arrays, tensors or lists of them"
        ) from None
    if rows.shape[1] != other_rows.shape[1]:
        raise UsageError(
            f"similarity got vectors with {rows.shape[1]} and {other_rows.shape[1]} dimensions; expected vectors of "
            "one model"
        )
    return rows, other_rows


def _rows(vectors: Any) -> Tensor:
    if isinstance(vectors, list):
        vectors = np.stack([np.asarray(vector) for vector in vectors])
    rows = torch.as_tensor(vectors)
    return rows if rows.ndim == 2 else rows[None]


def _quantized(vectors: Tensor, precision: Precision) -> Tensor:
    try:
        from sentence_transformers.util import quantize_embeddings
    except ImportError:
        raise MissingExtraError(
            f"precision {precision!r} needs sentence-transformers: pip install 'jina-data[torch]'"
        ) from None
    return torch.from_numpy(quantize_embeddings(vectors.cpu().numpy(), precision=precision))

"""The encoder: texts to vectors, under the names that sentence-transformers uses."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from jina_data.encoder.batches import check_texts, padded, token_batches, tokenize
from jina_data.encoder.jina_bert import JinaBert, JinaBertConfig
from jina_data.encoder.load import Model, check_pipeline, find_folder, load_model, read_settings
from jina_data.encoder.options import (
    Precision,
    check_option,
    check_precision,
    check_prompts,
    find_device,
    find_dtype,
    words_needed,
)
from jina_data.encoder.pooling import mean_pool, unit_length
from jina_data.encoder.save import model_dim, save_model
from jina_data.encoder.t5 import T5Config, T5Encoder
from jina_data.encoder.tokenizer import load_tokenizer, own_copy
from jina_data.errors import MissingExtraError, ModelError, UsageError
from jina_data.progress import Task, progress_for

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CPU_TOKENS, CUDA_TOKENS = 2**12, 2**16
"""Tokens in a batch."""

T5_MAX_LENGTH = 512
"""What T5 was trained on; its distances have no limit."""

log = logging.getLogger("jina_data.encoder")


class Encoder:
    """A model with its tokenizer: `encode` gives the mean of a text's token vectors.

    The vector of a text depends on that text alone but for rounding: batches and neighbours change it by less than
    1e-5 in full precision. Texts with more than `max_length` tokens are cut there; how many is logged, and added to
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
    ) -> None:
        """Take a model and a tokenizer.

        Args:
            model: a JinaBERT or a T5 encoder.
            tokenizer: of the `tokenizers` library.
            device: "cpu", "cuda", "cuda:1" ...; by default a GPU where there is one.
            dtype: of weights and activations; by default float32 on a CPU, bfloat16 on a GPU.
            max_length: most tokens of a text; by default 8192 for JinaBERT, 512 for T5.
            prompts: texts to put in front, by name; `query` and `document` are used by themselves.

        Raises:
            ModelError: the tokenizer has words that the model has no vectors for.
            ResourceError: there is no such device.
            UsageError: an option is none that there is.
        """
        if words_needed(tokenizer) > model.config.vocab_size:
            raise ModelError(
                f"the tokenizer has {words_needed(tokenizer):,} words, and the model vectors for "
                f"{model.config.vocab_size:,}; expected the tokenizer of this model"
            )
        self.tokenizer = own_copy(tokenizer)
        self.device = find_device(device)
        self.dtype = find_dtype(dtype, self.device)
        self.max_length = _default_max_length(model) if max_length is None else self._checked_length(max_length)
        self.prompts = check_prompts(prompts or {})
        self.model = model.to(self.device, self.dtype).eval()
        self.dim = model_dim(model)
        self.n_cut = 0

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Self:
        """Load a folder, or a model of the Hub such as jinaai/jina-embeddings-v2-small-en; `options` as above.

        Raises:
            ModelError: there is no such model, a file of it is missing or broken, or its weights do not fit.
        """
        folder = find_folder(name)
        check_pipeline(folder)
        settings = read_settings(folder)
        return cls(load_model(folder), load_tokenizer(folder), **{**settings, **options})

    @classmethod
    def from_preset(
        cls, preset: str, tokenizer: Tokenizer, *, kind: str = "jina-bert", seed: int = 0, **options: Any
    ) -> Self:
        """Make a model with random weights, to be trained: a preset such as "small", of kind "jina-bert" or "t5".

        Its vocabulary is that of the tokenizer, rounded up to a multiple of 64.

        Raises:
            UsageError: there is no such preset or kind.
        """
        vocab_size = -(-words_needed(tokenizer) // 64) * 64
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = _random_model(kind, preset, vocab_size)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return cls(model, tokenizer, **options)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save weights, configuration and tokenizer into a folder that `from_pretrained` loads.

        sentence-transformers loads it too: see docs/encoder.md.
        """
        model = self.model.float() if self.dtype != torch.float32 else self.model
        try:
            save_model(model, Path(folder), tokenizer=self.tokenizer, max_length=self.max_length, prompts=self.prompts)
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
            texts: a text or several.
            batch_size: most texts in a batch; by default as many as a budget of tokens holds.
            max_length: most tokens of a text, if other than the encoder's.
            normalize_embeddings: scale vectors to length 1.
            convert_to_tensor: return a tensor on the device, not an array.
            convert_to_numpy: return an array; if neither, a list of tensors.
            show_progress_bar: tell how far it is.
            device: move the model there first.
            precision: float32, or the quantised types of sentence-transformers.
            truncate_dim: keep the first so many dimensions.
            prompt: a text to put in front of each.
            prompt_name: the name of one in `prompts`.

        Raises:
            InputError: a text is not a string; the message says which.
            UsageError: an option is out of range.
        """
        is_single = isinstance(texts, str)
        prompted = self._prompted(check_texts(texts), prompt, prompt_name)
        max_length = self.max_length if max_length is None else self._checked_length(max_length)
        check_option("batch_size", batch_size)
        check_option("truncate_dim", truncate_dim, most=self.dim)
        check_precision(precision)
        if device is not None:
            self.to(device)
        with _progress(len(prompted), shown=show_progress_bar) as task:
            vectors = self._encode(prompted, batch_size, max_length, task)
        vectors = vectors[:, :truncate_dim]
        if normalize_embeddings:
            vectors = unit_length(vectors)
        found = _quantized(vectors, precision) if precision != "float32" else vectors
        out = found if convert_to_tensor else found.cpu().numpy() if convert_to_numpy else list(found)
        return out[0] if is_single else out

    def encode_query(self, texts: str | Sequence[str], **options: Any) -> Any:
        """Return the vectors of queries: with the prompt `query`, where the model has one."""
        return self.encode(texts, **self._with_prompt("query", options))

    def encode_document(self, texts: str | Sequence[str], **options: Any) -> Any:
        """Return the vectors of documents: with the prompt `document`, where the model has one."""
        return self.encode(texts, **self._with_prompt("document", options))

    def similarity(self, some: Any, others: Any) -> Tensor:
        """Return the cosine of each of N vectors with each of M, (N, M)."""
        rows_ND, rows_MD = _same_width(some, others)
        return unit_length(rows_ND) @ unit_length(rows_MD).T

    def similarity_pairwise(self, some: Any, others: Any) -> Tensor:
        """Return the cosine of each of N vectors with its counterpart, (N,)."""
        rows_ND, others_ND = _same_width(some, others)
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
                # The mask stays on the CPU: its lengths decide the layout, and nobody waits for the GPU.
                hidden = self.model(input_ids.to(self.device, non_blocking=True), mask)
                out[torch.from_numpy(positions).to(self.device)] = mean_pool(hidden, mask)
                task.advance(len(positions))
        return out

    @property
    def pad_id(self) -> int:
        """The token that fills up rows."""
        return self.model.config.pad_token_id

    def _checked_length(self, max_length: int) -> int:
        check_option("max_length", max_length)
        n_framing = self.tokenizer.num_special_tokens_to_add(is_pair=False)
        if max_length <= n_framing:
            raise UsageError(
                f"max_length is {max_length}; expected at least {n_framing + 1}, since the tokenizer frames each text "
                f"with {n_framing} tokens of its own"
            )
        return max_length

    def _with_prompt(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        is_named = name in self.prompts and not {"prompt", "prompt_name"} & set(options)
        return {**options, "prompt_name": name} if is_named else options

    def _prompted(self, texts: Sequence[str], prompt: str | None, prompt_name: str | None) -> Sequence[str]:
        if prompt is None and prompt_name is not None:
            if prompt_name not in self.prompts:
                known = ", ".join(self.prompts) or "none"
                raise UsageError(f"there is no prompt {prompt_name!r}; the model has: {known}")
            prompt = self.prompts[prompt_name]
        if not isinstance(prompt, str | None):
            raise UsageError(f"prompt is {prompt!r}; expected a text to put in front of each")
        return [prompt + text for text in texts] if prompt else texts


def _random_model(kind: str, preset: str, vocab_size: int) -> Model:
    if kind == "jina-bert":
        return JinaBert(JinaBertConfig.preset(preset, vocab_size=vocab_size))
    if kind == "t5":
        return T5Encoder(T5Config.preset(preset, vocab_size=vocab_size))
    raise ValueError(f"there is no model of kind {kind!r}; expected jina-bert or t5")


def _default_max_length(model: Model) -> int:
    return model.config.max_position_embeddings if isinstance(model, JinaBert) else T5_MAX_LENGTH


@contextmanager
def _progress(n_texts: int, *, shown: bool) -> Iterator[Task]:
    with progress_for(quiet=not shown).task("encode", n_texts) as task:
        yield task


def _same_width(some: Any, others: Any) -> tuple[Tensor, Tensor]:
    """Return vectors, or lists of vectors, as rows."""
    try:
        rows, other_rows = _rows(some), _rows(others)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError("similarity takes vectors as `encode` gives them: arrays, tensors or lists of such") from None
    if rows.shape[1] != other_rows.shape[1]:
        raise UsageError(
            f"similarity: some vectors have {rows.shape[1]} dimensions, the others {other_rows.shape[1]}; expected "
            "those of one model"
        )
    return rows, other_rows


def _rows(vectors: Any) -> Tensor:
    if isinstance(vectors, list):
        vectors = np.stack([np.asarray(one) for one in vectors])
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

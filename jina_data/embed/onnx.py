"""Transformers in ONNX Runtime as embedders: on the CPU, without torch.

ONNX Runtime is used directly. The package fastembed, which builds on it, reads the pooling from its own list of models,
not from the folder; it pads a batch to its longest text, so a vector depends on the other texts; and its releases up to
0.9 cannot be installed with the version of huggingface-hub that `jina-data[hub]` uses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jina_data.embed.base import BoolArray, HalfArray, unit_half
from jina_data.embed.batches import fixed_batches
from jina_data.embed.model_files import combined_sha256, token_limit
from jina_data.embed.onnx_files import OnnxFiles, onnx_files
from jina_data.embed.pooling import FloatArray, Head, read_head, read_json
from jina_data.embed.prompts import ModelPrompts, read_prompts
from jina_data.embed.token_limits import NO_LIMIT, max_tokens_of_files
from jina_data.encoder.tokenizer import copy_tokenizer, load_tokenizer
from jina_data.errors import ModelError, first_line

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

BATCH_TOKENS = 2**11
"""Tokens in a batch."""

_TEXT_VECTOR = "sentence_embedding"
_TOKEN_VECTORS = ("last_hidden_state", "token_embeddings")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_SILENT = 4
"""The level of ONNX Runtime that logs fatal errors only; other errors are exceptions."""


class OnnxEmbedder:
    """Embeds texts with a transformer in ONNX Runtime and the modules of its sentence-transformers folder.

    Texts are padded to one of a few lengths, and each length has batches of one size, filled up with repeats. A graph
    with dynamic quantization computes one scale for the whole batch, so there each text is a batch. So the vector of a
    text does not depend on the other texts. `encode` uses none of the prompts of the model.
    """

    def __init__(
        self, graph: Graph, tokens: TextTokens, head: Head, name: str, *, sha256: str, prompts: ModelPrompts
    ) -> None:
        self.name = name
        self.prompts = prompts
        self.model_id = f"onnx-cpu-{sha256[:32]}"
        self.max_length = tokens.max_length
        self.max_tokens = token_limit(self.max_length)
        self._graph, self._tokens, self._head = graph, tokens, head
        (example,) = tokens.encode(["a"], self.max_length)
        self.dim = len(self._pool(graph.run([example], len(example.ids))[0], len(example.ids), 0))

    @classmethod
    def load(cls, name: str) -> Self:
        """Load a model by its name, which begins with onnx:.

        Raises:
            ModelError: the model cannot be found or loaded, or has a module that is not supported.
            MissingExtraError: a package is not installed.
        """
        files = onnx_files(name)
        head = read_head(files.folder)
        tokens = TextTokens.load(head.folder)
        prompts = read_prompts(files.folder)
        try:
            graph = Graph.load(files, tokens.pad_id)
            return cls(graph, tokens, head, name, sha256=combined_sha256(files.all()), prompts=prompts)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"embedder {name!r} cannot be loaded from {files.graph}: {first_line(error)}. Export it again, or name "
                "another ONNX file"
            ) from error

    def encode(self, texts: Sequence[str], *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts, (N, D); mark in `cut` (N,) the texts that were too long for the model."""
        return self.encode_prompted(texts, "", cut=cut)

    def encode_prompted(self, texts: Sequence[str], prompt: str, *, cut: BoolArray | None = None) -> HalfArray:
        """Return the vectors of N texts with a prompt before each, (N, D).

        If the pooling of the model has include_prompt=False, the tokens of the prompt are left out of the pooling.
        """
        encodings = self._tokens.encode([prompt + text for text in texts], self.max_length)
        if cut is not None:
            cut[:] = np.array([bool(encoding.overflowing) for encoding in encodings], np.bool_)
        n_skipped = 0
        if prompt and not self._head.include_prompt:
            if self._graph.is_pooled:
                raise ModelError(
                    f"{self.name!r}: the folder leaves prompts out of the pooling (include_prompt is false), but the "
                    "pooling is part of the ONNX file. Export the model without it, or turn the prompt off"
                )
            n_skipped = self._tokens.prompt_length(prompt, self.max_length)
        lengths = [len(encoding.ids) for encoding in encodings]
        out = np.zeros((len(texts), self.dim), np.float32)  # a text without tokens keeps its zeros
        for positions, length, n_rows in self._batches(lengths):
            rows = [*positions, *[positions[-1]] * (n_rows - len(positions))]
            outputs = self._graph.run([encodings[row] for row in rows], length)
            for position, output in zip(positions, outputs, strict=False):
                out[position] = self._pool(output, lengths[position], n_skipped)
        return unit_half(out)

    def _batches(self, lengths: Sequence[int]) -> Iterator[tuple[list[int], int, int]]:
        """Yield the positions of the texts of each batch, the length to pad them to, and the number of rows."""
        filled = np.flatnonzero(lengths)
        if self._graph.is_dynamic:
            yield from (([position], lengths[position], 1) for position in filled.tolist())
            return
        n_tokens = [lengths[position] for position in filled.tolist()]
        for batch, length, n_rows in fixed_batches(n_tokens, max_length=self.max_length, token_budget=BATCH_TOKENS):
            yield filled[batch].tolist(), length, n_rows

    def _pool(self, output: FloatArray, n_tokens: int, n_skipped: int) -> FloatArray:
        """Return the vector of a text, (D,), from the output of the graph for it."""
        return output if self._graph.is_pooled else self._head.pool(output[:n_tokens], n_skipped)


class Graph:
    """A graph of ONNX Runtime that turns tokens into token vectors, or into text vectors if it includes the pooling."""

    def __init__(self, session: Any, *, pad_id: int, is_dynamic: bool) -> None:
        self.is_dynamic = is_dynamic
        self._session, self._pad_id = session, pad_id
        self._inputs = [entry.name for entry in session.get_inputs()]
        if unknown := [name for name in self._inputs if name not in _INPUTS]:
            raise ModelError(
                f"the ONNX file has the inputs {', '.join(unknown)}; expected only {', '.join(_INPUTS)}. Export the "
                "model for the task feature-extraction"
            )
        ranks = {entry.name: len(entry.shape) for entry in session.get_outputs()}
        of_tokens = [name for name in (*_TOKEN_VECTORS, *ranks) if ranks.get(name) == 3]
        self.is_pooled = not of_tokens
        if not of_tokens and ranks.get(_TEXT_VECTOR) != 2:
            raise ModelError(
                f"the ONNX file has the outputs {', '.join(ranks)}; expected the vectors of tokens with three axes, "
                f"such as {_TOKEN_VECTORS[0]}, or {_TEXT_VECTOR} with two. Export the model for "
                "the task feature-extraction"
            )
        self._output = of_tokens[0] if of_tokens else _TEXT_VECTOR

    @classmethod
    def load(cls, files: OnnxFiles, pad_id: int) -> Self:
        """Load the graph of a model; exceptions are those of ONNX Runtime."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SILENT
        if threads := os.environ.get("OMP_NUM_THREADS", ""):  # set in the workers of clean; the runtime ignores it
            options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
        session = onnxruntime.InferenceSession(str(files.graph), options, providers=["CPUExecutionProvider"])
        return cls(session, pad_id=pad_id, is_dynamic=files.is_dynamic())

    def run(self, encodings: Sequence[Encoding], length: int) -> FloatArray:
        """Return the token vectors of B texts padded to S tokens, (B, S, H), or their text vectors, (B, D)."""
        shape = (len(encodings), length)
        values = {name: np.zeros(shape, np.int64) for name in _INPUTS}
        # RoBERTa counts positions from the padding token, so the graph needs the real one.
        values["input_ids"][:] = self._pad_id
        values["position_ids"][:] = np.arange(length)
        for row, encoding in enumerate(encodings):
            n_tokens = len(encoding.ids)
            values["input_ids"][row, :n_tokens] = encoding.ids
            values["attention_mask"][row, :n_tokens] = 1
            values["token_type_ids"][row, :n_tokens] = encoding.type_ids
        (outputs,) = self._session.run([self._output], {name: values[name] for name in self._inputs})
        vectors: FloatArray = np.asarray(outputs, np.float32)
        return vectors


@dataclass(frozen=True)
class TextTokens:
    """The tokenizer of a model, and its limits."""

    tokenizer: Tokenizer
    max_length: int
    pad_id: int
    side: str = "right"
    """The side on which long texts are truncated."""
    _truncating: dict[int, Tokenizer] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load the tokenizer of the folder of a transformer.

        Raises:
            ModelError: there is no tokenizer, or a file is broken.
        """
        from tokenizers import normalizers

        tokenizer = load_tokenizer(folder)
        config, of_tokenizer, settings = (
            read_json(path) if path is not None and path.is_file() else {}
            for path in (
                folder / "config.json",
                folder / "tokenizer_config.json",
                next(iter(sorted(folder.glob("sentence_*_config.json"))), None),
            )
        )
        if settings.get("do_lower_case"):
            own = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
            tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
        pad = of_tokenizer.get("pad_token")
        pad = pad.get("content") if isinstance(pad, dict) else pad
        pad_id = config.get("pad_token_id")
        if pad_id is None and isinstance(pad, str):
            pad_id = tokenizer.token_to_id(pad)
        limit = max_tokens_of_files(config, of_tokenizer, settings)
        return cls(tokenizer, limit, pad_id or 0, side=of_tokenizer.get("truncation_side", "right"))

    def encode(self, texts: Sequence[str], max_length: int) -> list[Encoding]:
        """Return the tokens of texts, each truncated to `max_length` tokens."""
        if max_length not in self._truncating:
            tokenizer = copy_tokenizer(self.tokenizer)
            if max_length < NO_LIMIT:
                tokenizer.enable_truncation(max_length, direction=self.side)
            self._truncating[max_length] = tokenizer
        return self._truncating[max_length].encode_batch_fast(list(texts))

    def prompt_length(self, prompt: str, max_length: int) -> int:
        """Return the number of tokens at the start that belong to a prompt, as sentence-transformers counts them."""
        ids = self.encode([prompt], max_length)[0].ids
        special = {number for number, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}
        return len(ids) - (bool(ids) and ids[-1] in special)

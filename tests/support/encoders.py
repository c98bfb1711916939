"""Tiny encoders with random weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from jina_data.embed import base
from jina_data.embed.base import HalfArray
from jina_data.encoder import Encoder, JinaBert, JinaBertConfig, T5Config, T5Encoder

WORDS = "How do I boil an egg in cold water? Put the kettle on, wait, and count; naïve cafés in München don't!"


TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}


def jina_bert(tokenizer: Tokenizer, **options: Any) -> Encoder:
    torch.manual_seed(0)
    config = JinaBertConfig(vocab_size=256, initializer_range=0.2, **TINY)  # type: ignore[arg-type]
    return Encoder(JinaBert(config), tokenizer, **{"device": "cpu", "max_length": 64, **options})


def t5(tokenizer: Tokenizer, **options: Any) -> Encoder:
    torch.manual_seed(0)
    config = T5Config(vocab_size=256, d_model=32, d_kv=8, d_ff=40, num_layers=2, num_heads=4)
    return Encoder(T5Encoder(config), tokenizer, **{"device": "cpu", "max_length": 64, **options})


def check_alone(embedder: base.Embedder, texts: list[str], singles: int) -> None:
    """Check that vectors do not depend on the order, number or contents of other texts."""
    vectors = embedder.encode(texts)
    assert vectors.shape == (len(texts), embedder.dim)
    assert vectors.dtype == np.float16
    rng = np.random.default_rng(0)
    order = rng.permutation(len(texts))
    assert (bits(embedder.encode([texts[i] for i in order])) == bits(vectors)[order]).all()
    subset = np.sort(order[: len(texts) // 3])
    assert (bits(embedder.encode([texts[i] for i in subset])) == bits(vectors)[subset]).all()
    for i in order[:singles].tolist():
        assert (bits(embedder.encode([texts[i]]))[0] == bits(vectors)[i]).all(), texts[i]
    assert embedder.encode([]).shape == (0, embedder.dim)


def bits(vectors: HalfArray) -> npt.NDArray[np.uint16]:
    return vectors.view(np.uint16)


KINDS = {"bert": "BertConfig", "roberta": "RobertaConfig", "xlm-roberta": "XLMRobertaConfig", "mpnet": "MPNetConfig"}


def write_transformer(
    folder: Path,
    tokenizer: Tokenizer,
    *,
    kind: str = "bert",
    positions: int = 64,
    include_prompt: bool = True,
    model_max_length: int | None = None,
    **options: Any,
) -> Path:
    """Save a tiny model of sentence-transformers with random weights: a transformer and the mean of its tokens.

    `options` are those of SentenceTransformer, such as prompts and default_prompt_name. Without `model_max_length`, the
    tokenizer has no limit.
    """
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    torch.manual_seed(0)
    pad = tokenizer.token_to_id("[PAD]")
    config = getattr(transformers, KINDS[kind])(
        vocab_size=256, max_position_embeddings=positions, pad_token_id=pad, initializer_range=0.2, **TINY
    )
    plain = folder.with_name(f"{folder.name}-plain")
    transformers.AutoModel.from_config(config).save_pretrained(plain)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    limit = {} if model_max_length is None else {"model_max_length": model_max_length}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **limit).save_pretrained(plain)
    modules = [Transformer(str(plain)), Pooling(32, "mean", include_prompt=include_prompt)]
    model: Any = SentenceTransformer(modules=modules, device="cpu", **options)
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def add_onnx(folder: Path, file: str = "onnx/model.onnx") -> Path:
    """Export the transformer of a sentence-transformers folder into an ONNX file there; the output is token vectors."""
    from sentence_transformers import SentenceTransformer

    model: Any = SentenceTransformer(str(folder), device="cpu")[0]
    auto_model = model.auto_model.eval()
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in _inputs_of(auto_model)]

    class Tokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = auto_model

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            vectors: torch.Tensor = self.inner(**dict(zip(names, inputs, strict=True))).last_hidden_state
            return vectors

    ids = torch.tensor([[5] * 7, [5] * 4 + [auto_model.config.pad_token_id] * 3, [5] * 7])
    example = {"input_ids": ids, "attention_mask": torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] * 7])}
    values = tuple(example.get(name, torch.zeros_like(ids)) for name in names)
    axes = {0: torch.export.Dim("texts", min=1), 1: torch.export.Dim.AUTO}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.export.export(Tokens(), values, dynamic_shapes=((axes,) * len(names),), strict=False)
        graph: Any = torch.onnx.export(
            program, dynamo=True, input_names=names, output_names=["last_hidden_state"], opset_version=20, verbose=False
        )
    target = folder / file
    target.parent.mkdir(exist_ok=True)
    graph.save(str(target))
    return target


def _inputs_of(model: Any) -> set[str]:
    import inspect

    named = set(inspect.signature(model.forward).parameters)
    # RoBERTa accepts token types, and its exported files have no such input.
    return named if model.config.type_vocab_size > 1 else named - {"token_type_ids"}

"""Tiny encoders with random weights."""

from __future__ import annotations

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

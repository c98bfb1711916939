"""Token limits of models that count positions from the padding id, or have no positions, and of tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer

from jina_data.embed.cross_encoder import load_pair_scorer
from jina_data.embed.load import load_embedder
from jina_data.encoder import train_wordpiece
from jina_data.train.models import load_trainable
from tests.support.encoders import TINY, WORDS

NAMES = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
SIZES: dict[str, Any] = {"vocab_size": 256, **TINY}
TEXTS = ["water " * n for n in (1, 59, 60, 61, 62, 63, 300)]

CASES: dict[str, tuple[Any, int | None]] = {
    "bert": (transformers.BertConfig(**SIZES, max_position_embeddings=64), 64),
    "roberta": (transformers.RobertaConfig(**SIZES, max_position_embeddings=64, pad_token_id=1), 62),
    "roberta, padding id 0": (transformers.RobertaConfig(**SIZES, max_position_embeddings=64, pad_token_id=0), 63),
    "xlm-roberta": (transformers.XLMRobertaConfig(**SIZES, max_position_embeddings=64, pad_token_id=1), 62),
    "mpnet": (transformers.MPNetConfig(**SIZES, max_position_embeddings=64), 62),
    "i-bert": (transformers.IBertConfig(**SIZES, max_position_embeddings=64, pad_token_id=1), 62),
    "bart": (
        transformers.BartConfig(
            vocab_size=256,
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=40,
            decoder_ffn_dim=40,
            max_position_embeddings=64,
        ),
        64,
    ),
    "rotary": (transformers.Qwen2Config(**SIZES, num_key_value_heads=4, max_position_embeddings=64), 64),
    "alibi with a limit": (
        transformers.MptConfig(vocab_size=256, d_model=32, n_layers=1, n_heads=4, max_seq_len=64),
        64,
    ),
    "alibi": (transformers.BloomConfig(vocab_size=256, hidden_size=32, n_layer=1, n_head=4), None),
    "relative": (
        transformers.T5Config(vocab_size=256, d_model=32, d_kv=8, d_ff=40, num_layers=1, num_heads=4),
        None,
    ),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([WORDS, WORDS.lower()] * 4, vocab_size=200)


def save_plain(folder: Path, model: Any, tokenizer: Tokenizer) -> Path:
    """Save a model of transformers with a tokenizer that reports no limit."""
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **NAMES).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_a_model_reads_as_many_tokens_as_it_has_positions(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    config, limit = CASES[name]
    torch.manual_seed(0)
    plain = save_plain(tmp_path / "plain", transformers.AutoModel.from_config(config), tokenizer)
    modules = [Transformer(str(plain)), Pooling(32, "mean")]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(tmp_path / "model"), create_model_card=False)
    embedder = load_embedder(str(tmp_path / "model"))
    cut = np.zeros(len(TEXTS), np.bool_)
    assert np.isfinite(embedder.encode(TEXTS, cut=cut)).all()
    assert embedder.max_tokens == limit
    n_tokens = [len(embedder._model.tokenizer(text)["input_ids"]) for text in TEXTS]  # type: ignore[attr-defined]
    assert cut.tolist() == [limit is not None and n > limit for n in n_tokens]
    model = load_trainable(str(tmp_path / "model"), tokenizer=None, device="cpu", seed=0)
    assert model.max_length == limit
    model.embed(model.tokenize(TEXTS, limit or 400)).sum().backward()  # type: ignore[no-untyped-call]


def test_a_limit_of_the_folder_that_is_too_high_is_lowered(tokenizer: Tokenizer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = save_plain(tmp_path / "plain", transformers.AutoModel.from_config(CASES["xlm-roberta"][0]), tokenizer)
    model = SentenceTransformer(modules=[Transformer(str(plain)), Pooling(32, "mean")], device="cpu")
    model.max_seq_length = 64
    model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    embedder = load_embedder(str(tmp_path / "model"))
    assert embedder.max_tokens == 62
    assert np.isfinite(embedder.encode(TEXTS)).all()


def test_a_cross_encoder_of_the_same_kind(tokenizer: Tokenizer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.XLMRobertaConfig(**SIZES, max_position_embeddings=64, pad_token_id=1, num_labels=1)
    plain = save_plain(
        tmp_path / "plain", transformers.AutoModelForSequenceClassification.from_config(config), tokenizer
    )
    scorer = load_pair_scorer(str(plain), "cpu")
    assert scorer.max_tokens == 62
    assert np.isfinite(scorer.score(TEXTS, TEXTS)).all()


def test_the_default_prompt_of_a_cross_encoder_is_before_the_query(tokenizer: Tokenizer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(**SIZES, max_position_embeddings=64, num_labels=1, initializer_range=0.5)
    plain = save_plain(
        tmp_path / "plain", transformers.AutoModelForSequenceClassification.from_config(config), tokenizer
    )
    prompts = {"search": "put the egg "}
    model = CrossEncoder(str(plain), device="cpu", prompts=prompts, default_prompt_name="search")
    model.save_pretrained(str(tmp_path / "model"))
    scorer = load_pair_scorer(str(tmp_path / "model"), "cpu")
    identity = torch.nn.Identity()
    expected = model.predict([("water", "kettle"), ("egg", "wait")], activation_fn=identity)
    np.testing.assert_allclose(scorer.score(["water", "egg"], ["kettle", "wait"]), expected, atol=1e-5)
    assert (
        abs(expected - model.predict([("water", "kettle"), ("egg", "wait")], activation_fn=identity, prompt="")).max()
        > 1e-3
    )

"""Invalid options and inputs of the encoder: each gives an error of one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer

from jina_data.encoder import Encoder, JinaBertConfig, T5Config, train_wordpiece
from jina_data.encoder.tokenizer import load_tokenizer
from jina_data.errors import InputError, JinaDataError, ModelError, ResourceError, RunFolderError, UsageError
from tests.support.encoders import (
    TINY,
    WORDS,
    jina_bert,
    t5,
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([WORDS, WORDS.lower()] * 4, vocab_size=200)


@pytest.fixture(scope="module")
def encoder(tokenizer: Tokenizer) -> Encoder:
    return jina_bert(tokenizer)


@pytest.fixture
def saved(encoder: Encoder, tmp_path: Path) -> Path:
    encoder.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def one_line(kind: type[JinaDataError] | type[ValueError], message: str, call: Callable[[], object]) -> None:
    with pytest.raises(kind, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


# ------------------------------------------------------------------------------------------------------------- configs


@pytest.mark.parametrize(
    ("key", "bad", "expected"),
    [
        ("vocab_size", [0, -1, "x", None, 2.5, True], "a whole number above 0"),
        ("hidden_size", [0, "x", None], "a whole number above 0"),
        ("num_hidden_layers", [0, -3, None], "a whole number above 0"),
        ("num_attention_heads", [0, "4", None], "a whole number above 0"),
        ("intermediate_size", [0, "x"], "a whole number above 0"),
        ("type_vocab_size", [0, -1, None], "a whole number above 0"),
        ("max_position_embeddings", [0, "x", None], "a whole number above 0"),
        ("feed_forward_type", ["original", None, ["geglu"]], "one of geglu, reglu"),
        ("pad_token_id", [-1, 256, "x", None], "a whole number from 0 to 255"),
        ("hidden_dropout_prob", [-0.1, 1.5, "x", None, float("nan")], "a number from 0 to 1"),
        ("layer_norm_eps", [-1, "x", None, float("inf")], "a number of at least 0"),
        ("initializer_range", [-1, "x", None], "a number of at least 0"),
        ("position_embedding_type", ["absolute", None], ""),
        ("emb_pooler", ["cls"], ""),
        ("hidden_act", ["relu", None], ""),
        ("attention_probs_dropout_prob", [0.1], ""),
    ],
)
def test_each_key_of_a_jina_bert(key: str, bad: list[Any], expected: str, saved: Path) -> None:
    path = saved / "config.json"
    good = json.loads(path.read_text())
    for value in bad:
        message = f"expected {expected}" if expected else "JinaBERT has"
        one_line(ValueError, f"{key} is .*{message}", partial(JinaBertConfig.from_dict, {**good, key: value}))
        path.write_text(json.dumps({**good, key: value}))
        one_line(ModelError, rf"config.json.*{key}", lambda: Encoder.from_pretrained(saved, device="cpu"))


@pytest.mark.parametrize(
    ("key", "bad", "expected"),
    [
        ("vocab_size", [0, "x"], "a whole number above 0"),
        ("d_model", [0, None], "a whole number above 0"),
        ("num_heads", [0, 2.5], "a whole number above 0"),
        ("relative_attention_num_buckets", [0, 3, "x", None], "a whole number above 3"),
        ("relative_attention_max_distance", [0, 8, "x", None], "a whole number above 8"),
        ("pad_token_id", [-1, 32128, None], "a whole number from 0 to 32127"),
        ("eos_token_id", [-1, "x"], "a whole number from 0 to 32127"),
        ("dropout_rate", [-1, 2, "x"], "a number from 0 to 1"),
        ("layer_norm_epsilon", [-1, "x"], "a number of at least 0"),
        ("initializer_factor", [-1, "x"], "a number of at least 0"),
        ("feed_forward_proj", ["silu", None, ["relu"]], "one of relu, gated-gelu"),
    ],
)
def test_each_key_of_a_t5(key: str, bad: list[Any], expected: str) -> None:
    for value in bad:
        one_line(ValueError, f"{key} is .*; expected {expected}", partial(T5Config.from_dict, {key: value}))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("sentence_bert_config", "[]", "holds list; expected a JSON object"),
        ("sentence_bert_config", '{"max_seq_length": "x"}', "max_seq_length is 'x'; expected a whole number above 0"),
        ("sentence_bert_config", '{"max_seq_length": -3}', "max_seq_length is -3"),
        ("tokenizer_config", "7", "holds int; expected a JSON object"),
        ("tokenizer_config", '{"model_max_length": 0}', "model_max_length is 0"),
        ("config_sentence_transformers", '{"prompts": 3}', "prompts is 3; expected strings by name"),
        ("config_sentence_transformers", '{"prompts": {"query": 3}}', "expected strings by name"),
        ("config_sentence_transformers", "{", "is not JSON"),
    ],
)
def test_broken_settings(name: str, text: str, message: str, saved: Path) -> None:
    (saved / f"{name}.json").write_text(text)
    one_line(ModelError, f"{name}.json.*{message}", lambda: Encoder.from_pretrained(saved, device="cpu"))


def test_a_limit_without_end_is_none(saved: Path) -> None:
    (saved / "sentence_bert_config.json").unlink()
    (saved / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
    assert Encoder.from_pretrained(saved, device="cpu").max_length == 8192


# ------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"device": "bogus"}, UsageError, "no device 'bogus'; expected 'cpu', 'cuda'"),
        ({"device": "meta"}, UsageError, "no device 'meta'"),
        ({"device": "cuda:77"}, ResourceError, "'cuda:77': (no CUDA device|there are .* CUDA devices)"),
        ({"dtype": "int8"}, UsageError, "dtype is 'int8'; expected float32, bfloat16 or float16"),
        ({"max_length": 0}, UsageError, "max_length is 0; expected a whole number above 0"),
        ({"max_length": "x"}, UsageError, "max_length is 'x'"),
        ({"max_length": 2}, UsageError, "max_length is 2; expected at least 3, since the tokenizer adds 2"),
        ({"prompts": ["query"]}, UsageError, "prompts is .*; expected strings by name"),
        ({"prompts": {"query": 5}}, UsageError, "expected strings by name"),
    ],
)
def test_wrong_encoders(options: dict[str, Any], kind: type[JinaDataError], message: str, tokenizer: Tokenizer) -> None:
    one_line(kind, message, lambda: jina_bert(tokenizer, **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": -1}, "batch_size is -1; expected a whole number above 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5; expected a whole number above 0"),
        ({"truncate_dim": 33}, "truncate_dim is 33; expected a whole number from 1 to 32, the dimensions of the model"),
        ({"max_length": 1}, "max_length is 1; expected at least 3"),
        ({"precision": "int4"}, "precision is 'int4'; expected one of float32, int8, uint8, binary, ubinary"),
        ({"precision": None}, "precision is None"),
        ({"prompt": 5}, "prompt is 5; expected a string, the prefix of each text"),
        ({"prompt_name": "x"}, "no prompt 'x'; the model has: none"),
        ({"device": "bogus"}, "no device 'bogus'"),
    ],
)
def test_wrong_calls(options: dict[str, Any], message: str, encoder: Encoder) -> None:
    one_line(UsageError, message, lambda: encoder.encode(["egg"], **options))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "texts is of type NoneType; expected a string, or a list of strings"),
        (5, "texts is of type int"),
        (b"egg", "texts is of type bytes"),
        ({"egg": 1}, "texts is of type dict"),
        (["egg", ["boil"]], r"text 1 \(counted from 0\) is of type list"),
        (["egg", "boil \ud800"], r"text 1 \(counted from 0\) holds '\\ud800' at character 5, an unpaired surrogate"),
        (["egg"] * 1500 + ["\udfff"], r"text 1500 \(counted from 0\) holds '\\udfff'"),
    ],
)
def test_wrong_texts(texts: Any, message: str, encoder: Encoder) -> None:
    one_line(InputError, message, lambda: encoder.encode(texts))


def test_texts_of_all_kinds_and_none(encoder: Encoder) -> None:
    expected = encoder.encode(["egg", "boil"])
    kinds: list[Any] = [("egg", "boil"), np.array(["egg", "boil"]), iter(["egg", "boil"]), [np.str_("egg"), "boil"]]
    for texts in kinds:
        np.testing.assert_array_equal(encoder.encode(texts), expected)
    nothing = encoder.encode("")
    np.testing.assert_allclose(encoder.encode(["", "  ", "\n\t", "\0"]), np.stack([nothing] * 4), atol=1e-6)
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.encode([], normalize_embeddings=True, convert_to_tensor=True).shape == (0, 32)
    long = jina_bert(encoder.tokenizer, max_length=2048)
    vectors = long.encode(["egg " * 100_000, "egg " * 2046])
    assert long.n_cut == 1
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_similarities_of_invalid_vectors(encoder: Encoder) -> None:
    one_line(UsageError, "with 32 and 5 dimensions", lambda: encoder.similarity(np.ones((1, 32)), np.ones((2, 5))))
    one_line(UsageError, "something else than vectors", lambda: encoder.similarity("egg", "boil"))
    one_line(UsageError, "something else than vectors", lambda: encoder.similarity([], np.ones((2, 5))))


# ---------------------------------------------------------------------------------------------- tokenizers and folders


def test_wrong_tokenizers(tmp_path: Path, encoder: Encoder, saved: Path) -> None:
    one_line(UsageError, "the tokenizer is of type str; expected", lambda: Encoder.from_preset("small", "bert"))  # type: ignore[arg-type]
    (tmp_path / "vocab.txt").write_text("")
    one_line(ModelError, "vocab.txt is empty", lambda: load_tokenizer(tmp_path))
    one_line(InputError, "texts is a string", lambda: train_wordpiece("one text"))
    one_line(InputError, r"text 1 \(counted from 0\) is of type NoneType", lambda: train_wordpiece(["a", None]))  # type: ignore[list-item]
    vocabulary = json.loads((saved / "tokenizer.json").read_text())
    vocabulary["model"]["vocab"]["egg"] = 300  # few words, but a large word id
    (saved / "tokenizer.json").write_text(json.dumps(vocabulary))
    one_line(ModelError, "tokenizer has 301 words, but the model has only 256", lambda: Encoder.from_pretrained(saved))


def test_folders_that_cannot_be_written(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    one_line(RunFolderError, "is a file", lambda: encoder.save_pretrained(tmp_path / "file"))
    one_line(RunFolderError, "cannot be written", lambda: encoder.save_pretrained(tmp_path / "file" / "below"))
    one_line(RunFolderError, "cannot be written", lambda: encoder.save_pretrained("/proc/model"))


SAVING = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[2])]!r}
from tests.support.encoders import WORDS, jina_bert
from jina_data.encoder import save, train_wordpiece
encoder = jina_bert(train_wordpiece([WORDS] * 4, vocab_size=200), max_length=int(sys.argv[2]))
write_json = save.write_json
n_written = 0
def counted(path, value):
    global n_written
    write_json(path, value)
    n_written += 1
    if n_written == int(sys.argv[3]):
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
save.write_json = counted
encoder.save_pretrained(sys.argv[1])
"""


@pytest.mark.parametrize("n_files", [pytest.param(1, marks=pytest.mark.full), 6])
def test_a_save_that_is_killed_leaves_what_was_there(n_files: int, tmp_path: Path, encoder: Encoder) -> None:
    folder, environment = tmp_path / "model", {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", SAVING, str(folder), "50", str(n_files)]
    assert subprocess.run(command, check=False, env=environment).returncode == -signal.SIGKILL
    assert not folder.exists()
    encoder.save_pretrained(folder)
    (folder / "README.md").write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert subprocess.run(command, check=False, env=environment).returncode == -signal.SIGKILL
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    encoder.save_pretrained(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert Encoder.from_pretrained(folder, device="cpu").max_length == 64


def test_both_kinds_check_options(tokenizer: Tokenizer) -> None:
    other = t5(tokenizer)
    one_line(UsageError, "truncate_dim is 33", lambda: other.encode(["egg"], truncate_dim=33))
    assert TINY["hidden_size"] == other.dim == 32

"""The encoder: vectors, saved folders, and the libraries that load them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import oracle_jina_bert as oracle
from tests.support.encoders import TINY, WORDS, jina_bert, t5

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from jina_data.embed.load import load_embedder, model_hashes
from jina_data.encoder import Encoder, JinaBert, JinaBertConfig, train_wordpiece
from jina_data.encoder.batches import padded, token_batches
from jina_data.encoder.load import load_masked_lm, load_model
from jina_data.encoder.tokenizer import load_tokenizer
from jina_data.errors import InputError, ModelError, ResourceError, UsageError
from tests.support.encoders import check_alone

TEXTS = [
    "boil an egg",
    "",
    "Wait!",
    "naïve café",
    "how do i " * 60,
    *(" ".join(WORDS.split()[:n]) for n in range(1, 19)),
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([WORDS, WORDS.lower()] * 4, vocab_size=200)


KINDS = {"jina-bert": jina_bert, "t5": t5}


@pytest.fixture(params=list(KINDS))
def encoder(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> Encoder:
    return KINDS[request.param](tokenizer)


@pytest.fixture
def saved(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    jina_bert(tokenizer).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def close(found: Any, expected: Any, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=atol)


# ----------------------------------------------------------------------------------------------------------- vectors


def test_a_vector_is_the_mean_of_the_oracles_tokens(tokenizer: Tokenizer) -> None:
    encoder = jina_bert(tokenizer)
    weights = encoder.model.state_dict()
    config = encoder.model.config.to_dict()
    for text in ("boil an egg", "", "naïve café, how do I wait?"):
        ids = torch.tensor([tokenizer.encode(text).ids])
        mask = torch.ones_like(ids)
        expected = oracle.pooled(oracle.forward(weights, config, ids, mask), mask)
        close(encoder.encode(text), expected[0])


@pytest.mark.parametrize("batch_size", [None, 1, 2, 7])
def test_order_batches_and_neighbours_change_nothing(encoder: Encoder, batch_size: int | None) -> None:
    alone = np.stack([encoder.encode(text) for text in TEXTS])
    close(encoder.encode(TEXTS, batch_size), alone)
    close(encoder.encode(TEXTS[::-1], batch_size), alone[::-1])
    close(encoder.encode(TEXTS[3:9], batch_size), alone[3:9])


def test_a_text_without_a_finite_vector_spoils_no_other(tokenizer: Tokenizer) -> None:
    encoder = jina_bert(tokenizer, max_length=600)
    texts = ["boil", "an egg", "wait for the kettle", "egg", "water " * 500, "egg " * 550]
    expected = encoder.encode(texts)
    with torch.no_grad():
        encoder.model.get_parameter("embeddings.word_embeddings.weight")[tokenizer.token_to_id("egg")] = torch.inf
    for batch_size in (None, 3):
        found = encoder.encode(texts, batch_size)
        assert np.isfinite(found).all(1).tolist() == ["egg" not in text for text in texts]
        close(found[[0, 2, 4]], expected[[0, 2, 4]])


def test_long_and_short_texts_share_a_batch(tokenizer: Tokenizer) -> None:
    encoder = jina_bert(tokenizer, max_length=2000)
    texts = ["egg " * 900, "boil", "water " * 600, "count " * 600]
    close(encoder.encode(texts), [encoder.encode(text) for text in texts])
    assert encoder.n_cut == 0


def test_options(encoder: Encoder, tokenizer: Tokenizer) -> None:
    expected = encoder.encode(TEXTS)
    assert (expected.shape, expected.dtype) == ((len(TEXTS), 32), np.float32)
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.encode("egg").shape == (32,)
    close(encoder.encode(TEXTS, normalize_embeddings=True), expected / np.linalg.norm(expected, axis=1, keepdims=True))
    close(encoder.encode(TEXTS, truncate_dim=8), expected[:, :8])
    short = encoder.encode(TEXTS, truncate_dim=8, normalize_embeddings=True)
    close(np.linalg.norm(short, axis=1), np.ones(len(TEXTS)))
    close(encoder.encode(["egg"], prompt="boil "), encoder.encode(["boil egg"]))
    tensor = encoder.encode(TEXTS, convert_to_tensor=True)
    assert isinstance(tensor, Tensor)
    close(tensor, expected, atol=0)
    listed = encoder.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(listed, list)
    close(torch.stack(listed), expected, atol=0)
    close(encoder.encode("boil an egg wait count", max_length=5), encoder.encode("boil an egg"))


def test_progress_is_shown_on_request(encoder: Encoder, capsys: pytest.CaptureFixture[str]) -> None:
    encoder.encode(TEXTS)
    assert capsys.readouterr().err == ""
    encoder.encode(TEXTS, show_progress_bar=True)
    assert f"encode: {len(TEXTS)} rows" in capsys.readouterr().err


def test_prompts(tokenizer: Tokenizer, tmp_path: Path) -> None:
    encoder = jina_bert(tokenizer, prompts={"query": "how do i ", "wait": "wait "})
    encoder.save_pretrained(tmp_path / "model")
    for model in (encoder, Encoder.from_pretrained(tmp_path / "model", device="cpu")):
        close(model.encode_query(["boil"]), model.encode(["how do i boil"]))
        close(model.encode_document(["boil"]), model.encode(["boil"]))
        close(model.encode_query(["boil"], prompt="wait "), model.encode(["wait boil"]))
        close(model.encode(["boil"], prompt_name="wait"), model.encode(["wait boil"]))
        with pytest.raises(UsageError, match="no prompt 'other'; the model has: query, wait"):
            model.encode(["boil"], prompt_name="other")


def test_similarity_and_precision_are_those_of_sentence_transformers(tokenizer: Tokenizer) -> None:
    util = pytest.importorskip("sentence_transformers.util")
    encoder = jina_bert(tokenizer)
    left, right = encoder.encode(TEXTS[:5]), encoder.encode(TEXTS[5:10])
    close(encoder.similarity(left, right), util.cos_sim(left, right))
    close(encoder.similarity_pairwise(left, right), util.pairwise_cos_sim(left, right))
    close(encoder.similarity(left[0], list(right)), util.cos_sim(left[0], right))
    for precision in ("binary", "ubinary", "int8", "uint8"):
        expected = util.quantize_embeddings(encoder.encode(TEXTS * 5), precision=precision)
        found = encoder.encode(TEXTS * 5, precision=precision)
        assert found.dtype == expected.dtype
        assert (np.abs(found.astype(int) - expected.astype(int)) <= 1).all()


def test_texts_that_are_cut_are_counted_in_the_log(encoder: Encoder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        encoder.encode(["egg"])
        assert not caplog.records
        encoder.encode(["egg", "egg " * 70, "egg " * 80, "egg " * 62])
    assert caplog.messages == ["2 of 4 texts had more than 64 tokens and were cut"]
    assert encoder.n_cut == 2


@pytest.mark.parametrize(
    ("bad", "message"), [(None, "NoneType"), (7, "int"), (b"egg", "bytes"), (float("nan"), "float")]
)
def test_what_is_not_a_string_is_named(encoder: Encoder, bad: object, message: str) -> None:
    with pytest.raises(InputError, match=rf"text 2 \(counted from 0\) is of type {message}.*expected a string"):
        encoder.encode(["a", "b", bad])  # type: ignore[list-item]


@pytest.mark.parametrize("option", ["batch_size", "max_length", "truncate_dim"])
def test_options_out_of_range(encoder: Encoder, option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} is 0; expected a whole number"):
        encoder.encode(["a"], **{option: 0})  # type: ignore[arg-type]


def test_no_cuda_where_it_is_asked_for(tokenizer: Tokenizer) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ResourceError, match="device 'cuda': no CUDA device"):
        jina_bert(tokenizer, device="cuda")
    with pytest.raises(ResourceError, match="Use 'cpu'"):
        jina_bert(tokenizer).encode(["egg"], device="cuda:1")


@pytest.mark.gpu
def test_a_gpu_gives_nearly_the_vectors_of_a_cpu(tokenizer: Tokenizer) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    for make in (jina_bert, t5):
        expected = make(tokenizer).encode(TEXTS)
        for dtype, limit in (("float32", 1e-4), ("bfloat16", 1e-2)):
            found = make(tokenizer, device="cuda", dtype=dtype).encode(TEXTS)
            assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < limit


def test_half_precision_on_a_cpu(encoder: Encoder) -> None:
    expected = encoder.encode(TEXTS)
    encoder.model.to(torch.bfloat16)
    found = encoder.encode(TEXTS)
    assert found.dtype == np.float32
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 2e-2


def test_token_batches() -> None:
    lengths = np.array([3, 10, 1, 7, 7, 2])
    assert [batch.tolist() for batch in token_batches(lengths, token_budget=14)] == [[1], [3, 4], [0, 5, 2]]
    assert [len(batch) for batch in token_batches(lengths, token_budget=14, batch_size=1)] == [1] * 6
    assert [batch.tolist() for batch in token_batches(lengths, token_budget=1)] == [[1], [3], [4], [0], [5], [2]]
    assert list(token_batches(np.array([], np.int64), token_budget=5)) == []
    ids, mask = padded([np.array([5, 6], np.int32), np.array([], np.int32)], 9)
    assert (ids.tolist(), mask.tolist()) == ([[5, 6], [9, 9]], [[1, 1], [0, 0]])


def test_presets(tokenizer: Tokenizer) -> None:
    encoder = Encoder.from_preset("small", tokenizer, seed=3, device="cpu")
    assert (encoder.dim, encoder.max_length, encoder.model.config.vocab_size % 64) == (512, 8192, 0)
    again = Encoder.from_preset("small", tokenizer, seed=3, device="cpu")
    close(encoder.encode(["egg"]), again.encode(["egg"]), atol=0)
    for arguments, message in ((("huge",), "no preset 'huge'"), (("small", "gpt"), "no model of kind 'gpt'")):
        with pytest.raises(UsageError, match=message):
            Encoder.from_preset(arguments[0], tokenizer, kind=arguments[-1] if len(arguments) > 1 else "jina-bert")


# ----------------------------------------------------------------------------------------------------------- folders


def test_what_is_saved_is_loaded(encoder: Encoder, tmp_path: Path) -> None:
    expected = encoder.encode(TEXTS)
    for _ in range(2):  # a folder may be written again
        encoder.save_pretrained(tmp_path / "deep" / "model")
    again = Encoder.from_pretrained(tmp_path / "deep" / "model", device="cpu")
    assert (again.max_length, again.dim) == (64, 32)
    close(again.encode(TEXTS), expected, atol=0)
    assert not [path for path in (tmp_path / "deep").rglob("*") if path.name.endswith(".tmp")]


def test_saving_in_half_precision_writes_full_precision(tokenizer: Tokenizer, tmp_path: Path) -> None:
    encoder = jina_bert(tokenizer, dtype="bfloat16")
    encoder.save_pretrained(tmp_path / "model")
    assert {weight.dtype for weight in load_file(tmp_path / "model" / "model.safetensors").values()} == {torch.float32}
    assert {weight.dtype for weight in encoder.model.parameters()} == {torch.bfloat16}


def official(folder: Path, *, prefix: str = "", half: bool = True, **changes: Any) -> dict[str, Tensor]:
    """Write random weights like a published folder: half precision, names with `bert`, its own tokenizer."""
    published = {
        **{"model_type": "bert", "architectures": ["JinaBertForMaskedLM"], "vocab_size": 256, "type_vocab_size": 2},
        **{"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.1, "layer_norm_eps": 1e-12, **TINY},
        **{
            "position_embedding_type": "alibi",
            "feed_forward_type": "geglu",
            "emb_pooler": "mean",
            "hidden_act": "gelu",
        },
        **{"max_position_embeddings": 8192, "_name_or_path": "jinaai/jina-bert-implementation", **changes},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(published))
    weights = oracle.random_weights(published, 1, mlm_head=True)
    named = {(name if name.startswith("cls.") else prefix + name): one for name, one in weights.items()}
    save_file({name: one.half() if half else one for name, one in named.items()}, folder / "model.safetensors")
    return {name: one.half().float() if half else one for name, one in weights.items()}


def official_folder(folder: Path, tokenizer: Tokenizer, *, files: str) -> dict[str, Tensor]:
    """Write a folder with all files of a published model, with random weights."""
    code = "jinaai/jina-bert-implementation--"
    said: dict[str, Any] = {
        "auto_map": {
            "AutoConfig": f"{code}configuration_bert.JinaBertConfig",
            "AutoModel": f"{code}modeling_bert.JinaBertModel",
            "AutoModelForMaskedLM": f"{code}modeling_bert.JinaBertForMaskedLM",
        },
        **{"torch_dtype": "float16", "transformers_version": "4.26.0", "use_cache": True, "classifier_dropout": None},
        **{"gradient_checkpointing": False, "model_max_length": 8192, "initializer_range": 0.02, "pad_token_id": 0},
    }
    kept = official(folder, **said)
    if files == "old":
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in words), encoding="utf-8")
    else:
        tokenizer.save(str(folder / "tokenizer.json"))
    base = "sentence_transformers.models"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{base}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{base}.Pooling"},
    ]
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    pooling = {"word_embedding_dimension": 32, **{f"pooling_mode_{mode}": mode == "mean_tokens" for mode in modes}}
    (folder / "1_Pooling").mkdir()
    for name, values in {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": 8192, "do_lower_case": False},
        "config_sentence_transformers.json": {"__version__": {"sentence_transformers": "2.2.2"}},
        "special_tokens_map.json": {"pad_token": "[PAD]"},
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "model_max_length": 2147483648},
    }.items():
        (folder / name).write_text(json.dumps(values))
    return kept


@pytest.mark.parametrize("files", ["new", "old"])
def test_a_published_folder_from_python_and_the_command_line(
    files: str, tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sentence_transformers")
    import pyarrow.parquet as pq
    from click.testing import CliRunner

    from jina_data.cli import cli

    folder = tmp_path / "jina-embeddings-v2-small-en"
    weights = official_folder(folder, tokenizer, files=files)
    encoder = Encoder.from_pretrained(folder, device="cpu")
    assert (encoder.max_length, encoder.dtype, encoder.prompts) == (8192, torch.float32, {})
    config = json.loads((folder / "config.json").read_text())
    body = {name: weight for name, weight in weights.items() if not name.startswith("cls.")}
    texts = ["boil an egg", "Wait!"]
    for text, found in zip(texts, encoder.encode(texts), strict=True):
        ids = torch.tensor([tokenizer.encode(text).ids])
        close(found, oracle.pooled(oracle.forward(body, config, ids, torch.ones_like(ids)), torch.ones_like(ids))[0])

    (tmp_path / "texts.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts))
    call = ["encode", str(tmp_path / "texts.jsonl"), "-o", str(tmp_path / "v.parquet"), "--model", str(folder)]
    assert CliRunner().invoke(cli, call, catch_exceptions=False).exit_code == 0
    written = pq.read_table(tmp_path / "v.parquet")["vector"].to_pylist()
    close(written, encoder.encode(texts, normalize_embeddings=True))
    encoder.save_pretrained(tmp_path / "saved")
    close(Encoder.from_pretrained(tmp_path / "saved", device="cpu").encode(texts), encoder.encode(texts), atol=0)


@pytest.mark.parametrize("name", ["jina-bert-v2-qk-post-norm", "jina-embeddings-v2-base-code"])
def test_published_folders_with_norms_are_refused_by_name(name: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    official_folder(tmp_path / "model", tokenizer, files="new")
    changed(auto_map={"AutoModel": f"jinaai/{name}--modeling_bert.JinaBertModel"})(tmp_path / "model")
    with pytest.raises(ModelError, match="norms on queries and keys"):
        Encoder.from_pretrained(tmp_path / "model", device="cpu")


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("half", [True, False])
def test_the_published_layout_gives_the_vectors_of_the_oracle(
    tmp_path: Path, tokenizer: Tokenizer, prefix: str, half: bool
) -> None:
    weights = official(tmp_path, prefix=prefix, half=half)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = Encoder.from_pretrained(tmp_path, device="cpu")
    assert {weight.dtype for weight in encoder.model.parameters()} == {torch.float32}
    assert encoder.max_length == 8192
    config = json.loads((tmp_path / "config.json").read_text())
    ids = torch.tensor([encoder.tokenizer.encode("boil an egg").ids])
    body = {name: weight for name, weight in weights.items() if not name.startswith("cls.")}
    expected = oracle.pooled(oracle.forward(body, config, ids, torch.ones_like(ids)), torch.ones_like(ids))
    close(encoder.encode("boil an egg"), expected[0])


def test_the_published_head_gives_the_logits_of_the_oracle(tmp_path: Path) -> None:
    weights = official(tmp_path, prefix="bert.", half=False)
    model = load_masked_lm(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    ids, mask = torch.tensor([[3, 9, 200, 17]]), torch.ones(1, 4, dtype=torch.long)
    body = {name: weight for name, weight in weights.items() if not name.startswith("cls.")}
    expected = oracle.mlm_logits(weights, config, oracle.forward(body, config, ids, mask))
    torch.testing.assert_close(model(ids, mask).double(), expected, rtol=0, atol=1e-4)

    stored = load_file(tmp_path / "model.safetensors")
    words = stored["bert.embeddings.word_embeddings.weight"]
    save_file({**stored, "cls.predictions.decoder.weight": words.clone()}, tmp_path / "model.safetensors")
    load_masked_lm(tmp_path)
    save_file({**stored, "cls.predictions.decoder.weight": words + 1}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"cls.predictions.decoder.weight differs from bert.embeddings"):
        load_masked_lm(tmp_path)


def broken_missing(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.mlp.wo.bias"]
    weights["encoder.layer.0.intermediate.dense.weight"] = torch.zeros(2)
    save_file(weights, folder / "model.safetensors")


def broken_shape(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["pooler.dense.bias"] = torch.zeros(7)
    save_file(weights, folder / "model.safetensors")


def broken_norm(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.0.attention.self.layer_norm_q.weight"] = torch.ones(32)
    save_file(weights, folder / "model.safetensors")


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def changed(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def without(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def written(name: str, text: str) -> Any:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            broken_missing,
            r"missing: encoder.layer.1.mlp.wo.bias; unexpected: encoder.layer.0.intermediate.dense.weight",
        ),
        (broken_shape, r"pooler.dense.bias has shape \(7,\); expected \(32,\) by config.json"),
        (broken_norm, "norms on queries and keys .* not supported"),
        (changed(_name_or_path="jinaai/jina-bert-v2-qk-post-norm"), "norms on queries and keys"),
        (changed(num_hidden_layers=3), r"missing: encoder.layer.2.attention.self.query.weight.* and \d+ more"),
        (truncated, r"model.safetensors \([\d,]+ bytes\) is truncated or broken.*again"),
        (written("model.safetensors", ""), "truncated or broken"),
        (
            without("model.safetensors"),
            "has no pytorch_model.bin; expected the weights of the model in model.safetensors",
        ),
        (without("config.json"), "has no config.json"),
        (written("config.json", "{"), "config.json is not JSON"),
        (written("config.json", "[]"), "holds list; expected a JSON object"),
        (changed(num_attention_heads=5), "hidden_size 32 cannot be divided among 5 heads"),
        (changed(hidden_act="relu"), "hidden_act is 'relu'; JinaBERT has 'gelu'"),
        (changed(model_type="roberta"), "model_type 'roberta'.*expected JinaBERT"),
        (
            changed(position_embedding_type="absolute", model_type="bert"),
            "'bert' and position_embedding_type 'absolute'",
        ),
        (without("tokenizer.json"), "has no tokenizer: expected tokenizer.json or vocab.txt"),
        (written("tokenizer.json", "{}"), "cannot be read as a tokenizer"),
        (written("1_Pooling/config.json", '{"pooling_mode_cls_token": true}'), "another pooling; expected the mean"),
        (written("1_Pooling/config.json", '{"pooling_mode": "cls"}'), "another pooling; expected the mean"),
        (written("modules.json", '[{"type": "a.Transformer", "path": ""}, {"type": "a.Dense", "path": "2"}]'), "Dense"),
        (written("modules.json", "7"), "modules.json is broken"),
    ],
)
def test_broken_folders_give_one_clear_error(saved: Path, damage: Any, message: str) -> None:
    damage(saved)
    with pytest.raises(ModelError, match=message) as raised:
        Encoder.from_pretrained(saved, device="cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "no such folder"),
        ("jinaai/jina-embeddings-v2-base-code", "norms on queries and keys"),
        ("jinaai/jina-embeddings-v2-base-de", "norms on queries and keys"),
        ("nobody/nothing", "no route to the hub.*neither|neither a folder nor a model.*no route to the hub"),
    ],
)
def test_unusable_names(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*args: object, **options: object) -> str:
        raise OSError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelError, match=message):
        Encoder.from_pretrained(name)


def test_old_weights_load(saved: Path) -> None:
    expected = Encoder.from_pretrained(saved, device="cpu").encode(TEXTS)
    torch.save(load_file(saved / "model.safetensors"), saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    close(Encoder.from_pretrained(saved, device="cpu").encode(TEXTS), expected, atol=0)


def test_weights_in_several_files_load(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    names = sorted(weights)
    places = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(names)}
    for place in set(places.values()):
        save_file({name: weights[name] for name in names if places[name] == place}, saved / place)
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert load_model(saved).state_dict().keys() == weights.keys()


# --------------------------------------------------------------------------------------------------------- tokenizers


def test_wordpiece_is_trained_with_the_rules_of_bert(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]
    encoded = tokenizer.encode("Boil an EGG, naïve!")
    assert encoded.tokens[0] == "[CLS]"
    assert encoded.tokens[-1] == "[SEP]"
    assert tokenizer.decode(encoded.ids) == "boil an egg, naive!"
    pair = tokenizer.encode("boil", "egg")
    assert pair.type_ids == [0] * 3 + [1] * 2
    assert tokenizer.encode("boil [MASK]").tokens == ["[CLS]", "boil", "[MASK]", "[SEP]"]
    assert tokenizer.encode("☃").tokens == ["[CLS]", "[UNK]", "[SEP]"]
    assert train_wordpiece([WORDS], lowercase=False, min_frequency=1).encode("München").tokens[1:-1] == ["München"]
    with pytest.raises(InputError, match="no words"):
        train_wordpiece([])


def test_wordpiece_tokens_are_those_of_transformers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in vocabulary), encoding="utf-8")
    loaded = load_tokenizer(tmp_path)
    theirs = transformers.BertTokenizer(vocab=str(tmp_path / "vocab.txt"))
    for text in [*TEXTS, "水 is water", "a\tb\x00c", "[SEP] inside"]:
        assert loaded.encode(text).ids == theirs(text)["input_ids"] == tokenizer.encode(text).ids
    (tmp_path / "vocab.txt").write_text("one\ntwo\n")
    with pytest.raises(ModelError, match=r"lacks \[PAD\]"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(tokenizer: Tokenizer) -> None:
    config = JinaBertConfig(vocab_size=20, **TINY)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"the tokenizer has \d+ words, but the model has only 20 vectors"):
        Encoder(JinaBert(config), tokenizer)


# ---------------------------------------------------------------------------------------------------------- libraries


STOCK = """
import sys
sys.modules["jina_data"] = None  # the saved code must not need it
import json, numpy as np
from sentence_transformers import SentenceTransformer
folder, texts = sys.argv[1], json.loads(sys.argv[2])
np.save(folder + "/t5.npy", SentenceTransformer(folder + "/t5", device="cpu").encode(texts))
try:
    SentenceTransformer(folder + "/jina-bert", device="cpu")
except ValueError as error:
    assert "trust_remote_code=True" in str(error), error
model = SentenceTransformer(folder + "/jina-bert", device="cpu", trust_remote_code=True)
assert model.max_seq_length == 64 and model.get_embedding_dimension() == 32
np.save(folder + "/jina-bert.npy", model.encode(texts))
model.save(folder + "/resaved", create_model_card=False)
"""


def test_stock_sentence_transformers_gives_the_same_vectors(tokenizer: Tokenizer, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    for kind, make in KINDS.items():
        make(tokenizer).save_pretrained(tmp_path / kind)
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", STOCK, str(tmp_path), json.dumps(TEXTS)]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path, capture_output=True)
    for kind, make in KINDS.items():
        close(np.load(tmp_path / f"{kind}.npy"), make(tokenizer).encode(TEXTS))
    resaved = Encoder.from_pretrained(tmp_path / "resaved", device="cpu")
    close(resaved.encode(TEXTS), jina_bert(tokenizer).encode(TEXTS))


def test_registered_models_need_no_flag(saved: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from jina_data.encoder import register

    register()
    register()
    model = sentence_transformers.SentenceTransformer(str(saved), device="cpu")
    assert type(model[0].auto_model).__module__ == "jina_data.encoder.jina_bert_hf"
    close(model.encode(TEXTS), Encoder.from_pretrained(saved, device="cpu").encode(TEXTS))


def test_registered_models_train_with_transformers(saved: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from jina_data.encoder import register

    register()
    model = transformers.AutoModel.from_pretrained(saved).train()
    model.gradient_checkpointing_enable()
    ids = torch.tensor([[2, 9, 17, 3]])
    model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.sum().backward()
    assert model.encoder.checkpoints
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


def test_the_embedder_of_a_saved_model_depends_on_the_text_alone(encoder: Encoder, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    encoder.save_pretrained(tmp_path / "model")
    embedder = load_embedder(str(tmp_path / "model"))
    assert type(embedder).__name__ == "EncoderEmbedder"
    check_alone(embedder, [*TEXTS, "egg " * 20, "egg water " * 25], 3)
    close(embedder.encode(TEXTS).astype(np.float32), encoder.encode(TEXTS, normalize_embeddings=True), atol=1e-3)
    assert embedder.model_id.startswith("encoder-cpu-float32-")
    assert "model/model.safetensors" in model_hashes(str(tmp_path / "model"))


def test_a_limited_embedder_reads_the_first_tokens(encoder: Encoder, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from jina_data.embed.limited import limited

    encoder.save_pretrained(tmp_path / "model")
    embedder = load_embedder(str(tmp_path / "model"))
    texts = ["egg water " * 30, "egg"]
    short = limited(embedder, 6)
    expected = encoder.encode(texts, max_length=6, normalize_embeddings=True)
    close(short.encode(texts).astype(np.float32), expected, atol=1e-3)
    assert (short.max_tokens, short.model_id) == (6, f"{embedder.model_id}-6")
    close(embedder.encode(texts).astype(np.float32), encoder.encode(texts, normalize_embeddings=True), atol=1e-3)


def test_the_embedder_of_long_texts(tokenizer: Tokenizer, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    jina_bert(tokenizer, max_length=1500).save_pretrained(tmp_path / "model")
    embedder = load_embedder(str(tmp_path / "model"))
    texts = ["egg " * 700, "boil", "egg " * 600, "wait " * 700, "egg " * 2000]
    check_alone(embedder, texts, 5)
    cut = np.zeros(len(texts), np.bool_)
    embedder.encode(texts, cut=cut)
    assert cut.tolist() == [False, False, False, False, True]
    assert embedder.max_tokens == 1500


def test_a_published_jina_bert_is_never_loaded_as_bert(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Otherwise sentence-transformers would load its own BERT, with most weights random."""
    pytest.importorskip("sentence_transformers")
    official(tmp_path / "v2")
    tokenizer.save(str(tmp_path / "v2" / "tokenizer.json"))
    embedder = load_embedder(str(tmp_path / "v2"))
    expected = Encoder.from_pretrained(tmp_path / "v2", device="cpu").encode(TEXTS, normalize_embeddings=True)
    close(embedder.encode(TEXTS).astype(np.float32), expected, atol=1e-3)


# -------------------------------------------------------------------------------------------------------------- graphs


def some_batch(n_texts: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, width + 1, (n_texts,), generator=generator)
    lengths[0] = width
    mask = (torch.arange(width) < lengths[:, None]).long()
    return torch.randint(5, 60, mask.shape, generator=generator), mask


SIZES = [(1, 2), (2, 5), (5, 70), (1, 900)]
ONNX_SIZES = [(1, 1), (3, 2), (1, 7), (3, 64), (1, 513), (3, 2048)]
"""Texts and tokens; the graph is traced with (3, 7)."""


@pytest.mark.parametrize("encoder", [pytest.param("jina-bert", marks=pytest.mark.full), "t5"], indirect=True)
def test_the_exported_graph_takes_any_length(encoder: Encoder) -> None:
    from jina_data.encoder.onnx import PooledModel, trace

    graph = trace(encoder).module()
    for number, (n_texts, width) in enumerate(SIZES):
        batch = some_batch(n_texts, width, number)
        with torch.no_grad():
            close(graph(*batch), PooledModel(encoder.model)(*batch))


@pytest.mark.parametrize("encoder", ["jina-bert", pytest.param("t5", marks=pytest.mark.full)], indirect=True)
def test_the_onnx_graph_takes_any_length(encoder: Encoder, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    import warnings

    from jina_data.encoder.onnx import INPUTS, OUTPUT, PooledModel, export_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        session = runtime.InferenceSession(export_onnx(encoder, tmp_path / "model.onnx"))
    for number, (n_texts, width) in enumerate(ONNX_SIZES):
        batch = some_batch(n_texts, width, number)
        (found,) = session.run([OUTPUT], {name: one.numpy() for name, one in zip(INPUTS, batch, strict=True)})
        with torch.no_grad():
            close(found, PooledModel(encoder.model)(*batch))


def test_onnx_names_the_packages_it_lacks(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jina_data.encoder import onnx
    from jina_data.errors import MissingExtraError

    monkeypatch.setattr(onnx, "find_spec", {}.get)
    with pytest.raises(MissingExtraError, match="pip install onnx onnxscript"):
        onnx.export_onnx(encoder, tmp_path / "model.onnx")

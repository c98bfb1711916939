"""The stage consistency: every row against a plain float64 reference, on real pairs and on constructed cases."""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import json
from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jina_data import Pipeline
from jina_data.clean.report import CleanReport
from jina_data.embed.load import load_embedder
from jina_data.errors import RecipeError, StoppedError
from jina_data.kernels import rank
from jina_data.kernels.keys import content_keys
from jina_data.kernels.rank import Exclusions, count_ranks, dots
from jina_data.stages import Where, base
from jina_data.stages.consistency import Consistency
from jina_data.stages.rows import Rows, View
from tests.support.files import write_parquet

DEMO = Path(__file__).parents[1] / "data" / "demo"
TORCH = [None, pytest.param("cpu", marks=pytest.mark.skipif(find_spec("torch") is None, reason="needs torch"))]


# ------------------------------------------------------------------------------------------------- reference


class Reference:
    """A plain implementation of the stage, with dictionaries and float64 sums."""

    def __init__(self, rows: Sequence[tuple[str, str, str]], stage: Consistency, seed: int = 0) -> None:
        anchors, positives, sources = map(list, zip(*rows, strict=True))
        embedder = load_embedder(stage.embedder)
        self.of_anchor = embedder.encode([(stage.anchor_prompt or "") + text for text in anchors]).astype(np.float64)
        self.of_positive = embedder.encode([(stage.positive_prompt or "") + text for text in positives]).astype(
            np.float64
        )
        anchor_keys, positive_keys = _keys(anchors), _keys(positives)
        hashes = [one[0] for one in _keys(positives, seed)]
        siblings: dict[Any, set[Any]] = {}
        first: dict[str, dict[Any, int]] = {}
        parts = sources if stage.pool_by == "source" else ["*"] * len(rows)
        for row, (anchor, positive) in enumerate(zip(anchor_keys, positive_keys, strict=True)):
            siblings.setdefault(anchor, set()).add(positive)
            first.setdefault(parts[row], {}).setdefault(positive, row)
        pools = {
            part: sorted(contents.items(), key=lambda one: (hashes[one[1]], one[1]))[: stage.pool_size]
            for part, contents in first.items()
        }
        vectors = {part: self.of_positive[[row for _, row in pool]] for part, pool in pools.items()}
        places = {part: {content: at for at, (content, _) in enumerate(pool)} for part, pool in pools.items()}
        self.similarity = (self.of_anchor * self.of_positive).sum(1)
        self.rank, self.margin = np.zeros(len(rows), np.int32), np.full(len(rows), np.nan)
        for part, pool in vectors.items():
            mine = [row for row in range(len(rows)) if parts[row] == part]
            for block in np.array_split(mine, 1 + len(mine) // 500):
                products = self.of_anchor[block] @ pool.T
                for row, line in zip(block.tolist(), products, strict=True):
                    none = [at for one in siblings[anchor_keys[row]] if (at := places[part].get(one)) is not None]
                    line[none] = -np.inf
                    count = int((line > self.similarity[row]).sum())
                    self.rank[row] = 1 + min(count, stage.rank_cap)
                    if count < stage.rank_cap and len(line) > len(none):
                        self.margin[row] = self.similarity[row] - line.max()


def static(**settings: Any) -> Consistency:
    """Return the stage with the static model, whose decisions the reference repeats."""
    return Consistency(embedder="static", **settings)


def _keys(texts: list[str], seed: int | None = None) -> list[tuple[int, int]]:
    keys = content_keys([pa.array(texts)], case=True, whitespace=True, seed=seed).tolist()
    return [(high, low) for high, low in keys]


def run(folder: Path, rows: Sequence[tuple[Any, ...]], stage: Consistency, **options: Any) -> CleanReport:
    """Run the stage over (anchor, positive, source) in two files."""
    kind = pa.schema([("anchor", pa.string()), ("positive", pa.string()), ("source", pa.string())])
    rows = [(*row, "here")[:3] for row in rows]
    half = options.pop("cut", len(rows) // 3)
    files = []
    for number, some in enumerate((rows[:half], rows[half:])):
        table = [dict(zip(kind.names, row, strict=True)) for row in some]
        path = folder / f"{number}.parquet"
        files.append(path if path.exists() else write_parquet(path, table, kind))
    seed = options.pop("seed", 0)
    pipeline = Pipeline(stage, columns={"anchor": "anchor", "positive": "positive", "source": "source"}, seed=seed)
    return pipeline.run(files, folder / options.pop("out", "out"), device="cpu", **options)


def read(report: CleanReport, part: str) -> pa.Table:
    assert report.path is not None
    return pa.concat_tables(pq.read_table(path) for path in sorted((report.path / part).rglob("*.parquet")))


def check(report: CleanReport, rows: Sequence[tuple[Any, ...]], stage: Consistency, seed: int = 0) -> Reference:
    """Compare a run with the reference, row by row, without any tolerance."""
    expected = Reference([(row[0] or "", row[1] or "", (*row, "here")[2]) for row in rows], stage, seed)
    scores, ledger = read(report, "scores"), read(report, "ledger")
    assert len(scores) == len(rows)
    np.testing.assert_array_equal(scores["rank"].to_numpy(), expected.rank)
    np.testing.assert_array_equal(scores["similarity"].to_numpy(), expected.similarity)
    np.testing.assert_array_equal(scores["margin"].to_numpy(), expected.margin)
    kept = expected.rank <= stage.top_k
    np.testing.assert_array_equal(ledger["kept"].to_numpy(), kept)
    assert {one for one in ledger["reason"].to_pylist() if one} <= {"inconsistent"}
    np.testing.assert_array_equal(ledger["score"].to_numpy(), np.where(kept, np.nan, expected.rank))
    return expected


def torn(rows: Sequence[tuple[str, str]], seed: int = 0) -> tuple[list[tuple[str, str]], npt.NDArray[np.bool_]]:
    """Shuffle 30 % of the positives; also return which rows got another positive."""
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(rows))[: int(0.3 * len(rows))])
    origin = np.arange(len(rows))
    origin[some] = rng.permutation(some)
    return [(rows[i][0], rows[j][1]) for i, j in enumerate(origin.tolist())], origin != np.arange(len(rows))


def pairs_of(path: Path, anchor: str = "anchor", positive: str = "positive") -> list[tuple[str, str]]:
    table = pq.read_table(path, columns=[anchor, positive])
    return list(zip(table[anchor].to_pylist(), table[positive].to_pylist(), strict=True))


@pytest.fixture(scope="session")
def demo() -> list[tuple[Any, ...]]:
    """Return questions and answers with their collection: real rows, some repeated, some broken."""
    found = []
    with gzip.open(DEMO / "questions.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            with contextlib.suppress(json.JSONDecodeError):  # some lines are broken on purpose
                found.append(json.loads(line))
    whole = [row for row in found if isinstance(row, dict)]
    rows = [(row.get("question"), row.get("answer"), row.get("source") or "none") for row in whole]
    return [row for row in rows if all(one is None or isinstance(one, str) for one in row)]


# ------------------------------------------------------------------------------------------------ whole runs


@pytest.mark.parametrize(
    "stage",
    [
        static(),
        static(top_k=1, rank_cap=1),
        static(pool_size=100, top_k=3),
        static(pool_by="source", pool_size=30, rank_cap=7),
        static(anchor_prompt="question: ", positive_prompt="answer: ", rank_cap=10),
    ],
)
def test_every_row_is_as_the_reference_has_it(tmp_path: Path, demo: list[tuple[Any, ...]], stage: Consistency) -> None:
    report = run(tmp_path, demo, stage, seed=3)
    expected = check(report, demo, stage, seed=3)
    assert (expected.rank <= stage.top_k).any()
    assert (expected.rank > stage.rank_cap).any()


def test_torn_pairs_fall(tmp_path: Path, demo: list[tuple[Any, ...]]) -> None:
    commands = [row for row in pairs_of_csv() if row[0] and row[1]]
    rows, moved = torn(commands)
    expected = check(run(tmp_path, rows, static()), rows, static())
    assert (expected.rank[moved] > 2).mean() > 0.95


def pairs_of_csv() -> list[tuple[str, str]]:
    with (DEMO / "commands.csv").open(encoding="utf-8", newline="") as lines:
        return [(row["question"], row["answer"]) for row in csv.DictReader(lines) if row["lang"] == "en"]


CATS = [("cats", "cats sleep all day"), ("dogs", "dogs bark at night"), ("rain", "rain falls in spring")]


@pytest.mark.parametrize(
    ("rows", "ranks"),
    [
        pytest.param([("cats", "cats sleep all day")], [1], id="one row"),
        pytest.param([("cats", "dogs bark at night"), *CATS], [2, 1, 1, 1], id="a positive of its anchor competes not"),
        pytest.param([("cats", "dogs bark"), ("Cats ", "cats cats"), ("fish", "cats sleep")], None, id="folded anchor"),
        pytest.param([("cats", "a mat"), ("dogs", "cats"), ("rain", "CATS ")], None, id="folded positives are one"),
        pytest.param([("cats", f"text {n} of many") for n in range(9)], [1] * 9, id="one anchor"),
        pytest.param([("", ""), (None, None), ("cats", None), (None, "cats")], None, id="nothing to embed"),
        pytest.param([*CATS, *CATS], [1] * 6, id="duplicates"),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"pool_size": 2}, {"rank_cap": 2}])
def test_small_cases(
    tmp_path: Path, rows: list[tuple[Any, ...]], ranks: list[int] | None, settings: dict[str, Any]
) -> None:
    stage = static(**settings)
    expected = check(run(tmp_path, rows, stage), rows, stage)
    if ranks is not None and ranks[0] == 1:
        assert expected.rank.tolist() == ranks


def test_nothing_gets_there(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "rows.parquet", [{"anchor": "a", "positive": "b"}] * 3)
    report = Pipeline(Where(expression="false"), static()).run(path, tmp_path / "out", device="cpu")
    assert [(stage.rows_in, stage.rows_out) for stage in report.stages] == [(3, 0), (0, 0)]


def test_no_rows(tmp_path: Path) -> None:
    report = run(tmp_path, [], static())
    assert report.rows.read == 0


def test_ties_are_no_competitors(tmp_path: Path) -> None:
    texts = ["cat dog", "dog cat"]
    same = load_embedder("static").encode(texts)
    assert (same[0] == same[1]).all()
    rows = [("cat", texts[0]), ("dog", texts[1]), ("rain", "it rains")]
    stage = static(top_k=1)
    expected = check(run(tmp_path, rows, stage), rows, stage)
    assert expected.rank.tolist() == [1, 1, 1]
    assert expected.margin[:2].tolist() == [0.0, 0.0]


def test_the_pool_is_the_smallest_seeded_hashes(tmp_path: Path, demo: list[tuple[Any, ...]]) -> None:
    stage = static(pool_size=50, rank_cap=49)
    ranks = [check(run(tmp_path, demo, stage, seed=s, out=f"out{s}"), demo, stage, seed=s).rank for s in (1, 2)]
    assert (ranks[0] != ranks[1]).any()


def digest(report: CleanReport) -> dict[str, str]:
    assert report.path is not None
    return {
        str(path.relative_to(report.path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for part in ("data", "dropped", "ledger", "scores")
        for path in sorted((report.path / part).rglob("*.parquet"))
    }


def test_batches_and_workers_do_not_change_a_byte(tmp_path: Path, demo: list[tuple[Any, ...]]) -> None:
    stage = static(pool_size=300)
    rows = demo[:700]
    ways: list[dict[str, Any]] = [{}, {"batch_rows": 7}, {"batch_rows": 100, "workers": 2}]
    found = [digest(run(tmp_path, rows, stage, out=f"out{n}", **way)) for n, way in enumerate(ways)]
    assert found[0]
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_a_stopped_run_goes_on(tmp_path: Path, demo: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    stage, rows = static(pool_size=300), demo[:700]
    whole = digest(run(tmp_path, rows, stage, out="whole"))
    apply, calls = Consistency.apply, list[int]()

    def stop(self: Consistency, some: Rows, seen: base.FitResult, context: base.Context) -> base.Outcome:
        calls.append(len(some))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return apply(self, some, seen, context)

    monkeypatch.setattr(Consistency, "apply", stop)
    with pytest.raises(StoppedError):
        run(tmp_path, rows, stage, out="stopped")
    # What was embedded stays; only a new text would be.
    monkeypatch.setattr(type(load_embedder("static")), "encode", lambda *_: pytest.fail("embedded again"))
    assert digest(run(tmp_path, rows, stage, out="stopped")) == whole


def test_vectors_are_taken_over_from_an_earlier_run(
    tmp_path: Path, demo: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = demo[:400]
    old = run(tmp_path, rows, static(), out="old")
    stage = static(pool_size=99, top_k=5)
    fresh = digest(run(tmp_path, rows, stage, out="fresh"))
    monkeypatch.setattr(type(load_embedder("static")), "encode", lambda *_: pytest.fail("embedded again"))
    assert old.path is not None
    assert digest(run(tmp_path, rows, stage, out="again", reuse=old.path)) == fresh


# -------------------------------------------------------------------------------------------------- settings


def test_rank_cap_holds_top_k() -> None:
    with pytest.raises(ValueError, match=r"rank_cap \(3\) must be at least top_k \(5\)"):
        static(top_k=5, rank_cap=3)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"anchor": ("a",)}, "no role 'positive'"),
        ({"anchor": ("a",), "positive": ("many",)}, "positive must be one column with one text a row; it is many"),
        ({"anchor": ("a", "b"), "positive": ("b",)}, "anchor must be one column with one text a row; it is a, b"),
    ],
)
def test_roles_it_needs(roles: dict[str, tuple[str, ...]], message: str) -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.string()), ("many", pa.list_(pa.string()))])
    with pytest.raises(RecipeError, match=message):
        static().after(View(schema, roles))


# ---------------------------------------------------------------------------------------------------- kernels


def halves(rng: np.random.Generator, n: int, dim: int) -> npt.NDArray[np.float16]:
    """Return unit vectors in clusters, some equal, some zero."""
    centres = rng.standard_normal((7, dim))
    vectors = centres[rng.integers(0, 7, n)] + 0.3 * rng.standard_normal((n, dim))
    vectors[rng.random(n) < 0.1] = vectors[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[rng.random(n) < 0.02] = 0
    return vectors.astype(np.float16)


@pytest.mark.parametrize("torch_device", [*TORCH, pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("cap", [1, 2, 20, 100_000])
@pytest.mark.parametrize(("n", "n_pool", "dim"), [(1, 1, 8), (40, 63, 16), (1300, 5000, 64), (700, 2500, 384)])
def test_counting(n: int, n_pool: int, dim: int, cap: int, torch_device: str | None) -> None:
    if torch_device == "cuda":
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
    rng = np.random.default_rng(n + dim)
    anchors, pool = halves(rng, n, dim), halves(rng, n_pool, dim)
    # Half of the limits lie on products of the pool or next to them, where single precision cannot tell.
    products = anchors.astype(np.float64) @ pool.astype(np.float64).T
    own = products[np.arange(n), rng.integers(0, n_pool, n)]
    own[::4] = np.nextafter(own[::4], 2)
    own[1::4] = products[1::4].max(1) - 0.01
    sets = [np.sort(rng.permutation(n_pool)[: rng.integers(0, min(9, n_pool) + 1)]) for _ in range(n)]
    ends = np.cumsum([len(one) for one in sets])
    excluded = Exclusions(
        np.concatenate([[0], ends[:-1]]).astype(np.int64), ends, np.concatenate(sets).astype(np.int64)
    )
    first, behind = (0, n_pool) if n_pool < 100 else (17, n_pool - 5)
    ranks = count_ranks(
        *(anchors, own, lambda start, stop: pool[start:stop], excluded),
        span=(first, behind),
        cap=cap,
        torch_device=torch_device,
    )
    for row, none in enumerate(sets):
        products[row, none] = -np.inf
    counts = (products[:, first:behind] > own[:, None]).sum(1)
    np.testing.assert_array_equal(ranks.rank, 1 + np.minimum(counts, cap))
    best = products[:, first:behind].max(1)
    np.testing.assert_array_equal(ranks.best, np.where((counts >= cap) | np.isneginf(best), np.nan, best))


@pytest.mark.parametrize("torch_device", TORCH)
def test_tiles_do_not_matter(monkeypatch: pytest.MonkeyPatch, torch_device: str | None) -> None:
    rng = np.random.default_rng(5)
    anchors, pool = halves(rng, 900, 32), halves(rng, 3000, 32)
    none = np.zeros(900, np.int64)
    own = dots(anchors, pool[:900])

    def ranks() -> rank.Ranks:
        excluded = Exclusions(none, none, np.empty(0, np.int64))
        settings: dict[str, Any] = {"span": (0, 3000), "cap": 50, "torch_device": torch_device}
        return count_ranks(anchors, own, lambda start, stop: pool[start:stop], excluded, **settings)

    before = ranks()
    for name, size in (("_CPU_ROWS", 7), ("_CPU_COLUMNS", 131), ("_TORCH_ROWS", 100), ("_TORCH_COLUMNS", 257)):
        monkeypatch.setattr(rank, name, size)
    after = ranks()
    np.testing.assert_array_equal(before.rank, after.rank)
    np.testing.assert_array_equal(before.best, after.best)


def test_dots_are_exact() -> None:
    rng = np.random.default_rng(1)
    left, right = halves(rng, 20, 300), halves(rng, 20, 300)
    for found, a, b in zip(dots(left, right).tolist(), left.tolist(), right.tolist(), strict=True):
        assert Fraction(found) == sum((Fraction(x) * Fraction(y) for x, y in zip(a, b, strict=True)), Fraction(0))


# ------------------------------------------------------------------------------------------------- real data


@pytest.mark.corpora
@pytest.mark.parametrize(
    ("name", "n_rows", "kept_at_least"),
    [
        ("pairs_sentence_compression", None, 0.95),
        ("pairs_acl_title_abstract", 4000, 0.6),
        pytest.param("pairs_acl_title_abstract", 15000, 0.6, marks=pytest.mark.full),
        pytest.param("pairs_medquad", None, 0.35, marks=pytest.mark.full),
        pytest.param("pairs_simplification", None, 0.6, marks=pytest.mark.full),
    ],
)
def test_torn_pairs_of_real_corpora(
    corpora: Path, tmp_path: Path, name: str, n_rows: int | None, kept_at_least: float
) -> None:
    pairs = pairs_of(corpora / "train" / f"{name}.parquet")
    chosen = np.sort(np.random.default_rng(1).permutation(len(pairs))[:n_rows]).tolist()
    rows, moved = torn([pairs[row] for row in chosen])
    stage = static(pool_size=10_000)
    expected = check(run(tmp_path, rows, stage), rows, stage)
    assert (expected.rank[moved] > 2).mean() >= 0.99
    assert (expected.rank[~moved] <= 2).mean() >= kept_at_least

"""The stage consistency with `embedder: hybrid`: whole runs against a plain reference, and on the sample data."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jina_data import Pipeline
from jina_data.clean.report import CleanReport
from jina_data.embed.load import load_embedder
from jina_data.errors import StoppedError
from jina_data.kernels.grams import BUCKETS, count_features, weigh
from jina_data.kernels.keys import content_keys
from jina_data.kernels.signals import (
    SIGNALS,
    Block,
    Signals,
    all_signals,
    hubness,
    learn_weights,
    own_signals,
    quantize,
    weighted,
)
from jina_data.stages import Where, base, hybrid_ranks
from jina_data.stages.consistency import Consistency
from jina_data.stages.hybrid_ranks import HUB_ANCHORS, LEARNING_ROWS, MAX_DF, NEAREST
from jina_data.stages.rows import Rows
from tests.support.files import write_csv, write_parquet

DEMO = Path(__file__).parents[1] / "data" / "demo"
COLUMNS = {"anchor": "anchor", "positive": "positive", "source": "source"}
PAGES = {"anchor": ("question",), "positive": ("answer",), "source": ("source",)}
CAREFUL: dict[str, Any] = {"pool_size": 10_000, "top_k": 50, "rank_cap": 2000, "min_precision": 0.87}
LOOSE = {**CAREFUL, "min_precision": 0.6}
"""Drops some of few pairs, too."""


def hybrid(**settings: Any) -> Consistency:
    return Consistency(embedder="hybrid", **settings)


def run(folder: Path, rows: Sequence[tuple[Any, ...]], stage: Consistency, **options: Any) -> CleanReport:
    """Run the stage over (anchor, positive, source) in two files."""
    kind = pa.schema([(name, pa.string()) for name in COLUMNS])
    half = len(rows) // 3
    files = []
    for number, some in enumerate((rows[:half], rows[half:])):
        table = [dict(zip(kind.names, (*row, "here")[:3], strict=True)) for row in some]
        path = folder / f"{number}.parquet"
        files.append(path if path.exists() else write_parquet(path, table, kind))
    pipeline = Pipeline(stage, columns=COLUMNS, seed=options.pop("seed", 0))
    return pipeline.run(files, folder / options.pop("out", "out"), device="cpu", **options)


def read(report: CleanReport, part: str) -> pa.Table:
    assert report.path is not None
    return pa.concat_tables(pq.read_table(path) for path in sorted((report.path / part).rglob("*.parquet")))


def digest(report: CleanReport) -> dict[str, str]:
    assert report.path is not None
    return {
        str(path.relative_to(report.path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for part in ("data", "dropped", "ledger", "scores")
        for path in sorted((report.path / part).rglob("*.parquet"))
    }


@pytest.fixture(scope="module")
def pages() -> list[dict[str, str]]:
    """Return the names and descriptions of pages, and their examples, in 13 languages; a fifth is mismatched."""
    with gzip.open(DEMO / "pages.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def mismatched() -> set[int]:
    with (DEMO / "planted.jsonl").open(encoding="utf-8") as lines:
        planted = [json.loads(line) for line in lines]
    return {one["row"] for one in planted if one["file"] == "pages.csv.gz" and one["kind"] == "mismatched"}


@pytest.fixture(scope="module")
def some(pages: list[dict[str, str]]) -> list[tuple[Any, ...]]:
    """Return pairs of two sources, some of them twice."""
    source = {"en": "west", "de": "west", "fr": "west", "ru": "east"}
    chosen = [row for row in pages[:900] if row["lang"] in source]
    rows = [(row["question"], row["answer"], source[row["lang"]]) for row in chosen]
    return [*rows, *rows[:20], (rows[0][0], rows[1][1].upper(), "west"), ("", None, "west"), (None, "", "east")]


# ------------------------------------------------------------------------------------------------------- reference


class Reference:
    """A plain implementation of the stage for `audit_rows: 0`, with tables of all pairs."""

    def __init__(self, rows: Sequence[tuple[Any, ...]], stage: Consistency, seed: int = 0) -> None:
        self.anchors, self.positives = ([row[k] or "" for row in rows] for k in (0, 1))
        self.sources = [(*row, "here")[2] for row in rows]
        everyone, self.seed = list(range(len(rows))), seed
        anchor_keys, keys = self._keys(self.anchors), self._keys(self.positives)
        hashes = [one[0] for one in self._keys(self.positives, seed=seed)]
        parts = self.sources if stage.pool_by == "source" else ["*"] * len(rows)
        pools: dict[str, list[int]] = {}
        for part in sorted(set(parts)):
            first: dict[Any, int] = {}
            for row in everyone:
                if parts[row] == part:
                    first.setdefault(keys[row], row)
            pools[part] = sorted(first.values(), key=lambda row: (hashes[row], row))[: stage.pool_size]
        self.idf = self._frequencies([row for pool in pools.values() for row in pool])
        pairs = [one[0] for one in self._keys(self.anchors, self.positives, seed=seed)]
        by_pair = sorted(everyone, key=lambda row: (pairs[row], row))
        last: dict[Any, int] = {}
        for row in sorted(everyone, key=lambda row: (-pairs[row], row)):
            last.setdefault(anchor_keys[row], row)
        hubs = Block.of(self._signals([self.anchors[row] for row in list(last.values())[:HUB_ANCHORS]]))
        siblings: dict[Any, set[Any]] = {}
        for row in everyone:
            siblings.setdefault(anchor_keys[row], set()).add(keys[row])
        # All signals of all pairs, one row at a time.
        self.ranks = np.zeros((4, len(rows)), np.int64)
        self.similarity, self.margin = np.zeros(len(rows)), np.full(len(rows), np.nan)
        anchors, positives = self._signals(self.anchors), self._signals(self.positives)
        of_positives = hubness(positives, hubs, NEAREST)
        own = own_signals(anchors, positives, of_positives)
        learned: dict[str, Any] = {}
        for source in set(self.sources):
            chosen = np.array([row for row in by_pair if self.sources[row] == source][:LEARNING_ROWS])
            competes = np.array(
                [[anchor_keys[a] != anchor_keys[b] and keys[a] != keys[b] for b in chosen.tolist()] for a in chosen]
            )
            block = Block.of(positives.take(chosen), np.ascontiguousarray(of_positives[:, chosen]))
            learned[source] = learn_weights(all_signals(anchors.take(chosen), block), competes).round(2)
        self.weights = np.array([learned[source] for source in self.sources], np.float32)
        self.similarity = weighted(own, self.weights).astype(np.float64)
        for part, pool in pools.items():
            texts = self._signals([self.positives[row] for row in pool])
            block = Block.of(texts, hubness(texts, hubs, NEAREST))
            for row in everyone:
                if parts[row] != part:
                    continue
                (table,) = all_signals(anchors.take(np.array([row])), block).transpose(1, 0, 2)
                competes = np.array([keys[other] not in siblings[anchor_keys[row]] for other in pool])
                total = weighted(table, np.tile(self.weights[row], (len(pool), 1)))
                above = [total > np.float32(self.similarity[row]), *(table > own[:, row, None])]
                counts = np.array([int((one & competes).sum()) for one in above])
                self.ranks[:, row] = 1 + np.minimum(counts, stage.rank_cap)
                if counts[0] <= stage.rank_cap and competes.any():
                    self.margin[row] = self.similarity[row] - np.float64(total[competes].max())
        self.is_capped = self.ranks[0] > stage.rank_cap

    def _keys(self, *columns: list[str], seed: int | None = None) -> list[tuple[int, int]]:
        arrays = [pa.array(texts, pa.large_string()) for texts in columns]
        found = content_keys(arrays, case=True, whitespace=True, seed=seed).tolist()
        return [(high, low) for high, low in found]

    def _frequencies(self, pool: list[int]) -> list[Any]:
        texts = [side[row] for side in (self.anchors, self.positives) for row in pool]
        idf = []
        for features in count_features(pa.array([text.lower() for text in texts], pa.large_string())):
            frequency = np.bincount(features.ids, minlength=BUCKETS)
            weights = np.log((len(texts) + 1) / (frequency + 0.5))
            weights[frequency > max(MAX_DF * len(texts), 3)] = 0
            idf.append(np.maximum(weights, 0).astype(np.float32))
        return idf

    def _signals(self, texts: list[str]) -> Signals:
        features = count_features(pa.array([text.lower() for text in texts], pa.large_string()))
        words, chars = (weigh(of_kind, idf) for of_kind, idf in zip(features, self.idf, strict=True))
        return Signals(*quantize(load_embedder("static").encode(texts)), words, chars)


def check(report: CleanReport, rows: Sequence[tuple[Any, ...]], stage: Consistency, seed: int = 0) -> Reference:
    """Compare a run with the reference, row by row, without any tolerance."""
    expected = Reference(rows, stage, seed)
    scores, ledger = read(report, "scores"), read(report, "ledger")
    assert len(scores) == len(rows)
    names = ["rank", *(f"{name}_rank" for name in SIGNALS)]
    for name, ranks in zip(names, expected.ranks, strict=True):
        np.testing.assert_array_equal(scores[name].to_numpy(), ranks, err_msg=name)
    np.testing.assert_array_equal(scores["similarity"].to_numpy(), expected.similarity)
    known = ~expected.is_capped
    np.testing.assert_array_equal(scores["margin"].to_numpy()[known], expected.margin[known])
    np.testing.assert_array_equal(ledger["kept"].to_numpy(), expected.ranks[0] <= stage.top_k)
    return expected


@pytest.mark.parametrize(
    "settings",
    [
        {"pool_size": 300, "top_k": 3},
        {"pool_by": "source", "pool_size": 40, "rank_cap": 7},
    ],
)
def test_every_row_is_as_the_reference_has_it(
    tmp_path: Path, some: list[tuple[Any, ...]], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small blocks, so that the pool has several.
    monkeypatch.setattr(hybrid_ranks, "CHUNK", 128)
    monkeypatch.setattr(hybrid_ranks, "_FETCHED", 256)
    stage = hybrid(audit_rows=0, **settings)
    expected = check(run(tmp_path, some, stage, seed=3), some, stage, seed=3)
    assert (expected.ranks[0] <= stage.top_k).any()
    assert (expected.ranks[0] > stage.rank_cap).any()
    assert np.unique(expected.weights, axis=0).shape[0] == 2


CATS = [("cats", "cats sleep all day"), ("dogs", "dogs bark at night"), ("rain", "rain falls in spring")]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([("cats", "cats sleep all day")], id="one row"),
        pytest.param(CATS[:2], id="two rows"),
        pytest.param([("cats", "dogs bark at night"), *CATS], id="a positive of its anchor competes not"),
        pytest.param([("cats", "a mat"), ("dogs", "cats"), ("rain", "CATS ")], id="folded positives are one"),
        pytest.param([("cats", f"text {n} of many") for n in range(9)], id="one anchor"),
        pytest.param([(f"text {n} of many", "cats") for n in range(9)], id="one positive"),
        pytest.param([("", ""), (None, None), ("cats", None), (None, "cats")], id="nothing to embed"),
        pytest.param([("", "")], id="one empty row"),
        pytest.param([("?!", "--"), ("北京", "中国的首都"), ("🙂", "🙂🙂")], id="no words"),
        pytest.param([*CATS, *CATS], id="duplicates"),
        pytest.param([(*CATS[0], None), (*CATS[1], ""), (*CATS[2], "c")], id="no source"),
    ],
)
def test_small_cases(tmp_path: Path, rows: list[tuple[Any, ...]]) -> None:
    stage = hybrid(audit_rows=0)
    if not any((*row, "here")[2] in (None, "") for row in rows):
        check(run(tmp_path, rows, stage, out="plain"), rows, stage)
    report = run(tmp_path, rows, hybrid(**{**CAREFUL, "pool_size": 2, "pool_by": "source"}))
    assert (report.rows.read, report.rows.kept) == (len(rows), len(rows))
    assert all(part.limit is None for part in report.judged)


def test_nothing_reaches_the_stage(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "rows.parquet", [{"anchor": "a", "positive": "b"}] * 3)
    for n, stage in enumerate((hybrid(**CAREFUL), hybrid(audit_rows=0, pool_by="source"))):
        report = Pipeline(Where(expression="false"), stage).run(path, tmp_path / f"out{n}", device="cpu")
        assert [(one.rows_in, one.rows_out) for one in report.stages] == [(3, 0), (0, 0)]
        assert list(report.judged) == []
    assert run(tmp_path, [], hybrid(), out="none").rows.read == 0


# ------------------------------------------------------------------------------------------------------------ laws


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the runs over `some`: the ledger has the paths of the files."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def whole(folder: Path, some: list[tuple[Any, ...]]) -> CleanReport:
    report = run(folder, some, hybrid(**LOOSE), out="whole")
    assert 30 < report.rows.dropped < 100
    return report


def test_scores(folder: Path, whole: CleanReport, some: list[tuple[Any, ...]]) -> None:
    names = {"row_id", "similarity", "margin", "rank", "vectors_rank", "words_rank", "chars_rank"}
    careful = read(whole, "scores")
    assert set(careful.column_names) == {*names, "limit", "rank_of_limit"}
    assert careful["rank_of_limit"].equals(pc.divide(pc.cast(careful["rank"], pa.float64()), careful["limit"]))
    is_over = pc.fill_null(pc.greater(careful["rank_of_limit"], 1), False)
    np.testing.assert_array_equal(read(whole, "ledger")["kept"].to_numpy(), ~is_over.to_numpy())
    strict = run(folder, some, hybrid(top_k=5), out="strict")
    scores, ledger = read(strict, "scores"), read(strict, "ledger")
    assert set(scores["limit"].to_pylist()) == {5}
    np.testing.assert_array_equal(ledger["kept"].to_numpy(), scores["rank"].to_numpy() <= 5)
    np.testing.assert_array_equal(
        ledger["score"].drop_null().to_numpy(), scores["rank"].filter(pc.invert(ledger["kept"]))
    )
    plain = read(run(folder, some, hybrid(audit_rows=0), out="plain"), "scores")
    assert set(plain.column_names) == names


def test_batches_and_workers_do_not_change_a_byte(
    folder: Path, whole: CleanReport, some: list[tuple[Any, ...]]
) -> None:
    expected = digest(whole)
    assert expected
    assert digest(run(folder, some, hybrid(**LOOSE), out="small", batch_rows=37)) == expected
    assert digest(run(folder, some, hybrid(**LOOSE), out="workers", batch_rows=100, workers=2)) == expected


def test_batches_do_not_matter_with_a_pool_for_each_source(folder: Path, some: list[tuple[Any, ...]]) -> None:
    stage = hybrid(**{**LOOSE, "pool_by": "source", "pool_size": 100, "rank_cap": 90})
    found = [digest(run(folder, some, stage, out=f"by source {size}", batch_rows=size)) for size in (50, 4096)]
    assert found[0] == found[1]


def test_ranges_do_not_change_a_row(
    folder: Path, whole: CleanReport, some: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jina_data.read.columnar.parquet.RANGE_ROWS", 50)
    parts = run(folder, some, hybrid(**LOOSE), out="ranges")
    # The row groups are others.
    assert digest(parts) != digest(whole)
    for part in ("data", "dropped", "ledger", "scores"):
        assert read(parts, part).equals(read(whole, part)), part
    assert parts.judged == whole.judged


def test_a_stopped_run_goes_on(
    folder: Path, whole: CleanReport, some: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, calls = Consistency.apply, list[int]()

    def stop(self: Consistency, rows: Rows, seen: base.FitResult, context: base.Context) -> base.Outcome:
        calls.append(len(rows))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return apply(self, rows, seen, context)

    monkeypatch.setattr(Consistency, "apply", stop)
    with pytest.raises(StoppedError):
        run(folder, some, hybrid(**LOOSE), out="stopped")
    # The vectors and the pool stay.
    monkeypatch.setattr(type(load_embedder("static")), "encode", lambda *_: pytest.fail("embedded again"))
    monkeypatch.setattr(Consistency, "fit", lambda *_: pytest.fail("fitted again"))
    assert digest(run(folder, some, hybrid(**LOOSE), out="stopped")) == digest(whole)


def test_a_run_that_stopped_while_it_wrote_the_pool_goes_on(
    folder: Path, whole: CleanReport, some: list[tuple[Any, ...]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hybrid_ranks, "CHUNK", 60)
        patch.setattr(hybrid_ranks, "_FETCHED", 120)
        write, calls = hybrid_ranks.HybridRanks._write_block, list[int]()

        def stop(self: hybrid_ranks.HybridRanks, *args: Any) -> None:
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            write(self, *args)

        patch.setattr(hybrid_ranks.HybridRanks, "_write_block", stop)
        with pytest.raises(StoppedError):
            run(folder, some, hybrid(**LOOSE), out="pool")
    assert digest(run(folder, some, hybrid(**LOOSE), out="pool")) == digest(whole)


# ----------------------------------------------------------------------------------------------------- sample data


def clean(path: Path, out: Path, *overrides: str) -> CleanReport:
    pipeline = Pipeline.from_recipe("pairs", overrides)
    pipeline.recipe = replace(pipeline.recipe, columns=PAGES)
    return pipeline.run(path, out, device="cpu")


def test_mismatched_pages_are_dropped(tmp_path: Path, mismatched: set[int]) -> None:
    report = clean(DEMO / "pages.csv.gz", tmp_path / "out")
    assert report.stages[-1].name == "consistency"
    scores, ledger = read(report, "scores/06-consistency"), read(report, "ledger").to_pylist()
    limit = dict(zip(scores["row_id"].to_pylist(), scores["limit"].to_pylist(), strict=True))
    judged = {row["row"] for row in ledger if limit.get(row["row_id"]) is not None}
    dropped = {row["row"] for row in ledger if row["reason"] == "inconsistent"}
    assert len(judged) > 0.95 * report.stages[-1].rows_in
    assert dropped <= judged
    assert len(dropped & mismatched) >= 0.9 * len(dropped)
    assert len(dropped & mismatched) >= 0.8 * len(judged & mismatched) > 200
    # The estimates hold for what was planted.
    (share,) = {part.share for part in report.judged if part.limit is not None}
    (precision,) = {part.precision for part in report.judged if part.limit is not None}
    assert share == pytest.approx(len(judged & mismatched) / len(judged), abs=0.04)
    assert 0.87 <= precision <= len(dropped & mismatched) / len(dropped)


def test_nothing_is_dropped_from_pages_that_match(
    tmp_path: Path, pages: list[dict[str, str]], mismatched: set[int]
) -> None:
    good = write_csv(tmp_path / "good.csv", [row for at, row in enumerate(pages) if at not in mismatched])
    report = clean(good, tmp_path / "out")
    assert report.stages[-1].rows_in > 1000
    assert report.stages[-1].dropped == {}


def test_nothing_is_dropped_from_commands(tmp_path: Path) -> None:
    report = clean(DEMO / "commands.csv", tmp_path / "out")
    assert report.stages[-1].rows_in > 1500
    assert report.stages[-1].dropped == {}
    assert all(part.limit is None for part in report.judged)
    assert sum("consistency did not judge" in notice for notice in report.warnings) == len(report.sources)

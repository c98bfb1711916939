"""Forecasts of clean runs: exact if the sample is all of the input, intervals that cover the truth, no files left."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from jina_data.clean.plan import Plan
from jina_data.clean.recipe import Recipe
from jina_data.clean.report import CleanReport
from jina_data.clean.run import CleanConfig, RecipeChoice, bind_run, clean
from jina_data.clean.session import CleanSession
from jina_data.cli.clean import command
from jina_data.forecast import blocks
from jina_data.forecast import draw as draw_module
from jina_data.forecast import sample as sample_module
from jina_data.forecast.costs import LinearCost, estimate_scanned_share, fit_cost
from jina_data.forecast.draw import draw
from jina_data.forecast.estimates import DRAWS, Interval, Share, estimate_rank_share, estimate_share
from jina_data.forecast.forecast import Forecast, forecast
from jina_data.forecast.row_flow import RowFlow, estimate_flow
from jina_data.forecast.sample import generator
from jina_data.forecast.trial import run_trial
from jina_data.pipeline import Pipeline
from jina_data.progress import SilentProgress
from jina_data.stages import ExactDedup, Length, NearDedup, Normalize, Sample, Stage, Where
from jina_data.stages.consistency import Consistency
from tests.support.files import write_jsonl, write_parquet

DEMO = Path(__file__).parents[1] / "data" / "demo"


def plan_of(inputs: Sequence[Path], *stages: Stage, seed: int = 0, limit: int | None = None) -> Plan:
    recipe = Recipe(stages=stages, columns={}, seed=seed)
    config = CleanConfig(recipe=recipe, inputs=[str(path) for path in inputs], limit=limit, device="cpu")
    return bind_run(config, None, overwrite=False, progress=SilentProgress())


def flow(plan: Plan) -> RowFlow:
    """Forecast the rows only, without the trials for the time."""
    from jina_data.engines.local import MemoryBudget

    sample = draw(plan)
    trial = run_trial(plan, sample.parts, MemoryBudget.share(4 * 2**30, 1, 2**28), (), merge=sample.way != "all")
    return estimate_flow(plan, sample, trial, generator(plan, 3))


def covers(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make samples small, so that small inputs count as large."""
    monkeypatch.setattr(sample_module, "SAMPLE_ROWS", 1500)


@pytest.fixture
def in_blocks(small_samples: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every input too large to be read completely."""
    monkeypatch.setattr(draw_module, "READ_BYTES", -1)


# ------------------------------------------------------------------------------------------------ exact


@pytest.mark.parametrize("recipe", ["pairs", "sentences"])
def test_forecast_of_a_small_input_is_exact(recipe: str, tmp_path: Path) -> None:
    inputs = [str(DEMO / name) for name in ("questions.jsonl.gz", "commands.csv")]
    if recipe == "sentences":
        inputs = [str(DEMO / "sentences.parquet")]
    estimate = forecast(CleanConfig(recipe=RecipeChoice(recipe), inputs=inputs))
    report = clean(CleanConfig(recipe=RecipeChoice(recipe), inputs=inputs), tmp_path / "run")
    assert estimate.way == "all"
    assert counts(estimate) == [(stage.rows_in, stage.rows_out, dict(stage.dropped)) for stage in report.stages]
    assert estimate.unreadable == Interval.exactly(report.rows.unreadable)
    assert estimate.kept == Interval.exactly(report.rows.kept)
    for name, interval in (("data", estimate.data_bytes), ("dropped", estimate.dropped_bytes)):
        written = sum(path.stat().st_size for path in (tmp_path / "run" / name).iterdir())
        assert interval == Interval.exactly(written)
    stays = sum(path.stat().st_size for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert estimate.folder_bytes.expected == pytest.approx(stays, rel=0.05)
    assert estimate.work_bytes.expected > estimate.folder_bytes.expected


def counts(estimate: Forecast) -> list[tuple[float, float, dict[str, float]]]:
    for stage in estimate.stages:
        assert stage.rows_in.low == stage.rows_in.high
        assert stage.rows_out.low == stage.rows_out.high
    return [(stage.rows_in.expected, stage.rows_out.expected, dict(stage.dropped)) for stage in estimate.stages]


def test_the_limit_is_kept(tmp_path: Path) -> None:
    inputs = [DEMO / "sentences.parquet"]
    estimate = Pipeline(Length(min_words=3), ExactDedup()).plan(inputs, limit=321)
    report = Pipeline(Length(min_words=3), ExactDedup()).run(inputs, tmp_path / "run", limit=321)
    assert estimate.rows == Interval.exactly(321)
    assert estimate.kept == Interval.exactly(report.rows.kept)


def test_forecast_of_an_empty_input(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", pa.table({"text": pa.array([], pa.string())}))
    estimate = Pipeline(Normalize(), ExactDedup()).plan(path)
    assert estimate.kept == Interval.exactly(0)


# ------------------------------------------------------------------------------------------------ seeds and coverage


def skewed(folder: Path, n_rows: int, *, sorted_by_source: bool) -> tuple[Path, list[int]]:
    """Write rows of which 2 % are too short, then 20 % labelled `b`, then 10 % in pairs; return what each leaves."""
    rng = np.random.default_rng(7)
    numbers = np.arange(n_rows)
    paired = rng.random(n_rows) < 0.05
    numbers[paired] = rng.permutation(n_rows)[: paired.sum()]
    short, label = rng.random(n_rows) < 0.02, rng.random(n_rows) < 0.2
    if sorted_by_source:
        short, label = np.sort(short), label[np.argsort((np.arange(n_rows) // 700) % 5, kind="stable")]
    texts = ["x" if one else f"text number {number} of some words" for one, number in zip(short, numbers, strict=True)]
    table = pa.table({"text": texts, "label": ["b" if one else "a" for one in label]})
    path = write_parquet(folder / "skewed.parquet", table)
    report = Pipeline(*stages(), columns={"text": "text"}).run(path, folder / "run")
    return path, [stage.rows_out for stage in report.stages]


def stages() -> tuple[Stage, ...]:
    return Length(min_words=2), Where(expression="label = 'a'"), ExactDedup()


def test_the_same_call_forecasts_the_same_rows(small_samples: None, tmp_path: Path) -> None:
    path, _ = skewed(tmp_path, 6_000, sorted_by_source=False)
    one, same, other = (
        forecast(
            CleanConfig(recipe=Recipe(stages=stages(), columns={"text": ("text",)}, seed=seed), inputs=[str(path)])
        )
        for seed in (1, 1, 2)
    )
    rows = [[(stage.rows_in, stage.rows_out, stage.dropped) for stage in found.stages] for found in (one, same, other)]
    assert rows[0] == rows[1] != rows[2]
    assert one.way == "rows"
    assert one.sampled_rows == 1500


@pytest.mark.parametrize("sorted_by_source", [False, True])
def test_intervals_cover_the_truth_where_all_is_read(
    sorted_by_source: bool, small_samples: None, tmp_path: Path
) -> None:
    path, truth = skewed(tmp_path, 20_000, sorted_by_source=sorted_by_source)
    hits = np.zeros(3)
    for seed in range(20):
        found = flow(plan_of([path], *stages(), seed=seed))
        hits += [covers(*pair) for pair in zip(found.rows_out, truth, strict=True)]
        assert found.rows_out[-1].high - found.rows_out[-1].low < 0.08 * truth[-1]
    assert (hits >= 18).all(), hits


@pytest.mark.parametrize("sorted_by_source", [False, True])
def test_intervals_cover_the_truth_in_blocks(sorted_by_source: bool, in_blocks: None, tmp_path: Path) -> None:
    path, truth = skewed(tmp_path, 20_000, sorted_by_source=sorted_by_source)
    hits = np.zeros(3)
    for seed in range(20):
        plan = plan_of([path], *stages(), seed=seed)
        assert draw(plan).way == "blocks"
        hits += [covers(*pair) for pair in zip(flow(plan).rows_out, truth, strict=True)]
    assert (hits >= 18).all(), hits


def test_shares_cover_the_truth_in_alike_blocks() -> None:
    """Against the definition: blocks that are alike inside, drawn again and again."""
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        rates = rng.beta(0.5, 4.5, 60)
        block = np.repeat(np.arange(60), 50)
        hit = rng.random(3000) < rates[block]
        found = estimate_share(hit, np.ones(3000), block, fraction=0.01, rng=rng)
        hits += covers(Interval.of(found.expected, found.draws), 0.1)
    assert hits >= 180
    nothing = estimate_share(np.zeros(1000, np.bool_), np.ones(1000), np.arange(1000), fraction=0.1, rng=rng)
    assert nothing.expected == 0
    assert 0.0005 < np.quantile(nothing.draws, 0.975) < 0.01


# ------------------------------------------------------------------------------------------------ repeats


def repeated(folder: Path, kind: str) -> tuple[Path, int]:
    """Write 12,000 rows: a third in pairs that lie anywhere, or 30 % in ten large groups."""
    rng = np.random.default_rng(11)
    numbers = np.arange(12_000)
    if kind == "pairs":
        numbers[8_000:] = rng.permutation(8_000)[:4_000]
    else:
        numbers[:3_600] = np.arange(3_600) % 10
    table = pa.table({"text": [f"some text with the number {number}" for number in rng.permutation(numbers)]})
    return write_parquet(folder / f"{kind}.parquet", table), len(set(numbers.tolist()))


@pytest.mark.parametrize("kind", ["pairs", "groups"])
@pytest.mark.parametrize("stage", [ExactDedup(), NearDedup(short_text="exact")])
def test_repeats_are_covered_in_blocks(kind: str, stage: Stage, in_blocks: None, tmp_path: Path) -> None:
    path, truth = repeated(tmp_path, kind)
    # Of 40 seeds, 37 intervals hold the truth for pairs, and 35 for groups.
    hits = sum(covers(flow(plan_of([path], stage, seed=seed)).kept, truth) for seed in range(20))
    assert hits >= 16
    if kind == "groups":
        assert flow(plan_of([path], stage)).kept.expected == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize("kind", ["pairs", "groups"])
def test_repeats_are_counted_where_all_is_read(kind: str, small_samples: None, tmp_path: Path) -> None:
    path, truth = repeated(tmp_path, kind)
    found = [flow(plan_of([path], Normalize(), ExactDedup(), seed=seed)).kept for seed in range(10)]
    assert sum(covers(kept, truth) for kept in found) >= 9
    assert all(kept.high - kept.low < 0.08 * truth for kept in found)


def test_repeats_of_rows_that_fell_do_not_count(small_samples: None, tmp_path: Path) -> None:
    """Of two rows with the same text, one falls before; so there is nothing to drop."""
    texts = [f"some text with the number {number}" for number in range(4_000)]
    table = pa.table({"text": texts * 2, "label": ["a"] * 4_000 + ["b"] * 4_000})
    path = write_parquet(tmp_path / "a.parquet", table)
    found = flow(plan_of([path], Where(expression="label = 'a'"), ExactDedup()))
    assert found.kept.expected == pytest.approx(4_000, rel=0.1)
    assert found.rows_in[1].expected - found.kept.expected < 0.1 * 4_000


# ------------------------------------------------------------------------------------------------ other stages, inputs


@pytest.mark.parametrize(
    ("stage", "kept"),
    [(Sample(count=500), 500), (Sample(fraction=0.25), 3000), (Sample(count=50_000), 12_000)],
)
def test_forecast_of_samples(stage: Sample, kept: int, small_samples: None, tmp_path: Path) -> None:
    path, _ = repeated(tmp_path, "pairs")
    found = flow(plan_of([path], stage, Length(min_words=1)))
    assert found.rows_out[0].expected == pytest.approx(kept)
    assert found.kept.expected == pytest.approx(kept)


def lines(n_rows: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    return [{"text": "word " * int(n) + str(number)} for number, n in enumerate(rng.integers(1, 40, n_rows))]


@pytest.mark.parametrize("limit", [None, 9_000])
def test_rows_of_json_lines_are_estimated(
    limit: int | None, in_blocks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jina_data.read.json_format.lines.RANGE_BYTES", 2**18)
    path = write_jsonl(tmp_path / "a.jsonl", lines(20_000))
    truth = limit or 20_000
    found = [
        blocks.draw_blocks(plan_of([path], Length(min_words=2), seed=seed, limit=limit), 1500) for seed in range(20)
    ]
    assert sum(one.n_rows[0] <= truth <= one.n_rows[2] for one in found) >= 18
    assert all(one.n_rows[2] - one.n_rows[0] < 0.2 * truth for one in found)
    assert {one.way for one in found} == {"blocks"}


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_what_cannot_be_split_is_read_at_its_beginning(
    pack: Callable[[bytes], bytes], in_blocks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jina_data.read.json_format.lines.RANGE_BYTES", 2**18)
    monkeypatch.setattr("jina_data.read.csv_format.delimited.RANGE_BYTES", 2**18)
    path = tmp_path / ("a.jsonl.gz" if pack is gzip.compress else "a.csv")
    plain = "".join(json.dumps(row) + "\n" for row in lines(20_000))
    if pack is bytes:
        plain = "text\n" + "".join(f"{row['text']}\n" for row in lines(20_000))
    path.write_bytes(pack(plain.encode()))
    sample = draw(plan_of([path], Length(min_words=2)))
    assert sample.n_rows[1] == pytest.approx(20_000, rel=0.1)
    assert sample.n_rows[0] <= 20_000 <= sample.n_rows[2]
    assert "only the beginning of" in sample.notes[0]
    assert sample.n_sampled == pytest.approx(1500, rel=0.1)


def test_files_of_all_kinds_keep_their_shares(in_blocks: None, tmp_path: Path) -> None:
    """Rows of Parquet, lines and a stream: each stands for as many as its file has."""
    many = [{"text": f"a b c {number}"} for number in range(9_000)]
    paths = [
        write_parquet(tmp_path / "a.parquet", many),
        write_jsonl(tmp_path / "b.jsonl", [{"text": f"single{number}"} for number in range(4_000)]),
    ]
    packed = tmp_path / "c.jsonl.gz"
    packed.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in many[:2_000])))
    found = flow(plan_of([*paths, packed], Length(min_words=2)))
    assert found.rows.expected == pytest.approx(15_000, rel=0.05)
    assert found.kept.expected == pytest.approx(11_000, rel=0.1)
    assert covers(found.kept, 11_000)


# ------------------------------------------------------------------------------------------------ consistency


def test_the_cost_of_consistency_comes_first(small_samples: None, tmp_path: Path) -> None:
    path = DEMO / "commands.csv"
    report = Pipeline(ExactDedup(), Consistency(embedder="static")).run(path, tmp_path / "run")
    estimate = Pipeline(ExactDedup(), Consistency(embedder="static")).plan(path)
    (cost,) = estimate.consistency
    assert cost.dim == 256
    assert cost.operations == pytest.approx(2 * cost.anchors * cost.pool * 256)
    assert cost.anchors == pytest.approx(report.stages[1].rows_in, rel=0.02)
    assert cost.texts > cost.pool > 0
    assert covers(estimate.kept, report.rows.kept)


def test_ranks_grow_with_the_pool() -> None:
    """Compare with ranks in the larger pool, for anchors with different rates of closer texts."""
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(20):
        rate = np.exp(rng.normal(-9, 2.5, 4000))
        ranks = {n: 1 + np.minimum(rng.poisson(rate * n), 100) for n in (4000, 40_000)}
        dropped = float((ranks[4000] > 2).mean())
        share = Share(dropped, rng.beta(dropped * 4000, (1 - dropped) * 4000, DRAWS))
        found = estimate_rank_share(ranks[4000], share, top_k=2, pool=4000, full_pool=40_000, rng=rng)
        # P(more than one closer text), from a Poisson distribution.
        expected = rate * 40_000
        truth = float((1 - np.exp(-expected) * (1 + expected)).mean())
        assert found.expected > dropped
        hits += covers(Interval.of(found.expected, found.draws), truth)
    assert hits >= 18


def test_rates_tell_units_from_rows() -> None:
    found = fit_cost((1.5, 1, 10), (5.0, 2, 400))
    assert [found.per_unit, found.per_row] == pytest.approx([1.5 - 10 / 190, 1 / 190])
    assert fit_cost((2.0, 1, 10), (1.0, 1, 100)) == LinearCost(0.0, 0.01)
    assert LinearCost(0.5, 0.01).total(4, 100) == 3.0
    # A rank of 11 among 1,000 is 101 among 10,000: over a cap of 50 after half of them.
    assert estimate_scanned_share(np.array([1, 11]), 50, 1_000, 10_000) == pytest.approx(0.75)


# ------------------------------------------------------------------------------------------------ traces, errors


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_nothing_is_left(scratch: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    forecast(CleanConfig(recipe=RecipeChoice("sentences"), inputs=[str(DEMO / "sentences.parquet")]), out)
    assert not list(scratch.iterdir())
    assert not out.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_of_a_failure(
    error: type[BaseException], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def fail(*_: object) -> None:
        seen.extend(scratch.iterdir())
        raise error

    monkeypatch.setattr(CleanSession, "_write_shards", fail)
    with pytest.raises(error):
        Pipeline(Length(min_words=2)).plan(DEMO / "sentences.parquet")
    assert seen
    assert not list(scratch.iterdir())


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    pipeline, inputs = Pipeline(Length(min_words=2)), [str(DEMO / "sentences.parquet")]
    pipeline.run(inputs, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    forecast(CleanConfig(recipe=pipeline.recipe, inputs=inputs), tmp_path / "run")
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert CleanReport.load(tmp_path / "run").rows.read > 0


WRONG: dict[str, dict[str, Any]] = {
    "no file": {"inputs": ["missing.parquet"]},
    "no recipe": {"recipe": RecipeChoice("nonesuch")},
    "no option": {"recipe": RecipeChoice("sentences", ["length.min_word=2"])},
    "no column": {"columns": {"text": ("body",)}},
    "little memory": {"memory_limit_bytes": 2**20},
    "no earlier run": {"reuse": [Path("nowhere")]},
    "broken file": {"inputs": [__file__]},
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_are_those_of_a_run(case: str, tmp_path: Path) -> None:
    from jina_data.errors import JinaDataError

    arguments: dict[str, Any] = {
        "recipe": RecipeChoice("sentences"),
        "inputs": [str(DEMO / "sentences.parquet")],
    }
    config = CleanConfig(**(arguments | WRONG[case]))
    with pytest.raises(JinaDataError) as of_run:
        clean(config, tmp_path / "run")
    with pytest.raises(JinaDataError) as of_forecast:
        forecast(config)
    assert (type(of_run.value), str(of_run.value)) == (type(of_forecast.value), str(of_forecast.value))


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    from jina_data.errors import RunFolderError

    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"mine\.txt"):
        forecast(CleanConfig(recipe=RecipeChoice("sentences"), inputs=[str(DEMO / "sentences.parquet")]), tmp_path)


# ------------------------------------------------------------------------------------------------ the command line


def test_the_command_prints_the_forecast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sample_module, "SAMPLE_ROWS", 600)
    done = CliRunner().invoke(command, [str(DEMO / "commands.csv"), "-p", "pairs", "--plan", "-q"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("consistency: ")
    for name in ("normalize", "length", "exact_dedup", "time:", "memory:", "disk:", "data/:", "95 % interval"):
        assert name in done.output
    assert "from a sample of 600" in done.output


def test_a_run_needs_a_folder_and_a_forecast_does_not() -> None:
    done = CliRunner().invoke(command, [str(DEMO / "sentences.parquet")])
    assert done.exit_code == 2
    assert "'-o' / '--output'" in done.output


def test_a_forecast_is_plain_data() -> None:
    estimate = Pipeline(Length(min_words=2)).plan(DEMO / "sentences.parquet", memory_limit="2GB")
    read = json.loads(json.dumps(estimate.to_json()))
    assert read["stages"][0]["rows_out"]["expected"] == estimate.kept.expected
    assert read["memory_limit_bytes"] == 2 * 10**9
    assert 0 < estimate.seconds.low < estimate.seconds.expected < estimate.seconds.high
    assert estimate.peak_memory_bytes.expected > 10**8

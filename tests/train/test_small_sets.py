"""Small and repetitive training sets: every row is used, and what keeps a run from learning is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner

from jina_data.cli import cli
from jina_data.errors import InputError
from jina_data.train import TrainConfig, Trainer, TrainReport
from jina_data.train.alike import find_alike
from jina_data.train.checks import ZeroLossWatch
from jina_data.train.losses import pairs_loss, triplets_v2_loss
from jina_data.train.stream import Example
from tests.support.files import write_parquet
from tests.support.train_inputs import questions, write_pairs


def train(path: Path, out: Path, **options: Any) -> TrainReport:
    defaults = {"phase": "pairs", "model": "static", "batch_size": 16, "max_length": 32}
    return Trainer(TrainConfig(inputs=(str(path),), **{**defaults, **options}), out).run()


def losses(report: TrainReport) -> list[float]:
    lines = [json.loads(line) for line in (report.path / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("answer", ["Yes.", "はい。", "42"])
def test_rows_with_one_answer_are_all_used(answer: str, tmp_path: Path) -> None:
    pairs = [(q, answer) for q, _ in questions(94)] + [(q, a) for q, a in questions(100)[94:]]
    report = train(write_pairs(tmp_path / "x.parquet", pairs), tmp_path / "out")
    assert report.steps == 7
    source = report.sources[0]
    assert (source["used"], source["short_batches"]) == (112, 0)
    assert source["alike"] > 80
    assert sum(loss > 0.01 for loss in losses(report)) >= 5
    assert any("share a text with other rows of their batch" in warning for warning in report.warnings)
    assert any("the run has 7 steps" in warning for warning in report.warnings)
    assert "warning: source 'x'" in "\n".join(report.lines())
    page = (report.path / "report.html").read_text(encoding="utf-8")
    assert "share a text with other rows of their batch" in page


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("The same?", "Yes.")] * 50, "the same text in all of its 50 rows"),
        ([(f"q{n}", "はい") for n in range(9)], "the same text in all of its 9 rows"),
        ([("Warum?", f"a{n}") for n in range(9)], "the same text in all of its 9 rows"),
        ([("q", "a"), ("  Q", "a "), ("x", "")], "the same text in all of its 2 rows"),
        ([("q", "a")], "'x' has only 1 row with texts"),
        ([("q", "a"), ("", "b"), ("c", "  ")], "'x' has only 1 row with texts"),
    ],
)
def test_nothing_to_learn_is_an_error(pairs: list[tuple[str, str]], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"there is nothing to learn: source .*{message}"):
        train(write_pairs(tmp_path / "x.parquet", pairs), tmp_path / "out")


def test_a_source_with_nothing_to_learn_is_left_out(tmp_path: Path) -> None:
    rows = [{"anchor": q, "positive": a, "of": "good"} for q, a in questions(40)]
    rows += [{"anchor": f"q{n}", "positive": "yes", "of": "labels"} for n in range(60)]
    path = write_parquet(tmp_path / "x.parquet", rows)
    report = train(path, tmp_path / "out", columns=("anchor=anchor", "positive=positive", "source=of"), steps=8)
    used = {source["source"]: source["used"] for source in report.sources}
    assert used == {"good": 128, "labels": 0}
    assert "source 'labels' has the same text in all of its 60 rows; it is left out" in report.warnings


def test_hard_negatives_make_equal_rows_learnable(tmp_path: Path) -> None:
    rows = [{"anchor": f"q{n}", "positive": "yes", "negative": "no"} for n in range(20)]
    report = train(write_parquet(tmp_path / "x.parquet", rows), tmp_path / "out", phase="triplets", steps=12)
    assert min(losses(report)) > 1e-4
    one = write_parquet(tmp_path / "one.parquet", rows[:1])
    assert train(one, tmp_path / "one", phase="triplets", steps=12).sources[0]["used"] == 12


def test_few_rows_and_steps_are_reported_on_the_terminal(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "ten.parquet", questions(10))
    call = ["train", "pairs", str(path), "-o", str(tmp_path / "out"), "--model", "static"]
    output = CliRunner().invoke(cli, call, catch_exceptions=False).output
    assert "warning: sources with fewer rows than a batch of 256: ten 10." in output
    assert "warning: the run has 1 step, so the model hardly changes. Raise --epochs, lower --batch-size" in output


def test_a_loss_of_zero_is_reported(tmp_path: Path) -> None:
    rows = [(f"question {n}", "yes") for n in range(400)]
    report = train(write_pairs(tmp_path / "x.parquet", rows), tmp_path / "out", batch_size=8, steps=12)
    assert losses(report) == [0.0] * 12
    assert any("the loss is 0 from the first step, so nothing was learned" in line for line in report.warnings)
    watch = ZeroLossWatch(steps=100)
    assert [bool(watch.add(0.0)) for _ in range(12)] == [False] * 9 + [True] + [False] * 2
    watch = ZeroLossWatch(steps=100)
    assert not any(watch.add(loss) for loss in [0.0] * 9 + [0.1] * 5)


# ------------------------------------------------------------------------------------------------- equal texts


EXAMPLES = [
    Example("a", "x", ("n", "y")),
    Example("b", "x", ("m",)),
    Example("A ", "y", ("k",)),
    Example("c", "z", ("x", "c")),
]


def test_equal_texts_of_a_batch() -> None:
    alike = find_alike(EXAMPLES)
    pairs = {(0, 1), (1, 0), (0, 2), (2, 0)}
    assert {(int(row), int(other)) for row, other in np.argwhere(alike.rows_BB)} == pairs
    # The negatives are n, y, m, k, x, c: y is a positive of the anchor a, x is the positive of a and b, c an anchor.
    banned = {(0, 1), (0, 4), (1, 4), (2, 1), (2, 4), (3, 5)}
    assert {(int(row), int(number)) for row, number in np.argwhere(alike.negatives_BM)} == banned


def test_equal_texts_are_left_out_of_the_sums() -> None:
    generator = torch.Generator().manual_seed(0)
    q_BD, p_BD = (torch.randn(4, 8, generator=generator) for _ in range(2))
    n_MD = torch.randn(6, 8, generator=generator)
    alike = find_alike(EXAMPLES)
    alike_BB, alike_BM = torch.from_numpy(alike.rows_BB), torch.from_numpy(alike.negatives_BM)
    q, p, n = (torch.nn.functional.normalize(x, dim=-1).double().numpy() for x in (q_BD, p_BD, n_MD))

    def mean_loss(left: Any, right: Any, hard: Any) -> float:
        total = 0.0
        for i in range(4):
            others = [np.exp(left[i] @ right[j] / 0.05) for j in range(4) if not alike.rows_BB[i, j]]
            others += [np.exp(left[i] @ hard[m] / 0.05) for m in range(len(hard)) if not alike.negatives_BM[i, m]]
            total -= np.log(np.exp(left[i] @ right[i] / 0.05) / sum(others))
        return float(total / 4)

    pairs = pairs_loss(q_BD, p_BD, temperature=0.05, alike_BB=alike_BB)
    assert float(pairs) == pytest.approx(mean_loss(q, p, []) + mean_loss(p, q, []), rel=1e-4)
    v2 = triplets_v2_loss(q_BD, p_BD, n_MD, temperature=0.05, alike_BB=alike_BB, alike_BM=alike_BM)
    assert float(v2) == pytest.approx(mean_loss(q, p, n) + mean_loss(p, q, []), rel=1e-4)

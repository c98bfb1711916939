"""A killed run resumes and gives the same weights, bit for bit: with real kills at random steps."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from jina_data.errors import RunFolderError
from jina_data.train import TrainConfig, Trainer
from jina_data.train.checkpoint import last_checkpoint
from tests.support.train_inputs import commands, questions, write_model, write_triplets

STEPS = 24


def arguments(folder: Path, out: Path) -> list[str]:
    options = "--batch-size 8 --max-length 24 --learning-rate 3e-3 --save-every 3 --seed 7 --device cpu -q"
    command = [sys.executable, "-c", "from jina_data.cli import main; main()", "train", "triplets"]
    inputs = [str(folder / "questions.parquet"), str(folder / "commands.parquet")]
    return [
        *command,
        *inputs,
        "-o",
        str(out),
        "--model",
        str(folder / "model"),
        "--steps",
        str(STEPS),
        *options.split(),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs with conflicting rows, a model with dropout, and the weights of an undisturbed run."""
    folder = tmp_path_factory.mktemp("resume")
    rows = questions(60)
    write_triplets(folder / "questions.parquet", [*rows, *((rows[0][0], answer) for _, answer in questions(90)[60:])])
    write_triplets(folder / "commands.parquet", commands(60), n_negatives=2)
    write_model(folder / "model", dropout=0.1)
    subprocess.run(arguments(folder, folder / "undisturbed"), check=True, env=one_thread())
    return folder


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def weights(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


def losses(out: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


def n_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed_runs_end_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    chance = random.Random(11)
    for at in (4, 17):
        process = subprocess.Popen(arguments(folder, out), env=one_thread())
        while n_lines(out / "metrics.jsonl") < at and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert not (out / "manifest.json").exists()
    assert last_checkpoint(out / "checkpoints") is not None
    subprocess.run(arguments(folder, out), check=True, env=one_thread())
    assert weights(out) == weights(folder / "undisturbed")
    assert losses(out) == losses(folder / "undisturbed")
    reports = [json.loads((run / "report.json").read_text())["sources"] for run in (out, folder / "undisturbed")]
    assert reports[0] == reports[1]
    assert sum(source["put_off"] for source in reports[0]) > 0, "no row was deferred, so this tests nothing"


def test_a_stopped_run_saves_first(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    process = subprocess.Popen(arguments(folder, out), env=one_thread(), stderr=subprocess.PIPE, text=True)
    while n_lines(out / "metrics.jsonl") < 4 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate()
    assert process.returncode == 1, stderr
    saved = last_checkpoint(out / "checkpoints")
    assert saved is not None
    step = int(saved.name.removeprefix("step-"))
    assert f"stopped after step {step}" in stderr
    assert n_lines(out / "metrics.jsonl") == step
    subprocess.run(arguments(folder, out), check=True, env=one_thread())
    assert weights(out) == weights(folder / "undisturbed")


def test_an_unfinished_run_with_other_settings_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def config(**options: object) -> TrainConfig:
        values = {"phase": "pairs", "inputs": (str(folder / "questions.parquet"),), "model": str(folder / "model")}
        return TrainConfig(**{**values, "batch_size": 4, "max_length": 8, "steps": 4, "save_every": 1, **options})  # type: ignore[arg-type]

    trainer = Trainer(config(), out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jina_data.train.trainer._TrainSession._write_outputs", lambda *_: pytest.fail("stop here"))
        with pytest.raises(pytest.fail.Exception):
            trainer.run()
    with pytest.raises(RunFolderError, match=r"unfinished run with seed 0 \(now 1\)"):
        Trainer(config(seed=1), out).run()
    newest = last_checkpoint(out / "checkpoints")
    assert newest is not None
    (newest / "optimizer.pt").write_bytes(b"torn")
    with pytest.raises(RunFolderError, match=r"optimizer|cannot be read.*Remove that folder"):
        Trainer(config(), out).run()
    assert Trainer(config(), out, overwrite=True).run().steps == 4


def test_a_checkpoint_is_whole_or_not_there(folder: Path, tmp_path: Path) -> None:
    half = tmp_path / "checkpoints" / ".step-00000005.tmp"
    half.mkdir(parents=True)
    (half / "model.pt").write_bytes(b"begun")
    assert last_checkpoint(tmp_path / "checkpoints") is None
    assert not half.exists()

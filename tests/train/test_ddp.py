"""Two processes give the same losses and weights as one, with the same global batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file

from jina_data.train import TrainConfig, Trainer
from tests.support.train_inputs import questions, write_model, write_pairs, write_triplets

RUN = """
import json, sys
from jina_data.train import TrainConfig, Trainer
for values in json.loads(sys.argv[1]):
    out = values.pop("out")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    Trainer(TrainConfig(**values), out).run()
"""


CASES: dict[str, dict[str, Any]] = {
    "pairs": {"phase": "pairs"},
    "cached triplets": {"phase": "triplets", "loss": "v1", "micro_tokens": 60},
    "odd batches": {"phase": "triplets", "batch_size": 9, "eval_files": ["pairs.parquet"]},
    "mlm": {"phase": "mlm"},
}


def settings(folder: Path, name: str, out: Path) -> dict[str, Any]:
    case = CASES[name]
    data = "triplets.parquet" if case["phase"] == "triplets" else "pairs.parquet"
    values = {"inputs": [str(folder / data)], "model": str(folder / "model"), "out": str(out), "steps": 5}
    values |= {"batch_size": 12, "max_length": 24, "learning_rate": 3e-3, "warmup_steps": 0, **case}
    if "eval_files" in case:
        values["eval_files"] = [str(folder / name) for name in case["eval_files"]]
    return values


def losses(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs, a model, and the runs of two processes for all cases: `two-NAME`."""
    folder = tmp_path_factory.mktemp("processes")
    write_pairs(folder / "pairs.parquet", questions(90))
    write_triplets(folder / "triplets.parquet", questions(90), n_negatives=3)
    write_model(folder / "model", dropout=0.0)
    script = folder / "run.py"
    script.write_text(RUN)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [*launch, json.dumps([settings(folder, name, folder / f"two-{name}") for name in CASES])],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_processes_have_the_losses_and_weights_of_one(name: str, folder: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in settings(folder, name, tmp_path / "one").items()
    }
    out = values.pop("out")
    single = Trainer(TrainConfig(**values), out).run()
    two = folder / f"two-{name}"
    report = json.loads((two / "report.json").read_text())
    assert report["processes"] == 2
    assert report["tokens"] == single.tokens
    assert losses(two) == pytest.approx(losses(single.path), rel=1e-4)
    first, second = (load_file(path / "model" / "model.safetensors") for path in (single.path, two))
    for key, weight in first.items():
        assert torch.allclose(weight, second[key], atol=2e-4), key
    assert report["scores"] == pytest.approx(dict(single.scores), abs=1e-3)

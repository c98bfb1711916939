"""Tests real runs: published, then loaded in an environment that has only `datasets` installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support.files import write_jsonl
from tests.support.hub_server import Hub, running
from tests.support.publish_runs import pair_rows, read_json, tiny_model

pytest.importorskip("datasets")

RUNS: dict[str, tuple[str, list[str], list[str], list[str]]] = {
    "documents": (
        "corpus_tldr_pages_multilingual.parquet",
        ["-p", "documents", "-s", "language.languages=en"],
        ["--source-license", "corpus_tldr_pages_multilingual.parquet=cc-by-4.0"],
        ["text"],
    ),
    "pairs": (
        "pairs_medquad.parquet",
        ["-p", "pairs", "-c", "anchor=anchor", "-c", "positive=positive"],
        ["--source-license", "pairs_medquad.parquet=cc-by-4.0", "--test-size", "500"],
        ["anchor", "positive"],
    ),
    "nli": (
        "nli_snli_sample.parquet",
        ["--where", "label = 'entailment'", "-c", "anchor=premise", "-c", "positive=hypothesis", "-c", "source=origin"],
        # The metadata of the collection states only the license of its repository; SNLI is CC BY-SA 4.0.
        [
            "--source-license",
            "academic-repository/cat=cc-by-sa-4.0",
            "--exclude-source",
            "singh-12345/Plagiarism_Checker_AI",
        ],
        ["anchor", "positive"],
    ),
}

READ = """
import json, sys
from datasets import load_dataset, load_dataset_builder
repo_id, commit = sys.argv[1:]
exec(json.load(sys.stdin))  # the snippet of the card
info = load_dataset_builder(repo_id, revision=commit).info
results = {"default": info.config_name, "snippet": train.num_rows}
for config in (None, "full"):
    for split, rows in load_dataset(repo_id, config, revision=commit).items():
        assert rows.num_rows == info.splits[split].num_examples
        streamed = load_dataset(repo_id, config, revision=commit, split=split, streaming=True)
        assert rows.num_rows == sum(1 for row in streamed)
        results[f"{config} {split}"] = {"columns": rows.column_names, "rows": rows.num_rows, "first": str(rows[0])}
print(json.dumps(results))
"""
"""The script of the other environment: run the snippet of the card, and load and stream all configs."""


def call(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running() as hub:
        yield hub


@pytest.fixture(scope="session")
def clean_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with only `datasets` and its dependencies; JINA_DATA_STRANGER may name its folder."""
    existing = os.environ.get("JINA_DATA_STRANGER")
    if existing:
        return Path(existing) / "bin" / "python"
    folder = tmp_path_factory.mktemp("python")
    call([sys.executable, "-m", "venv", str(folder)])
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "datasets"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs pip to install datasets: {done.stderr.strip().splitlines()[-1]}")
    return python


def environment(hub: Hub, home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    return {**kept, **hub.environment(), "HF_HOME": str(home), "OMP_NUM_THREADS": "1"}


def train_a_step(rows: Any, folder: Path) -> float:
    """Train one step on unchanged rows, and return the loss."""
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("accelerate", reason="the trainer of sentence-transformers needs accelerate")
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = SentenceTransformer(str(tiny_model(folder / "model" / "tiny")), device="cpu")
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "out"), max_steps=1, per_device_train_batch_size=8, use_cpu=True, report_to="none",
        save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    loss = MultipleNegativesRankingLoss(model)
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=rows, loss=loss)
    return float(trainer.train().training_loss)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("columns", [["anchor", "positive"], ["anchor", "positive", "negatives"]])
def test_sentence_transformers_trains_on_the_default_config(tmp_path: Path, columns: list[str]) -> None:
    import datasets

    from jina_data import Length, Pipeline
    from jina_data.publish.flow import write_repository
    from tests.support.publish_runs import LICENSED

    rows = [
        {"anchor": row["question"], "positive": row["answer"], "negatives": ["It is not.", "It is none."]}
        for row in pair_rows(40)
    ]
    source = write_jsonl(tmp_path / "rows.jsonl", [{name: row[name] for name in columns} for row in rows])
    Pipeline(Length(min_words=1)).run(source, tmp_path / "run")
    write_repository(replace(LICENSED, folder=tmp_path / "run"), "me/numbers", tmp_path / "repo")
    train = datasets.load_dataset(str(tmp_path / "repo"), split="train", cache_dir=str(tmp_path / "cache"))
    assert train_a_step(train, tmp_path) > 0


@pytest.mark.corpora
@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUNS)
def test_a_real_run_loads_in_another_environment(
    corpora: Path, hub: Hub, clean_python: Path, tmp_path: Path, name: str
) -> None:
    import datasets
    from huggingface_hub import DatasetCard

    file, clean, publish, columns = RUNS[name]
    program = str(Path(sys.executable).with_name("jina-data"))
    run, repo_id = tmp_path / "run", f"me/{name}"
    call([program, "clean", str(corpora / "train" / file), "-o", str(run), *clean, "-q"])
    home = {**os.environ, **environment(hub, tmp_path / "mine"), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    address = call([program, "publish", str(run), repo_id, *publish, "--yes", "-q"], env=home).strip()
    assert address == f"{hub.url}/datasets/{repo_id}"
    assert len(hub.commits(repo_id)) == 1
    files, commit = hub.files(repo_id), hub.repo(repo_id).branches["main"]

    card = DatasetCard(files["README.md"].decode())
    (snippet,) = re.findall(r"```python\n(.*?)```", str(card), re.DOTALL)
    output = call(
        [str(clean_python), "-c", READ, repo_id, commit],
        input=json.dumps(snippet),
        env=environment(hub, tmp_path / "theirs"),
        cwd=tmp_path,
    )
    results = json.loads(output.splitlines()[-1])

    kept = [part for part in read_json(run / "report.json")["sources"] if "Plagiarism" not in part["name"]]
    n_rows = sum(part["kept"] for part in kept)
    assert n_rows > 1000
    for config in ("None", "full"):
        assert sum(value["rows"] for key, value in results.items() if key.startswith(config)) == n_rows
    assert results["None train"]["columns"] == columns
    assert results["snippet"] == results["None train"]["rows"]
    # The loaded rows are the kept rows of the run: the first kept row is the first row of train or of test.
    first_row = pq.ParquetFile(sorted((run / "data").iterdir())[0]).read_row_group(0).slice(0, 1).to_pylist()[0]
    first_rows = " ".join(value["first"] for key, value in results.items() if key.startswith("full"))
    assert name == "nli" or all(str(value)[:30].split("\n")[0] in first_rows for value in first_row.values())

    cache = str(tmp_path / "cache")
    paths = []
    for path, content in files.items():
        if path.startswith(f"{results['default']}/train-"):
            (tmp_path / Path(path).name).write_bytes(content)
            paths.append(str(tmp_path / Path(path).name))
    train = datasets.load_dataset("parquet", data_files=sorted(paths), split="train", cache_dir=cache)
    assert train.column_names == columns
    if "positive" in columns:
        assert train_a_step(train, tmp_path) > 0

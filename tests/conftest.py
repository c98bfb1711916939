"""What all tests share: the real data, the long tests' switch, and writers of small inputs."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands under test: what a shell starts in the background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Leave out the long tests, unless JINA_DATA_FULL asks for them."""
    if os.environ.get("JINA_DATA_FULL"):
        return
    for item in items:
        if item.get_closest_marker("full"):
            item.add_marker(pytest.mark.skip(reason="long; set JINA_DATA_FULL=1 to run it (make check-full)"))


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of the real data, with train/ and eval/."""
    named = os.environ.get("JINA_DATA_CORPORA")
    if not named:
        pytest.skip("needs the real data: set JINA_DATA_CORPORA to the folder that holds train/ and eval/")
    folder = Path(named)
    if not (folder / "train").is_dir():
        pytest.fail(f"JINA_DATA_CORPORA is {named}, which has no train/; expected the folder of the real data")
    return folder


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    """Write rows as JSON lines; a row that is a string is written as it stands."""
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return path


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as CSV with a header, as RFC 4180 has it but for the line ends."""
    with path.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.DictWriter(sink, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: pa.Table | Sequence[Mapping[str, Any]], schema: pa.Schema | None = None) -> Path:
    """Write a table, or rows, as Parquet."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=schema)
    pq.write_table(table, path)
    return path


def write_tiny_cross_encoder(folder: Path, words: Sequence[str]) -> Path:
    """Save a cross-encoder with random weights: 2 layers of 32 units, 64 tokens at most, the words as vocabulary."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(words)]
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    config.num_labels = 1
    BertForSequenceClassification(config).save_pretrained(folder)
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    BertTokenizer(vocab=vocabulary, model_max_length=64).save_pretrained(folder)
    return folder

"""Small inputs and models for the tests of training: real questions and commands, a JinaBERT of two layers."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from jina_data.encoder import Encoder, JinaBert, JinaBertConfig, train_wordpiece

DEMO = Path(__file__).parents[1] / "data" / "demo"


def questions(n_rows: int | None = None) -> list[tuple[str, str]]:
    """Return pairs of question and answer, without broken rows and duplicates of the sample."""
    return list(_questions()[:n_rows])


@cache
def _questions() -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    used = set[str]()
    with gzip.open(DEMO / "questions.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in _rows(lines):
            pair = row.get("question"), row.get("answer")
            folded = {" ".join(str(text).casefold().split()) for text in pair}
            if all(isinstance(text, str) and text.strip() for text in pair) and not folded & used:
                used |= folded
                pairs.append((str(pair[0]), str(pair[1])))
    return pairs


def _rows(lines: Any) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def commands(n_rows: int) -> list[tuple[str, str]]:
    """Return pairs of description and command, in English."""
    with (DEMO / "commands.csv").open(encoding="utf-8", newline="") as source:
        rows = [(row["question"], row["answer"]) for row in csv.DictReader(source) if row["lang"] == "en"]
    return [(question, answer) for question, answer in dict(rows).items() if question and answer][:n_rows]


def write_pairs(path: Path, pairs: list[tuple[str, str]], *, group_rows: int = 100) -> Path:
    """Write pairs as Parquet, in row groups of `group_rows` rows."""
    table = pa.table({"anchor": [anchor for anchor, _ in pairs], "positive": [positive for _, positive in pairs]})
    pq.write_table(table, path, row_group_size=group_rows)
    return path


def write_triplets(path: Path, pairs: list[tuple[str, str]], *, n_negatives: int = 2) -> Path:
    """Write triplets: the negatives of a row are the answers of later rows."""
    answers = [answer for _, answer in pairs]
    rows = {
        "anchor": [question for question, _ in pairs],
        "positive": answers,
        **{
            f"negative_{number}": [answers[(row + 7 * number) % len(answers)] for row in range(len(answers))]
            for number in range(1, n_negatives + 1)
        },
    }
    pq.write_table(pa.table(rows), path, row_group_size=100)
    return path


def write_model(folder: Path, *, dropout: float = 0.1, n_heads: int = 4, seed: int = 0) -> Path:
    """Save a JinaBERT of 2 layers and 32 dimensions with random weights, and a tokenizer trained on the sample."""
    tokenizer = train_wordpiece([text for pair in questions(300) for text in pair], vocab_size=800)
    torch.manual_seed(seed)
    config = JinaBertConfig(
        vocab_size=832,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=n_heads,
        intermediate_size=64,
        hidden_dropout_prob=dropout,
    )
    Encoder(JinaBert(config), tokenizer, device="cpu").save_pretrained(folder)
    return folder

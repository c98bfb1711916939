"""Measures the accuracy of the `language` stage by language and by length, and the cost of its threshold.

    python benchmarks/language_accuracy.py [--corpora FOLDER] [--threshold P] [--model FILE]

Reads eval/langid_lingua.parquet (9,975 sentences, 75 languages), in full and truncated to prefixes, and
train/corpus_commonvoice_sentences.parquet by the length of the sentence. Languages without a label in the model are
excluded and listed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.languages.identify import identify, labels_of

PREFIXES = (3, 5, 8, 10, 12, 15, 20, 25, 30, 40, 60, 100)
BINS = (0, 5, 10, 15, 20, 25, 30, 40, 60, 100, 10**9)
SAME = {"nb": "no"}
"""Bokmål is labelled Norwegian."""


@dataclass(frozen=True)
class Predictions:
    """The results of a model for T texts with a known language: correct or not, above the threshold or not."""

    gold: npt.NDArray[np.str_]
    right: npt.NDArray[np.bool_]
    sure: npt.NDArray[np.bool_]

    def row(self, mask: npt.NDArray[np.bool_]) -> str:
        """Return accuracy, fraction above the threshold, accuracy of these, and fraction of wrongly dropped texts."""
        right, sure = self.right[mask], self.sure[mask]
        above = f"{right[sure].mean():.3f}" if sure.any() else "–"
        lost = (sure & ~right).mean()
        return f"{mask.sum():>7,} | {right.mean():.3f} | {sure.mean():.3f} | {above} | {lost:.4f}"


def code(lang: str) -> str:
    """Return the label for a language: the first part of its code."""
    lang = lang.partition("-")[0]
    return SAME.get(lang, lang)


def predict(texts: list[str], langs: list[str], *, model: str | None, threshold: float) -> Predictions:
    labels, probability = identify(pa.array(texts, pa.large_string()), model)
    gold = np.array([code(lang) for lang in langs])
    return Predictions(gold, gold == np.array([label or "" for label in labels.to_pylist()]), probability >= threshold)


def read_known(path: Path, model: str | None) -> tuple[list[str], list[str]]:
    """Return the texts and languages of a file, without languages that have no label in the model."""
    table = pq.read_table(path, columns=["text", "lang"])
    labels = set(labels_of(model))
    rows = list(zip(table["text"].to_pylist(), table["lang"].to_pylist(), strict=True))
    missing = sorted({lang for _, lang in rows if code(lang) not in labels})
    print(f"\n{path.name}: {len(rows):,} rows; no label for {', '.join(missing) or 'none'}")
    rows = [(text, lang) for text, lang in rows if code(lang) in labels]
    return [text for text, _ in rows], [lang for _, lang in rows]


def table(title: str, lines: Iterator[tuple[str, str]]) -> None:
    print(f"\n| {title} | texts | accuracy | above threshold | accuracy above | wrongly dropped |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, row in lines:
        print(f"| {name} | {row} |")


def by_language(predictions: Predictions) -> Iterator[tuple[str, str]]:
    langs = sorted(set(predictions.gold.tolist()), key=lambda lang: predictions.right[predictions.gold == lang].mean())
    for lang in langs:
        yield lang, predictions.row(predictions.gold == lang)
    yield "all", predictions.row(np.ones(len(predictions.gold), np.bool_))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    corpora = os.environ.get("JINA_DATA_CORPORA")
    parser.add_argument("--corpora", type=Path, default=corpora, required=corpora is None, help="folder of real data")
    parser.add_argument("--threshold", type=float, default=0.65)
    parser.add_argument("--model", help="a fastText model file; default: lid.176.ftz")
    args = parser.parse_args()

    def run(texts: list[str], langs: list[str]) -> Predictions:
        return predict(texts, langs, model=args.model, threshold=args.threshold)

    texts, langs = read_known(args.corpora / "eval/langid_lingua.parquet", args.model)
    table("lingua, language", by_language(run(texts, langs)))

    def prefixes() -> Iterator[tuple[str, str]]:
        for n in PREFIXES:
            long_enough = [i for i, text in enumerate(texts) if len(text) >= n]
            predictions = run([texts[i][:n] for i in long_enough], [langs[i] for i in long_enough])
            yield f"{n}", predictions.row(np.ones(len(long_enough), np.bool_))

    table("lingua, first characters", prefixes())

    texts, langs = read_known(args.corpora / "train/corpus_commonvoice_sentences.parquet", args.model)
    started = time.perf_counter()
    predictions = run(texts, langs)
    print(f"{len(texts) / (time.perf_counter() - started):,.0f} rows/s")
    bins = np.digitize([len(text) for text in texts], BINS)
    table(
        "Common Voice, characters",
        (
            (f"{low} to {high - 1}" if high < BINS[-1] else f"{low} and more", predictions.row(bins == i))
            for i, (low, high) in enumerate(pairwise(BINS), 1)
        ),
    )


if __name__ == "__main__":
    main()

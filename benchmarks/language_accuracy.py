"""How often the `language` stage is right, by language and by length, and what its settings cost.

    python benchmarks/language_accuracy.py [--corpora FOLDER] [--threshold P] [--model FILE]

Reads eval/langid_lingua.parquet (9,975 sentences, 75 languages), whole and cut to prefixes, and
train/corpus_commonvoice_sentences.parquet by the length of the sentence. Languages the model has no label for are left
out and named.
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

from jina_data.stages.language import identify, labels_of

PREFIXES = (3, 5, 8, 10, 12, 15, 20, 25, 30, 40, 60, 100)
BINS = (0, 5, 10, 15, 20, 25, 30, 40, 60, 100, 10**9)
SAME = {"nb": "no"}
"""Bokmål is labelled Norwegian."""


@dataclass(frozen=True)
class Answers:
    """What a model says about T texts of known language."""

    gold: npt.NDArray[np.str_]
    right: npt.NDArray[np.bool_]
    sure: npt.NDArray[np.bool_]

    def row(self, of: npt.NDArray[np.bool_]) -> str:
        """Tell accuracy, share above the threshold, accuracy there, and share of wrongly dropped texts."""
        right, sure = self.right[of], self.sure[of]
        above = f"{right[sure].mean():.3f}" if sure.any() else "–"
        lost = (sure & ~right).mean()
        return f"{of.sum():>7,} | {right.mean():.3f} | {sure.mean():.3f} | {above} | {lost:.4f}"


def code(lang: str) -> str:
    """Return the label for a language: the first part of its code."""
    lang = lang.partition("-")[0]
    return SAME.get(lang, lang)


def ask(texts: list[str], langs: list[str], *, model: str | None, threshold: float) -> Answers:
    labels, probability = identify(pa.array(texts, pa.large_string()), model)
    gold = np.array([code(lang) for lang in langs])
    return Answers(gold, gold == np.array([label or "" for label in labels.to_pylist()]), probability >= threshold)


def known(path: Path, model: str | None) -> tuple[list[str], list[str]]:
    """Return texts and languages of a file that the model has a label for."""
    table = pq.read_table(path, columns=["text", "lang"])
    labels = set(labels_of(model))
    rows = list(zip(table["text"].to_pylist(), table["lang"].to_pylist(), strict=True))
    missing = sorted({lang for _, lang in rows if code(lang) not in labels})
    print(f"\n{path.name}: {len(rows):,} rows; no label for {', '.join(missing) or 'none'}")
    rows = [(text, lang) for text, lang in rows if code(lang) in labels]
    return [text for text, _ in rows], [lang for _, lang in rows]


def table(title: str, lines: Iterator[tuple[str, str]]) -> None:
    print(f"\n| {title} | texts | accuracy | above threshold | accuracy there | wrongly dropped |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, row in lines:
        print(f"| {name} | {row} |")


def by_language(answers: Answers) -> Iterator[tuple[str, str]]:
    langs = sorted(set(answers.gold.tolist()), key=lambda lang: answers.right[answers.gold == lang].mean())
    for lang in langs:
        yield lang, answers.row(answers.gold == lang)
    yield "all", answers.row(np.ones(len(answers.gold), np.bool_))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    corpora = os.environ.get("JINA_DATA_CORPORA")
    parser.add_argument("--corpora", type=Path, default=corpora, required=corpora is None, help="folder of real data")
    parser.add_argument("--threshold", type=float, default=0.65)
    parser.add_argument("--model", help="a fastText model file; default: lid.176.ftz")
    args = parser.parse_args()

    def asked(texts: list[str], langs: list[str]) -> Answers:
        return ask(texts, langs, model=args.model, threshold=args.threshold)

    texts, langs = known(args.corpora / "eval/langid_lingua.parquet", args.model)
    table("lingua, language", by_language(asked(texts, langs)))

    def prefixes() -> Iterator[tuple[str, str]]:
        for n in PREFIXES:
            long_enough = [i for i, text in enumerate(texts) if len(text) >= n]
            answers = asked([texts[i][:n] for i in long_enough], [langs[i] for i in long_enough])
            yield f"{n}", answers.row(np.ones(len(long_enough), np.bool_))

    table("lingua, first characters", prefixes())

    texts, langs = known(args.corpora / "train/corpus_commonvoice_sentences.parquet", args.model)
    began = time.perf_counter()
    answers = asked(texts, langs)
    print(f"{len(texts) / (time.perf_counter() - began):,.0f} rows/s")
    bins = np.digitize([len(text) for text in texts], BINS)
    table(
        "Common Voice, characters",
        (
            (f"{low} to {high - 1}" if high < BINS[-1] else f"{low} and more", answers.row(bins == i))
            for i, (low, high) in enumerate(pairwise(BINS), 1)
        ),
    )


if __name__ == "__main__":
    main()

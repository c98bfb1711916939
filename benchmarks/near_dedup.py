"""Measures precision and recall of `near_dedup`, and how often it detects a pair at each similarity.

    python benchmarks/near_dedup.py [--corpora FOLDER] [--json FILE]

Reads eval/neardup_dblp_acm_pairs.parquet (12,363 labelled pairs of bibliographic records). Its texts are serialized as
"COL title VAL ... COL authors VAL ..."; these markers are removed because they are equal in all records. The first
table has precision and recall for each threshold: of the stage (the pair shares a band, and its similarity reaches the
threshold; the threshold determines the bands) and of the similarity alone. The second table has, for each decile of the
similarity, the fraction of pairs that share a band and the expected fraction. For this, shingles have three words and
no text is in two pairs: pairs with common words are not independent, so their standard error would be too small.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.kernels.shingles import sorted_sets
from jina_data.stages import NearDedup
from jina_data.stages.base import Context
from jina_data.stages.rows import Rows, View

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
N_GRAMS = (1, 2, 3, 5)
BANDS = ((14, 8), (28, 4), (56, 2))

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """Precision and recall at a threshold, of the stage and of the similarity alone."""

    n_grams: int
    threshold: float
    bands: str
    precision: float
    recall: float
    f1: float
    exact_precision: float
    exact_recall: float
    exact_f1: float


@dataclass(frozen=True)
class Decile:
    """The pairs in a decile of the similarity: the fraction that shares a band, the expected fraction, and the error.

    `found` and `promised` are the two fractions; `errors_off` is their difference in standard errors.
    """

    pairs: str
    bands: str
    up_to: float
    n: int
    found: float
    promised: float
    errors_off: float


def rows_of(texts: Sequence[str]) -> Rows:
    batch = pa.record_batch({"text": pa.array(texts, pa.string())})
    view = View(batch.schema, {"text": ("text",)})
    return Rows(batch, view, pa.array(range(len(texts)), pa.uint64()), pa.array([""] * len(texts), pa.string()))


def shares_band(stage: NearDedup, left: Sequence[str], right: Sequence[str]) -> BoolArray:
    """Return for each pair whether the stage would compare it."""
    keys = [stage.keys(rows_of(texts), Context()) for texts in (left, right)]
    is_shared = np.zeros(len(left), np.bool_)
    for name in (name for name in keys[0] if name.startswith("b")):
        left_keys, right_keys = (pa.array(key[name]).fill_null(0).to_numpy() for key in keys)
        is_shared |= (left_keys == right_keys) & (left_keys != 0)
    return is_shared


def similarities(stage: NearDedup, left: Sequence[str], right: Sequence[str]) -> FloatArray:
    """Return the true Jaccard similarity of each pair; two texts without elements are equal."""
    sides = []
    for texts in (left, right):
        elements = sorted_sets(stage.elements(rows_of(texts))[0])
        sides.append([frozenset(part.tolist()) for part in np.split(elements.values, elements.offsets[1:-1])])
    return np.array([len(a & b) / len(a | b) if a or b else 1.0 for a, b in zip(*sides, strict=True)])


def quality(predicted: BoolArray, true: BoolArray) -> tuple[float, float, float]:
    """Return precision, recall and F1."""
    right = float((predicted & true).sum())
    precision = right / predicted.sum() if predicted.any() else 1.0
    recall = right / true.sum()
    return precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0


def lines(left: Sequence[str], right: Sequence[str], true: BoolArray) -> Iterator[Line]:
    for n_grams in N_GRAMS:
        similarity = similarities(NearDedup(n_grams=n_grams), left, right)
        for threshold in THRESHOLDS:
            stage = NearDedup(n_grams=n_grams, threshold=threshold)
            near = similarity >= threshold
            detected = near & shares_band(stage, left, right)
            bands = "{} x {}".format(*stage.bands)
            yield Line(n_grams, threshold, bands, *quality(detected, true), *quality(near, true))


def deciles(name: str, left: Sequence[str], right: Sequence[str], n_grams: int) -> Iterator[Decile]:
    similarity = similarities(NearDedup(n_grams=n_grams), left, right)
    for n_bands, n_hashes in BANDS:
        stage = NearDedup(n_grams=n_grams, num_buckets=n_bands, hashes_per_bucket=n_hashes)
        shared = shares_band(stage, left, right)
        # The probability that at least one of n bands is equal, if each has n_hashes hashes.
        expected = 1 - (1 - similarity**n_hashes) ** n_bands
        for decile in range(10):
            in_decile = (similarity > decile / 10) & (similarity <= (decile + 1) / 10) & (similarity < 1)
            if in_decile.sum() < 30:
                continue
            error = float(np.sqrt((expected[in_decile] * (1 - expected[in_decile])).sum())) / int(in_decile.sum())
            off = float(shared[in_decile].mean() - expected[in_decile].mean()) / error if error else 0.0
            fractions = float(shared[in_decile].mean()), float(expected[in_decile].mean()), off
            yield Decile(name, f"{n_bands} x {n_hashes}", (decile + 1) / 10, int(in_decile.sum()), *fractions)


def independent_pairs(left: Sequence[str], right: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the pairs without a text of an earlier pair."""
    used: set[str] = set()
    pairs = []
    for pair in zip(left, right, strict=True):
        if not used & {*pair}:
            pairs.append(pair)
        used |= {*pair}
    return [text for text, _ in pairs], [text for _, text in pairs]


def speed(texts: pa.ChunkedArray, repeats: int = 3) -> Iterator[float]:
    """Yield the megabytes of text per second for which keys are computed, on one core."""
    values = texts.slice(0, 40_000)
    n_bytes = sum(len(text.encode()) for text in values.to_pylist())
    stage = NearDedup()
    for _ in range(repeats):
        started = time.perf_counter()
        for start in range(0, len(values), 4096):
            batch = pa.record_batch({"text": values.slice(start, 4096).combine_chunks()})
            n = batch.num_rows
            rows = Rows(
                batch, View(batch.schema, {"text": ("text",)}), pa.nulls(n, pa.uint64()), pa.nulls(n, pa.string())
            )
            stage.keys(rows, Context())
        yield n_bytes / (time.perf_counter() - started) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    corpora = os.environ.get("JINA_DATA_CORPORA")
    parser.add_argument("--corpora", type=Path, default=corpora, required=corpora is None, help="folder of real data")
    parser.add_argument("--json", type=Path, help="also write the numbers to this JSON file")
    args = parser.parse_args()

    pairs = pq.read_table(args.corpora / "eval/neardup_dblp_acm_pairs.parquet")
    left, right = (
        [re.sub(r"\s*COL \w+ VAL\s*", " ", text).strip() for text in pairs[side].to_pylist()]
        for side in ("left", "right")
    )
    true = np.array([str(label) == "1" for label in pairs["label"].to_pylist()])
    thresholds = list(lines(left, right, true))
    print(f"{len(true):,} pairs, {true.sum():,} of them near-duplicates; markers removed")
    print("\n| n_grams | threshold | bands | precision | recall | F1 | exact precision | recall | F1 |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for line in thresholds:
        numbers = (line.precision, line.recall, line.f1, line.exact_precision, line.exact_recall, line.exact_f1)
        print(f"| {line.n_grams} | {line.threshold} | {line.bands} | {' | '.join(f'{x:.3f}' for x in numbers)} |")

    simple = pq.read_table(args.corpora / "train/pairs_simplification.parquet")
    sides = simple["anchor"].to_pylist(), simple["positive"].to_pylist()
    curve = [
        *deciles("dblp_acm", *independent_pairs(left, right), 3),
        *deciles("simplification", *independent_pairs(*sides), 3),
    ]
    print("\n| pairs | bands | similarity up to | pairs | share a band | expected | difference in standard errors |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for d in curve:
        print(
            f"| {d.pairs} | {d.bands} | {d.up_to} | {d.n:,} | {d.found:.4f} | {d.promised:.4f} | {d.errors_off:+.1f} |"
        )

    abstracts = pq.read_table(args.corpora / "train/pairs_acl_title_abstract.parquet")["positive"]
    sentences = pq.read_table(args.corpora / "train/corpus_commonvoice_sentences.parquet")["text"]
    rates = {"abstracts": max(speed(abstracts)), "sentences": max(speed(sentences))}
    print("\n" + ", ".join(f"{name} {rate:.0f} MB/s" for name, rate in rates.items()) + " (keys, one core, best of 3)")
    result = {
        "quality": [asdict(line) for line in thresholds],
        "deciles": [asdict(decile) for decile in curve],
        "MB/s": rates,
    }
    print(json.dumps(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

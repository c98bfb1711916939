"""How well `near_dedup` tells near-duplicates, and how often it finds a pair at each similarity.

    python benchmarks/near_dedup.py [--corpora FOLDER] [--json FILE]

Reads eval/neardup_dblp_acm_pairs.parquet (12,363 labelled pairs of bibliographic records). Its texts are serialized
as "COL title VAL ... COL authors VAL ..."; these markers are stripped here, since they are equal in all records. For
each threshold: precision and recall of the stage (the pair shares a band, and its similarity reaches the threshold;
bands chosen by the threshold), beside those of the similarity alone. Then, for each decile of the similarity, how many
pairs share a band and how many should. For that, shingles are of three words and no text is in two pairs: pairs that
have their words in common are not independent, so that the standard error would be too small for them.
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
    """Of the pairs in a decile of the similarity: how many share a band, how many should, and its standard error."""

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
    """Tell for each pair whether the stage would compare it."""
    keys = [stage.keys(rows_of(texts), Context()) for texts in (left, right)]
    out = np.zeros(len(left), np.bool_)
    for name in (name for name in keys[0] if name.startswith("b")):
        one, other = (pa.array(key[name]).fill_null(0).to_numpy() for key in keys)
        out |= (one == other) & (one != 0)
    return out


def similarities(stage: NearDedup, left: Sequence[str], right: Sequence[str]) -> FloatArray:
    """Return the true Jaccard similarity of each pair; two texts without elements are equal."""
    sides = []
    for texts in (left, right):
        found = sorted_sets(stage.elements(rows_of(texts))[0])
        sides.append([frozenset(part.tolist()) for part in np.split(found.values, found.offsets[1:-1])])
    return np.array([len(a & b) / len(a | b) if a or b else 1.0 for a, b in zip(*sides, strict=True)])


def quality(said: BoolArray, true: BoolArray) -> tuple[float, float, float]:
    right = float((said & true).sum())
    precision = right / said.sum() if said.any() else 1.0
    recall = right / true.sum()
    return precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0


def lines(left: Sequence[str], right: Sequence[str], true: BoolArray) -> Iterator[Line]:
    for n_grams in N_GRAMS:
        similarity = similarities(NearDedup(n_grams=n_grams), left, right)
        for threshold in THRESHOLDS:
            stage = NearDedup(n_grams=n_grams, threshold=threshold)
            near = similarity >= threshold
            found = near & shares_band(stage, left, right)
            bands = "{} x {}".format(*stage.bands)
            yield Line(n_grams, threshold, bands, *quality(found, true), *quality(near, true))


def deciles(name: str, left: Sequence[str], right: Sequence[str], n_grams: int) -> Iterator[Decile]:
    similarity = similarities(NearDedup(n_grams=n_grams), left, right)
    for n_bands, n_hashes in BANDS:
        stage = NearDedup(n_grams=n_grams, num_buckets=n_bands, hashes_per_bucket=n_hashes)
        shared = shares_band(stage, left, right)
        promised = 1 - (1 - similarity**n_hashes) ** n_bands
        for decile in range(10):
            of = (similarity > decile / 10) & (similarity <= (decile + 1) / 10) & (similarity < 1)
            if of.sum() < 30:
                continue
            error = float(np.sqrt((promised[of] * (1 - promised[of])).sum())) / int(of.sum())
            off = float(shared[of].mean() - promised[of].mean()) / error if error else 0.0
            found = float(shared[of].mean()), float(promised[of].mean()), off
            yield Decile(name, f"{n_bands} x {n_hashes}", (decile + 1) / 10, int(of.sum()), *found)


def apart(left: Sequence[str], right: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the pairs of which neither text was in a pair before."""
    seen: set[str] = set()
    pairs = []
    for pair in zip(left, right, strict=True):
        if not seen & {*pair}:
            pairs.append(pair)
        seen |= {*pair}
    return [one for one, _ in pairs], [one for _, one in pairs]


def speed(texts: pa.ChunkedArray, repeats: int = 3) -> Iterator[float]:
    """Return how many megabytes of text a second get their keys, on one core."""
    values = texts.slice(0, 40_000)
    n_bytes = sum(len(text.encode()) for text in values.to_pylist())
    stage = NearDedup()
    for _ in range(repeats):
        began = time.perf_counter()
        for start in range(0, len(values), 4096):
            one = pa.record_batch({"text": values.slice(start, 4096).combine_chunks()})
            n = one.num_rows
            rows = Rows(one, View(one.schema, {"text": ("text",)}), pa.nulls(n, pa.uint64()), pa.nulls(n, pa.string()))
            stage.keys(rows, Context())
        yield n_bytes / (time.perf_counter() - began) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    corpora = os.environ.get("JINA_DATA_CORPORA")
    parser.add_argument("--corpora", type=Path, default=corpora, required=corpora is None, help="folder of real data")
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    args = parser.parse_args()

    pairs = pq.read_table(args.corpora / "eval/neardup_dblp_acm_pairs.parquet")
    left, right = (
        [re.sub(r"\s*COL \w+ VAL\s*", " ", text).strip() for text in pairs[side].to_pylist()]
        for side in ("left", "right")
    )
    true = np.array([str(label) == "1" for label in pairs["label"].to_pylist()])
    found = list(lines(left, right, true))
    print(f"{len(true):,} pairs, {true.sum():,} of them near-duplicates; markers stripped")
    print("\n| n_grams | threshold | bands | precision | recall | F1 | exact precision | recall | F1 |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for one in found:
        numbers = (one.precision, one.recall, one.f1, one.exact_precision, one.exact_recall, one.exact_f1)
        print(f"| {one.n_grams} | {one.threshold} | {one.bands} | {' | '.join(f'{x:.3f}' for x in numbers)} |")

    simple = pq.read_table(args.corpora / "train/pairs_simplification.parquet")
    sides = simple["anchor"].to_pylist(), simple["positive"].to_pylist()
    curve = [*deciles("dblp_acm", *apart(left, right), 3), *deciles("simplification", *apart(*sides), 3)]
    print("\n| pairs | bands | similarity up to | pairs | share a band | should | standard errors off |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for d in curve:
        print(
            f"| {d.pairs} | {d.bands} | {d.up_to} | {d.n:,} | {d.found:.4f} | {d.promised:.4f} | {d.errors_off:+.1f} |"
        )

    abstracts = pq.read_table(args.corpora / "train/pairs_acl_title_abstract.parquet")["positive"]
    sentences = pq.read_table(args.corpora / "train/corpus_commonvoice_sentences.parquet")["text"]
    rates = {"abstracts": max(speed(abstracts)), "sentences": max(speed(sentences))}
    print("\n" + ", ".join(f"{name} {rate:.0f} MB/s" for name, rate in rates.items()) + " (keys, one core, best of 3)")
    result = {"quality": [asdict(one) for one in found], "deciles": [asdict(one) for one in curve], "MB/s": rates}
    print(json.dumps(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

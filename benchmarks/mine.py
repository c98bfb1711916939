"""Compares mining with sentence-transformers: the same pairs, vectors and options, each in a separate process.

    python benchmarks/mine.py FILE.parquet ... [--limit N] [--json OUT]

Prints tables. The first has a row for each file: seconds and peak memory of both, the number of triplets, and the
number of triplets that are equal after case and whitespace are folded. The next tables show why a triplet was mined by
only one of them. The last tables compare both with a reference: all products in float64 and all texts sorted, with the
rules of jina-data and with those of sentence-transformers. Different texts at the same rank count as equal only if
their products are equal within float32 rounding; greatest_gap is the largest difference among those.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jina_data.embed.load import load_embedder
from jina_data.kernels.keys import fold_text

OPTIONS: dict[str, Any] = {"num_negatives": 3, "relative_margin": 0.05}
N, MARGIN = OPTIONS["num_negatives"], OPTIONS["relative_margin"]

ROUNDING = 2**-21
"""Products of unit vectors with a smaller difference are equal in float32: eight units in the last place below 1."""

BLOCK_ANCHORS = 512

Triplet = tuple[str, str, str]
Ranking = dict[str, list[str]]
"""The negatives of each anchor, the most similar first."""


def pairs_of(path: str, limit: int | None) -> list[dict[str, str]]:
    """Return the pairs of a file."""
    import pyarrow.parquet as pq

    rows: list[dict[str, str]] = pq.read_table(path, columns=["anchor", "positive"]).slice(0, limit).to_pylist()
    return rows


# ---------------------------------------------------------------------------------------------------------- mining


def ours(path: str, limit: int | None, out: Path) -> list[tuple[str, ...]]:
    """Mine with jina-data."""
    import pyarrow.parquet as pq

    from jina_data.mining.config import MineConfig
    from jina_data.mining.run import mine

    mine(MineConfig(inputs=[path], limit=limit, **OPTIONS), out)
    return [tuple(row.values()) for row in pq.read_table(out / "data").to_pylist()]


def theirs(path: str, limit: int | None, _: Path) -> list[tuple[str, ...]]:
    """Mine with sentence-transformers and the same vectors."""
    import datasets
    import torch
    from sentence_transformers.util import mine_hard_negatives

    class Model:
        device = "cpu"

        def encode_query(self, texts: Sequence[str], **_: Any) -> Any:
            return load_embedder("static").encode(texts).astype("float32")

        encode_document = encode_query

        def similarity(self, left: Any, right: Any) -> Any:
            return torch.as_tensor(left) @ torch.as_tensor(right).T

        def similarity_pairwise(self, left: Any, right: Any) -> Any:
            return (torch.as_tensor(left) * torch.as_tensor(right)).sum(1)

    rows = datasets.Dataset.from_list(pairs_of(path, limit))
    triplets = mine_hard_negatives(rows, Model(), verbose=False, **OPTIONS)  # type: ignore[arg-type]
    return [tuple(row.values()) for row in triplets]


def child(which: str, path: str, limit: int | None, folder: Path) -> None:
    """Mine in this process, and write time, memory and triplets to a file."""
    started = time.perf_counter()
    triplets = {"ours": ours, "theirs": theirs}[which](path, limit, folder / "run")
    result = {
        "seconds": round(time.perf_counter() - started, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "found": triplets,
    }
    (folder / f"{which}.json").write_text(json.dumps(result), encoding="utf-8")


# --------------------------------------------------------------------------------------------------- the reference


class Products:
    """Computes products of texts in float64, which are exact because the vectors have half precision."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._number = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        self._vectors = load_embedder("static").encode(list(self._number)).astype(np.float64)

    def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the vectors of texts, (n, D)."""
        return self._vectors[[self._number[text] for text in texts]]

    def of(self, left: str, right: str) -> float:
        """Return the product of two texts."""
        a, b = self.vectors([left, right])
        return float(a @ b)


@dataclass(frozen=True)
class Rules:
    """The key of equal texts, whether an anchor can be its own negative, and the number of candidates."""

    key: Callable[[str], str]
    itself: bool
    window: int | None


def their_rules(rows: Sequence[Mapping[str, str]]) -> Rules:
    """Return the rules of `mine_hard_negatives`: exact keys, and ten candidates for each negative and some more."""
    max_positives = max(Counter(row["anchor"] for row in rows).values())
    return Rules(key=str, itself=True, window=10 * N + 2 * max_positives)


OUR_RULES = Rules(key=fold_text, itself=False, window=None)


@dataclass(frozen=True)
class Reference:
    """The expected negatives of each anchor, the maximum score of a negative, and the spelling of the anchor."""

    negatives: Ranking
    limits: Mapping[str, float]
    anchors: Mapping[str, str]


def reference(rows: Sequence[Mapping[str, str]], products: Products, rules: Rules) -> Reference:
    """Rank all texts for each anchor; return the first texts that the rules and the margin allow."""
    anchors, corpus = ({rules.key(row[role]): row[role] for row in reversed(rows)} for role in ("anchor", "positive"))
    # The first spelling represents all; the texts are in the order of their first occurrence.
    names, texts = (list(dict.fromkeys(rules.key(row[role]) for row in rows)) for role in ("anchor", "positive"))
    number = {text: position for position, text in enumerate(texts)}
    positives: dict[str, list[int]] = {}
    for row in rows:
        positives.setdefault(rules.key(row["anchor"]), []).append(number[rules.key(row["positive"])])
    pool = products.vectors([corpus[text] for text in texts]).T
    negatives: Ranking = {}
    limits: dict[str, float] = {}
    for start in range(0, len(names), BLOCK_ANCHORS):
        block = names[start : start + BLOCK_ANCHORS]
        for name, scores in zip(block, products.vectors([anchors[name] for name in block]) @ pool, strict=True):
            lowest = scores[positives[name]].min()
            limits[name] = float(lowest - abs(lowest) * MARGIN)
            if rules.window is not None and rules.window < len(scores):
                scores[scores < np.partition(scores, -rules.window)[-rules.window]] = -np.inf
            scores[positives[name]] = -np.inf
            if not rules.itself and name in number:
                scores[number[name]] = -np.inf
            scores[scores > limits[name]] = -np.inf
            least = np.partition(scores, -N)[-N] if len(scores) > N else -np.inf
            near = np.flatnonzero((scores >= least) & (scores > -np.inf))
            order = np.lexsort((near, -scores[near]))[:N]
            negatives[name] = [corpus[texts[position]] for position in near[order]]
    return Reference(negatives, limits, anchors)


def rankings(triplets: Sequence[Triplet]) -> Ranking:
    """Return the negatives of each anchor spelling, for its first positive; all its positives share them."""
    by_positive: dict[str, dict[str, list[str]]] = {}
    for anchor, positive, negative in triplets:
        by_positive.setdefault(anchor, {}).setdefault(positive, []).append(negative)
    return {anchor: list(dict.fromkeys(next(iter(lists.values())))) for anchor, lists in by_positive.items()}


def compare_with(
    expected: Reference, mined: Ranking, *, key: Callable[[str], str], products: Products
) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """Count the differences to the reference: texts with equal products, texts at the limit, and others.

    Returns the counts, and the folded anchor and text of those at the limit.
    """
    counts, farthest = Counter({"equal_products": 0, "at_limit": 0, "other": 0}), 0.0
    at_limit: set[tuple[str, str]] = set()
    mined = {key(anchor): negatives for anchor, negatives in mined.items()}
    for anchor, negatives in expected.negatives.items():
        actual, target = ({key(text): text for text in texts} for texts in (mined.get(anchor, []), negatives))
        if list(actual) == list(target):
            continue
        score = partial(products.of, expected.anchors[anchor])
        limit = expected.limits[anchor]
        near = [
            name for name in actual.keys() ^ target.keys() if abs(score((actual | target)[name]) - limit) <= ROUNDING
        ]
        at_limit |= {(fold_text(anchor), fold_text(name)) for name in near}
        ranks = [[texts[name] for name in texts if name not in near][: N - len(near)] for texts in (actual, target)]
        for text, reference_text in zip_longest(*ranks):
            if text is None or reference_text is None:
                counts["other"] += 1
            elif key(text) != key(reference_text):
                gap = abs(score(text) - score(reference_text))
                equal = gap <= ROUNDING
                counts["equal_products" if equal else "other"] += 1
                farthest = max(farthest, gap if equal else 0)
    return {**counts, "at_limit": len(at_limit), "greatest_gap": farthest}, at_limit


# -------------------------------------------------------------------------------------------------------- differences

WRONG = "it is a positive, or the anchor, written otherwise"
ANCHORS = "its anchor is written in several ways"
TEXTS = "it is written in several ways, with different vectors"
LIMIT = "it is at the margin, to the rounding of float32"
EQUAL = "in its place is another with an equal product"
PLACE = "in its place is one of the former"
WINDOW = "the other looked no further"
OTHER = "something else"


def folded(triplets: Sequence[Triplet]) -> set[Triplet]:
    """Return the triplets with case and whitespace folded."""
    return {(fold_text(anchor), fold_text(positive), fold_text(negative)) for anchor, positive, negative in triplets}


class Causes:
    """Determines why only one of the two mined a triplet."""

    def __init__(
        self, rows: Sequence[Mapping[str, str]], products: Products, at_limit: Container[tuple[str, str]]
    ) -> None:
        self.at_limit, self.products = at_limit, products
        self.anchors, self.texts, self.positives = (dict[str, set[str]]() for _ in range(3))
        for row in rows:
            anchor, positive = (fold_text(row[role]) for role in ("anchor", "positive"))
            self.anchors.setdefault(anchor, set()).add(row["anchor"])
            self.texts.setdefault(positive, set()).add(row["positive"])
            self.positives.setdefault(anchor, {anchor}).add(positive)

    def count(self, mined: Mapping[str, Sequence[Triplet]]) -> dict[str, Counter[str]]:
        """Count the causes of the triplets that only one has."""
        lists = {
            # Of several spellings of an anchor, only the last is kept; such anchors have their own cause.
            which: {fold_text(anchor): negatives for anchor, negatives in rankings(triplets).items()}
            for which, triplets in mined.items()
        }
        sets = {which: folded(triplets) for which, triplets in mined.items()}
        return {
            f"only_{which}": Counter(
                self.cause(anchor, negative, lists[which].get(anchor, []), lists[other].get(anchor, []))
                for anchor, _, negative in sets[which] - sets[other]
            )
            for which, other in (("ours", "theirs"), ("theirs", "ours"))
        }

    def cause(self, anchor: str, negative: str, ranking: Sequence[str], other: Sequence[str]) -> str:
        """Return why a ranking of an anchor has a negative that the other ranking does not have."""
        if negative in self.positives[anchor]:
            return WRONG
        if len(self.anchors[anchor]) > 1:
            return ANCHORS
        score = partial(self.products.of, next(iter(self.anchors[anchor])))
        special = partial(self._special, anchor)
        text = next(text for text in ranking if fold_text(text) == negative)
        if (cause := special(text)) is not None:
            return cause
        plain, other_plain = ([entry for entry in texts if special(entry) is None] for texts in (ranking, other))
        rank = plain.index(text)
        if rank < len(other_plain):
            return EQUAL if abs(score(text) - score(other_plain[rank])) <= ROUNDING else OTHER
        return WINDOW if len(other_plain) == len(other) else PLACE

    def _special(self, anchor: str, text: str) -> str | None:
        name = fold_text(text)
        if name in self.positives[anchor]:
            return WRONG
        if len(self.texts[name]) > 1:
            return TEXTS
        return LIMIT if (anchor, name) in self.at_limit else None


# ------------------------------------------------------------------------------------------------------------ tables


def mine_both(path: str, limit: int | None, folder: Path) -> dict[str, dict[str, Any]]:
    """Mine a file with both."""
    for which in ("ours", "theirs"):
        command = [sys.executable, __file__, "--child", which, path, "--folder", str(folder)]
        subprocess.run(command + (["--limit", str(limit)] if limit else []), check=True, stderr=subprocess.DEVNULL)
    return {which: json.loads((folder / f"{which}.json").read_text()) for which in ("ours", "theirs")}


def compare(path: str, limit: int | None, results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the results of both, and the causes of their differences."""
    mined: dict[str, list[Triplet]] = {
        which: [(row[0], row[1], row[2]) for row in result.pop("found")] for which, result in results.items()
    }
    rows = pairs_of(path, limit)
    products = Products([text for row in rows for text in row.values()])
    rule_sets = {"ours": OUR_RULES, "theirs": their_rules(rows)}
    sets = {which: folded(triplets) for which, triplets in mined.items()}
    checked = {
        which: compare_with(
            reference(rows, products, rules_of), rankings(mined[which]), key=rules_of.key, products=products
        )
        for which, rules_of in rule_sets.items()
    }
    at_limit = {pair for _, pairs in checked.values() for pair in pairs}
    return {
        "file": Path(path).stem,
        "pairs": len(rows),
        **results,
        "found_ours": len(sets["ours"]),
        "found_theirs": len(sets["theirs"]),
        "both": len(sets["ours"] & sets["theirs"]),
        **Causes(rows, products, at_limit).count(mined),
        **{f"{which}_against_reference": counts for which, (counts, _) in checked.items()},
    }


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {' | '.join(head)} |"
    yield "| --- |" + " ---: |" * (len(head) - 1)
    for row in rows:
        yield f"| {' | '.join(f'{cell:,}' if isinstance(cell, int | float) else cell for cell in row)} |"


def print_tables(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the results of both, the causes of differences, and the comparison with the reference."""
    head = ["pairs", "s", "s, theirs", "MiB", "MiB, theirs", "found", "found, theirs", "both"]
    cells = [
        [
            f"{row['file']}, {row['pairs']:,}",
            *(row[which][measure] for measure in ("seconds", "peak_mib") for which in ("ours", "theirs")),
            *(row[name] for name in ("found_ours", "found_theirs", "both")),
        ]
        for row in rows
    ]
    print("\n".join(table(head, cells)))
    for which in ("only_ours", "only_theirs"):
        causes = [
            [cause, *(row[which][cause] for row in rows)]
            for cause in (WRONG, ANCHORS, TEXTS, LIMIT, EQUAL, PLACE, WINDOW, OTHER)
        ]
        print("\n".join(["", *table([which, *(row["file"] for row in rows)], causes)]))
    for which in ("ours_against_reference", "theirs_against_reference"):
        kinds = [[kind, *(row[which][kind] for row in rows)] for kind in rows[0][which]]
        print("\n".join(["", *table([which, *(row["file"] for row in rows)], kinds)]))


def _create(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main() -> None:
    """Parse the command line, mine, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.files[0], arguments.limit, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        # All files are mined before any is compared: the peak memory of a child includes what its parent holds.
        results = [
            mine_both(path, arguments.limit, _create(Path(name) / str(number)))
            for number, path in enumerate(arguments.files)
        ]
    rows = [compare(path, arguments.limit, result) for path, result in zip(arguments.files, results, strict=True)]
    print_tables(rows)
    if arguments.json:
        versions = {name: metadata.version(name) for name in ("jina-data", "sentence-transformers", "torch", "numpy")}
        machine = {"machine": platform.machine(), "cores": os.cpu_count()}
        arguments.json.write_text(
            json.dumps({"options": OPTIONS, "rows": rows, **versions, **machine}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()

"""Mining against sentence-transformers: the same pairs, vectors and options, each in a process of its own.

Run: python benchmarks/mine.py FILE.parquet ... [--limit N] [--json OUT]
Prints tables. The first has a row for each file: seconds and peak memory of both, how many triplets they found, and
how many of them are the same after folding case and white space. The next say of each other triplet why only one has
it. The last compare both with a reference: all products in float64, all texts sorted, once by our rules and once by
those of sentence-transformers. Two texts in the same place count as equal only if their products are, to the rounding
of float32; greatest_gap is the largest difference among those.
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
"""Products of two unit vectors closer than this are equal in float32: eight units in its last place, below 1."""

BLOCK_ANCHORS = 512

Triplet = tuple[str, str, str]
Ranking = dict[str, list[str]]
"""The negatives of each anchor, the closest first."""


def pairs_of(path: str, limit: int | None) -> list[dict[str, str]]:
    """Read the pairs."""
    import pyarrow.parquet as pq

    rows: list[dict[str, str]] = pq.read_table(path, columns=["anchor", "positive"]).slice(0, limit).to_pylist()
    return rows


# ------------------------------------------------------------------------------------------------------- both mine


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
    found = mine_hard_negatives(rows, Model(), verbose=False, **OPTIONS)  # type: ignore[arg-type]
    return [tuple(row.values()) for row in found]


def child(which: str, path: str, limit: int | None, folder: Path) -> None:
    """Mine in this process, and leave what it took and what it found."""
    started = time.perf_counter()
    found = {"ours": ours, "theirs": theirs}[which](path, limit, folder / "run")
    said = {
        "seconds": round(time.perf_counter() - started, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "found": found,
    }
    (folder / f"{which}.json").write_text(json.dumps(said), encoding="utf-8")


# --------------------------------------------------------------------------------------------------- the reference


class Products:
    """Products of texts in float64: exact, since vectors come in half precision."""

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
    """By what texts are the same, whether an anchor is a negative of itself, and how many of the closest are seen."""

    key: Callable[[str], str]
    itself: bool
    window: int | None


def their_rules(rows: Sequence[Mapping[str, str]]) -> Rules:
    """Return the rules of `mine_hard_negatives`: the same characters, ten candidates a negative, and some more."""
    most = max(Counter(row["anchor"] for row in rows).values())
    return Rules(key=str, itself=True, window=10 * N + 2 * most)


OUR_RULES = Rules(key=fold_text, itself=False, window=None)


@dataclass(frozen=True)
class Reference:
    """What should be found for each anchor, how close a negative may be, and how the anchor is written."""

    negatives: Ranking
    limits: Mapping[str, float]
    anchors: Mapping[str, str]


def reference(rows: Sequence[Mapping[str, str]], products: Products, rules: Rules) -> Reference:
    """Rank all texts for each anchor; return the first that rules and margin allow."""
    anchors, corpus = ({rules.key(row[role]): row[role] for row in reversed(rows)} for role in ("anchor", "positive"))
    # The first spelling stands for all; in the order in which the texts first occur.
    names, texts = (list(dict.fromkeys(rules.key(row[role]) for row in rows)) for role in ("anchor", "positive"))
    number = {text: at for at, text in enumerate(texts)}
    positives: dict[str, list[int]] = {}
    for row in rows:
        positives.setdefault(rules.key(row["anchor"]), []).append(number[rules.key(row["positive"])])
    pool = products.vectors([corpus[text] for text in texts]).T
    found: Ranking = {}
    limits: dict[str, float] = {}
    for first in range(0, len(names), BLOCK_ANCHORS):
        some = names[first : first + BLOCK_ANCHORS]
        for name, scores in zip(some, products.vectors([anchors[name] for name in some]) @ pool, strict=True):
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
            found[name] = [corpus[texts[at]] for at in near[order]]
    return Reference(found, limits, anchors)


def rankings(triplets: Sequence[Triplet]) -> Ranking:
    """Return the negatives of each anchor as it is written; those of its first positive, which all others share."""
    found: dict[str, dict[str, list[str]]] = {}
    for anchor, positive, negative in triplets:
        found.setdefault(anchor, {}).setdefault(positive, []).append(negative)
    return {anchor: list(dict.fromkeys(next(iter(lists.values())))) for anchor, lists in found.items()}


def against(
    expected: Reference, found: Ranking, *, key: Callable[[str], str], products: Products
) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """Count what is not as the reference has it: other texts with equal products, texts at the limit, and the rest.

    Returns the counts, and those at the limit: anchor and text, folded.
    """
    counts, farthest = Counter({"equal_products": 0, "at_limit": 0, "other": 0}), 0.0
    at_limit: set[tuple[str, str]] = set()
    found = {key(anchor): negatives for anchor, negatives in found.items()}
    for anchor, wanted in expected.negatives.items():
        one, two = ({key(text): text for text in texts} for texts in (found.get(anchor, []), wanted))
        if list(one) == list(two):
            continue
        score = partial(products.of, expected.anchors[anchor])
        limit = expected.limits[anchor]
        near = [name for name in one.keys() ^ two.keys() if abs(score((one | two)[name]) - limit) <= ROUNDING]
        at_limit |= {(fold_text(anchor), fold_text(name)) for name in near}
        places = [[texts[name] for name in texts if name not in near][: N - len(near)] for texts in (one, two)]
        for left, right in zip_longest(*places):
            if left is None or right is None:
                counts["other"] += 1
            elif key(left) != key(right):
                gap = abs(score(left) - score(right))
                equal = gap <= ROUNDING
                counts["equal_products" if equal else "other"] += 1
                farthest = max(farthest, gap if equal else 0)
    return {**counts, "at_limit": len(at_limit), "greatest_gap": farthest}, at_limit


# -------------------------------------------------------------------------------------------------- what is different

WRONG = "it is a positive, or the anchor, written otherwise"
ANCHORS = "its anchor is written in several ways"
TEXTS = "it is written in several ways, with different vectors"
LIMIT = "it is at the margin, to the rounding of float32"
EQUAL = "in its place is another with an equal product"
PLACE = "in its place is one of the former"
WINDOW = "the other looked no further"
OTHER = "something else"


def folded(triplets: Sequence[Triplet]) -> set[Triplet]:
    """Return the triplets with case and white space folded."""
    return {(fold_text(anchor), fold_text(positive), fold_text(negative)) for anchor, positive, negative in triplets}


class Causes:
    """Says why a triplet is found by one of both only."""

    def __init__(
        self, rows: Sequence[Mapping[str, str]], products: Products, at_limit: Container[tuple[str, str]]
    ) -> None:
        self.at_limit, self.products = at_limit, products
        self.anchors, self.texts, self.known = (dict[str, set[str]]() for _ in range(3))
        for row in rows:
            anchor, positive = (fold_text(row[role]) for role in ("anchor", "positive"))
            self.anchors.setdefault(anchor, set()).add(row["anchor"])
            self.texts.setdefault(positive, set()).add(row["positive"])
            self.known.setdefault(anchor, {anchor}).add(positive)

    def count(self, found: Mapping[str, Sequence[Triplet]]) -> dict[str, Counter[str]]:
        """Count the causes of what only one has, by which one it is."""
        lists = {
            # Of several spellings of an anchor the last: those are not looked at.
            which: {fold_text(anchor): negatives for anchor, negatives in rankings(triplets).items()}
            for which, triplets in found.items()
        }
        sets = {which: folded(triplets) for which, triplets in found.items()}
        return {
            f"only_{which}": Counter(
                self.of(anchor, negative, lists[which].get(anchor, []), lists[other].get(anchor, []))
                for anchor, _, negative in sets[which] - sets[other]
            )
            for which, other in (("ours", "theirs"), ("theirs", "ours"))
        }

    def of(self, anchor: str, negative: str, own: Sequence[str], other: Sequence[str]) -> str:
        """Return why one ranking of an anchor has a negative that the other lacks."""
        if negative in self.known[anchor]:
            return WRONG
        if len(self.anchors[anchor]) > 1:
            return ANCHORS
        score = partial(self.products.of, next(iter(self.anchors[anchor])))
        special = partial(self._special, anchor)
        text = next(text for text in own if fold_text(text) == negative)
        if (cause := special(text)) is not None:
            return cause
        plain, there = ([one for one in texts if special(one) is None] for texts in (own, other))
        place = plain.index(text)
        if place < len(there):
            return EQUAL if abs(score(text) - score(there[place])) <= ROUNDING else OTHER
        return WINDOW if len(there) == len(other) else PLACE

    def _special(self, anchor: str, text: str) -> str | None:
        name = fold_text(text)
        if name in self.known[anchor]:
            return WRONG
        if len(self.texts[name]) > 1:
            return TEXTS
        return LIMIT if (anchor, name) in self.at_limit else None


# ------------------------------------------------------------------------------------------------------------ tables


def mine_both(path: str, limit: int | None, folder: Path) -> dict[str, dict[str, Any]]:
    """Mine a file both ways."""
    for which in ("ours", "theirs"):
        command = [sys.executable, __file__, "--child", which, path, "--folder", str(folder)]
        subprocess.run(command + (["--limit", str(limit)] if limit else []), check=True, stderr=subprocess.DEVNULL)
    return {which: json.loads((folder / f"{which}.json").read_text()) for which in ("ours", "theirs")}


def compare(path: str, limit: int | None, said: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Say what both found, and why it differs."""
    found: dict[str, list[Triplet]] = {
        which: [(row[0], row[1], row[2]) for row in one.pop("found")] for which, one in said.items()
    }
    rows = pairs_of(path, limit)
    products = Products([text for row in rows for text in row.values()])
    rules = {"ours": OUR_RULES, "theirs": their_rules(rows)}
    sets = {which: folded(triplets) for which, triplets in found.items()}
    checked = {
        which: against(reference(rows, products, one), rankings(found[which]), key=one.key, products=products)
        for which, one in rules.items()
    }
    at_limit = {where for _, places in checked.values() for where in places}
    return {
        "file": Path(path).stem,
        "pairs": len(rows),
        **said,
        "found_ours": len(sets["ours"]),
        "found_theirs": len(sets["theirs"]),
        "both": len(sets["ours"] & sets["theirs"]),
        **Causes(rows, products, at_limit).count(found),
        **{f"{which}_against_reference": counts for which, (counts, _) in checked.items()},
    }


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {' | '.join(head)} |"
    yield "| --- |" + " ---: |" * (len(head) - 1)
    for row in rows:
        yield f"| {' | '.join(f'{cell:,}' if isinstance(cell, int | float) else cell for cell in row)} |"


def print_tables(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what both found, why they differ, and how they compare with the reference."""
    head = ["pairs", "s", "s, theirs", "MiB", "MiB, theirs", "found", "found, theirs", "both"]
    cells = [
        [
            f"{row['file']}, {row['pairs']:,}",
            *(row[which][what] for what in ("seconds", "peak_mib") for which in ("ours", "theirs")),
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


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main() -> None:
    """Read the command line."""
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
        # All are mined before any is compared: a child's peak of memory counts what its parent holds when it starts.
        said = [mine_both(path, arguments.limit, _new(Path(name) / str(at))) for at, path in enumerate(arguments.files)]
    rows = [compare(path, arguments.limit, one) for path, one in zip(arguments.files, said, strict=True)]
    print_tables(rows)
    if arguments.json:
        versions = {name: metadata.version(name) for name in ("jina-data", "sentence-transformers", "torch", "numpy")}
        machine = {"machine": platform.machine(), "cores": os.cpu_count()}
        arguments.json.write_text(
            json.dumps({"options": OPTIONS, "rows": rows, **versions, **machine}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()

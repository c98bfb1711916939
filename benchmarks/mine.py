"""Mining against sentence-transformers: the same pairs, vectors and options, each in a process of its own.

Run: python benchmarks/mine.py FILE.parquet ... [--limit N] [--json OUT]
Prints two tables with a row for each file. The first: seconds and peak memory of both, how many triplets they found,
and how many of them are the same after folding case and white space. The second says what the others are, and how both
compare with a reference: all products in float64, every text sorted, once by our rules and once by those of
sentence-transformers. A place of a ranking where two texts differ counts as equal only if their products do, to the
rounding of float32.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jina_data.embed.base import load_embedder
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

    from jina_data.mining.run import mine
    from jina_data.mining.settings import MineSettings

    mine(MineSettings(inputs=[path], limit=limit, **OPTIONS), out)
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


def reference(rows: Sequence[Mapping[str, str]], products: Products, rules: Rules) -> tuple[Ranking, dict[str, float]]:
    """Rank all texts for each anchor; return the first that rules and margin allow, and the limit of each anchor."""
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
    return found, limits


def rankings(triplets: Sequence[Triplet]) -> Ranking:
    """Return the negatives of each anchor as it is written; those of its first positive, which all others share."""
    found: dict[str, dict[str, list[str]]] = {}
    for anchor, positive, negative in triplets:
        found.setdefault(anchor, {}).setdefault(positive, []).append(negative)
    return {anchor: list(dict.fromkeys(next(iter(lists.values())))) for anchor, lists in found.items()}


def against_reference(
    found: Ranking, rows: Sequence[Mapping[str, str]], products: Products, rules: Rules
) -> dict[str, float]:
    """Count the places of rankings that are not as the reference has them, and what they are."""
    expected, limits = reference(rows, products, rules)
    spelled = {rules.key(row["anchor"]): row["anchor"] for row in reversed(rows)}
    counts, farthest = Counter({"places": 0, "equal_products": 0, "at_limit": 0, "other": 0}), 0.0
    for name, wanted in expected.items():
        anchor = spelled[name]
        for one, other in zip_longest(found.get(anchor, []), wanted):
            if one is not None and other is not None and rules.key(one) == rules.key(other):
                continue
            counts["places"] += 1
            there = [products.of(anchor, text) for text in (one, other) if text is not None]
            gap = abs(there[0] - there[1]) if len(there) == 2 else abs(there[0] - limits[name])
            kind = "equal_products" if len(there) == 2 else "at_limit"
            counts[kind if gap <= ROUNDING else "other"] += 1
            farthest = max(farthest, gap)
    return {**counts, "greatest_gap": farthest}


# -------------------------------------------------------------------------------------------------- what is different


def folded(triplets: Sequence[Triplet]) -> set[Triplet]:
    """Return the triplets with case and white space folded."""
    return {(fold_text(anchor), fold_text(positive), fold_text(negative)) for anchor, positive, negative in triplets}


def causes(found: Mapping[str, Sequence[Triplet]], rows: Sequence[Mapping[str, str]], products: Products) -> Any:
    """Say why a triplet is found by one of both only: a cause for each, counted."""
    spellings: dict[str, set[str]] = {}
    for row in rows:
        spellings.setdefault(fold_text(row["anchor"]), set()).add(row["anchor"])
    known: dict[str, set[str]] = {}
    for row in rows:
        known.setdefault(fold_text(row["anchor"]), {fold_text(row["anchor"])}).add(fold_text(row["positive"]))
    lists = {which: by_anchor(rankings(triplets)) for which, triplets in found.items()}
    first = {which: folded(triplets) for which, triplets in found.items()}
    said: dict[str, Counter[str]] = {}
    for which, other in (("ours", "theirs"), ("theirs", "ours")):
        counts: Counter[str] = Counter()
        for anchor, _, negative in first[which] - first[other]:
            if negative in known[anchor]:
                counts["a positive, or the anchor"] += 1
            elif len(spellings[anchor]) > 1:
                counts["its anchor is written in several ways"] += 1
            else:
                counts[_cause(negative, lists[which].get(anchor, []), lists[other].get(anchor, []),
                              wrong=known[anchor], score=partial(products.of, next(iter(spellings[anchor]))))] += 1  # fmt: skip
        said[f"only_{which}"] = counts
    return said


def by_anchor(found: Ranking) -> dict[str, list[str]]:
    """Return the rankings by the folded anchor; of several spellings the last, since those are not looked at."""
    return {fold_text(anchor): negatives for anchor, negatives in found.items()}


def _cause(
    negative: str, own: Sequence[str], other: Sequence[str], *, wrong: set[str], score: Callable[[str], float]
) -> str:
    """Return why one ranking of an anchor has a negative that the other lacks."""
    lists = [distinct(own, wrong), distinct(other, wrong)]
    place = [fold_text(text) for text in lists[0]].index(negative)
    if place < len(lists[1]):
        close = abs(score(lists[0][place]) - score(lists[1][place])) <= ROUNDING
        return "an equal product is in its place" if close else "other"
    if len(other) == len(lists[1]):
        return "the other looked no further"
    return "the other has a positive, the anchor, or one text twice in its place"


def distinct(negatives: Sequence[str], wrong: set[str]) -> list[str]:
    """Return a ranking without what is no negative, and without second spellings."""
    kept: dict[str, str] = {}
    for text in negatives:
        if fold_text(text) not in wrong:
            kept.setdefault(fold_text(text), text)
    return list(kept.values())


# ------------------------------------------------------------------------------------------------------------ tables


def measure(path: str, limit: int | None) -> dict[str, Any]:
    """Mine a file both ways."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for which in ("ours", "theirs"):
            command = [sys.executable, __file__, "--child", which, path, "--folder", name]
            subprocess.run(command + (["--limit", str(limit)] if limit else []), check=True, stderr=subprocess.DEVNULL)
        said = {which: json.loads((folder / f"{which}.json").read_text()) for which in ("ours", "theirs")}
    found: dict[str, list[Triplet]] = {which: list(map(tuple, one.pop("found"))) for which, one in said.items()}
    rows = pairs_of(path, limit)
    products = Products([text for row in rows for text in row.values()])
    sets = {which: folded(triplets) for which, triplets in found.items()}
    return {
        "file": Path(path).stem,
        "pairs": len(rows),
        **said,
        "found_ours": len(sets["ours"]),
        "found_theirs": len(sets["theirs"]),
        "both": len(sets["ours"] & sets["theirs"]),
        **causes(found, rows, products),
        "ours_against_reference": against_reference(rankings(found["ours"]), rows, products, OUR_RULES),
        "theirs_against_reference": against_reference(rankings(found["theirs"]), rows, products, their_rules(rows)),
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
        names = sorted({cause for row in rows for cause in row[which]})
        print("\n".join(["", *table([which, *names], [[row["file"], *(row[which][n] for n in names)] for row in rows])]))
    for which in ("ours_against_reference", "theirs_against_reference"):
        names = list(rows[0][which])
        print("\n".join(["", *table([which, *names], [[row["file"], *row[which].values()] for row in rows])]))


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
    rows = [measure(path, arguments.limit) for path in arguments.files]
    print_tables(rows)
    if arguments.json:
        versions = {name: metadata.version(name) for name in ("jina-data", "sentence-transformers", "torch", "numpy")}
        machine = {"machine": platform.machine(), "cores": os.cpu_count()}
        arguments.json.write_text(
            json.dumps({"options": OPTIONS, "rows": rows, **versions, **machine}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()

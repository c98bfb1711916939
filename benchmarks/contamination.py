"""Measure what `decontaminate` finds: overlaps planted in real rows, and those that real corpora have.

    python benchmarks/contamination.py --corpora FOLDER --out contamination.json

First, texts of the evaluation files are planted in training rows, in several manners, and recall and partners are
counted by manner and length. Then all training files are held against all evaluation files. Every find is checked word
by word with plain Python. Left out: qrels, which hold no texts, and neardup_dblp_acm_pairs, whose texts are records
with the names of their fields in between.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.kernels.words import word_spans
from jina_data.stages.decontaminate import Decontaminate
from jina_data.stages.rows import Rows, View

TEXT_COLUMNS = ("caption", "text", "anchor", "positive", "premise", "hypothesis", "en", "de", "fr", "cs")
"""The columns of training files that hold texts."""

LEFT_OUT = ("qrels", "neardup_dblp")
HOSTS = ("pairs_acl_title_abstract", "pairs_medquad", "pairs_simplification", "corpus_tldr_pages_multilingual")
MANNERS = ("exact", "re-cased", "changed", "exact, inside", "re-cased, inside", "changed, inside", "piece, inside")
LENGTHS = (1, 5, 8, 13, 50, 1000)
"""Lengths of evaluation texts in words at which a new row of the table begins."""

BATCH_ROWS = 4096


@dataclass
class Pair:
    """What a training file shares with an evaluation file."""

    kinds: Counter[str] = field(default_factory=Counter)
    unsound: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


def main() -> None:
    """Plant, search, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--planted", type=int, default=2000, help="overlaps planted in each manner")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("name the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    corpora = Path(arguments.corpora)
    started = time.process_time()
    stage = Decontaminate(files=tuple(map(str, held_out(corpora))))
    stage.prepare()
    index = stage._index().overlaps
    said: dict[str, Any] = {
        "machine": {"python": platform.python_version(), "processor": platform.processor(), "cpus": os.cpu_count()},
        "index": {
            "seconds": time.process_time() - started,
            "texts": len(index.sources),
            "words": len(index.words.hashes),
            "bytes": index.n_bytes,
        },
        "planted": plant_all(stage, corpora, arguments.planted, arguments.seed),
        "speed": speeds(stage, corpora),
        "pairs": overlaps(corpora),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    arguments.out.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(tables(said))


def held_out(corpora: Path) -> list[Path]:
    """Return the evaluation files that hold texts."""
    found = sorted((corpora / "eval").glob("*.parquet"))
    return [path for path in found if not any(part in path.name for part in LEFT_OUT)]


# ------------------------------------------------------------------------------------------------------ planting


def plant_all(stage: Decontaminate, corpora: Path, count: int, seed: int) -> dict[str, Any]:
    """Plant texts in each manner and count what is found, by manner and length of the text."""
    rng = random.Random(seed)
    texts = [text for path in held_out(corpora) for text in rng.sample(texts_of(path), min(400, len(texts_of(path))))]
    hosts = [text for name in HOSTS for text in some_texts(corpora / "train" / f"{name}.parquet", 4000, rng)]
    said = [row for row in search(stage, hosts) if row is not None]
    clean = [host for host, row in zip(hosts, search(stage, hosts), strict=True) if row is None]
    table: dict[str, dict[str, Counter[str]]] = {}
    for manner in MANNERS:
        cells = table[manner] = defaultdict(Counter)
        planted = [(text, plant(text, rng.choice(clean), manner, rng)) for text in rng.choices(texts, k=count)]
        for (text, own), found in zip(planted, search(stage, [own for _, own in planted]), strict=True):
            words = words_of(text)
            if not words or (manner.startswith("piece") and len(words) < 14):
                continue
            cell = cells[str(max(least for least in LENGTHS if least <= len(words)))]
            cell["planted"] += 1
            if found is not None:
                cell["found"] += 1
                near = [words_of(other) for other in row_texts(found[0])]
                cell["right"] += words in near
                cell["sound"] += is_sound(own, found)
    return {"hosts": len(hosts), "hosts_that_overlap": len(said), "table": table}


def plant(text: str, host: str, manner: str, rng: random.Random) -> str:
    """Make a training text that holds a text, alone or inside another one."""
    how, _, inside = manner.partition(", ")
    if how == "piece":
        text = piece(text, rng)
    if how == "re-cased":
        others = (text.upper(), text.title(), text.lower(), text.swapcase())
        text = rng.choice([other for other in others if words_of(other) == words_of(text)] or [text])
    if how == "changed":
        text = changed(text, rng)
    if not inside:
        return text
    blanks = [0, *(i for i, char in enumerate(host) if char == " "), len(host)]
    at = rng.choice(blanks)
    return f"{host[:at]} {text} {host[at:]}"


def piece(text: str, rng: random.Random) -> str:
    """Cut a run of 13 to 40 words out of a text that has so many."""
    raw, n_words = text.encode(), len(words_of(text))
    if n_words < 14:
        return text
    spans = word_spans(pa.array([text], pa.large_string()))
    size = rng.randrange(13, min(40, n_words) + 1)
    first = rng.randrange(n_words - size + 1)
    return raw[int(spans.starts[first]) : int(spans.ends[first + size - 1])].decode()


def changed(text: str, rng: random.Random) -> str:
    """Replace, leave out or add one word."""
    raw, words = text.encode(), words_of(text)
    spans = word_spans(pa.array([text], pa.large_string()))
    while words:
        at = rng.randrange(len(words))
        start, end = int(spans.starts[at]), int(spans.ends[at])
        new, stop, left = rng.choice([(b"zyzzyva", end, 1), (b" ", end, 1), (b"zyzzyva ", start, 0)])
        out = (raw[:start] + new + raw[stop:]).decode()
        if words_of(out) == [*words[:at], *words_of(new.decode()), *words[at + left :]]:
            return out
    return text


# ---------------------------------------------------------------------------------------------------- real overlap


def speeds(stage: Decontaminate, corpora: Path) -> dict[str, Any]:
    """Measure rows and bytes a second of each training file, against all evaluation files at once, on one core."""
    out: dict[str, Any] = {}
    for path in sorted((corpora / "train").glob("*.parquet")):
        batches = list(rows_of(path))
        n_bytes = sum(text_bytes(rows) for rows in batches)
        started = time.process_time()
        dropped = sum(int((stage.apply(rows).reason >= 0).sum()) for rows in batches)
        seconds = time.process_time() - started
        n_rows = sum(map(len, batches))
        out[path.stem] = {"rows": n_rows, "bytes": n_bytes, "seconds": seconds, "dropped": dropped}
    return out


def overlaps(corpora: Path) -> dict[str, dict[str, Any]]:
    """Hold every training file against every evaluation file by itself."""
    out: dict[str, dict[str, Any]] = {}
    trains = {path.stem: list(rows_of(path)) for path in sorted((corpora / "train").glob("*.parquet"))}
    for held in held_out(corpora):
        stage = Decontaminate(files=(str(held),))
        for name, batches in trains.items():
            pair = Pair()
            for rows in batches:
                note(pair, stage, rows)
            if pair.kinds:
                out.setdefault(name, {})[held.stem] = {
                    "kinds": dict(pair.kinds),
                    "unsound": pair.unsound,
                    "examples": pair.examples,
                }
    return out


def note(pair: Pair, stage: Decontaminate, rows: Rows) -> None:
    """Count what a batch shares with an evaluation file, check it, and keep a few examples of each kind."""
    outcome = stage.apply(rows)
    assert outcome.partner is not None
    found = zip(
        outcome.partner.to_pylist(),
        outcome.scores["overlap"].to_pylist(),
        outcome.scores["kind"].to_pylist(),
        strict=True,
    )
    for row, (partner, share, kind) in enumerate(found):
        if partner is None:
            continue
        pair.kinds[kind] += 1
        texts = [text for column in rows.batch.columns if (text := column[row].as_py())]
        sound = [text for text in texts if is_sound(text, (partner, share, kind))]
        pair.unsound += not sound
        if sum(example["kind"] == kind for example in pair.examples) < 3 and sound:
            shown = next(text for text in row_texts(partner) if overlap_is(sound[0], text, share, kind))
            pair.examples.append(
                {"kind": kind, "share": share, "row": partner.rpartition(":")[2], "train": sound[0], "eval": shown}
            )
            pair.examples[-1] |= {name: pair.examples[-1][name][:300] for name in ("train", "eval")}


# --------------------------------------------------------------------------------------------------------- checks

Find = tuple[str, float, str]
"""The partner, the share of its words, and the kind."""


def is_sound(own: str, found: Find) -> bool:
    """Tell whether a text overlaps one of the partner's texts as is said."""
    partner, share, kind = found
    return any(overlap_is(own, text, share, kind) for text in row_texts(partner))


def overlap_is(own: str, text: str, share: float, kind: str) -> bool:
    """Tell whether two texts overlap as is said, by comparing lists of words."""
    mine, words = words_of(own), words_of(text)
    size = len(words)
    if not words:
        return False
    if kind == "equal":
        return mine == words and share == 1.0
    if kind == "contained":
        return share == 1.0 and joined(words) in joined(mine)
    if kind == "run":
        run = round(share * size)
        here = {tuple(mine[i : i + run]) for i in range(len(mine) - run + 1)}
        return run >= 13 and any(tuple(words[i : i + run]) in here for i in range(size - run + 1))
    spans = [mine[i : i + n] for n in (size - 1, size, size + 1) for i in range(len(mine) - n + 1)]
    return share == (size - 1) / size and any(one_apart(span, words) for span in spans)


def one_apart(one: list[str], other: list[str]) -> bool:
    """Tell whether one word makes the difference between two lists."""
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    tails = ((same + 1, same + 1), (same, same + 1), (same + 1, same))
    return one != other and any(one[a:] == other[b:] for a, b in tails)


def joined(words: Sequence[str]) -> str:
    """Write words so that a list stands in another where its line does."""
    return "\n" + "\n".join(words) + "\n"


@lru_cache(maxsize=50_000)
def words_of(text: str) -> list[str]:
    """Return the words of a text, case folded; not to be changed."""
    raw, spans = text.encode(), word_spans(pa.array([text], pa.large_string()))
    return [raw[a:b].decode().casefold() for a, b in zip(spans.starts.tolist(), spans.ends.tolist(), strict=True)]


# -------------------------------------------------------------------------------------------------------- reading


def search(stage: Decontaminate, texts: Sequence[str]) -> list[Find | None]:
    """Return what is found in each of some texts."""
    batch = pa.record_batch({"text": pa.array(texts, pa.string())})
    ids, sources = pa.array(range(len(texts)), pa.uint64()), pa.array([""] * len(texts), pa.string())
    outcome = stage.apply(Rows(batch, View(batch.schema, {"text": ("text",)}), ids, sources))
    assert outcome.partner is not None
    parts = (outcome.partner, outcome.scores["overlap"], outcome.scores["kind"])
    found = zip(*(part.to_pylist() for part in parts), strict=True)
    return [None if partner is None else (partner, share, kind) for partner, share, kind in found]


def rows_of(path: Path) -> Iterator[Rows]:
    """Read the texts of a training file, in batches as a run makes them."""
    names = [name for name in pq.read_schema(path).names if name in TEXT_COLUMNS]
    for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=names):
        view = View(batch.schema, {"text": tuple(names)})
        yield Rows(batch, view, pa.array(range(len(batch)), pa.uint64()), pa.array([""] * len(batch), pa.string()))


def text_bytes(rows: Rows) -> int:
    """Return the bytes of UTF-8 in a batch."""
    return int(rows.texts("text").values.nbytes) - 8 * len(rows.texts("text"))


@lru_cache(maxsize=64)
def table_of(path: str) -> list[dict[str, Any]]:
    """Read an evaluation file."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


@lru_cache(maxsize=64)
def columns_of(path: str) -> tuple[str, ...]:
    """Return the columns of an evaluation file that are compared."""
    stage = Decontaminate(files=(path,))
    return stage._columns_of(stage._resolve()[0])


def row_texts(place: str) -> list[str]:
    """Return the texts of an evaluation row, given as "file:row"."""
    path, _, row = place.rpartition(":")
    values: Mapping[str, Any] = table_of(path)[int(row)]
    return [values[name] for name in columns_of(path) if values[name]]


def texts_of(path: Path) -> list[str]:
    """Return the texts of an evaluation file."""
    return [text for row in range(len(table_of(str(path)))) for text in row_texts(f"{path}:{row}")]


def some_texts(path: Path, count: int, rng: random.Random) -> list[str]:
    """Draw texts of a training file."""
    names = [name for name in pq.read_schema(path).names if name in TEXT_COLUMNS]
    texts = [text for name in names for text in pq.read_table(path, columns=[name]).column(name).to_pylist() if text]
    return rng.sample(texts, min(count, len(texts)))


# --------------------------------------------------------------------------------------------------------- tables


def tables(said: Mapping[str, Any]) -> str:
    """Write the results as tables."""
    lines = [
        "| planted | words | number | found | right partner | sound |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for manner, cells in said["planted"]["table"].items():
        for least, cell in sorted(cells.items(), key=lambda item: int(item[0])):
            counts = [cell.get(name, 0) for name in ("planted", "found", "right", "sound")]
            lines.append(f"| {manner} | {least}+ | {' | '.join(f'{count:,}' for count in counts)} |")
    lines += [
        "",
        "| training file | rows | MB | rows/s | MB/s | dropped |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in said["speed"].items():
        rate = f"{one['rows'] / one['seconds']:,.0f} | {one['bytes'] / one['seconds'] / 1e6:.0f}"
        lines.append(f"| {name} | {one['rows']:,} | {one['bytes'] / 1e6:.1f} | {rate} | {one['dropped']:,} |")
    lines += ["", "| training file | evaluation file | equal | contained | changed | run | unsound |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, pairs in said["pairs"].items():
        for held, pair in pairs.items():
            counts = [pair["kinds"].get(kind, 0) for kind in ("equal", "contained", "changed", "run")]
            shown = " | ".join(f"{count:,}" for count in [*counts, pair["unsound"]])
            lines.append(f"| {name} | {held} | {shown} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""Measures what `decontaminate` detects: overlaps planted in real rows, and overlaps in real corpora.

    python benchmarks/contamination.py --corpora FOLDER --out contamination.json

First, texts of the evaluation files are planted in training rows, in several ways, and recall and partners are counted
by way and length. Then all training files are compared with all evaluation files. Each detected overlap is checked word
by word with plain Python. Excluded are the qrels, which have no texts, and neardup_dblp_acm_pairs, whose texts are
records with field names.
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
"""The text columns of the training files."""

EXCLUDED = ("qrels", "neardup_dblp")
HOSTS = ("pairs_acl_title_abstract", "pairs_medquad", "pairs_simplification", "corpus_tldr_pages_multilingual")
MANNERS = ("exact", "re-cased", "changed", "exact, inside", "re-cased, inside", "changed, inside", "piece, inside")
LENGTHS = (1, 5, 8, 13, 50, 1000)
"""Lower bounds in words of the rows of the table, by length of the evaluation text."""

BATCH_ROWS = 4096


@dataclass
class Overlaps:
    """The overlaps of a training file with an evaluation file."""

    kinds: Counter[str] = field(default_factory=Counter)
    unsound: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


def main() -> None:
    """Plant and search overlaps, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--planted", type=int, default=2000, help="overlaps planted in each manner")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.corpora is None:
        parser.error("give the folder of the corpora with --corpora or JINA_DATA_CORPORA")
    corpora = Path(arguments.corpora)
    started = time.process_time()
    stage = Decontaminate(files=tuple(map(str, held_out(corpora))))
    stage.prepare()
    index = stage._index().overlaps
    results: dict[str, Any] = {
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
    arguments.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(tables(results))


def held_out(corpora: Path) -> list[Path]:
    """Return the evaluation files with texts."""
    paths = sorted((corpora / "eval").glob("*.parquet"))
    return [path for path in paths if not any(part in path.name for part in EXCLUDED)]


# ------------------------------------------------------------------------------------------------------ planting


def plant_all(stage: Decontaminate, corpora: Path, count: int, seed: int) -> dict[str, Any]:
    """Plant texts in each way, and count the detected ones by way and length of the text."""
    rng = random.Random(seed)
    texts = [text for path in held_out(corpora) for text in rng.sample(texts_of(path), min(400, len(texts_of(path))))]
    hosts = [text for name in HOSTS for text in sample_texts(corpora / "train" / f"{name}.parquet", 4000, rng)]
    overlaps_of_hosts = search(stage, hosts)
    clean = [host for host, overlap in zip(hosts, overlaps_of_hosts, strict=True) if overlap is None]
    table: dict[str, dict[str, Counter[str]]] = {}
    for manner in MANNERS:
        cells = table[manner] = defaultdict(Counter)
        planted = [(text, plant(text, rng.choice(clean), manner, rng)) for text in rng.choices(texts, k=count)]
        for (text, training_text), overlap in zip(planted, search(stage, [made for _, made in planted]), strict=True):
            words = words_of(text)
            if not words or (manner.startswith("piece") and len(words) < 14):
                continue
            cell = cells[str(max(bound for bound in LENGTHS if bound <= len(words)))]
            cell["planted"] += 1
            if overlap is not None:
                cell["found"] += 1
                cell["right"] += words in [words_of(other) for other in row_texts(overlap[0])]
                cell["sound"] += is_sound(training_text, overlap)
    return {"hosts": len(hosts), "hosts_that_overlap": len(hosts) - len(clean), "table": table}


def plant(text: str, host: str, manner: str, rng: random.Random) -> str:
    """Make a training text that contains a text, alone or inside a host text."""
    change, _, inside = manner.partition(", ")
    if change == "piece":
        text = piece(text, rng)
    if change == "re-cased":
        others = (text.upper(), text.title(), text.lower(), text.swapcase())
        text = rng.choice([other for other in others if words_of(other) == words_of(text)] or [text])
    if change == "changed":
        text = changed(text, rng)
    if not inside:
        return text
    blanks = [0, *(i for i, char in enumerate(host) if char == " "), len(host)]
    position = rng.choice(blanks)
    return f"{host[:position]} {text} {host[position:]}"


def piece(text: str, rng: random.Random) -> str:
    """Return a run of 13 to 40 words of a text, or the text if it has fewer than 14 words."""
    raw, n_words = text.encode(), len(words_of(text))
    if n_words < 14:
        return text
    spans = word_spans(pa.array([text], pa.large_string()))
    size = rng.randrange(13, min(40, n_words) + 1)
    first = rng.randrange(n_words - size + 1)
    return raw[int(spans.starts[first]) : int(spans.ends[first + size - 1])].decode()


def changed(text: str, rng: random.Random) -> str:
    """Replace, remove or add one word."""
    raw, words = text.encode(), words_of(text)
    spans = word_spans(pa.array([text], pa.large_string()))
    while words:
        position = rng.randrange(len(words))
        start, end = int(spans.starts[position]), int(spans.ends[position])
        new, stop, n_removed = rng.choice([(b"zyzzyva", end, 1), (b" ", end, 1), (b"zyzzyva ", start, 0)])
        out = (raw[:start] + new + raw[stop:]).decode()
        if words_of(out) == [*words[:position], *words_of(new.decode()), *words[position + n_removed :]]:
            return out
    return text


# ---------------------------------------------------------------------------------------------------- real overlap


def speeds(stage: Decontaminate, corpora: Path) -> dict[str, Any]:
    """Measure rows and bytes per second of each training file, compared with all evaluation files, on one core."""
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
    """Compare each training file with each evaluation file."""
    out: dict[str, dict[str, Any]] = {}
    trains = {path.stem: list(rows_of(path)) for path in sorted((corpora / "train").glob("*.parquet"))}
    for held in held_out(corpora):
        stage = Decontaminate(files=(str(held),))
        for name, batches in trains.items():
            pair = Overlaps()
            for rows in batches:
                note(pair, stage, rows)
            if pair.kinds:
                out.setdefault(name, {})[held.stem] = {
                    "kinds": dict(pair.kinds),
                    "unsound": pair.unsound,
                    "examples": pair.examples,
                }
    return out


def note(pair: Overlaps, stage: Decontaminate, rows: Rows) -> None:
    """Count and check the overlaps of a batch with an evaluation file, and keep a few examples of each kind."""
    outcome = stage.apply(rows)
    assert outcome.partner is not None
    overlaps_of_rows = zip(
        outcome.partner.to_pylist(),
        outcome.scores["overlap"].to_pylist(),
        outcome.scores["kind"].to_pylist(),
        strict=True,
    )
    for row, (partner, share, kind) in enumerate(overlaps_of_rows):
        if partner is None:
            continue
        pair.kinds[kind] += 1
        texts = [text for column in rows.batch.columns if (text := column[row].as_py())]
        sound = [text for text in texts if is_sound(text, (partner, share, kind))]
        pair.unsound += not sound
        if sum(example["kind"] == kind for example in pair.examples) < 3 and sound:
            partner_text = next(text for text in row_texts(partner) if overlap_is(sound[0], text, share, kind))
            pair.examples.append(
                {
                    "kind": kind,
                    "share": share,
                    "row": partner.rpartition(":")[2],
                    "train": sound[0],
                    "eval": partner_text,
                }
            )
            pair.examples[-1] |= {name: pair.examples[-1][name][:300] for name in ("train", "eval")}


# --------------------------------------------------------------------------------------------------------- checks

Overlap = tuple[str, float, str]
"""The partner, the fraction of its words, and the kind."""


def is_sound(training_text: str, overlap: Overlap) -> bool:
    """Return whether a text has the given overlap with a text of the partner."""
    partner, share, kind = overlap
    return any(overlap_is(training_text, text, share, kind) for text in row_texts(partner))


def overlap_is(training_text: str, text: str, share: float, kind: str) -> bool:
    """Return whether two texts have the given overlap, by comparing lists of words."""
    training_words, words = words_of(training_text), words_of(text)
    size = len(words)
    if not words:
        return False
    if kind == "equal":
        return training_words == words and share == 1.0
    if kind == "contained":
        return share == 1.0 and joined(words) in joined(training_words)
    if kind == "run":
        run = round(share * size)
        runs = {tuple(training_words[i : i + run]) for i in range(len(training_words) - run + 1)}
        return run >= 13 and any(tuple(words[i : i + run]) in runs for i in range(size - run + 1))
    spans = [training_words[i : i + n] for n in (size - 1, size, size + 1) for i in range(len(training_words) - n + 1)]
    return share == (size - 1) / size and any(one_apart(span, words) for span in spans)


def one_apart(left: list[str], right: list[str]) -> bool:
    """Return whether two lists differ by one replaced, added or removed word."""
    same = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    tails = ((same + 1, same + 1), (same, same + 1), (same + 1, same))
    return left != right and any(left[a:] == right[b:] for a, b in tails)


def joined(words: Sequence[str]) -> str:
    """Join words so that one list contains another exactly where its string does."""
    return "\n" + "\n".join(words) + "\n"


@lru_cache(maxsize=50_000)
def words_of(text: str) -> list[str]:
    """Return the case-folded words of a text; the cached list must not be changed."""
    raw, spans = text.encode(), word_spans(pa.array([text], pa.large_string()))
    return [raw[a:b].decode().casefold() for a, b in zip(spans.starts.tolist(), spans.ends.tolist(), strict=True)]


# -------------------------------------------------------------------------------------------------------- reading


def search(stage: Decontaminate, texts: Sequence[str]) -> list[Overlap | None]:
    """Return the overlap that the stage detects in each text, or None."""
    batch = pa.record_batch({"text": pa.array(texts, pa.string())})
    ids, sources = pa.array(range(len(texts)), pa.uint64()), pa.array([""] * len(texts), pa.string())
    outcome = stage.apply(Rows(batch, View(batch.schema, {"text": ("text",)}), ids, sources))
    assert outcome.partner is not None
    parts = (outcome.partner, outcome.scores["overlap"], outcome.scores["kind"])
    overlaps_of_texts = zip(*(part.to_pylist() for part in parts), strict=True)
    return [None if partner is None else (partner, share, kind) for partner, share, kind in overlaps_of_texts]


def rows_of(path: Path) -> Iterator[Rows]:
    """Read the texts of a training file, in batches of the same size as in a run."""
    names = [name for name in pq.read_schema(path).names if name in TEXT_COLUMNS]
    for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=names):
        view = View(batch.schema, {"text": tuple(names)})
        yield Rows(batch, view, pa.array(range(len(batch)), pa.uint64()), pa.array([""] * len(batch), pa.string()))


def text_bytes(rows: Rows) -> int:
    """Return the number of UTF-8 bytes in a batch."""
    return int(rows.texts("text").values.nbytes) - 8 * len(rows.texts("text"))


@lru_cache(maxsize=64)
def table_of(path: str) -> list[dict[str, Any]]:
    """Read an evaluation file."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


@lru_cache(maxsize=64)
def columns_of(path: str) -> tuple[str, ...]:
    """Return the compared columns of an evaluation file."""
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


def sample_texts(path: Path, count: int, rng: random.Random) -> list[str]:
    """Sample texts of a training file."""
    names = [name for name in pq.read_schema(path).names if name in TEXT_COLUMNS]
    texts = [text for name in names for text in pq.read_table(path, columns=[name]).column(name).to_pylist() if text]
    return rng.sample(texts, min(count, len(texts)))


# --------------------------------------------------------------------------------------------------------- tables


def tables(results: Mapping[str, Any]) -> str:
    """Return the results as tables."""
    lines = [
        "| planted | words | number | found | right partner | sound |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for manner, cells in results["planted"]["table"].items():
        for bound, cell in sorted(cells.items(), key=lambda item: int(item[0])):
            counts = [cell.get(name, 0) for name in ("planted", "found", "right", "sound")]
            lines.append(f"| {manner} | {bound}+ | {' | '.join(f'{count:,}' for count in counts)} |")
    lines += [
        "",
        "| training file | rows | MB | rows/s | MB/s | dropped |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, measured in results["speed"].items():
        rate = f"{measured['rows'] / measured['seconds']:,.0f} | {measured['bytes'] / measured['seconds'] / 1e6:.0f}"
        lines.append(
            f"| {name} | {measured['rows']:,} | {measured['bytes'] / 1e6:.1f} | {rate} | {measured['dropped']:,} |"
        )
    lines += ["", "| training file | evaluation file | equal | contained | changed | run | unsound |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, pairs in results["pairs"].items():
        for held, pair in pairs.items():
            counts = [pair["kinds"].get(kind, 0) for kind in ("equal", "contained", "changed", "run")]
            cells_text = " | ".join(f"{count:,}" for count in [*counts, pair["unsound"]])
            lines.append(f"| {name} | {held} | {cells_text} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""Build the demo data beside this file: real, licensed, and messy on purpose. SOURCES.md says from what and how.

    python make_demo.py --corpora FOLDER [-o FOLDER]

Every choice hashes the seed and the row, so that the same sources give the same rows on any machine.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SEED = "jina-data demo 1"
N_QUESTIONS = 1250
N_TEMPLATE = 50
N_TWINS = 15
N_COMMANDS = {
    "en": 700,
    **dict.fromkeys(("es", "de", "fr", "pt_BR", "zh", "ja", "ko", "ru", "hi", "ar", "th", "id"), 80),
}
SENTENCE_LANGS = ("en", "de", "fr", "es", "ru", "zh-CN", "ja", "th", "ar", "hi", "tr", "vi")
N_SENTENCES = 66
MISMATCHED = 0.05
LONG_CHARS = 25_000
FIELDS = ("id", "question", "answer", "source", "lang")

NOT_AVAILABLE = ("n/a", "N/A", "none", "-", "not available", "TODO", "n/a ", "NA")
PUNCTUATION = ("...", "-----", "??", "!!!", ". . .", "***")
BOILERPLATE = (
    "Please enable JavaScript to view this page.",
    "This website uses cookies. By continuing to browse you agree to our cookie policy.",
    "Page not found. Return to the home page.",
    "Sign up for our newsletter to receive the latest updates.",
)


@dataclass(frozen=True)
class Row:
    """A row of the demo; `place` is where it goes, `kind` what was planted in it, `of` the id it was made from."""

    place: float
    id: str
    question: str
    answer: str | None
    source: str
    lang: str
    kind: str | None = None
    of: str | None = None
    line: str | None = None

    def record(self) -> dict[str, str | None]:
        return {
            "id": self.id,
            "question": self.question,
            "answer": self.answer,
            "source": self.source,
            "lang": self.lang,
        }


def chance(*parts: object) -> float:
    """Return a number in [0, 1) that depends on the parts and the seed only."""
    digest = hashlib.sha256("\x1f".join(map(str, (SEED, *parts))).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def drawn(rows: Iterable[Row], salt: str) -> list[Row]:
    return sorted(rows, key=lambda row: chance(salt, row.id))


# Sources


def medquad(corpora: Path) -> list[Row]:
    """Draw questions with an answer of ordinary length, and some of those whose answer is a template."""
    table = pq.read_table(corpora / "train/pairs_medquad.parquet").to_pylist()
    uses = Counter(row["positive"] for row in table)
    rows = [
        Row(chance("place", i), f"medquad-{i:05}", row["anchor"], row["positive"], f"MedQuAD/{row['source']}", "en")
        for i, row in enumerate(table)
        if len(row["positive"]) <= 2500
    ]
    template = [row for row in rows if uses[row.answer] > 5]
    single = [row for row in rows if uses[row.answer] <= 5]
    chosen = drawn(single, "questions")[:N_QUESTIONS] + drawn(template, "template")[:N_TEMPLATE] + twins(rows)
    return list({row.id: row for row in chosen}.values())


def twins(rows: list[Row]) -> list[Row]:
    """Draw groups of rows with the same question and answer."""
    groups: dict[tuple[str, str | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.question, row.answer), []).append(row)
    several = [group for group in groups.values() if len(group) > 1]
    several.sort(key=lambda group: chance("twins", group[0].id))
    return [row for group in several[:N_TWINS] for row in group]


def tldr_pages(corpora: Path) -> Iterator[tuple[str, str, str]]:
    """Yield path, language and text of every page."""
    for page in pq.read_table(corpora / "train/corpus_tldr_pages_multilingual.parquet").to_pylist():
        yield page["id"], page["lang"], page["text"]


def commands(corpora: Path) -> list[Row]:
    """Draw whole pages of each language until its number of examples is reached, and some pages that say the same."""
    pages = sorted(tldr_pages(corpora), key=lambda page: chance("pages", page[0]))
    taken: Counter[str] = Counter()
    chosen, every = {}, []
    for path, lang, text in pages:
        if lang not in N_COMMANDS:
            continue
        rows = list(examples(path, lang, text))
        every += rows
        if taken[lang] < N_COMMANDS[lang]:
            chosen.update({row.id: row for row in rows})
            taken[lang] += len(rows)
    return list((chosen | {row.id: row for row in twins(every)}).values())


def examples(path: str, lang: str, text: str) -> Iterator[Row]:
    """Yield the examples of a page: what is to be done, and the command."""
    for i, (description, command) in enumerate(re.findall(r"^- (.+)\n\n`(.+)`$", text, re.M)):
        name = f"{path.removesuffix('.md')}#{i + 1}"
        yield Row(
            chance("place", name), name, description.rstrip(":： "), command, f"tldr-pages/{path.split('/')[1]}", lang
        )


def foreign_questions(corpora: Path) -> list[Row]:
    """Turn the head of pages in other languages into question and answer."""
    rows = []
    for path, lang, text in tldr_pages(corpora):
        summary = re.findall(r"^> (.+)$", text, re.M)
        if lang in ("de", "fr", "es", "pl", "ru", "zh", "ja") and len(summary) >= 3:
            answer = " ".join([*summary[1:-1], *re.findall(r"^- (.+):$", text, re.M)])
            rows.append(Row(0, path.removesuffix(".md"), summary[0], answer, "tldr-pages", lang))
    return [replace(row, place=chance("place", row.id), kind="other_language") for row in drawn(rows, "foreign")[:20]]


def sentences(corpora: Path) -> pa.Table:
    """Draw sentences of each language."""
    table = pq.read_table(corpora / "train/corpus_commonvoice_sentences.parquet").to_pylist()
    chosen = []
    for lang in SENTENCE_LANGS:
        rows = [row for row in table if row["lang"] == lang]
        chosen += sorted(rows, key=lambda row: chance("sentence", row["id"]))[:N_SENTENCES]
    chosen.sort(key=lambda row: chance("place", row["id"]))
    return pa.table({name: [row[name] for row in chosen] for name in ("text", "lang", "id")})


# Planting


class Bed:
    """Rows to plant in. Each natural row is used at most once, and only if its question and its answer occur once."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = {row.id: row for row in rows}
        questions, answers = Counter(row.question for row in rows), Counter(row.answer for row in rows)
        single = (row for row in rows if questions[row.question] == 1 and answers[row.answer] == 1)
        self.free = drawn(single, "bed")

    def take(self, count: int, fits: Callable[[Row], bool] = bool) -> list[Row]:
        taken = [row for row in self.free if fits(row)][:count]
        ids = {row.id for row in taken}
        self.free = [row for row in self.free if row.id not in ids]
        return taken

    def answer(self, kind: str, count: int, answers: Sequence[str | None]) -> None:
        """Give rows one of these answers instead of their own."""
        for i, row in enumerate(self.take(count)):
            self.add(replace(row, answer=answers[i % len(answers)], kind=kind))

    def copy(self, kind: str, count: int, change: Callable[[str], str], fits: Callable[[Row], bool] = bool) -> None:
        """Add changed copies somewhere behind rows."""
        for row in self.take(count, fits):
            place = row.place + (1 - row.place) * (0.01 + 0.98 * chance("copy", row.id))
            question = row.question if kind == "near_duplicate" else change(row.question)
            made = replace(row, place=place, question=question, answer=change(str(row.answer)), kind=kind, of=row.id)
            self.add(replace(made, id=f"copy-{hashlib.sha256(row.id.encode()).hexdigest()[:8]}"))

    def add(self, row: Row) -> None:
        self.rows[row.id] = row

    def mismatch(self) -> None:
        """Give a share of the rows the answer of the next among them."""
        chosen = self.take(round(MISMATCHED * len(self.rows)))
        for row, other in zip(chosen, chosen[1:] + chosen[:1], strict=True):
            self.add(replace(row, answer=other.answer, kind="mismatched", of=other.id))

    def in_order(self) -> list[Row]:
        return sorted(self.rows.values(), key=lambda row: (row.place, row.id))


def respaced(text: str) -> str:
    return "  " + text.replace(" ", "  ", 3).replace(" ", "\u00a0", 1) + " "


def one_word_changed(text: str) -> str:
    words = text.split(" ")
    middle = next(i for i in range(len(words) // 2, len(words)) if words[i].isalpha())
    return " ".join([*words[:middle], "usually", *words[middle + 1 :]])


def garbled(text: str) -> str:
    """Decode UTF-8 as Windows-1252, after giving the text typographic apostrophes."""
    return text.replace("'", "\u2019").encode().decode("cp1252")


def can_garble(text: str) -> bool:
    try:
        return garbled(text) != text
    except UnicodeDecodeError:
        return False


def plant_copies(bed: Bed, count: int) -> None:
    bed.copy("verbatim", count, lambda text: text)
    bed.copy("recased", count, str.upper, fits=lambda row: row.lang == "en")
    bed.copy("respaced", count, respaced)


def plant_junk(bed: Bed, count: int) -> None:
    bed.answer("empty_answer", count, ("", "   "))
    bed.answer("not_available", count, NOT_AVAILABLE)
    bed.answer("punctuation", count, PUNCTUATION)
    bed.answer("boilerplate", count, BOILERPLATE)


def planted_questions(corpora: Path) -> list[Row]:
    bed = Bed(medquad(corpora))
    bed.mismatch()
    plant_copies(bed, 12)
    bed.copy("near_duplicate", 20, one_word_changed, fits=lambda row: len(str(row.answer).split()) >= 120)
    plant_junk(bed, 8)
    bed.answer("null_answer", 4, (None,))
    for row in bed.take(3):
        repeats = LONG_CHARS // len(str(row.answer)) + 1
        bed.add(replace(row, answer=f"{row.answer} " * repeats, kind="very_long"))
    for row in bed.take(12, lambda row: "'" in str(row.answer) and can_garble(str(row.answer))):
        bed.add(replace(row, answer=garbled(str(row.answer)), kind="mojibake"))
    for row in foreign_questions(corpora):
        bed.add(row)
    for i, (kind, line) in enumerate(broken_lines(bed.take(6))):
        bed.add(Row(chance("broken", i), f"broken-{i}", "", "", "", "", kind=kind, line=line))
    return bed.in_order()


def broken_lines(rows: list[Row]) -> Iterator[tuple[str, str]]:
    """Yield lines that are no rows; they are made from rows that stay in the file."""
    records = [row.record() for row in rows]
    for record in records[:2]:
        line = json.dumps(record, ensure_ascii=False)
        yield "broken_cut", line[: len(line) * 2 // 3]
    yield "broken_not_an_object", json.dumps([records[2]["question"], records[2]["answer"]], ensure_ascii=False)
    yield "broken_not_an_object", json.dumps(records[3]["question"], ensure_ascii=False)
    yield "broken_type", json.dumps(records[4] | {"question": {"text": records[4]["question"]}}, ensure_ascii=False)
    yield "broken_type", json.dumps(records[5] | {"answer": [records[5]["answer"]]}, ensure_ascii=False)


def planted_commands(corpora: Path) -> list[Row]:
    bed = Bed(commands(corpora))
    bed.mismatch()
    plant_copies(bed, 10)
    plant_junk(bed, 6)
    accented = bed.take(20, lambda row: row.lang in ("es", "de", "fr", "pt_BR") and can_garble(row.question))
    for row in accented:
        bed.add(replace(row, question=garbled(row.question), kind="mojibake"))
    return bed.in_order()


# Writing


def planted(file: str, rows: list[Row]) -> Iterator[dict[str, object]]:
    """Yield what was planted; `row` counts from 0 over all rows of the file, the broken ones too."""
    at = {row.id: i for i, row in enumerate(rows)}
    for i, row in enumerate(rows):
        if row.kind is not None:
            yield {"file": file, "row": i, "kind": row.kind, "of": None if row.of is None else at[row.of]}


def jsonl(records: Iterable[object]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def build(corpora: Path) -> dict[str, bytes]:
    """Return the content of every file of the demo."""
    questions, commands_ = planted_questions(corpora), planted_commands(corpora)
    lines = "".join((row.line or json.dumps(row.record(), ensure_ascii=False)) + "\n" for row in questions)
    table = io.StringIO()
    writer = csv.DictWriter(table, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.record() for row in commands_)
    parquet = io.BytesIO()
    pq.write_table(sentences(corpora), parquet, compression="zstd")
    side = [*planted("questions.jsonl.gz", questions), *planted("commands.csv", commands_)]
    return {
        "questions.jsonl.gz": gzip.compress(lines.encode(), 9, mtime=0),
        "commands.csv": table.getvalue().encode(),
        "sentences.parquet": parquet.getvalue(),
        "planted.jsonl": jsonl(side).encode(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    corpora = os.environ.get("JINA_DATA_CORPORA")
    parser.add_argument("--corpora", type=Path, default=corpora, required=corpora is None, help="folder of real data")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent, help="default: beside this file")
    args = parser.parse_args()
    for name, content in build(args.corpora).items():
        (args.output / name).write_bytes(content)
        print(f"{name}: {len(content):,} bytes")


if __name__ == "__main__":
    main()

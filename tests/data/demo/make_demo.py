"""Builds the sample data in this folder from real, licensed texts, and plants errors in it; see SOURCES.md.

    python make_demo.py --corpora FOLDER [-o FOLDER]

All random choices are hashes of the seed and the row, so the same sources give the same rows on any machine.
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
from functools import cache
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
N_PAGES = {lang: 240 if lang == "en" else 105 for lang in N_COMMANDS}
SENTENCE_LANGS = ("en", "de", "fr", "es", "ru", "zh-CN", "ja", "th", "ar", "hi", "tr", "vi")
N_SENTENCES = 66
MISMATCHED = {"commands": 0.05, "questions": 0.05, "pages": 0.2}
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
    """A row of the sample.

    `position` in [0, 1) orders the rows, `kind` is the planted error, and `of` is the id of the original row.
    """

    position: float
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


def hash_fraction(*parts: object) -> float:
    """Return a number in [0, 1) that depends only on the seed and the parts."""
    digest = hashlib.sha256("\x1f".join(map(str, (SEED, *parts))).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def shuffle(rows: Iterable[Row], salt: str) -> list[Row]:
    """Return the rows in a seeded random order."""
    return sorted(rows, key=lambda row: hash_fraction(salt, row.id))


# Sources


def medquad(corpora: Path) -> list[Row]:
    """Sample questions with answers of at most 2,500 characters, some with a template answer, and some duplicates."""
    table = pq.read_table(corpora / "train/pairs_medquad.parquet").to_pylist()
    uses = Counter(row["positive"] for row in table)
    rows = [
        Row(
            hash_fraction("place", i),
            f"medquad-{i:05}",
            row["anchor"],
            row["positive"],
            f"MedQuAD/{row['source']}",
            "en",
        )
        for i, row in enumerate(table)
        if len(row["positive"]) <= 2500
    ]
    template = [row for row in rows if uses[row.answer] > 5]
    single = [row for row in rows if uses[row.answer] <= 5]
    chosen = (
        shuffle(single, "questions")[:N_QUESTIONS]
        + shuffle(template, "template")[:N_TEMPLATE]
        + sample_duplicates(rows)
    )
    return list({row.id: row for row in chosen}.values())


def sample_duplicates(rows: list[Row]) -> list[Row]:
    """Sample groups of rows with the same question and answer."""
    groups: dict[tuple[str, str | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.question, row.answer), []).append(row)
    duplicates = [group for group in groups.values() if len(group) > 1]
    duplicates.sort(key=lambda group: hash_fraction("twins", group[0].id))
    return [row for group in duplicates[:N_TWINS] for row in group]


def tldr_pages(corpora: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the path, language and text of each page."""
    for page in pq.read_table(corpora / "train/corpus_tldr_pages_multilingual.parquet").to_pylist():
        yield page["id"], page["lang"], page["text"]


def commands(corpora: Path) -> list[Row]:
    """Sample whole pages of each language until its number of examples is reached, and some duplicate examples."""
    pages = sorted(tldr_pages(corpora), key=lambda page: hash_fraction("pages", page[0]))
    n_chosen: Counter[str] = Counter()
    chosen, all_rows = {}, []
    for path, lang, text in pages:
        if lang not in N_COMMANDS:
            continue
        rows = list(examples(path, lang, text))
        all_rows += rows
        if n_chosen[lang] < N_COMMANDS[lang]:
            chosen.update({row.id: row for row in rows})
            n_chosen[lang] += len(rows)
    return list((chosen | {row.id: row for row in sample_duplicates(all_rows)}).values())


def examples(path: str, lang: str, text: str) -> Iterator[Row]:
    """Yield the examples of a page: the task as the question, and the command as the answer."""
    for i, (description, command) in enumerate(re.findall(r"^- (.+)\n\n`(.+)`$", text, re.M)):
        name = f"{path.removesuffix('.md')}#{i + 1}"
        yield Row(
            hash_fraction("place", name),
            name,
            description.rstrip(":： "),
            command,
            f"tldr-pages/{path.split('/')[1]}",
            lang,
        )


def pages(corpora: Path) -> list[Row]:
    """Sample pages of each language as title/body pairs: at least three examples, translated, not an alias."""
    texts = {path: (lang, text) for path, lang, text in tldr_pages(corpora) if lang in N_PAGES}
    rows = []
    for path, (lang, text) in texts.items():
        _, english = texts.get(f"pages/{path.split('/', 1)[1]}", ("en", ""))
        lines = re.findall(r"^[>-] (.+)$", text, re.M)
        untranslated = lang != "en" and not set(lines).isdisjoint(re.findall(r"^[>-] (.+)$", english, re.M))
        if len(list(examples(path, lang, text))) >= 3 and "`tldr " not in text and not untranslated:
            rows.append(title_and_body(path, lang, text))
    rows = shuffle(rows, "title and body")
    return [row for lang, count in N_PAGES.items() for row in [row for row in rows if row.lang == lang][:count]]


def title_and_body(path: str, lang: str, text: str) -> Row:
    """Make a pair of a page: its name and description without lines that are only a link, and all of its examples."""
    name = text.split("\n", 1)[0].removeprefix("# ")
    summary = [line for line in re.findall(r"^> (.+)$", text, re.M) if not re.search(r"^[^`<]{3,40}[:：] *<http", line)]
    body = " ".join(f"{row.question}: `{row.answer}`." for row in examples(path, lang, text))
    id_ = path.removesuffix(".md")
    return Row(hash_fraction("place", id_), id_, f"{name}: {' '.join(summary)}", body, "tldr pages", lang)


def foreign_questions(corpora: Path) -> list[Row]:
    """Make questions and answers from the summaries of pages in other languages."""
    rows = []
    for path, lang, text in tldr_pages(corpora):
        summary = re.findall(r"^> (.+)$", text, re.M)
        if lang in ("de", "fr", "es", "pl", "ru", "zh", "ja") and len(summary) >= 3:
            answer = " ".join([*summary[1:-1], *re.findall(r"^- (.+):$", text, re.M)])
            rows.append(Row(0, path.removesuffix(".md"), summary[0], answer, "tldr-pages", lang))
    return [
        replace(row, position=hash_fraction("place", row.id), kind="other_language")
        for row in shuffle(rows, "foreign")[:20]
    ]


def sentences(corpora: Path) -> pa.Table:
    """Sample sentences of each language."""
    table = pq.read_table(corpora / "train/corpus_commonvoice_sentences.parquet").to_pylist()
    chosen = []
    for lang in SENTENCE_LANGS:
        rows = [row for row in table if row["lang"] == lang]
        chosen += sorted(rows, key=lambda row: hash_fraction("sentence", row["id"]))[:N_SENTENCES]
    chosen.sort(key=lambda row: hash_fraction("place", row["id"]))
    return pa.table({name: [row[name] for row in chosen] for name in ("text", "lang", "id")})


# Planting


class Planter:
    """The rows in which errors are planted. Each row is used at most once, and only if its texts are unique."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = {row.id: row for row in rows}
        questions, answers = Counter(row.question for row in rows), Counter(row.answer for row in rows)
        single = (row for row in rows if questions[row.question] == 1 and answers[row.answer] == 1)
        self.free = shuffle(single, "bed")

    def take(self, count: int, fits: Callable[[Row], bool] = bool) -> list[Row]:
        rows = [row for row in self.free if fits(row)][:count]
        ids = {row.id for row in rows}
        self.free = [row for row in self.free if row.id not in ids]
        return rows

    def answer(self, kind: str, count: int, answers: Sequence[str | None]) -> None:
        """Replace the answers of rows by the given answers, in turn."""
        for i, row in enumerate(self.take(count)):
            self.add(replace(row, answer=answers[i % len(answers)], kind=kind))

    def copy(self, kind: str, count: int, change: Callable[[str], str], fits: Callable[[Row], bool] = bool) -> None:
        """Add changed copies of rows at random later positions."""
        for row in self.take(count, fits):
            position = row.position + (1 - row.position) * (0.01 + 0.98 * hash_fraction("copy", row.id))
            question = row.question if kind == "near_duplicate" else change(row.question)
            copy = replace(
                row, position=position, question=question, answer=change(str(row.answer)), kind=kind, of=row.id
            )
            self.add(replace(copy, id=f"copy-{hashlib.sha256(row.id.encode()).hexdigest()[:8]}"))

    def add(self, row: Row) -> None:
        self.rows[row.id] = row

    def mismatch(
        self,
        count: int,
        fits: Callable[[Row], bool] = bool,
        unrelated: Callable[[Row, Row], bool] | None = None,
    ) -> None:
        """Exchange the answers of rows in a cycle, in which each row and the next are unrelated."""
        chosen = self.take(1, fits)

        def fits_next(row: Row) -> bool:
            neighbours = [chosen[-1], chosen[0]] if len(chosen) == count - 1 else [chosen[-1]]
            return fits(row) and (unrelated is None or all(unrelated(row, other) for other in neighbours))

        for _ in range(1, count):
            chosen += self.take(1, fits_next)
        if len(chosen) < count:
            raise ValueError(f"got a cycle of {len(chosen)} unrelated rows, expected {count}")
        for row, other in zip(chosen, chosen[1:] + chosen[:1], strict=True):
            self.add(replace(row, answer=other.answer, kind="mismatched", of=other.id))

    def in_order(self) -> list[Row]:
        return sorted(self.rows.values(), key=lambda row: (row.position, row.id))


@cache
def words(text: str) -> frozenset[str]:
    """Return the words in ASCII letters, in lower case."""
    return frozenset(re.findall(r"\w+", text.lower(), re.ASCII))


def unrelated_by(topic: Callable[[Row], frozenset[str]]) -> Callable[[Row, Row], bool]:
    """Return a test whether neither of two rows contains a topic word of the other."""

    def unrelated(row: Row, other: Row) -> bool:
        text, other_text = (words(f"{one.question} {one.answer}") for one in (row, other))
        return topic(row).isdisjoint(other_text) and topic(other).isdisjoint(text)

    return unrelated


def respaced(text: str) -> str:
    return "  " + text.replace(" ", "  ", 3).replace(" ", "\u00a0", 1) + " "


def one_word_changed(text: str) -> str:
    words = text.split(" ")
    middle = next(i for i in range(len(words) // 2, len(words)) if words[i].isalpha())
    return " ".join([*words[:middle], "usually", *words[middle + 1 :]])


def garbled(text: str) -> str:
    """Replace apostrophes by typographic ones, then decode the UTF-8 bytes as Windows-1252."""
    return text.replace("'", "\u2019").encode().decode("cp1252")


def can_garble(text: str) -> bool:
    try:
        return garbled(text) != text
    except UnicodeDecodeError:
        return False


def plant_copies(planter: Planter, count: int) -> None:
    planter.copy("verbatim", count, lambda text: text)
    planter.copy("recased", count, str.upper, fits=lambda row: row.lang == "en")
    planter.copy("respaced", count, respaced)


def plant_junk(planter: Planter, count: int) -> None:
    planter.answer("empty_answer", count, ("", "   "))
    planter.answer("not_available", count, NOT_AVAILABLE)
    planter.answer("punctuation", count, PUNCTUATION)
    planter.answer("boilerplate", count, BOILERPLATE)


def planted_questions(corpora: Path) -> list[Row]:
    rows = medquad(corpora)
    planter = Planter(rows)
    planter.mismatch(round(MISMATCHED["questions"] * len(rows)))
    plant_copies(planter, 12)
    planter.copy("near_duplicate", 20, one_word_changed, fits=lambda row: len(str(row.answer).split()) >= 120)
    plant_junk(planter, 8)
    planter.answer("null_answer", 4, (None,))
    for row in planter.take(3):
        repeats = LONG_CHARS // len(str(row.answer)) + 1
        planter.add(replace(row, answer=f"{row.answer} " * repeats, kind="very_long"))
    for row in planter.take(12, lambda row: "'" in str(row.answer) and can_garble(str(row.answer))):
        planter.add(replace(row, answer=garbled(str(row.answer)), kind="mojibake"))
    for row in foreign_questions(corpora):
        planter.add(row)
    for i, (kind, line) in enumerate(broken_lines(planter.take(6))):
        planter.add(Row(hash_fraction("broken", i), f"broken-{i}", "", "", "", "", kind=kind, line=line))
    return planter.in_order()


def broken_lines(rows: list[Row]) -> Iterator[tuple[str, str]]:
    """Yield lines that are not valid rows, made from rows that stay in the file."""
    records = [row.record() for row in rows]
    for record in records[:2]:
        line = json.dumps(record, ensure_ascii=False)
        yield "broken_cut", line[: len(line) * 2 // 3]
    yield "broken_not_an_object", json.dumps([records[2]["question"], records[2]["answer"]], ensure_ascii=False)
    yield "broken_not_an_object", json.dumps(records[3]["question"], ensure_ascii=False)
    yield "broken_type", json.dumps(records[4] | {"question": {"text": records[4]["question"]}}, ensure_ascii=False)
    yield "broken_type", json.dumps(records[5] | {"answer": [records[5]["answer"]]}, ensure_ascii=False)


def planted_commands(corpora: Path) -> list[Row]:
    rows = commands(corpora)
    planter = Planter(rows)
    planter.mismatch(round(MISMATCHED["commands"] * len(rows)))
    plant_copies(planter, 10)
    plant_junk(planter, 6)
    accented = planter.take(20, lambda row: row.lang in ("es", "de", "fr", "pt_BR") and can_garble(row.question))
    for row in accented:
        planter.add(replace(row, question=garbled(row.question), kind="mojibake"))
    return planter.in_order()


def planted_pages(corpora: Path) -> list[Row]:
    rows = pages(corpora)
    planter = Planter(rows)
    unrelated = unrelated_by(lambda row: frozenset(re.findall(r"\w+", row.question.lower(), re.ASCII)[:1]))
    for lang in N_PAGES:
        of_lang = {row for row in rows if row.lang == lang}
        planter.mismatch(round(MISMATCHED["pages"] * len(of_lang)), of_lang.__contains__, unrelated)
    planter.copy("verbatim", 5, lambda text: text)
    return planter.in_order()


# Writing


def planted(file: str, rows: list[Row]) -> Iterator[dict[str, object]]:
    """Yield a record for each planted row; `row` counts from 0 over all rows of the file, with the broken rows."""
    row_numbers = {row.id: i for i, row in enumerate(rows)}
    for i, row in enumerate(rows):
        if row.kind is not None:
            yield {"file": file, "row": i, "kind": row.kind, "of": None if row.of is None else row_numbers[row.of]}


def jsonl(records: Iterable[object]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def table(rows: Iterable[Row]) -> bytes:
    """Return rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.record() for row in rows)
    return text.getvalue().encode()


def build(corpora: Path) -> dict[str, bytes]:
    """Return the content of each file of the sample."""
    questions, commands_, pages_ = planted_questions(corpora), planted_commands(corpora), planted_pages(corpora)
    lines = "".join((row.line or json.dumps(row.record(), ensure_ascii=False)) + "\n" for row in questions)
    parquet = io.BytesIO()
    pq.write_table(sentences(corpora), parquet, compression="zstd")
    files = {"questions.jsonl.gz": questions, "commands.csv": commands_, "pages.csv.gz": pages_}
    records = (record for file, rows in files.items() for record in planted(file, rows))
    return {
        "questions.jsonl.gz": gzip.compress(lines.encode(), 9, mtime=0),
        "commands.csv": table(commands_),
        "pages.csv.gz": gzip.compress(table(pages_), 9, mtime=0),
        "sentences.parquet": parquet.getvalue(),
        "planted.jsonl": jsonl(records).encode(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    corpora = os.environ.get("JINA_DATA_CORPORA")
    parser.add_argument("--corpora", type=Path, default=corpora, required=corpora is None, help="folder of real data")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path(__file__).parent,
        help="output folder (default: the folder of this file)",
    )
    args = parser.parse_args()
    for name, content in build(args.corpora).items():
        (args.output / name).write_bytes(content)
        print(f"{name}: {len(content):,} bytes")


if __name__ == "__main__":
    main()

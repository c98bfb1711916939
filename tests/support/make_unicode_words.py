"""Writes `unicode_words.tsv`, the table of Unicode properties that define words, lines and sentences.

    python -m tests.support.make_unicode_words

The properties come from the `regex` package (a development dependency), which carries a newer Unicode than Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

TABLE = Path(__file__).parents[2] / "jina_data" / "kernels" / "unicode_words.tsv"

WORD_BREAKS = """
    CR LF Newline Extend ZWJ Format Regional_Indicator Katakana Hebrew_Letter ALetter Single_Quote Double_Quote
    MidNumLet MidLetter MidNum Numeric ExtendNumLet WSegSpace
"""

# A script counts as written without spaces where Unicode lets a line break between any two of its syllables: its
# letters have Line_Break ID or CJ (East Asia), SA (South-East Asia) or AK or AS (scripts of Brahmi descent).
# Borderline: Yi, Nushu, Tangut and Khitan are in, like Han. Bopomofo is in: it glosses Chinese. Hangul is out, although
# its compatibility letters have Line_Break ID: Korean has spaces. Tibetan is out: its tsheg already separates
# syllables. Ethiopic, Lepcha, Limbu, Sundanese and Buginese are out: they have spaces or word separators today.
UNSPACED_SCRIPTS = """
    Han Hiragana Katakana Bopomofo Yi Nushu Tangut Khitan_Small_Script
    Thai Lao Khmer Myanmar Tai_Le New_Tai_Lue Tai_Tham Tai_Viet Ahom
    Balinese Javanese Batak Brahmi Cham Dives_Akuru Grantha Gurung_Khema Kawi Makasar Tulu_Tigalari
"""

KINDS = {
    "L": r"\p{L}",
    "N": r"\p{N}",
    # WB=Katakana adds the prolonged sound mark and the kana repeat marks, whose script is Common.
    "U": r"[{}\p{{WB=Katakana}}]".format("".join(rf"\p{{Script={name}}}" for name in UNSPACED_SCRIPTS.split())),
    "P": r"\p{Extended_Pictographic}",
    "T": r"\p{Sentence_Terminal}",
    # regex calls every unassigned code point wide.
    "W": r"(?:(?!\p{Cn})[\p{East_Asian_Width=W}\p{East_Asian_Width=F}])",
    "S": r"\p{White_Space}",
    # Symbols, and the punctuation that is used like them. Marks of ownership and lines of boxes are decoration.
    "Y": r"(?:(?![©®™℠\u2500-\u259F\uFFFC\uFFFD])[\p{Sm}\p{Sc}\p{So}^#%&*/@\\_§‰‱′″‴⁗†‡٪؉؊＾＃％＆＊＠／＼＿])",
}

HEADER = """\
# Unicode {version}: properties of code points, from the Python package regex.
# Written by `python -m tests.support.make_unicode_words`; do not edit.
# first and last code point, Word_Break, kinds. Code points not listed are Other, without a kind.
# L letter, N number, U letter or number of a script written without spaces (each counts as a word),
# P pictographic, T sentence terminal, W wide, S white space, Y a sign. L, N and U are left out where Word_Break
# is Extend, Format or ZWJ: such a character belongs to the one before it.
"""


def unicode_version() -> str:
    """Return the version of Unicode that the installed `regex` supports."""
    match = re.search(r"Unicode (\d+\.\d+\.\d+)", distribution("regex").read_text("METADATA") or "")
    if match is None:
        raise RuntimeError("the metadata of regex has no Unicode version: read its METADATA and adapt this function")
    return match.group(1)


def classify() -> list[tuple[str, str]]:
    """Return the Word_Break and the kinds of every code point."""
    import regex

    all_chars = "".join(map(chr, range(0x110000)))

    def runs_of(pattern: str) -> Iterator[slice]:
        return (slice(*run.span()) for run in regex.finditer(f"{pattern}+", all_chars))

    breaks = ["Other"] * len(all_chars)
    for name in WORD_BREAKS.split():
        for run in runs_of(rf"\p{{WB={name}}}"):
            breaks[run] = [name] * (run.stop - run.start)
    kinds = [""] * len(all_chars)
    for kind, pattern in KINDS.items():
        for run in runs_of(pattern):
            kinds[run] = [
                _add_kind(earlier, kind, word_break)
                for earlier, word_break in zip(kinds[run], breaks[run], strict=True)
            ]
    return list(zip(breaks, kinds, strict=True))


def _add_kind(kinds: str, kind: str, word_break: str) -> str:
    if kind in "LNU" and word_break in {"Extend", "Format", "ZWJ"}:
        return kinds
    if kind == "U" and not set(kinds) & {"L", "N"}:
        return kinds
    # Digits make a number, in every script.
    if kind == "U" and word_break == "Numeric":
        return kinds
    return kinds + kind


def table() -> str:
    """Return the text of the table: runs of code points of one class."""
    lines, first, classes = [], 0, classify()
    for last, current in enumerate(classes):
        if last + 1 < len(classes) and classes[last + 1] == current:
            continue
        if current != ("Other", ""):
            lines.append(f"{first:04X}\t{last:04X}\t{current[0]}\t{current[1] or '-'}\n")
        first = last + 1
    return HEADER.format(version=unicode_version()) + "".join(lines)


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")

"""The words of a text in plain Python, by UAX #29 as jina_data/kernels/words.py defines them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import regex

WORD_BREAKS = (
    *("CR", "LF", "Newline", "Extend", "ZWJ", "Format", "Regional_Indicator", "Katakana", "Hebrew_Letter", "ALetter"),
    *("Single_Quote", "Double_Quote", "MidNumLet", "MidLetter", "MidNum", "Numeric", "ExtendNumLet", "WSegSpace"),
)
WITHOUT_SPACES = """
    Han Hiragana Katakana Bopomofo Yi Nushu Tangut Khitan_Small_Script
    Thai Lao Khmer Myanmar Tai_Le New_Tai_Lue Tai_Tham Tai_Viet Ahom
    Balinese Javanese Batak Brahmi Cham Dives_Akuru Grantha Gurung_Khema Kawi Makasar Tulu_Tigalari
"""
_UNSPACED = regex.compile(
    "[" + "".join(rf"\p{{Script={name}}}" for name in WITHOUT_SPACES.split()) + r"\p{WB=Katakana}]"
)
_BREAKS = [(name, regex.compile(rf"\p{{WB={name}}}")) for name in WORD_BREAKS]
_LETTER, _NUMBER, _PICTURE = (regex.compile(rf"\p{{{name}}}") for name in ("L", "N", "Extended_Pictographic"))
MARKS = frozenset({"Extend", "Format", "ZWJ"})
NEWLINES = frozenset({"CR", "LF", "Newline"})
AH_LETTER = frozenset({"ALetter", "Hebrew_Letter"})
MID_LETTER = frozenset({"MidLetter", "MidNumLet", "Single_Quote"})
WORDLIKE = AH_LETTER | {"Numeric", "ExtendNumLet"}
MID_NUMBER = frozenset({"MidNum", "MidNumLet", "Single_Quote"})


@dataclass(frozen=True)
class Char:
    """The properties of a character: Word_Break (Other for letters of scripts without spaces), and its kinds."""

    word_break: str
    letter: bool
    number: bool
    unspaced: bool
    picture: bool


@cache
def char_of(char: str) -> Char:
    name = next((name for name, pattern in _BREAKS if pattern.fullmatch(char)), "Other")
    is_mark = name in MARKS
    letter = bool(_LETTER.fullmatch(char)) and not is_mark
    number = bool(_NUMBER.fullmatch(char)) and not is_mark
    unspaced = bool(_UNSPACED.fullmatch(char)) and (letter or number) and name != "Numeric"
    return Char("Other" if unspaced else name, letter, number, unspaced, bool(_PICTURE.fullmatch(char)))


def _units(text: str) -> list[list[str]]:
    """Join marks to the character before them (WB4), and LF to CR (WB3)."""
    units: list[list[str]] = []
    for char in text:
        name = char_of(char).word_break
        after_newline = bool(units) and char_of(units[-1][0]).word_break in NEWLINES
        joins_mark = bool(units) and name in MARKS and not after_newline
        joins_newline = bool(units) and name == "LF" and units[-1] == ["\r"]
        if joins_mark or joins_newline:
            units[-1].append(char)
        else:
            units.append([char])
    return units


def _joined(units: list[list[str]], names: list[str], k: int, flags_before: int) -> bool:
    """Return whether there is no boundary between unit k and the next; `names` are the classes of the units."""
    current, following = names[k], names[k + 1]
    before = names[k - 1] if k else ""
    after = names[k + 2] if k + 2 < len(names) else ""
    if current in NEWLINES or following in NEWLINES:
        return False
    if units[k][-1] == "\u200d" and char_of(units[k + 1][0]).picture:
        return True
    if current == following == "WSegSpace" and len(units[k]) == 1:
        return True
    return (
        (current in WORDLIKE and following in WORDLIKE)
        or ("Katakana" in (current, following) and {current, following} <= {"Katakana", "ExtendNumLet"})
        or (current in AH_LETTER and following in MID_LETTER and after in AH_LETTER)
        or (before in AH_LETTER and current in MID_LETTER and following in AH_LETTER)
        or (current == "Hebrew_Letter" and following == "Single_Quote")
        or (current == after == "Hebrew_Letter" and following == "Double_Quote")
        or (before == following == "Hebrew_Letter" and current == "Double_Quote")
        or (current == after == "Numeric" and following in MID_NUMBER)
        or (before == following == "Numeric" and current in MID_NUMBER)
        or (current == following == "Regional_Indicator" and flags_before % 2 == 0)
    )


def segments(text: str) -> Iterator[str]:
    """Yield the segments of a text; each letter of a script without spaces is a segment."""
    units = _units(text)
    names = [char_of(unit[0]).word_break for unit in units]
    segment, flags = "", 0
    for k, unit in enumerate(units):
        segment += "".join(unit)
        if k + 1 < len(units) and _joined(units, names, k, flags):
            flags = flags + 1 if names[k] == "Regional_Indicator" else 0
            continue
        yield segment
        segment, flags = "", 0


@cache
def words(text: str) -> tuple[str, ...]:
    """Return the segments that contain a letter or a number."""
    return tuple(piece for piece in segments(text) if any(is_counted(char) for char in piece))


@cache
def is_counted(char: str) -> bool:
    return char_of(char).letter or char_of(char).number

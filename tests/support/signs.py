"""The words of texts with their signs, as strings: a reference of `jina_data.kernels.folded_words`."""

from __future__ import annotations

import re
from functools import cache

import regex

from tests.support.make_unicode_words import KINDS
from tests.support.segments import char_of, is_counted, segments

SIGN = regex.compile(KINDS["Y"])
DASHES = "-\u2010\u2011\u2013\ufe63\uff0d"
BULLETS = "▪▫●○■□◆◇►▶∙◦"
DEPENDS = DASHES + BULLETS + "#*!.:;_"
BLANKS = " \t"


@cache
def signed_words(text: str) -> tuple[str, ...]:
    """Return the folded words of a text, each with its signs after a NUL; signs before the first word precede it."""
    out: list[str] = []
    leading, start = "", 0
    skipped_to = 0
    for piece in segments(text):
        first, start = start, start + len(piece)
        if first < skipped_to:
            continue
        if any(map(is_counted, piece)):
            out.append(f"{leading}\0{_folded(piece)}\0")
            leading = ""
            continue
        run = len(text[first:]) - len(text[first:].lstrip(piece[0]))
        if piece[0].isascii() and run >= 4:
            skipped_to = first + run
            continue
        stop = sign_end(text, first, start)
        skipped_to = stop
        sign = "".join(map(_plain, _folded(text[first:stop])))
        if out:
            out[-1] += sign
        else:
            leading += sign
    return tuple(out)


def has_mark(word: str) -> bool:
    """Return whether a word of `signed_words` has signs or ends in a number."""
    leading, folded, signs = word.split("\0")
    counted = [char for char in folded if is_counted(char)]
    return bool(leading or signs or char_of(counted[-1]).number)


def sign_end(text: str, first: int, stop: int) -> int:
    """Return the end of the sign that begins in text[first:stop], or `first` if there is none."""
    char = text[first]
    if char not in DEPENDS:
        return stop if SIGN.fullmatch(char) else first
    left, right = text[:first], text[stop:]
    if char.isascii():
        left, right = left.rstrip(char), right.lstrip(char)
    run = len(text) - len(left) - len(right)
    bare_left, bare_right = left.rstrip(BLANKS), right.lstrip(BLANKS)
    spaced_left, spaced_right = bare_left != left, bare_right != right
    if char in ":;":
        found = re.match(r"=|[-'^]?([()\[\]])(?=\1|[\0-!,.?]|$)", text[stop:])
        return first if found is None else stop if found[0] == "=" else stop + found.end()
    rules = {"*": _is_star, "!": _is_bang, ".": _is_point}
    if char in rules:
        return stop if rules[char](bare_left, spaced_left, bare_right, spaced_right, run) else first
    if char == "_":
        return first if spaced_left and spaced_right and run == 1 else stop
    if char not in DASHES:
        return (
            first if sort_of(bare_left[-1:]) == "edge" and (spaced_right or sort_of(bare_right[:1]) == "edge") else stop
        )
    return stop if _is_minus(bare_left, spaced_left, bare_right, spaced_right) else first


def _is_minus(left: str, spaced_left: bool, right: str, spaced_right: bool) -> bool:
    before, after = sort_of(left[-1:]), sort_of(right[:1])
    if (before == "sign" and not spaced_left) or (after == "sign" and not spaced_right):
        return True
    if not spaced_right and (after == "number" or (right[:1] == "." and sort_of(right[1:2]) == "number")):
        return spaced_left or before != "letter"
    starts = not spaced_right and after in ("letter", "unspaced", "number", "open")
    if spaced_left:
        return before != "edge" and (starts or (spaced_right and _ends_operand(left) and _begins_operand(right)))
    if starts:
        return before == "open" or (after == "open" and before in ("number", "close"))
    return _ends_operand(left)


def _is_star(left: str, spaced_left: bool, right: str, spaced_right: bool, run: int) -> bool:
    before = sort_of(left[-1:])
    starts = not spaced_right and sort_of(right[:1]) in ("letter", "unspaced", "number", "open")
    if spaced_left or before == "edge":
        return not starts and before != "edge"
    is_word = before in ("letter", "unspaced", "number")
    return is_word and (starts or (before != "number" and _ends_operand(left)))


def _is_bang(left: str, spaced_left: bool, right: str, spaced_right: bool, run: int) -> bool:
    if not spaced_right and right[:1] == "=":
        return True
    if spaced_left or sort_of(left[-1:]) in ("edge", "open", "sign"):
        return not spaced_right and sort_of(right[:1]) in ("letter", "unspaced", "number", "open")
    return _ends_operand(left) and (sort_of(right[:1]) == "sign" or bool(re.match("[a-z]", right)))


def _is_point(left: str, spaced_left: bool, right: str, spaced_right: bool, run: int) -> bool:
    is_prefix = spaced_left or sort_of(left[-1:]) in ("edge", "open", "sign") or left[-1:] == "-"
    return is_prefix and run == 1 and not spaced_right and bool(re.match("[A-Za-z0-9]", right))


def _ends_operand(left: str) -> bool:
    sort = sort_of(left[-1:])
    return sort in ("number", "close") or (_is_letter(sort) and not _is_word(sort_of(left[-2:-1])))


def _begins_operand(right: str) -> bool:
    sort = sort_of(right[:1])
    return sort in ("number", "open", "sign") or (_is_letter(sort) and not _is_word(sort_of(right[1:2])))


def _is_letter(sort: str) -> bool:
    return sort in ("letter", "unspaced")


def _is_word(sort: str) -> bool:
    return sort in ("letter", "unspaced", "number")


@cache
def sort_of(char: str) -> str:
    """Return the kind of a neighbor of a sign; no character is an edge, like a line break."""
    if char in ("", "\r", "\n"):
        return "edge"
    if char in "([{":
        return "open"
    if char in ")]}":
        return "close"
    if is_counted(char):
        return "number" if char_of(char).number else "unspaced" if char_of(char).unspaced else "letter"
    if regex.fullmatch(r"\p{White_Space}", char):
        return "blank"
    return "sign" if SIGN.fullmatch(char) else "other"


def _folded(piece: str) -> str:
    return "".join(char.casefold() for char in piece if char not in "\ufe0e\ufe0f")


def _plain(char: str) -> str:
    if char in DASHES + "\u2212":
        return "-"
    return chr(ord(char) - 0xFEE0) if "\uff01" <= char <= "\uff5e" else char

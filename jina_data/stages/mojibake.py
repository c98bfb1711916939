"""Repairs texts that were decoded in the wrong encoding, with ftfy, and leaves correct texts as they are.

ftfy treats a capital letter with an accent and the sign after it as one broken character: `“IRMÃ”` becomes `“IRMÔ`. So
the letters at such places are hidden from it. They are ambiguous: `Ö` decoded wrongly is `Ã–`, but a word can end in
`Ã`, and a dash can follow. A text is repaired only if ftfy finds something broken elsewhere in it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from ftfy import TextFixerConfig, fix_encoding_and_explain, fix_text
from ftfy.badness import BADNESS_RE, MOJIBAKE_CATEGORIES, is_bad

ENCODING_ONLY = TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
    explain=True,  # without it, ftfy ignores these settings when it repairs encodings
)

_HIDDEN = "\x02"
"""Stands for a hidden letter. Any other character that no encoding changes would do."""


def repair(text: str) -> str:
    """Return a text with its broken characters repaired; a text that is not clearly broken does not change."""
    if not is_bad(text):
        return text
    if "â€œ" in text:
        text = _CLOSING_QUOTE.sub("â€\x9d", text)
    if _HIDDEN in text or not is_bad(_ambiguous()[0].sub(_HIDDEN, text)):
        return text
    return "".join(_repair_line(line) for line in _mac_roman(text).splitlines(keepends=True))


def _repair_line(line: str) -> str:
    """Repair a line of a broken text; ambiguous letters stay, unless all of the line, or more of their word, is broken.

    `is_bad` decides whether a line is broken without its ambiguous letters.
    """
    ambiguous, in_word = _ambiguous()
    if is_bad(ambiguous.sub(_HIDDEN, line)):
        repaired, steps = fix_encoding_and_explain(line, ENCODING_ONLY)
        if steps and steps[0].action == "encode" and steps[-1].parameter.startswith("utf-8"):
            return repaired
    letters: list[str] = []

    def hide(word: re.Match[str]) -> str:
        hidden = in_word.sub(_HIDDEN, word[0])
        if is_bad(hidden):
            return word[0]
        letters.extend(in_word.findall(word[0]))
        return hidden

    repaired = fix_text(_WORD.sub(hide, line), ENCODING_ONLY)
    if repaired.count(_HIDDEN) != len(letters):
        return line
    hidden = iter(letters)
    return re.sub(_HIDDEN, lambda _: next(hidden), repaired)


_WORD = re.compile(r"[^ ]+ ?")
_CLOSING_QUOTE = re.compile(r"â€(?=[\s.,;:!?)]|\Z)")
"""The third byte of this quote is no character in Windows-1252, so it is often lost."""
_MAC_ROMAN_E = re.compile("[a-z][\x8e\x8f][a-z]")
_C1_RUN = re.compile("[\x80-\x9f]")


def _mac_roman(text: str) -> str:
    """Decode C1 controls as Mac Roman if é or è are among them; Windows-1252 has Ž and nothing at their places."""
    if not _MAC_ROMAN_E.search(text):
        return text
    return _C1_RUN.sub(lambda match: bytes([ord(match[0])]).decode("mac_roman"), text)


_SIGNS = "\xa0\xad¡¢£¥§¨©ª«¬®¯°±²³´¶·¸¹º»¼½¾¿×÷€‘’“”‚„‹›•…‐‑‒–—―™"
"""Signs that can follow a word directly, and that are also halves of broken characters."""
_JOINING = "‐‑‒–—―’…·"
"""Signs that can stand between two letters."""


@lru_cache(maxsize=1)
def _ambiguous() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return patterns of the letters that may be correct: in a text without, and with, other broken characters."""
    letters = [c for c in map(chr, range(0x80, 0x2000)) if c.isalpha()]
    upper, lower = (_python_class(c for c in letters if unicodedata.category(c) == kind) for kind in ("Lu", "Ll"))
    upper = f"{upper[:-1]}×]"
    small, large = f"[a-z{lower[1:-1]}]", f"[A-Z{upper[1:-1]}]"
    # Two or more pairs in a row are no coincidence, nor is a pair beside small letters.
    joined = f"[{_JOINING}](?!{upper}[{_SIGNS}])"
    capital = f"(?<!{small}){upper}(?= |°(?!{small})|[{_SIGNS}](?!{small}|{large})|{joined})"
    # Before these signs, Â is no letter of a word.
    capital = f"(?!(?<!{large})Â[«¢£¥§©®°±²³¼½¾¿¡]){capital}"
    # A small letter begins a run of three. With only one sign after it, it ends a word.
    opened = f"(?<=[»›£¥€]){upper}"
    final = f"{lower}(?=[{_SIGNS}](?:[ \n.,;:!?)]|$))"
    quoted = f"(?<=[{large[1:-1]}“”„‚‘’«»‹›\"']){upper}(?= |[{_SIGNS}](?!{small}|{large}))"
    return re.compile(f"{capital}|{opened}|{final}", re.M), re.compile(f"(?:{quoted}|{final})", re.M)


def re2_class(characters: Iterable[str]) -> str:
    """Return an RE2 character class, with runs of code points as ranges."""
    points = np.unique(np.fromiter(map(ord, characters), np.int64))
    runs = np.split(points, np.flatnonzero(np.diff(points) > 1) + 1)
    return "[" + "".join(f"\\x{{{run[0]:x}}}-\\x{{{run[-1]:x}}}" for run in runs) + "]"


@lru_cache(maxsize=1)
def broken_pattern() -> str:
    """Return an RE2 pattern that matches every text that ftfy calls bad.

    The expression of ftfy is too slow to run on every text. Each of its alternatives needs one of the first two
    patterns below, or two adjacent characters of its categories, one of which is not an everyday letter.
    """
    any_category = _characters_of(*MOJIBAKE_CATEGORIES) | {c for c in BADNESS_RE.pattern if not c.isascii()}
    everyday = {"common", "lower_accented", "lower_common", "upper_common", "kaomoji"}
    unusual = _characters_of(*(MOJIBAKE_CATEGORIES.keys() - everyday)) | {"°", "Ù", "Ђ"}
    any_class, unusual_class = re2_class(any_category), re2_class(unusual)
    return rf"[\x{{80}}-\x{{9f}}Œœ]|[ÃÂ] |{any_class}{unusual_class}|{unusual_class}{any_class}"


def _characters_of(*categories: str) -> set[str]:
    member = re.compile(f"[{''.join(MOJIBAKE_CATEGORIES[category] for category in categories)}]")
    return {c for c in map(chr, range(0x80, 0x10000)) if member.match(c)}


def _python_class(characters: Iterable[str]) -> str:
    return re.sub(r"\\x\{([0-9a-f]+)\}", lambda match: chr(int(match[1], 16)), re2_class(characters))

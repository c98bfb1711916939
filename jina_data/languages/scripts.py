"""The scripts that languages are written in, and those of the letters of a text.

A text in a script that none of the wanted languages uses is in another language, however short it is. Latin and Greek
letters occur in texts of every language, as names, units and signs (`NASA`, `3.5 kg`, `x = 7`, `π`), so only their
words count.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jina_data.languages.names import CODE_OF

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


# Unicode 15.1, Scripts.txt, by block: the letters of a block belong to the script, or to no single one.
_BLOCKS = """
Latin 41-24F 250-2AF 1D00-1D25 1D2C-1D5C 1D62-1D65 1D6B-1D77 1D79-1DBE 1E00-1EFF 2071-209C
Latin 2C60-2C7F A722-A7FF AB30-AB64 FF21-FF5A
Greek 370-3FF 1F00-1FFF
Cyrillic 400-52F 1C80-1C8F 2DE0-2DFF A640-A69F
Armenian 531-58A FB13-FB17
Hebrew 591-5F4 FB1D-FB4F
Arabic 600-6FF 750-77F 870-8FF FB50-FDFF FE70-FEFC
Syriac 700-74F 860-86F
Thaana 780-7BF
Nko 7C0-7FF
Devanagari 900-97F A8E0-A8FF
Bengali 980-9FF
Gurmukhi A00-A7F
Gujarati A80-AFF
Oriya B00-B7F
Tamil B80-BFF
Telugu C00-C7F
Kannada C80-CFF
Malayalam D00-D7F
Sinhala D80-DFF
Thai E00-E7F
Lao E80-EFF
Tibetan F00-FFF
Myanmar 1000-109F A9E0-A9FF AA60-AA7F
Georgian 10A0-10FF 1C90-1CBF 2D00-2D2F
Hangul 1100-11FF 3130-318F A960-A97F AC00-D7FF FFA0-FFDC
Ethiopic 1200-139F 2D80-2DDF AB00-AB2F
Cherokee 13A0-13FF AB70-ABBF
Khmer 1780-17FF
Mongolian 1800-18AF
Tifinagh 2D30-2D7F
Han 2E80-2FDF 3005-3007 3021-3029 3038-303B 3400-4DBF 4E00-9FFF F900-FAFF 20000-323AF
Kana 3041-3096 309D-30FA 30FC-30FF 31F0-31FF FF66-FF9D
Bopomofo 3105-312F 31A0-31BF
Yi A000-A4CF
"""

_LANGUAGES = """
Cyrillic av ba be bg bxr ce cv krc kv ky lez mhr mk mrj myv os ru rue sah tg tyv uk xal
Cyrillic,Latin kk sr tt tk uz az crh
Cyrillic,Mongolian mn
Greek el
Armenian hy
Hebrew he yi
Arabic ar arz azb ckb fa lrc mzn pnb ps ur
Arabic,Devanagari sd
Arabic,Cyrillic,Latin ug
Arabic,Latin ku
Thaana dv
Devanagari bh dty hi mai mr ne new
Devanagari,Latin gom hif
Devanagari,Bengali,Gujarati,Kannada,Malayalam,Oriya,Tamil,Telugu,Tibetan sa
Bengali as bn bpy
Gurmukhi,Arabic pa
Gujarati gu
Oriya or
Tamil ta
Telugu te
Kannada kn
Malayalam ml
Sinhala si
Thai th
Lao lo
Tibetan bo
Myanmar my
Georgian ka xmf
Hangul,Han ko
Ethiopic am
Khmer km
Han,Bopomofo wuu yue zh
Han,Kana ja
Latin af als an ast bar bcl br bs ca cbk ceb co cs cy da de diq dsb eml en eo es et eu fi fr frr fy ga gd
Latin gl gn gv hr hsb ht hu ia id ie ilo io is it jbo jv kw la lb li lmo lt lv mg min ms mt mwl nah nap
Latin nds nl nn no oc pam pfl pl pms pt qu rm ro sc scn sco sh sk sl so sq su sv sw tl tr vec vep vi vls
Latin vo wa war yo
"""

_ISO_15924 = {
    "latn": "Latin", "grek": "Greek", "cyrl": "Cyrillic", "armn": "Armenian", "hebr": "Hebrew", "arab": "Arabic",
    "syrc": "Syriac", "thaa": "Thaana", "nkoo": "Nko", "deva": "Devanagari", "beng": "Bengali", "guru": "Gurmukhi",
    "gujr": "Gujarati", "orya": "Oriya", "taml": "Tamil", "telu": "Telugu", "knda": "Kannada", "mlym": "Malayalam",
    "sinh": "Sinhala", "thai": "Thai", "laoo": "Lao", "tibt": "Tibetan", "mymr": "Myanmar", "geor": "Georgian",
    "ethi": "Ethiopic", "cher": "Cherokee", "khmr": "Khmer", "mong": "Mongolian", "tfng": "Tifinagh", "hang": "Hangul",
    "kore": "Hangul,Han", "hani": "Han", "hans": "Han,Bopomofo", "hant": "Han,Bopomofo", "jpan": "Han,Kana",
}  # fmt: skip
"""The ends of labels such as eng_Latn."""

FOREIGN_SHARE = 0.8
"""The minimum share of letters of other scripts, by weight, in a text of another language; the rest may be names."""

SHORT_CHARS = 100
"""Texts below this number of characters may have only signs in another script."""

_WEIGHTS = {"Han": 3, "Kana": 2, "Hangul": 2}
"""Letters of these scripts are syllables or words."""


def scripts_of(label: str) -> frozenset[str]:
    """Return the scripts in which a language is written; none if they are not known."""
    _, _, end = label.partition("_")
    names = _ISO_15924.get(end.lower()) if end else _script_table().get(CODE_OF.get(label, label))
    return frozenset(names.split(",")) if names else frozenset()


class Scripts(NamedTuple):
    """Of N texts: whether each is in another script than the languages, and its share of letters of other scripts."""

    is_other: BoolArray
    foreign_share: FloatArray


def compare_scripts(texts: Sequence[str], languages: Sequence[str]) -> Scripts:
    """Compare the scripts of N texts with those of the languages."""
    wanted = _scripts_of_all(languages)
    if not texts or wanted is None:
        return Scripts(np.zeros(len(texts), np.bool_), np.zeros(len(texts)))
    share, weighted = _foreign(texts, wanted)
    is_other = weighted >= FOREIGN_SHARE
    # Without the signs the share can only be smaller. A long text has words.
    doubtful = [index for index in np.flatnonzero(is_other).tolist() if len(texts[index]) < SHORT_CHARS]
    is_other[doubtful] = _foreign([_without_signs(texts[index], wanted) for index in doubtful], wanted)[1] >= (
        FOREIGN_SHARE
    )
    return Scripts(is_other, share)


def _scripts_of_all(languages: Sequence[str]) -> frozenset[str] | None:
    """Return the scripts of all languages together; None if those of a language are not known."""
    used = [scripts_of(language) for language in languages]
    return frozenset[str]().union(*used) if all(used) else None


def _foreign(texts: Sequence[str], wanted: frozenset[str]) -> tuple[FloatArray, FloatArray]:
    """Return the share of letters of other scripts in N texts (N,), 0 without letters; by number, and by weight."""
    scripts_by_point, weight_by_point = _letters()
    is_foreign = np.array([False, *(name not in wanted for name in _ranges())])
    points = code_points(texts)
    weights, foreign = weight_by_point[points], is_foreign[scripts_by_point[points]]
    shares = []
    for values in ((weights > 0).astype(np.uint8), weights):
        total = add_up(values, texts)
        shares.append(add_up(np.where(foreign, values, 0), texts) / np.maximum(1, total))
    return shares[0], shares[1]


_LATIN_SIGN = re.compile(r"(?<![^\W_])(?:[A-Z]{1,4}|[^\W\d_]{1,2}|[^\W_]*(?:\d|[a-z][A-Z])[^\W_]*)(?![^\W_])")
"""A unit, a variable, an abbreviation or an identifier, as in kg, x, NASA, x86 and iPhone."""
_LATIN = re.compile("[A-Za-zÀ-ɏḀ-ỿ]")
_GREEK_SIGN = re.compile("(?<![Ͱ-Ͽἀ-῿])[Ͱ-Ͽ]{1,2}(?![Ͱ-Ͽἀ-῿])")


_LONE_LETTER = re.compile(r"(?<![^\W_])[^\W\d_](?![^\W_])")
_SYLLABLE = re.compile("[\u3400-\u9fff\uf900-\ufaff\uac00-\ud7a3]")


def _without_signs(text: str, wanted: frozenset[str]) -> str:
    """Remove lone letters, as in ಠ_ಠ, and Latin and Greek letters that are no words, unless the script is wanted."""

    def lone(letter: re.Match[str]) -> str:
        joined = unicodedata.category(text[letter.end() : letter.end() + 1] or " ")[0] == "M"
        return letter[0] if joined or _SYLLABLE.match(letter[0]) else ""

    text = _LONE_LETTER.sub(lone, text)
    if "Latin" not in wanted:
        text = _LATIN_SIGN.sub(lambda word: "" if _LATIN.match(word[0]) else word[0], text)
    return text if "Greek" in wanted else _GREEK_SIGN.sub("", text)


def code_points(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    """Return the code points of all texts, one after the other."""
    return np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)


def add_up(values: npt.NDArray[np.integer[Any]], texts: Sequence[str]) -> IntArray:
    """Add up the values of the code points of each of N texts, (N,)."""
    totals = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    sums: IntArray = totals[ends] - totals[np.concatenate([[0], ends[:-1]])] if len(texts) else ends
    return sums


@lru_cache(maxsize=1)
def _script_table() -> dict[str, str]:
    rows = (line.split() for line in _LANGUAGES.split("\n") if line)
    return {label: names for names, *labels in rows for label in labels}


@lru_cache(maxsize=1)
def _ranges() -> dict[str, list[tuple[int, int]]]:
    ranges: dict[str, list[tuple[int, int]]] = {}
    for name, *spans in (line.split() for line in _BLOCKS.split("\n") if line):
        ends = (span.split("-") for span in spans)
        ranges.setdefault(name, []).extend((int(first, 16), int(last, 16)) for first, last in ends)
    return ranges


@lru_cache(maxsize=1)
def _letters() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the number of the script of every code point, 0 for none, and the weight of the letters, 0 for others."""
    scripts, weights = np.zeros(0x110000, np.uint8), np.zeros(0x110000, np.uint8)
    for number, (name, spans) in enumerate(_ranges().items(), 1):
        for first, last in spans:
            for point in range(first, last + 1):
                if chr(point).isalpha():
                    scripts[point], weights[point] = number, _WEIGHTS.get(name, 1)
    return scripts, weights


def foreign_letters(languages: Sequence[str]) -> str | None:
    """Return an RE2 pattern of a letter that none of the languages uses; None if there is none."""
    wanted = _scripts_of_all(languages)
    if wanted is None:
        return None
    spans = [span for name, spans in _ranges().items() if name not in wanted for span in spans]
    return "[" + "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in spans) + "]" if spans else None

"""Text functions for English sources: detokenizing, folding for comparison, words, sentences, hashes."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}
_BRACKET = re.compile("|".join(_BRACKETS), re.IGNORECASE)
_TOKENISED = re.compile(r"-[LR][RSC]B-|``|''|(?<=\w) (?:[.,;:?!]|n't|'(?:s|re|ve|ll|d|m)?)(?= |$)", re.IGNORECASE)
_CLOSING = re.compile(r" +(?=[.,;:?!%)\]}](?:[\s\"')\]]|$))")
_OPENING = re.compile(r"(?<=[(\[{$#]) +")
_CONTRACTION = re.compile(r" +(?=(?:n't|'(?:s|re|ve|ll|d|m))\b)", re.IGNORECASE)
_POSSESSIVE = re.compile(r"(?<=s) +'(?= |$)")
_WORD = re.compile(r"[^\W_]+(?:['’\-.&][^\W_]+)*(?:['’](?=\s|$))?")
_NOT_FOLDED = re.compile(r"[^\w]+")
_SENTENCE_END = re.compile(r"(?<=[^\s.][.!?])[\"')\]]*\s+(?=[\"'(\[]?[^\W\da-z])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|st|prof|gen|col|lt|sgt|capt|rev|hon|sen|rep|gov|vs|jr|sr|inc|ltd|co|corp|etc|mt|ft|pp?"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|u\.s|u\.k|a\.m|p\.m|e\.g|i\.e)|\b[a-z])\.$",
    re.IGNORECASE,
)


def word_set(words: str) -> frozenset[str]:
    """Return the words of a text that are separated by white space."""
    return frozenset(words.split())


def detokenised(text: str) -> str:
    """Undo the tokens of the Penn Treebank: named brackets, doubled quotes, " n't", spaces before commas."""
    if not _TOKENISED.search(text):
        return text
    text = _BRACKET.sub(lambda match: _BRACKETS[match[0].upper()], text)
    text = _quoted(text.replace("``", '"').replace("''", '"'))
    text = _CONTRACTION.sub("", text)
    text = _POSSESSIVE.sub("'", text)
    text = _OPENING.sub("", _CLOSING.sub("", text))
    return " ".join(text.split())


def _quoted(text: str) -> str:
    """Remove the spaces inside double quotes; with an odd number of quotes, return the text unchanged."""
    parts = re.split(r' ?" ?', text)
    if len(parts) < 3 or len(parts) % 2 == 0:
        return text
    out = parts[0].rstrip()
    for number, part in enumerate(parts[1:], 1):
        inside = number % 2 == 1
        before = " " if inside and out and not out.endswith(("(", "[")) else ""
        after = " " if not inside and part[:1] and (part[0].isalnum() or part[0] in "([$") else ""
        out += f'{before}"{after}{part.strip()}'
    return out


def folded(text: str | None) -> str:
    """Return a text without case, punctuation and repeated spaces, for comparison."""
    return _NOT_FOLDED.sub(" ", unicodedata.normalize("NFKC", text or "").casefold()).strip()


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, with straight apostrophes; contractions and hyphens are not split."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def sentence_count(text: str) -> int:
    """Return the approximate number of sentences; abbreviations and initials do not end one."""
    count = 1
    for end in _SENTENCE_END.finditer(text):
        if not _ABBREVIATION.search(text[: end.start()].rstrip("\"')]")):
            count += 1
    return count


def hash_64(seed: int, *parts: str) -> int:
    """Return a seeded hash of texts, from 0 to 2**64 - 1."""
    digest = hashlib.blake2b("\0".join((str(seed), *parts)).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")

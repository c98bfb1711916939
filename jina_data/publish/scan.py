"""Look for what should not go public by accident: secrets, e-mail addresses, IP numbers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from jina_data.publish.facts import FILE, ROW
from jina_data.read.schema import is_list, is_string

SHOWN_PLACES = 5
"""So many rows are named for each kind of finding."""

SECRETS = {
    "AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{40,})",
    "Hugging Face token": r"\bhf_[0-9A-Za-z]{30,}\b",
    "API key (sk-...)": r"\bsk-[0-9A-Za-z_-]{32,}",
    "Slack token": r"\bxox[abprs]-[0-9A-Za-z-]{10,}",
    "Google API key": r"\bAIza[0-9A-Za-z_-]{35}",
    "private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "JSON web token": r"\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}",
    "password in a URL": r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]+:[^\s/@]+@[^\s/]+",
}
"""Patterns of things that open doors, in what both RE2 and `re` read."""

PERSONAL = {
    "e-mail address": r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24}\b",
    "IPv4 number": r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b",
    "IPv6 number": r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f:]{1,36}",
}

_PATTERNS = {kind: re.compile(pattern) for kind, pattern in {**SECRETS, **PERSONAL}.items()}
_ANYTHING = "|".join(f"(?:{pattern})" for pattern in {**SECRETS, **PERSONAL}.values())

PLACEHOLDERS = re.compile(r"@(?:[a-z0-9-]+\.)*example\.(?:com|org|net)$", re.IGNORECASE)
"""Addresses of nobody, reserved for examples (RFC 2606)."""


@dataclass
class Finding:
    """What was found of one kind: in how many rows, and where first."""

    kind: str
    is_secret: bool
    rows: int = 0
    places: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return one line for the user."""
        more = f" and {self.rows - len(self.places):,} more" if self.rows > len(self.places) else ""
        rows = "row" if self.rows == 1 else "rows"
        return f"likely {self.kind} in {self.rows:,} {rows}: {', '.join(self.places)}{more}"


@dataclass
class Scan:
    """Scans batches of rows, and keeps what it finds by kind."""

    findings: dict[str, Finding] = field(default_factory=dict)

    def look(self, batch: pa.RecordBatch) -> set[int]:
        """Scan a batch; return the positions of the rows in which something was found."""
        found: dict[tuple[str, int], str] = {}
        for name in batch.schema.names:
            if name not in (FILE, ROW):
                for kind, row in _found(batch.column(name)):
                    found.setdefault((kind, row), name)
        for kind, row in sorted(found, key=lambda one: one[1]):
            self._note(kind, f"{place_of(batch, row)} ({found[kind, row]})")
        return {row for _, row in found}

    def _note(self, kind: str, place: str) -> None:
        finding = self.findings.setdefault(kind, Finding(kind, kind in SECRETS))
        finding.rows += 1
        if len(finding.places) < SHOWN_PLACES:
            finding.places.append(place)

    def lines(self) -> list[str]:
        """Return what was found, secrets first."""
        return [finding.line() for finding in sorted(self.findings.values(), key=lambda one: not one.is_secret)]


def place_of(batch: pa.RecordBatch, row: int) -> str:
    """Return how a row is named: by file and row, else by its id."""
    names = batch.schema.names
    if FILE in names:
        return f"{batch.column(FILE)[row].as_py()}:{batch.column(ROW)[row].as_py()}"
    return str(batch.column("id")[row].as_py()) if "id" in names else f"row {row}"


def _found(column: pa.Array) -> set[tuple[str, int]]:
    """Return what is found in a column of texts, lists or structs: kind and row."""
    found: set[tuple[str, int]] = set()
    for texts, owner in _texts(column, None):
        # One pass of RE2 over everything; the few texts that match anything are looked at more closely.
        matches = pc.fill_null(pc.match_substring_regex(texts, _ANYTHING), False)
        for at in pc.indices_nonzero(matches).to_pylist():
            row = at if owner is None else owner[at].as_py()
            found |= {(kind, row) for kind in _kinds(texts[at].as_py())}
    return found


def _kinds(text: str) -> Iterator[str]:
    """Yield the kinds of things in a text."""
    for kind, pattern in _PATTERNS.items():
        confirm = _CONFIRM.get(kind)
        if any(confirm is None or confirm(found) for found in pattern.finditer(text)):
            yield kind


def _texts(column: pa.Array, owner: pa.Array | None) -> Iterator[tuple[pa.Array, pa.Array | None]]:
    """Yield the arrays of texts in a column, each with the row that each text belongs to (None: its position)."""
    if is_string(column.type):
        yield column, owner
    elif is_list(column.type):
        parents = pc.list_parent_indices(column)
        yield from _texts(pc.list_flatten(column), parents if owner is None else owner.take(parents))
    elif pa.types.is_struct(column.type):
        for inner in column.flatten():
            yield from _texts(inner, owner)


def _is_address(found: re.Match[str]) -> bool:
    # In an address of the web, what stands before the @ is a user and a password, or part of a path.
    word = found.string[: found.start()].rsplit(maxsplit=1)[-1:] if found.start() else []
    in_url = bool(word) and "://" in word[0] and not found.string[found.start() - 1].isspace()
    return not in_url and not PLACEHOLDERS.search(found[0])


def _is_ipv4(found: re.Match[str]) -> bool:
    # A fifth number, or a digit glued to it, makes it a version or a section.
    text = found.string
    around = text[max(0, found.start() - 1) : found.start()] + text[found.end() : found.end() + 2]
    return not re.search(r"^[.\d]|\.\d", around) and _is_public(found[0])


def _is_ipv6(found: re.Match[str]) -> bool:
    return found[0].count(":") >= 3 and _is_public(found[0].rstrip(":"))


def _is_public(number: str) -> bool:
    try:
        return ipaddress.ip_address(number).is_global
    except ValueError:
        return False


_CONFIRM: dict[str, Callable[[re.Match[str]], bool]] = {
    "e-mail address": _is_address,
    "IPv4 number": _is_ipv4,
    "IPv6 number": _is_ipv6,
}

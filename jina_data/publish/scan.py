"""Scans texts for content that may have to stay private: secrets, e-mail addresses and IP addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from jina_data.arrow.types import is_list, is_string
from jina_data.publish.facts import FILE, ROW

MAX_LOCATIONS = 5
"""Number of rows that are listed for each kind of finding."""

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
"""Patterns of credentials, in a syntax that both RE2 and `re` support."""

PERSONAL = {
    "e-mail address": r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24}\b",
    "IPv4 number": r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b",
    "IPv6 number": r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f:]{1,36}",
}

_PATTERNS = {kind: re.compile(pattern) for kind, pattern in {**SECRETS, **PERSONAL}.items()}
_ANY_PATTERN = "|".join(f"(?:{pattern})" for pattern in {**SECRETS, **PERSONAL}.values())

PLACEHOLDERS = re.compile(r"@(?:[a-z0-9-]+\.)*example\.(?:com|org|net)$", re.IGNORECASE)
"""E-mail addresses in domains reserved for examples (RFC 2606)."""


@dataclass
class Finding:
    """The findings of a kind: the number of rows, and the locations of the first rows."""

    kind: str
    is_secret: bool
    rows: int = 0
    locations: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the finding as one line."""
        more = f" and {self.rows - len(self.locations):,} more" if self.rows > len(self.locations) else ""
        rows = "row" if self.rows == 1 else "rows"
        return f"likely {self.kind} in {self.rows:,} {rows}: {', '.join(self.locations)}{more}"


@dataclass
class Scan:
    """Scans batches of rows, and collects the findings by kind."""

    findings: dict[str, Finding] = field(default_factory=dict)

    def check(self, batch: pa.RecordBatch) -> set[int]:
        """Scan a batch; return the positions of the rows with findings."""
        columns: dict[tuple[str, int], str] = {}
        for name in batch.schema.names:
            if name not in (FILE, ROW):
                for kind, row in _find_in_column(batch.column(name)):
                    columns.setdefault((kind, row), name)
        for kind, row in sorted(columns, key=lambda kind_and_row: kind_and_row[1]):
            self._add(kind, f"{row_label(batch, row)} ({columns[kind, row]})")
        return {row for _, row in columns}

    def _add(self, kind: str, location: str) -> None:
        finding = self.findings.setdefault(kind, Finding(kind, kind in SECRETS))
        finding.rows += 1
        if len(finding.locations) < MAX_LOCATIONS:
            finding.locations.append(location)

    def lines(self) -> list[str]:
        """Return a line for each finding, secrets first."""
        return [finding.line() for finding in sorted(self.findings.values(), key=lambda finding: not finding.is_secret)]


def row_label(batch: pa.RecordBatch, row: int) -> str:
    """Return a label of a row: file and row number, or its id."""
    names = batch.schema.names
    if FILE in names:
        return f"{batch.column(FILE)[row].as_py()}:{batch.column(ROW)[row].as_py()}"
    return str(batch.column("id")[row].as_py()) if "id" in names else f"row {row}"


def _find_in_column(column: pa.Array) -> set[tuple[str, int]]:
    """Return the findings in a column of texts, lists or structs, each with its kind and row."""
    findings: set[tuple[str, int]] = set()
    for texts, rows in _texts(column, None):
        # One fast pass of RE2 over all texts; only the few texts with a match are checked for each kind.
        matches = pc.fill_null(pc.match_substring_regex(texts, _ANY_PATTERN), False)
        for position in pc.indices_nonzero(matches).to_pylist():
            row = position if rows is None else rows[position].as_py()
            findings |= {(kind, row) for kind in _kinds(texts[position].as_py())}
    return findings


def _kinds(text: str) -> Iterator[str]:
    """Yield the kinds of findings in a text."""
    for kind, pattern in _PATTERNS.items():
        confirm = _CONFIRM.get(kind)
        if any(confirm is None or confirm(match) for match in pattern.finditer(text)):
            yield kind


def _texts(column: pa.Array, rows: pa.Array | None) -> Iterator[tuple[pa.Array, pa.Array | None]]:
    """Yield the arrays of texts in a column, each with the row of each text (None: the row is its position)."""
    if is_string(column.type):
        yield column, rows
    elif is_list(column.type):
        parents = pc.list_parent_indices(column)
        yield from _texts(pc.list_flatten(column), parents if rows is None else rows.take(parents))
    elif pa.types.is_struct(column.type):
        for inner in column.flatten():
            yield from _texts(inner, rows)


def _is_address(match: re.Match[str]) -> bool:
    # In a URL, the text before the @ is a user and a password, or part of a path.
    word = match.string[: match.start()].rsplit(maxsplit=1)[-1:] if match.start() else []
    in_url = bool(word) and "://" in word[0] and not match.string[match.start() - 1].isspace()
    return not in_url and not PLACEHOLDERS.search(match[0])


def _is_ipv4(match: re.Match[str]) -> bool:
    # With a fifth number or an adjacent digit, it is a version or the number of a section.
    text = match.string
    around = text[max(0, match.start() - 1) : match.start()] + text[match.end() : match.end() + 2]
    return not re.search(r"^[.\d]|\.\d", around) and _is_public(match[0])


def _is_ipv6(match: re.Match[str]) -> bool:
    return match[0].count(":") >= 3 and _is_public(match[0].rstrip(":"))


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

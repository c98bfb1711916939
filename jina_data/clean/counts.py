"""Row counts of a run, of its stages, and of its files and sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RowCounts:
    """The rows of a run: read = kept + dropped + unreadable."""

    read: int
    kept: int
    dropped: int
    unreadable: int


@dataclass(frozen=True)
class StageCounts:
    """The rows in and out of one stage. SQL stages that ran as one query have their seconds at the first of them."""

    index: int
    name: str
    rows_in: int
    rows_out: int
    seconds: float
    dropped: Mapping[str, int]


@dataclass(frozen=True)
class PartCounts:
    """The rows of a file or a source."""

    name: str
    read: int
    kept: int
    dropped: int
    unreadable: int
    reasons: Mapping[str, int] = field(default_factory=dict)

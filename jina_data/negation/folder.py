"""Provides the paths in the run folder of a negate run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jina_data.run.files import remove
from jina_data.run.folder import RunFolder

LEDGER = "requests.sqlite"


@dataclass(frozen=True)
class NegationFolder(RunFolder):
    """The paths of a negate run."""

    outputs: ClassVar[tuple[str, ...]] = ("data", "rejected", "unanswered", "report.json", "report.html")
    side_files: ClassVar[tuple[str, ...]] = (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm")
    keeps_side_files: ClassVar[bool] = True
    """`clear` keeps the request ledger, because its answers were paid for."""
    work_name: ClassVar[re.Pattern[str]] = re.compile(
        r"lock|(run|complete|cleaned)\.json|(pairs|clean-pairs|round-\d+)\.parquet|seen\.sqlite(-wal|-shm)?"
        r"|clean|batches|out|\.pairs-.*|\..*\.tmp"
    )
    shard_name: ClassVar[re.Pattern[str]] = re.compile(r"(part|train|test)-[0-9]{5,}\.parquet")

    @property
    def ledger(self) -> Path:
        """The request ledger."""
        return self.path / LEDGER

    @property
    def pairs(self) -> Path:
        """The pairs of the sources."""
        return self.work / "pairs.parquet"

    @property
    def clean_pairs(self) -> Path:
        """The pairs that the recipe kept."""
        return self.work / "clean-pairs.parquet"

    @property
    def cleaned(self) -> Path:
        """The report of the recipe: counts of kept and dropped pairs."""
        return self.work / "cleaned.json"

    @property
    def accepted_texts(self) -> Path:
        """The negatives accepted so far."""
        return self.work / "seen.sqlite"

    @property
    def batches(self) -> Path:
        """The folder of batch files."""
        return self.work / "batches"

    def round(self, number: int) -> Path:
        """The results of a round."""
        return self.work / f"round-{number}.parquet"

    @property
    def has_progress(self) -> bool:
        """Whether the pairs were read; a run that failed before that may be repeated with other settings."""
        return self.pairs.exists()

    def discard_partial_files(self) -> None:
        """Remove partial files of a killed run, and its temporary folders for the choice of pairs."""
        super().discard_partial_files()
        for entry in self.work.glob(".pairs-*"):
            remove(entry)

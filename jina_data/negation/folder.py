"""The run folder of the negation data set."""

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
    """The paths of a run that writes negatives. The ledger of requests stays, since its answers were paid for."""

    outputs: ClassVar[tuple[str, ...]] = ("data", "rejected", "unanswered", "report.json", "report.html")
    side_files: ClassVar[tuple[str, ...]] = (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm")
    keeps_side_files: ClassVar[bool] = True
    """An answer that was paid for is not requested again, so `clear` leaves the ledger."""
    work_name: ClassVar[re.Pattern[str]] = re.compile(
        r"lock|(run|complete|cleaned)\.json|(pairs|clean-pairs|round-\d+)\.parquet|seen\.sqlite(-wal|-shm)?"
        r"|clean|batches|out|\.pairs-.*|\..*\.tmp"
    )
    shard_name: ClassVar[re.Pattern[str]] = re.compile(r"(part|train|test)-[0-9]{5,}\.parquet")

    @property
    def ledger(self) -> Path:
        """The ledger of requests."""
        return self.path / LEDGER

    @property
    def pairs(self) -> Path:
        """The pairs of the sources."""
        return self.work / "pairs.parquet"

    @property
    def clean_pairs(self) -> Path:
        """The pairs that a recipe left."""
        return self.work / "clean-pairs.parquet"

    @property
    def cleaned(self) -> Path:
        """What the recipe did to the pairs."""
        return self.work / "cleaned.json"

    @property
    def accepted_texts(self) -> Path:
        """The negatives that were accepted so far."""
        return self.work / "seen.sqlite"

    @property
    def batches(self) -> Path:
        """The files of batches that are under way."""
        return self.work / "batches"

    def round(self, number: int) -> Path:
        """What became of the pairs that were asked for in a round."""
        return self.work / f"round-{number}.parquet"

    @property
    def has_progress(self) -> bool:
        """Whether the pairs of the sources were read: a run that failed before may be repeated with other settings."""
        return self.pairs.exists()

    def discard_partial_files(self) -> None:
        """Remove the files that a killed run was writing, and the folders in which it chose the pairs."""
        super().discard_partial_files()
        for entry in self.work.glob(".pairs-*"):
            remove(entry)

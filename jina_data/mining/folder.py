"""The run folder of `mine`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jina_data.run.folder import RunFolder


@dataclass(frozen=True)
class MiningFolder(RunFolder):
    """The paths of a run of `mine`."""

    outputs: ClassVar[tuple[str, ...]] = ("data", "dropped", "ledger", "report.json", "report.html")
    work_name: ClassVar[re.Pattern[str]] = re.compile(
        r"lock|(run|complete)\.json|pairs|texts-(anchors|corpus)|vectors-(anchors|corpus)|found|out|\..*\.tmp"
    )
    shard_name: ClassVar[re.Pattern[str]] = re.compile(r"part-[0-9]{5,}\.parquet")

    @property
    def has_progress(self) -> bool:
        """Whether the pairs were read: a run that failed earlier can be repeated with other settings."""
        return self.pairs.exists()

    @property
    def pairs(self) -> Path:
        """The pairs, with the numbers of their anchors and of their positives in the corpus."""
        return self.work / "pairs"

    def texts(self, kind: str) -> Path:
        """The distinct texts of a kind: anchors or corpus."""
        return self.work / f"texts-{kind}"

    def vectors(self, kind: str) -> Path:
        """The vectors of the texts of a kind."""
        return self.work / f"vectors-{kind}"

    def negatives(self, unit: int) -> Path:
        """The negatives of a unit of anchors."""
        return self.work / "found" / f"part-{unit:06d}.parquet"

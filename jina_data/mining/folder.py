"""The run folder of mining."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jina_data.run.folder import RunFolder


@dataclass(frozen=True)
class MiningFolder(RunFolder):
    """The paths of a run that mines negatives."""

    outputs: ClassVar[tuple[str, ...]] = ("data", "dropped", "ledger", "report.json", "report.html")
    work_name: ClassVar[re.Pattern[str]] = re.compile(
        r"lock|(run|complete)\.json|pairs|texts-(anchors|corpus)|vectors-(anchors|corpus)|found|out|\..*\.tmp"
    )
    shard_name: ClassVar[re.Pattern[str]] = re.compile(r"part-[0-9]{5,}\.parquet")

    @property
    def has_progress(self) -> bool:
        """Whether the pairs were read: a run that failed before may be repeated with other settings."""
        return self.pairs.exists()

    @property
    def pairs(self) -> Path:
        """The pairs, and which anchor and text of the corpus each is."""
        return self.work / "pairs"

    def texts(self, kind: str) -> Path:
        """The different texts of a kind: anchors or corpus."""
        return self.work / f"texts-{kind}"

    def vectors(self, kind: str) -> Path:
        """The vectors of the texts of a kind."""
        return self.work / f"vectors-{kind}"

    @property
    def found(self) -> Path:
        """The negatives of the anchors."""
        return self.work / "found"

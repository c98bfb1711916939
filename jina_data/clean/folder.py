"""The paths of a run folder of `clean`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jina_data.run.files import remove
from jina_data.run.folder import RunFolder


@dataclass(frozen=True)
class CleanFolder(RunFolder):
    """The paths of a run of clean. A unit of work writes one file in `.work`, which marks it as done."""

    outputs: ClassVar[tuple[str, ...]] = (
        *("data", "dropped", "ledger", "scores", "unreadable.jsonl", "report.json", "report.html"),
    )
    side_files: ClassVar[tuple[str, ...]] = ("cache", "labels")
    """The score cache is not an output, because its bytes depend on the order of work. Labels come after the run."""
    work_name: ClassVar[re.Pattern[str]] = re.compile(
        r"lock|(run|complete|(look|facts)-\d+)\.json|decide-\d+\.parquet|(pass|outside|look)-\d+|spool|sources|digest|out|duckdb"
        r"|index|old-index|\..*\.tmp"
    )

    def spool(self, file_index: int, number: int) -> Path:
        """The parsed rows of a fixed range."""
        return self.work / "spool" / f"file-{file_index:05d}-range-{number:06d}.parquet"

    def unreadable(self, file_index: int, number: int) -> Path:
        """The unreadable records of a fixed range; missing if there are none."""
        return self.spool(file_index, number).with_suffix(".jsonl")

    def end_of_file(self, file_index: int) -> Path:
        """The number of ranges of a file; exists once the file was read to its end."""
        return self.work / "spool" / f"file-{file_index:05d}.json"

    def input_sha256(self, file_index: int) -> Path:
        """The sha256 of an input file."""
        return self.work / "digest" / f"file-{file_index:05d}.json"

    def sources(self, file_index: int) -> Path:
        """The source of each row of an input file that is the data of another run; missing for other files."""
        return self.work / "sources" / f"file-{file_index:05d}.parquet"

    def state(self, pass_number: int, ordinal: int) -> Path:
        """The decisions of the stages of a pass about the rows of a fixed range."""
        return self.work / f"pass-{pass_number:02d}" / f"range-{ordinal:06d}.parquet"

    def dropped_rows(self, stage_index: int) -> Path:
        """The rows that a collective stage drops, in order of row id."""
        return self.work / f"decide-{stage_index:02d}.parquet"

    def barrier_result(self, stage_index: int) -> Path:
        """The result of fitting a barrier stage to all remaining rows."""
        return self.work / f"look-{stage_index:02d}.json"

    def barrier_files(self, stage_index: int) -> Path:
        """The files that a barrier stage wrote while it was fitted."""
        return self.work / f"look-{stage_index:02d}"

    def stage_facts(self, stage_index: int) -> Path:
        """The facts about a collective stage for the report."""
        return self.work / f"facts-{stage_index:02d}.json"

    def outside(self, stage_index: int, file_index: int) -> Path:
        """The keys of the rows of a reference file that a stage compares with."""
        return self.work / f"outside-{stage_index:02d}" / f"file-{file_index:05d}.parquet"

    @property
    def cache(self) -> Path:
        """The scores of models by content; kept after the run, for `--reuse`."""
        return self.path / "cache"

    @property
    def labels(self) -> Path:
        """The labels of rows by people, one file for each stage; written by `inspect --label`."""
        return self.path / "labels"

    @property
    def index(self) -> Path:
        """The index of the scores in `cache`."""
        return self.work / "index"

    @property
    def old_index(self) -> Path:
        """The index of the scores that existed when the session began, of this run and of reused ones."""
        return self.work / "old-index"

    def discard_partial_files(self) -> None:
        """Remove the files that a killed run was writing, those of DuckDB too."""
        remove(self.work / "duckdb")
        super().discard_partial_files()

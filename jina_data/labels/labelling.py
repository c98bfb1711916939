"""Labels rows of a finished run of `clean`: draws them, stores the labels in the run folder, and reports on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jina_data.clean.folder import CleanFolder
from jina_data.clean.inspection import Inspection
from jina_data.errors import InputError, UsageError
from jina_data.labels.report import LabelReport
from jina_data.labels.store import GIVEN, NEAR, RANDOM, GivenLabel, Label, LabelFile, read_given_labels
from jina_data.labels.strata import Draw, StageRows
from jina_data.run.files import atomic_file
from jina_data.run.inspection import find_file, split_place


@dataclass(frozen=True)
class ShownRow:
    """What a person sees of a row: texts by role, the texts of the row that it was dropped for, and languages.

    The partner is there only if the stage drops rows because of other rows. `score` is the value that the decision is
    based on, for those who want to see it.
    """

    texts: Mapping[str, Any]
    partner: str | None
    partner_texts: Mapping[str, Any]
    languages: Mapping[str, str]
    score: str | None


@dataclass(frozen=True)
class ReadLabels:
    """The labels of a file: `labels` are all, `new` those that the run did not have, `empty` the unlabelled rows."""

    labels: int
    new: int
    empty: int


@dataclass(frozen=True)
class Labelling:
    """The rows of one stage of a finished run, opened for labels."""

    inspection: Inspection
    stage: StageRows
    file: LabelFile

    @classmethod
    def open(cls, folder: str | Path, stage: str) -> Labelling:
        """Open a finished run for labels of a stage, such as "consistency" or, with its index, "06-consistency".

        Raises:
            RunFolderError: there is no finished run of `clean`.
            UsageError: the run has no such stage, or the stage dropped nothing and has no threshold.
        """
        inspection = Inspection.open(folder)
        rows = StageRows.divide(inspection.con, inspection.report, inspection.folder, stage)
        return cls(inspection, rows, LabelFile(CleanFolder(Path(folder)).labels / f"{rows.name}.jsonl"))

    def sample(self, n_rows: int = 100, *, seed: int = 0, near: bool = False) -> list[Draw]:
        """Draw rows: at random from bands of the score (or reasons), or those nearest to the threshold.

        Raises:
            UsageError: `near`, but no single score decides.
        """
        return self.stage.nearest(n_rows, seed) if near else self.stage.draw(n_rows, seed)

    def unlabelled(self, draws: Iterable[Draw]) -> list[Draw]:
        """Return the rows without a label that counts for their sample.

        A label of a row near the threshold does not count for a random sample until its turn comes (`reuse`): if it
        did, the rows near the threshold would be too many in an unfinished sample.
        """
        labels = self.file.load()
        return [
            draw
            for draw in draws
            if draw.row_id not in labels or (draw.sample == RANDOM and labels[draw.row_id].sample == NEAR)
        ]

    def add(self, draw: Draw, *, keep: bool) -> None:
        """Store the label of a row."""
        label = Label.now(draw.file, draw.row, draw.row_id, stage=self.stage.name, keep=keep, sample=draw.sample)
        self.file.append(label)

    def reuse(self, draw: Draw, labels: Mapping[int, Label]) -> bool:
        """Return whether a row is in `labels`; one that was chosen near the threshold now counts as `draw.sample`."""
        label = labels.get(draw.row_id)
        if label is not None and draw.sample == RANDOM and label.sample == NEAR:
            self.add(draw, keep=label.keep)
        return label is not None

    def report(self) -> LabelReport:
        """Count the stored labels, and estimate precision and recall of the stage."""
        return LabelReport.count(self.stage, self.file.load())

    def shown(self, draw: Draw) -> ShownRow:
        """Return what to show of a row. It does not tell whether the stage dropped the row, if possible."""
        partner, partner_texts = None, {}
        entry = self.inspection.con.execute(
            "SELECT partner, partner_row_id IS NOT NULL, score FROM ledger WHERE row_id = ? AND stage_index = ?",
            [draw.row_id, self.stage.index],
        ).fetchone()
        if self.stage.has_partners and entry is not None and entry[0] is not None:
            partner = entry[0]
            partner_texts = self.inspection.role_texts(*split_place(partner)) if entry[1] else {}
        scores = self.inspection.row_scores(draw.row_id)
        return ShownRow(
            self.inspection.role_texts(draw.file, draw.row),
            partner,
            partner_texts,
            self._languages(scores),
            _score_text(scores, self.stage.index, None if entry is None else entry[2]),
        )

    def _languages(self, scores: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """Return the languages by role, as an earlier or later stage found them, but not those of this stage."""
        return {
            name.rpartition(".")[0] or "row": value
            for folder, values in scores.items()
            if not folder.startswith(f"{self.stage.index:02d}-")
            for name, value in values.items()
            if name.rpartition(".")[2] == "language" and isinstance(value, str)
        }

    def write_sample(self, path: Path, draws: Sequence[Draw]) -> int:
        """Write the rows without a label as JSON lines, with their texts and an empty `keep`; return their number.

        Raises:
            UsageError: the file exists.
        """
        if path.exists():
            raise UsageError(f"{path} exists and may contain labels; name another file")
        rows = self.unlabelled(draws)
        with atomic_file(path, "w") as sink:
            for draw in rows:
                sink.write(json.dumps(self._line(draw), ensure_ascii=False, default=str) + "\n")
        return len(rows)

    def _line(self, draw: Draw) -> dict[str, Any]:
        row = self.shown(draw)
        line = {"file": draw.file, "row": draw.row, "row_id": draw.row_id, "stage": self.stage.name}
        line |= {"sample": draw.sample, "source": draw.source, "texts": row.texts}
        if row.partner is not None:
            line |= {"partner": row.partner, "partner_texts": row.partner_texts}
        return line | {"keep": None}

    def read(self, path: Path) -> ReadLabels:
        """Store the labels of a file in the run folder.

        Raises:
            InputError: the file cannot be read, or a line is not a label of a row that reached the stage.
        """
        given, n_empty = read_given_labels(path, self.stage.name)
        rows = self._rows_of(path, given)
        strata = self.stage.stratum_of([row_id for row_id, _, _ in rows])
        stored, fresh = self.file.load(), dict[int, Label]()
        for label, (row_id, file, row) in zip(given, rows, strict=True):
            if row_id not in strata:
                raise InputError(f"{path}, line {label.line}: {file}:{row} did not reach the stage {self.stage.name}")
            if row_id in fresh and fresh[row_id].keep != label.keep:
                raise InputError(f"{path}, line {label.line}: an earlier line has another label of {file}:{row}")
            old = stored.get(row_id)
            sample = old.sample if old is not None and label.sample == GIVEN else label.sample
            fresh[row_id] = Label.now(file, row, row_id, stage=self.stage.name, keep=label.keep, sample=sample)
        new = [label for label in fresh.values() if not _is_stored(label, stored.get(label.row_id))]
        if new:
            self.file.append(*new)
        return ReadLabels(len(fresh), len(new), n_empty)

    def _rows_of(self, path: Path, given: Sequence[GivenLabel]) -> list[tuple[int, str, int]]:
        """Return row id, file and row of each label."""
        names = [part.name for part in self.inspection.report.files]
        out = []
        for label in given:
            where = f"{path}, line {label.line}"
            try:
                file = None if label.file is None else find_file(label.file, names)
            except UsageError as error:
                raise InputError(f"{where}: {error}") from None
            found = self.inspection.con.execute(
                "SELECT row_id, file, row FROM ledger WHERE row_id = coalesce(?, row_id) AND file = coalesce(?, file) "
                "AND row = coalesce(?, row) LIMIT 1",
                [label.row_id, file, label.row],
            ).fetchone()
            if found is None:
                place = f"{file}:{label.row}" if label.row_id is None else f"with row_id {label.row_id}"
                also = f" at {file}:{label.row}" if label.row_id is not None and file is not None else ""
                raise InputError(f"{where}: this run has no row {place}{also}; are these the labels of another run?")
            out.append((int(found[0]), str(found[1]), int(found[2])))
        return out


def _is_stored(label: Label, old: Label | None) -> bool:
    return old is not None and (old.keep, old.sample) == (label.keep, label.sample)


def _score_text(scores: Mapping[str, Mapping[str, Any]], index: int, of_ledger: float | None) -> str | None:
    """Return the scores of a stage, or the score of the decision in the ledger; None if there are neither."""
    for folder, values in scores.items():
        if folder.startswith(f"{index:02d}-"):
            return ", ".join(f"{name} {_rounded(value)}" for name, value in values.items())
    return None if of_ledger is None else f"score {of_ledger:g}"


def _rounded(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

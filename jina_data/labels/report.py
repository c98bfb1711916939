"""The report on the labels of a stage: counts by stratum, precision and recall."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from jina_data.labels.estimates import Counts, Estimate, precision, recall
from jina_data.labels.store import GIVEN, NEAR, Label
from jina_data.labels.strata import StageRows, Stratum

COLUMNS = ("decision", "rows", "of these", "labelled", "keep", "drop", "right")


@dataclass(frozen=True)
class StratumLabels:
    """The labels of a stratum: `labelled` rows, of which `bad` should be dropped."""

    stratum: Stratum
    labelled: int
    bad: int

    @property
    def counts(self) -> Counts:
        """The numbers for the estimates."""
        return Counts(self.stratum.rows, self.labelled, self.bad)

    @property
    def right(self) -> int:
        """The number of labelled rows that the stage kept or dropped rightly."""
        return self.labelled - self.bad if self.stratum.kept else self.bad


@dataclass(frozen=True)
class LabelReport:
    """Counts of the labels of a stage, and its estimated precision and recall.

    Bad rows are those that should be dropped. Precision is the share of the dropped rows that are bad; recall is the
    share of the bad rows that were dropped. Both are about all rows that reached the stage. They are None if there is
    nothing to estimate them from. `strata` has the labels of rows that were drawn at random, `near` those of rows that
    were chosen near the threshold, which the estimates do not use. Of the labels in `strata`, `given` came from a file
    without a note about how the rows were chosen.
    """

    stage: StageRows
    strata: Sequence[StratumLabels]
    near: Sequence[StratumLabels]
    given: int

    @classmethod
    def count(cls, stage: StageRows, labels: Mapping[int, Label]) -> LabelReport:
        """Count labels by the strata of their rows."""
        strata = stage.stratum_of(list(labels))
        used = [label for label in labels.values() if label.row_id in strata]

        def counted(chosen: Sequence[Label]) -> list[StratumLabels]:
            out = []
            for stratum in stage.strata:
                keep = [label.keep for label in chosen if strata[label.row_id] is stratum]
                out.append(StratumLabels(stratum, len(keep), keep.count(False)))
            return out

        return cls(
            stage,
            counted([label for label in used if label.sample != NEAR]),
            counted([label for label in used if label.sample == NEAR]),
            sum(label.sample == GIVEN for label in used),
        )

    @property
    def precision(self) -> Estimate | None:
        """The share of the dropped rows that should be dropped."""
        return precision([part.counts for part in self.side(kept=False)])

    @property
    def recall(self) -> Estimate | None:
        """The share of the rows that should be dropped that the stage dropped."""
        if self.stage.has_partners:
            return None
        return recall(*([part.counts for part in self.side(kept=kept)] for kept in (False, True)))

    def side(self, *, kept: bool) -> list[StratumLabels]:
        """Return the strata of the kept rows, or those of the dropped rows."""
        return [part for part in self.strata if part.stratum.kept == kept]

    def lines(self, width: int = 80) -> Iterator[str]:
        """Yield the lines of the report."""
        n_labels = sum(part.labelled for part in [*self.strata, *self.near])
        limit = f"; it keeps rows with {self.stage.limit.text}" if self.stage.limit else ""
        yield f"{self.stage.name} (stage {self.stage.index}): {n_labels:,} rows labelled{limit}"
        yield from _table(self.strata, width)
        yield f"precision {self._share(self.precision, kept=False)}"
        yield "  (share of the dropped rows that should be dropped)"
        if self.stage.has_partners:
            yield "recall is not estimated: whether a kept row has a duplicate cannot be seen from that row"
        else:
            yield f"recall {self._share(self.recall, kept=True)}"
            yield "  (share of the rows that should be dropped that the stage dropped)"
        if self.precision or self.recall:
            yield "Estimated for all rows that reached the stage; each line of the table counts by its rows."
        if self.given:
            yield (
                f"{self.given:,} labels do not tell how their rows were chosen. The estimates hold only if these rows "
                "were drawn at random from each line of the table."
            )
        yield from self._near_lines()

    def _share(self, estimate: Estimate | None, *, kept: bool) -> str:
        if estimate is not None:
            ends = f"{_percent(estimate.low)} to {_percent(estimate.high)}"
            return f"{_percent(estimate.value)}, 95 % interval {ends}"
        needed = self.strata if kept else self.side(kept=False)
        missing = [part.stratum for part in needed if not part.labelled]
        if len(missing) == len(needed) and missing:
            return "is not known: no labels yet"
        if missing:
            sides = [f"{'kept' if stratum.kept else 'dropped'}, {stratum.title}" for stratum in missing]
            return f"is not known: no labels yet for {'; '.join(sides)}"
        return "is not known: no labelled row should be dropped" if kept else "is not known: no row was dropped"

    def _near_lines(self) -> Iterator[str]:
        if not any(part.labelled for part in self.near):
            return
        parts = []
        for name, kept in (("dropped", False), ("kept", True)):
            side = [part for part in self.near if part.stratum.kept == kept]
            right, labelled = sum(part.right for part in side), sum(part.labelled for part in side)
            parts.append(f"{right:,} of {labelled:,} {name} rows were rightly {name}")
        yield f"Chosen near the threshold, and not used for the estimates: {', '.join(parts)}."


def _table(strata: Sequence[StratumLabels], width: int) -> list[str]:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in (COLUMNS[0], COLUMNS[2]) else "right")
    for part in strata:
        right = _percent(part.right / part.labelled) if part.labelled else ""
        decision = "kept" if part.stratum.kept else "dropped"
        counts = (part.labelled, part.labelled - part.bad, part.bad)
        table.add_row(decision, f"{part.stratum.rows:,}", part.stratum.title, *(f"{n:,}" for n in counts), right)
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, markup=False).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]


def _percent(share: float) -> str:
    """Return a share in percent: with a digit more near 0 and 1, where it matters."""
    percent = 100 * share
    return f"{percent:.1f} %" if 0 < percent < 10 or 90 < percent < 100 else f"{percent:.0f} %"

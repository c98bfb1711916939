"""What of a run deserves a look before its rows are used."""

from __future__ import annotations

from jina_data.clean.report import CleanReport
from jina_data.stages.mismatch import Mismatch


def notices(report: CleanReport) -> list[str]:
    """Return a sentence or two for each thing that deserves a look."""
    return [
        _of_mismatch(report.stages[one.stage].name, one) for one in report.mismatch if one.spared or one.is_excessive
    ]


def _of_mismatch(stage: str, one: Mismatch) -> str:
    """Tell of a source from which a stage would take, or took, many more pairs than may be wrong."""
    source = one.source or "the smaller sources"
    unrelated = f"about {one.share:.0%} (at most {one.at_most:.0%}) of its pairs look unrelated"
    if one.spared:
        return (
            f"{stage} left {source} alone: {unrelated}, but it would have dropped {one.over:.0%}: its model cannot "
            "tell the good ones from those. Choose one that fits (embedder), or read what it measured in scores/"
        )
    return (
        f"{stage} dropped {one.dropped / one.rows:.0%} of {source}, but {unrelated}: the rest are probably good pairs. "
        "Look at them with inspect; raise top_k, set min_precision, take a model that fits, or leave the stage out"
    )

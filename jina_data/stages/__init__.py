"""The stages, one file each, and the registry of their names."""

from __future__ import annotations

from jina_data.stages.base import Barrier, Collective, Outcome, RowLocal, Sql, Stage
from jina_data.stages.consistency import Consistency
from jina_data.stages.decontaminate import Decontaminate
from jina_data.stages.exact_dedup import ExactDedup
from jina_data.stages.language import Language
from jina_data.stages.length import Length
from jina_data.stages.near_dedup import NearDedup
from jina_data.stages.normalize import Normalize
from jina_data.stages.repeated import Repeated
from jina_data.stages.rows import Rows, View
from jina_data.stages.rules import Rules
from jina_data.stages.sample import Sample
from jina_data.stages.select import Select
from jina_data.stages.triplet_margin import TripletMargin
from jina_data.stages.where import Where

STAGES: dict[str, type[Stage]] = {
    stage.name: stage
    for stage in (
        Select,
        Where,
        Normalize,
        Length,
        Rules,
        Language,
        ExactDedup,
        NearDedup,
        Repeated,
        Decontaminate,
        Consistency,
        TripletMargin,
        Sample,
    )
}
"""Every stage by its name in recipes."""

__all__ = [
    "STAGES",
    "Barrier",
    "Collective",
    "Consistency",
    "Decontaminate",
    "ExactDedup",
    "Language",
    "Length",
    "NearDedup",
    "Normalize",
    "Outcome",
    "Repeated",
    "RowLocal",
    "Rows",
    "Rules",
    "Sample",
    "Select",
    "Sql",
    "Stage",
    "TripletMargin",
    "View",
    "Where",
]

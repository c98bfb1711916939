"""Clean, label and score training data for embedding models. The public names, in the order of the flow."""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jina_data.clean.recipe import Recipe
    from jina_data.clean.report import CleanReport
    from jina_data.errors import JinaDataError
    from jina_data.forecast.forecast import Forecast
    from jina_data.mining.config import MineSettings
    from jina_data.mining.report import MineReport
    from jina_data.mining.run import mine
    from jina_data.negation.config import NegateOptions, NegateSettings
    from jina_data.negation.report import NegateReport
    from jina_data.negation.run import negate
    from jina_data.pipeline import Pipeline
    from jina_data.stages import (
        Consistency,
        Decontaminate,
        ExactDedup,
        Language,
        Length,
        NearDedup,
        Normalize,
        Rules,
        Sample,
        Select,
        TripletMargin,
        Where,
    )

__all__ = [
    "CleanReport",
    "Consistency",
    "Decontaminate",
    "ExactDedup",
    "Forecast",
    "JinaDataError",
    "Language",
    "Length",
    "MineReport",
    "MineSettings",
    "NearDedup",
    "NegateOptions",
    "NegateReport",
    "NegateSettings",
    "Normalize",
    "Pipeline",
    "Recipe",
    "Rules",
    "Sample",
    "Select",
    "TripletMargin",
    "Where",
    "mine",
    "negate",
]

_HOMES = {
    "CleanReport": "jina_data.clean.report",
    "Forecast": "jina_data.forecast.forecast",
    "JinaDataError": "jina_data.errors",
    "MineReport": "jina_data.mining.report",
    "MineSettings": "jina_data.mining.config",
    "NegateOptions": "jina_data.negation.config",
    "NegateReport": "jina_data.negation.report",
    "NegateSettings": "jina_data.negation.config",
    "Pipeline": "jina_data.pipeline",
    "Recipe": "jina_data.clean.recipe",
    "mine": "jina_data.mining.run",
    "negate": "jina_data.negation.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `jina-data --help` need not wait for DuckDB and Arrow."""
    if name == "__version__":
        return metadata.version("jina-data")
    if name not in __all__:
        raise AttributeError(f"module 'jina_data' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "jina_data.stages")), name)

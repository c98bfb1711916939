"""The public names of jina-data: clean, label and score training data for embedding models.

Each name is imported when it is first used.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jina_data.clean.inspection import Inspection
    from jina_data.clean.recipe import Recipe
    from jina_data.clean.report import CleanReport
    from jina_data.clean.run import CleanConfig, RecipeChoice, clean
    from jina_data.embed.table import EncodeConfig, EncodeReport, encode
    from jina_data.encoder.encoder import Encoder
    from jina_data.errors import JinaDataError
    from jina_data.evaluate.ablation import AblateConfig, ablate
    from jina_data.evaluate.ablation_report import AblateReport
    from jina_data.evaluate.run import EvaluateConfig, evaluate
    from jina_data.forecast.forecast import Forecast
    from jina_data.mining.config import MineConfig
    from jina_data.mining.report import MineReport
    from jina_data.mining.run import mine
    from jina_data.negation.config import NegateConfig, RequestConfig
    from jina_data.negation.report import NegateReport
    from jina_data.negation.run import negate
    from jina_data.pipeline import Pipeline
    from jina_data.publish.flow import PublishConfig, PublishReport, publish
    from jina_data.stages import (
        Consistency,
        Decontaminate,
        ExactDedup,
        Language,
        Length,
        NearDedup,
        Normalize,
        Repeated,
        Rules,
        Sample,
        Select,
        TripletMargin,
        Where,
    )
    from jina_data.train.config import TrainConfig
    from jina_data.train.report import TrainReport
    from jina_data.train.trainer import Trainer, train

__all__ = [
    "AblateConfig",
    "AblateReport",
    "CleanConfig",
    "CleanReport",
    "Consistency",
    "Decontaminate",
    "EncodeConfig",
    "EncodeReport",
    "Encoder",
    "EvaluateConfig",
    "ExactDedup",
    "Forecast",
    "Inspection",
    "JinaDataError",
    "Language",
    "Length",
    "MineConfig",
    "MineReport",
    "NearDedup",
    "NegateConfig",
    "NegateReport",
    "Normalize",
    "Pipeline",
    "PublishConfig",
    "PublishReport",
    "Recipe",
    "RecipeChoice",
    "Repeated",
    "RequestConfig",
    "Rules",
    "Sample",
    "Select",
    "TrainConfig",
    "TrainReport",
    "Trainer",
    "TripletMargin",
    "Where",
    "ablate",
    "clean",
    "encode",
    "evaluate",
    "mine",
    "negate",
    "publish",
    "train",
]

_MODULES = {
    "AblateConfig": "jina_data.evaluate.ablation",
    "AblateReport": "jina_data.evaluate.ablation_report",
    "CleanConfig": "jina_data.clean.run",
    "CleanReport": "jina_data.clean.report",
    "EncodeConfig": "jina_data.embed.table",
    "EncodeReport": "jina_data.embed.table",
    "Encoder": "jina_data.encoder.encoder",
    "EvaluateConfig": "jina_data.evaluate.run",
    "Forecast": "jina_data.forecast.forecast",
    "Inspection": "jina_data.clean.inspection",
    "JinaDataError": "jina_data.errors",
    "MineConfig": "jina_data.mining.config",
    "MineReport": "jina_data.mining.report",
    "NegateConfig": "jina_data.negation.config",
    "NegateReport": "jina_data.negation.report",
    "Pipeline": "jina_data.pipeline",
    "PublishConfig": "jina_data.publish.flow",
    "PublishReport": "jina_data.publish.flow",
    "Recipe": "jina_data.clean.recipe",
    "RecipeChoice": "jina_data.clean.run",
    "RequestConfig": "jina_data.negation.config",
    "TrainConfig": "jina_data.train.config",
    "TrainReport": "jina_data.train.report",
    "Trainer": "jina_data.train.trainer",
    "ablate": "jina_data.evaluate.ablation",
    "clean": "jina_data.clean.run",
    "encode": "jina_data.embed.table",
    "evaluate": "jina_data.evaluate.run",
    "mine": "jina_data.mining.run",
    "negate": "jina_data.negation.run",
    "publish": "jina_data.publish.flow",
    "train": "jina_data.train.trainer",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `jina-data --help` does not wait for DuckDB and Arrow.

    Raises:
        AttributeError: there is no such name.
        MissingExtraError: it needs a package that is not installed.
    """
    if name == "__version__":
        return metadata.version("jina-data")
    if name not in __all__:
        raise AttributeError(f"module 'jina_data' has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULES.get(name, "jina_data.stages")), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from jina_data.errors import MissingExtraError

        raise MissingExtraError(f"jina_data.{name} needs torch; run: pip install 'jina-data[torch]'") from None

"""Trains embedding models on the outputs of clean, mine and negate: MLM, pairs and triplets. Does not import DuckDB."""

from typing import TYPE_CHECKING, Any

from jina_data.callable_package import make_callable

if TYPE_CHECKING:
    from jina_data.train.config import TrainConfig
    from jina_data.train.report import TrainReport
    from jina_data.train.trainer import Trainer

__all__ = ["TrainConfig", "TrainReport", "Trainer"]

make_callable(__name__, "jina_data.train.trainer")

_MODULES = {"TrainConfig": "config", "TrainReport": "report", "Trainer": "trainer"}


def __getattr__(name: str) -> Any:
    """Import a public name on first use.

    Raises:
        MissingExtraError: torch is not installed.
    """
    if name not in _MODULES:
        raise AttributeError(f"module 'jina_data.train' has no attribute {name!r}")
    from importlib import import_module
    from importlib.util import find_spec

    if find_spec("torch") is None:
        from jina_data.errors import MissingExtraError

        raise MissingExtraError(f"jina_data.train.{name} needs torch; run: pip install 'jina-data[torch]'")
    return getattr(import_module(f"jina_data.train.{_MODULES[name]}"), name)

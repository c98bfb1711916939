"""Evaluates embedders. mteb is imported only when a function that needs it is called."""

from typing import TYPE_CHECKING, Any

from jina_data.callable_package import make_callable

if TYPE_CHECKING:
    from jina_data.evaluate.data import RetrievalData, StsData
    from jina_data.evaluate.local import read_retrieval, read_sts
    from jina_data.evaluate.negation import evaluate_negation
    from jina_data.evaluate.tasks import TaskScore, evaluate_retrieval, evaluate_sts, evaluate_tasks

make_callable(__name__, "jina_data.evaluate.run")

__all__ = [
    "RetrievalData",
    "StsData",
    "TaskScore",
    "evaluate_negation",
    "evaluate_retrieval",
    "evaluate_sts",
    "evaluate_tasks",
    "read_retrieval",
    "read_sts",
]

_MODULES = {
    "RetrievalData": "data",
    "StsData": "data",
    "TaskScore": "tasks",
    "evaluate_negation": "negation",
    "evaluate_retrieval": "tasks",
    "evaluate_sts": "tasks",
    "evaluate_tasks": "tasks",
    "read_retrieval": "local",
    "read_sts": "local",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'jina_data.evaluate' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"jina_data.evaluate.{_MODULES[name]}"), name)

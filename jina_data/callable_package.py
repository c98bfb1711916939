"""Lets a package be called like the function it is named after: `jina_data.publish(...)`.

The command `publish` is both a public function and a folder of modules, such as `jina_data.publish.hub`. Python binds
an imported package to its name in the parent package, which would hide the function; a callable package serves both.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def make_callable(package: str, module: str) -> None:
    """Forward calls of a package to the function of the same name in one of its modules, imported at the first call."""
    name = package.rpartition(".")[2]

    class CallablePackage(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return getattr(import_module(module), name)(*args, **kwargs)

    sys.modules[package].__class__ = CallablePackage

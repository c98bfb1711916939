"""Cleans a dataset: recipe, passes over the input, run folder, report."""

from jina_data.callable_package import make_callable

make_callable(__name__, "jina_data.clean.run")

"""Publishes a finished run or a trained model to the Hugging Face Hub."""

from jina_data.callable_package import make_callable

make_callable(__name__, "jina_data.publish.flow")

"""The encoder: JinaBERT and the T5 encoder, in PyTorch. Imports neither DuckDB nor fastText."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jina_data.encoder.encoder import Encoder
    from jina_data.encoder.jina_bert import JinaBert, JinaBertConfig, JinaBertForMaskedLM
    from jina_data.encoder.jina_bert_hf import register
    from jina_data.encoder.t5 import T5Config, T5Encoder
    from jina_data.encoder.tokenizer import train_wordpiece

__all__ = [
    "Encoder",
    "JinaBert",
    "JinaBertConfig",
    "JinaBertForMaskedLM",
    "T5Config",
    "T5Encoder",
    "register",
    "train_wordpiece",
]

_MODULES = {
    "Encoder": "encoder",
    "JinaBert": "jina_bert",
    "JinaBertConfig": "jina_bert",
    "JinaBertForMaskedLM": "jina_bert",
    "T5Config": "t5",
    "T5Encoder": "t5",
    "register": "jina_bert_hf",
    "train_wordpiece": "tokenizer",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use.

    Raises:
        MissingExtraError: torch is not installed.
    """
    if name not in _MODULES:
        raise AttributeError(f"module 'jina_data.encoder' has no attribute {name!r}")
    from importlib import import_module
    from importlib.util import find_spec

    if find_spec("torch") is None:
        from jina_data.errors import MissingExtraError

        raise MissingExtraError(f"jina_data.encoder.{name} needs torch; run: pip install 'jina-data[torch]'")
    return getattr(import_module(f"jina_data.encoder.{_MODULES[name]}"), name)

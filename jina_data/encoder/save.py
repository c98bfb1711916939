"""Saves models in folders that jina-data, transformers and sentence-transformers can load."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_data.embed.prompts import ModelPrompts
from jina_data.encoder.jina_bert import JinaBert
from jina_data.encoder.load import CONFIG, WEIGHTS, Model
from jina_data.encoder.tokenizer import FILE, copy_tokenizer, tokenizer_settings
from jina_data.errors import RunFolderError
from jina_data.run.files import atomic_path, remove, write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CODE = ("alibi.py", "attention.py", "checks.py", "jina_bert.py", "jina_bert_hf.py")
"""Source files that are saved with a JinaBERT, so that it loads without jina-data."""

_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def save_model(
    model: Model, folder: Path, *, tokenizer: Tokenizer, max_length: int, prompts: ModelPrompts | None = None
) -> None:
    """Save a model with its tokenizer. A new folder is written atomically.

    The folder gets config.json, model.safetensors, the tokenizer, the files of sentence-transformers, and for JinaBERT
    the code that transformers runs.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    with _atomic_folder(folder) as target:
        save_weights(model, target / WEIGHTS)
        write_json(target / CONFIG, _config(model))
        with atomic_path(target / FILE) as path:
            copy_tokenizer(tokenizer).save(str(path))
        write_json(target / "tokenizer_config.json", tokenizer_settings(tokenizer, max_length))
        write_json(target / "modules.json", _MODULES)
        write_json(target / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
        write_json(target / "config_sentence_transformers.json", _sentence_transformers(prompts or ModelPrompts()))
        pooling = {"word_embedding_dimension": model_dim(model), "pooling_mode_mean_tokens": True}
        write_json(target / "1_Pooling" / CONFIG, pooling)
        for name in CODE if isinstance(model, JinaBert) else ():
            with atomic_path(target / name) as path:
                shutil.copyfile(Path(__file__).with_name(name), path)


def save_weights(model: Model, path: Path) -> None:
    """Write the weights as safetensors, with the names of the published files."""
    from safetensors.torch import save_file

    weights = {name: weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})


def model_dim(model: Model) -> int:
    """Return the number of dimensions of a model's vectors."""
    return model.config.hidden_size if isinstance(model, JinaBert) else model.config.d_model


def _config(model: Model) -> dict[str, Any]:
    if not isinstance(model, JinaBert):
        return {**model.config.to_dict(), "model_type": "t5", "architectures": ["T5EncoderModel"]}
    return {
        **model.config.to_dict(),
        "model_type": "jina_bert",
        "architectures": ["JinaBertHf"],
        "auto_map": {"AutoConfig": "jina_bert_hf.JinaBertHfConfig", "AutoModel": "jina_bert_hf.JinaBertHf"},
    }


def _sentence_transformers(prompts: ModelPrompts) -> dict[str, Any]:
    return {
        "__version__": {"jina-data": _version()},
        "model_type": "SentenceTransformer",
        "prompts": dict(prompts.texts),
        "default_prompt_name": prompts.default_name,
        "similarity_fn_name": "cosine",
    }


def _version() -> str:
    """Return the version of jina-data; it is unknown if the code runs from a checkout without installation."""
    try:
        return metadata.version("jina-data")
    except metadata.PackageNotFoundError:
        return "unknown"


@contextmanager
def _atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `folder` when it is complete.

    An existing folder keeps its other files; the new files are moved into it one by one, after all are written.
    """
    folder = folder.resolve()
    temporary = folder.with_name(f".{folder.name}.tmp")
    try:
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder} is a file; expected a folder to save the model in. Name another")
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove(temporary)  # left by a killed process
        try:
            yield temporary
            if folder.exists():
                _move_files(temporary, folder)
            else:
                temporary.replace(folder)
        finally:
            remove(temporary)
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be written: {error.strerror or error}. Name another folder") from None


def _move_files(source: Path, target: Path) -> None:
    for path in [path for path in source.rglob("*") if path.is_file()]:
        destination = target / path.relative_to(source)
        destination.parent.mkdir(exist_ok=True)
        path.replace(destination)

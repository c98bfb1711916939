"""The prompts of a training run: those of the model's folder, or those that were given and are saved with the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jina_data.embed.prompts import (
    DOCUMENT_NAMES,
    NONE,
    QUERY_NAMES,
    ModelPrompts,
    given_prompt,
    role_prompts_line,
)
from jina_data.train.config import TrainConfig


def prompts_of_model(model: Any) -> ModelPrompts:
    """Return the prompts of an encoder, or of a model of sentence-transformers."""
    return ModelPrompts({name: text for name, text in model.prompts.items() if text}, model.default_prompt_name)


def settle_prompts(model: Any, config: TrainConfig) -> tuple[ModelPrompts, str]:
    """Return the prompts that texts get in training and evaluation, and a line about them, or "".

    Prompts that were given replace those of the model, so that the saved model has the prompts it was trained with.

    Args:
        model: an encoder, or a model of sentence-transformers; its prompts may be changed.
        config: the settings of the run.
    """
    if config.phase == "mlm":
        return ModelPrompts(), ""
    of_model = prompts_of_model(model)
    for names, option in ((QUERY_NAMES, config.query_prompt), (DOCUMENT_NAMES, config.corpus_prompt)):
        if option is not None:
            for name in names[1:]:
                model.prompts.pop(name, None)
            model.prompts[names[0]] = given_prompt(option, "")
    if _excludes_prompt(model) and prompts_of_model(model).texts:
        return ModelPrompts(), "the pooling of the model leaves prompts out, which training cannot; no prompt is used"
    options = f"--query-prompt and --corpus-prompt, or {NONE}"
    line = role_prompts_line(of_model, config.query_prompt, config.corpus_prompt, options=options)
    return prompts_of_model(model), line


def _excludes_prompt(model: Any) -> bool:
    modules: Iterable[Any] = model.children() if hasattr(model, "children") else ()
    return not all(getattr(module, "include_prompt", True) for module in modules)

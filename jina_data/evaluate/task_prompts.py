"""Chooses the prompt of a model for each task of mteb, as the model wrappers of mteb do. Imports mteb when called."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from jina_data.embed.base import Embedder
from jina_data.embed.prompts import NONE, prompts_of, shown
from jina_data.errors import UsageError

PLACE = "{instruction}"
"""The place of the task's instruction in a template."""

_INSTRUCTED = re.compile(r"^(Instruct(?:ion)?:\s*)(?P<instruction>\S.*?)(\s*\n\s*Query:\s*)$", re.DOTALL)
"""The prompt for queries of E5-instruct, Qwen3-Embedding, gte-Qwen2 and other models that take instructions."""

Template = str | Callable[..., str]


class TaskPrompts:
    """The prompts of one model for the tasks of mteb.

    A prompt of the model for a task, a type of task, or queries and documents is chosen by mteb's own rules. A model
    that takes instructions gets the instruction of the task instead of its general prompt. Such a model is known by
    a template that was given, by its name in mteb, or by its prompt for queries ("Instruct: ...\\nQuery: ").
    """

    def __init__(self, embedder: Embedder, instruction: str | None = None) -> None:
        """Find the prompts and the template of a model.

        Args:
            embedder: the model.
            instruction: a template with {instruction}, or `none` for no instructions; None: as the model has it.

        Raises:
            UsageError: the template has no {instruction}.
        """
        if instruction not in (None, NONE) and PLACE not in str(instruction):
            raise UsageError(
                f"--instruction {shown(str(instruction))} has no {PLACE}; expected a template such as "
                f'"Instruct: {PLACE} Query: ", or {NONE}'
            )
        self.of_model = prompts_of(embedder)
        known = _known_to_mteb(embedder.name)
        self.texts: Mapping[str, str] = {**self.of_model.texts, **(known.get("model_prompts") or {})}
        self.by_task: Mapping[str, str] = known.get("prompts_dict") or {}
        self.template: Template | None = known.get("instruction_template") or _template_of(self.of_model.query)
        of_mteb = instruction is None and "instruction_template" in known
        self.instructs_documents = of_mteb and bool(known.get("apply_instruction_to_passages", True))
        if instruction is not None:
            self.template = None if instruction == NONE else instruction

    def prompt(self, task_metadata: Any, prompt_type: Any) -> str:
        """Return the prompt before the texts of a task, "" for none.

        Args:
            task_metadata: the metadata of the task; None: no task.
            prompt_type: the type of the texts, query or document; None: neither.
        """
        from mteb.models.abs_encoder import get_prompt_name
        from mteb.types import PromptType

        kind = None if prompt_type is None else PromptType(str(getattr(prompt_type, "value", prompt_type)))
        name = get_prompt_name(dict(self.texts), task_metadata, kind) if task_metadata is not None else None
        if name is not None and name != (kind and kind.value):
            return self.texts[name]
        if self.template and task_metadata is not None and (self.instructs_documents or kind != PromptType.document):
            instructed = self._instructed(task_metadata, kind)
            if instructed:
                return instructed
        if kind is None:
            return self.of_model.default
        # sentence-transformers would not look at "passage" and "corpus", since every model has an empty "document".
        general = self.of_model.query if kind == PromptType.query else self.of_model.document
        return self.texts.get(kind.value) or general

    def _instructed(self, task_metadata: Any, kind: Any) -> str:
        """Return the template with the instruction of a task, "" if the task has none."""
        from mteb.models.abs_encoder import AbsEncoder

        rules: Any = SimpleNamespace(prompts_dict=dict(self.by_task), prompt_priority=AbsEncoder.prompt_priority)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a task with an instruction for queries only
            instruction = AbsEncoder.get_instruction(rules, task_metadata, kind)
        if callable(self.template):
            return self.template(instruction, kind)
        return str(self.template).replace(PLACE, instruction) if instruction else ""

    @property
    def key(self) -> str:
        """A short key of all prompts, "" for a model without prompts."""
        if not (self.texts or self.template):
            return ""
        template = self.template if isinstance(self.template, str) else bool(self.template)
        parts = [dict(self.texts), dict(self.by_task), self.of_model.default_name, template, self.instructs_documents]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    def line(self) -> str:
        """Return a line about the prompts, "" for a model without prompts."""
        if not (self.texts or self.template):
            return ""
        names = f"the prompts of the model ({', '.join(self.texts)})" if self.texts else ""
        template = shown(self.template) if isinstance(self.template, str) else "the template that mteb has for it"
        instructions = f"the instruction of each task, as {template}" if self.template else ""
        return f"uses {' and '.join(filter(None, (names, instructions)))}"


def _template_of(query_prompt: str) -> str | None:
    """Return the template in the prompt for queries of a model that takes instructions, None for other models."""
    match = _INSTRUCTED.match(query_prompt)
    return None if match is None else f"{match[1]}{PLACE}{match[3]}"


def _known_to_mteb(name: str) -> Mapping[str, Any]:
    """Return the options with which mteb loads a model of this name, empty if mteb does not know it."""
    from mteb.models.model_implementations import MODEL_REGISTRY

    meta = MODEL_REGISTRY.get(name)
    return dict(meta.loader_kwargs or {}) if meta is not None else {}

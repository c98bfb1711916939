"""The configuration of `mine`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import metadata
from typing import Any, Literal

from jina_data.embed.base import STATIC
from jina_data.embed.load import model_hashes
from jina_data.embed.prompts import NONE, given_prompt, model_prompts, role_prompts_line
from jina_data.errors import UsageError
from jina_data.read import InputFile, InputOptions, resolve_inputs
from jina_data.run.inputs import RunInputs
from jina_data.stages.reference import resolve_reference_files

OutputFormat = Literal["triplet", "n-tuple"]
Strategy = Literal["top", "random"]

CANDIDATES_PER_NEGATIVE = 10
"""Candidates per negative if some may be refused or sampled: the factor of sentence-transformers."""


@dataclass(frozen=True, kw_only=True)
class MineConfig:
    """The inputs and options of a run, with the names of sentence-transformers' `mine_hard_negatives`."""

    inputs: Sequence[str]
    corpus: Sequence[str] = ()
    input: InputOptions = field(default_factory=InputOptions)
    """What is known about the files of inputs and corpus."""
    roles: Mapping[str, Sequence[str]] = field(default_factory=dict)
    embedder: str = STATIC
    device: str = "cpu"
    query_prompt: str | None = None
    """Prompt before each anchor; None: that of the model's folder for queries; "" or "none": no prompt."""
    corpus_prompt: str | None = None
    """Prompt before each text of the corpus; None: that of the model's folder for documents; "" or "none": no prompt.
    """
    range_min: int = 0
    range_max: int | None = None
    max_score: float | None = None
    min_score: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    num_negatives: int = 3
    sampling_strategy: Strategy = "top"
    cross_encoder: str | None = None
    cross_margin: float = 0.2
    output_format: OutputFormat = "triplet"
    audit_quantile: float = 0.5
    limit: int | None = None
    seed: int = 0

    def check(self) -> None:
        """Check that the options are valid and consistent.

        Raises:
            UsageError: they are not.
        """
        for name in ("max_score", "min_score", "absolute_margin", "relative_margin", "cross_margin"):
            if (number := getattr(self, name)) is not None and not math.isfinite(number):
                raise UsageError(f"--{name.replace('_', '-')} is {number}; expected a finite number")
        if self.num_negatives < 1:
            raise UsageError(f"--num-negatives is {self.num_negatives}; expected 1 or more")
        if self.range_min < 0:
            raise UsageError(f"--range-min is {self.range_min}; expected 0 or more")
        if self.range_max is not None and self.range_max - self.range_min < self.num_negatives:
            raise UsageError(
                f"--range-min {self.range_min} to --range-max {self.range_max} leaves "
                f"{max(self.range_max - self.range_min, 0)} candidates for {self.num_negatives} negatives; raise "
                "--range-max, or lower --range-min or --num-negatives"
            )
        if self.min_score is not None and self.max_score is not None and self.min_score > self.max_score:
            raise UsageError(f"--min-score {self.min_score} is above --max-score {self.max_score}: no score is between")

    @cached_property
    def prompts(self) -> tuple[str, str]:
        """The prompts before anchors and before texts of the corpus, "" for none."""
        of_model = model_prompts(self.embedder)
        return given_prompt(self.query_prompt, of_model.query), given_prompt(self.corpus_prompt, of_model.document)

    def prompts_line(self) -> str:
        """Return a line about the prompts that the model's folder sets, or ""."""
        options = f"--query-prompt and --corpus-prompt, or {NONE}"
        return role_prompts_line(model_prompts(self.embedder), self.query_prompt, self.corpus_prompt, options=options)

    @property
    def n_candidates(self) -> int:
        """How many of the closest texts are retrieved for an anchor."""
        if self.range_max is not None:
            return self.range_max
        needs_choice = self.cross_encoder is not None or self.sampling_strategy == "random"
        return self.range_min + self.num_negatives * (CANDIDATES_PER_NEGATIVE if needs_choice else 1)

    def fingerprint(self, inputs: Sequence[InputFile], corpus: Sequence[InputFile]) -> dict[str, Any]:
        """Return everything that decides the results as plain data; a later call is compared with it.

        Raises:
            ModelError: a model does not exist.
            MissingExtraError: a model needs a package that is not installed.
        """
        options = {name: value for name, value in asdict(self).items() if name not in ("inputs", "corpus", "input")}
        models = {"embedder_files": model_hashes(self.embedder), "cross_encoder_files": None}
        if self.cross_encoder is not None:
            from jina_data.embed.cross_encoder import pair_scorer_sha256

            models["cross_encoder_files"] = {"sha256": pair_scorer_sha256(self.cross_encoder)}
        return {
            "kind": "mine",
            "inputs": [file.to_json() for file in inputs],
            "corpus": [file.to_json() for file in corpus],
            **options,
            **dict(zip(("query_prompt", "corpus_prompt"), self.prompts, strict=True)),
            "roles": {role: list(columns) for role, columns in self.roles.items()},
            **models,
            "version": metadata.version("jina-data"),
        }

    def files(self) -> tuple[tuple[InputFile, ...], tuple[InputFile, ...]]:
        """Return the files with pairs and those of the corpus; the folder of a finished run stands for its data/.

        Raises:
            InputError: a file does not exist or has an unknown format.
            RunFolderError: a run folder is not finished.
        """
        if not self.inputs:
            raise UsageError("no input: name files with an anchor and a positive in each row")
        inputs = resolve_inputs(RunInputs.open(self.inputs).names, self.input)
        return tuple(inputs), resolve_reference_files(self.corpus, self.input)

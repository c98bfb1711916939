"""The settings of a training run, and which of them determine the trained weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, get_args

from jina_data.errors import UsageError

Phase = Literal["mlm", "pairs", "triplets"]
Loss = Literal["v1", "v2"]
Precision = Literal["fp32", "bf16"]
Schedule = Literal["linear", "cosine", "constant"]

V1_MARGIN = 0.05
"""Similarity margin of the positive over a negative above which the margin term of Jina v1 is zero."""

TEMPERATURE = "temperature:"

MLM_LEARNING_RATE, LEARNING_RATE, STATIC_LEARNING_RATE = 1e-3, 2e-5, 1e-2
"""Default peak learning rates: for MLM that of the paper for JinaBERT small, else a common value for fine-tuning; the
vectors of a static model are changed one by one, so they need a far higher rate."""

RESUMABLE_SETTINGS = ("save_every", "keep_checkpoints", "log_every", "device")
"""Settings that do not affect the weights, so that a run can resume with other values."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of a run, described in docs/train.md. Values out of range raise an error."""

    phase: Phase
    inputs: tuple[str, ...]
    model: str
    tokenizer: str | None = None
    columns: tuple[str, ...] = ()
    """ROLE=COLUMN; by default roles are inferred from column names."""
    limit: int | None = None
    """Maximum number of rows to read from the input."""

    steps: int | None = None
    epochs: float | None = None
    """Number of passes over all rows; 1 by default if `steps` is not given."""
    batch_size: int = 256
    """Rows per step, over all processes."""
    max_length: int | None = None
    """Maximum number of tokens of a text: 128 by default, 512 for mlm."""
    learning_rate: float | None = None
    """Peak learning rate: 2e-5 by default, 1e-3 for mlm, 0.01 for a static model."""
    schedule: Schedule = "linear"
    warmup_steps: int | None = None
    """Steps of the warmup; by default a tenth of all steps."""
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    average_start: float = 0.0
    """Share of the initial weights in the saved model, to preserve what the initial model could do (WiSE-FT)."""
    seed: int = 0

    query_prompt: str | None = None
    """Prompt before each anchor, which is saved with the model; by default that of the model; "none": no prompt."""
    corpus_prompt: str | None = None
    """Prompt before each positive and negative, which is saved with the model, in the same way."""
    temperature: float = 0.05
    loss: Loss = "v2"
    margin: float = V1_MARGIN
    mask_share: float = 0.3
    """The share of words that mlm masks."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """Relative sampling rate of each source."""
    source_rates: str = "size"
    """Sampling rates if `weights` is empty: by "size", or by size to the power 1/T with "temperature:T"."""
    no_in_batch: tuple[str, ...] = ()
    """Sources whose rows are not used as negatives of each other."""
    shuffle_rows: int = 131_072
    """Rows of the shuffle windows of all sources together."""

    micro_tokens: int | None = None
    """Tokens per micro-batch. If given, GradCache is used."""
    precision: Precision = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False
    device: str = "auto"

    eval_files: tuple[str, ...] = ()
    eval_every: int | None = None
    """Steps between evaluations; by default only before and after training."""
    save_every: int | None = None
    """Steps between checkpoints; by default about ten checkpoints per run."""
    keep_checkpoints: int = 2
    log_every: int = 1
    """Steps between lines of metrics.jsonl."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: a setting is out of range, or two exclude each other.
        """
        _check_choices(phase=self.phase, loss=self.loss, precision=self.precision, schedule=self.schedule)
        if not self.inputs:
            raise UsageError("there is no input. Name a run folder of clean, mine or negate, or Parquet files")
        if self.steps is not None and self.epochs is not None:
            raise UsageError("steps and epochs are both given; expected only one of them")
        self._check_numbers()
        _temperature_of(self.source_rates)
        for source, weight in self.weights.items():
            if not (weight >= 0 and math.isfinite(weight)):
                raise UsageError(f"the weight of source {source!r} is {weight}; expected a number of at least 0")
        if self.weights and not any(self.weights.values()):
            raise UsageError("all weights are 0; expected at least one above 0")

    def _check_numbers(self) -> None:
        minimums = {
            **dict.fromkeys(("steps", "batch_size", "max_length", "limit", "micro_tokens", "shuffle_rows"), 1),
            **dict.fromkeys(("eval_every", "save_every", "keep_checkpoints", "log_every"), 1),
            **dict.fromkeys(("warmup_steps", "weight_decay", "seed", "margin"), 0),
        }
        for name, minimum in minimums.items():
            value = getattr(self, name)
            if value is not None and not (minimum <= value < math.inf):
                raise UsageError(f"{name} is {value}; expected {minimum} or more")
        for name in ("epochs", "learning_rate", "temperature", "mask_share", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise UsageError(f"{name} is {value}; expected a number above 0")
        if not 0 <= self.average_start < 1:
            raise UsageError(f"average_start is {self.average_start}; expected a share from 0 to below 1")
        if self.mask_share >= 1:
            raise UsageError(f"mask_share is {self.mask_share}; expected a share below 1")

    def peak(self, *, is_static: bool) -> float:
        """Return the peak learning rate, by default that of the phase and the kind of model."""
        default = STATIC_LEARNING_RATE if is_static else LEARNING_RATE
        return self.learning_rate or (MLM_LEARNING_RATE if self.phase == "mlm" else default)

    @property
    def length(self) -> int:
        """Maximum number of tokens of a text."""
        return self.max_length or (512 if self.phase == "mlm" else 128)

    @property
    def source_temperature(self) -> float:
        """The T of rates by size to the power 1/T."""
        return _temperature_of(self.source_rates)

    def to_json(self) -> dict[str, Any]:
        """Return all settings as JSON values."""
        values = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that determine the weights, which a resumed run must share."""
        return {name: value for name, value in self.to_json().items() if name not in (*RESUMABLE_SETTINGS, "inputs")}


def _check_choices(**values: str) -> None:
    kinds = {"phase": Phase, "loss": Loss, "precision": Precision, "schedule": Schedule}
    for name, value in values.items():
        choices = get_args(kinds[name])
        if value not in choices:
            matches = get_close_matches(str(value), choices, 1)
            hint = f" Did you mean {matches[0]!r}?" if matches else ""
            raise UsageError(f"{name} is {value!r}.{hint} Expected one of {', '.join(choices)}")


def _temperature_of(rates: str) -> float:
    if rates == "size":
        return 1.0
    try:
        number = float(rates.removeprefix(TEMPERATURE)) if rates.startswith(TEMPERATURE) else math.nan
    except ValueError:
        number = math.nan
    if not (0 < number < math.inf):
        raise UsageError(f"source_rates is {rates!r}; expected size, or temperature:T with a number above 0")
    return number

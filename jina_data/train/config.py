"""What a training run is told: what decides its weights, and what only decides how it gets there."""

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
"""How much nearer than a negative the positive must be for the margin term of Jina v1 to vanish."""

TEMPERATURE = "temperature:"

MLM_LEARNING_RATE, LEARNING_RATE = 1e-3, 2e-5
"""Peaks, where none is named: those of the paper for JinaBERT small, and what fine-tuning usually takes."""

FREE = ("save_every", "keep_checkpoints", "log_every", "device")
"""Settings that leave the weights as they are, so that a run may go on with others."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of a run; each is told in docs/train.md. Numbers out of range are refused here."""

    phase: Phase
    inputs: tuple[str, ...]
    model: str
    tokenizer: str | None = None
    columns: tuple[str, ...] = ()
    """ROLE=COLUMN, where the roles are not to be guessed."""
    limit: int | None = None
    """Rows of the input to read."""

    steps: int | None = None
    epochs: float | None = None
    """How often all rows are seen; without `steps` it is 1."""
    batch_size: int = 256
    """Rows of a step, over all processes."""
    max_length: int | None = None
    """Most tokens of a text: 128 by default, 512 for mlm."""
    learning_rate: float | None = None
    """Its peak: 2e-5 by default, 1e-3 for mlm."""
    schedule: Schedule = "linear"
    warmup_steps: int | None = None
    """Steps to the peak; by default a tenth of all."""
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    average_start: float = 0.0
    """What the weights of the start weigh in the saved model: it keeps what the start could do (WiSE-FT)."""
    seed: int = 0

    temperature: float = 0.05
    loss: Loss = "v2"
    margin: float = V1_MARGIN
    mask_share: float = 0.3
    """The share of words that mlm hides."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """How often each source is drawn, in proportion."""
    source_rates: str = "size"
    """How often sources are drawn where `weights` is empty: by "size", or by size to the power 1/T: "temperature:T"."""
    no_in_batch: tuple[str, ...] = ()
    """Sources whose rows are no negatives of each other."""
    shuffle_rows: int = 131_072
    """Rows that are shuffled among themselves, over all sources."""

    micro_tokens: int | None = None
    """Tokens that go through the model at a time. Named, it also turns GradCache on."""
    precision: Precision = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False
    device: str = "auto"

    eval_files: tuple[str, ...] = ()
    eval_every: int | None = None
    """Steps between evaluations; by default only at the end."""
    save_every: int | None = None
    """Steps between checkpoints; by default about ten in a run."""
    keep_checkpoints: int = 2
    log_every: int = 1
    """Steps between lines of metrics.jsonl."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: a setting is out of range, or two exclude each other.
        """
        _check_choices(phase=self.phase, loss=self.loss, precision=self.precision, schedule=self.schedule)
        if not self.inputs:
            raise UsageError("no input was named. Name a run folder of clean, mine or negate, or Parquet files")
        if self.steps is not None and self.epochs is not None:
            raise UsageError("steps and epochs are both given; name one")
        self._check_numbers()
        _temperature_of(self.source_rates)
        for source, weight in self.weights.items():
            if not (weight >= 0 and math.isfinite(weight)):
                raise UsageError(f"the weight of source {source!r} is {weight}; expected a number, 0 or more")
        if self.weights and not any(self.weights.values()):
            raise UsageError("all weights are 0; expected one above")

    def _check_numbers(self) -> None:
        least = {
            **dict.fromkeys(("steps", "batch_size", "max_length", "limit", "micro_tokens", "shuffle_rows"), 1),
            **dict.fromkeys(("eval_every", "save_every", "keep_checkpoints", "log_every"), 1),
            **dict.fromkeys(("warmup_steps", "weight_decay", "seed", "margin"), 0),
        }
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and not (low <= value < math.inf):
                raise UsageError(f"{name} is {value}; expected {low} or more")
        for name in ("epochs", "learning_rate", "temperature", "mask_share", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise UsageError(f"{name} is {value}; expected a number above 0")
        if not 0 <= self.average_start < 1:
            raise UsageError(f"average_start is {self.average_start}; expected a share from 0 to below 1")
        if self.mask_share >= 1:
            raise UsageError(f"mask_share is {self.mask_share}; expected a share below 1")

    @property
    def peak(self) -> float:
        """The highest learning rate."""
        return self.learning_rate or (MLM_LEARNING_RATE if self.phase == "mlm" else LEARNING_RATE)

    @property
    def length(self) -> int:
        """Most tokens of a text."""
        return self.max_length or (512 if self.phase == "mlm" else 128)

    @property
    def source_temperature(self) -> float:
        """The T of rates by size to the power 1/T."""
        return _temperature_of(self.source_rates)

    def to_json(self) -> dict[str, Any]:
        """Return all settings, as JSON has them."""
        values = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide the weights: what a run that goes on must have in common."""
        return {name: value for name, value in self.to_json().items() if name not in (*FREE, "inputs")}


def _check_choices(**chosen: str) -> None:
    kinds = {"phase": Phase, "loss": Loss, "precision": Precision, "schedule": Schedule}
    for name, value in chosen.items():
        known = get_args(kinds[name])
        if value not in known:
            near = get_close_matches(str(value), known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{name} is {value!r}.{hint} Expected one of {', '.join(known)}")


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

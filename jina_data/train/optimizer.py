"""The optimizer: AdamW with the settings of the paper, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jina_data.train.config import Phase, Schedule

WARMUP_SHARE = 0.1
"""Of all steps, where no number is named."""


def adamw(module: nn.Module, *, phase: Phase, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW over the weights of a model; biases and norms do not decay.

    Masked words take the momenta of JinaBERT's pre-training (arXiv 2310.19923, section 3.4).
    """
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    betas, epsilon = ((0.9, 0.98), 1e-6) if phase == "mlm" else ((0.9, 0.999), 1e-8)
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=betas, eps=epsilon, fused=True)


def learning_rate(step: int, *, steps: int, warmup_steps: int | None, peak: float, schedule: Schedule) -> float:
    """Return the learning rate of a step, counted from 0: up to the peak in a line, then down or level.

    `linear` and `cosine` come down to zero just behind the last step.
    """
    warmup = warmup_steps if warmup_steps is not None else int(WARMUP_SHARE * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    left = (steps - step) / max(1, steps - warmup)
    shares = {"linear": left, "cosine": 0.5 * (1 - math.cos(math.pi * left)), "constant": 1.0}
    return peak * shares[schedule]


def copied(module: nn.Module) -> list[Tensor]:
    """Return copies of all weights of a module, on the CPU."""
    return [weight.detach().to("cpu", copy=True) for weight in module.parameters()]


@torch.no_grad()
def average_weights(module: nn.Module, start: Sequence[Tensor], *, share: float) -> None:
    """Move the weights of a module towards those of a start: (1 - share) of its own, and share of the start's.

    Args:
        module: the trained model; changed in place.
        start: of `copied`, in the same order.
        share: from 0, all its own, to 1, all the start's.
    """
    for weight, old in zip(module.parameters(), start, strict=True):
        weight.lerp_(old.to(weight), share)

"""The AdamW optimizer with the settings of the paper, the learning-rate schedule, and weight averaging."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jina_data.train.config import Phase, Schedule

WARMUP_SHARE = 0.1
"""Default share of warmup steps."""


def adamw(module: nn.Module, *, phase: Phase, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW for the weights of a model, without weight decay for biases and norms.

    The phase mlm uses the betas of the pre-training of JinaBERT (arXiv 2310.19923, section 3.4).
    """
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    betas, epsilon = ((0.9, 0.98), 1e-6) if phase == "mlm" else ((0.9, 0.999), 1e-8)
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=betas, eps=epsilon, fused=True)


def learning_rate(step: int, *, steps: int, warmup_steps: int | None, peak: float, schedule: Schedule) -> float:
    """Return the learning rate of a step, counted from 0: linear warmup to the peak, then the schedule.

    `linear` and `cosine` would reach zero one step after the last.
    """
    warmup = warmup_steps if warmup_steps is not None else int(WARMUP_SHARE * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    remaining = (steps - step) / max(1, steps - warmup)
    shares = {"linear": remaining, "cosine": 0.5 * (1 - math.cos(math.pi * remaining)), "constant": 1.0}
    return peak * shares[schedule]


def copy_weights(module: nn.Module) -> list[Tensor]:
    """Return copies of all weights of a module, on the CPU."""
    return [weight.detach().to("cpu", copy=True) for weight in module.parameters()]


@torch.no_grad()
def average_weights(module: nn.Module, start: Sequence[Tensor], *, share: float) -> None:
    """Replace the weights of a module by (1 - share) * trained + share * initial.

    Args:
        module: the trained model; changed in place.
        start: the initial weights from `copy_weights`, in the same order.
        share: the share of the initial weights, from 0 to 1.
    """
    for weight, initial in zip(module.parameters(), start, strict=True):
        weight.lerp_(initial.to(weight), share)

"""Weights between those of a start and those of a training: a model that gains the new and keeps the old (WiSE-FT).

Wortsman et al., arXiv 2109.01903: along the line between the two, what was learned comes early, and what was forgotten
comes late.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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

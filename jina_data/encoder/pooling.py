"""Pooling of token vectors into text vectors, and normalization."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def mean_pool(x_BSD: Tensor, mask_BS: Tensor) -> Tensor:
    """Return the mean token vector of each text, (B, D), in full precision; zeros for a text without tokens."""
    weight_BS1 = mask_BS.to(x_BSD.device).float()[..., None]
    sum_BD = x_BSD.float().masked_fill(weight_BS1 == 0, 0.0).sum(1)
    return sum_BD / weight_BS1.sum(1).clamp(min=1.0)


def unit_length(vectors_BD: Tensor) -> Tensor:
    """Scale vectors to length 1 in full precision; zeros stay zeros."""
    return F.normalize(vectors_BD.float(), dim=-1, eps=1e-12)

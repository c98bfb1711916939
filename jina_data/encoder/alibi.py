"""Attention with linear biases (ALiBi), in both directions: the bias is minus a slope times the distance.

Each head h has its own slope m_h, and the bias of the score between the tokens i and j is -m_h * |i - j|. It stands in
for position embeddings, so a model may read longer texts than it was trained on (Press et al., arXiv 2108.12409; both
directions: Günther et al., arXiv 2310.19923).

This file, attention.py, checks.py, jina_bert.py and jina_bert_hf.py are saved with every JinaBERT. They import nothing
but torch, transformers and each other.

Shapes: H heads, S tokens of a sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor


def alibi_slopes(n_heads: int) -> list[float]:
    """Return the slope of each head, (H,).

    For a power of two a they are 2^(-8/a), 2^(-16/a) ... 2^-8. Other numbers take those of the power of two below, and
    then every second one of the power above.
    """
    if n_heads < 1:
        raise ValueError(f"n_heads is {n_heads}; expected at least 1")
    power = 2 ** (n_heads.bit_length() - 1)
    slopes = [2.0 ** (-8.0 * (i + 1) / power) for i in range(power)]
    return slopes if power == n_heads else slopes + alibi_slopes(2 * power)[0::2][: n_heads - power]


def slopes_on(device: torch.device, n_heads: int) -> Tensor:
    """Return the slopes as a tensor, (H,): always in full precision, since bfloat16 would move distant tokens."""
    return torch.tensor(alibi_slopes(n_heads), dtype=torch.float32, device=device)


def dense_bias(slopes_H: Tensor, length: int) -> Tensor:
    """Return the bias of all pairs of tokens, (H, S, S): [h, i, j] = -m_h * |i - j|."""
    place_S = torch.arange(length, device=slopes_H.device)
    distance_SS = (place_S[:, None] - place_S[None, :]).abs().to(torch.float32)
    return -slopes_H[:, None, None] * distance_SS


def toeplitz_table(slopes_H: Tensor, length: int) -> Tensor:
    """Return the bias by distance, (H, 2S-1): [h, d + S - 1] = -m_h * |d| for d from -(S-1) to S-1."""
    distance = torch.arange(1 - length, length, device=slopes_H.device).abs().to(torch.float32)
    return -slopes_H[:, None] * distance


def toeplitz_view(table: Tensor, n_queries: int, n_keys: int, ahead: int = 0) -> Tensor:
    """Return the bias of pairs with the *queries in reverse*, (1, H, Q, K), without a copy.

    The bias depends on the distance alone, so each row of the matrix is the row above, moved by one. With the queries
    in reverse it moves to the right, towards higher addresses: then [h, i, j] is entry i + j of the table, and the
    matrix is a view whose rows lie on top of each other. Its memory is that of the table, for any length.

    Args:
        table: of `toeplitz_table`, for sequences of S tokens.
        n_queries: tokens Q that look, end to end.
        n_keys: tokens K that are looked at, end to end.
        ahead: how far the first key stands behind the first query; negative: in front of it.
    """
    n_heads, width = table.shape
    longest = (width + 1) // 2
    start = table.storage_offset() + longest - n_queries + ahead
    return table.as_strided((1, n_heads, n_queries, n_keys), (0, width, 1, 1), start)


def reach(slopes_H: Tensor, q_BHSE: Tensor, k_BHSE: Tensor, least_weight: float) -> Tensor:
    """Return how far each head sees, in tokens, (H,), in full precision; infinite where nothing is known.

    The weight of a token at distance d is at most exp(e - m_h d) times that of the token that looks, where e is the
    most by which a score can be above the score of a token with itself. So all that is farther than w has, on both
    sides together, at most 2 exp(e - m_h w) / (1 - exp(-m_h)) of that weight. A vector that is taken from all keys
    moves all scores of a query alike, so the keys are taken from their mean: q (k_j - k_i) is at most |q| times the
    largest of |k_j - mean|, minus q (k_i - mean).

    Args:
        slopes_H: the slopes m_h.
        q_BHSE: queries.
        k_BHSE: keys.
        least_weight: the share of all weight that may be left out.
    """
    q, k = q_BHSE.detach().float(), k_BHSE.detach().float()
    k = k - k.mean(2, keepdim=True)
    most_BHS = q.norm(dim=-1) * k.norm(dim=-1).amax(-1, keepdim=True)
    own_BHS = (q * k).sum(-1)
    excess_H = (most_BHS - own_BHS).amax((0, 2)) / q.shape[-1] ** 0.5
    outside_H = 2 / (least_weight * -torch.expm1(-slopes_H))
    far_H: Tensor = (excess_H + outside_H.log()) / slopes_H
    return far_H.nan_to_num(nan=torch.inf)

"""Bidirectional attention with linear biases (ALiBi): the bias is minus a slope times the distance.

Each head h has a slope m_h, and the bias of the score of tokens i and j is -m_h * |i - j|. It replaces position
embeddings, so a model can read longer texts than it was trained on (Press et al., arXiv 2108.12409; bidirectional:
Günther et al., arXiv 2310.19923).

This file, attention.py, checks.py, jina_bert.py and jina_bert_hf.py are saved with every JinaBERT. They import only
torch, transformers and each other.

Shapes: B sequences, H heads, S tokens of a sequence, E dimensions of a head, Q queries, K keys.
"""

from __future__ import annotations

import torch
from torch import Tensor


def alibi_slopes(n_heads: int) -> list[float]:
    """Return the slope of each head, (H,).

    For a power of two a they are 2^(-8/a), 2^(-16/a) ... 2^-8. For other numbers they are the slopes of the next lower
    power of two, followed by every second slope of the next higher power.
    """
    if n_heads < 1:
        raise ValueError(f"n_heads is {n_heads}; expected at least 1")
    power = 2 ** (n_heads.bit_length() - 1)
    slopes = [2.0 ** (-8.0 * (i + 1) / power) for i in range(power)]
    return slopes if power == n_heads else slopes + alibi_slopes(2 * power)[0::2][: n_heads - power]


def slopes_on(device: torch.device, n_heads: int) -> Tensor:
    """Return the slopes as a tensor, (H,), in full precision: bfloat16 would shift distant tokens."""
    return torch.tensor(alibi_slopes(n_heads), dtype=torch.float32, device=device)


def dense_bias(slopes_H: Tensor, length: int) -> Tensor:
    """Return the bias of all pairs of tokens, (H, S, S): [h, i, j] = -m_h * |i - j|."""
    position_S = torch.arange(length, device=slopes_H.device)
    distance_SS = (position_S[:, None] - position_S[None, :]).abs().to(torch.float32)
    return -slopes_H[:, None, None] * distance_SS


def toeplitz_table(slopes_H: Tensor, length: int) -> Tensor:
    """Return the bias by distance, (H, 2S-1): [h, d + S - 1] = -m_h * |d| for d from -(S-1) to S-1."""
    distance = torch.arange(1 - length, length, device=slopes_H.device).abs().to(torch.float32)
    return -slopes_H[:, None] * distance


def toeplitz_view(table: Tensor, n_queries: int, n_keys: int, ahead: int = 0) -> Tensor:
    """Return the bias of pairs with the *queries in reverse order*, (1, H, Q, K), without a copy.

    The bias depends only on the distance, so each row of the matrix is the previous row, shifted by one. With the
    queries in reverse order, [h, i, j] is entry i + j + constant of the table, so both strides are 1 and the rows of
    the view overlap. The memory is that of the table, for any length.

    Args:
        table: the result of `toeplitz_table`, for sequences of S tokens.
        n_queries: number Q of consecutive queries.
        n_keys: number K of consecutive keys.
        ahead: position of the first key minus position of the first query.
    """
    n_heads, width = table.shape
    max_length = (width + 1) // 2
    # Entry S - 1 of a row is distance 0. Query row 0 is query Q - 1, so key 0 has the distance ahead - (Q - 1).
    start = table.storage_offset() + max_length - n_queries + ahead
    return table.as_strided((1, n_heads, n_queries, n_keys), (0, width, 1, 1), start)


def attention_range(slopes_H: Tensor, q_BHSE: Tensor, k_BHSE: Tensor, min_weight: float) -> Tensor:
    """Return the attention range of each head in tokens, (H,), in full precision; infinite where there is no bound.

    The weight of a token at distance d is at most exp(e - m_h d) times the weight of the query's own token, where e
    bounds how far a score can exceed the score of a token with itself. So all tokens farther than w have, on both sides
    together, at most 2 exp(e - m_h w) / (1 - exp(-m_h)) of that weight. Subtracting one vector from all keys shifts all
    scores of a query equally, so the mean is subtracted: q (k_j - k_i) is at most |q| times the largest |k_j - mean|,
    minus q (k_i - mean).

    Args:
        slopes_H: the slopes m_h.
        q_BHSE: queries.
        k_BHSE: keys.
        min_weight: the share of the total weight that may be ignored.
    """
    q_BHSE, k_BHSE = q_BHSE.detach().float(), k_BHSE.detach().float()
    k_BHSE = k_BHSE - k_BHSE.mean(2, keepdim=True)
    bound_BHS = q_BHSE.norm(dim=-1) * k_BHSE.norm(dim=-1).amax(-1, keepdim=True)
    self_BHS = (q_BHSE * k_BHSE).sum(-1)
    excess_H = (bound_BHS - self_BHS).amax((0, 2)) / q_BHSE.shape[-1] ** 0.5
    outside_H = 2 / (min_weight * -torch.expm1(-slopes_H))
    range_H: Tensor = (excess_H + outside_H.log()) / slopes_H
    return range_H.nan_to_num(nan=torch.inf)

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


def toeplitz_view(table: Tensor, length: int) -> Tensor:
    """Return the bias of all pairs with the *queries in reverse*, (1, H, L, L), without a copy.

    The bias depends on the distance alone, so each row of the matrix is the row above, moved by one. With the queries
    in reverse it moves to the right, towards higher addresses: then [h, i, j] is entry i + j of the table, and the
    matrix is a view whose rows lie on top of each other. Its memory is that of the table, for any length.

    Args:
        table: of `toeplitz_table`, for sequences of S tokens.
        length: tokens L of a sequence, at most S.
    """
    n_heads, width = table.shape
    longest = (width + 1) // 2
    return table.as_strided((1, n_heads, length, length), (0, width, 1, 1), longest - length)

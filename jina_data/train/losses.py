"""The losses of contrastive training, as functions of vectors.

Shapes: B rows of a batch, D dimensions, M hard negatives of all rows together. s(a, b) is the cosine similarity, t the
temperature. The losses are computed in full precision for any dtype of the vectors.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jina_data.encoder.pooling import unit_length
from jina_data.train.config import V1_MARGIN


def pairs_loss(q_BD: Tensor, p_BD: Tensor, *, temperature: float, alike_BB: Tensor | None = None) -> Tensor:
    """Return InfoNCE in both directions, summed; the texts of all other rows are negatives.

    L = mean_i -ln e^{s(q_i,p_i)/t} / sum_j e^{s(q_i,p_j)/t}  +  mean_i -ln e^{s(p_i,q_i)/t} / sum_j e^{s(p_i,q_j)/t}

    Jina v1 (arXiv 2307.11224), section 3.1. It is twice the symmetric MultipleNegativesRankingLoss of
    sentence-transformers, which averages the directions. Rows j with `alike_BB` are left out of the sums of row i.
    """
    q_BD, p_BD = unit_length(q_BD), unit_length(p_BD)
    logits_BB = _without(q_BD @ p_BD.T / temperature, alike_BB)
    target_B = torch.arange(len(q_BD), device=q_BD.device)
    return F.cross_entropy(logits_BB, target_B) + F.cross_entropy(logits_BB.T, target_B)


def triplets_v2_loss(
    q_BD: Tensor,
    p_BD: Tensor,
    n_MD: Tensor,
    *,
    temperature: float,
    alike_BB: Tensor | None = None,
    alike_BM: Tensor | None = None,
) -> Tensor:
    """Return InfoNCE in both directions, with the hard negatives of all rows among the candidates of a query.

    L = mean_i -ln e^{s(q_i,p_i)/t} / (sum_j e^{s(q_i,p_j)/t} + sum_m e^{s(q_i,n_m)/t})
      + mean_i -ln e^{s(p_i,q_i)/t} / sum_j e^{s(p_i,q_j)/t}

    Jina v2 (arXiv 2310.19923), section 4.3: the negatives enter the direction from query to passage only. A row may
    have any number of them. Rows j with `alike_BB` and negatives m with `alike_BM` are left out of the sums of row i.
    """
    q_BD, p_BD, n_MD = unit_length(q_BD), unit_length(p_BD), unit_length(n_MD)
    forth_BB = _without(q_BD @ p_BD.T / temperature, alike_BB)
    hard_BM = _without(q_BD @ n_MD.T / temperature, alike_BM)
    target_B = torch.arange(len(q_BD), device=q_BD.device)
    return F.cross_entropy(torch.cat([forth_BB, hard_BM], 1), target_B) + F.cross_entropy(forth_BB.T, target_B)


def _without(logits: Tensor, alike: Tensor | None) -> Tensor:
    """Return logits with -inf where texts are equal, which leaves them out of the sums; symmetric for rows."""
    return logits if alike is None else logits.masked_fill(alike, -torch.inf)


def triplets_v1_loss(
    q_BD: Tensor, p_BD: Tensor, n_MD: Tensor, owner_M: Tensor, *, temperature: float, margin: float = V1_MARGIN
) -> Tensor:
    """Return the three terms of Jina v1, summed: InfoNCE with the negatives, reverse InfoNCE, and a margin.

    L = triplets_v2_loss + mean_m max(0, s(q,n_m) - s(q,p) + margin), with q and p of the row that n_m belongs to

    Jina v1 (arXiv 2307.11224), section 3.2. `owner_M` is the row of each negative.
    """
    return triplets_v2_loss(q_BD, p_BD, n_MD, temperature=temperature) + margin_loss(
        q_BD, p_BD, n_MD, owner_M, margin=margin
    )


def margin_loss(q_BD: Tensor, p_BD: Tensor, n_MD: Tensor, owner_M: Tensor, *, margin: float) -> Tensor:
    """Return the mean violation of the margin by negatives: mean_m max(0, s(q,n_m) - s(q,p) + margin)."""
    q_BD, p_BD, n_MD = unit_length(q_BD), unit_length(p_BD), unit_length(n_MD)
    near_B = (q_BD * p_BD).sum(-1)
    hard_M = (q_BD[owner_M] * n_MD).sum(-1)
    return F.relu(hard_M - near_B[owner_M] + margin).mean()


def own_negatives_loss(q_BD: Tensor, p_BD: Tensor, n_MD: Tensor, owner_M: Tensor, *, temperature: float) -> Tensor:
    """Return InfoNCE over the hard negatives of each row, for rows that are not negatives of each other.

    L = mean_i -ln e^{s(q_i,p_i)/t} / (e^{s(q_i,p_i)/t} + sum_{m of i} e^{s(q_i,n_m)/t})

    For sources with few labels, where the positive of another row often answers the query too.
    """
    q_BD, p_BD, n_MD = unit_length(q_BD), unit_length(p_BD), unit_length(n_MD)
    near_B1 = (q_BD * p_BD).sum(-1, keepdim=True) / temperature
    is_target_BM = torch.arange(len(q_BD), device=q_BD.device)[:, None] == owner_M
    hard_BM = (q_BD @ n_MD.T / temperature).masked_fill(~is_target_BM, -torch.inf)
    return F.cross_entropy(torch.cat([near_B1, hard_BM], 1), owner_M.new_zeros(len(q_BD)))

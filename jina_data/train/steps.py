"""Computes the gradients of a batch in micro-batches of similar lengths, with or without GradCache.

Shapes: N texts of a step (anchors, positives and negatives of one process), D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jina_data.encoder.batches import Ids, token_batches
from jina_data.train.models import TrainableModel

Positions = npt.NDArray[np.int64]
LossFunction = Callable[[Tensor], Tensor]
Autocast = Callable[[], AbstractContextManager[object]]


def micro_batches(ids: Ids, token_budget: int) -> list[Positions]:
    """Split N texts into micro-batches of similar lengths within a token budget, padding included."""
    lengths = np.array([len(tokens) for tokens in ids], np.int64)
    return list(token_batches(lengths, token_budget=token_budget))


def step_with_graphs(
    model: TrainableModel, ids: Ids, micro: Sequence[Positions], loss_function: LossFunction, cast: Autocast
) -> Tensor:
    """Do one forward and one backward pass over a batch; all graphs are in memory at once.

    Args:
        model: the model; gradients are added to those of its weights.
        ids: the tokens of N texts.
        micro: the positions of the texts of each micro-batch.
        loss_function: the loss of the vectors of all texts, (N, D).
        cast: the context in which the model runs, which sets its precision.

    Returns:
        The loss, without a graph.
    """
    vectors_ND = _vectors(model, ids, micro, cast)
    loss = loss_function(vectors_ND)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def step_with_cache(
    model: TrainableModel, ids: Ids, micro: Sequence[Positions], loss_function: LossFunction, cast: Autocast
) -> Tensor:
    """Do the same with the memory of one micro-batch, using GradCache (Gao et al., arXiv 2101.06983).

    The vectors are computed without graphs, and the loss gives their gradients. Then each micro-batch runs through the
    model again, with the same random state, to pass the gradients on to the weights. So dropout drops the same units
    both times, and the gradients are those of `step_with_graphs`.
    """
    device = next(model.module.parameters()).device
    states: list[list[Tensor]] = []
    with torch.no_grad():
        vectors_ND = _vectors(model, ids, micro, cast, before=lambda: states.append(_random_state(device)))
    after = _random_state(device)
    vectors_ND.requires_grad_()
    loss = loss_function(vectors_ND)
    (gradient_ND,) = torch.autograd.grad(loss, vectors_ND)
    for positions, state in zip(micro, states, strict=True):
        _restore_random_state(state, device)
        with cast():
            part = model.embed([ids[position] for position in positions])
        part.backward(gradient_ND[torch.from_numpy(positions).to(device)])  # type: ignore[no-untyped-call]
    _restore_random_state(after, device)
    return loss.detach()


def _vectors(
    model: TrainableModel,
    ids: Ids,
    micro: Sequence[Positions],
    cast: Autocast,
    before: Callable[[], object] | None = None,
) -> Tensor:
    """Return the vectors of all texts in their order, (N, D)."""
    parts = []
    for positions in micro:
        if before is not None:
            before()
        with cast():
            parts.append(model.embed([ids[position] for position in positions]))
    order = np.argsort(np.concatenate(micro))
    joined = torch.cat(parts)
    return joined.index_select(0, torch.from_numpy(order).to(joined.device))


def _random_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return states if device.type != "cuda" else [*states, torch.cuda.get_rng_state(device)]


def _restore_random_state(states: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)

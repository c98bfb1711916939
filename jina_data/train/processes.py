"""Several processes that train one model, as `torchrun` starts them: who one is, and what they tell each other.

Every process makes the same batches and takes its share of each. Vectors are gathered, so that each computes the whole
loss; gradients of the weights are summed. So the weights are those that one process would have.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from jina_data.errors import InputError

BUCKET_BYTES = 2**26
"""Gradients that are summed in one message."""


@dataclass(frozen=True)
class Processes:
    """How many processes there are, and which one this is."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def share(self, n_rows: int) -> list[list[int]]:
        """Deal rows out: which rows of a batch each process takes, in turn.

        Raises:
            InputError: there are fewer rows than processes.
        """
        if n_rows < self.world:
            raise InputError(
                f"a batch has {n_rows} rows, fewer than the {self.world} processes. Start fewer, raise --batch-size, "
                "or leave small sources out"
            )
        return [list(range(rank, n_rows, self.world)) for rank in range(self.world)]

    def gather(self, part_ND: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return the vectors of all processes, one after the other; gradients flow to one's own alone.

        Every process computes the whole loss, so the gradient of its own vectors is complete already.

        Args:
            part_ND: the vectors of this process.
            sizes: how many each process has.
        """
        if self.world == 1:
            return part_ND
        widest = max(sizes)
        padded = part_ND.detach().new_zeros(widest, part_ND.shape[1])
        padded[: len(part_ND)] = part_ND.detach()
        received = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(received, padded)
        parts = [one[:size] for one, size in zip(received, sizes, strict=True)]
        parts[self.rank] = part_ND
        return torch.cat(parts)

    def sum_gradients(self, module: nn.Module) -> None:
        """Add up the gradients of all processes, in messages of some size."""
        if self.world == 1:
            return
        bucket: list[Tensor] = []
        n_bytes = 0
        for weight in module.parameters():
            if not weight.requires_grad:
                continue
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            bucket.append(weight.grad)
            n_bytes += weight.grad.numel() * weight.grad.element_size()
            if n_bytes >= BUCKET_BYTES:
                _sum_bucket(bucket)
                bucket, n_bytes = [], 0
        if bucket:
            _sum_bucket(bucket)

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a number over all processes."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def broadcast(self, value: Any) -> Any:
        """Return what the first process says."""
        if self.world == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, src=0)
        return said[0]


def _sum_bucket(bucket: Sequence[Tensor]) -> None:
    flat = torch.cat([gradient.flatten() for gradient in bucket])
    dist.all_reduce(flat)
    sizes = [gradient.numel() for gradient in bucket]
    for gradient, summed in zip(bucket, flat.split(sizes), strict=True):  # type: ignore[no-untyped-call]
        gradient.copy_(summed.view_as(gradient))


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, and leave them together; without it there is one.

    Each group has names of its own in the store: those of an earlier group would be taken for it, and it would hang.
    The group must be gone before Python exits, or its threads may abort the process.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda":
        torch.cuda.set_device(local_rank)
    store, rank, world = next(rendezvous("env://"))
    store = PrefixStore(f"train-{next(_GROUPS)}", store)
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    try:
        yield Processes(rank, world, local_rank)
        dist.barrier()
    finally:
        dist.destroy_process_group()


_GROUPS = count()

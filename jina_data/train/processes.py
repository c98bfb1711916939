"""Communication between the processes that train one model together, as started by `torchrun`.

Every process makes the same batches and processes its share of each. The vectors are gathered, so that each process
computes the loss of the whole batch, and the gradients of the weights are summed. So the weights are those of a run
with one process, up to rounding.
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
"""Size of the gradients that are summed in one message."""


@dataclass(frozen=True)
class Processes:
    """The number of processes, and the rank of this one."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def split_rows(self, n_rows: int) -> list[list[int]]:
        """Return the rows of a batch for each process, dealt in turn.

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
        """Return the concatenated vectors of all processes; only those of this process get gradients.

        Every process computes the loss of the whole batch, so the gradient of its vectors is complete.

        Args:
            part_ND: the vectors of this process.
            sizes: the number of vectors of each process.
        """
        if self.world == 1:
            return part_ND
        widest = max(sizes)
        padded = part_ND.detach().new_zeros(widest, part_ND.shape[1])
        padded[: len(part_ND)] = part_ND.detach()
        received = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(received, padded)
        parts = [vectors_ND[:size] for vectors_ND, size in zip(received, sizes, strict=True)]
        parts[self.rank] = part_ND
        return torch.cat(parts)

    def sum_gradients(self, module: nn.Module) -> None:
        """Sum the gradients over all processes, in messages of about BUCKET_BYTES."""
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
        """Return the value of the first process in all processes."""
        if self.world == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]


def _sum_bucket(bucket: Sequence[Tensor]) -> None:
    flat = torch.cat([gradient.flatten() for gradient in bucket])
    dist.all_reduce(flat)
    sizes = [gradient.numel() for gradient in bucket]
    for gradient, summed in zip(bucket, flat.split(sizes), strict=True):  # type: ignore[no-untyped-call]
        gradient.copy_(summed.view_as(gradient))


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Join the process group that `torchrun` started, and leave it together; without `torchrun`, use one process.

    Each group has its own prefix in the store: with the keys of an earlier group, it would hang. The group must be
    destroyed before Python exits, because its threads may otherwise abort the process.
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

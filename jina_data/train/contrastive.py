"""Pairs and triplets: from the texts of a batch to the loss and the gradients of the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from jina_data.errors import UsageError
from jina_data.train.batches import Batch, PreparedBatch
from jina_data.train.config import TrainConfig
from jina_data.train.losses import own_negatives_loss, pairs_loss, triplets_v1_loss, triplets_v2_loss
from jina_data.train.models import TrainableModel
from jina_data.train.processes import Processes
from jina_data.train.sources import Source
from jina_data.train.steps import Context, micro_batches, step_with_cache, step_with_graphs


class Contrastive:
    """The phases `pairs` and `triplets`."""

    def __init__(
        self, trainee: TrainableModel, config: TrainConfig, processes: Processes, *, token_budget: int, cast: Context
    ) -> None:
        self.trainee, self.config, self.processes = trainee, config, processes
        self.token_budget, self.cast = token_budget, cast
        self.length = min(config.length, trainee.max_length or config.length)

    def check(self, sources: list[Source]) -> None:
        """Make sure that there is something to tell apart.

        Raises:
            UsageError: rows that have no negatives at all.
        """
        alone = [source.name for source in sources if not source.in_batch]
        if self.config.phase == "pairs" and alone:
            raise UsageError(
                f"source {alone[0]!r} takes no in-batch negatives, and pairs have no others. "
                "Train triplets, with hard negatives of its own (jina-data mine finds some)"
            )

    def prepare(self, batch: Batch, state: Any) -> PreparedBatch:
        """Return the work of this process: every process takes each so many-th row."""
        shares = self.processes.share(len(batch.examples))
        mine = [batch.examples[row] for row in shares[self.processes.rank]]
        texts = [one.anchor for one in mine] + [one.positive for one in mine]
        texts += [text for one in mine for text in one.negatives]
        # The rows of all processes, in the order in which their vectors are gathered.
        everyone = [batch.examples[row] for share in shares for row in share]
        n_negatives = tuple(sum(len(batch.examples[row].negatives) for row in share) for share in shares)
        owner = np.repeat(np.arange(len(everyone)), [len(one.negatives) for one in everyone])
        ids = self.trainee.tokenize(texts, self.length)
        rows = tuple(len(share) for share in shares)
        return PreparedBatch(batch, ids, rows=rows, negatives=n_negatives, owner=owner, state=state)

    def step(self, work: PreparedBatch) -> Tensor:
        """Add the gradients of a batch to the weights; return the loss."""
        micro = micro_batches(work.ids, self.token_budget)
        is_cached = self.config.micro_tokens is not None and len(micro) > 1
        one_step = step_with_cache if is_cached else step_with_graphs
        return one_step(self.trainee, work.ids, micro, lambda vectors_ND: self._loss(vectors_ND, work), self.cast)

    def _loss(self, vectors_ND: Tensor, work: PreparedBatch) -> Tensor:
        """Return the loss of a batch, from the vectors of this process."""
        n_rows = work.rows[self.processes.rank]
        gather, temperature = self.processes.gather, self.config.temperature
        q_BD = gather(vectors_ND[:n_rows], work.rows)
        p_BD = gather(vectors_ND[n_rows : 2 * n_rows], work.rows)
        if self.config.phase == "pairs":
            return pairs_loss(q_BD, p_BD, temperature=temperature)
        n_MD = gather(vectors_ND[2 * n_rows :], work.negatives)
        owner_M = torch.from_numpy(work.owner).to(n_MD.device)
        if not work.batch.in_batch:
            return own_negatives_loss(q_BD, p_BD, n_MD, owner_M, temperature=temperature)
        if self.config.loss == "v1":
            margin = self.config.margin
            return triplets_v1_loss(q_BD, p_BD, n_MD, owner_M, temperature=temperature, margin=margin)
        return triplets_v2_loss(q_BD, p_BD, n_MD, temperature=temperature)

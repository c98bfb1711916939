"""The phases `pairs` and `triplets`: the loss of a batch and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from jina_data.embed.prompts import ModelPrompts
from jina_data.errors import UsageError
from jina_data.train.alike import find_alike
from jina_data.train.batches import Batch, PreparedBatch
from jina_data.train.config import TrainConfig
from jina_data.train.losses import margin_loss, own_negatives_loss, pairs_loss, triplets_v2_loss
from jina_data.train.models import TrainableModel
from jina_data.train.processes import Processes
from jina_data.train.sources import TrainSource
from jina_data.train.steps import Autocast, micro_batches, step_with_cache, step_with_graphs


class ContrastivePhase:
    """The phases `pairs` and `triplets`."""

    def __init__(
        self, model: TrainableModel, config: TrainConfig, processes: Processes, *, token_budget: int, cast: Autocast
    ) -> None:
        self.model, self.config, self.processes = model, config, processes
        self.token_budget, self.cast = token_budget, cast
        self.length = min(config.length, model.max_length or config.length)
        self.prompts = ModelPrompts()
        """The prompts before anchors, and before positives and negatives."""

    def check(self, sources: list[TrainSource]) -> None:
        """Check that every source has negatives.

        Raises:
            UsageError: the rows of a source have no negatives.
        """
        without = [source.name for source in sources if not source.in_batch]
        if self.config.phase == "pairs" and without:
            raise UsageError(
                f"source {without[0]!r} does not use in-batch negatives, and pairs have no others. "
                "Train triplets with hard negatives, for example from jina-data mine"
            )

    def prepare(self, batch: Batch, state: Any) -> PreparedBatch:
        """Return the share of this process, tokenized: rows are dealt to the processes in turn."""
        shares = self.processes.split_rows(len(batch.examples))
        local = [batch.examples[row] for row in shares[self.processes.rank]]
        query, document = self.prompts.query, self.prompts.document
        texts = [query + example.anchor for example in local]
        texts += [document + example.positive for example in local]
        texts += [document + text for example in local for text in example.negatives]
        # The rows of all processes, in the order in which their vectors are gathered.
        gathered = [batch.examples[row] for share in shares for row in share]
        n_negatives = tuple(sum(len(batch.examples[row].negatives) for row in share) for share in shares)
        owner = np.repeat(np.arange(len(gathered)), [len(example.negatives) for example in gathered])
        ids = self.model.tokenize(texts, self.length)
        rows = tuple(len(share) for share in shares)
        alike = find_alike(gathered) if batch.n_alike else None
        return PreparedBatch(batch, ids, rows=rows, negatives=n_negatives, owner=owner, alike=alike, state=state)

    def step(self, prepared: PreparedBatch) -> Tensor:
        """Add the gradients of a batch to those of the weights; return the loss."""
        micro = micro_batches(prepared.ids, self.token_budget)
        is_cached = self.config.micro_tokens is not None and len(micro) > 1
        backward = step_with_cache if is_cached else step_with_graphs
        return backward(self.model, prepared.ids, micro, lambda vectors_ND: self._loss(vectors_ND, prepared), self.cast)

    def _loss(self, vectors_ND: Tensor, prepared: PreparedBatch) -> Tensor:
        """Return the loss of the whole batch, given the vectors of this process."""
        n_rows = prepared.rows[self.processes.rank]
        gather, temperature = self.processes.gather, self.config.temperature
        q_BD = gather(vectors_ND[:n_rows], prepared.rows)
        p_BD = gather(vectors_ND[n_rows : 2 * n_rows], prepared.rows)
        alike = prepared.alike
        alike_BB = None if alike is None else torch.from_numpy(alike.rows_BB).to(q_BD.device)
        if self.config.phase == "pairs":
            return pairs_loss(q_BD, p_BD, temperature=temperature, alike_BB=alike_BB)
        n_MD = gather(vectors_ND[2 * n_rows :], prepared.negatives)
        owner_M = torch.from_numpy(prepared.owner).to(n_MD.device)
        if not prepared.batch.in_batch:
            return own_negatives_loss(q_BD, p_BD, n_MD, owner_M, temperature=temperature)
        alike_BM = None if alike is None else torch.from_numpy(alike.negatives_BM).to(q_BD.device)
        loss = triplets_v2_loss(q_BD, p_BD, n_MD, temperature=temperature, alike_BB=alike_BB, alike_BM=alike_BM)
        if self.config.loss == "v1":
            loss = loss + margin_loss(q_BD, p_BD, n_MD, owner_M, margin=self.config.margin)
        return loss

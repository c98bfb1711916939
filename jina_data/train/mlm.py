"""The phase `mlm`: masked language modelling with a JinaBERT and its MLM head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jina_data.embed.prompts import ModelPrompts
from jina_data.encoder.batches import Ids, padded
from jina_data.encoder.encoder import Encoder
from jina_data.encoder.jina_bert import JinaBert, JinaBertForMaskedLM
from jina_data.encoder.load import load_masked_lm, read_weights
from jina_data.errors import ModelError
from jina_data.train.batches import Batch, PreparedBatch
from jina_data.train.config import TrainConfig
from jina_data.train.masking import Vocabulary, mask_words
from jina_data.train.models import TrainableEncoder, find_local_folder, load_trainable
from jina_data.train.processes import Processes
from jina_data.train.sources import TrainSource
from jina_data.train.steps import Autocast, Positions, micro_batches

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HEAD = "mlm_head.safetensors"
"""The file of the MLM head, next to the weights of the encoder; a later run starts from it."""


class TrainableMlm(TrainableEncoder):
    """A JinaBERT with its MLM head."""

    def __init__(self, encoder: Encoder, masked: JinaBertForMaskedLM) -> None:
        super().__init__(encoder)
        self.masked = masked
        self.body: nn.Module = encoder.model
        self.module = masked

    def embed(self, ids: Ids) -> Tensor:
        """Return the mean of the token vectors, without the head, (B, D)."""
        self.module = self.body
        try:
            return super().embed(ids)
        finally:
            self.module = self.masked

    def save(self, folder: Path) -> None:
        """Save the encoder and the MLM head."""
        from safetensors.torch import save_file

        super().save(folder)
        head = {name: weight.detach().cpu().contiguous() for name, weight in self.masked.cls.state_dict().items()}
        save_file(head, folder / HEAD, metadata={"format": "pt"})


def load_trainable_mlm(name: str, *, tokenizer: Tokenizer | None, device: str, seed: int) -> TrainableMlm:
    """Load a JinaBERT with its MLM head, or with a new head if it has none.

    Raises:
        ModelError: the model is not a JinaBERT.
    """
    start = load_trainable(name, tokenizer=tokenizer, device="cpu", seed=seed)
    model = getattr(getattr(start, "encoder", None), "model", None)
    if not isinstance(start, TrainableEncoder) or not isinstance(model, JinaBert):
        raise ModelError(
            f"{name} is not a JinaBERT; mlm trains jina-bert-tiny, -small, -base and -large, or a saved JinaBERT"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        masked = JinaBertForMaskedLM(model.config)
    masked.bert = model
    folder = find_local_folder(name)
    if folder is not None:
        _load_head(masked, folder)
    encoder = Encoder(
        model,
        start.encoder.tokenizer,
        device=device,
        dtype="float32",
        max_length=start.encoder.max_length,
        prompts=start.encoder.prompts,
        default_prompt_name=start.encoder.default_prompt_name,
    )
    return TrainableMlm(encoder, masked.to(encoder.device))


def _load_head(masked: JinaBertForMaskedLM, folder: Path) -> None:
    from safetensors.torch import load_file

    if (folder / HEAD).is_file():
        masked.cls.load_state_dict(load_file(folder / HEAD))
    elif any(key.startswith("cls.predictions.") for key in read_weights(folder)):
        masked.cls.load_state_dict(load_masked_lm(folder).cls.state_dict())


class MlmPhase:
    """The phase `mlm`, without prompts."""

    prompts = ModelPrompts()

    def __init__(
        self, model: TrainableMlm, config: TrainConfig, processes: Processes, *, token_budget: int, cast: Autocast
    ) -> None:
        self.model, self.config, self.processes = model, config, processes
        self.token_budget, self.cast = token_budget, cast
        self.length = min(config.length, model.max_length or config.length)
        self.vocabulary = Vocabulary.of(model.encoder.tokenizer)

    def check(self, sources: list[TrainSource]) -> None:
        """Accept any sources."""

    def prepare(self, batch: Batch, state: Any) -> PreparedBatch:
        """Return the documents of this process with masked words."""
        rows = np.array(self.processes.split_rows(len(batch.examples))[self.processes.rank], np.int64)
        ids = self.model.tokenize([batch.examples[row].anchor for row in rows], self.length)
        masked, targets = mask_words(
            ids, rows, self.vocabulary, share=self.config.mask_share, seed=self.config.seed, step=batch.step
        )
        return PreparedBatch(batch, masked, targets=targets, state=state)

    def step(self, prepared: PreparedBatch) -> Tensor:
        """Add the gradients of a batch to those of the weights, by micro-batch; return the mean loss."""
        device = self.model.encoder.device
        n_local = sum(int((targets >= 0).sum()) for targets in prepared.targets)
        n_targets = self.processes.sum(torch.tensor(n_local, device=device)).clamp(min=1)
        total = torch.zeros((), device=device)
        for positions in micro_batches(prepared.ids, self.token_budget):
            loss = self._loss(prepared, positions) / n_targets
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return self.processes.sum(total)

    def _loss(self, prepared: PreparedBatch, positions: Positions) -> Tensor:
        """Return the summed loss of the masked tokens of some documents."""
        device = self.model.encoder.device
        input_ids, mask = padded([prepared.ids[position] for position in positions], self.model.encoder.pad_id)
        targets, _ = padded([prepared.targets[position] for position in positions], -1)
        # G masked tokens: only these are projected to the vocabulary, which is most of the work of the head.
        position_G = (targets.flatten() >= 0).nonzero()[:, 0]
        target_G = targets.flatten()[position_G].to(device, non_blocking=True)
        with self.cast():
            hidden_BSD = self.model.masked.bert(input_ids.to(device, non_blocking=True), mask)
            masked_GD = hidden_BSD.flatten(0, 1).index_select(0, position_G.to(device, non_blocking=True))
            logits_GV = self.model.masked.predict(masked_GD)
        return F.cross_entropy(logits_GV.float(), target_G, reduction="sum")

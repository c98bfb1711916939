"""Masked words: a JinaBERT with its head learns to guess the words that were hidden from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jina_data.encoder.batches import Ids, padded
from jina_data.encoder.encoder import Encoder
from jina_data.encoder.jina_bert import JinaBert, JinaBertForMaskedLM
from jina_data.encoder.load import load_masked_lm, read_weights
from jina_data.errors import ModelError
from jina_data.train.batches import Batch, PreparedBatch
from jina_data.train.config import TrainConfig
from jina_data.train.masking import Vocabulary, mask_words
from jina_data.train.models import EncoderTrainee, load_trainee, started_folder
from jina_data.train.processes import Processes
from jina_data.train.sources import Source
from jina_data.train.steps import Context, Positions, micro_batches

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HEAD = "mlm_head.safetensors"
"""The head, beside the weights of the encoder: with it, training may go on."""


class MlmTrainee(EncoderTrainee):
    """A JinaBERT with its head for masked words."""

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
        """Save the encoder, and the head beside it."""
        from safetensors.torch import save_file

        super().save(folder)
        head = {name: weight.detach().cpu().contiguous() for name, weight in self.masked.cls.state_dict().items()}
        save_file(head, folder / HEAD, metadata={"format": "pt"})


def load_mlm_trainee(name: str, *, tokenizer: Tokenizer | None, device: str, seed: int) -> MlmTrainee:
    """Load a JinaBERT with a head: its own where it has one, else a new one.

    Raises:
        ModelError: it is another model.
    """
    trainee = load_trainee(name, tokenizer=tokenizer, device="cpu", seed=seed)
    model = getattr(getattr(trainee, "encoder", None), "model", None)
    if not isinstance(trainee, EncoderTrainee) or not isinstance(model, JinaBert):
        raise ModelError(f"{name} is no JinaBERT; masked words are learned by jina-bert-tiny, -small, -base and -large")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        masked = JinaBertForMaskedLM(model.config)
    masked.bert = model
    folder = started_folder(name)
    if folder is not None:
        _take_head(masked, folder)
    encoder = Encoder(
        model, trainee.encoder.tokenizer, device=device, dtype="float32", max_length=trainee.encoder.max_length
    )
    return MlmTrainee(encoder, masked.to(encoder.device))


def _take_head(masked: JinaBertForMaskedLM, folder: Path) -> None:
    from safetensors.torch import load_file

    if (folder / HEAD).is_file():
        masked.cls.load_state_dict(load_file(folder / HEAD))
    elif any(key.startswith("cls.predictions.") for key in read_weights(folder)):
        masked.cls.load_state_dict(load_masked_lm(folder).cls.state_dict())


class MaskedWords:
    """The phase `mlm`."""

    def __init__(
        self, trainee: MlmTrainee, config: TrainConfig, processes: Processes, *, token_budget: int, cast: Context
    ) -> None:
        self.trainee, self.config, self.processes = trainee, config, processes
        self.token_budget, self.cast = token_budget, cast
        self.length = min(config.length, trainee.max_length or config.length)
        self.vocabulary = Vocabulary.of(trainee.encoder.tokenizer)

    def check(self, sources: list[Source]) -> None:
        """Accept any sources."""

    def prepare(self, batch: Batch, state: Any) -> PreparedBatch:
        """Return the documents of this process, each a row of its own, with words hidden."""
        rows = np.array(self.processes.share(len(batch.examples))[self.processes.rank], np.int64)
        ids = self.trainee.tokenize([batch.examples[row].anchor for row in rows], self.length)
        hidden, targets = mask_words(
            ids, rows, self.vocabulary, share=self.config.mask_share, seed=self.config.seed, step=batch.step
        )
        return PreparedBatch(batch, hidden, targets=targets, state=state)

    def step(self, work: PreparedBatch) -> Tensor:
        """Add the gradients of a batch to the weights, micro-batch by micro-batch; return the mean loss of a token."""
        device = self.trainee.encoder.device
        n_local = sum(int((one >= 0).sum()) for one in work.targets)
        n_guessed = self.processes.sum(torch.tensor(n_local, device=device)).clamp(min=1)
        total = torch.zeros((), device=device)
        for positions in micro_batches(work.ids, self.token_budget):
            loss = self._loss(work, positions) / n_guessed
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return self.processes.sum(total)

    def _loss(self, work: PreparedBatch, positions: Positions) -> Tensor:
        """Return the sum of the losses of all hidden tokens of some documents."""
        device = self.trainee.encoder.device
        input_ids, mask = padded([work.ids[position] for position in positions], self.trainee.encoder.pad_id)
        targets, _ = padded([work.targets[position] for position in positions], -1)
        # Only hidden tokens meet the vocabulary: it is most of the work of the head.
        place_G = (targets.flatten() >= 0).nonzero()[:, 0]
        wanted_G = targets.flatten()[place_G].to(device, non_blocking=True)
        with self.cast():
            hidden_BSD = self.trainee.masked.bert(input_ids.to(device, non_blocking=True), mask)
            picked_GD = hidden_BSD.flatten(0, 1).index_select(0, place_G.to(device, non_blocking=True))
            logits_GV = self.trainee.masked.predict(picked_GD)
        return F.cross_entropy(logits_GV.float(), wanted_G, reduction="sum")

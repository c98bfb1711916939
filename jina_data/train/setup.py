"""Loads sources, model and phase of a session, and counts its steps, with the same result in all processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jina_data.encoder.tokenizer import train_wordpiece
from jina_data.errors import UsageError
from jina_data.progress import Progress
from jina_data.run.files import atomic_path
from jina_data.train.config import TrainConfig
from jina_data.train.contrastive import ContrastivePhase
from jina_data.train.folder import TrainFolder
from jina_data.train.mlm import MlmPhase, load_trainable_mlm
from jina_data.train.models import TRAIN_TOKENIZER, TrainableModel, load_trainable, read_tokenizer
from jina_data.train.processes import Processes
from jina_data.train.sources import TrainSource, find_sources
from jina_data.train.steps import Autocast
from jina_data.train.texts import flat_texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def load_sources(
    config: TrainConfig, folder: TrainFolder, processes: Processes, progress: Progress
) -> list[TrainSource]:
    """Return the sources; the first process converts inputs, and the others wait and reuse the files."""
    if not processes.is_first:
        processes.broadcast(None)
    sources, messages = find_sources(config, folder.work)
    if processes.is_first:
        processes.broadcast(None)
    for message in messages:
        progress.message(message)
    return sources


def load_model(
    config: TrainConfig,
    folder: TrainFolder,
    sources: Sequence[TrainSource],
    processes: Processes,
    *,
    device: str,
    progress: Progress,
) -> TrainableModel:
    """Load the model in training mode; a tokenizer to be trained is trained once and saved in the work folder."""
    tokenizer = None
    if config.tokenizer and config.tokenizer.startswith(TRAIN_TOKENIZER):
        if processes.is_first and not folder.tokenizer.exists():
            progress.message("training a tokenizer on the input")
            with atomic_path(folder.tokenizer) as path:
                train_tokenizer(sources, config.tokenizer).save(str(path))
        processes.broadcast(None)
        tokenizer = read_tokenizer(str(folder.tokenizer))
    elif config.tokenizer:
        tokenizer = read_tokenizer(config.tokenizer)
    load = load_trainable_mlm if config.phase == "mlm" else load_trainable
    model: TrainableModel = load(config.model, tokenizer=tokenizer, device=device, seed=config.seed)
    model.module.train()
    if config.gradient_checkpointing:
        model.checkpoint_activations()
    if config.compile:
        model.compile()
    return model


def make_phase(
    model: TrainableModel, config: TrainConfig, processes: Processes, *, token_budget: int, cast: Autocast
) -> ContrastivePhase | MlmPhase:
    """Return the phase of a run, which computes the gradients of batches."""
    kind: Any = MlmPhase if config.phase == "mlm" else ContrastivePhase
    phase: ContrastivePhase | MlmPhase = kind(model, config, processes, token_budget=token_budget, cast=cast)
    return phase


def count_steps(config: TrainConfig, sources: Sequence[TrainSource]) -> int:
    """Return the number of steps of a run: as configured, or from the epochs."""
    if config.steps is not None:
        return config.steps
    rows = sum(source.n_rows for source in sources)
    return max(1, math.ceil((config.epochs or 1) * rows / config.batch_size))


def train_tokenizer(sources: Sequence[TrainSource], option: str) -> Tokenizer:
    """Train a WordPiece tokenizer on all texts of all sources; `option` is train:VOCAB.

    Raises:
        UsageError: VOCAB is not a number of at least 100.
    """
    size = option.removeprefix(TRAIN_TOKENIZER)
    if not size.isdigit() or int(size) < 100:
        raise UsageError(
            f"--tokenizer {option}: expected {TRAIN_TOKENIZER}VOCAB with a vocabulary size of at least 100"
        )
    return train_wordpiece(_Texts(sources), vocab_size=int(size))


class _Texts:
    """All texts of sources, read anew in each iteration."""

    def __init__(self, sources: Sequence[TrainSource]) -> None:
        self._sources = sources

    def __iter__(self) -> Iterator[str]:
        for source in self._sources:
            for unit in source.units:
                table = source.read(unit)
                for name in table.column_names:
                    flat = flat_texts(table[name].combine_chunks())
                    for start in range(0, len(flat), 4096):
                        yield from (text for text in flat.slice(start, 4096).to_pylist() if text)

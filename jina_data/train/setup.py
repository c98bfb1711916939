"""What a session begins with: sources, a model, a phase and the number of steps, the same in all processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jina_data.encoder.tokenizer import train_wordpiece
from jina_data.errors import UsageError
from jina_data.train.models import TRAIN_TOKENIZER
from jina_data.train.sources import Source

if TYPE_CHECKING:
    from tokenizers import Tokenizer

import math
from typing import Any

from jina_data.progress import Progress
from jina_data.run.files import whole_path
from jina_data.train.config import TrainConfig
from jina_data.train.contrastive import Contrastive
from jina_data.train.folder import TrainFolder
from jina_data.train.mlm import MaskedWords, load_mlm_trainee
from jina_data.train.models import TrainableModel, load_trainee, read_tokenizer
from jina_data.train.processes import Processes
from jina_data.train.sources import find_sources
from jina_data.train.steps import Context


def find_sources_together(
    config: TrainConfig, folder: TrainFolder, processes: Processes, progress: Progress
) -> list[Source]:
    """Return the sources; the first process converts what has to be, and then the others find it there."""
    if not processes.is_first:
        processes.broadcast(None)
    sources, said = find_sources(config, folder.work)
    if processes.is_first:
        processes.broadcast(None)
    for line in said:
        progress.message(line)
    return sources


def load_start(
    config: TrainConfig,
    folder: TrainFolder,
    sources: Sequence[Source],
    processes: Processes,
    *,
    device: str,
    progress: Progress,
) -> TrainableModel:
    """Load the model to train, set to training; a tokenizer that is to be learned is learned once, and kept."""
    tokenizer = None
    if config.tokenizer and config.tokenizer.startswith(TRAIN_TOKENIZER):
        if processes.is_first and not folder.tokenizer.exists():
            progress.message("learning a tokenizer from the input")
            with whole_path(folder.tokenizer) as path:
                learn_tokenizer(sources, config.tokenizer).save(str(path))
        processes.broadcast(None)
        tokenizer = read_tokenizer(str(folder.tokenizer))
    elif config.tokenizer:
        tokenizer = read_tokenizer(config.tokenizer)
    load = load_mlm_trainee if config.phase == "mlm" else load_trainee
    trainee: TrainableModel = load(config.model, tokenizer=tokenizer, device=device, seed=config.seed)
    trainee.module.train()
    if config.gradient_checkpointing:
        trainee.checkpoint_activations()
    if config.compile:
        trainee.compile()
    return trainee


def phase_of(
    trainee: TrainableModel, config: TrainConfig, processes: Processes, *, token_budget: int, cast: Context
) -> Contrastive | MaskedWords:
    """Return what makes gradients of batches."""
    kind: Any = MaskedWords if config.phase == "mlm" else Contrastive
    phase: Contrastive | MaskedWords = kind(trainee, config, processes, token_budget=token_budget, cast=cast)
    return phase


def count_steps(config: TrainConfig, sources: Sequence[Source]) -> int:
    """Return the steps of a run: as told, or as many as the rows of all epochs fill."""
    if config.steps is not None:
        return config.steps
    rows = sum(source.n_rows for source in sources)
    return max(1, math.ceil((config.epochs or 1) * rows / config.batch_size))


def learn_tokenizer(sources: Sequence[Source], asked: str) -> Tokenizer:
    """Learn WordPiece from all texts of all sources; `asked` is train:VOCAB.

    Raises:
        UsageError: VOCAB is no number of words.
    """
    size = asked.removeprefix(TRAIN_TOKENIZER)
    if not size.isdigit() or int(size) < 100:
        raise UsageError(f"--tokenizer {asked}: expected {TRAIN_TOKENIZER}VOCAB with a number of words, 100 or more")
    return train_wordpiece(_texts(sources), vocab_size=int(size))


def _texts(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        for unit in source.units:
            table = source.read(unit)
            for name in table.column_names:
                values = table[name].combine_chunks()
                flat = values.flatten() if name == "negatives" else values
                for start in range(0, len(flat), 4096):
                    yield from (text for text in flat.slice(start, 4096).to_pylist() if text)

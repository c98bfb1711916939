"""Makes batches, each from one source and, as far as possible, without false negatives of each other.

A row that conflicts with a batch is deferred to a later batch. If so many rows are deferred that a batch would be
short, it is filled up with the rows that have waited longest; their equal texts are no negatives of each other. The
deferred rows and the positions of the streams are the state of the data: from the same state, the same batches follow.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from jina_data.encoder.batches import Ids
from jina_data.train.alike import Alike, fold
from jina_data.train.config import TrainConfig
from jina_data.train.sources import FloatArray, TrainSource
from jina_data.train.stream import Example, Stream

PUT_OFF_BATCHES = 4
"""Maximum number of deferred rows of a source, in batches; beyond it, a batch is filled up with them."""

MIN_WINDOW_ROWS = 8192


@dataclass(frozen=True)
class Batch:
    """The rows of one step, of all processes."""

    step: int
    source: str
    in_batch: bool
    examples: tuple[Example, ...]
    n_alike: int = 0
    """Rows that share a text with another row of the batch, where it is no negative."""


@dataclass
class Counts:
    """What happened to the rows of a source."""

    batches: int = 0
    used: int = 0
    put_off: int = 0
    """How often a row was deferred."""
    short_batches: int = 0
    alike: int = 0
    """Used rows that shared a text with another row of their batch."""


@dataclass
class _SourceQueue:
    """The stream of a source, its deferred rows, and counts."""

    stream: Stream
    waiting: list[Example] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)


class Batches:
    """Makes the batches of the steps in order; the source of a batch depends only on the seed and the step."""

    def __init__(self, sources: Sequence[TrainSource], rates: FloatArray, config: TrainConfig) -> None:
        self.config = config
        self.rates = rates
        window = max(MIN_WINDOW_ROWS, config.shuffle_rows // len(sources))
        window = min(window, config.shuffle_rows)
        self.queues = [_SourceQueue(Stream(source, seed=config.seed, window_rows=window)) for source in sources]

    def make(self, step: int) -> Batch:
        """Return the batch of a step; steps must be requested in order."""
        drawn = int(np.random.default_rng([self.config.seed, step]).choice(len(self.queues), p=self.rates))
        source_queue = self.queues[drawn]
        source = source_queue.stream.source
        n_rows = min(self.config.batch_size, source.n_rows)
        can_conflict = self.config.phase != "mlm" and source.in_batch
        n_alike = 0
        if can_conflict:
            examples, n_alike = _take_without_conflicts(source_queue, n_rows)
        else:
            examples = [source_queue.stream.take() for _ in range(n_rows)]
        source_queue.counts.batches += 1
        source_queue.counts.used += len(examples)
        source_queue.counts.short_batches += len(examples) < self.config.batch_size
        source_queue.counts.alike += n_alike
        return Batch(step, source.name, source.in_batch, tuple(examples), n_alike)

    def state(self) -> dict[str, Any]:
        """Return the state that the next batches depend on, by source."""
        return {
            source_queue.stream.source.name: {
                "stream": source_queue.stream.state(),
                "waiting": source_queue.waiting,  # the list is replaced, never modified
                "counts": vars(source_queue.counts).copy(),
            }
            for source_queue in self.queues
        }

    def source_rows(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what happened to the rows of each source up to a state, for the report."""
        rows = []
        for source_queue, rate in zip(self.queues, self.rates, strict=True):
            source, values = source_queue.stream.source, state[source_queue.stream.source.name]
            settings = {"source": source.name, "rows": source.n_rows, "rate": round(float(rate), 6)}
            totals = {"epochs": values["stream"]["epoch"], "unusable": values["stream"]["n_unusable"]}
            rows.append({**settings, **values["counts"], **totals})
        return rows

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        for source_queue in self.queues:
            values = state[source_queue.stream.source.name]
            source_queue.stream.restore(values["stream"])
            source_queue.waiting = [
                Example(anchor, positive, tuple(texts)) for anchor, positive, texts in values["waiting"]
            ]
            source_queue.counts = Counts(**values["counts"])


def _take_without_conflicts(source_queue: _SourceQueue, n_rows: int) -> tuple[list[Example], int]:
    """Return rows for one batch that do not conflict, deferred rows first, and the number of rows that do.

    Rows conflict if they share an anchor or a positive, or if a hard negative of one is an anchor or positive of the
    other: it would be a false negative. Rows that conflict fill up a batch that would be short.
    """
    batch: list[Example] = []
    texts, negatives = set[str](), set[str]()
    waiting: list[Example] = []

    def add_or_defer(example: Example) -> None:
        pair = {fold(example.anchor), fold(example.positive)}
        hard = {fold(text) for text in example.negatives}
        if len(batch) == n_rows or pair & texts or pair & negatives or hard & texts:
            waiting.append(example)
            return
        batch.append(example)
        texts.update(pair)
        negatives.update(hard)

    for example in source_queue.waiting:
        add_or_defer(example)
    n_waited = len(waiting)
    while len(batch) < n_rows and len(waiting) < PUT_OFF_BATCHES * n_rows:
        add_or_defer(source_queue.stream.take())
    n_alike = n_rows - len(batch)
    source_queue.counts.put_off += max(0, len(waiting) - n_waited - n_alike)
    source_queue.waiting = waiting[n_alike:]
    return batch + waiting[:n_alike], n_alike


AHEAD = 8
"""Steps that are prepared ahead."""


TOKENIZING_THREADS = 4
"""Batches that are tokenized at the same time. Few, so that the interpreter stays free for the training loop."""


@dataclass(frozen=True)
class PreparedBatch:
    """The tokens of one step of one process.

    Contrastive: `ids` are the anchors, positives and negatives of this process, in this order. `rows` and `negatives`
    are their numbers in each process; `owner` is the row of each negative, counted over all processes.
    MLM: `ids` are documents with masked words; `targets` are the original tokens where masked, else -1.
    """

    batch: Batch
    ids: Ids
    rows: tuple[int, ...] = ()
    negatives: tuple[int, ...] = ()
    owner: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    targets: Ids = ()
    alike: Alike | None = None
    """The texts that are not negatives, in the order of the gathered rows; None: there are none."""
    state: Any = None
    """The state of the data after this batch."""

    @property
    def n_tokens(self) -> int:
        """Tokens of this process, without padding."""
        return sum(len(tokens) for tokens in self.ids)


class Prefetcher:
    """Prepares the next steps in threads: one makes the batches in order, and several tokenize them."""

    def __init__(self, batches: Batches, prepare: Callable[[Batch, Any], PreparedBatch], steps: range) -> None:
        self._queue: queue.Queue[Future[PreparedBatch] | BaseException | None] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(TOKENIZING_THREADS)
        self._thread = threading.Thread(target=self._fill, args=(batches, prepare, steps), daemon=True)

    def __enter__(self) -> Prefetcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(0.05)
        self._pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[PreparedBatch]:
        """Yield the prepared batch of each step, in order; errors of the threads are raised here."""
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item.result()

    def _fill(self, batches: Batches, prepare: Callable[[Batch, Any], PreparedBatch], steps: range) -> None:
        try:
            for step in steps:
                if self._stop.is_set():
                    return
                batch = batches.make(step)
                self._queue.put(self._pool.submit(prepare, batch, batches.state()))
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)

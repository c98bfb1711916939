"""Batches: each of one source, without rows that would be false negatives of each other.

What a row cannot be together with is put off to a later batch, not lost. What is put off, and where the streams stand,
is the state from which the same batches follow.
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
from jina_data.train.config import TrainConfig
from jina_data.train.sources import FloatArray, Source
from jina_data.train.stream import Example, Stream

PUT_OFF_BATCHES = 4
"""So many batches' rows of a source wait at most; then a batch goes without its full number."""

LEAST_WINDOW_ROWS = 8192


@dataclass(frozen=True)
class Batch:
    """The rows of one step, over all processes."""

    step: int
    source: str
    in_batch: bool
    examples: tuple[Example, ...]


@dataclass
class Counts:
    """What became of the rows of a source."""

    batches: int = 0
    used: int = 0
    put_off: int = 0
    """How often a row had to wait."""
    short_batches: int = 0


@dataclass
class _Lane:
    """A source under way: its stream, the rows that wait, and counts."""

    stream: Stream
    waiting: list[Example] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)


class Batches:
    """Makes the batch of each step in turn; which source it is of depends on the seed and the step alone."""

    def __init__(self, sources: Sequence[Source], rates: FloatArray, config: TrainConfig) -> None:
        self.config = config
        self.rates = rates
        window = max(LEAST_WINDOW_ROWS, config.shuffle_rows // len(sources))
        window = min(window, config.shuffle_rows)
        self.lanes = [_Lane(Stream(one, seed=config.seed, window_rows=window)) for one in sources]

    def make(self, step: int) -> Batch:
        """Return the batch of a step; steps must be asked for in order."""
        chosen = int(np.random.default_rng([self.config.seed, step]).choice(len(self.lanes), p=self.rates))
        lane = self.lanes[chosen]
        source = lane.stream.source
        n_rows = min(self.config.batch_size, source.n_rows)
        is_free = self.config.phase == "mlm" or not source.in_batch
        examples = [lane.stream.take() for _ in range(n_rows)] if is_free else _apart(lane, n_rows)
        lane.counts.batches += 1
        lane.counts.used += len(examples)
        lane.counts.short_batches += len(examples) < self.config.batch_size
        return Batch(step, source.name, source.in_batch, tuple(examples))

    def state(self) -> dict[str, Any]:
        """Return what the batches that follow depend on, by source."""
        return {
            lane.stream.source.name: {
                "stream": lane.stream.state(),
                "waiting": lane.waiting,  # never changed, only replaced
                "counts": vars(lane.counts).copy(),
            }
            for lane in self.lanes
        }

    def told(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what became of the rows of each source up to a state, for the report."""
        rows = []
        for lane, rate in zip(self.lanes, self.rates, strict=True):
            source, said = lane.stream.source, state[lane.stream.source.name]
            ends = {"epochs": said["stream"]["epoch"], "unusable": said["stream"]["n_unusable"]}
            shown = {"source": source.name, "rows": source.n_rows, "rate": round(float(rate), 6)}
            rows.append({**shown, **said["counts"], **ends})
        return rows

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        for lane in self.lanes:
            said = state[lane.stream.source.name]
            lane.stream.restore(said["stream"])
            lane.waiting = [Example(anchor, positive, tuple(some)) for anchor, positive, some in said["waiting"]]
            lane.counts = Counts(**said["counts"])


def _apart(lane: _Lane, n_rows: int) -> list[Example]:
    """Return rows that may stand in one batch: those that waited first."""
    taken: list[Example] = []
    texts, negatives = set[str](), set[str]()
    waiting: list[Example] = []

    def place(example: Example) -> None:
        own = {_folded(example.anchor), _folded(example.positive)}
        hard = {_folded(text) for text in example.negatives}
        if len(taken) == n_rows or own & texts or own & negatives or hard & texts:
            waiting.append(example)
            return
        taken.append(example)
        texts.update(own)
        negatives.update(hard)

    for example in lane.waiting:
        place(example)
    n_waited = len(waiting)
    while len(taken) < n_rows and len(waiting) < PUT_OFF_BATCHES * n_rows:
        place(lane.stream.take())
    lane.counts.put_off += len(waiting) - n_waited
    lane.waiting = waiting
    return taken


def _folded(text: str) -> str:
    """Return a text as it counts for equality: without case, with single blanks."""
    return " ".join(text.casefold().split())


AHEAD = 8
"""Steps that are made ready ahead."""


TOKENIZING_THREADS = 4
"""Batches that are tokenized at a time; that leaves the interpreter free, which the loop needs."""


@dataclass(frozen=True)
class PreparedBatch:
    """One step of one process.

    Contrastive: `ids` are those of this process's anchors, positives and negatives, in that order; `rows` and
    `negatives` say how many each process has, `owner` to which row, over all processes, each negative belongs.
    MLM: `ids` are documents with words hidden; `targets` are the words, 0 or more, where one is to be guessed, else -1.
    """

    batch: Batch
    ids: Ids
    rows: tuple[int, ...] = ()
    negatives: tuple[int, ...] = ()
    owner: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    targets: Ids = ()
    state: Any = None
    """The state of the data after this batch."""

    @property
    def n_tokens(self) -> int:
        """Tokens of this process, without padding."""
        return sum(len(one) for one in self.ids)


class Prefetcher:
    """Makes the work of each step ready, some steps ahead: batches in one thread, in order, their tokens in several."""

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
        """Yield the work of each step, in order; what failed in a thread fails here."""
        while (found := self._queue.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found.result()

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

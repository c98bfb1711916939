"""What one step has to do, made ready off the critical path: its tokens, and where the data stands after it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from jina_data.train.batches import Batch, Batches
from jina_data.train.cutting import Ids

AHEAD = 8
"""Steps that are made ready ahead."""

TOKENIZING_THREADS = 4
"""Batches that are tokenized at a time; that leaves the interpreter free, which the loop needs."""


@dataclass(frozen=True)
class Work:
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


class Feed:
    """Makes the work of each step ready, some steps ahead: batches in one thread, in order, their tokens in several."""

    def __init__(self, batches: Batches, prepare: Callable[[Batch, Any], Work], steps: range) -> None:
        self._queue: queue.Queue[Future[Work] | BaseException | None] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(TOKENIZING_THREADS)
        self._thread = threading.Thread(target=self._fill, args=(batches, prepare, steps), daemon=True)

    def __enter__(self) -> Feed:
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

    def __iter__(self) -> Iterator[Work]:
        """Yield the work of each step, in order; what failed in a thread fails here."""
        while (found := self._queue.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found.result()

    def _fill(self, batches: Batches, prepare: Callable[[Batch, Any], Work], steps: range) -> None:
        try:
            for step in steps:
                if self._stop.is_set():
                    return
                batch = batches.make(step)
                self._queue.put(self._pool.submit(prepare, batch, batches.state()))
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)

"""The ledger of requests: what was asked, what came back, what it took. Written before sending and after receiving.

A request with a stored answer is never sent again. One that was on its way when the process was killed or the
connection cut is unknown: it may have been answered and billed. It is counted, and may be sent once more.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jina_data.errors import RunFolderError
from jina_data.llm.dialect import Dialect, Request

VERSION = 1

TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, base_url TEXT NOT NULL, state TEXT NOT NULL,
    sends INTEGER NOT NULL DEFAULT 0, unknown INTEGER NOT NULL DEFAULT 0, batch INTEGER,
    most_in INTEGER NOT NULL, most_out INTEGER NOT NULL, prompt_bytes INTEGER NOT NULL,
    content TEXT, finish_reason TEXT, refusal TEXT, served_model TEXT, via TEXT,
    tokens_in INTEGER, tokens_cached INTEGER, tokens_out INTEGER,
    error_kind TEXT, error TEXT, sent_at REAL, ended_at REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_state ON requests (state);
CREATE INDEX IF NOT EXISTS by_batch ON requests (batch) WHERE batch IS NOT NULL;
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY, state TEXT NOT NULL, name TEXT NOT NULL, n_requests INTEGER NOT NULL,
    file_id TEXT, batch_id TEXT, status TEXT, error TEXT, created_at REAL, ended_at REAL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


IN_ROLE = "CASE WHEN key LIKE 'judge-%' THEN 'judge' ELSE '' END = ?"
"""The condition that a request is one of a role: its key says so."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a server said to a request. Tokens are None where it did not count them."""

    content: str | None
    finish_reason: str
    refusal: str | None
    served_model: str
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_out: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the requests to one model took so far."""

    requests: int = 0
    answered: int = 0
    failed: int = 0
    sends: int = 0
    unknown: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    uncounted: int = 0
    """Answers for which the server did not count tokens."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the ledger knows it: prepared, uploaded, created, or read."""

    number: int
    state: str
    name: str
    n_requests: int
    file_id: str | None
    batch_id: str | None


class RequestLedger:
    """The ledger of the requests of a run, in one SQLite file beside its outputs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.con = sqlite3.connect(path, isolation_level=None)
            self.con.execute("PRAGMA journal_mode = WAL")
            self.con.execute("PRAGMA synchronous = NORMAL")  # survives a kill; a power cut may lose the last writes
            self.con.executescript(TABLES)
        except sqlite3.DatabaseError as error:
            raise RunFolderError(f"{path} is not a ledger of requests: {error}. Name another folder") from None
        if self.fact("version") not in (None, VERSION):
            raise RunFolderError(f"{path} was written by another version of jina-data; name another folder")
        self.set_fact("version", VERSION)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.con.close()

    # ------------------------------------------------------------------------------------------------------- facts

    def fact(self, name: str) -> Any:
        """Return what was remembered under a name, or None."""
        row = self.con.execute("SELECT value FROM facts WHERE name = ?", [name]).fetchone()
        return None if row is None else json.loads(row[0])

    def set_fact(self, name: str, value: Any) -> None:
        """Remember something."""
        self.con.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", [name, json.dumps(value)])

    def dialect(self, model: str, base_url: str) -> Dialect | None:
        """Return how a server wants to be spoken to, if that was found out."""
        value = self.fact(f"dialect {model} {base_url}")
        return None if value is None else Dialect(**value)

    def set_dialect(self, model: str, base_url: str, dialect: Dialect) -> None:
        """Remember how a server wants to be spoken to."""
        self.set_fact(f"dialect {model} {base_url}", {"form": dialect.form, "bound": dialect.bound})

    # ------------------------------------------------------------------------------------------------------ writing

    def recover(self) -> int:
        """Mark what an earlier session left on its way as unknown; return how many that were."""
        done = self.con.execute(
            "UPDATE requests SET state = 'unknown', unknown = unknown + 1 WHERE state = 'sent' AND batch IS NULL"
        )
        return done.rowcount

    def sending(self, request: Request, model: str, base_url: str) -> None:
        """Write down that a request goes out now."""
        self.con.execute(
            "INSERT INTO requests (key, model, base_url, state, sends, most_in, most_out, prompt_bytes, sent_at) "
            "VALUES (?, ?, ?, 'sent', 1, ?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET state = 'sent', sends = sends + 1, sent_at = excluded.sent_at",
            [
                *(request.key, model, base_url, request.most_prompt_tokens, request.max_tokens),
                *(request.prompt_bytes, time.time()),
            ],
        )

    def received(self, key: str, answer: Received, via: str = "online") -> None:
        """Write down the answer to a request."""
        self.con.execute(
            "UPDATE requests SET state = 'answered', content = ?, finish_reason = ?, refusal = ?, served_model = ?, "
            "tokens_in = ?, tokens_cached = ?, tokens_out = ?, via = ?, batch = NULL, error_kind = NULL, "
            "error = NULL, ended_at = ? WHERE key = ?",
            [
                *(answer.content, answer.finish_reason, answer.refusal, answer.served_model),
                *(answer.tokens_in, answer.tokens_cached, answer.tokens_out, via, time.time(), key),
            ],
        )

    def failed(self, key: str, kind: str, error: str, *, is_unknown: bool = False, state: str = "failed") -> None:
        """Write down that a request was not answered, and whether it may have been billed.

        `state` is failed where that is final, waiting where it is tried again, declined where the server wants to be
        asked in another form.
        """
        self.con.execute(
            "UPDATE requests SET state = ?, unknown = unknown + ?, error_kind = ?, error = ?, batch = NULL, "
            "ended_at = ? WHERE key = ?",
            [state, int(is_unknown), kind, error[:500], time.time(), key],
        )

    # ------------------------------------------------------------------------------------------------------ reading

    def is_answered(self, key: str) -> bool:
        """Tell whether a request has a stored answer."""
        query = "SELECT 1 FROM requests WHERE key = ? AND state = 'answered'"
        return self.con.execute(query, [key]).fetchone() is not None

    def state(self, key: str) -> str | None:
        """Return how a request stands, from sent and batched to answered, failed or unknown; None: never asked."""
        row = self.con.execute("SELECT state FROM requests WHERE key = ?", [key]).fetchone()
        return None if row is None else row[0]

    def answer(self, key: str) -> Received | None:
        """Return the stored answer to a request."""
        row = self.con.execute(
            "SELECT content, finish_reason, refusal, served_model, tokens_in, tokens_cached, tokens_out "
            "FROM requests WHERE key = ? AND state = 'answered'",
            [key],
        ).fetchone()
        return None if row is None else Received(*row)

    def error(self, key: str) -> tuple[str, str] | None:
        """Return the kind and the words of what kept a request from being answered."""
        row = self.con.execute("SELECT error_kind, error FROM requests WHERE key = ?", [key]).fetchone()
        return None if row is None or row[0] is None else (row[0], row[1])

    def usage(self, model: str, base_url: str, via: str | None = None, *, role: str = "") -> Usage:
        """Add up what the requests to a model took in a role; `via` takes the answers of one way alone."""
        row = self.con.execute(
            "SELECT count(*) FILTER (WHERE state != 'declined'), count(*) FILTER (WHERE state = 'answered'), "
            "count(*) FILTER (WHERE state = 'failed'), "
            "total(sends), total(unknown), total(tokens_in), total(tokens_cached), total(tokens_out), "
            "count(*) FILTER (WHERE state = 'answered' AND (tokens_in IS NULL OR tokens_out IS NULL)) "
            f"FROM requests WHERE model = ? AND base_url = ? AND (? IS NULL OR via = ?) AND {IN_ROLE}",
            [model, base_url, via, via, role],
        ).fetchone()
        return Usage(*map(int, row))

    def doubts(self, model: str, base_url: str, *, role: str = "") -> tuple[int, int]:
        """Return the most tokens, in and out, that may have been billed without a count.

        These are of requests that are unknown, and of answers whose tokens the server did not count.
        """
        row = self.con.execute(
            "SELECT total(most_in * (unknown + uncounted)), total(most_out * (unknown + uncounted)) FROM "
            "(SELECT *, state = 'answered' AND (tokens_in IS NULL OR tokens_out IS NULL) AS uncounted FROM requests) "
            f"WHERE model = ? AND base_url = ? AND {IN_ROLE}",
            [model, base_url, role],
        ).fetchone()
        return int(row[0]), int(row[1])

    def ratio(self, model: str, base_url: str) -> tuple[int, float, float] | None:
        """Return from how many answers, the bytes of a prompt for each token, and the tokens of an answer."""
        row = self.con.execute(
            "SELECT count(*), total(prompt_bytes) / total(tokens_in), total(tokens_out) / count(*) FROM requests "
            "WHERE model = ? AND base_url = ? AND state = 'answered' AND tokens_in > 0 AND tokens_out > 0 "
            f"AND {IN_ROLE}",
            [model, base_url, ""],
        ).fetchone()
        return None if not row[0] else (int(row[0]), float(row[1]), float(row[2]))

    # ------------------------------------------------------------------------------------------------------ batches

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all that is written within, or nothing of it."""
        self.con.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.con.execute("ROLLBACK")
            raise
        self.con.execute("COMMIT")

    def new_batch(self, name: str) -> int:
        """Write down a batch before anything is uploaded; return its number."""
        row = self.con.execute(
            "INSERT INTO batches (state, name, n_requests, created_at) VALUES ('prepared', ?, 0, ?) RETURNING number",
            [name, time.time()],
        ).fetchone()
        return int(row[0])

    def put_into_batch(self, number: int, key: str) -> None:
        """Write down that a request goes out with a batch."""
        self.con.execute("UPDATE requests SET state = 'batched', batch = ? WHERE key = ?", [number, key])

    def update_batch(self, number: int, **values: Any) -> None:
        """Write down what became of a batch."""
        names = ", ".join(f"{name} = ?" for name in values)
        self.con.execute(f"UPDATE batches SET {names} WHERE number = ?", [*values.values(), number])

    def open_batches(self) -> list[Batch]:
        """Return the batches whose results were not read yet, in the order in which they were made."""
        rows = self.con.execute(
            "SELECT number, state, name, n_requests, file_id, batch_id FROM batches WHERE state != 'read' ORDER BY 1"
        )
        return [Batch(*row) for row in rows.fetchall()]

    def is_in_batch(self, key: str, number: int) -> bool:
        """Tell whether a request waits for the result of a batch."""
        query = "SELECT 1 FROM requests WHERE key = ? AND batch = ? AND state = 'batched'"
        return self.con.execute(query, [key, number]).fetchone() is not None

    def batched(self, number: int | None = None) -> Iterator[tuple[str, int, int]]:
        """Yield the requests that wait for the result of a batch, or of any: key, most tokens in, most tokens out."""
        cursor = self.con.execute(
            "SELECT key, most_in, most_out FROM requests WHERE state = 'batched' AND (? IS NULL OR batch = ?) "
            "ORDER BY key",
            [number, number],
        )
        yield from cursor.fetchall()

    def batch_counts(self) -> dict[str, int]:
        """Return how many batches there were, by how they ended."""
        rows = self.con.execute("SELECT coalesce(status, state), count(*) FROM batches GROUP BY 1 ORDER BY 1")
        return {str(status): int(n) for status, n in rows.fetchall()}

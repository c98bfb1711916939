"""The negatives that a run has accepted, by hashes on disk: the same one is not written for two pairs."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

from jina_data.english.texts import folded


class Seen:
    """The negatives accepted so far, by a hash of 8 bytes, and the pairs that had them first.

    They lie in SQLite: in the file named, else in a temporary one that SQLite keeps on disk as it grows.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._con = sqlite3.connect(str(path) if path else "", isolation_level=None)
        self._con.execute("pragma journal_mode = off" if path is None else "pragma journal_mode = wal")
        self._con.execute("pragma synchronous = off")
        self._con.execute("create table if not exists seen (hash integer primary key, pair text) without rowid")

    def first(self, text: str) -> str | None:
        """Return the id of the pair that had a text first, None for a new one."""
        found = self._con.execute("select pair from seen where hash = ?", (_hash(text),)).fetchone()
        return None if found is None else str(found[0])

    def add(self, text: str, pair_id: str) -> None:
        """Note a text as that of a pair, unless another has it."""
        self._con.execute("insert or ignore into seen values (?, ?)", (_hash(text), pair_id))

    def close(self) -> None:
        """Close the file; a temporary one is gone then."""
        self._con.close()


def _hash(text: str) -> int:
    digest = hashlib.blake2b(folded(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)

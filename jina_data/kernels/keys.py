"""Makes 128-bit keys of the content of rows; dedup groups rows by them, and seeded choices hash them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

KeyArray = npt.NDArray[np.uint64]


def fold_text(text: str, *, case: bool = True, whitespace: bool = True) -> str:
    """Fold a text: runs of white space become one blank (none at the ends), and case is folded (full Unicode)."""
    if whitespace:
        text = " ".join(text.split())
    return text.casefold() if case else text


def content_keys(columns: Sequence[pa.Array], *, case: bool, whitespace: bool, seed: int | None = None) -> KeyArray:
    """Hash the values of some columns, row by row, to 128 bits: (N, 2) uint64, high and low half.

    Texts are folded; everything else enters by its exact value. Values are length-prefixed, so that ("ab", "c") and
    ("a", "bc") differ, and null differs from the empty text. `seed` makes independent families of keys.
    """
    start = blake2b(digest_size=16, salt=b"" if seed is None else (seed % 2**64).to_bytes(8, "little"))

    def encode(value: Any) -> bytes:
        if value is None:
            return b"n"
        if isinstance(value, str):
            data = fold_text(value, case=case, whitespace=whitespace).encode()
            return b"s%d:" % len(data) + data
        if isinstance(value, list | tuple):
            return b"l%d:" % len(value) + b"".join(map(encode, value))
        if isinstance(value, dict):
            return b"d%d:" % len(value) + b"".join(encode(key) + encode(value[key]) for key in value)
        data = repr(value).encode()
        return b"v%d:" % len(data) + data

    digests = bytearray()
    for row in zip(*(column.to_pylist() for column in columns), strict=True):
        digest = start.copy()
        for value in row:
            digest.update(encode(value))
        digests += digest.digest()
    return np.frombuffer(bytes(digests), ">u8").astype(np.uint64).reshape(-1, 2)

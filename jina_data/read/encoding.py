"""Finds the encoding of text files, and decodes files that are not UTF-8 into a stream of UTF-8."""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from jina_data.errors import InputError

UTF8 = "utf-8"
NOT_UTF8 = "not UTF-8"
"""How the error of a record begins that has bytes that are not UTF-8."""
BOM = b"\xef\xbb\xbf"
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_COMMON = (
    *("cp1252", "gb18030", "cp932", "euc_jp", "big5", "cp949", "cp1251", "koi8_r", "cp1250", "cp1253", "cp1254"),
    *("cp1255", "cp1256", "cp1257", "cp1258", "cp874", "mac_roman", "cp437", "cp850", "cp866"),
)
"""Encodings of files in the field, from common to rare where two fit alike."""

_BAD = re.compile("[\udc80-\udcff]+")
"""Bytes that are not UTF-8, decoded as surrogate escapes."""

_USUAL_SIGNS = "€‘’“”–—…•°©®«»"
"""Signs in Western texts that are no signs of other text in the wrong encoding."""

CHUNK_BYTES = 2**20
SAMPLE_BYTES = 2**14
MAX_COUNTED = 2**12
_BROKEN = "\udcff"
"""Stands for bytes that are not in the encoding; as the byte 0xff in UTF-8 it makes the record unreadable."""


def encoding_by_mark(head: bytes) -> str | None:
    """Return the encoding that a byte order mark names; None without a mark, or with that of UTF-8."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def encoding_by_content(head: bytes) -> str | None:
    """Return the encoding that the first bytes of a text certainly have: by a mark, or UTF-8 beyond ASCII."""
    if mark := encoding_by_mark(head):
        return mark
    _, block = _cut(head)
    return UTF8 if head.startswith(BOM) or (not block.isascii() and _is_utf8(block)) else None


def is_same_encoding(first: str, second: str) -> bool:
    """Return whether two names are those of an encoding, apart from byte order and mark: `utf-16` and `utf-16-le`."""
    names = [codecs.lookup(name).name.removesuffix("-le").removesuffix("-be") for name in (first, second)]
    return names[0] == names[1].removesuffix("-sig")


def check_utf8(name: str, chunks: Iterator[bytes]) -> None:
    """Check that the bytes of a file are UTF-8, apart from a few damaged characters.

    A file counts as damaged UTF-8 if most of its characters beyond ASCII are UTF-8.

    Raises:
        InputError: it is in another encoding; the message names the likely ones and the option.
    """
    n_good = n_bad = 0
    sample = b""
    tail = b""
    for position, chunk in enumerate(chunks):
        if position == 0 and chunk.startswith(BOM):
            return
        if position == 0 and (wide := _wide_encoding(chunk)):
            raise InputError(_wide_message(name, wide))
        tail, block = _cut(tail + chunk if tail else chunk)
        if n_bad >= MAX_COUNTED or _is_utf8(block):
            n_good += 0 if n_good >= MAX_COUNTED else _count_good(block)
            continue
        good, bad, context = _count(block)
        n_good, n_bad, sample = n_good + good, n_bad + bad, sample + context[: SAMPLE_BYTES - len(sample)]
    if tail:
        good, bad, context = _count(tail)
        n_good, n_bad, sample = n_good + good, n_bad + bad, sample + context
    if n_bad > n_good and not (n_bad == 1 and _is_damage(sample)):
        raise InputError(_message(name, sample))


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """Return a character that the end of the data may have cut off, and the data before it."""
    for back in range(1, min(4, len(data)) + 1):
        if data[-back] >= 0xC0:
            return data[-back:], data[:-back]
        if data[-back] < 0x80:
            break
    return b"", data


def _is_utf8(block: bytes) -> bool:
    offsets = pa.py_buffer(np.array([0, len(block)], np.int32).tobytes())
    text = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(block)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _count_good(block: bytes) -> int:
    """Count the characters beyond ASCII of valid UTF-8: their first bytes."""
    return int((np.frombuffer(block, np.uint8) >= 0xC0).sum())


def _count(block: bytes) -> tuple[int, int, bytes]:
    """Count the characters beyond ASCII that are UTF-8, and the runs of other bytes; return the lines of the latter."""
    text = block.decode("utf-8", "surrogateescape")
    bad = [line for line in text.splitlines() if _BAD.search(line)]
    n_bad = sum(len(_BAD.findall(line)) for line in bad)
    n_good = sum(character > "\x7f" and not "\udc80" <= character <= "\udcff" for character in text)
    return n_good, n_bad, "\n".join(bad)[:SAMPLE_BYTES].encode("utf-8", "surrogateescape") + b"\n"


def _is_damage(sample: bytes) -> bool:
    """Return whether the only bytes that are not UTF-8 look damaged: several, or no letter and no usual sign."""
    run = next(_BAD.finditer(sample.decode("utf-8", "surrogateescape")))[0]
    if len(run) > 1:
        return True
    text = run.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return not (text.isalpha() or text in "€‘’“”–—…•°£§©®«»½²³µ¿¡\xa0") or text in "ÿþ"


def _wide_encoding(head: bytes) -> str | None:
    """Return UTF-16 or UTF-32 for text whose bytes are zero at regular positions, without a mark."""
    n_bytes = min(len(head), 4096) // 4 * 4
    values = np.frombuffer(head[:n_bytes], np.uint8).reshape(-1, 4) == 0
    if not len(values):
        return None
    shares = values.mean(0)
    if shares[1:].min() > 0.9 > 9 * shares[0]:
        return "utf-32-le"
    if shares[:3].min() > 0.9 > 9 * shares[3]:
        return "utf-32-be"
    even, odd = (shares[0] + shares[2]) / 2, (shares[1] + shares[3]) / 2
    if max(even, odd) > 0.4 and min(even, odd) < 0.1:
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def _wide_message(name: str, encoding: str) -> str:
    return (
        f"{name}: the text is not UTF-8, but {encoding.upper()} without a byte order mark. "
        f"Set the encoding: --encoding {encoding}"
    )


def _message(name: str, sample: bytes) -> str:
    guesses = likely_encodings(sample)
    line = next((line for line in sample.split(b"\n") if any(byte >= 0x80 for byte in line)), b"")
    first = next(position for position, byte in enumerate(line) if byte >= 0x80)
    around = line[max(0, first - 12) : first + 16]
    shown = "; ".join(f"{guess} gives {around.decode(guess, 'replace').strip()!r}" for guess in guesses)
    return (
        f"{name}: the text is not UTF-8. Likely encodings: {shown}. "
        f"Set the right one: --encoding {guesses[0]}, or --encoding utf-8 to read it as damaged UTF-8"
    )


def likely_encodings(sample: bytes) -> list[str]:
    """Return up to three encodings that the bytes may have, the likeliest first."""
    from charset_normalizer import from_bytes

    found = from_bytes(sample, cp_isolation=list(_COMMON), enable_fallback=False)
    ranked = sorted(found, key=lambda match: (round(match.chaos, 1), -round(match.coherence, 1), _rank(match.encoding)))
    names: list[str] = []
    for match in ranked:
        alike = [name for name in match.could_be_from_charset if name in _COMMON]
        names += sorted(alike, key=_COMMON.index)
    names = [name for name in dict.fromkeys(names) if not _mixes_scripts(sample.decode(name, "replace"))]
    if not names or _is_western(sample.decode("cp1252", "replace")):
        names = ["cp1252", *(name for name in names if name != "cp1252")]
    return names[:3]


def _is_western(text: str) -> bool:
    """Return whether the few characters beyond ASCII are usual signs, or letters in words that are mostly a-z."""
    words = [word for word in re.findall(r"[^\W\d_]+", text) if not word.isascii()]
    signs = [character for character in text if not (character.isascii() or character.isalpha())]
    n_ascii = [sum(letter.isascii() for letter in word) for word in words]
    is_mostly_ascii = all(2 * count >= len(word) for count, word in zip(n_ascii, words, strict=True))
    return is_mostly_ascii and all(sign in _USUAL_SIGNS for sign in signs)


def _mixes_scripts(text: str) -> bool:
    """Return whether most words beyond ASCII have letters of a-z and of another script, as `dйjа` does for `déjà`."""
    words = [word for word in re.findall(r"[^\W\d_]+", text) if not word.isascii()]
    mixed = [word for word in words if re.search("[A-Za-z]", word) and not all(map(_is_latin, word))]
    return 2 * len(mixed) > len(words)


def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")


def _rank(encoding: str) -> int:
    return _COMMON.index(encoding) if encoding in _COMMON else len(_COMMON)


class Utf8Stream(io.RawIOBase):
    """The bytes of a stream in another encoding, as UTF-8; what is not in the encoding becomes the byte 0xff."""

    def __init__(self, source: BinaryIO, encoding: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)("jina_data_broken")
        self._output = memoryview(b"")
        self._is_at_end = False

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with UTF-8; 0 at the end of the stream."""
        while not self._output and not self._is_at_end:
            part = self._source.read(CHUNK_BYTES)
            self._is_at_end = not part
            text = self._decoder.decode(part, final=self._is_at_end)
            self._output = memoryview(text.encode("utf-8", "surrogateescape"))
        n_bytes = min(len(buffer), len(self._output))
        buffer[:n_bytes] = self._output[:n_bytes]
        self._output = self._output[n_bytes:]
        return n_bytes


def _broken(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return _BROKEN, error.end
    raise error


codecs.register_error("jina_data_broken", _broken)

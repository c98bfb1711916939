"""What the rules count in a text: characters, lines, words and repeated n-grams.

Three kernels, one a group of counts, each one pass over the UTF-8 of N texts; `rules` asks only for those it needs.
A fourth tells whether two texts are the same but for case and white space.

- A line is what stands between line breaks (LF, CR LF, CR), without blanks at its ends; blank lines are no lines.
  A paragraph is a run of lines without a blank line between them.
- A sentence ends at a sentence terminal (Unicode's Sentence_Terminal and the Tibetan shad) if a letter or number
  came before it in the line, and, for the terminals of ASCII, if none follows directly ("3.14", "e.g").
- The width of a character is 2 where Unicode's East_Asian_Width is W or F, else 1: a Korean syllable or a Chinese
  character says as much as two Latin letters or more.
- The weight of a word is what it says against a word of a script with spaces: 1, for a wide character of a script
  written without spaces 1/2, for other letters of such a script (Thai, Khmer ...) 1/4. Weights are held in quarters.
- An n-gram is the shortest run of words that weighs at least n; it is as long as its words' characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit, types

from jina_data.kernels.words import (
    BYTES,
    LETTER,
    LONGS,
    NUMBER,
    UNSPACED,
    ByteArray,
    IntArray,
    Integer,
    decode,
    inner,
    next_word,
    string_buffers,
    unicode_ranges,
    word_table,
)

HashArray = npt.NDArray[np.uint64]
Counts = dict[str, IntArray]
SlotTable = tuple[HashArray, IntArray, IntArray, IntArray, IntArray, Integer]  # keys, stamps, counts, covered, ends

CHARACTERS = (
    *("chars", "blanks", "letters", "numbers", "symbols", "char_run", "longest_token", "hashes", "ellipses"),
    *("curly_brackets", "line_breaks"),
)
LINES = (
    *("lines", "line_chars", "bullets", "ellipsis_ends", "terminal_ends", "short_lines"),
    *("dup_lines", "dup_line_chars", "paragraphs", "dup_paras", "dup_para_chars"),
    *("sentences", "line_letters", "thai_letters", "javascript_lines", "policy_lines"),
)
WORDS = ("words", "spaced_words", "spaced_width", "letter_words", "stop_words", "word_chars", "weight")

QUARTERS = 4
"""The weight of a word of a script with spaces."""

_BLANK, _TERMINAL, _WIDE, _QUOTE, _BULLET, _DASH, _MARK = 1, 2, 4, 8, 16, 32, 64
_QUOTES = "\"'”’»›」』"
_BULLETS = "•‣⁃◦▪▫●○■□◆◇►▶・∙"
_DASHES = "-*·–—+"  # bullets where a blank follows
_SHAD = "།༎"  # ends sentences and lines of Tibetan, but is no Sentence_Terminal
_ELLIPSIS = 0x2026
_COUNTED = LETTER | NUMBER

# What C4 removes lines for: the first makes a line of Javascript, the others one about policy.
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_PHRASES = ("javascript", *_POLICY)
_PHRASE_BYTES = np.frombuffer("".join(_PHRASES).encode(), np.uint8)
_PHRASE_ENDS = np.cumsum([len(phrase) for phrase in _PHRASES])


def _phrases_with(place: int) -> ByteArray:
    """Return, for each byte, which phrases have it at that place, a bit each."""
    bits = np.zeros(256, np.uint8)
    for number, phrase in enumerate(_PHRASES):
        bits[ord(phrase[place])] |= 1 << number
    return bits


_PHRASE_FIRST, _PHRASE_SECOND = _phrases_with(0), _phrases_with(1)

_FNV_START, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_SPREAD, _BASE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_HALF, _ONE = np.uint64(32), np.uint64(1)
_UNDECIDED, _NOT_ASCII, _OVER = 2, 256, -1


@cache
def mark_table() -> ByteArray:
    """Return what every code point is to lines and sentences, (2**21,): the flags above."""
    table = np.zeros(1 << 21, np.uint8)
    for first, last, name, kinds in unicode_ranges():
        flags = _BLANK * ("S" in kinds) | _TERMINAL * ("T" in kinds) | _WIDE * ("W" in kinds)
        table[first : last + 1] = flags | _MARK * (name in {"Extend", "Format", "ZWJ"})
    for flag, chars in ((_TERMINAL, _SHAD), (_QUOTE, _QUOTES), (_BULLET, _BULLETS), (_DASH, _DASHES)):
        table[[ord(char) for char in chars]] |= flag
    table.flags.writeable = False
    return table


def count_characters(values: pa.LargeStringArray) -> Counts:
    """Count the characters of N texts by sort; each count is (N,)."""
    data, offsets = string_buffers(values)
    out = np.zeros((len(values), len(CHARACTERS)), np.int64)
    _characters(data, offsets, word_table(), mark_table(), out)
    return dict(zip(CHARACTERS, out.T, strict=True))


def count_lines(
    values: pa.LargeStringArray, *, short_width: int, min_words: int, max_word_length: int | None, c4: bool
) -> Counts:
    """Count the lines of N texts by sort; each count is (N,).

    A line is short up to `short_width`. Sentences are those of the lines that C4 retains: with a sentence terminal or
    a quotation mark at the end, at least `min_words` words, no token over `max_word_length` characters and none of
    the phrases that C4 removes lines for. Sentences and phrases are counted with `c4` only: that is slow.
    """
    data, offsets = string_buffers(values)
    out = np.zeros((len(values), len(LINES)), np.int64)
    longest = np.iinfo(np.int64).max if max_word_length is None else max_word_length
    limits = np.array([short_width, min_words, longest, c4], np.int64)
    _lines(data, offsets, word_table(), mark_table(), limits, out)
    return dict(zip(LINES, out.T, strict=True))


def count_word_sorts(
    values: pa.LargeStringArray,
    *,
    stop_words: Sequence[str] = (),
    top: Sequence[int] = (),
    duplicated: Sequence[int] = (),
    min_weight: int = 0,
) -> Counts:
    """Count the words of N texts by sort; each count is (N,).

    `stop_words` counts how many different ones of these (at most 64) occur, in lower, upper or title case.
    `top_n` is how many characters the occurrences of the most frequent n-gram cover, if it occurs at least twice,
    overlaps counted once; `duplicated_n` how many lie in n-grams that occurred before, taken from left to right. Both
    are -1 for a text that weighs less than `min_weight` quarters.
    """
    data, offsets = string_buffers(values)
    names = (*WORDS, *(f"top_{n}" for n in top), *(f"duplicated_{n}" for n in duplicated))
    out = np.zeros((len(values), len(names)), np.int64)
    sizes = np.array([*top, *(-n for n in duplicated)], np.int64) * QUARTERS
    hashes, numbers = _stop_words(stop_words)
    _word_sorts(data, offsets, word_table(), mark_table(), hashes, numbers, sizes, min_weight, out)
    return dict(zip(names, out.T, strict=True))


def equal_folded(left: pa.LargeStringArray, right: pa.LargeStringArray) -> npt.NDArray[np.bool_]:
    """Tell which of N texts (N,) equal each other when white space is collapsed and case is folded."""
    verdicts = np.empty(len(left), np.int8)
    _compare(*string_buffers(left), *string_buffers(right), verdicts)
    for row in np.flatnonzero(verdicts == _UNDECIDED):
        verdicts[row] = fold(left[row].as_py() or "") == fold(right[row].as_py() or "")
    same: npt.NDArray[np.bool_] = verdicts == 1
    return same


def fold(text: str) -> str:
    """Return a text with white space collapsed and case folded."""
    return " ".join(text.split()).casefold()


def _stop_words(stop_words: Sequence[str]) -> tuple[HashArray, IntArray]:
    """Return the hash of every form of the stop words, and to which of them it belongs."""
    forms = [
        (form.encode(), number)
        for number, word in enumerate(stop_words)
        for form in {word.lower(), word.upper(), word.title()}
    ]
    hashes = [_hash_word(np.frombuffer(form, np.uint8), 0, len(form)) for form, _ in forms]
    return np.array(hashes, np.uint64), np.array([number for _, number in forms], np.int64)


@njit(types.void(BYTES, LONGS, BYTES, BYTES, types.int64[:, ::1]), nogil=True, cache=True)
def _characters(
    data: ByteArray, offsets: IntArray, table: ByteArray, marks: ByteArray, out: npt.NDArray[np.int64]
) -> None:
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        chars = blanks = letters = numbers = others = hashes = ellipses = curly = breaks = 0
        run = longest_run = token = longest_token = dots = 0
        before = np.int64(-1)
        while i < end:
            code, i = decode(data, i, end)
            kind, mark = table[code], marks[code]
            chars += 1
            run = run + 1 if code == before else 1
            token += 1
            dots = dots + 1 if code == 46 else 0
            if kind & _COUNTED:
                letters += (kind & LETTER) != 0
                numbers += (kind & NUMBER) != 0
                if kind & UNSPACED:
                    token = 0
            elif mark & _BLANK:
                blanks += 1
                run = token = 0
                breaks += code == 13 or (code == 10 and before != 13)
            elif mark & _MARK:
                others += 1
            else:
                hashes += code in (35, 0xFF03)
                curly += code == 123
                if dots == 3 or (code == _ELLIPSIS and before != _ELLIPSIS):
                    ellipses += 1
                    dots = 0
            longest_run = max(longest_run, run)
            longest_token = max(longest_token, token)
            before = np.int64(code)
        out[row, 0], out[row, 1], out[row, 2], out[row, 3] = chars, blanks, letters, numbers
        out[row, 4] = chars - blanks - letters - numbers - others
        out[row, 5], out[row, 6], out[row, 7] = longest_run, longest_token, hashes
        out[row, 8], out[row, 9], out[row, 10] = ellipses, curly, breaks


@inner
def _find(keys: HashArray, stamps: IntArray, stamp: Integer, mask: Integer, key: np.uint64) -> tuple[Integer, bool]:
    """Return the slot of a key in an open-addressing table, and whether it was there; if not, it now is.

    A slot is in use where its stamp is the current one, so that the next text needs no clearing. `mask` is one less
    than the part of the table in use, a power of two.
    """
    spread = key * _SPREAD
    slot = np.int64(spread ^ spread >> _HALF) & mask
    while stamps[slot] == stamp:
        if keys[slot] == key:
            return slot, True
        slot = (slot + 1) & mask
    stamps[slot] = stamp
    keys[slot] = key
    return slot, False


@inner
def _mask(n_items: Integer) -> Integer:
    """Return the mask of a table that is at most half full with that many items."""
    size = 4
    while size < 2 * n_items:
        size *= 2
    return size - 1


@inner
def _line_end(data: ByteArray, i: Integer, end: Integer) -> Integer:
    while i < end and data[i] != 10 and data[i] != 13:
        i += 1
    return i


@inner
def _strip(data: ByteArray, start: Integer, stop: Integer, marks: ByteArray) -> tuple[Integer, Integer]:
    """Return a line without the blanks at its ends."""
    while start < stop:
        code, after = decode(data, start, stop)
        if not marks[code] & _BLANK:
            break
        start = after
    while start < stop:
        last = _last(data, start, stop)
        if not marks[decode(data, last, stop)[0]] & _BLANK:
            break
        stop = last
    return start, stop


@inner
def _last(data: ByteArray, start: Integer, stop: Integer) -> Integer:
    """Return where the last character before `stop` starts."""
    last = stop - 1
    while last > start and data[last] & 0xC0 == 0x80:
        last -= 1
    return last


@inner
def _phrases(data: ByteArray, start: Integer, stop: Integer) -> Integer:
    """Return which of the phrases a line holds, a bit each, whatever the case."""
    found = 0
    for i in range(start, stop - 1):
        # Setting bit 32 lowers letters; of all else in the phrases it makes a blank from NUL, which is harmless.
        candidates = _PHRASE_FIRST[data[i] | 32] & _PHRASE_SECOND[data[i + 1] | 32]
        if candidates:
            for number in range(len(_PHRASE_ENDS)):
                begin = _PHRASE_ENDS[number - 1] if number else 0
                size = _PHRASE_ENDS[number] - begin
                k = 2 if candidates >> number & 1 and i + size <= stop else size + 1
                while k < size and data[i + k] | 32 == _PHRASE_BYTES[begin + k]:
                    k += 1
                found |= (k == size) << number
    return found


@inner
def _has_words(data: ByteArray, i: Integer, stop: Integer, table: ByteArray, n_words: Integer) -> bool:
    while n_words > 0 and i < stop:
        _, i, kinds = next_word(data, i, stop, table)
        n_words -= kinds != 0
    return bool(n_words <= 0)


@inner
def _n_breaks(data: ByteArray, start: Integer, end: Integer) -> Integer:
    breaks = 0
    for i in range(start, end):
        breaks += (data[i] == 10) | (data[i] == 13)
    return breaks


@inner
def _read_line(
    data: ByteArray, i: Integer, end: Integer, table: ByteArray, marks: ByteArray, facts: IntArray
) -> np.uint64:
    """Return the hash of a line, and its `facts`: characters, width, longest token, sentences, letters, Thai letters.

    A token is what stands between blanks and letters of scripts without spaces. Lao is Thai here: neither ends its
    sentences with a mark.
    """
    chars = width = token = longest = sentences = letters = thai = 0
    is_open = False
    key = _FNV_START
    while i < end:
        code, i = decode(data, i, end)
        kind, mark = table[code], marks[code]
        chars += 1
        width += 2 if mark & _WIDE else 1
        key = (key ^ np.uint64(code)) * _FNV_PRIME
        token = 0 if mark & _BLANK or kind & UNSPACED else token + 1
        longest = max(longest, token)
        if kind & _COUNTED:
            is_open = True
            letters += (kind & LETTER) != 0
            thai += (kind & LETTER) != 0 and 0xE00 <= code < 0xF00
        elif mark & _TERMINAL and is_open and (code >= 128 or not _counts_at(data, i, end, table)):
            sentences += 1
            is_open = False
    facts[0], facts[1], facts[2], facts[3], facts[4], facts[5] = chars, width, longest, sentences, letters, thai
    return key


@inner
def _counts_at(data: ByteArray, i: Integer, end: Integer, table: ByteArray) -> bool:
    """Tell whether a letter or a number stands at `i`."""
    return bool(i < end and table[decode(data, i, end)[0]] & _COUNTED)


@inner
def _marks_at(data: ByteArray, i: Integer, end: Integer, marks: ByteArray) -> Integer:
    return np.int64(marks[decode(data, i, end)[0]]) if i < end else 0


@inner
def _ends_in_ellipsis(data: ByteArray, start: Integer, end: Integer) -> bool:
    if decode(data, _last(data, start, end), end)[0] == _ELLIPSIS:
        return True
    return bool(end - start >= 3 and data[end - 1] == 46 and data[end - 2] == 46 and data[end - 3] == 46)


@njit(types.void(BYTES, LONGS, BYTES, BYTES, LONGS, types.int64[:, ::1]), nogil=True, cache=True)
def _lines(
    data: ByteArray, offsets: IntArray, table: ByteArray, marks: ByteArray, limits: IntArray, out: IntArray
) -> None:
    short_width, min_words, max_word_length, c4 = limits[0], limits[1], limits[2], limits[3]
    size = 0
    for row in range(len(offsets) - 1):
        size = max(size, _mask(_n_breaks(data, offsets[row], offsets[row + 1]) + 1) + 1)
    keys, stamps = np.empty((2, size), np.uint64), np.zeros((2, size), np.int64)
    facts = np.zeros(6, np.int64)
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        mask = _mask(_n_breaks(data, i, end) + 1)
        paragraph, paragraph_chars = _FNV_START, 0
        sums = out[row]
        while i <= end:
            stop = _line_end(data, i, end)
            first, last = _strip(data, i, stop, marks)
            i = stop + 1
            if i < end and data[stop] == 13 and data[i] == 10:
                i += 1
            if first < last:
                line = _read_line(data, first, last, table, marks, facts)
                sums[0] += 1
                sums[1] += facts[0]
                code, after = decode(data, first, last)
                dash = marks[code] & _DASH and _marks_at(data, after, last, marks) & _BLANK
                sums[2] += dash != 0 or marks[code] & _BULLET != 0
                ellipsis = _ends_in_ellipsis(data, first, last)
                terminal = _marks_at(data, _last(data, first, last), last, marks) & (_TERMINAL | _QUOTE) != 0
                sums[3] += ellipsis
                sums[4] += terminal or ellipsis
                sums[5] += facts[1] <= short_width
                _, seen = _find(keys[0], stamps[0], row + 1, mask, line)
                sums[6] += seen
                sums[7] += facts[0] if seen else 0
                sums[12] += facts[4]
                sums[13] += facts[5]
                if c4:
                    found = _phrases(data, first, last)
                    sums[14] += found & 1
                    sums[15] += found > 1
                    retained = terminal and not ellipsis and not found and facts[2] <= max_word_length
                    if retained and facts[3] and _has_words(data, first, last, table, min_words):
                        sums[11] += facts[3]
                paragraph = (paragraph ^ line) * _SPREAD
                paragraph_chars += facts[0]
            if paragraph_chars and (first == last or stop == end):
                _, seen = _find(keys[1], stamps[1], row + 1, mask, paragraph)
                sums[8] += 1
                sums[9] += seen
                sums[10] += paragraph_chars if seen else 0
                paragraph, paragraph_chars = _FNV_START, 0


@njit(nogil=True, cache=True)
def _hash_word(data: ByteArray, start: Integer, end: Integer) -> np.uint64:
    """Return a hash of a word in which the case of ASCII letters does not matter."""
    key = _FNV_START
    for i in range(start, end):
        byte = data[i]
        key = (key ^ np.uint64(byte | 32 if 65 <= byte <= 90 else byte)) * _FNV_PRIME
    return key ^ key >> _HALF


@inner
def _size_word(data: ByteArray, i: Integer, end: Integer, marks: ByteArray) -> tuple[Integer, Integer]:
    """Return the characters and the width of a word."""
    chars = width = 0
    while i < end:
        code, i = decode(data, i, end)
        chars += 1
        width += 2 if marks[code] & _WIDE else 1
    return chars, width


@inner
def _bits_set(number: np.uint64) -> Integer:
    count = 0
    while number:
        number &= number - _ONE
        count += 1
    return count


@inner
def _window_end(weights: IntArray, first: Integer, stop: Integer, size: Integer) -> Integer:
    """Return the end of the n-gram that starts at `first`, from sums of weights; `stop` is where the last one ended.

    The end is beyond the words when they do not weigh enough any more.
    """
    while stop < len(weights) and weights[stop] - weights[first] < size:
        stop += 1
    return stop


@inner
def _top(
    size: Integer, hashes: HashArray, powers: HashArray, chars: IntArray, weights: IntArray, table: SlotTable
) -> Integer:
    """Return how many characters the most frequent n-gram covers, 0 if none occurs twice."""
    keys, stamps, counts, covered, ends, stamp = table
    n_words, stop, most, best = len(weights) - 1, np.int64(0), 1, 0
    mask = _mask(n_words)
    for first in range(n_words):
        stop = _window_end(weights, first, stop, size)
        if stop > n_words:
            break
        key = hashes[stop] - hashes[first] * powers[stop - first]
        slot, seen = _find(keys, stamps, stamp, mask, key)
        if not seen:
            counts[slot] = covered[slot] = ends[slot] = 0
        if first >= ends[slot]:
            counts[slot] += 1
            covered[slot] += chars[stop] - chars[first]
            ends[slot] = stop
            if counts[slot] > most or (counts[slot] == most > 1 and covered[slot] > best):
                most, best = counts[slot], covered[slot]
    return best


@inner
def _duplicated(
    size: Integer, hashes: HashArray, powers: HashArray, chars: IntArray, weights: IntArray, table: SlotTable
) -> Integer:
    """Return how many characters lie in n-grams that occurred before."""
    keys, stamps, _, _, _, stamp = table
    n_words, first, stop, total = len(weights) - 1, np.int64(0), np.int64(0), 0
    mask = _mask(n_words)
    while first < n_words:
        stop = _window_end(weights, first, stop, size)
        if stop > n_words:
            break
        _, seen = _find(keys, stamps, stamp, mask, hashes[stop] - hashes[first] * powers[stop - first])
        if seen:
            total += chars[stop] - chars[first]
        first = stop if seen else first + 1
    return total


@inner
def _n_grams(
    sizes: IntArray,
    hashes: HashArray,
    powers: HashArray,
    chars: IntArray,
    weights: IntArray,
    table: SlotTable,
    out: IntArray,
) -> None:
    """Count what the n-grams of each size cover: the most frequent one (size above 0), the repeated ones (below)."""
    keys, stamps, counts, covered, ends, stamp = table
    for k in range(len(sizes)):
        # Where no shorter one repeats, no longer one does.
        if k and 0 < sizes[k - 1] / sizes[k] <= 1 and out[k - 1] == 0:
            continue
        slots = (keys, stamps, counts, covered, ends, stamp + k)
        if sizes[k] > 0:
            out[k] = _top(sizes[k], hashes, powers, chars, weights, slots)
        else:
            out[k] = _duplicated(-sizes[k], hashes, powers, chars, weights, slots)


@njit(
    types.void(
        BYTES, LONGS, BYTES, BYTES, types.uint64[::1], types.int64[::1], types.int64[::1], types.int64,
        types.int64[:, ::1],
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def _word_sorts(
    data: ByteArray,
    offsets: IntArray,
    table: ByteArray,
    marks: ByteArray,
    stop_hashes: HashArray,
    stop_numbers: IntArray,
    sizes: IntArray,
    min_weight: int,
    out: IntArray,
) -> None:
    longest = np.int64(0)
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    # Two neighbouring words take three bytes at least ("a²"). Pages that no text needs are never touched.
    most = longest * 2 // 3 + 3 if len(sizes) else 1
    n_slots = _mask(most) + 1 if len(sizes) else 1
    hashes, powers = np.empty(most, np.uint64), np.empty(most, np.uint64)
    chars, weights = np.empty(most, np.int64), np.empty(most, np.int64)
    keys, stamps = np.empty(n_slots, np.uint64), np.zeros(n_slots, np.int64)
    counts, covered, ends = np.empty(n_slots, np.int64), np.empty(n_slots, np.int64), np.empty(n_slots, np.int64)
    n_powers = 1
    powers[0] = 1
    hashes[0] = chars[0] = weights[0] = 0
    for row in range(len(offsets) - 1):
        stop, end = offsets[row], offsets[row + 1]
        sums = out[row]
        n, seen_stops = 0, np.uint64(0)
        while stop < end:
            start, stop, kinds = next_word(data, stop, end, table)
            if not kinds:
                break
            n_chars, width = _size_word(data, start, stop, marks)
            weight = QUARTERS if not kinds & UNSPACED else 2 if _marks_at(data, start, stop, marks) & _WIDE else 1
            sums[0] += 1
            if not kinds & UNSPACED:
                sums[1] += 1
                sums[2] += width
            sums[3] += kinds & LETTER != 0
            sums[5] += n_chars
            sums[6] += weight
            if not len(sizes) and not len(stop_hashes):
                continue
            key = _hash_word(data, start, stop)
            for k in range(len(stop_hashes)):
                if stop_hashes[k] == key:
                    seen_stops |= _ONE << np.uint64(stop_numbers[k])
            if len(sizes):
                n += 1
                hashes[n] = hashes[n - 1] * _BASE + key
                chars[n], weights[n] = chars[n - 1] + n_chars, weights[n - 1] + weight
        sums[4] = _bits_set(seen_stops)
        while n_powers <= n:
            powers[n_powers] = powers[n_powers - 1] * _BASE
            n_powers += 1
        if sums[6] < min_weight:
            sums[7:] = -1
        else:
            slots = (keys, stamps, counts, covered, ends, row * len(sizes) + 1)
            _n_grams(sizes, hashes, powers, chars, weights[: n + 1], slots, sums[7:])


@inner
def _next_folded(data: ByteArray, i: Integer, end: Integer) -> tuple[Integer, Integer]:
    """Return the next byte with ASCII folded, a run of white space being one blank and none at the end of a text."""
    begin = i
    while i < end and (data[i] == 32 or 9 <= data[i] <= 13 or 28 <= data[i] <= 31):
        i += 1
    if i == end:
        return _OVER, i
    byte = np.int64(data[i])
    if byte >= 128:
        return _NOT_ASCII, i
    if i > begin:
        return 32, i
    return byte | 32 if 65 <= byte <= 90 else byte, i + 1


@njit(types.void(BYTES, LONGS, BYTES, LONGS, types.int8[::1]), nogil=True, cache=True)
def _compare(
    left: ByteArray,
    left_offsets: IntArray,
    right: ByteArray,
    right_offsets: IntArray,
    verdicts: npt.NDArray[np.int8],
) -> None:
    """Compare texts until they differ, 0, or end, 1, or one goes beyond ASCII, `_UNDECIDED`."""
    for row in range(len(verdicts)):
        i, left_end = left_offsets[row], left_offsets[row + 1]
        j, right_end = right_offsets[row], right_offsets[row + 1]
        one, i = _next_folded(left, i, left_end)
        two, j = _next_folded(right, j, right_end)
        # White space in front of a text is not there.
        if one == 32:
            one, i = _next_folded(left, i, left_end)
        if two == 32:
            two, j = _next_folded(right, j, right_end)
        while one == two and one not in (_OVER, _NOT_ASCII):
            one, i = _next_folded(left, i, left_end)
            two, j = _next_folded(right, j, right_end)
        undecided = _NOT_ASCII in (one, two)
        verdicts[row] = _UNDECIDED if undecided else one == two

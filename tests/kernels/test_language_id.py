"""Compares the kernel with the fastText runtime: models of all kinds with random numbers, texts of random bytes."""

from __future__ import annotations

import platform
import random
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jina_data.kernels.fasttext_file import read_labels, read_model, read_settings
from jina_data.kernels.language_id import NAN, NONE, build_tables, identify, is_finite, is_supported
from jina_data.languages.identify import identify as identify_any
from jina_data.languages.identify import identify_by_runtime, model_path

# Elsewhere the compiler may fuse multiplications with additions, and the runtime rounds otherwise.
TOLERANCE = 0.0 if platform.machine() == "x86_64" else 1e-6

WORDS = [b"</s>", b"the", b"de", b"der", "мир".encode(), "北京".encode(), b"a", b"ab", b"__x", b"\xe9", b"long" * 9]
LABELS = [b"__label__" + name for name in (b"en", b"de", b"ru", b"zh", b"fr", b"no", b"la")]


@dataclass(frozen=True)
class Kind:
    """The properties of a random model; a `pruned` model keeps that number of n-grams, and is quantised."""

    dim: int = 4
    version: int = 12
    loss: int = 1
    bucket: int = 40
    minn: int = 2
    maxn: int = 4
    n_labels: int = 7
    words: Sequence[bytes] = tuple(WORDS)
    pruned: int = -1
    quantised: bool = False
    normed: bool = False
    quantised_output: bool = False
    equal: bool = False


def model_bytes(kind: Kind, seed: int) -> bytes:
    """Write a model with random numbers, as fastText saves one; `equal` outputs give all labels the same score."""
    rng = np.random.default_rng(seed)
    n_grams = kind.bucket if kind.pruned < 0 else kind.pruned
    settings = struct.pack("<12id", kind.dim, 5, 5, 1, 5, 1, kind.loss, 3, kind.bucket, kind.minn, kind.maxn, 100, 1e-4)
    counts = sorted(rng.integers(1, 50, kind.n_labels).tolist(), reverse=True)
    entries = [word + b"\0" + struct.pack("<qb", 9, 0) for word in kind.words]
    entries += [
        label + b"\0" + struct.pack("<qb", n, 1) for label, n in zip(LABELS[: kind.n_labels], counts, strict=True)
    ]
    sizes = struct.pack("<iiiqq", len(entries), len(kind.words), kind.n_labels, 99, kind.pruned)
    kept = rng.permutation(kind.bucket)[: max(0, kind.pruned)]
    pairs = np.stack([kept, rng.permutation(len(kept))], 1).astype("<i4").tobytes()

    def matrix(rows: int, *, quantised: bool, equal: bool = False) -> bytes:
        if not quantised:
            numbers = np.zeros((rows, kind.dim)) if equal else rng.normal(size=(rows, kind.dim)) * 2
            return struct.pack("<qq", rows, kind.dim) + numbers.astype("<f4").tobytes()
        width = min(2, kind.dim)
        parts = -(-kind.dim // width)
        out = struct.pack("<Bqqi", kind.normed, rows, kind.dim, rows * parts)
        out += rng.integers(0, 256, rows * parts, np.uint8).tobytes()
        out += struct.pack("<4i", kind.dim, parts, width, kind.dim - (parts - 1) * width)
        out += (rng.normal(size=256 * kind.dim) * 2).astype("<f4").tobytes()
        if kind.normed:
            out += rng.integers(0, 256, rows, np.uint8).tobytes() + struct.pack("<4i", 1, 1, 1, 1)
            out += rng.uniform(0.1, 2, 256).astype("<f4").tobytes()
        return out

    head = struct.pack("<ii", 793712314, kind.version) + settings + sizes + b"".join(entries) + pairs
    inputs = matrix(len(kind.words) + n_grams, quantised=kind.quantised)
    outputs = matrix(kind.n_labels, quantised=kind.quantised and kind.quantised_output, equal=kind.equal)
    return head + bytes([kind.quantised]) + inputs + bytes([kind.quantised_output]) + outputs


def random_texts(seed: int, n_texts: int = 120) -> list[bytes]:
    rng = random.Random(seed)
    pieces: list[bytes | str] = [
        *WORDS,
        *LABELS,
        *(b" ", b"  ", b"\t", b"\n", b"\r\n", b"\0", b"\v", b"\f", b"__label__", b"__label__q", b"</s", b"<", b">"),
        *("\u00a0", "\u3000", "\u2028", "\u0085", "ß", "京北", "😀", "e\u0301"),
        *(b"\x80", b"\xff\xfe", b"\xc3", b"\xe4\xba", b"\xf0\x9f"),
    ]
    encoded = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    texts = [b"".join(rng.choice([b" ", rng.choice(encoded)]) for _ in range(rng.randrange(25))) for _ in range(90)]
    texts += [bytes(rng.randrange(256) for _ in range(rng.randrange(40))) for _ in range(n_texts - 91)]
    return [*texts, b"ab " * 3000 + b"x" * 5000]


def by_runtime(path: Path, texts: Sequence[bytes]) -> list[tuple[str | None, float]]:
    import fasttext

    predict = fasttext.load_model(str(path)).f.predict
    predictions = [predict(text.replace(b"\n", b" ") + b"\n", 1, 0.0, "replace") for text in texts]
    return [(hit[0][1], hit[0][0]) if hit else (None, 0.0) for hit in predictions]


def by_kernel(path: Path, texts: Sequence[bytes]) -> list[tuple[str | None, float]]:
    model = read_model(path)
    assert is_supported(model.settings)
    assert is_finite(model)
    values = pa.array(texts, pa.large_binary()).view(pa.large_string())
    labels, probability = identify(build_tables(model), values)
    assert (labels != NAN).all()
    names = [None if label == NONE else model.labels[label].decode() for label in labels.tolist()]
    return list(zip(names, probability.tolist(), strict=True))


def check_equal(path: Path, texts: Sequence[bytes]) -> None:
    for text, (label, p), (expected, expected_p) in zip(
        texts, by_kernel(path, texts), by_runtime(path, texts), strict=True
    ):
        assert label == expected, text
        assert abs(p - expected_p) <= TOLERANCE, text


KINDS = {
    "tree": Kind(),
    "softmax": Kind(loss=3),
    "wide": Kind(dim=37, bucket=1000, maxn=6),
    "wide softmax": Kind(dim=37, loss=3),
    "quantised": Kind(quantised=True),
    "normed": Kind(quantised=True, normed=True, dim=5),
    "quantised output": Kind(quantised=True, normed=True, quantised_output=True),
    "quantised softmax": Kind(quantised=True, quantised_output=True, normed=True, loss=3, dim=3),
    "pruned": Kind(quantised=True, normed=True, bucket=200, pruned=70),
    "pruned to nothing": Kind(quantised=True, pruned=0),
    "single characters": Kind(minn=1, maxn=2),
    "from nothing": Kind(minn=0, maxn=1, bucket=64),
    "no n-grams": Kind(minn=0, maxn=0, bucket=1),
    "never": Kind(minn=5, maxn=3),
    "version 11": Kind(version=11),
    "one bucket": Kind(bucket=1),
    "one label": Kind(n_labels=1),
    "two labels": Kind(n_labels=2),
    "no end": Kind(words=WORDS[1:]),
    "no words": Kind(words=()),
    "a label for a word": Kind(words=[*WORDS, LABELS[0], b"__label__zz"]),
    "words twice": Kind(words=[*WORDS, *WORDS]),
    "equal": Kind(equal=True),
    "equal softmax": Kind(equal=True, loss=3),
}


@pytest.mark.parametrize("name", KINDS)
def test_models_of_all_sorts(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    for seed in range(3):
        path.write_bytes(model_bytes(KINDS[name], seed))
        check_equal(path, random_texts(seed))
        assert read_labels(path) == tuple(
            label.decode().removeprefix("__label__") for label in LABELS[: KINDS[name].n_labels]
        )


def test_the_bundled_model_on_random_bytes() -> None:
    check_equal(model_path(None), [text for seed in range(5) for text in random_texts(seed)])


def test_nulls_are_empty_and_slices_are_whole() -> None:
    tables = build_tables(read_model(model_path(None)))
    values = pa.array(["Guten Morgen, wie geht es dir?", None, "", "good morning, how are you?"], pa.large_string())
    labels, probability = identify(tables, values)
    assert (labels[1], probability[1]) == (labels[2], probability[2])
    for start in range(4):
        part_labels, p = identify(tables, values.slice(start, 2))
        assert part_labels.tolist() == labels[start : start + 2].tolist()
        assert p.tolist() == probability[start : start + 2].tolist()
    assert [len(part) for part in identify(tables, values.slice(4))] == [0, 0]


def test_threads_share_a_model() -> None:
    tables = build_tables(read_model(model_path(None)))
    texts = [text.decode(errors="replace") for seed in range(3) for text in random_texts(seed)]
    values = pa.array(texts, pa.large_string())
    labels, probability = identify(tables, values)
    with ThreadPoolExecutor(4) as pool:
        for part_labels, p in pool.map(lambda _: identify(tables, values), range(8)):
            assert (part_labels == labels).all()
            assert (p == probability).all()


def test_a_sum_that_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "huge.bin"
    kind = Kind(words=[b"</s>", b"up"], bucket=1, maxn=0, dim=1, n_labels=2)
    content = model_bytes(kind, 0)
    outputs = struct.pack("<qqff", 2, 1, float(np.float32(3e38)), 0)
    inputs = struct.pack("<qqfff", 3, 1, 0, float(np.float32(3e38)), 0)
    at = content.index(struct.pack("<qq", 3, 1))
    path.write_bytes(content[:at] + inputs + b"\0" + outputs)
    values = pa.array(["", "up up up"], pa.large_string())
    labels, _ = identify(build_tables(read_model(path)), values)
    assert labels.tolist()[1] == NAN
    # So the runtime is asked, which does not look at every product.
    (names, probability), (expected, expected_p) = (
        identify_any(values, str(path)),
        identify_by_runtime(values, str(path)),
    )
    assert names.to_pylist() == expected.to_pylist()
    assert probability.tolist() == expected_p.tolist()


@pytest.mark.parametrize(
    ("loss", "word_ngrams", "supported"), [(1, 1, True), (3, 1, True), (2, 1, False), (4, 1, False), (1, 2, False)]
)
def test_what_is_left_to_the_runtime(loss: int, word_ngrams: int, *, supported: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    content = model_bytes(Kind(loss=loss), 0)
    path.write_bytes(content[:28] + struct.pack("<i", word_ngrams) + content[32:])
    assert read_settings(path).word_ngrams == word_ngrams
    assert is_supported(read_settings(path)) is supported

"""All measurements of the encoder on a GPU, in one command.

    python benchmarks/gpu.py [--sizes small base] [--lengths 128 512 2048 8192] [--repeats 5] [--corpora FOLDER]
                             [--json FILE]

For each size and length, and for texts of mixed lengths: tokens by the second, operations by the second as a fraction
of the card's bf16 matrix rate (measured on a product of 8192 x 8192 matrices), and peak memory, for

- flex: packed tokens with compiled FlexAttention, as the encoder runs on CUDA;
- dense: padded rows with SDPA and the dense bias, in the same batches (up to --dense-tokens);
- bert: SentenceTransformer.encode with a BERT of the same layers, width and heads, in bf16.

The vectors of flex in bf16 are compared with those of the same weights in fp32 on the CPU: relative distance, largest
over the texts. Weights are random. A rate counts real tokens; padding counts for nobody. The ways take turns, and
medians are shown. The first run of each way, which compiles, is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encode import bert, flops, mixed_texts, tokenizer_for
from tokenizers import Tokenizer

from jina_data.encoder.attention import Path as AttentionPath
from jina_data.encoder.batches import padded, token_batches, tokenize
from jina_data.encoder.encoder import CUDA_TOKENS, Encoder
from jina_data.encoder.pooling import mean_pool

RUN_TOKENS = 2**19
"""Tokens of a run at one length."""

CHECKED_TEXTS = 16
"""Texts whose vectors are compared with full precision on the CPU."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["small", "base"])
    parser.add_argument("--lengths", nargs="*", type=int, default=[128, 512, 2048, 8192])
    parser.add_argument("--mixed-texts", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dense-tokens", type=int, default=2048)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device, or a torch without CUDA; this script measures nothing else")
    rate = matrix_flops()
    results: dict[str, Any] = {"machine": {**machine(), "bf16_tflops": rate / 1e12}, "rows": []}
    print(json.dumps(results["machine"]))
    for size in arguments.sizes:
        for length in [*arguments.lengths, 0]:
            results["rows"] += measure(arguments, size, length, rate)
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    card = torch.cuda.get_device_properties(0)
    return {
        "card": card.name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
    }


def matrix_flops(n: int = 8192, repeats: int = 20) -> float:
    """Return the operations by the second of a large bf16 product."""
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = [timed(lambda: a @ b) for _ in range(repeats)]
    return 2 * n**3 / statistics.median(seconds[3:])


def timed(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def texts_of(arguments: argparse.Namespace, length: int) -> list[str]:
    if length == 0:
        return mixed_texts(arguments.corpora, arguments.mixed_texts)
    words = ["boil", "an", "egg", "in", "cold", "water", "and", "wait"]
    rng = np.random.default_rng(length)
    return [" ".join(rng.choice(words, length - 2)) for _ in range(max(1, RUN_TOKENS // length))]


def on_path(encoder: Encoder, path: AttentionPath) -> Callable[[Sequence[str]], object]:
    def encode(texts: Sequence[str]) -> object:
        tokens = tokenize(encoder.tokenizer, texts, encoder.max_length)
        with torch.inference_mode():
            for positions in token_batches(tokens.lengths, token_budget=CUDA_TOKENS):
                ids, mask = padded([tokens.ids[position] for position in positions], 0)
                mean_pool(encoder.model(ids.cuda(), mask, path=path), mask).cpu()
        return None

    return encode


def ways(
    arguments: argparse.Namespace, size: str, tokenizer: Tokenizer, longest: int
) -> tuple[Encoder, dict[str, Callable[[Sequence[str]], object]]]:
    encoder = Encoder.from_preset(size, tokenizer, device="cuda", dtype="bfloat16")
    theirs = bert(size, tokenizer, min(longest, 8192)).to("cuda", torch.bfloat16)
    found: dict[str, Callable[[Sequence[str]], object]] = {
        "flex": encoder.encode,
        "bert": lambda texts: theirs.encode(list(texts), batch_size=128, show_progress_bar=False),
    }
    if longest <= arguments.dense_tokens:
        found["dense"] = on_path(encoder, "dense")
    return encoder, found


def measure(arguments: argparse.Namespace, size: str, length: int, rate: float) -> list[dict[str, Any]]:
    texts = texts_of(arguments, length)
    tokenizer = tokenizer_for(texts)
    lengths = [min(8192, len(one.ids)) for one in tokenizer.encode_batch(texts)]
    encoder, chosen = ways(arguments, size, tokenizer, max(lengths))
    seconds: dict[str, list[float]] = {way: [] for way in chosen}
    peaks: dict[str, int] = {}
    for number in range(arguments.repeats + 1):
        for way, encode in chosen.items():
            torch.cuda.reset_peak_memory_stats()
            taken = timed(lambda encode=encode: encode(texts))  # type: ignore[misc]
            peaks[way] = torch.cuda.max_memory_allocated()
            if number:
                seconds[way].append(taken)
    rows = []
    for way, taken_all in seconds.items():
        median = statistics.median(taken_all)
        done = flops(size, lengths, gated=way != "bert") / median
        row = {
            "size": size,
            "length": length or "mixed",
            "way": way,
            "tokens_per_second": round(sum(lengths) / median),
            "tflops": round(done / 1e12, 1),
            "of_matrix_rate": round(done / rate, 3),
            "times_bert": round(statistics.median(seconds["bert"]) / median, 2),
            "peak_bytes": peaks[way],
            "seconds": [round(one, 4) for one in taken_all],
        }
        if way == "flex":
            row["off_fp32"] = off_full_precision(encoder, size, tokenizer, texts)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def off_full_precision(encoder: Encoder, size: str, tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Return the largest relative distance to the vectors in full precision on the CPU."""
    some = list(texts[:CHECKED_TEXTS])
    found = encoder.encode(some)
    expected = Encoder.from_preset(size, tokenizer, device="cpu").encode(some)
    distance = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return float(distance.max())


if __name__ == "__main__":
    main()

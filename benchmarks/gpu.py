"""Runs all measurements of the encoder on a GPU.

    python benchmarks/gpu.py [--sizes small base] [--lengths 128 512 2048 8192] [--repeats 5] [--corpora FOLDER]
                             [--profile] [--json FILE]

For each size and length, and for texts of mixed lengths, it measures tokens per second, operations per second as a
fraction of the bf16 matrix rate of the GPU (measured on a product of 8192 x 8192 matrices), and peak memory, for

- encode: Encoder.encode, from texts to vectors;
- bert: SentenceTransformer.encode with a BERT with the same layers, width and heads, in bf16, from texts to vectors;
- flex: the model alone, from tokens: packed, with compiled FlexAttention, as the encoder runs on CUDA;
- dense: the model alone, from tokens: padded rows with SDPA and the dense bias, in the same batches (up to
  --dense-tokens).

The vectors of encode in bf16 are compared with those of the same weights in fp32 on the dense path: the result is the
largest relative distance over a few texts. Weights are random. Rates count real tokens, without padding. The ways
alternate, and the results are medians. The first run of each way compiles and is not counted. --profile prints the
kernels of flex by time.
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

from jina_data.encoder.attention import AttentionPath
from jina_data.encoder.batches import padded, token_batches, tokenize
from jina_data.encoder.encoder import CUDA_TOKENS, Encoder
from jina_data.encoder.pooling import mean_pool

RUN_TOKENS = 2**18
"""Total number of tokens of a run with a fixed length."""

CHECKED_TEXTS = 8
"""Number of texts whose vectors are compared with full precision."""

BERT_TOKENS = 2**17
"""Tokens of a batch of sentence-transformers; its batch size counts texts, so it is set from the longest text."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["small", "base"])
    parser.add_argument("--lengths", nargs="*", type=int, default=[128, 512, 2048, 8192])
    parser.add_argument("--mixed-texts", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dense-tokens", type=int, default=2048)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device, or torch without CUDA; this script needs a GPU")
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
    """Return the operations per second of a large bf16 product."""
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


def on_path(encoder: Encoder, texts: Sequence[str], path: AttentionPath) -> Callable[[], object]:
    """Return a function that runs the model on batches that are tokenized in advance."""
    tokens = tokenize(encoder.tokenizer, texts, encoder.max_length)
    batches = [
        padded([tokens.ids[position] for position in positions], 0)
        for positions in token_batches(tokens.lengths, token_budget=CUDA_TOKENS)
    ]

    def run() -> None:
        with torch.inference_mode():
            for ids, mask in batches:
                mean_pool(encoder.model(ids.to("cuda", non_blocking=True), mask, path=path), mask)

    return run


def ways(
    arguments: argparse.Namespace, size: str, tokenizer: Tokenizer, texts: Sequence[str], longest: int
) -> tuple[Encoder, dict[str, Callable[[], object]]]:
    encoder = Encoder.from_preset(size, tokenizer, device="cuda", dtype="bfloat16")
    bert_model = bert(size, tokenizer, longest).to("cuda", torch.bfloat16)
    batch_size = max(16, min(256, BERT_TOKENS // longest))
    functions: dict[str, Callable[[], object]] = {
        "encode": lambda: encoder.encode(texts),
        "bert": lambda: bert_model.encode(list(texts), batch_size=batch_size, show_progress_bar=False),
        "flex": on_path(encoder, texts, "flex"),
    }
    if longest <= arguments.dense_tokens:
        functions["dense"] = on_path(encoder, texts, "dense")
    return encoder, functions


def measure(arguments: argparse.Namespace, size: str, length: int, rate: float) -> list[dict[str, Any]]:
    texts = texts_of(arguments, length)
    tokenizer = tokenizer_for(texts)
    lengths = [min(8192, len(encoding.ids)) for encoding in tokenizer.encode_batch(texts)]
    encoder, chosen = ways(arguments, size, tokenizer, texts, max(lengths))
    seconds: dict[str, list[float]] = {way: [] for way in chosen}
    peaks: dict[str, int] = {}
    for number in range(arguments.repeats + 1):
        for way, encode in chosen.items():
            torch.cuda.reset_peak_memory_stats()
            elapsed = timed(encode)
            peaks[way] = torch.cuda.max_memory_allocated()
            if number:
                seconds[way].append(elapsed)
    rows = []
    for way, times in seconds.items():
        median = statistics.median(times)
        flops_per_second = flops(size, lengths, gated=way != "bert") / median
        row = {
            "size": size,
            "length": length or "mixed",
            "way": way,
            "tokens_per_second": round(sum(lengths) / median),
            "tflops": round(flops_per_second / 1e12, 1),
            "of_matrix_rate": round(flops_per_second / rate, 3),
            "times_bert": round(statistics.median(seconds["bert"]) / median, 2),
            "peak_bytes": peaks[way],
            "seconds": [round(value, 4) for value in times],
        }
        if way == "encode":
            row["off_fp32"] = distance_to_fp32(encoder, size, tokenizer, texts)
        rows.append(row)
        print(json.dumps(row), flush=True)
    if arguments.profile:
        print_profile(f"{size} {length or 'mixed'}", chosen["flex"])
    return rows


def print_profile(title: str, run: Callable[[], object]) -> None:
    """Print the kernels that take the most time."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        elapsed = timed(run)
    print(f"profile of {title}: {elapsed:.3f} s with the profiler")
    print(profiler.key_averages().table(sort_by="self_cuda_time_total", row_limit=14, max_name_column_width=60))


def distance_to_fp32(encoder: Encoder, size: str, tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Return the largest relative distance of a text to its vector in full precision with the dense bias."""
    checked = list(texts[:CHECKED_TEXTS])
    reference = Encoder.from_preset(size, tokenizer, device="cuda", dtype="float32")
    tokens = tokenize(tokenizer, checked, reference.max_length)
    rows = []
    with torch.inference_mode():
        for ids in tokens.ids:
            input_ids, mask = padded([ids], 0)
            rows.append(mean_pool(reference.model(input_ids.cuda(), mask, path="dense"), mask)[0].cpu().numpy())
    expected = np.stack(rows)
    distance = np.linalg.norm(encoder.encode(checked) - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return float(distance.max())


if __name__ == "__main__":
    main()

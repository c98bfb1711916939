"""How fast the encoder is, and how much memory it takes, beside a dense bias and beside sentence-transformers' BERT.

    python benchmarks/encode.py [--sizes small base] [--lengths 128 512 2048 8192] [--repeats 3] [--corpora FOLDER]
                                [--json FILE]

Weights are random: they do not change the time. For each size and length, texts of exactly so many tokens go through

- ours: Encoder.encode, as a user calls it;
- dense: the same model with SDPA and one dense bias, (1, H, S, S), in the same batches;
- eager: the same model step by step (only up to --eager-tokens, since it holds several matrices of all pairs);
- bert: SentenceTransformer.encode with a BERT of the same layers, width and heads, whose FFN has no gate.

Then the same for texts of mixed lengths: sentences, questions and abstracts of the real data (--corpora, or the
variable JINA_DATA_CORPORA), else the sample that ships with the project. A rate counts real tokens; padding counts for
nobody. GFLOP/s are the operations that the real tokens need, by the second. The ways take turns, and medians are shown.
Memory is measured in processes of their own, as the growth of the resident memory over the loaded model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer

from jina_data.encoder.attention import Path as AttentionPath
from jina_data.encoder.attention import lay_out
from jina_data.encoder.batches import padded, token_batches, tokenize
from jina_data.encoder.encoder import CPU_TOKENS, Encoder
from jina_data.encoder.jina_bert import JinaBertConfig
from jina_data.encoder.pooling import mean_pool
from jina_data.encoder.tokenizer import train_wordpiece

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "tests" / "data" / "demo" / "sentences.parquet"
TOKENS = {128: 8192, 512: 8192, 2048: 8192, 8192: 8192}
"""Tokens of a run at each length."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["small", "base"])
    parser.add_argument("--lengths", nargs="*", type=int, default=list(TOKENS))
    parser.add_argument("--mixed-texts", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--eager-tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        size, way, length = arguments.memory_of
        print(grown_bytes(arguments, size, way, int(length)))
        return
    results: dict[str, Any] = {"machine": machine(arguments), "rows": []}
    for size in arguments.sizes:
        for length in [*arguments.lengths, 0]:
            results["rows"] += measure(arguments, size, length)
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        if 8192 in arguments.lengths:
            results["rows"].append(attention_at(size, 8192, arguments.repeats))
            print(results["rows"][-1])
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "threads": arguments.threads,
        "load_before": os.getloadavg()[0],
        "repeats": arguments.repeats,
    }


# ------------------------------------------------------------------------------------------------------------- inputs


def mixed_texts(corpora: Path | None, n_texts: int) -> list[str]:
    """Return real texts of all lengths: sentences, questions with answers, abstracts; else the sample's sentences."""
    if corpora is None:
        return [str(text) for text in pq.read_table(DEMO)["text"].to_pylist() if text][:n_texts]
    texts: list[str] = []
    for file, column in (
        ("corpus_commonvoice_sentences", "text"),
        ("pairs_medquad", "positive"),
        ("pairs_acl_title_abstract", "positive"),
    ):
        for path in sorted((corpora / "train").glob(f"{file}*.parquet"))[:1]:
            found = pq.read_table(path, columns=[column])[column].to_pylist()
            chosen = np.random.default_rng(0).choice(len(found), -(-n_texts // 3), replace=False)
            texts += [found[row] for row in chosen.tolist()]
    if not texts:
        raise SystemExit(f"{corpora}/train has none of the files that are needed; expected pairs_medquad*.parquet ...")
    return texts


def texts_of(arguments: argparse.Namespace, length: int) -> list[str]:
    """Return texts of exactly so many tokens, all different; 0: of mixed lengths."""
    if length == 0:
        return mixed_texts(arguments.corpora, arguments.mixed_texts)
    words = ["boil", "an", "egg", "in", "cold", "water", "and", "wait"]
    rng = np.random.default_rng(length)
    n_texts = max(1, TOKENS.get(length, 8192) // length)
    return [" ".join(rng.choice(words, length - 2)) for _ in range(n_texts)]


def tokenizer_for(texts: Sequence[str]) -> Tokenizer:
    return train_wordpiece([*texts, "boil an egg in cold water and wait"] * 2, vocab_size=30_000)


# --------------------------------------------------------------------------------------------------------------- ways


def ours(size: str, tokenizer: Tokenizer) -> Encoder:
    return Encoder.from_preset(size, tokenizer, device="cpu")


def with_path(encoder: Encoder, path: AttentionPath) -> Callable[[Sequence[str]], object]:
    """Encode in the same batches on a named path; texts of one length share one bias."""

    def encode(texts: Sequence[str]) -> object:
        tokens = tokenize(encoder.tokenizer, texts, encoder.max_length)
        with torch.inference_mode():
            for positions in token_batches(tokens.lengths, token_budget=CPU_TOKENS):
                ids, mask = padded([tokens.ids[position] for position in positions], 0)
                mean_pool(encoder.model(ids, mask, path=path), mask)
        return None

    return encode


def bert(size: str, tokenizer: Tokenizer, max_length: int) -> Any:
    """Return sentence-transformers with a BERT of the same layers, width and heads."""
    import tempfile

    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    like = JinaBertConfig.preset(size)
    config = BertConfig(
        vocab_size=-(-tokenizer.get_vocab_size() // 64) * 64,
        hidden_size=like.hidden_size,
        num_hidden_layers=like.num_hidden_layers,
        num_attention_heads=like.num_attention_heads,
        intermediate_size=like.intermediate_size,
        max_position_embeddings=max(512, max_length),
    )
    with tempfile.TemporaryDirectory() as folder:
        BertModel(config).save_pretrained(folder)
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
        )
        fast.save_pretrained(folder)
        transformer = Transformer(folder, max_seq_length=max_length)
    return SentenceTransformer(modules=[transformer, Pooling(like.hidden_size)], device="cpu")


def ways(
    arguments: argparse.Namespace, size: str, texts: Sequence[str]
) -> dict[str, Callable[[Sequence[str]], object]]:
    tokenizer = tokenizer_for(texts)
    longest = max(len(one.ids) for one in tokenizer.encode_batch(list(texts)))
    encoder = ours(size, tokenizer)
    theirs = bert(size, tokenizer, min(longest, 8192))
    found: dict[str, Callable[[Sequence[str]], object]] = {
        "ours": encoder.encode,
        "dense": with_path(encoder, "dense"),
        "bert": lambda texts: theirs.encode(list(texts), show_progress_bar=False),
    }
    if longest <= arguments.eager_tokens:
        found["eager"] = with_path(encoder, "eager")
    return found


# ------------------------------------------------------------------------------------------------------- measurements


def flops(size: str, lengths: Sequence[int], *, gated: bool) -> float:
    """Return the operations that texts need: two for each weight and token, and four D S^2 a layer for attention."""
    config = JinaBertConfig.preset(size)
    d, f, n_layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    weights = n_layers * (4 * d * d + (3 if gated else 2) * d * f)
    return float(sum(2 * weights * one + 4 * n_layers * d * one**2 for one in lengths))


def measure(arguments: argparse.Namespace, size: str, length: int) -> list[dict[str, Any]]:
    """Time all ways on texts of a length (0: mixed), taking turns, and print a line for each."""
    texts = texts_of(arguments, length)
    tokenizer = tokenizer_for(texts)
    lengths = [min(8192, len(one.ids)) for one in tokenizer.encode_batch(list(texts))]
    seconds: dict[str, list[float]] = {}
    chosen = ways(arguments, size, texts)
    for _ in range(arguments.repeats):
        for way, encode in chosen.items():
            started = time.perf_counter()
            encode(texts)
            seconds.setdefault(way, []).append(time.perf_counter() - started)
    rows = []
    for way, taken in seconds.items():
        median = statistics.median(taken)
        row = {
            "size": size,
            "length": length or "mixed",
            "way": way,
            "texts": len(texts),
            "tokens": sum(lengths),
            "seconds": [round(one, 3) for one in taken],
            "tokens_per_second": round(sum(lengths) / median, 1),
            "gflops": round(flops(size, lengths, gated=way != "bert") / median / 1e9, 2),
            "times_ours": round(median / statistics.median(seconds["ours"]), 2),
            "extra_bytes": memory(arguments, size, way, length),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def attention_at(size: str, length: int, repeats: int) -> dict[str, Any]:
    """Time attention alone on one text, the making of the bias included; the two ways take turns."""
    config = JinaBertConfig.preset(size)
    n_heads = config.num_attention_heads
    qkv = [torch.randn(1, length, n_heads, config.hidden_size // n_heads) for _ in range(3)]
    mask = torch.ones(1, length, dtype=torch.long)
    seconds: dict[str, list[float]] = {"toeplitz": [], "dense": []}
    for _ in range(repeats):
        for way, taken in seconds.items():
            started = time.perf_counter()
            layout = lay_out(mask, n_heads=n_heads, device=torch.device("cpu"), path=way)  # type: ignore[arg-type]
            ready = [one[0] if way == "toeplitz" else one for one in qkv]
            with torch.inference_mode():
                layout.attend(*ready)
            taken.append(time.perf_counter() - started)
    medians = {way: statistics.median(taken) for way, taken in seconds.items()}
    times = round(medians["dense"] / medians["toeplitz"], 2)
    return {"size": size, "length": length, "way": "attention alone", "seconds": seconds, "times_ours": times}


def memory(arguments: argparse.Namespace, size: str, way: str, length: int) -> int:
    """Return the growth of memory of a way, measured in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", size, way, str(length), "--threads", str(arguments.threads)]
    command += ["--mixed-texts", str(arguments.mixed_texts), "--eager-tokens", str(arguments.eager_tokens)]
    command += ["--corpora", str(arguments.corpora)] if arguments.corpora else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def grown_bytes(arguments: argparse.Namespace, size: str, way: str, length: int) -> int:
    texts = texts_of(arguments, length)
    chosen = ways(arguments, size, texts)[way]
    chosen(["boil an egg"])
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    before = status_bytes("VmRSS")
    chosen(texts)
    return status_bytes("VmHWM") - before


def status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()

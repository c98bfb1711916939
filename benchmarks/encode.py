"""Measures speed and memory of the encoder, compared with a dense bias and with the BERT of sentence-transformers.

    python benchmarks/encode.py [--sizes small base] [--cases 128 512 2048 8192 short mixed attention] [--turns 3]
                                [--json FILE] [--memory | --table] [--corpora FOLDER]

Weights are random. The reach of a head depends on its queries and keys, so these are scaled as in a trained model: by
the bound of `attention_range`, scores rise above the score of a token with itself by as much as in all-MiniLM-L6-v2,
whose layers have medians over heads of 12 to 15. For each size and case, the same texts are encoded by

- ours: Encoder.encode;
- dense: the same model with SDPA and one dense bias, (1, H, S, S), in the same batches;
- eager: the same model step by step (only up to --eager-tokens, because it holds several matrices of all pairs);
- bert: SentenceTransformer.encode with a BERT with the same layers, width and heads, and an FFN without a gate.

A case is a number of tokens (8192 tokens in total, in texts of exactly this length), `mixed` (sentences, answers and
abstracts of the real data in --corpora or JINA_DATA_CORPORA, else the sample of the project), `short` (the mixed texts
with at most 512 tokens) or `attention` (attention alone on one text of 8192 tokens, with the construction of the bias).
Rates count real tokens, without padding. GFLOP/s are the operations for the real tokens per second. The ways alternate,
after one short text as a warm-up, and the table has medians.

With --memory, memory is measured instead of time: each way runs in a separate process, and the result is the growth of
the peak resident memory after the model was loaded and had encoded one short text.

Runs with the same --json FILE are added to it, so measurements can be made in parts. --table prints the content of
FILE.
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

from jina_data.encoder.attention import AttentionPath, choose_layout
from jina_data.encoder.batches import padded, token_batches, tokenize
from jina_data.encoder.encoder import CPU_TOKENS, Encoder
from jina_data.encoder.jina_bert import JinaBertConfig
from jina_data.encoder.pooling import mean_pool
from jina_data.encoder.tokenizer import train_wordpiece
from jina_data.run.files import write_json

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "tests" / "data" / "demo" / "sentences.parquet"
CASES = ["128", "512", "2048", "8192", "short", "mixed", "attention"]
WAYS = ["ours", "dense", "eager", "bert"]
RUN_TOKENS = 8192
"""Total number of tokens of a case with a fixed length."""

QK_DEVIATION = 1.35
"""Standard deviation of the elements of queries and keys."""

Encode = Callable[[Sequence[str]], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["small", "base"])
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--mixed-texts", type=int, default=60)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--eager-tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(memory_growth(arguments, *arguments.memory_of))
        return
    results = Results(arguments)
    for size in () if arguments.table else arguments.sizes:
        for case in arguments.cases:
            if case == "attention":
                measure_attention(arguments, size, results)
            elif arguments.memory:
                measure_memory(arguments, size, case, results)
            else:
                measure_time(arguments, size, case, results)
    print(results.table())


class Results:
    """The measurements by size, case and way, stored in a file if --json is given."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.path: Path | None = arguments.json
        machine = {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cores": os.cpu_count(),
            "threads": arguments.threads,
            "mixed_texts": arguments.mixed_texts,
            "corpora": bool(arguments.corpora),
        }
        self.machine, self.rows = machine, list[dict[str, Any]]()
        if self.path and self.path.exists():
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            self.rows = stored["rows"]
            if stored["machine"] != machine and not arguments.table:
                raise SystemExit(
                    f"{self.path} was measured on {stored['machine']}, this is {machine}; choose another file"
                )

    def row(self, size: str, case: str, way: str) -> dict[str, Any]:
        """Return the row of a case, or add a new row."""
        for row in self.rows:
            if (row["size"], row["case"], row["way"]) == (size, case, way):
                return row
        row = {"size": size, "case": case, "way": way, "seconds": [], "load": []}
        self.rows.append(row)
        return row

    def save(self) -> None:
        if self.path:
            write_json(self.path, {"machine": self.machine, "rows": self.rows})

    def table(self) -> str:
        """Return all rows as a table.

        Spread is the slowest turn divided by the fastest; extra MB is the memory that encoding adds.
        """
        lines = [
            "| size | case | way | tokens/s | GFLOP/s | rate, bert = 1 | time, ours = 1 | spread | extra MB |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        rows = sorted(self.rows, key=lambda row: (row["size"] != "small", CASES.index(row["case"])))
        for row in rows:
            case = row["size"], row["case"]
            by_way = {other["way"]: other for other in rows if (other["size"], other["case"]) == case}
            cells = [*case, row["way"], *self._rates(row, by_way), self._memory(row)]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def _rates(self, row: dict[str, Any], by_way: dict[str, dict[str, Any]]) -> list[str]:
        if not row["seconds"]:
            return ["–"] * 5
        seconds = statistics.median(row["seconds"])
        rate = row["flops"] / seconds
        bert, ours = (median_of(by_way.get(way)) for way in ("bert", "ours"))
        return [
            f"{row['tokens'] / seconds:,.0f}",
            f"{rate / 1e9:,.1f}",
            f"{rate / (by_way['bert']['flops'] / bert):.2f}" if bert else "–",
            f"{seconds / ours:.2f}" if ours else "–",
            f"{max(row['seconds']) / min(row['seconds']):.2f}",
        ]

    def _memory(self, row: dict[str, Any]) -> str:
        return f"{row['extra_bytes'] / 1e6:,.0f}" if "extra_bytes" in row else "–"


def median_of(row: dict[str, Any] | None) -> float | None:
    return statistics.median(row["seconds"]) if row and row["seconds"] else None


# ------------------------------------------------------------------------------------------------------------- inputs


def mixed_texts(corpora: Path | None, n_texts: int) -> list[str]:
    """Return real texts of all lengths: sentences, answers and abstracts; without corpora, sentences of the sample."""
    if corpora is None:
        return [str(text) for text in pq.read_table(DEMO)["text"].to_pylist() if text][:n_texts]
    texts: list[str] = []
    for file, column in (
        ("corpus_commonvoice_sentences", "text"),
        ("pairs_medquad", "positive"),
        ("pairs_acl_title_abstract", "positive"),
    ):
        for path in sorted((corpora / "train").glob(f"{file}*.parquet"))[:1]:
            values = pq.read_table(path, columns=[column])[column].to_pylist()
            chosen = np.random.default_rng(0).choice(len(values), -(-n_texts // 3), replace=False)
            texts += [values[row] for row in chosen.tolist()]
    if not texts:
        raise SystemExit(f"{corpora}/train has none of the required files; expected pairs_medquad*.parquet ...")
    return texts


def texts_of(arguments: argparse.Namespace, case: str) -> list[str]:
    """Return the texts of a case, which are all different."""
    if case == "mixed":
        return mixed_texts(arguments.corpora, arguments.mixed_texts)
    if case == "short":
        texts = mixed_texts(arguments.corpora, 2 * arguments.mixed_texts)
        lengths = [len(encoding.ids) for encoding in tokenizer_for(texts).encode_batch(texts)]
        return [text for text, length in zip(texts, lengths, strict=True) if length <= 512]
    words = ["boil", "an", "egg", "in", "cold", "water", "and", "wait"]
    length = int(case)
    rng = np.random.default_rng(length)
    return [" ".join(rng.choice(words, length - 2)) for _ in range(max(1, RUN_TOKENS // length))]


def tokenizer_for(texts: Sequence[str]) -> Tokenizer:
    return train_wordpiece([*texts, "boil an egg in cold water and wait"] * 2, vocab_size=30_000)


# --------------------------------------------------------------------------------------------------------------- ways


def ours(size: str, tokenizer: Tokenizer) -> Encoder:
    encoder = Encoder.from_preset(size, tokenizer, device="cpu")
    for name, weight in encoder.model.named_parameters():
        if name.endswith(("query.weight", "key.weight")):
            torch.nn.init.normal_(weight, std=QK_DEVIATION * weight.shape[1] ** -0.5)
    return encoder


def with_path(encoder: Encoder, path: AttentionPath) -> Callable[[Sequence[str]], object]:
    """Return a function that encodes in the same batches with a given path; texts of one length share one bias."""

    def encode(texts: Sequence[str]) -> object:
        tokens = tokenize(encoder.tokenizer, texts, encoder.max_length)
        with torch.inference_mode():
            for positions in token_batches(tokens.lengths, token_budget=CPU_TOKENS):
                ids, mask = padded([tokens.ids[position] for position in positions], 0)
                mean_pool(encoder.model(ids, mask, path=path), mask)
        return None

    return encode


def bert(size: str, tokenizer: Tokenizer, max_length: int) -> Any:
    """Return a sentence-transformers model with a BERT with the same layers, width and heads."""
    import tempfile

    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    preset = JinaBertConfig.preset(size)
    config = BertConfig(
        vocab_size=-(-tokenizer.get_vocab_size() // 64) * 64,
        hidden_size=preset.hidden_size,
        num_hidden_layers=preset.num_hidden_layers,
        num_attention_heads=preset.num_attention_heads,
        intermediate_size=preset.intermediate_size,
        max_position_embeddings=max(512, max_length),
    )
    with tempfile.TemporaryDirectory() as folder:
        BertModel(config).save_pretrained(folder)
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
        )
        fast.save_pretrained(folder)
        transformer = Transformer(folder, max_seq_length=max_length)
    return SentenceTransformer(modules=[transformer, Pooling(preset.hidden_size)], device="cpu")


def lengths_of(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    return [min(8192, len(encoding.ids)) for encoding in tokenizer.encode_batch(list(texts))]


def way_of(way: str, size: str, texts: Sequence[str]) -> Encode:
    """Return the function that encodes texts in the given way, after a warm-up."""
    tokenizer = tokenizer_for(texts)
    if way == "bert":
        model = bert(size, tokenizer, max(lengths_of(tokenizer, texts)))
        encode: Encode = lambda batch: model.encode(list(batch), show_progress_bar=False)  # noqa: E731
    else:
        encoder = ours(size, tokenizer)
        encode = encoder.encode if way == "ours" else with_path(encoder, "dense" if way == "dense" else "eager")
    encode(["boil an egg"])
    return encode


def ways_of(arguments: argparse.Namespace, texts: Sequence[str]) -> list[str]:
    longest = max(lengths_of(tokenizer_for(texts), texts))
    return [way for way in arguments.ways if way != "eager" or longest <= arguments.eager_tokens]


# ------------------------------------------------------------------------------------------------------- measurements


def flops(size: str, lengths: Sequence[int], *, gated: bool) -> float:
    """Return the operations for texts: 2 for each weight and token, and 4 D S^2 in each layer for attention."""
    config = JinaBertConfig.preset(size)
    d, f, n_layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    weights = n_layers * (4 * d * d + (3 if gated else 2) * d * f)
    return float(sum(2 * weights * length + 4 * n_layers * d * length**2 for length in lengths))


def measure_time(arguments: argparse.Namespace, size: str, case: str, results: Results) -> None:
    """Measure the time of all ways on the texts of a case, in alternation."""
    texts = texts_of(arguments, case)
    lengths = lengths_of(tokenizer_for(texts), texts)
    encoders = {way: way_of(way, size, texts) for way in ways_of(arguments, texts)}
    for _ in range(arguments.turns):
        for way, encode in encoders.items():
            row = results.row(size, case, way)
            row |= {"texts": len(texts), "tokens": sum(lengths), "flops": flops(size, lengths, gated=way != "bert")}
            timed(row, lambda encode=encode: encode(texts))  # type: ignore[misc]
            results.save()


def measure_attention(arguments: argparse.Namespace, size: str, results: Results) -> None:
    """Measure the time of attention on one text, with the construction of the bias; the two ways alternate."""
    if arguments.memory:
        return
    config, length = JinaBertConfig.preset(size), 8192
    n_heads = config.num_attention_heads
    qkv = [torch.randn(1, length, n_heads, config.hidden_size // n_heads) for _ in range(3)]
    mask = torch.ones(1, length, dtype=torch.long)

    def attend(path: AttentionPath) -> None:
        layout = choose_layout(mask, n_heads=n_heads, device=torch.device("cpu"), path=path)
        with torch.inference_mode():
            layout.attend(*(tensor[0] if path == "toeplitz" else tensor for tensor in qkv))

    paths: dict[str, AttentionPath] = {"ours": "toeplitz", "dense": "dense"}
    for _ in range(arguments.turns):
        for way, path in paths.items():
            row = results.row(size, "attention", way)
            row |= {"texts": 1, "tokens": length, "flops": 4.0 * config.hidden_size * length**2}
            timed(row, lambda path=path: attend(path))  # type: ignore[misc]
            results.save()


def timed(row: dict[str, Any], work: Callable[[], object]) -> None:
    row["load"].append(round(os.getloadavg()[0], 1))
    started = time.perf_counter()
    work()
    row["seconds"].append(round(time.perf_counter() - started, 3))
    print(row["size"], row["case"], row["way"], f"{row['seconds'][-1]:.2f} s", file=sys.stderr, flush=True)


def measure_memory(arguments: argparse.Namespace, size: str, case: str, results: Results) -> None:
    """Measure the growth of memory of each way, each in a separate process."""
    for way in ways_of(arguments, texts_of(arguments, case)):
        command = [sys.executable, __file__, "--memory-of", size, way, case, "--threads", str(arguments.threads)]
        command += ["--mixed-texts", str(arguments.mixed_texts)]
        command += ["--corpora", str(arguments.corpora)] if arguments.corpora else []
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results.row(size, case, way)["extra_bytes"] = int(done.stdout.split()[-1])
        results.save()


def memory_growth(arguments: argparse.Namespace, size: str, way: str, case: str) -> int:
    texts = texts_of(arguments, case)
    encode = way_of(way, size, texts)
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak after loading
    before = status_bytes("VmRSS")
    encode(texts)
    return status_bytes("VmHWM") - before


def status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()

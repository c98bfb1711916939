"""Provides small finished runs for the tests of publish, and a Hub server on loopback."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jina_data import Length, Pipeline
from jina_data.negation.prompt import PROMPT_HASH
from jina_data.publish.flow import PublishConfig, PublishReport, publish
from jina_data.publish.hub import RetryPolicy
from jina_data.publish.preview import PublishPreview
from jina_data.run.files import write_json
from tests.support.files import write_jsonl, write_parquet
from tests.support.hub_server import Hub, running

LICENSED = PublishConfig(folder=".", license="cc-by-4.0", verify=False, retry=RetryPolicy(initial_wait_seconds=0.01))


def pair_rows(n_rows: int) -> list[dict[str, Any]]:
    """Return pairs; each fifth pair has the answer of the previous pair."""
    return [
        {
            "id": n,
            "question": f"What is number {n}?",
            "answer": f"It is the number {n - (n % 5 == 4)}.",
            "weight": n / 7,
        }
        for n in range(n_rows)
    ]


def pairs_run(folder: Path, n_rows: int = 20, out_format: str = "parquet") -> Path:
    """Run `clean` over two files of pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = pair_rows(n_rows)
    first_half = write_jsonl(folder / "one.jsonl", rows[: n_rows // 2])
    second_half = write_parquet(folder / "two.parquet", rows[n_rows // 2 :])
    run = folder / f"run-{out_format}"
    Pipeline(Length(min_words=2)).run([first_half, second_half], run, out_format=out_format)
    return run


def table_run(folder: Path, rows: Sequence[Mapping[str, Any]] | pa.Table, **columns: Any) -> Path:
    """Run `clean` over a table; `columns` assigns roles that should not be inferred."""
    folder.mkdir(parents=True, exist_ok=True)
    source = write_parquet(folder / "rows.parquet", rows)
    Pipeline(Length(min_words=1), columns=columns or None).run(source, folder / "run")
    return folder / "run"


def negate_run(folder: Path, sources: Sequence[Mapping[str, Any]], n_rows: int = 12) -> Path:
    """Create the folder of a finished run of `negate`, with `n_rows` rows from each source."""
    run = folder / "negations"
    rows = [
        {
            "id": f"{source['name']}-{n}",
            "anchor": f"A dog number {n} of {source['name']} runs.",
            "entailment": f"An animal number {n} moves.",
            "negative": f"An animal number {n} does not move.",
            "source": source["name"],
            "source_id": str(n),
            "source_license": source["license"],
            "kind": "verbal",
            "generator": "rules",
            "model": "rules-1",
            "prompt_hash": None,
        }
        for source in sources
        for n in range(n_rows)
    ]
    for split, part in {"train": rows[: -len(rows) // 4], "test": rows[-len(rows) // 4 :]}.items():
        full = pa.Table.from_pylist(part).set_column(10, "prompt_hash", pa.nulls(len(part), pa.string()))
        for name, table in {"full": full, "triplet": full.select(["anchor", "entailment", "negative"])}.items():
            path = run / "data" / name / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, path)
    pairs = {"total": len(rows) + 5, "accepted": len(rows), "rejected": 3, "unanswered": 2}
    report = {"pairs": pairs, "reasons": {"low_overlap": 3}, "kinds": {"verbal": {"found": len(rows)}}}
    report |= {
        "cues": {"accuracy": 0.8},
        "requests": {"usd": 1.5},
        "judge": {"usd": 0.25, "model": "a-judge"},
        "warnings": ["beware of dogs"],
    }
    write_json(run / "report.json", report)
    return with_manifest(
        run,
        {
            "kind": "negate",
            "sources": [{**source, "rows": n_rows} for source in sources],
            "versions": {"jina-data": "0.1.0"},
            "models": {"some-model": len(rows)},
            "seed": 0,
            "generator": "llm",
            "prompt": PROMPT_HASH,
        },
    )


def with_manifest(run: Path, manifest: Mapping[str, Any]) -> Path:
    """Write the manifest of a run, with the sizes and hashes of its files."""
    files = sorted(path for path in run.rglob("*") if path.is_file())
    outputs = {
        path.relative_to(run).as_posix(): {
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in files
    }
    write_json(run / "manifest.json", {**manifest, "outputs": outputs})
    return run


@contextmanager
def loopback(patch: pytest.MonkeyPatch, home: Path) -> Iterator[Hub]:
    """Run a Hub server, and direct the clients in this process to it; their waits are recorded in `slept`."""
    import huggingface_hub.constants
    import huggingface_hub.utils._http as http

    with running() as hub:
        for name, value in hub.environment().items():
            patch.setenv(name, value)
        patch.setenv("HF_HOME", str(home))
        patch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        patch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        patch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(home / "token"))
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        patch.setattr(http, "time", SimpleNamespace(sleep=hub.slept.append))
        yield hub


def send(
    run: Path,
    repo_id: str = "me/numbers",
    options: PublishConfig = LICENSED,
    *,
    confirmed: bool = True,
    overwrite: bool = False,
) -> PublishReport:
    """Publish a run with the given confirmation, and return the report."""
    config = replace(options, folder=run)
    report = publish(
        config, repo_id, overwrite=overwrite, confirm=lambda preview: bool(list(preview.lines())) and confirmed
    )
    assert report is not None
    return report


def preview_text(preview: PublishPreview) -> str:
    """Return the preview that the user sees."""
    return "\n".join(preview.lines())


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def tiny_model(folder: Path) -> Path:
    """Save a sentence-transformers model with random weights: one layer, 16 dimensions, letters as tokens."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    parts = folder.with_name("parts")
    parts.mkdir(parents=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (parts / "vocab.txt").write_text("\n".join(tokens) + "\n")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(tokens), max_position_embeddings=64, **sizes)).save_pretrained(parts)
    BertTokenizer(vocab_file=str(parts / "vocab.txt"), model_max_length=64).save_pretrained(parts)
    transformer = Transformer(str(parts))
    SentenceTransformer(modules=[transformer, Pooling(16)], device="cpu").save(str(folder))
    return folder

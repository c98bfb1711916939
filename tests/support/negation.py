"""Pairs, configurations and a client for the tests of the negation dataset."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jina_data.llm.cost import CostLimit
from jina_data.llm.dialect import Endpoint
from jina_data.llm.failures import RequestOutcome
from jina_data.llm.online import OnlineClient
from jina_data.llm.request_ledger import RequestLedger
from jina_data.llm.sender import ClientConfig
from jina_data.negation.answers import read_answer
from jina_data.negation.config import NegateConfig, RequestConfig
from jina_data.negation.pairs import Pair
from jina_data.negation.prompt import Question
from tests.support.files import write_csv
from tests.support.llm_server import LlmServer

NLI_WORDS = "a man is not sitting standing on bench the two dogs bark loudly in park".split()  # noqa: SIM905

SUBJECTS = ["dog", "cat", "horse", "child", "woman", "man", "girl", "boy", "bird", "player", "teacher", "driver"]

EXPECTED = [f"The dog number {number} is not running." for number in range(300)]


SECRET = "sk-test-1234567890abcdef"


class Bench:
    """A ledger and an endpoint, to send questions to a test server."""

    def __init__(self, folder: Path, server: LlmServer, **endpoint: Any) -> None:
        self.endpoint = Endpoint(**{"model": "tiny", "base_url": server.url, **endpoint})
        self.server = server
        self.ledger = RequestLedger(folder / "requests.sqlite")
        self.messages: list[str] = []

    def ask(
        self, prompts: Sequence[Question] | Iterator[Question], cost_limit: CostLimit | None = None, **settings: Any
    ) -> RequestOutcome:
        client = OnlineClient(
            self.endpoint,
            self.ledger,
            ClientConfig(**{"concurrency": 8, **settings}),
            api_key=SECRET,
            cost_limit=cost_limit,
            message=self.messages.append,
        )
        return asyncio.run(client.ask(prompts))

    def negatives(self, n_pairs: int, each: int = 1) -> list[str | None]:
        """Return the stored answers in the order of the pairs."""
        dialect = self.ledger.dialect(self.endpoint.model, self.endpoint.public_url)
        assert dialect is not None
        negatives: list[str | None] = []
        for question in questions(n_pairs, each):
            answer = self.ledger.answer(self.endpoint.request(question, dialect).key)
            assert answer is not None
            negatives += [parsed.negative for parsed in read_answer(answer.content, len(question.pairs), dialect.form)]
        return negatives

    def did(self) -> Counter[str]:
        return Counter(entry["did"] for entry in self.server.log if entry["event"] == "answer")


def questions(n_pairs: int, each: int = 1) -> Iterator[Question]:
    for start in range(0, n_pairs, each):
        places = tuple(range(start, min(start + each, n_pairs)))
        yield Question(places, tuple(map(make_pair, places)), tuple(() for _ in places))


def make_pair(number: int) -> Pair:
    return Pair(
        id=f"p-{number:06d}",
        source="pairs",
        source_id=str(number),
        source_license=None,
        group=str(number),
        split="train",
        anchor=f"A dog with number {number} is running over a green field.",
        entailment=f"The dog number {number} is running.",
        kind="verbal",
    )


def most_in(times: Sequence[float], seconds: float) -> int:
    """Return the maximum number of events in any window of the given length."""
    return max(sum(start <= time < start + seconds for time in times) for start in times)


def make_pairs(path: Path, n_pairs: int) -> str:
    """Write pairs whose entailments have an auxiliary verb; return the source."""
    rows = [
        {
            "anchor": f"In picture {number} a {SUBJECTS[number % 12]} is running over a green field.",
            "entailment": f"The {SUBJECTS[number % 12]} of picture {number} is running.",
        }
        for number in range(n_pairs)
    ]
    write_csv(path, rows)
    return f"pairs={path}"


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in sorted((folder / name).rglob("*.parquet")):
        rows += pq.read_table(path).to_pylist()
    return rows


def options_for(**options: Any) -> RequestConfig:
    return RequestConfig(**{"api_key": SECRET, "poll_seconds": 0.01, **options})


def settings_for(server: LlmServer, source: str, **options: Any) -> NegateConfig:
    return NegateConfig(
        **{"sources": [source], "model": "tiny", "base_url": server.url, "test_fraction": 0.2, **options}
    )


def data_bytes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("data", "rejected", "unanswered")
        for path in sorted((folder / name).rglob("*.parquet"))
    }


def saved(folder: Path, labels: list[str]) -> str:
    """Save a cross-encoder with random weights and the given labels."""
    pytest.importorskip("sentence_transformers")
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *NLI_WORDS]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces))
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizer(vocab_file=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return str(folder)

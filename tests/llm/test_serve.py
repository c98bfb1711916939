"""A server of another project: `transformers serve` with a tiny model of random weights, which writes gibberish."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from jina_data.negation.report import NegateReport
from jina_data.negation.verify import REASONS
from tests.support.cli import jina_data
from tests.support.negation import make_pairs, read

pytestmark = pytest.mark.full

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def save_tiny_model(folder: Path) -> Path:
    """Save a chat model with random weights, and a tokenizer trained on a few sentences."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    text = ["The dog is running over a green field.", "Nobody is sitting in the small red car.", '{}":,[]'] * 20
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<eos>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(text, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(wrapped), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=4096, eos_token_id=0, bos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    # The end token is more likely, so that not every answer is cut off.
    model.lm_head.weight.data[0] *= 25
    model.generation_config.do_sample = True
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of the server, and the name of its model."""
    utils = pytest.importorskip("transformers.utils.import_utils")
    if not (utils.is_serve_available() and utils.is_accelerate_available()):
        pytest.skip("needs the server of transformers: pip install 'transformers[serving]' accelerate")
    model = save_tiny_model(tmp_path_factory.mktemp("tiny"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = "import sys; from transformers.cli.transformers import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "serve", str(model), "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--device", "cpu"], env=environment)
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            assert process.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", str(model)
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize(("structured", "each"), [("auto", "1"), ("text", "1"), ("text", "3"), ("schema", "3")])
def test_gibberish_is_rejected_with_reasons(
    server: tuple[str, str], tmp_path: Path, structured: str, each: str
) -> None:
    url, model = server
    source = make_pairs(tmp_path / "pairs.csv", 12)
    call = jina_data(
        "negate", source, "-o", tmp_path / "run", "--base-url", url, "--model", model, "--structured", structured,
        "--pairs-per-request", each, "--max-tokens", "24", "--param", "temperature=1.0",
        "--concurrency", "2", "--timeout", "120",
    )  # fmt: skip
    assert call.returncode == 1, call.stderr
    assert "no negative was accepted for 12 pairs" in call.stderr
    report = NegateReport.load(tmp_path / "run")
    assert (report.pairs.total, report.pairs.rejected, report.pairs.unanswered) == (12, 12, 0)
    assert set(report.reasons) <= set(REASONS)
    assert report.requests is not None
    assert report.requests["failed"] == 0
    assert {"cut_off"} < set(report.reasons) or each == "3"
    assert report.requests["tokens_out"] > 0
    rows = read(tmp_path / "run", "rejected")
    assert len(rows) == 24  # each pair was requested twice, the second time with the reason
    assert all(row["reason"] and row["model"] for row in rows)

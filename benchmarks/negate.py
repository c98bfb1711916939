"""Measures the request rate of `negate`, compared with a bare loop over the same client, and its memory.

    python benchmarks/negate.py [--requests N] [--concurrency N] [--latency SECONDS] [--repeats N] [--json FILE]
    python benchmarks/negate.py --memory [--requests 100000]

A loopback server in a separate process answers all requests. The bare loop sends the same bodies through the async
openai client, with the same number of concurrent requests, and stores nothing. Both run alternately, several times, and
each ratio compares two consecutive runs. With --memory, the resident memory of this process is sampled during requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from jina_data.llm.completions import make_client
from jina_data.llm.dialect import Dialect, Endpoint
from jina_data.llm.online import OnlineClient
from jina_data.llm.request_ledger import RequestLedger
from jina_data.llm.sender import ClientConfig
from jina_data.negation.pairs import Pair
from jina_data.negation.prompt import Question
from jina_data.run.memory import held_bytes

SERVER = Path(__file__).parent.parent / "tests" / "support" / "llm_server.py"


def questions(n_pairs: int) -> Iterator[Question]:
    """Yield questions about different pairs."""
    for number in range(n_pairs):
        pair = Pair(
            id=f"p-{number}",
            source="pairs",
            source_id=str(number),
            source_license=None,
            group=str(number),
            split="train",
            anchor=f"In picture {number} a man in a red shirt is running over a green field with his dog.",
            entailment=f"The man of picture {number} is running.",
            kind="verbal",
        )
        yield Question((number,), (pair,), ((),))


@contextmanager
def serving(latency: float) -> Iterator[str]:
    """Run the server without a log, and yield its URL."""
    settings = json.dumps({"quiet": True, "latency_seconds": latency})
    command = [sys.executable, str(SERVER), "--settings", settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def bare(endpoint: Endpoint, n_requests: int, concurrency: int) -> float:
    """Send all requests in a bare loop; return requests per second."""
    bodies = (dict(endpoint.request(question, Dialect()).body) for question in questions(n_requests))

    async def work(client: Any) -> None:
        for body in bodies:
            model, messages = body.pop("model"), body.pop("messages")
            completion = await client.chat.completions.create(model=model, messages=messages, extra_body=body)
            assert completion.choices[0].message.content

    async with make_client(endpoint, None, 60.0) as client:
        started = time.perf_counter()
        await asyncio.gather(*(work(client) for _ in range(concurrency)))
        return n_requests / (time.perf_counter() - started)


def ours(endpoint: Endpoint, n_requests: int, concurrency: int, path: Path) -> float:
    """Send all questions with the ledger; return requests per second."""
    with RequestLedger(path) as ledger:
        client = OnlineClient(endpoint, ledger, ClientConfig(concurrency=concurrency))
        started = time.perf_counter()
        outcome = asyncio.run(client.ask(questions(n_requests)))
        seconds = time.perf_counter() - started
    assert (outcome.answered, outcome.failed) == (n_requests, 0)
    return n_requests / seconds


@dataclass(frozen=True)
class Rates:
    """Requests per second in each repeat."""

    concurrency: int
    latency_seconds: float
    bare: list[float]
    ours: list[float]

    @property
    def ratios(self) -> list[float]:
        """The rate of jina-data divided by the rate of the bare loop before it."""
        return [rate / bare_rate for rate, bare_rate in zip(self.ours, self.bare, strict=True)]


def measure_rates(n_requests: int, concurrency: int, latency: float, repeats: int) -> Rates:
    """Measure both alternately."""
    rates = Rates(concurrency, latency, [], [])
    with serving(latency) as url, tempfile.TemporaryDirectory() as scratch:
        endpoint = Endpoint(model="tiny", base_url=url)
        asyncio.run(bare(endpoint, min(500, n_requests), concurrency))  # warm up
        for number in range(repeats):
            rates.bare.append(asyncio.run(bare(endpoint, n_requests, concurrency)))
            rates.ours.append(ours(endpoint, n_requests, concurrency, Path(scratch) / f"{number}.sqlite"))
    return rates


def measure_memory(n_requests: int, concurrency: int) -> list[tuple[int, float]]:
    """Return about twenty samples: the number of requests, and the resident memory in MiB."""
    samples: list[tuple[int, float]] = []
    n_sent = 0

    def watched() -> Iterator[Question]:
        nonlocal n_sent
        for question in questions(n_requests):
            n_sent += 1
            if n_sent % (n_requests // 20) == 0:
                samples.append((n_sent, held_bytes(os.getpid()) / 2**20))
                print(f"{n_sent:>9,} requests {samples[-1][1]:8.1f} MiB", flush=True)
            yield question

    with (
        serving(0.0) as url,
        tempfile.TemporaryDirectory() as scratch,
        RequestLedger(Path(scratch) / "requests.sqlite") as ledger,
    ):
        client = OnlineClient(Endpoint(model="tiny", base_url=url), ledger, ClientConfig(concurrency=concurrency))
        outcome = asyncio.run(client.ask(watched()))
    assert (outcome.answered, outcome.failed) == (n_requests, 0)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--latency", type=float, default=0.0, help="delay of the server before it answers, in seconds")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="measure memory instead of speed")
    parser.add_argument("--json", type=Path, help="also write the numbers to this JSON file")
    args = parser.parse_args()

    about = {"cores": os.cpu_count(), "machine": platform.machine(), "openai": metadata.version("openai")}
    result: dict[str, Any] = {"requests": args.requests, "load": os.getloadavg()[0], **about}
    if args.memory:
        samples = measure_memory(args.requests, args.concurrency)
        half = len(samples) // 2
        early, late = (statistics.median(mib for _, mib in part) for part in (samples[1:half], samples[half:]))
        print(f"median of the first half {early:.1f} MiB, of the second {late:.1f} MiB")
        result |= {"memory_mib": samples}
    else:
        rates = measure_rates(args.requests, args.concurrency, args.latency, args.repeats)
        print("| bare loop, requests/s | jina-data, requests/s | ratio |\n| ---: | ---: | ---: |")
        for bare_rate, rate, ratio in zip(rates.bare, rates.ours, rates.ratios, strict=True):
            print(f"| {bare_rate:,.0f} | {rate:,.0f} | {ratio:.2f} |")
        print(f"median ratio {statistics.median(rates.ratios):.2f}")
        result |= {**asdict(rates), "ratios": rates.ratios}
    print(json.dumps(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

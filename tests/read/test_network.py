"""Messages about networks and servers: closed ports, unknown hosts, statuses of a loopback server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from jina_data.errors import InputError
from jina_data.read import resolve_inputs
from jina_data.read.network import network_problem

pytest.importorskip("aiohttp")


class Answers(BaseHTTPRequestHandler):
    """Answers every request with the status in its path: /404/rows.jsonl."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 (the name in http.server)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def message_of(name: str) -> str:
    with pytest.raises(InputError) as raised:
        resolve_inputs([name])
    assert str(raised.value).startswith(f"{name}: ")
    return str(raised.value).removeprefix(f"{name}: ")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "the server asks for credentials (401). Check the URL and your credentials"),
        (403, "access is denied (403). Check the URL and your credentials"),
        (500, "the server reports an error of its own (500). Try again later"),
        (503, "the server reports an error of its own (503). Try again later"),
        (429, "the server refuses more requests for now (429). Try again later"),
    ],
)
def test_statuses(server: str, status: int, expected: str) -> None:
    assert message_of(f"{server}/{status}/rows.jsonl").startswith(expected)


def test_a_missing_file(server: str) -> None:
    assert message_of(f"{server}/404/rows.jsonl").startswith(
        ("there is no such file on the server (404)", "no such file")
    )


def test_a_closed_port_is_not_a_missing_file() -> None:
    message = message_of(f"http://127.0.0.1:{closed_port()}/rows.jsonl")
    assert message.startswith("the server refuses the connection. Check the network and any proxy")
    assert "no such file" not in message


def test_an_unknown_host() -> None:
    assert message_of("https://no-such-host.invalid/rows.jsonl").startswith("the name of the server cannot be resolved")


class OfflineModeIsEnabled(ConnectionError):  # noqa: N818 (the name in huggingface_hub)
    """Named as the error of huggingface_hub."""


class GatedRepoError(Exception):
    """Named as the error of huggingface_hub."""


class DatasetNotFoundError(FileNotFoundError):
    """Named as the error of datasets."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OfflineModeIsEnabled("x"), "the Hub is off, because HF_HUB_OFFLINE is set. Unset it"),
        (ConnectionError("Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)"), "the Hub is off"),
        (GatedRepoError("x"), "the dataset is gated. To get access, log in with `hf auth login`"),
        (DatasetNotFoundError("x"), "the Hub has no such dataset, or it is private. Check its name"),
        (ConnectionError("Couldn't reach 'a/b' on the Hub (LocalEntryNotFoundError)"), "the server cannot be reached."),
        (TimeoutError("The read operation timed out"), "the server does not answer in time"),
    ],
)
def test_errors_of_the_hub(error: Exception, expected: str) -> None:
    problem = network_problem(error, "datasets:a/b")
    assert problem is not None
    assert problem.startswith(expected)


def test_other_errors_are_no_matter_of_the_network() -> None:
    assert network_problem(ValueError("bad split"), "datasets:a/b") is None
    assert network_problem(FileNotFoundError("x"), "s3://bucket/x.jsonl") is None

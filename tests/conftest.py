"""What all tests share: the real data, the long tests' switch, and writers of small inputs."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import settings

# `make check` draws the same examples each time; the long suites draw new ones.
settings.register_profile("check", derandomize=True)
settings.load_profile("default" if os.environ.get("JINA_DATA_FULL") else "check")


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands under test: what a shell starts in the background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Leave out the long tests, unless JINA_DATA_FULL asks for them."""
    if os.environ.get("JINA_DATA_FULL"):
        return
    for item in items:
        if item.get_closest_marker("full"):
            item.add_marker(pytest.mark.skip(reason="long; set JINA_DATA_FULL=1 to run it (make check-full)"))


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of the real data, with train/ and eval/."""
    named = os.environ.get("JINA_DATA_CORPORA")
    if not named:
        pytest.skip("needs the real data: set JINA_DATA_CORPORA to the folder that holds train/ and eval/")
    folder = Path(named)
    if not (folder / "train").is_dir():
        pytest.fail(f"JINA_DATA_CORPORA is {named}, which has no train/; expected the folder of the real data")
    return folder

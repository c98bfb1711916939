"""Load a published repository back at its commit, into a cache that knows nothing, and count what arrived.

`python -m jina_data.publish.readback` is the process that does it: where the Hub's client keeps its files is settled
once in a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jina_data.errors import HubError
from jina_data.publish.checksum import Checksum
from jina_data.publish.facts import file_sha256
from jina_data.publish.hub import PASSING, may_pass
from jina_data.publish.repository import Repository
from jina_data.run.files import remove

BATCH_ROWS = 1000


LOADS = 3
"""How often loading back is tried where what went wrong may pass; the client does not repeat downloads itself."""


def check_arrived(repository: Repository, commit: str, work: Path, wait_seconds: float = 1.0) -> None:
    """Load everything back at a commit, and compare rows and checksums with what was sent.

    Raises:
        HubError: it cannot be loaded, or something differs.
    """
    cache = work / "cache"
    remove(cache)
    order = {
        "repo_id": repository.repo_id,
        "repo_type": repository.repo_type,
        "commit": commit,
        "configs": [config.name for config in repository.configs],
        "cache": str(cache),
    }
    try:
        for load in range(LOADS):
            arrived = _in_fresh_process(order, cache)
            if not arrived.pop("passing", ""):
                break
            time.sleep(wait_seconds * 2**load)
    finally:
        remove(cache)
    again = "give the same command again: it sends nothing twice, and looks once more"
    if "error" in arrived:
        raise HubError(
            f"published as commit {commit}, but it could not be loaded back: {arrived['error']}. Then {again}"
        )
    sent = _sent(repository)
    for name in {**sent, **arrived}:
        if sent.get(name) != arrived.get(name):
            raise HubError(
                f"published as commit {commit}, but {name} came back as {arrived.get(name, 'nothing')}, and was sent "
                f"as {sent.get(name, 'nothing')}. Do not use this commit; {again}"
            )


def _sent(repository: Repository) -> dict[str, str]:
    """Return what has to come back: rows and checksum of each split, or the sha256 of each file of a model."""
    if repository.repo_type == "model":
        return {file.path: file.sha256 for file in repository.files}
    return {
        f"{config.name} {split.name}": f"{split.rows} rows {split.checksum}"
        for config in repository.configs
        for split in config.splits
    }


def _in_fresh_process(order: Mapping[str, Any], cache: Path) -> dict[str, str]:
    caches = {
        "HF_HUB_CACHE": cache / "hub",
        "HF_DATASETS_CACHE": cache / "datasets",
        "HF_XET_CACHE": cache / "xet",
        "HF_MODULES_CACHE": cache / "modules",
    }
    environment = {**os.environ, **{name: str(path) for name, path in caches.items()}}
    environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "jina_data.publish.readback"],
        input=json.dumps(order),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1:]
    try:
        found: dict[str, str] = json.loads(last[0])
    except (IndexError, ValueError):
        told = done.stderr.strip().splitlines()[-1:] or [f"the process ended with status {done.returncode}"]
        return {"error": told[0]}
    return found


def load_back(order: Mapping[str, Any]) -> dict[str, str]:
    """Load what an order names, and return rows and checksum of each split, or the sha256 of each file."""
    if order["repo_type"] == "model":
        return _load_model(order)
    from datasets import load_dataset

    found = {}
    for at, config in enumerate(order["configs"]):
        # The first one is the default: it has to come without being named.
        names = [] if at == 0 else [config]
        splits = load_dataset(order["repo_id"], *names, revision=order["commit"])
        for split, rows in splits.items():
            checksum = Checksum()
            for table in rows.with_format("arrow").iter(batch_size=BATCH_ROWS):
                checksum.add(table)
            found[f"{rows.info.config_name} {split}"] = f"{checksum.rows} rows {checksum.hexdigest()}"
    return found


def _load_model(order: Mapping[str, Any]) -> dict[str, str]:
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(order["repo_id"], revision=order["commit"]))
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: file_sha256(path) for name, path in files.items() if name != ".gitattributes"}


def _told(error: BaseException) -> dict[str, str]:
    """Return in one line what an error goes back to, and whether it may pass."""
    while error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__):
        error = error.__cause__ or error.__context__ or error
    status = getattr(getattr(error, "response", None), "status_code", None)
    passes = status in PASSING if status is not None else may_pass(error)
    told = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    return {**told, "passing": "yes"} if passes else told


def main() -> None:
    """Read an order from standard input, and write what was found as the last line of standard output."""
    try:
        found = load_back(json.load(sys.stdin))
    except Exception as error:
        found = _told(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

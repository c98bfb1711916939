"""Verifies an upload: loads the repository at its commit into an empty cache, and compares rows and checksums.

Loading runs in a new process, `python -m jina_data.publish.readback`, because the client of the Hub reads the location
of its cache only once in a process.
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
from jina_data.publish.hub import TRANSIENT_STATUSES, is_transient
from jina_data.publish.repository import Repository
from jina_data.run.files import remove, sha256_of

BATCH_ROWS = 1000

LOADS = 3
"""Maximum number of attempts to load after transient errors; the client does not retry downloads."""


def verify_upload(repository: Repository, commit: str, work: Path, wait_seconds: float = 1.0) -> None:
    """Load a repository at a commit, and compare its rows and checksums with those of the upload.

    Raises:
        HubError: the repository cannot be loaded, or its content differs.
    """
    cache = work / "cache"
    remove(cache)
    request = {
        "repo_id": repository.repo_id,
        "repo_type": repository.repo_type,
        "commit": commit,
        "configs": [config.name for config in repository.configs],
        "cache": str(cache),
    }
    try:
        for load in range(LOADS):
            loaded = _load_in_new_process(request, cache)
            if not loaded.pop("transient", ""):
                break
            time.sleep(wait_seconds * 2**load)
    finally:
        remove(cache)
    advice = "run the same command again: it uploads nothing twice and verifies again"
    if "error" in loaded:
        raise HubError(
            f"published as commit {commit}, but it could not be loaded: {loaded['error']}. To verify it, {advice}"
        )
    expected = _expected_content(repository)
    for name in {**expected, **loaded}:
        if expected.get(name) != loaded.get(name):
            raise HubError(
                f"published as commit {commit}, but {name} was loaded as {loaded.get(name, 'nothing')}; expected "
                f"{expected.get(name, 'nothing')}. Do not use this commit; {advice}"
            )


def _expected_content(repository: Repository) -> dict[str, str]:
    """Return the expected content: rows and checksum of each split, or the sha256 of each file of a model."""
    if repository.repo_type == "model":
        return {file.path: file.sha256 for file in repository.files}
    return {
        f"{config.name} {split.name}": f"{split.rows} rows {split.checksum}"
        for config in repository.configs
        for split in config.splits
    }


def _load_in_new_process(request: Mapping[str, Any], cache: Path) -> dict[str, str]:
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
        input=json.dumps(request),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    last_line = done.stdout.strip().splitlines()[-1:]
    try:
        loaded: dict[str, str] = json.loads(last_line[0])
    except (IndexError, ValueError):
        messages = done.stderr.strip().splitlines()[-1:] or [f"the process ended with status {done.returncode}"]
        return {"error": messages[0]}
    return loaded


def load_content(request: Mapping[str, Any]) -> dict[str, str]:
    """Load the repository of a request; return rows and checksum of each split, or the sha256 of each file."""
    if request["repo_type"] == "model":
        return _load_model(request)
    from datasets import load_dataset

    content = {}
    for number, config in enumerate(request["configs"]):
        # The first config is the default config; it must load without its name.
        names = [] if number == 0 else [config]
        splits = load_dataset(request["repo_id"], *names, revision=request["commit"])
        for split, rows in splits.items():
            checksum = Checksum()
            for table in rows.with_format("arrow").iter(batch_size=BATCH_ROWS):
                checksum.add(table)
            content[f"{rows.info.config_name} {split}"] = f"{checksum.rows} rows {checksum.hexdigest()}"
    return content


def _load_model(request: Mapping[str, Any]) -> dict[str, str]:
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(request["repo_id"], revision=request["commit"]))
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: sha256_of(path) for name, path in files.items() if name != ".gitattributes"}


def _error_content(error: BaseException) -> dict[str, str]:
    """Return the root cause of an error in one line, and whether a retry may resolve it."""
    while error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__):
        error = error.__cause__ or error.__context__ or error
    status = getattr(getattr(error, "response", None), "status_code", None)
    may_retry = status in TRANSIENT_STATUSES if status is not None else is_transient(error)
    content = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    return {**content, "transient": "yes"} if may_retry else content


def main() -> None:
    """Read a request from standard input, and write the content as the last line of standard output."""
    try:
        content = load_content(json.load(sys.stdin))
    except Exception as error:
        content = _error_content(error)
    print(json.dumps(content))


if __name__ == "__main__":
    main()

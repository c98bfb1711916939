"""Describes a branch on the Hub, and compares it with a local repository."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jina_data.errors import HubError
from jina_data.publish.repository import RepoFile, Repository

SHARD = re.compile(r"[\w.-]+/\w+-\d{5}-of-\d{5}\.parquet")
"""The path of a shard. Shards of an earlier upload that are no longer part of the dataset are deleted."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on the Hub: its size, the sha256 of a large file (LFS), and the git hash."""

    size: int
    sha256: str | None
    blob_id: str


@dataclass(frozen=True)
class Remote:
    """The state of a branch; `head` is None if the branch or the repository does not exist."""

    exists: bool = False
    is_private: bool = False
    head: str | None = None
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """The paths that a commit adds and deletes."""

    add: Sequence[str]
    delete: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.add or self.delete)


def compare(repository: Repository, remote: Remote) -> Changes:
    """Return the changes that make a branch hold the repository. Remote files that are not shards stay."""
    local_files = {file.path: file for file in repository.files}
    add = [
        path
        for path, file in local_files.items()
        if not _is_same(repository.folder / path, file, remote.files.get(path))
    ]
    stale = [path for path in remote.files if SHARD.fullmatch(path) and path not in local_files]
    return Changes(add, stale if repository.repo_type == "dataset" else [])


def _is_same(path: Path, local: RepoFile, remote: RemoteFile | None) -> bool:
    if remote is None or remote.size != local.size:
        return False
    if remote.sha256 is not None:
        return bool(remote.sha256 == local.sha256)
    content = path.read_bytes()  # a small file: git hashes a header and the content
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == remote.blob_id


def check_conflict(checked: Remote, current: Remote, changes: Changes) -> None:
    """Make sure that no other user changed a file of the commit since the branch was checked.

    Raises:
        HubError: a file that the commit adds or deletes has changed.
    """
    if current.head == checked.head:
        return
    for path in (*changes.add, *changes.delete):
        if checked.files.get(path) != current.files.get(path):
            raise HubError(
                f"{path} was changed on the Hub by another user in the meantime. Check it there; to replace it, run "
                "the same command again"
            )

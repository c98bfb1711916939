"""A branch on the Hub as it stands, and what has to change for it to hold a repository."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jina_data.errors import HubError
from jina_data.publish.repository import RepoFile, Repository

SHARD = re.compile(r"[\w.-]+/\w+-\d{5}-of-\d{5}\.parquet")
"""What the shards of an earlier publish are called; those that are no longer part of the data set go."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on the Hub: the sha256 of a large one, the git hash of a small one."""

    size: int
    sha256: str | None
    blob_id: str


@dataclass(frozen=True)
class Remote:
    """A branch of a repository as it stands; `head` is None where the branch or the repository is not there yet."""

    exists: bool = False
    is_private: bool = False
    head: str | None = None
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """What a commit has to add and to delete."""

    add: Sequence[str]
    delete: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.add or self.delete)


def compare(repository: Repository, remote: Remote) -> Changes:
    """Return what has to change for a branch to hold the repository; files that are nobody's shards stay."""
    wanted = {file.path: file for file in repository.files}
    add = [
        path for path, file in wanted.items() if not _is_same(repository.folder / path, file, remote.files.get(path))
    ]
    stale = [path for path in remote.files if SHARD.fullmatch(path) and path not in wanted]
    return Changes(add, stale if repository.repo_type == "dataset" else [])


def _is_same(path: Path, ours: RepoFile, theirs: RemoteFile | None) -> bool:
    if theirs is None or theirs.size != ours.size:
        return False
    if theirs.sha256 is not None:
        return bool(theirs.sha256 == ours.sha256)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == theirs.blob_id


def refuse_conflict(known: Remote, now: Remote, changes: Changes) -> None:
    """Refuse to overwrite what somebody else changed since the user was shown what will happen.

    Raises:
        HubError: a file that the commit touches is not as it was.
    """
    if now.head == known.head:
        return
    for path in (*changes.add, *changes.delete):
        if known.files.get(path) != now.files.get(path):
            raise HubError(
                f"somebody else changed {path} on the Hub meanwhile. Look at it there, and give the same command again "
                "to replace it"
            )

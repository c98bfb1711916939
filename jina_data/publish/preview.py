"""Formats the preview that the user confirms before the upload: repository, size, changes and warnings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jina_data.publish.remote import Remote, compare
from jina_data.publish.repository import Repository


@dataclass(frozen=True)
class PublishPreview:
    """The preview of an upload: destination, visibility, repository, and the state of the branch."""

    url: str
    branch: str
    repository: Repository
    remote: Remote
    private: bool

    @property
    def is_public(self) -> bool:
        """Whether the repository is or will be public."""
        return not (self.remote.is_private if self.remote.exists else self.private)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the preview."""
        state = "exists" if self.remote.exists else "new"
        visibility = "PUBLIC: visible to everyone" if self.is_public else "private"
        yield f"repository  {self.url} ({state}, {visibility})"
        yield from size_lines(self.repository)
        changes = compare(self.repository, self.remote)
        deleted = f", deletes {len(changes.delete)}" if changes.delete else ""
        yield f"commit      to {self.branch}: {len(changes.add)} of {len(self.repository.files)} files differ{deleted}"
        yield from warning_lines(self.repository)


def size_lines(repository: Repository) -> Iterator[str]:
    """Yield lines with the configs, the license and the size of a repository."""
    for config in repository.configs:
        splits = ", ".join(f"{split.name} {split.rows:,}" for split in config.splits)
        yield f"{config.name:<11} {splits} rows: {', '.join(config.columns)}"
    yield f"license     {', '.join(repository.licenses)}"
    yield f"size        {format_size(repository.n_bytes)} in {len(repository.files)} files"


def warning_lines(repository: Repository) -> Iterator[str]:
    """Yield lines with the notes and findings of a repository."""
    for note in repository.notes:
        yield f"note        {note}"
    for finding in repository.findings:
        yield f"WARNING     {finding}"


def format_size(n_bytes: float) -> str:
    """Return a number of bytes with a unit."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"

"""What the user is shown before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jina_data.publish.remote import Remote, compare
from jina_data.publish.repository import Repository


@dataclass(frozen=True)
class PublishPlan:
    """What will be sent where, and who can see it."""

    url: str
    branch: str
    repository: Repository
    remote: Remote
    private: bool

    @property
    def is_public(self) -> bool:
        """Whether everybody will see it."""
        return not (self.remote.is_private if self.remote.exists else self.private)

    def lines(self) -> Iterator[str]:
        """Yield what the user is shown, line by line."""
        state = "there already" if self.remote.exists else "new"
        seen = "PUBLIC: everybody can see it" if self.is_public else "private"
        yield f"repository  {self.url} ({state}, {seen})"
        yield from size_lines(self.repository)
        changes = compare(self.repository, self.remote)
        deleted = f", deletes {len(changes.delete)}" if changes.delete else ""
        yield f"commit      to {self.branch}: {len(changes.add)} of {len(self.repository.files)} files differ{deleted}"
        yield from warning_lines(self.repository)


def size_lines(repository: Repository) -> Iterator[str]:
    """Yield what a repository holds."""
    for config in repository.configs:
        splits = ", ".join(f"{split.name} {split.rows:,}" for split in config.splits)
        yield f"{config.name:<11} {splits} rows: {', '.join(config.columns)}"
    yield f"licence     {', '.join(repository.licenses)}"
    yield f"size        {shown_bytes(repository.n_bytes)} in {len(repository.files)} files"


def warning_lines(repository: Repository) -> Iterator[str]:
    """Yield what the user should look at first."""
    for note in repository.notes:
        yield f"note        {note}"
    for finding in repository.findings:
        yield f"WARNING     {finding}"


def shown_bytes(n_bytes: float) -> str:
    """Return a size for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"

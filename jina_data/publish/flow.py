"""Publish a finished run: build its repository, show what goes public, commit it, and look at what arrived."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from jina_data.errors import HubError, RunFolderError, UsageError
from jina_data.progress import Progress, Quiet
from jina_data.publish.card import LICENSE_FILE, MARK, CardInput, license_page, render_card
from jina_data.publish.facts import WORK_NAME, Publishable
from jina_data.publish.hub import Hub, Patience, check_repo_id, require_packages
from jina_data.publish.licenses import Licence, check_license, combine, find_source, settle_licenses
from jina_data.publish.model_folder import TrainedModel, build_model
from jina_data.publish.open import open_folder
from jina_data.publish.preview import PublishPlan
from jina_data.publish.readback import check_arrived
from jina_data.publish.remote import Changes, Remote, compare
from jina_data.publish.repository import (
    CARD,
    RECIPE,
    Cut,
    Repository,
    build_shards,
    clear,
    list_files,
    save,
)
from jina_data.run.files import remove, resource_errors
from jina_data.run.folder import file_lock

RECORD = "built.json"
"""Says that the repository in the work folder is whole, and what it was made of."""


@dataclass(frozen=True, kw_only=True)
class PublishConfig:
    """The finished run or model to publish, and how it is published; see docs/publish.md."""

    folder: str | Path
    license: str | None = None
    source_licenses: Mapping[str, str] | None = None
    excluded_sources: Sequence[str] = ()
    test_size: float | None = None
    seed: int = 0
    shard_bytes: int = 500_000_000
    private: bool = False
    revision: str | None = None
    tag: str | None = None
    verify: bool = True
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class PublishReport:
    """Where something was published, and whether that took a commit."""

    url: str
    commit: str
    is_new: bool
    repository: Repository


def write_repository(
    config: PublishConfig, repo_id: str, target: str | Path, *, progress: Progress | None = None
) -> Repository:
    """Write the repository that `publish` would send to a new folder, and send nothing.

    Raises:
        JinaDataError: the run, the licences or the folder cannot be used; see `jina_data.errors`.
    """
    require_packages()
    check_repo_id(repo_id)
    run, out = open_folder(config.folder), Path(target)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(f"{out} is there already, and not an empty folder; name a new one")
    half = out.absolute().with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with resource_errors(out.absolute().parent):
            repository = _build(run, repo_id, half / "repo", half, config=config, progress=progress or Quiet())
        if out.is_dir():
            out.rmdir()
        (half / "repo").rename(out)
    finally:
        remove(half)
    return Repository.from_json(out, repository.to_json())


def publish(
    config: PublishConfig,
    repo_id: str,
    *,
    overwrite: bool = False,
    confirm: Callable[[PublishPlan], bool] | None = None,
    progress: Progress | None = None,
) -> PublishReport | None:
    """Publish a finished run or model to the Hugging Face Hub.

    Args:
        config: what is published, and how.
        repo_id: the repository, as NAMESPACE/NAME.
        overwrite: replace the card and shards of a repository that jina-data did not write.
        confirm: called with what will be sent; nothing is sent unless it returns true. None: no confirmation.
        progress: where progress is reported.

    Returns:
        Where it was published; None if `confirm` returned false.

    Raises:
        JinaDataError: the run, the licences or the Hub cannot be used; see `jina_data.errors`.
    """
    progress = progress or Quiet()
    require_packages()
    check_repo_id(repo_id)
    folder = Path(config.folder)
    run = open_folder(folder)
    repo_type = "model" if isinstance(run, TrainedModel) else "dataset"
    hub = Hub.connect(repo_id, repo_type, branch=config.revision, patience=config.patience, progress=progress)
    with resource_errors(folder), _work_folder(folder) as work:
        repository = _built(run, repo_id, work, config=config, progress=progress)
        remote = hub.look()
        changes = compare(repository, remote)
        _refuse(hub, remote, changes, config, overwrite, work)
        if (
            (changes or remote.head is None)
            and confirm is not None
            and not confirm(PublishPlan(hub.url, hub.branch, repository, remote, config.private))
        ):
            (work / RECORD).unlink()
            return None
        remote = hub.create(private=config.private, remote=remote)
        commit = hub.commit(repository, remote, message=f"Publish with jina-data {metadata.version('jina-data')}")
        if config.tag is not None:
            hub.tag(config.tag, commit)
        if config.verify:
            progress.message(f"loading {repo_id} back at {commit[:12]} ...")
            check_arrived(repository, commit, work, config.patience.first_seconds)
        (work / RECORD).unlink()
    return PublishReport(hub.url, commit, bool(changes), repository)


def _refuse(hub: Hub, remote: Remote, changes: Changes, config: PublishConfig, overwrite: bool, work: Path) -> None:
    """Refuse what would surprise: a public repository for private data, somebody else's data set, a tag that moves.

    Raises:
        HubError: one of these.
    """
    if config.private and remote.exists and not remote.is_private:
        raise HubError(
            f"{hub.repo_id} is public already, so --private cannot keep it from view. Make it private in its "
            f"settings, {hub.url}/settings, and give the same command again"
        )
    at = remote.tags.get(config.tag or "")
    if at is not None and (changes or at != remote.head):
        raise HubError(f"{hub.repo_id} has a tag {config.tag} on another commit; choose another --tag")
    if overwrite or remote.head is None or not changes or CARD not in remote.files:
        return
    from huggingface_hub import RepoCard

    card = RepoCard(hub.read_text(CARD, remote.head, work), ignore_metadata_errors=True)
    if MARK not in (card.data.get("tags") or ()):
        raise HubError(
            f"{hub.repo_id} was not written by jina-data: its card has no tag {MARK!r}. --overwrite replaces its card "
            "and shards, and keeps its history"
        )


@contextlib.contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """Hold the folder in which a repository waits: inside the run, so that the next call finds it.

    Raises:
        RunFolderError: another process publishes this run.
    """
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    is_ours = os.access(folder, os.W_OK)
    work = folder / WORK_NAME if is_ours else Path(tempfile.gettempdir()) / f"jina-data-publish-{name}"
    busy = f"another process is publishing {folder}; wait for it"
    with file_lock(work, busy=busy, failed=f"{work} cannot be written"):
        try:
            yield work
        finally:
            # What is whole and not yet sent stays for the next call.
            if not (work / RECORD).exists():
                remove(work)


def _built(
    run: Publishable | TrainedModel, repo_id: str, work: Path, *, config: PublishConfig, progress: Progress
) -> Repository:
    """Return the repository in the work folder: as an earlier call left it, if it is of the same run and settings."""
    record, target = work / RECORD, work / "repo"
    fingerprint = _fingerprint(run, repo_id, config)
    if record.exists():
        known = json.loads(record.read_text(encoding="utf-8"))
        if known["fingerprint"] == fingerprint:
            repository = Repository.from_json(target, known["repository"])
            if list_files(target) == repository.files:
                progress.message("the repository is built already; going on")
                return repository
    record.unlink(missing_ok=True)
    repository = _build(run, repo_id, target, work, config=config, progress=progress)
    save(repository, record, fingerprint)
    return repository


def _fingerprint(run: Publishable | TrainedModel, repo_id: str, config: PublishConfig) -> str:
    values = {name: value for name, value in asdict(config).items() if name not in LATER_OPTIONS}
    versions = {name: metadata.version(name) for name in ("jina-data", "pyarrow", "datasets", "huggingface-hub")}
    return hashlib.sha256(json.dumps([run.fingerprint, repo_id, values, versions], default=str).encode()).hexdigest()


LATER_OPTIONS = ("folder", "private", "revision", "tag", "verify", "patience")
"""Options that change nothing in the repository."""


def _build(
    run: Publishable | TrainedModel,
    repo_id: str,
    target: Path,
    work: Path,
    *,
    config: PublishConfig,
    progress: Progress,
) -> Repository:
    clear(target)
    if isinstance(run, TrainedModel):
        return build_model(run, repo_id, target, license_id=config.license)
    licence, cut = _decide(run, config)
    built = build_shards(run, target, work, cut, progress)
    excluded = [source for source in run.sources() if source.shown in cut.excluded]
    card = CardInput(repo_id, run.facts(), built, licence, excluded)
    texts = {CARD: render_card(card), RECIPE: card.facts.recipe}
    texts |= {LICENSE_FILE: license_page(licence)} if licence.ids == ("other",) else {}
    for name, text in texts.items():
        if text:
            (target / name).write_text(text, encoding="utf-8")
    return Repository(
        folder=target,
        repo_type="dataset",
        repo_id=repo_id,
        files=list_files(target),
        configs=built.configs,
        licenses=licence.ids,
        findings=built.seen.scan.lines(),
        notes=[*built.notes, *licence.warnings],
    )


def _decide(run: Publishable, config: PublishConfig) -> tuple[Licence, Cut]:
    """Settle which rows go up, and under which licence.

    Raises:
        JinaDataError: a source is not there, or its licence does not allow it.
    """
    sources = run.sources()
    if not sources:
        raise RunFolderError(f"{run.folder} kept no row: there is nothing to publish. Look at why in its report")
    if config.test_size is not None and len(run.splits) > 1:
        raise UsageError("--test-size: the run has a test of its own; leave the option out")
    excluded = {find_source(name, sources, "--exclude-source").shown for name in config.excluded_sources}
    licenses = settle_licenses(sources, config.source_licenses or {})
    decided = check_license(config.license, "--license") if config.license is not None else None
    left = [one for one in licenses if one.source.shown not in excluded]
    if not left:
        raise RunFolderError(f"{run.folder}: --exclude-source leaves out all sources; there is nothing to publish")
    cut = Cut(excluded=sorted(excluded), test_size=config.test_size, seed=config.seed, shard_bytes=config.shard_bytes)
    return combine(left, decided), cut

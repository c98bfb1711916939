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
from jina_data.publish.preview import Plan
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
class PublishOptions:
    """How something is published; see docs/publish.md."""

    license: str | None = None
    source_licenses: Mapping[str, str] | None = None
    excluded_sources: Sequence[str] = ()
    test_size: float | None = None
    seed: int = 0
    shard_bytes: int = 500_000_000
    private: bool = False
    revision: str | None = None
    tag: str | None = None
    overwrite: bool = False
    verify: bool = True
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Published:
    """Where something was published, and whether that took a commit."""

    url: str
    commit: str
    is_new: bool
    repository: Repository


def write_repository(
    folder: str | Path, repo_id: str, target: str | Path, *, options: PublishOptions, progress: Progress | None = None
) -> Repository:
    """Write the repository that `publish` would send to a new folder, and send nothing.

    Raises:
        JinaDataError: the run, the licences or the folder are not as they must be; see `jina_data.errors`.
    """
    require_packages()
    check_repo_id(repo_id)
    run, out = open_folder(folder), Path(target)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(f"{out} is there already, and not an empty folder; name a new one")
    half = out.absolute().with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with resource_errors(out.absolute().parent):
            repository = _build(run, repo_id, half / "repo", half, options=options, progress=progress or Quiet())
        if out.is_dir():
            out.rmdir()
        (half / "repo").rename(out)
    finally:
        remove(half)
    return Repository.from_json(out, repository.to_json())


def publish(
    folder: str | Path,
    repo_id: str,
    *,
    options: PublishOptions,
    confirm: Callable[[Plan], bool],
    progress: Progress | None = None,
) -> Published | None:
    """Publish a finished run; None if `confirm`, which is shown what will happen, says no.

    Raises:
        JinaDataError: the run, the licences or the Hub are not as they must be; see `jina_data.errors`.
    """
    progress = progress or Quiet()
    require_packages()
    check_repo_id(repo_id)
    run = open_folder(folder)
    repo_type = "model" if isinstance(run, TrainedModel) else "dataset"
    hub = Hub.connect(repo_id, repo_type, branch=options.revision, patience=options.patience, progress=progress)
    with resource_errors(Path(folder)), _work_folder(Path(folder)) as work:
        repository = _built(run, repo_id, work, options=options, progress=progress)
        remote = hub.look()
        changes = compare(repository, remote)
        _refuse(hub, remote, changes, options, work)
        if (changes or remote.head is None) and not confirm(
            Plan(hub.url, hub.branch, repository, remote, options.private)
        ):
            (work / RECORD).unlink()
            return None
        remote = hub.create(private=options.private, remote=remote)
        commit = hub.commit(repository, remote, message=f"Publish with jina-data {metadata.version('jina-data')}")
        if options.tag is not None:
            hub.tag(options.tag, commit)
        if options.verify:
            progress.say(f"loading {repo_id} back at {commit[:12]} ...")
            check_arrived(repository, commit, work, options.patience.first_seconds)
        (work / RECORD).unlink()
    return Published(hub.url, commit, bool(changes), repository)


def _refuse(hub: Hub, remote: Remote, changes: Changes, options: PublishOptions, work: Path) -> None:
    """Refuse what would surprise: a public repository for private data, somebody else's data set, a tag that moves.

    Raises:
        HubError: one of these.
    """
    if options.private and remote.exists and not remote.is_private:
        raise HubError(
            f"{hub.repo_id} is public already, so --private cannot keep it from view. Make it private in its "
            f"settings, {hub.url}/settings, and give the same command again"
        )
    at = remote.tags.get(options.tag or "")
    if at is not None and (changes or at != remote.head):
        raise HubError(f"{hub.repo_id} has a tag {options.tag} on another commit; choose another --tag")
    if options.overwrite or remote.head is None or not changes or CARD not in remote.files:
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
    run: Publishable | TrainedModel, repo_id: str, work: Path, *, options: PublishOptions, progress: Progress
) -> Repository:
    """Return the repository in the work folder: as an earlier call left it, if it is of the same run and settings."""
    record, target = work / RECORD, work / "repo"
    fingerprint = _fingerprint(run, repo_id, options)
    if record.exists():
        known = json.loads(record.read_text(encoding="utf-8"))
        if known["fingerprint"] == fingerprint:
            repository = Repository.from_json(target, known["repository"])
            if list_files(target) == repository.files:
                progress.say("the repository is built already; going on")
                return repository
    record.unlink(missing_ok=True)
    repository = _build(run, repo_id, target, work, options=options, progress=progress)
    save(repository, record, fingerprint)
    return repository


def _fingerprint(run: Publishable | TrainedModel, repo_id: str, options: PublishOptions) -> str:
    values = {name: value for name, value in asdict(options).items() if name not in LATER_OPTIONS}
    versions = {name: metadata.version(name) for name in ("jina-data", "pyarrow", "datasets", "huggingface-hub")}
    return hashlib.sha256(json.dumps([run.fingerprint, repo_id, values, versions], default=str).encode()).hexdigest()


LATER_OPTIONS = ("private", "revision", "tag", "overwrite", "verify", "patience")
"""Options that change nothing in the repository."""


def _build(
    run: Publishable | TrainedModel,
    repo_id: str,
    target: Path,
    work: Path,
    *,
    options: PublishOptions,
    progress: Progress,
) -> Repository:
    clear(target)
    if isinstance(run, TrainedModel):
        return build_model(run, repo_id, target, license_id=options.license)
    licence, cut = _decide(run, options)
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


def _decide(run: Publishable, options: PublishOptions) -> tuple[Licence, Cut]:
    """Settle which rows go up, and under which licence.

    Raises:
        JinaDataError: a source is not there, or its licence does not allow it.
    """
    sources = run.sources()
    if not sources:
        raise RunFolderError(f"{run.folder} kept no row: there is nothing to publish. Look at why in its report")
    if options.test_size is not None and len(run.splits) > 1:
        raise UsageError("--test-size: the run has a test of its own; leave the option out")
    excluded = {find_source(name, sources, "--exclude-source").shown for name in options.excluded_sources}
    licenses = settle_licenses(sources, options.source_licenses or {})
    decided = check_license(options.license, "--license") if options.license is not None else None
    left = [one for one in licenses if one.source.shown not in excluded]
    if not left:
        raise RunFolderError(f"{run.folder}: --exclude-source leaves out all sources; there is nothing to publish")
    cut = Cut(
        excluded=sorted(excluded), test_size=options.test_size, seed=options.seed, shard_bytes=options.shard_bytes
    )
    return combine(left, decided), cut

"""Publishes a finished run or model: builds the repository, asks for confirmation, commits, and verifies the upload."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path

from jina_data.errors import HubError, RunFolderError, UsageError
from jina_data.progress import Progress, SilentProgress
from jina_data.publish.card import CARD_TAG, LICENSE_FILE, CardInput, license_page, render_card
from jina_data.publish.facts import WORK_NAME, PublishableRun
from jina_data.publish.hub import Hub, RetryPolicy, check_repo_id, require_packages
from jina_data.publish.licenses import RepositoryLicense, check_license, combine_licenses, find_source, resolve_licenses
from jina_data.publish.model_folder import TrainedModel, build_model
from jina_data.publish.open import open_folder
from jina_data.publish.preview import PublishPreview
from jina_data.publish.readback import verify_upload
from jina_data.publish.remote import Changes, Remote, compare
from jina_data.publish.repository import (
    CARD,
    RECIPE,
    BuildOptions,
    Repository,
    build_shards,
    create_empty,
    list_files,
    save_record,
)
from jina_data.run.files import remove
from jina_data.run.folder import file_lock
from jina_data.run.resources import resource_errors

RECORD = "built.json"
"""The file that marks the repository in the work folder as complete, with the fingerprint of its run and options."""


@dataclass(frozen=True, kw_only=True)
class PublishConfig:
    """The finished run or model to publish, and the options; see docs/publish.md."""

    folder: str | Path
    license: str | None = None
    source_licenses: Mapping[str, str] | None = None
    excluded_sources: Sequence[str] = ()
    test_size: float | None = None
    languages: Sequence[str] = ()
    """The languages on the card; empty: those that the run knows."""
    seed: int = 0
    shard_bytes: int = 500_000_000
    private: bool = False
    revision: str | None = None
    tag: str | None = None
    verify: bool = True
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True)
class PublishReport:
    """The result of publishing: the URL, the commit, whether it is new, and the repository."""

    url: str
    commit: str
    is_new: bool
    repository: Repository


def write_repository(
    config: PublishConfig, repo_id: str, target: str | Path, *, progress: Progress | None = None
) -> Repository:
    """Write the repository that `publish` would upload to a new folder, and upload nothing.

    Raises:
        JinaDataError: the run, the licenses or the folder cannot be used; see `jina_data.errors`.
    """
    require_packages()
    check_repo_id(repo_id)
    run, out = open_folder(config.folder), Path(target)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(f"{out} exists and is not an empty folder; choose a new folder")
    staging = out.absolute().with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with resource_errors(out.absolute().parent):
            repository = _build(
                run, repo_id, staging / "repo", staging, config=config, progress=progress or SilentProgress()
            )
        if out.is_dir():
            out.rmdir()
        (staging / "repo").rename(out)
    finally:
        remove(staging)
    return Repository.from_json(out, repository.to_json())


def publish(
    config: PublishConfig,
    repo_id: str,
    *,
    overwrite: bool = False,
    confirm: Callable[[PublishPreview], bool] | None = None,
    progress: Progress | None = None,
) -> PublishReport | None:
    """Publish a finished run or model to the Hugging Face Hub.

    Args:
        config: the run or model, and the options.
        repo_id: the repository, as NAMESPACE/NAME.
        overwrite: replace the card and shards of a repository that jina-data did not write.
        confirm: called with a preview before anything is uploaded; the upload needs its return value to be true.
            None: no confirmation.
        progress: where progress is reported.

    Returns:
        The report, or None if `confirm` returned false.

    Raises:
        JinaDataError: the run, the licenses or the Hub cannot be used; see `jina_data.errors`.
    """
    progress = progress or SilentProgress()
    require_packages()
    check_repo_id(repo_id)
    folder = Path(config.folder)
    run = open_folder(folder)
    repo_type = "model" if isinstance(run, TrainedModel) else "dataset"
    hub = Hub.connect(repo_id, repo_type, branch=config.revision, retry=config.retry, progress=progress)
    with resource_errors(folder), _work_folder(folder) as work:
        repository = _load_or_build(run, repo_id, work, config=config, progress=progress)
        remote = hub.fetch_remote()
        changes = compare(repository, remote)
        _check_remote(hub, remote, changes, config, overwrite, work)
        if (
            (changes or remote.head is None)
            and confirm is not None
            and not confirm(PublishPreview(hub.url, hub.branch, repository, remote, config.private))
        ):
            (work / RECORD).unlink()
            return None
        remote = hub.create(private=config.private, remote=remote)
        commit = hub.commit(repository, remote, message=f"Publish with jina-data {metadata.version('jina-data')}")
        if config.tag is not None:
            hub.tag(config.tag, commit)
        if config.verify:
            progress.message(f"verifying {repo_id} at {commit[:12]} ...")
            verify_upload(repository, commit, work, config.retry.initial_wait_seconds)
        (work / RECORD).unlink()
    return PublishReport(hub.url, commit, bool(changes), repository)


def _check_remote(
    hub: Hub, remote: Remote, changes: Changes, config: PublishConfig, overwrite: bool, work: Path
) -> None:
    """Check that publishing exposes no private data, replaces no foreign dataset, and moves no tag.

    Raises:
        HubError: it would do one of these.
    """
    if config.private and remote.exists and not remote.is_private:
        raise HubError(
            f"{hub.repo_id} exists and is public, so --private has no effect. Make it private in its settings, "
            f"{hub.url}/settings, and run the same command again"
        )
    tagged_commit = remote.tags.get(config.tag or "")
    if tagged_commit is not None and (changes or tagged_commit != remote.head):
        raise HubError(f"{hub.repo_id} has the tag {config.tag} on another commit; choose another --tag")
    if overwrite or remote.head is None or not changes or CARD not in remote.files:
        return
    from huggingface_hub import RepoCard

    card = RepoCard(hub.read_text(CARD, remote.head, work), ignore_metadata_errors=True)
    if CARD_TAG not in (card.data.get("tags") or ()):
        raise HubError(
            f"{hub.repo_id} was not written by jina-data: its card does not have the tag {CARD_TAG!r}. To replace its "
            "card and shards, add --overwrite; its history is kept"
        )


@contextlib.contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """Lock the work folder of the repository, which is inside the run folder, so that the next call finds it.

    If the run folder is read-only, the work folder is in the temporary folder of the system.

    Raises:
        RunFolderError: another process is publishing this run.
    """
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    is_writable = os.access(folder, os.W_OK)
    work = folder / WORK_NAME if is_writable else Path(tempfile.gettempdir()) / f"jina-data-publish-{name}"
    busy = f"another process is publishing {folder}; wait for it"
    with file_lock(work, busy=busy, failed=f"{work} cannot be written"):
        try:
            yield work
        finally:
            # A complete repository that is not published yet is kept for the next call.
            if not (work / RECORD).exists():
                remove(work)


def _load_or_build(
    run: PublishableRun | TrainedModel, repo_id: str, work: Path, *, config: PublishConfig, progress: Progress
) -> Repository:
    """Return the repository in the work folder; build it unless an earlier call with the same run and options did."""
    record, target = work / RECORD, work / "repo"
    fingerprint = _fingerprint(run, repo_id, config)
    if record.exists():
        saved = json.loads(record.read_text(encoding="utf-8"))
        if saved["fingerprint"] == fingerprint:
            repository = Repository.from_json(target, saved["repository"])
            if list_files(target) == repository.files:
                progress.message("the repository is already built; resuming")
                return repository
    record.unlink(missing_ok=True)
    repository = _build(run, repo_id, target, work, config=config, progress=progress)
    save_record(repository, record, fingerprint)
    return repository


def _fingerprint(run: PublishableRun | TrainedModel, repo_id: str, config: PublishConfig) -> str:
    values = {name: value for name, value in asdict(config).items() if name not in UPLOAD_OPTIONS}
    versions = {name: metadata.version(name) for name in ("jina-data", "pyarrow", "datasets", "huggingface-hub")}
    return hashlib.sha256(json.dumps([run.fingerprint, repo_id, values, versions], default=str).encode()).hexdigest()


UPLOAD_OPTIONS = ("folder", "private", "revision", "tag", "verify", "retry")
"""Options that do not change the content of the repository."""


def _build(
    run: PublishableRun | TrainedModel,
    repo_id: str,
    target: Path,
    work: Path,
    *,
    config: PublishConfig,
    progress: Progress,
) -> Repository:
    create_empty(target)
    if isinstance(run, TrainedModel):
        return build_model(run, repo_id, target, license_id=config.license)
    license_, options = _resolve_options(run, config)
    dataset = build_shards(run, target, work, options, progress)
    excluded = [source for source in run.sources() if source.public_name in options.excluded]
    facts = run.facts()
    facts = replace(facts, languages=tuple(config.languages)) if config.languages else facts
    card = CardInput(repo_id, facts, dataset, license_, excluded)
    texts = {CARD: render_card(card), RECIPE: card.facts.recipe}
    texts |= {LICENSE_FILE: license_page(license_)} if license_.ids == ("other",) else {}
    for name, text in texts.items():
        if text:
            (target / name).write_text(text, encoding="utf-8")
    return Repository(
        folder=target,
        repo_type="dataset",
        repo_id=repo_id,
        files=list_files(target),
        configs=dataset.configs,
        licenses=license_.ids,
        findings=dataset.survey.scan.lines(),
        notes=[*dataset.notes, *license_.warnings],
    )


def _resolve_options(run: PublishableRun, config: PublishConfig) -> tuple[RepositoryLicense, BuildOptions]:
    """Return the license of the repository, and the options of the build with the excluded sources.

    Raises:
        JinaDataError: a source does not exist, or a license must be decided by the user.
    """
    sources = run.sources()
    if not sources:
        raise RunFolderError(
            f"{run.folder} kept no row, so there is nothing to publish. See its report for the reasons"
        )
    if config.test_size is not None and len(run.splits) > 1:
        raise UsageError("--test-size: the run already has a test split; omit the option")
    excluded = {find_source(name, sources, "--exclude-source").public_name for name in config.excluded_sources}
    licenses = resolve_licenses(sources, config.source_licenses or {})
    override = check_license(config.license, "--license") if config.license is not None else None
    included = [entry for entry in licenses if entry.source.public_name not in excluded]
    if not included:
        raise RunFolderError(f"{run.folder}: --exclude-source excludes all sources, so there is nothing to publish")
    options = BuildOptions(
        excluded=sorted(excluded), test_size=config.test_size, seed=config.seed, shard_bytes=config.shard_bytes
    )
    return combine_licenses(included, override), options

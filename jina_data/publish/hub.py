"""Uploads a repository to the Hub in one commit, on top of a head that was checked before.

The client of the Hub sends files and commits. This module adds three things: it checks the head before it repeats a
commit, so a lost answer causes no second commit; it detects conflicts; and it reports errors in one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from jina_data.errors import HubError, MissingExtraError, UsageError, first_line
from jina_data.progress import Progress
from jina_data.publish.remote import Changes, Remote, RemoteFile, check_conflict, compare
from jina_data.publish.repository import Repository

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

TRANSIENT_STATUSES = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses of errors that a retry may resolve."""

PRECONDITION_FAILED = 412
"""HTTP status of a commit whose parent is not the head."""


@dataclass(frozen=True)
class RetryPolicy:
    """The number of attempts after transient errors, and the wait between them, which doubles each time."""

    attempts: int = 6
    initial_wait_seconds: float = 1.0
    max_wait_seconds: float = 300.0


def check_repo_id(repo_id: str) -> str:
    """Return the id of a repository after checking its form, NAMESPACE/NAME.

    Raises:
        UsageError: the id is invalid.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    expected = "expected NAMESPACE/NAME of letters, digits, `-`, `_` and `.`, such as me/clean-questions"
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UsageError(f"{repo_id!r} is not a valid name of a repository: {expected}. {first_line(error)}") from None
    if "/" not in repo_id:
        raise UsageError(f"{repo_id!r} has no namespace: {expected}")
    return repo_id


def require_packages() -> None:
    """Make sure that the optional packages are installed.

    Raises:
        MissingExtraError: a package is missing.
    """
    for name in ("datasets", "huggingface_hub", "tenacity"):
        try:
            import_module(name)
        except ImportError as error:
            raise MissingExtraError(
                f"publishing needs the package {name}, which is missing: pip install 'jina-data[hub]'"
            ) from error


class StaleHeadError(HubError):
    """The head changed between the check and the commit."""


class Hub:
    """One branch of a repository on the Hub, accessed as the user who is logged in."""

    def __init__(
        self, api: HfApi, repo_id: str, repo_type: str, *, branch: str, retry: RetryPolicy, progress: Progress
    ) -> None:
        self.api = api
        self.repo_id, self.repo_type, self.branch = repo_id, repo_type, branch
        self.retry, self.progress = retry, progress

    @classmethod
    def connect(
        cls, repo_id: str, repo_type: str, *, branch: str | None, retry: RetryPolicy, progress: Progress
    ) -> Self:
        """Log in with the stored token or `HF_TOKEN`, and check the rights to the namespace.

        Raises:
            HubError: there is no token, it is invalid, or the user may not write to the namespace.
        """
        from huggingface_hub import HfApi, constants, get_token

        if constants.HF_HUB_OFFLINE:
            raise HubError("HF_HUB_OFFLINE is set, so the Hub cannot be used; unset it, or use --dry-run")
        if get_token() is None:
            raise HubError(
                "not logged in to the Hub: run `hf auth login`, or set HF_TOKEN to a token with write access"
            )
        api = HfApi(library_name="jina-data")
        hub = cls(api, repo_id, repo_type, branch=branch or "main", retry=retry, progress=progress)
        hub.check_rights()
        return hub

    @property
    def url(self) -> str:
        """The URL of the repository."""
        kind = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"{self.api.endpoint}/{kind}{self.repo_id}"

    @property
    def _repo(self) -> dict[str, Any]:
        return {"repo_id": self.repo_id, "repo_type": self.repo_type}

    # ------------------------------------------------------------------------------------------------------ reading

    def check_rights(self) -> None:
        """Make sure that the token is valid and that the user or an organization of the user owns the namespace.

        Raises:
            HubError: the token is invalid, or the user may not write to the namespace.
        """
        user = self._call("log in to the Hub for", self.api.whoami)
        namespaces = list(dict.fromkeys([user["name"], *(org["name"] for org in user.get("orgs", ())), *_scopes(user)]))
        namespace = self.repo_id.split("/")[0]
        if namespace.lower() not in [name.lower() for name in namespaces]:
            raise HubError(
                f"no write access to the namespace {namespace!r}: {user['name']} can write to {', '.join(namespaces)}. "
                "Choose one of these, or log in as another user with `hf auth login`"
            )

    def fetch_remote(self) -> Remote:
        """Return the current state of the branch."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        missing = (401, 404)
        try:
            info = self._call("read", partial(self.api.repo_info, **self._repo), let_through=missing)
        except RepositoryNotFoundError:
            return Remote()
        refs = self._call("read", partial(self.api.list_repo_refs, **self._repo))
        tags = {tag.name: tag.target_commit for tag in refs.tags}
        is_private = bool(info.private)
        try:
            at_branch = partial(self.api.repo_info, **self._repo, revision=self.branch)
            head = str(self._call("read", at_branch, let_through=missing).sha)
        except RevisionNotFoundError:
            return Remote(True, is_private, None, {}, tags)
        return Remote(True, is_private, head, self._call("read", partial(self._files, head)), tags)

    def _files(self, commit: str) -> dict[str, RemoteFile]:
        from huggingface_hub.hf_api import RepoFile

        entries = self.api.list_repo_tree(**self._repo, revision=commit, recursive=True)
        return {
            entry.path: RemoteFile(entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        }

    def read_text(self, path: str, commit: str, work: Path) -> str:
        """Return the text of a small file at a commit."""
        file = {"filename": path, "revision": commit, "cache_dir": work / "look"}
        local_path = self._call("read", partial(self.api.hf_hub_download, **self._repo, **file))
        return Path(local_path).read_text(encoding="utf-8", errors="replace")

    # ------------------------------------------------------------------------------------------------------ writing

    def create(self, *, private: bool, remote: Remote) -> Remote:
        """Create the repository and the branch if they do not exist; return the state of the branch after that."""
        if remote.head is not None:
            return remote
        if not remote.exists:
            self._call("create", partial(self.api.create_repo, **self._repo, private=private, exist_ok=True))
            remote = self.fetch_remote()
        if remote.head is None:
            branch = partial(self.api.create_branch, **self._repo, branch=self.branch, exist_ok=True)
            self._call("create a branch of", branch)
            remote = self.fetch_remote()
        return remote

    def commit(self, repository: Repository, checked: Remote, message: str) -> str:
        """Commit the differences from the state that was checked, and return the commit that holds the repository.

        After a failed attempt, the next attempt fetches the state first: the commit may have arrived although its
        answer was lost, or another user may have committed.

        Raises:
            HubError: the commit fails, or another user changed the same files in the meantime.
        """
        current, is_retry = checked, False

        def attempt() -> str:
            nonlocal current, is_retry
            if is_retry:
                current = self.fetch_remote()
            is_retry = True
            changes = compare(repository, current)
            if not changes and current.head is not None:
                return current.head
            check_conflict(checked, current, changes)
            return self._send(repository, current, changes, message)

        return self._call("commit to", attempt)

    def _send(self, repository: Repository, current: Remote, changes: Changes, message: str) -> str:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.errors import HfHubHTTPError

        digests = {file.path: bytes.fromhex(file.sha256) for file in repository.files}
        operations: list[Any] = [CommitOperationDelete(path, is_folder=False) for path in changes.delete]
        for path in changes.add:
            operation = CommitOperationAdd(path, repository.folder / path)
            operation.upload_info.sha256 = digests[path]
            operations.append(operation)
        try:
            commit = self.api.create_commit(
                self.repo_id,
                repo_type=self.repo_type,
                operations=operations,
                commit_message=message,
                revision=self.branch,
                parent_commit=current.head,
            )
        except HfHubHTTPError as error:
            if error.response.status_code == PRECONDITION_FAILED:
                raise StaleHeadError("other commits changed the head during each attempt") from error
            raise
        return str(commit.oid)

    def tag(self, name: str, commit: str) -> None:
        """Tag a commit; the tag may already be on this commit."""
        from huggingface_hub.errors import HfHubHTTPError

        try:
            self._call("tag", partial(self.api.create_tag, **self._repo, tag=name, revision=commit), let_through=(409,))
        except HfHubHTTPError:
            if self.fetch_remote().tags.get(name) != commit:
                raise HubError(f"{self.repo_id} has the tag {name} on another commit; choose another --tag") from None

    # --------------------------------------------------------------------------------------------------------- errors

    def _call(self, action: str, function: Callable[[], T], *, let_through: Sequence[int] = ()) -> T:
        """Call a function of the client, and retry after transient errors.

        Raises:
            HubError: the call fails.
            HfHubHTTPError: the Hub answers with a status in `let_through`.
        """
        import tenacity

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            stop=tenacity.stop_after_attempt(self.retry.attempts),
            wait=self._wait_seconds,
            before_sleep=lambda state: self._report_retry(action, state),
            reraise=True,
        )
        try:
            return retrying(function)
        except Exception as error:
            if isinstance(error, HubError) and not isinstance(error, StaleHeadError):
                raise
            if _status(error) in let_through:
                raise
            raise HubError(self._error_message(action, error)) from None

    def _wait_seconds(self, state: Any) -> float:
        error = state.outcome.exception()
        if isinstance(error, StaleHeadError):
            return 0.0
        header = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "")
        seconds = self.retry.initial_wait_seconds * 2 ** (state.attempt_number - 1)
        return min(float(header) if header.isdecimal() else seconds, self.retry.max_wait_seconds)

    def _report_retry(self, action: str, state: Any) -> None:
        wait = f" in {state.next_action.sleep:.0f} s" if state.next_action.sleep else ""
        self.progress.message(
            f"could not {action} {self.repo_id}: {self._reason(state.outcome.exception())}; retrying{wait}"
        )

    def _error_message(self, action: str, error: BaseException) -> str:
        """Return one line with the failed action, the reason, and what to do."""
        status = _status(error)
        advice = {
            401: "the token is invalid: run `hf auth login`, or set HF_TOKEN to a valid token",
            403: "the token needs write access to this namespace",
        }.get(status or 0)
        if advice is None:
            advice = (
                "uploaded files are kept on the Hub: run the same command again to resume"
                if is_transient(error)
                else f"see {self.url}"
            )
        return f"could not {action} {self.repo_id}: {self._reason(error)}. {advice[0].upper()}{advice[1:]}"

    def _reason(self, error: BaseException) -> str:
        """Return the reason of an error in one line, without the token."""
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
        status = _status(cause)
        message = (getattr(cause, "server_message", None) or first_line(cause)).rstrip(".")
        text = f"the Hub answered {status} ({message})" if status else f"{type(cause).__name__}: {message}"
        text = message if isinstance(cause, HubError) else text
        return " ".join(self._masked(text).split())

    def _masked(self, text: str) -> str:
        """Replace the token in a text."""
        from huggingface_hub import get_token

        token = self.api.token if isinstance(self.api.token, str) else get_token()
        return text.replace(token, "***") if token else text


def _scopes(user: Mapping[str, Any]) -> list[str]:
    """Return the namespaces of a fine-grained token."""
    token = (user.get("auth") or {}).get("accessToken") or {}
    scoped = (token.get("fineGrained") or {}).get("scoped") or ()
    return [scope["entity"]["name"] for scope in scoped if scope.get("entity", {}).get("type") in ("user", "org")]


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may resolve an error."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, StaleHeadError):
        return True
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TRANSIENT_STATUSES
    # The transport errors of the client, and those of an upload. The base class of HfHubHTTPError is the transport
    # error of its HTTP library, which differs between versions of the client.
    transport = HfHubHTTPError.__bases__[0]
    return isinstance(error, transport | ConnectionError | TimeoutError | RuntimeError)


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return int(status) if status is not None else None

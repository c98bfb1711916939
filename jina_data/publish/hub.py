"""Bring a repository to the Hub: one commit against the known head, which a lost answer does not double.

The Hub's own client sends files and commits. What it leaves to its caller is here: to look at the head again before a
commit is repeated, to tell what changed meanwhile, and to say in one line what went wrong.
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
from jina_data.publish.remote import Changes, Remote, RemoteFile, compare, refuse_conflict
from jina_data.publish.repository import Repository

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""What a server says that may say something else soon."""

STALE = 412
"""What it says to a commit whose parent is not the head."""


@dataclass(frozen=True)
class Patience:
    """How often something is tried that may pass, and how long to wait between: twice as long each time."""

    attempts: int = 6
    first_seconds: float = 1.0
    longest_seconds: float = 300.0


def check_repo_id(repo_id: str) -> str:
    """Return the id of a repository, if it is one: NAMESPACE/NAME.

    Raises:
        UsageError: it is not.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    expected = "expected NAMESPACE/NAME of letters, digits, `-`, `_` and `.`, such as me/clean-questions"
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UsageError(f"{repo_id!r} cannot be the name of a repository: {expected}. {first_line(error)}") from None
    if "/" not in repo_id:
        raise UsageError(f"{repo_id!r} names no namespace: {expected}")
    return repo_id


def require_packages() -> None:
    """Make sure that the optional packages are there.

    Raises:
        MissingExtraError: one is not.
    """
    for name in ("datasets", "huggingface_hub", "tenacity"):
        try:
            import_module(name)
        except ImportError as error:
            raise MissingExtraError(
                f"publishing needs the package {name}, which is missing: pip install 'jina-data[hub]'"
            ) from error


class StaleHeadError(HubError):
    """Somebody else committed meanwhile."""


class Hub:
    """One branch of one repository on the Hub, as the user who is logged in."""

    def __init__(
        self, api: HfApi, repo_id: str, repo_type: str, *, branch: str, patience: Patience, progress: Progress
    ) -> None:
        self.api = api
        self.repo_id, self.repo_type, self.branch = repo_id, repo_type, branch
        self.patience, self.progress = patience, progress

    @classmethod
    def connect(
        cls, repo_id: str, repo_type: str, *, branch: str | None, patience: Patience, progress: Progress
    ) -> Self:
        """Log in with the token from the usual places.

        Raises:
            HubError: there is none, it is not valid, or the namespace is not the user's.
        """
        from huggingface_hub import HfApi, constants, get_token

        if constants.HF_HUB_OFFLINE:
            raise HubError("HF_HUB_OFFLINE is set, so that the Hub cannot be reached; unset it, or use --dry-run")
        if get_token() is None:
            raise HubError("not logged in to the Hub: run `hf auth login`, or set HF_TOKEN to a token that may write")
        api = HfApi(library_name="jina-data")
        hub = cls(api, repo_id, repo_type, branch=branch or "main", patience=patience, progress=progress)
        hub.check_rights()
        return hub

    @property
    def url(self) -> str:
        """The page of the repository."""
        kind = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return f"{self.api.endpoint}/{kind}{self.repo_id}"

    @property
    def _repo(self) -> dict[str, Any]:
        return {"repo_id": self.repo_id, "repo_type": self.repo_type}

    # ------------------------------------------------------------------------------------------------------ looking

    def check_rights(self) -> None:
        """Make sure that the token is valid and the namespace the user's own or that of an organization of theirs.

        Raises:
            HubError: it is not.
        """
        who = self._call("log in to the Hub for", self.api.whoami)
        namespaces = list(dict.fromkeys([who["name"], *(org["name"] for org in who.get("orgs", ())), *_scopes(who)]))
        namespace = self.repo_id.split("/")[0]
        if namespace.lower() not in [name.lower() for name in namespaces]:
            raise HubError(
                f"no right to the namespace {namespace!r}: {who['name']} may write to {', '.join(namespaces)}. "
                "Choose one of these, or log in as somebody else with `hf auth login`"
            )

    def look(self) -> Remote:
        """Return how the branch stands."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        missing = (401, 404)
        try:
            info = self._call("look at", partial(self.api.repo_info, **self._repo), let_through=missing)
        except RepositoryNotFoundError:
            return Remote()
        refs = self._call("look at", partial(self.api.list_repo_refs, **self._repo))
        tags = {tag.name: tag.target_commit for tag in refs.tags}
        is_private = bool(info.private)
        try:
            at_branch = partial(self.api.repo_info, **self._repo, revision=self.branch)
            head = str(self._call("look at", at_branch, let_through=missing).sha)
        except RevisionNotFoundError:
            return Remote(True, is_private, None, {}, tags)
        return Remote(True, is_private, head, self._call("look at", partial(self._files, head)), tags)

    def _files(self, commit: str) -> dict[str, RemoteFile]:
        from huggingface_hub.hf_api import RepoFile

        found = self.api.list_repo_tree(**self._repo, revision=commit, recursive=True)
        return {
            entry.path: RemoteFile(entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
            for entry in found
            if isinstance(entry, RepoFile)
        }

    def read_text(self, path: str, commit: str, work: Path) -> str:
        """Return the text of a small file."""
        where = {"filename": path, "revision": commit, "cache_dir": work / "look"}
        stored = self._call("read", partial(self.api.hf_hub_download, **self._repo, **where))
        return Path(stored).read_text(encoding="utf-8", errors="replace")

    # ------------------------------------------------------------------------------------------------------ writing

    def create(self, *, private: bool, remote: Remote) -> Remote:
        """Create the repository and the branch where they are missing; return how the branch stands then."""
        if remote.head is not None:
            return remote
        if not remote.exists:
            self._call("create", partial(self.api.create_repo, **self._repo, private=private, exist_ok=True))
            remote = self.look()
        if remote.head is None:
            branch = partial(self.api.create_branch, **self._repo, branch=self.branch, exist_ok=True)
            self._call("make a branch of", branch)
            remote = self.look()
        return remote

    def commit(self, repository: Repository, known: Remote, message: str) -> str:
        """Commit what differs from `known`, and return the commit that holds the repository.

        Where an attempt fails, the next one looks at the head first: the commit may have arrived and only its answer
        been lost, or somebody else may have been faster.

        Raises:
            HubError: it does not go through, or somebody else changed the same files meanwhile.
        """
        now, tried = known, False

        def attempt() -> str:
            nonlocal now, tried
            if tried:
                now = self.look()
            tried = True
            changes = compare(repository, now)
            if not changes and now.head is not None:
                return now.head
            refuse_conflict(known, now, changes)
            return self._send(repository, now, changes, message)

        return self._call("commit to", attempt)

    def _send(self, repository: Repository, now: Remote, changes: Changes, message: str) -> str:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.errors import HfHubHTTPError

        digests = {file.path: bytes.fromhex(file.sha256) for file in repository.files}
        operations: list[Any] = [CommitOperationDelete(path, is_folder=False) for path in changes.delete]
        for path in changes.add:
            operation = CommitOperationAdd(path, repository.folder / path)
            operation.upload_info.sha256 = digests[path]
            operations.append(operation)
        try:
            done = self.api.create_commit(
                self.repo_id,
                repo_type=self.repo_type,
                operations=operations,
                commit_message=message,
                revision=self.branch,
                parent_commit=now.head,
            )
        except HfHubHTTPError as error:
            if error.response.status_code == STALE:
                raise StaleHeadError("somebody else commits all the time") from error
            raise
        return str(done.oid)

    def tag(self, name: str, commit: str) -> None:
        """Tag a commit; a tag that is there already on this commit is fine."""
        from huggingface_hub.errors import HfHubHTTPError

        try:
            self._call("tag", partial(self.api.create_tag, **self._repo, tag=name, revision=commit), let_through=(409,))
        except HfHubHTTPError:
            if self.look().tags.get(name) != commit:
                raise HubError(f"{self.repo_id} has a tag {name} on another commit; choose another --tag") from None

    # ------------------------------------------------------------------------------------------------- what goes wrong

    def _call(self, doing: str, function: Callable[[], T], *, let_through: Sequence[int] = ()) -> T:
        """Call the Hub, again where what went wrong may pass.

        Raises:
            HubError: it does not pass.
            HfHubHTTPError: the Hub answers with one of the statuses that the caller wants to see.
        """
        import tenacity

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(may_pass),
            stop=tenacity.stop_after_attempt(self.patience.attempts),
            wait=self._seconds,
            before_sleep=lambda state: self._say(doing, state),
            reraise=True,
        )
        try:
            return retrying(function)
        except Exception as error:
            if isinstance(error, HubError) and not isinstance(error, StaleHeadError):
                raise
            if _status(error) in let_through:
                raise
            raise HubError(self._told(doing, error)) from None

    def _seconds(self, state: Any) -> float:
        error = state.outcome.exception()
        if isinstance(error, StaleHeadError):
            return 0.0
        named = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "")
        waits = float(named) if named.isdecimal() else self.patience.first_seconds * 2 ** (state.attempt_number - 1)
        return min(waits, self.patience.longest_seconds)

    def _say(self, doing: str, state: Any) -> None:
        waits = f"again in {state.next_action.sleep:.0f} s" if state.next_action.sleep else "again"
        self.progress.message(f"{self._reason(state.outcome.exception())}; {doing} {self.repo_id} {waits}")

    def _told(self, doing: str, error: BaseException) -> str:
        """Say in one line what went wrong, and what to do."""
        status = _status(error)
        advice = {
            401: "the token is not valid: run `hf auth login`, or set HF_TOKEN to a valid one",
            403: "the token has no right to do that: it needs the right to write to this namespace",
        }.get(status or 0)
        if advice is None:
            advice = (
                "what was uploaded is kept there: give the same command again, it goes on"
                if may_pass(error)
                else "see the page of the repository"
            )
        return f"could not {doing} {self.repo_id}: {self._reason(error)}. {advice[0].upper()}{advice[1:]}"

    def _reason(self, error: BaseException) -> str:
        """Return what went wrong in one line, without the token."""
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
        status = _status(cause)
        said = (getattr(cause, "server_message", None) or first_line(cause)).rstrip(".")
        text = f"the Hub answered {status} ({said})" if status else f"{type(cause).__name__}: {said}"
        text = said if isinstance(cause, HubError) else text
        return " ".join(self._masked(text).split())

    def _masked(self, text: str) -> str:
        """Take the token out of a text."""
        from huggingface_hub import get_token

        token = self.api.token if isinstance(self.api.token, str) else get_token()
        return text.replace(token, "***") if token else text


def _scopes(who: Mapping[str, Any]) -> list[str]:
    """Return the namespaces that a token of narrow rights was made for."""
    token = (who.get("auth") or {}).get("accessToken") or {}
    scoped = (token.get("fineGrained") or {}).get("scoped") or ()
    return [one["entity"]["name"] for one in scoped if one.get("entity", {}).get("type") in ("user", "org")]


def may_pass(error: BaseException) -> bool:
    """Tell whether something that went wrong may go well the next time."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, StaleHeadError):
        return True
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING
    # The client's own errors of transport (its HTTP library has changed its name before), and those of an upload.
    transport = HfHubHTTPError.__bases__[0]
    return isinstance(error, transport | ConnectionError | TimeoutError | RuntimeError)


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return int(status) if status is not None else None

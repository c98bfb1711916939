"""Provides a Hub server on loopback for tests: repositories in memory, for the real clients, with injected faults.

It implements the requests of `huggingface_hub` and `datasets` for publishing and loading. All requests are logged, so
tests can count commits and uploads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_loopbackLoopbackLoopbackLoopback"
STRANGER = "hf_strangerStrangerStrangerStranger"
USERS = {TOKEN: ("me", ["lab"]), STRANGER: ("stranger", [])}
"""The user of each token, and the organizations that the user may write to."""


@dataclass
class Fault:
    """A fault for matching requests: an error status, a closed connection, or an action before the real answer.

    `cut` closes the connection instead of answering, "before" or "after" the request is processed. `skip` is the number
    of matching requests without the fault, `times` the number with it.
    """

    method: str
    path: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: str = ""
    times: int = 1
    skip: int = 0
    do: Callable[[Hub], object] | None = None

    def applies(self, method: str, path: str) -> bool:
        """Return whether the fault applies to a request, and count the request."""
        if self.times <= 0 or method != self.method or not re.search(self.path, path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass(frozen=True)
class StoredFile:
    """A file in a commit: its content, and whether it is stored with LFS."""

    content: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def blob_id(self) -> str:
        content = self.pointer if self.large else self.content
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def pointer(self) -> bytes:
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()
        )


@dataclass
class Repo:
    """A repository: the files of each commit by path, and the commits of branches and tags."""

    id: str
    type: str
    private: bool
    commits: dict[str, dict[str, StoredFile]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def add(self, branch: str, files: dict[str, StoredFile], message: str) -> str:
        """Add a commit to a branch, and return its id."""
        parent = self.branches.get(branch, "")
        names = "".join(f"{path}{stored.blob_id}" for path, stored in sorted(files.items()))
        oid = hashlib.sha1(f"{parent}{names}{message}{len(self.commits)}".encode()).hexdigest()
        self.commits[oid] = files
        self.branches[branch] = oid
        self.messages.append(message)
        return oid

    def resolve(self, revision: str) -> str | None:
        """Return the commit id of a branch, tag or commit id."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return oid if oid in self.commits else None


@dataclass
class Hub:
    """The state of the server: repositories, stored objects, the log, and pending faults."""

    url: str = ""
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    log: list[tuple[str, str, int]] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    upload_seconds: float = 0.0
    slept: list[float] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def repo(self, repo_id: str, kind: str = "datasets") -> Repo:
        """Return an existing repository."""
        return self.repos[kind, repo_id]

    def files(self, repo_id: str, kind: str = "datasets", branch: str = "main") -> dict[str, bytes]:
        """Return the files at the head of a branch."""
        repo = self.repo(repo_id, kind)
        return {path: stored.content for path, stored in repo.commits[repo.branches[branch]].items()}

    def commits(self, repo_id: str, kind: str = "datasets") -> list[str]:
        """Return the messages of all commits except the first one, which the server makes."""
        return self.repo(repo_id, kind).messages[1:]

    def count_requests(self, method: str, path: str) -> int:
        """Count the logged requests with a method and a path that matches a pattern."""
        return sum(
            1 for logged_method, logged_path, _ in self.log if logged_method == method and re.search(path, logged_path)
        )

    def add_commit(self, repo_id: str, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Commit files as another user."""
        repo = self.repo(repo_id)
        current = dict(repo.commits[repo.branches[branch]])
        added = {path: StoredFile(content, False) for path, content in files.items()}
        return repo.add(branch, current | added, "other commit")

    def environment(self) -> dict[str, str]:
        """Return environment variables that direct the real clients, and the token, to this server only."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_TOKEN": TOKEN,
            "NO_PROXY": "127.0.0.1",
            "HF_HUB_OFFLINE": "0",
        }


@contextmanager
def running() -> Iterator[Hub]:
    """Run a Hub server on a free local port."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Reply(Exception):  # noqa: N818
    """An error response that ends the request."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


_REPO = r"/api/(?P<kind>datasets|models)/(?P<id>[^/]+/[^/]+)"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[Hub]

    ROUTES: ClassVar[list[tuple[str, str, str]]] = [
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate_yaml"),
        ("GET", _REPO + r"(/revision/(?P<rev>[^/]+))?", "info"),
        ("GET", _REPO + r"/refs", "refs"),
        ("GET", _REPO + r"/tree/(?P<rev>[^/]+)(/(?P<path>.*))?", "tree"),
        ("POST", _REPO + r"/paths-info/(?P<rev>[^/]+)", "paths_info"),
        ("POST", _REPO + r"/preupload/(?P<rev>[^/]+)", "preupload"),
        ("POST", _REPO + r"/commit/(?P<rev>[^/]+)", "commit"),
        ("POST", _REPO + r"/branch/(?P<branch>[^/]+)", "branch"),
        ("POST", _REPO + r"/tag/(?P<rev>[^/]+)", "tag"),
        ("POST", r"/((?P<kind>datasets)/)?(?P<id>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch"),
        ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_put"),
        ("POST", r"/lfs/(?P<oid>[0-9a-f]{64})/verify", "lfs_verify"),
        ("GET", r"/((?P<kind>datasets)/)?(?P<id>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)", "resolve"),
    ]

    def do_GET(self) -> None:
        self._handle("GET")

    def do_HEAD(self) -> None:
        self._handle("HEAD")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing; requests are in the log of the hub."""

    # ---------------------------------------------------------------------------------------------------- requests

    def _handle(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        raw = urlsplit(self.path).path
        fault = next((fault for fault in self.hub.faults if fault.applies(method, path)), None)
        if fault is not None and fault.cut == "before":
            self._cut(method, path)
            return
        self.body = self._read_body()
        if fault is not None and fault.do is not None:
            fault.do(self.hub)
        try:
            if fault is not None and fault.status:
                raise _Reply(fault.status, message="a fault of the test")
            status, headers, content = self._route(method, raw)
        except _Reply as reply:
            status, content = reply.status, json.dumps({"error": reply.message}).encode()
            headers = {"X-Error-Code": reply.code, "X-Error-Message": reply.message, **(fault.headers if fault else {})}
        if fault is not None and fault.cut == "after":
            self._cut(method, path)
            return
        self._answer(method, path, status=status, headers=headers, content=content)

    def _cut(self, method: str, path: str) -> None:
        self.hub.log.append((method, path, 0))
        self.close_connection = True
        self.connection.close()

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, method: str, path: str, *, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.hub.log.append((method, path, status))
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", headers.get("Content-Length") or str(len(content)))
        self.end_headers()
        if method != "HEAD":
            self.wfile.write(content)

    def _route(self, method: str, path: str) -> tuple[int, Mapping[str, str], bytes]:
        routed_method = "GET" if method == "HEAD" else method
        for route_method, pattern, name in self.ROUTES:
            match = re.fullmatch(pattern, path)
            if route_method == routed_method and match:
                values = {key: unquote(value) if value else value for key, value in match.groupdict().items()}
                with self.hub.lock:
                    answer = getattr(self, f"_{name}")(values)
                if isinstance(answer, tuple):
                    return answer
                return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()
        raise _Reply(404, "EntryNotFound", f"no such address: {method} {path}")

    # ------------------------------------------------------------------------------------------------------- rights

    def _user(self) -> tuple[str, list[str]] | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in USERS:
            raise _Reply(401, message="Invalid credentials in Authorization header")
        return USERS.get(token)

    def _may_write(self, repo_id: str) -> bool:
        user = self._user()
        return user is not None and repo_id.split("/", maxsplit=1)[0] in [user[0], *user[1]]

    def _repo(self, values: Mapping[str, Any], *, write: bool = False) -> Repo:
        repo = self.hub.repos.get((values["kind"] or "models", values["id"]))
        self._user()
        if repo is None or (repo.private and not self._may_write(repo.id)):
            raise _Reply(404, "RepoNotFound", "Repository not found")
        if write and not self._may_write(repo.id):
            raise _Reply(403, message="You don't have the rights to write to this repository")
        return repo

    def _commit_of(self, repo: Repo, revision: str | None) -> str:
        oid = repo.resolve(revision or "main")
        if oid is None:
            raise _Reply(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return oid

    def _json(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.body)
        return data

    # --------------------------------------------------------------------------------------------------------- routes

    def _whoami(self, values: Mapping[str, Any]) -> Any:
        user = self._user()
        if user is None:
            raise _Reply(401, message="Invalid username or password.")
        return {
            "type": "user",
            "name": user[0],
            "orgs": [{"name": name} for name in user[1]],
            "auth": {"type": "access"},
        }

    def _create(self, values: Mapping[str, Any]) -> Any:
        request = self._json()
        user = self._user()
        repo_id = f"{request.get('organization') or (user[0] if user else '')}/{request['name']}"
        if not self._may_write(repo_id):
            raise _Reply(403, message="You don't have the rights to create a repository under this namespace")
        kind = f"{request.get('type') or 'model'}s"
        url = f"{self.hub.url}/{'' if kind == 'models' else f'{kind}/'}{repo_id}"
        if (kind, repo_id) in self.hub.repos:
            body = json.dumps({"error": "You already created this repo", "url": url}).encode()
            return 409, {"Content-Type": "application/json"}, body
        private = bool(request.get("private")) or request.get("visibility") == "private"
        repo = self.hub.repos[kind, repo_id] = Repo(repo_id, kind, private)
        attributes = (
            b"*.parquet filter=lfs diff=lfs merge=lfs -text\n*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
        )
        repo.add("main", {".gitattributes": StoredFile(attributes, False)}, "initial commit")
        return {"url": url, "id": repo_id}

    def _validate_yaml(self, values: Mapping[str, Any]) -> Any:
        return {"errors": [], "warnings": []}

    def _info(self, values: Mapping[str, Any]) -> Any:
        repo = self._repo(values)
        oid = self._commit_of(repo, values["rev"])
        siblings = [{"rfilename": path} for path in repo.commits[oid]]
        dates = dict.fromkeys(("lastModified", "createdAt"), "2024-01-01T00:00:00.000Z")
        counts = {"gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0}
        return {"_id": "0", "id": repo.id, "sha": oid, "private": repo.private, "siblings": siblings, **dates, **counts}

    def _refs(self, values: Mapping[str, Any]) -> Any:
        repo = self._repo(values)
        kinds = {"branches": ("heads", repo.branches), "tags": ("tags", repo.tags)}
        refs: dict[str, Any] = {"converts": []}
        for name, (folder, commits) in kinds.items():
            refs[name] = [
                {"name": ref, "ref": f"refs/{folder}/{ref}", "targetCommit": oid} for ref, oid in commits.items()
            ]
        return refs

    @staticmethod
    def _entry(path: str, stored: StoredFile) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(stored.content), "oid": stored.blob_id}
        if stored.large:
            sizes = {"size": len(stored.content), "pointerSize": len(stored.pointer)}
            entry["lfs"] = {"oid": stored.sha256, **sizes}
        return entry

    def _tree(self, values: Mapping[str, Any]) -> Any:
        repo = self._repo(values)
        files = repo.commits[self._commit_of(repo, values["rev"])]
        prefix = f"{values['path']}/" if values["path"] else ""
        recursive = "true" in [value.lower() for value in parse_qs(urlsplit(self.path).query).get("recursive", [])]
        entries: dict[str, Any] = {}
        for path, stored in files.items():
            if not path.startswith(prefix):
                continue
            *folders, _name = path.removeprefix(prefix).split("/")
            for depth in range(1, len(folders) + 1) if recursive else range(1, min(len(folders), 1) + 1):
                folder = prefix + "/".join(folders[:depth])
                entries[folder] = {"type": "directory", "path": folder, "size": 0, "oid": "0" * 40}
            if recursive or not folders:
                entries[path] = self._entry(path, stored)
        if prefix and not entries:
            raise _Reply(404, "EntryNotFound", f"{values['path']} does not exist")
        return list(entries.values())

    def _paths_info(self, values: Mapping[str, Any]) -> Any:
        repo = self._repo(values)
        files = repo.commits[self._commit_of(repo, values["rev"])]
        is_form = "form" in (self.headers.get("Content-Type") or "")
        paths = parse_qs(self.body.decode()).get("paths", []) if is_form else self._json()["paths"]
        entries = [self._entry(path, files[path]) for path in paths if path in files]
        folders = [path for path in paths if any(name.startswith(f"{path}/") for name in files)]
        return entries + [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in folders]

    def _preupload(self, values: Mapping[str, Any]) -> Any:
        repo = self._repo(values, write=True)
        files = repo.commits[self._commit_of(repo, values["rev"])]
        answers = []
        for file in self._json()["files"]:
            path, stored = file["path"], files.get(file["path"])
            large = path.endswith((".parquet", ".safetensors")) or file["size"] > 10 * 2**20
            oid = None if stored is None else stored.sha256 if stored.large else stored.blob_id
            mode = "lfs" if large else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": answers}

    def _lfs_batch(self, values: Mapping[str, Any]) -> Any:
        self._repo(values, write=True)
        objects = []
        for request in self._json()["objects"]:
            entry = {"oid": request["oid"], "size": request["size"]}
            if request["oid"] not in self.hub.objects:
                href = f"{self.hub.url}/lfs/{request['oid']}"
                entry["actions"] = {"upload": {"href": href, "header": {}}, "verify": {"href": f"{href}/verify"}}
            objects.append(entry)
        return {"transfer": "basic", "objects": objects}

    def _lfs_put(self, values: Mapping[str, Any]) -> Any:
        if hashlib.sha256(self.body).hexdigest() != values["oid"]:
            raise _Reply(400, message="the checksum of the upload is wrong")
        time.sleep(self.hub.upload_seconds)
        self.hub.objects[values["oid"]] = self.body
        self.hub.uploads.append(values["oid"])
        return {}

    def _lfs_verify(self, values: Mapping[str, Any]) -> Any:
        if len(self.hub.objects.get(values["oid"], b"")) != self._json()["size"]:
            raise _Reply(404, message="no such object")
        return {}

    def _commit(self, values: Mapping[str, Any]) -> Any:
        repo = self._repo(values, write=True)
        head = self._commit_of(repo, values["rev"])
        lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, head):
            raise _Reply(412, message="A commit has happened since. Please refresh and try again.")
        files = dict(repo.commits[head])
        for line in lines[1:]:
            self._apply(files, line["key"], line["value"])
        oid = repo.add(values["rev"], files, header["summary"])
        url = f"{self.hub.url}/{repo.id}/commit/{oid}"
        return {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""}

    def _apply(self, files: dict[str, StoredFile], key: str, value: Mapping[str, Any]) -> None:
        path = value["path"]
        if key == "file":
            files[path] = StoredFile(base64.b64decode(value["content"]), False)
        elif key == "lfsFile":
            if value["oid"] not in self.hub.objects:
                raise _Reply(400, message=f"the object of {path} is not stored")
            files[path] = StoredFile(self.hub.objects[value["oid"]], True)
        elif key == "deletedFile":
            del files[path]
        else:
            for name in [name for name in files if name.startswith(f"{path.rstrip('/')}/")]:
                del files[name]

    def _branch(self, values: Mapping[str, Any]) -> Any:
        repo = self._repo(values, write=True)
        if values["branch"] in repo.branches:
            raise _Reply(409, message="Reference already exists")
        repo.branches[values["branch"]] = self._commit_of(
            repo, (self._json() if self.body else {}).get("startingPoint")
        )
        return {}

    def _tag(self, values: Mapping[str, Any]) -> Any:
        repo = self._repo(values, write=True)
        name = self._json()["tag"]
        if name in repo.tags:
            raise _Reply(409, message="Tag reference exists already")
        repo.tags[name] = self._commit_of(repo, values["rev"])
        return {}

    def _resolve(self, values: Mapping[str, Any]) -> Any:
        repo = self._repo(values)
        oid = self._commit_of(repo, values["rev"])
        stored = repo.commits[oid].get(values["path"])
        if stored is None:
            raise _Reply(404, "EntryNotFound", f"{values['path']} does not exist")
        content = stored.content
        headers = {"X-Repo-Commit": oid, "ETag": f'"{stored.blob_id}"', "Accept-Ranges": "bytes"}
        if stored.large:
            headers |= {"X-Linked-Etag": f'"{stored.sha256}"', "X-Linked-Size": str(len(content))}
        byte_range = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if byte_range is None:
            return 200, {**headers, "Content-Length": str(len(content))}, content
        first, last = int(byte_range[1]), min(int(byte_range[2] or len(content)), len(content) - 1)
        part = content[first : last + 1]
        range_headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}", "Content-Length": str(len(part))}
        return 206, {**headers, **range_headers}, part

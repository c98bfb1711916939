"""Tests publishing to a Hub server on loopback with the real clients: one commit, whatever errors occur."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.hub_server import STRANGER, TOKEN, Fault, Hub
from tests.support.publish_runs import LICENSED, loopback, pairs_run, preview_text, read_json, send, table_run

pytest.importorskip("datasets")

from jina_data.cli import main
from jina_data.errors import HubError, JinaDataError, RunFolderError, UsageError
from jina_data.publish.flow import publish
from jina_data.publish.hub import RetryPolicy
from jina_data.publish.preview import PublishPreview

# The client of the Hub uses a deprecated argument of its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

COMMIT = r"/commit/main"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pairs_run(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with loopback(monkeypatch, tmp_path / "home") as hub:
        yield hub


def check_one_commit(hub: Hub) -> None:
    """Check that there is one commit and that no object was stored twice."""
    assert len(hub.commits("me/numbers")) == 1
    assert len(hub.uploads) == len(set(hub.uploads)) == 2


def test_a_run_becomes_a_repository(run: Path, hub: Hub) -> None:
    done = send(run)
    assert done.is_new
    assert done.url == f"{hub.url}/datasets/me/numbers"
    assert sorted(hub.files("me/numbers")) == [
        ".gitattributes",
        "README.md",
        "full/train-00000-of-00001.parquet",
        "pair/train-00000-of-00001.parquet",
        "recipe.yaml",
    ]
    assert done.commit == hub.repo("me/numbers").branches["main"]
    check_one_commit(hub)
    assert not (run / ".publish").exists()


def test_an_upload_is_verified(run: Path, hub: Hub) -> None:
    send(run, options=replace(LICENSED, verify=True, test_size=5, private=True))
    assert hub.count_requests("GET", r"resolve/[0-9a-f]{40}/pair/test-") == 1
    assert hub.repo("me/numbers").private


def test_faults_during_verification_are_retried(run: Path, hub: Hub) -> None:
    hub.faults += [
        Fault("HEAD", r"resolve/.*/README\.md", 503),
        Fault("GET", r"resolve/.*/pair/train", 500),
        Fault("GET", r"resolve/.*/full/train", cut="after"),
        Fault("GET", r"/tree/[0-9a-f]{40}/pair", 503),
    ]
    send(run, options=replace(LICENSED, verify=True))
    assert [fault.times for fault in hub.faults] == [0] * 4
    assert hub.count_requests("GET", r"resolve/[0-9a-f]{40}/pair/train-") == 2


@pytest.mark.full
def test_a_failed_verification_is_reported(run: Path, hub: Hub) -> None:
    hub.faults.append(Fault("GET", r"resolve/.*/pair/train", 404, times=99))
    with pytest.raises(
        HubError, match=r"published as commit [0-9a-f]{40}, but it could not be loaded: .*404"
    ) as raised:
        send(run, options=replace(LICENSED, verify=True))
    assert "\n" not in str(raised.value)
    hub.faults.clear()
    assert not send(run, options=replace(LICENSED, verify=True)).is_new
    check_one_commit(hub)


def test_a_difference_in_the_loaded_rows_is_reported(run: Path, hub: Hub) -> None:
    def swap(hub: Hub) -> None:
        repo = hub.repo("me/numbers")
        files = repo.commits[repo.branches["main"]]
        path = "pair/train-00000-of-00001.parquet"
        rows = pq.read_table(pa.BufferReader(files[path].content))
        sink = pa.BufferOutputStream()
        pq.write_table(rows.take(list(reversed(range(rows.num_rows)))), sink)
        files[path] = replace(files[path], content=sink.getvalue().to_pybytes())

    hub.faults.append(Fault("HEAD", r"resolve/.*/README\.md", do=swap))
    with pytest.raises(HubError, match=r"published as commit [0-9a-f]{40}, but pair train was loaded as 20 rows"):
        send(run, options=replace(LICENSED, verify=True))


def test_publishing_the_same_run_again_makes_no_commit(run: Path, hub: Hub) -> None:
    first = send(run)
    second = send(run, confirmed=False)  # nothing changes, so no confirmation is needed
    assert not second.is_new
    assert second.commit == first.commit
    check_one_commit(hub)


def test_an_update_uploads_new_files_and_deletes_old_shards(run: Path, hub: Hub, tmp_path: Path) -> None:
    send(run, options=replace(LICENSED, test_size=5))
    hub.add_commit("me/numbers", {"notes.txt": b"mine", "pair/train-00003-of-00009.parquet": b"old"})
    send(pairs_run(tmp_path, 30), options=replace(LICENSED, license="cc0-1.0"))
    names = sorted(hub.files("me/numbers"))
    assert "notes.txt" in names
    assert [name for name in names if name.endswith(".parquet")] == [
        "full/train-00000-of-00001.parquet",
        "pair/train-00000-of-00001.parquet",
    ]
    assert len(hub.commits("me/numbers")) == 3


def test_only_the_card_is_sent_when_only_the_card_changed(run: Path, hub: Hub) -> None:
    send(run)
    send(run, options=replace(LICENSED, license="mit"))
    assert len(hub.uploads) == 2
    assert len(hub.commits("me/numbers")) == 2
    assert b"license: mit" in hub.files("me/numbers")["README.md"]


FAULTS = {
    "whoami 503": Fault("GET", "whoami", 503),
    "look 500": Fault("GET", r"/api/datasets/me/numbers$", 500),
    "create cut before": Fault("POST", "repos/create", cut="before"),
    "create cut after": Fault("POST", "repos/create", cut="after"),
    "create 503": Fault("POST", "repos/create", 503),
    "refs 502": Fault("GET", "/refs", 502),
    "tree 504": Fault("GET", "/tree/", 504),
    "validate-yaml 500": Fault("POST", "validate-yaml", 500),
    "preupload 429": Fault("POST", "preupload", 429, {"Retry-After": "7"}),
    "lfs batch 500": Fault("POST", "objects/batch", 500),
    "upload cut before": Fault("PUT", "/lfs/", cut="before"),
    "upload cut after": Fault("PUT", "/lfs/", cut="after"),
    "upload 503": Fault("PUT", "/lfs/", 503),
    "upload 500 for long": Fault("PUT", "/lfs/", 500, times=8),
    "wrong checksum": Fault("PUT", "/lfs/", 400),
    "verify 404": Fault("POST", "/verify$", 404),
    "verify 500": Fault("POST", "/verify$", 500),
    "commit cut before": Fault("POST", COMMIT, cut="before"),
    "commit cut after": Fault("POST", COMMIT, cut="after"),
    "commit 429": Fault("POST", COMMIT, 429, {"Retry-After": "0"}),
    "commit 500": Fault("POST", COMMIT, 500),
    "commit 503": Fault("POST", COMMIT, 503, times=3),
    "commit 412": Fault("POST", COMMIT, 412),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_transient_fault_is_retried(run: Path, hub: Hub, name: str) -> None:
    hub.faults.append(replace(FAULTS[name]))
    send(run)
    assert hub.faults[0].times == 0
    assert len(hub.commits("me/numbers")) == 1
    assert sorted(set(hub.uploads)) == sorted(hub.objects)
    # Only if the answer is lost after the object was stored, the client sends the object again.
    assert len(hub.uploads) == 3 if name == "upload cut after" else 2


def test_retry_after_is_obeyed(run: Path, hub: Hub) -> None:
    hub.faults.append(replace(FAULTS["preupload 429"]))
    send(run)
    assert max(hub.slept) >= 7


def test_a_commit_obeys_retry_after(run: Path, hub: Hub) -> None:
    hub.faults.append(Fault("POST", COMMIT, 429, {"Retry-After": "1"}))
    started = time.monotonic()
    send(run)
    assert time.monotonic() - started >= 1
    check_one_commit(hub)


LASTING = {
    "commit": (
        Fault("POST", COMMIT, 503, times=99),
        r"could not commit to me/numbers: the Hub answered 503 .*to resume",
    ),
    "upload": (Fault("PUT", "/lfs/", 400, times=99), r"could not commit to me/numbers: the Hub answered 400"),
    "stale": (
        Fault("POST", COMMIT, 412, times=99),
        r"could not commit to me/numbers: other commits changed the head",
    ),
    "forbidden": (Fault("POST", COMMIT, 403, times=99), r"the Hub answered 403 .*The token needs write access"),
    "unreachable": (Fault("GET", "whoami", cut="before", times=99), r"could not log in to the Hub for me/numbers"),
}


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_fault_gives_one_line_and_the_next_call_resumes(run: Path, hub: Hub, name: str) -> None:
    fault, message = LASTING[name]
    hub.faults.append(replace(fault))
    options = replace(LICENSED, retry=RetryPolicy(attempts=2, initial_wait_seconds=0.01))
    with pytest.raises(HubError, match=message) as raised:
        send(run, options=options)
    assert "\n" not in str(raised.value)
    assert TOKEN not in str(raised.value)
    hub.faults.clear()
    send(run, options=options)
    check_one_commit(hub)


def test_a_commit_of_another_user_is_kept(run: Path, hub: Hub) -> None:
    hub.faults.append(Fault("POST", COMMIT, do=lambda hub: hub.add_commit("me/numbers", {"notes.txt": b"mine"})))
    done = send(run)
    assert hub.files("me/numbers")["notes.txt"] == b"mine"
    assert [status for method, path, status in hub.log if method == "POST" and "/commit/" in path] == [412, 200]
    assert done.commit == hub.repo("me/numbers").branches["main"]
    assert len(hub.uploads) == len(set(hub.uploads)) == 2


def test_a_file_changed_by_another_user_is_not_overwritten(run: Path, hub: Hub) -> None:
    hub.faults.append(Fault("POST", COMMIT, do=lambda hub: hub.add_commit("me/numbers", {"README.md": b"theirs"})))
    with pytest.raises(HubError, match=r"README\.md was changed on the Hub by another user"):
        send(run)
    assert hub.files("me/numbers")["README.md"] == b"theirs"


def test_a_dataset_not_written_by_jina_data_is_not_replaced(run: Path, hub: Hub, tmp_path: Path) -> None:
    send(run)
    hub.add_commit("me/numbers", {"README.md": b"---\nlicense: mit\n---\n# By hand\n"})
    with pytest.raises(
        HubError,
        match=r"was not written by jina-data: its card does not have the tag 'jina-data'\. .*--overwrite",
    ):
        send(run)
    send(run, overwrite=True)
    assert b"jina-data" in hub.files("me/numbers")["README.md"]


def test_a_branch_and_a_tag(run: Path, hub: Hub, tmp_path: Path) -> None:
    options = replace(LICENSED, revision="draft", tag="v1")
    done = send(run, options=options)
    repo = hub.repo("me/numbers")
    assert list(hub.files("me/numbers")) == [".gitattributes"]
    assert "README.md" in hub.files("me/numbers", branch="draft")
    assert repo.tags == {"v1": done.commit}
    assert send(run, options=options).commit == done.commit
    with pytest.raises(HubError, match=r"has the tag v1 on another commit; choose another --tag"):
        send(pairs_run(tmp_path, 30), options=options)


def test_the_preview_is_shown_and_may_be_declined(run: Path, hub: Hub, tmp_path: Path) -> None:
    previews: list[str] = []

    def decline(plan: PublishPreview) -> bool:
        previews.append(preview_text(plan))
        return False

    assert publish(replace(LICENSED, folder=run), "me/numbers", confirm=decline) is None
    assert hub.repos == {}
    assert "(new, PUBLIC: visible to everyone)" in previews[0]
    assert "pair        train 20 rows: anchor, positive" in previews[0]
    assert "commit      to main: 4 of 4 files differ" in previews[0]
    publish(replace(LICENSED, private=True, folder=run), "me/numbers", confirm=decline)
    assert "(new, private)" in previews[1]


def test_private_does_not_apply_to_a_public_repository(run: Path, hub: Hub) -> None:
    send(run)
    with pytest.raises(HubError, match="exists and is public, so --private has no effect"):
        send(run, options=replace(LICENSED, private=True, license="mit"))


def test_findings_are_shown_before_the_upload(hub: Hub, tmp_path: Path) -> None:
    rows = [{"question": "Whom do I ask?", "answer": "Write to jane.doe@acme.com, please."}]
    previews: list[str] = []

    def decline(plan: PublishPreview) -> bool:
        previews.append(preview_text(plan))
        return False

    run = table_run(tmp_path, rows)
    publish(replace(LICENSED, folder=run), "me/numbers", confirm=decline)
    assert "WARNING     likely e-mail address in 1 row: rows.parquet:0 (answer)" in previews[0]


ERRORS: list[tuple[str, str, type[JinaDataError], str]] = [
    ("stranger/numbers", TOKEN, HubError, r"no write access to the namespace 'stranger': me can write to me, lab"),
    ("me/numbers", STRANGER, HubError, r"no write access to the namespace 'me': stranger can write to stranger"),
    ("me/numbers", "hf_nobodysToken", HubError, r"could not log in .*The token is invalid"),
    ("me/numbers", "", HubError, r"not logged in to the Hub: run `hf auth login`, or set HF_TOKEN"),
    ("me/num bers", TOKEN, UsageError, r"'me/num bers' is not a valid name of a repository: expected NAMESPACE/NAME"),
    ("me/a/b", TOKEN, UsageError, r"'me/a/b' is not a valid name of a repository"),
    ("numbers", TOKEN, UsageError, r"'numbers' has no namespace"),
]


@pytest.mark.parametrize(("repo_id", "token", "kind", "message"), ERRORS)
def test_errors_are_raised_before_the_upload(
    run: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    repo_id: str,
    token: str,
    kind: type[JinaDataError],
    message: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(kind, match=message) as raised:
        send(run, repo_id)
    assert "\n" not in str(raised.value)
    assert hub.repos == {}


def test_an_organization_is_a_namespace(run: Path, hub: Hub) -> None:
    send(run, "lab/numbers")
    assert hub.repo("lab/numbers").id == "lab/numbers"


def test_offline_mode_is_refused(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        send(run)


def test_a_run_is_published_by_one_process_at_a_time(run: Path, hub: Hub, tmp_path: Path) -> None:
    from jina_data.publish.flow import _work_folder

    with _work_folder(run), pytest.raises(RunFolderError, match="another process is publishing"):
        send(run)


def unfinished(run: Path) -> None:
    (run / ".work").mkdir()
    (run / "manifest.json").unlink()


def altered(run: Path) -> None:
    path = run / "ledger" / "part-00000.parquet"
    path.write_bytes(path.read_bytes().replace(b"PAR1", b"PAR2", 1))


def cut_short(run: Path) -> None:
    path = run / "data" / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])


CALLS: list[tuple[str, str, Callable[[Path], None] | None, int, str]] = [
    ("me/numbers", "", None, 1, "Error: not logged in to the Hub"),
    ("stranger/numbers", TOKEN, None, 1, "Error: no write access to the namespace 'stranger'"),
    ("me/num bers", TOKEN, None, 2, "Error: 'me/num bers' is not a valid name of a repository"),
    ("me/numbers", TOKEN, unfinished, 1, "Error: {run} holds an unfinished run"),
    ("me/numbers", TOKEN, altered, 1, "Error: {run}/ledger/part-00000.parquet was altered after the run finished"),
    ("me/numbers", TOKEN, cut_short, 1, "Error: {run}/data/part-00000.parquet has"),
    ("me/numbers", TOKEN, None, 1, "Error: {run} kept no row, so there is nothing to publish"),
]


@pytest.mark.parametrize(("repo_id", "token", "damage", "status", "message"), CALLS)
def test_errors_on_the_command_line_are_one_line(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    repo_id: str,
    token: str,
    damage: Callable[[Path], None] | None,
    status: int,
    message: str,
) -> None:
    is_empty = "kept no row" in message
    run = table_run(tmp_path, [{"text": ""}]) if is_empty else pairs_run(tmp_path)
    if damage is not None:
        damage(run)
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("sys.argv", ["jina-data", "publish", str(run), repo_id, "--license", "mit", "--yes"])
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capfd.readouterr()
    assert ended.value.code == status
    assert captured.out == ""
    assert captured.err.startswith(message.format(run=run))
    assert captured.err.count("\n") == 1
    assert hub.repos == {}


# --------------------------------------------------------------------------------------------- as a process


def command(run: Path, *more: str) -> list[str]:
    program = Path(sys.executable).with_name("jina-data")
    return [str(program), "publish", str(run), "me/numbers", "--license", "cc-by-4.0", *more]


def test_the_token_is_written_nowhere(run: Path, hub: Hub, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_VERBOSITY": "debug", "HF_DATASETS_VERBOSITY": "debug"}
    done = subprocess.run(
        command(run, "--yes", "--debug", "--tag", "v1"), env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == f"{hub.url}/datasets/me/numbers"
    assert f"published as commit {hub.repo('me/numbers').tags['v1']}" in done.stderr.decode()
    written = [done.stdout, done.stderr, *hub.files("me/numbers").values()]
    written += [path.read_bytes() for path in [*run.rglob("*"), *tmp_path.rglob("*")] if path.is_file()]
    assert not [text for text in written if TOKEN.encode() in text]


def test_without_a_terminal_yes_is_required(run: Path, hub: Hub) -> None:
    done = subprocess.run(command(run), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: cannot ask for confirmation: standard input is not a")
    assert hub.repos == {}


STRANGER_READS = """
from datasets import load_dataset
rows = load_dataset("me/numbers", split="train")
stream = load_dataset("me/numbers", "full", split="train", streaming=True)
assert [row["anchor"] for row in rows] == [row["question"] for row in stream]
tagged = load_dataset("me/numbers", revision="v1", split="train", streaming=True)
print(rows.num_rows, sum(1 for _ in tagged))
"""


def test_a_private_dataset_loads_and_streams_with_access_only(run: Path, hub: Hub, tmp_path: Path) -> None:
    send(run, options=replace(LICENSED, private=True, tag="v1"))
    call = [sys.executable, "-c", STRANGER_READS]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["20", "20"], done.stderr
    refused = subprocess.run(
        call,
        env={**os.environ, "HF_TOKEN": STRANGER, "HF_HOME": str(tmp_path / "theirs")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "DatasetNotFoundError" in refused.stderr


def test_a_killed_upload_is_resumed(hub: Hub, tmp_path: Path) -> None:
    run = pairs_run(tmp_path)
    hub.faults.append(Fault("PUT", "/lfs/", do=lambda _: time.sleep(60), skip=1))
    process = subprocess.Popen(command(run, "--yes", "--no-verify"), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while hub.faults[0].times and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(hub.uploads) == 1
    assert hub.commits("me/numbers") == []
    assert read_json(run / ".publish" / "built.json")["repository"]["repo_id"] == "me/numbers"
    done = subprocess.run(command(run, "--yes", "--no-verify"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the repository is already built; resuming" in done.stderr
    check_one_commit(hub)
    assert not (run / ".publish").exists()

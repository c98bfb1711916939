"""Tests of errors: each gives one clear message, the right exit status, and no partial output."""

from __future__ import annotations

import gzip
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

JINA_DATA = (sys.executable, "-c", "from jina_data.cli import main; main()")

RECIPE = "stages:\n  - length: {min_words: 2}\n  - exact_dedup\n"

# Without these capabilities, file permissions apply to root too.
UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


@dataclass(frozen=True)
class Call:
    """The result of a call of the command."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error message, without "Error: "."""
        head, marker, message = self.err.partition("Error: ")
        assert marker, self.err
        assert not head or head.endswith("\n")
        return message.rstrip("\n")


def jina_data(*arguments: str | Path, cwd: Path, prefix: tuple[str, ...] = ()) -> Call:
    """Run the command in a process."""
    done = subprocess.run(
        [*prefix, *JINA_DATA, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    return Call(done.returncode, done.stdout, done.stderr)


def clean(cwd: Path, *arguments: str | Path, out: str = "out", prefix: tuple[str, ...] = ()) -> Call:
    """Run `jina-data clean`, by default with one worker and the small recipe."""
    recipe = () if "-p" in arguments else ("-p", "recipe.yaml")
    workers = () if "--workers" in arguments else ("--workers", "1")
    return jina_data("clean", *arguments, "-o", out, *recipe, *workers, cwd=cwd, prefix=prefix)


def write_lines(path: Path, rows: list[Any]) -> bytes:
    """Write rows as JSON lines; bytes and strings are written unchanged."""
    lines = [
        row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode() for row in rows
    ]
    content = b"\n".join(lines) + b"\n"
    path.write_bytes(content)
    return content


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the modification time and the content of each file in a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def outputs(run: Path) -> dict[str, bytes]:
    """Return the outputs that must be equal in two runs."""
    names = ("data", "dropped", "ledger", "scores", "unreadable.jsonl")
    return {name: content for name, (_, content) in snapshot(run).items() if name.split("/")[0] in names}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a small input and a recipe."""
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    write_lines(tmp_path / "rows.jsonl", [{"text": f"text number {n}", "n": n} for n in range(50)])
    return tmp_path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three files whose cleaning takes a few seconds."""
    rng = random.Random(5)
    words = [f"{rng.randrange(10**6):x}" for _ in range(3000)]

    def row(number: int) -> dict[str, Any]:
        return {"id": number, "text": " ".join(rng.choices(words, k=rng.randrange(1, 60)))}

    folder = tmp_path_factory.mktemp("corpus")
    content = write_lines(folder / "a.jsonl", [row(n) for n in range(30_000)])
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(content[: len(content) // 2].rpartition(b"\n")[0], 1, mtime=0))
    pq.write_table(pa.Table.from_pylist([row(n) for n in range(10_000)]), folder / "c.parquet")
    (folder / "recipe.yaml").write_text(RECIPE.replace("stages:", "stages:\n  - normalize"), encoding="utf-8")
    return folder


CORPUS = ("a.jsonl", "b.jsonl.gz", "c.parquet")


# ------------------------------------------------------------------------------------------------------- bad input


def missing(folder: Path) -> str:
    return "nothing.jsonl"


def empty_folder(folder: Path) -> str:
    (folder / "empty").mkdir()
    return "empty"


def no_match(folder: Path) -> str:
    return "*.parquet"


def dangling_link(folder: Path) -> str:
    (folder / "link.jsonl").symlink_to("gone.jsonl")
    return "link.jsonl"


def folder_named_like_a_file(folder: Path) -> str:
    (folder / "folder.jsonl").mkdir()
    return "folder.jsonl"


def unknown_format(folder: Path) -> str:
    (folder / "rows.xlsx").write_bytes(b"PK")
    return "rows.xlsx"


def truncated_parquet(folder: Path) -> str:
    pq.write_table(pa.table({"text": [f"text number {n}" for n in range(5000)]}), folder / "cut.parquet")
    content = (folder / "cut.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(content[: len(content) // 2])
    return "cut.parquet"


def corrupt_parquet(folder: Path) -> str:
    rng = random.Random(1)
    table = pa.table({"text": [f"text {rng.getrandbits(99)}" for _ in range(20_000)]})
    path = folder / "bad.parquet"
    pq.write_table(table, path, row_group_size=5_000, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 99] = bytes(99)
    path.write_bytes(content)
    return path.name


def truncated_gzip(folder: Path) -> str:
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress((folder / "rows.jsonl").read_bytes())[:-20])
    return "cut.jsonl.gz"


def truncated_gzip_behind_the_sample(folder: Path) -> str:
    rng = random.Random(1)
    rows = [{"text": f"text {rng.getrandbits(999):x}"} for _ in range(50_000)]
    content = write_lines(folder / "late.jsonl", rows)
    (folder / "late.jsonl.gz").write_bytes(gzip.compress(content, 1)[:-9_999])
    return "late.jsonl.gz"


def not_gzip(folder: Path) -> str:
    (folder / "rows.jsonl.gz").write_bytes(b"\x1f\x8b this is no gzip stream")
    return "rows.jsonl.gz"


def array_of_objects(folder: Path) -> str:
    (folder / "list.jsonl").write_text('[{"text": "one two"}]', encoding="utf-8")
    return "list.jsonl"


def column_twice(folder: Path) -> str:
    (folder / "twice.csv").write_text("text,text\na b,c d\n", encoding="utf-8")
    return "twice.csv"


def reserved_column(folder: Path) -> str:
    pq.write_table(pa.table({"text": ["one two"], "_reason": ["x"]}), folder / "reserved.parquet")
    return "reserved.parquet"


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (missing, ("no such file or folder", "Check the path")),
        (empty_folder, ("no file found", "Check the path")),
        (no_match, ("no file found", "Check the path or pattern")),
        (dangling_link, ("no such file",)),
        (folder_named_like_a_file, ("no file found",)),
        (unknown_format, ("unknown file format", "Expected .parquet, .jsonl", "Convert or rename")),
        (truncated_parquet, ("could not be read", "Fetch or write the file again")),
        (corrupt_parquet, ("could not be read", "checksum", "Fetch or write the file again")),
        (truncated_gzip, ("truncated or damaged", "Fetch or write the file again")),
        (truncated_gzip_behind_the_sample, ("truncated or damaged after ", "decompressed bytes")),
        (not_gzip, ("truncated or damaged",)),
    ],
)
def test_bad_input(here: Path, make: Callable[[Path], str], parts: tuple[str, ...]) -> None:
    name = make(here)
    call = clean(here, "rows.jsonl", name)
    assert call.status == 1
    assert call.error.startswith(f"{name}: ")
    assert all(part in call.error for part in parts), call.error
    assert "\n" not in call.error
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("make", "row"),
    [
        (array_of_objects, {"text": "one two"}),
        (column_twice, {"text": "a b", "text_2": "c d"}),
        (reserved_column, {"text": "one two", "_reason_2": "x"}),
    ],
)
def test_odd_input_is_mended(here: Path, make: Callable[[Path], str], row: dict[str, str]) -> None:
    name = make(here)
    call = clean(here, "rows.jsonl", name)
    assert call.status == 0, call.err
    added = pq.read_table(here / "out" / "data").to_pylist()[-1]
    assert {column: value for column, value in added.items() if value is not None} == row
    if make is column_twice:
        assert f"{name}: column 'text' is named text_2" in call.err


def test_an_input_named_twice(here: Path) -> None:
    call = clean(here, "rows.jsonl", "*.jsonl")
    assert (call.status, "rows.jsonl is named twice" in call.error) == (1, True)
    assert not (here / "out").exists()


@pytest.mark.skipif(bool(UNPRIVILEGED) and not shutil.which("setpriv"), reason="root, and no setpriv to be less")
def test_no_permission(here: Path) -> None:
    (here / "rows.jsonl").chmod(0)
    call = clean(here, "rows.jsonl", prefix=UNPRIVILEGED)
    assert call.status == 1
    assert call.error.startswith("rows.jsonl: no permission to read it. ")
    (here / "rows.jsonl").chmod(0o644)
    (here / "shut").mkdir()
    (here / "shut").chmod(0o555)
    for out in ("shut", "shut/below"):
        call = clean(here, "rows.jsonl", out=out, prefix=UNPRIVILEGED)
        assert call.status == 1
        assert call.error == f"the output folder {out} cannot be written: Permission denied"
    assert not any((here / "shut").iterdir())


def test_incompatible_types_become_text(here: Path) -> None:
    write_lines(here / "other.jsonl", [{"text": "one two", "n": "three"}])
    call = clean(here, "rows.jsonl", "other.jsonl")
    assert call.status == 0, call.err
    column = pq.read_table(here / "out" / "data").column("n")
    assert column.type == pa.string()
    with (here / "rows.jsonl").open(encoding="utf-8") as lines:
        numbers = [json.loads(line).get("n") for line in lines]
    assert column.to_pylist() == [*(None if n is None else str(n) for n in numbers), "three"]


def test_broken_lines_are_counted_and_listed(here: Path) -> None:
    good = [{"text": f"text number {n}", "n": n} for n in range(3000)]
    bad: list[Any] = ['{"text": "cut off', [1, 2], b'{"text": "\xff"}']
    other = [{"text": ["a list"]}, {"text": "x y", "n": "z"}]
    rows = [*good[:1500], *bad, *other, *good[1500:]]
    content = write_lines(here / "mixed.jsonl", rows)
    call = clean(here, "mixed.jsonl")
    assert call.status == 0
    assert "3,002 of 3,005 rows kept, 0 dropped, 3 unreadable; " in call.out
    with (here / "out" / "unreadable.jsonl").open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    assert [(record["file"], record["row"], record["line"]) for record in records] == [
        ("mixed.jsonl", 1500 + n, 1501 + n) for n in range(3)
    ]
    for record, row, expected in zip(records, bad, ["not JSON", "expected a JSON object", "not UTF-8"], strict=True):
        assert expected in record["error"]
        raw = row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode()
        assert record["raw"].encode("utf-8", "surrogateescape") == raw
        assert content[record["byte_offset"] :].startswith(raw + b"\n")
    # Values of another type are no errors: they and the other values of their column are text.
    kept = pq.read_table(here / "out" / "data")
    assert kept.column("n").to_pylist() == [*map(str, range(1500)), None, "z", *map(str, range(1500, 3000))]
    assert kept.column("text").to_pylist()[1500:1502] == ['["a list"]', "x y"]


# ------------------------------------------------------------------------------------------------- columns and roles


def test_numbers_in_a_text_role_are_text(here: Path) -> None:
    write_lines(here / "numbers.jsonl", [{"text": 5, "title": "a b"}])
    call = clean(here, "numbers.jsonl", "-c", "text=text")
    assert call.status == 0, call.err
    (dropped,) = pq.read_table(here / "out" / "dropped").to_pylist()
    assert (dropped["text"], dropped["_reason"]) == ("5", "too_short")
    (here / "short.yaml").write_text("stages:\n  - length: {min_words: 1}\n", encoding="utf-8")
    assert clean(here, "numbers.jsonl", "-c", "text=text", "-p", "short.yaml", out="short").status == 0
    assert pq.read_table(here / "short" / "data").to_pylist() == [{"text": "5", "title": "a b"}]
    assert clean(here, "numbers.jsonl", "-c", "text=title", out="title").status == 0


def test_columns_that_tell_no_roles(here: Path) -> None:
    write_lines(here / "odd.jsonl", [{"foo": "one two", "bar": 3}])
    call = clean(here, "odd.jsonl")
    assert call.status == 2
    assert "foo (string), bar (int64)" in call.error
    assert "-c text=COLUMN" in call.error
    assert clean(here, "odd.jsonl", "-c", "text=foo").status == 0


def test_a_role_that_a_stage_needs(here: Path) -> None:
    (here / "pairs.yaml").write_text("stages:\n  - exact_dedup: {roles: [positive]}\n", encoding="utf-8")
    call = clean(here, "rows.jsonl", "-p", "pairs.yaml")
    assert call.status == 2
    assert call.error == (
        "stage exact_dedup: the table has no role 'positive'; its roles are text. "
        "Assign a column to it: -c positive=COLUMN."
    )
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("names", "label", "good", "bad"),
    [
        (("premise", "hypothesis"), "label", "entailment", "contradiction"),
        (("premise", "hypothesis"), "label", 0, 2),
        (("question", "answer"), "Label", 1, 0),
        (("sentence1", "sentence2"), "score", 4.8, 2.5),
        (("sentence1", "sentence2"), "is_duplicate", True, False),
    ],
)
def test_judged_pairs_need_a_decision(here: Path, names: tuple[str, str], label: str, good: Any, bad: Any) -> None:
    pair = dict(zip(names, ("A man is eating food.", "A man eats."), strict=True))
    write_lines(here / "judged.jsonl", [{**pair, label: good}, {**pair, label: bad}])
    call = clean(here, "judged.jsonl")
    assert call.status == 2
    assert f"{names[0]} and {names[1]} come with {label!r}" in call.error
    advice = shlex.split(call.error[call.error.index("--where") :])
    followed = clean(here, "judged.jsonl", *advice)
    assert followed.status == 0, followed.err
    assert pq.read_table(here / "out" / "data").column(label).to_pylist() == [good]


def test_a_file_without_valid_rows_is_reported(here: Path) -> None:
    """The message is about the lines, not about missing columns."""
    write_lines(here / "bad.jsonl", ["1", '{"text": "cut'])
    call = clean(here, "bad.jsonl", "-c", "text=text")
    assert call.status == 1
    assert call.error.startswith("bad.jsonl: ")
    assert "The first error (line 1): expected a JSON object, found a number" in call.error


# ------------------------------------------------------------------------------------------------------------ recipes


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("stages:\n- lenght: {min_words: 2}\n", (), "bad.yaml, line 2: unknown stage 'lenght'; did you mean 'length'?"),
        (
            "stages:\n- length: {min_word: 2}\n",
            (),
            "bad.yaml, line 2: stage length has no option 'min_word'; did you m",
        ),
        ("stages:\n- length:\n    min_words: two\n", (), "bad.yaml, line 3: stage length min_words: "),
        ("stages:\n- length: {min_words: 2\n- where: x\n", (), "bad.yaml, line 3: not valid YAML: "),
        (
            "stages:\n- normalize\n",
            ("-s", "normalise.x=1"),
            "-s normalise.x=1: the recipe has no stage 'normalise'; did",
        ),
        (
            RECIPE,
            ("-s", "length.min_word=3"),
            "-s length.min_word=3: stage length has no option 'min_word'; did you mean",
        ),
        (RECIPE, ("-s", "length.min_words=many"), "-s length.min_words=many: stage length min_words: "),
        (RECIPE, ("-s", "length.min_words=["), "-s length.min_words=[: the value is not valid YAML: "),
        (RECIPE, ("--where", "textt = 'x'"), "stage where: \"textt = 'x'\" cannot be evaluated: "),
        (
            "stages:\n- language: {languages: [english]}\n",
            (),
            "stage language: 'english' is not a label of lid.176.ftz",
        ),
        ("stages:\n- exact_dedup: {roles: [txt]}\n", (), "stage exact_dedup: the table has no role 'txt'; "),
    ],
)
def test_bad_recipe(here: Path, recipe: str, options: tuple[str, ...], message: str) -> None:
    (here / "bad.yaml").write_text(recipe, encoding="utf-8")
    call = clean(here, "rows.jsonl", "-p", "bad.yaml", *options)
    assert call.status == 2
    assert call.error.startswith(message), call.error
    assert "\n" not in call.error
    assert not (here / "out").exists()


def test_no_such_recipe(here: Path) -> None:
    call = clean(here, "rows.jsonl", "-p", "documnts")
    assert call.status == 2
    assert call.error.startswith("no recipe 'documnts': neither a file nor a shipped recipe (")
    assert call.error.endswith(". Did you mean 'documents'?")


def test_an_expression_that_fails_on_a_row_is_reported(here: Path) -> None:
    """A cast in --where succeeds on an empty table, and fails on the first row that is not a number."""
    call = clean(here, "rows.jsonl", "--where", "CAST(text AS INTEGER) > 3")
    assert call.status == 2
    assert call.error.startswith("stage where: ")
    assert "TRY_CAST" in call.error
    assert "Could not convert string 'text number 0'" in call.error
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "cannot be used: "),
        (bytes(1000), "cannot be used: it is not a fastText model: its first bytes differ"),
    ],
)
def test_a_bad_model(here: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (here / "model.bin").write_bytes(content)
    call = clean(here, "rows.jsonl", "-p", "documents", "-s", "language.model=model.bin")
    assert call.status == 1
    assert call.error.startswith("language model model.bin cannot be ")
    assert message in call.error
    assert not (here / "out").exists()


def test_a_truncated_model(here: Path) -> None:
    from jina_data.languages.identify import model_path

    content = model_path(None).read_bytes()
    (here / "model.ftz").write_bytes(content[: len(content) // 2])
    call = clean(here, "rows.jsonl", "-p", "documents", "-s", "language.model=model.ftz")
    assert (call.status, "it ends too early" in call.error) == (1, True)
    assert not (here / "out").exists()


# -------------------------------------------------------------------------------------------------- the output folder


def test_an_output_that_is_a_file(here: Path) -> None:
    call = clean(here, "rows.jsonl", out="recipe.yaml")
    assert (call.status, call.error) == (1, "recipe.yaml is a file; -o expects a folder")
    assert clean(here, "rows.jsonl", out="recipe.yaml/below").error.endswith("cannot be written: Not a directory")
    assert (here / "recipe.yaml").read_text() == RECIPE


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
@pytest.mark.parametrize("held", ["notes.txt", "data/part-00000.parquet", "manifest.json", ".work/notes.txt"])
def test_an_output_folder_that_is_not_a_run_is_not_changed(here: Path, held: str, options: tuple[str, ...]) -> None:
    (here / "mine" / held).parent.mkdir(parents=True)
    (here / "mine" / held).write_text("{}", encoding="utf-8")
    (here / "mine" / "data").mkdir(exist_ok=True)
    (here / "mine" / "data" / "precious").write_text("mine", encoding="utf-8")
    before = snapshot(here / "mine")
    call = clean(here, "rows.jsonl", *options, out="mine")
    assert call.status == 1
    assert "mine" in call.error
    assert "defect" not in call.error
    assert snapshot(here / "mine") == before


def test_an_empty_output_folder_is_accepted(here: Path) -> None:
    (here / "out").mkdir()
    assert clean(here, "rows.jsonl").status == 0


def test_an_empty_output_folder_stays_empty_after_an_error(here: Path) -> None:
    (here / "out").mkdir()
    assert clean(here, truncated_gzip_behind_the_sample(here)).status == 1
    assert list((here / "out").iterdir()) == []


def test_a_finished_run(here: Path) -> None:
    assert clean(here, "rows.jsonl").status == 0
    before = snapshot(here / "out")
    again = clean(here, "rows.jsonl")
    assert (again.status, "out is finished: same inputs, same settings; nothing to do" in again.err) == (0, True)
    assert "50 of 50 rows kept" in again.out
    for options, change in (
        (("-s", "length.min_words=3"), "another recipe"),
        (("--limit", "3"), "another --limit"),
        (("--format", "jsonl"), "another output format"),
        (("-c", "text=text", "-c", "source=n"), "another source column"),
    ):
        call = clean(here, "rows.jsonl", *options)
        assert call.status == 1
        assert call.error == (
            f"out holds a finished run with {change}. Name another folder, or replace it with --overwrite"
        )
    os.utime(here / "rows.jsonl", (1, 1))
    assert "another" not in clean(here, "rows.jsonl").error.split(".")[0]
    assert snapshot(here / "out") == before


def test_overwrite_replaces_a_run_and_nothing_else(here: Path) -> None:
    assert clean(here, "rows.jsonl", "--limit", "9").status == 0
    for foreign in ("notes.txt", "data/README.md"):
        (here / "out" / foreign).write_text("mine", encoding="utf-8")
        before = snapshot(here / "out")
        call = clean(here, "rows.jsonl", "--overwrite")
        assert call.status == 1
        assert call.error == f"out holds {foreign}, which no run wrote; move it away before --overwrite"
        assert snapshot(here / "out") == before
        (here / "out" / foreign).unlink()
    assert clean(here, "rows.jsonl", "--overwrite").status == 0
    assert pq.read_table(here / "out" / "data").num_rows == 50


def test_a_stale_output_of_an_overwrite_that_was_killed_is_replaced(here: Path) -> None:
    """--overwrite removes the manifest first; a kill after that leaves old outputs and the lock."""
    assert clean(here, "rows.jsonl", "--limit", "9").status == 0
    (here / "out" / "manifest.json").unlink()
    (here / "out" / ".work").mkdir()
    (here / "out" / ".work" / "lock").touch()
    call = clean(here, "rows.jsonl")
    assert call.status == 0, call.err
    assert clean(here, "rows.jsonl", out="fresh").status == 0
    assert outputs(here / "out") == outputs(here / "fresh")


def test_a_lock_left_behind_does_not_make_a_finished_run_unfinished(here: Path) -> None:
    """An --overwrite that was killed before it removed anything leaves the old run unchanged, and its lock."""
    assert clean(here, "rows.jsonl", "--limit", "9").status == 0
    before = snapshot(here / "out")
    (here / "out" / ".work").mkdir()
    (here / "out" / ".work" / "lock").touch()
    call = clean(here, "rows.jsonl")
    assert call.status == 1
    assert "holds a finished run with another --limit" in call.error
    (here / "out" / ".work" / "lock").unlink()
    assert snapshot(here / "out") == before


# ------------------------------------------------------------------------------------------------------------ failures


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Callable[[str], object]]:
    """Mount a file system of a given size, and yield a function that resizes it. Skip if this is not permitted."""

    def mount(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["mount", *options, str(path)], capture_output=True, text=True, check=False)

    path.mkdir()
    if not shutil.which("mount") or os.geteuid():
        pytest.skip("needs root, to mount a small file system")
    if (mounted := mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs")).returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield lambda size: mount("-o", f"remount,size={size}")
    finally:
        subprocess.run(["umount", str(path)], check=False)


@pytest.mark.parametrize(
    ("size", "workers"), [("64k", "1"), ("2m", "2"), pytest.param("5m", "1", marks=pytest.mark.full)]
)
def test_a_full_disk(corpus: Path, tmp_path: Path, size: str, workers: str) -> None:
    with small_disk(tmp_path / "disk", size) as resize:
        out = tmp_path / "disk" / "out"
        inputs = (*CORPUS[1:], "-c", "text=text", "--workers", workers)
        call = clean(corpus, *inputs, out=str(out))
        assert call.status == 1
        assert call.error == (
            f"the disk of {out} is full. Free some space and run the same command again: the run will resume"
        )
        resize("200m")
        call = clean(corpus, *inputs, out=str(out))
        assert call.status == 0, call.err
        assert f"resuming the run in {out}" in call.err
        assert clean(corpus, *inputs, out=str(tmp_path / "undisturbed")).status == 0
        assert outputs(out) == outputs(tmp_path / "undisturbed")


@pytest.fixture(scope="session")
def undisturbed(corpus: Path) -> dict[str, bytes]:
    assert clean(corpus, *CORPUS, "-c", "text=text", out="undisturbed").status == 0
    return outputs(corpus / "undisturbed")


class Running:
    """A run in its own process group, like the one that receives Ctrl-C from a terminal."""

    def __init__(self, corpus: Path, out: Path, workers: str) -> None:
        command = [
            *JINA_DATA,
            "clean",
            *CORPUS,
            "-p",
            "recipe.yaml",
            "-c",
            "text=text",
            "-o",
            out,
            "--workers",
            workers,
        ]
        self.events = out / "events.jsonl"
        self.process = subprocess.Popen(
            list(map(str, command)),
            cwd=corpus,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def wait_until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not reached():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def has_logged(self, text: str, times: int = 1) -> Callable[[], bool]:
        return lambda: self.events.exists() and self.events.read_text(encoding="utf-8").count(text) >= times

    def has_children(self, number: int) -> Callable[[], bool]:
        return lambda: len(children_of(self.process.pid)) >= number

    def interrupt(self) -> Call:
        os.killpg(self.process.pid, signal.SIGINT)
        _, err = self.process.communicate(timeout=60)
        return Call(self.process.returncode, "", err)


def children_of(pid: int) -> list[int]:
    """Return the child processes of a process."""
    children = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            children.append(int(entry.parent.name))
    return children


@pytest.mark.parametrize(
    ("moment", "workers"), [("read 0:", "2"), ("pass 0:", "1"), ("pass 0:", "2"), ("decide", "1"), ("data 0", "2")]
)
def test_ctrl_c(corpus: Path, undisturbed: dict[str, bytes], tmp_path: Path, moment: str, workers: str) -> None:
    with Running(corpus, tmp_path / "out", workers) as run:
        run.wait_until(run.has_logged(f'"unit": "{moment}'))
        time.sleep(0.02)
        call = run.interrupt()
    assert call.status == 1, call.err
    assert call.error == (f"stopped. Run the same command again to resume the run in {tmp_path / 'out'}")
    again = clean(corpus, *CORPUS, "-c", "text=text", "--workers", workers, out=str(tmp_path / "out"))
    assert again.status == 0, again.err
    assert outputs(tmp_path / "out") == undisturbed


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the workers in /proc")
def test_ctrl_c_while_the_workers_start(corpus: Path, tmp_path: Path) -> None:
    """Workers that start do not ignore the signal yet, and must not print tracebacks."""
    for number, seconds in enumerate((0.05, 0.3, 0.6)):
        with Running(corpus, tmp_path / f"out-{number}", "2") as run:
            run.wait_until(run.has_children(2))
            time.sleep(seconds)
            call = run.interrupt()
        assert call.status == 1
        assert "Traceback" not in call.err
        assert call.error.startswith("stopped. Run the same command again")


def test_ctrl_c_before_the_run_begins(corpus: Path, tmp_path: Path) -> None:
    with Running(corpus, tmp_path / "out", "1") as run:
        time.sleep(0.6)
        call = run.interrupt()
    assert call.status in (1, -signal.SIGINT)
    assert call.status < 0 or call.error.startswith("stopped")


def test_two_runs_in_one_folder(corpus: Path, tmp_path: Path) -> None:
    with Running(corpus, tmp_path / "out", "1") as run:
        run.wait_until(run.has_logged('"unit": "read'))
        os.killpg(run.process.pid, signal.SIGSTOP)
        for options in ((), ("--overwrite",), ("-s", "length.min_words=3")):
            call = clean(corpus, *CORPUS, "-c", "text=text", *options, out=str(tmp_path / "out"))
            assert call.status == 1
            assert call.error == f"{tmp_path / 'out'} is in use by another run; wait for it, or name another folder"
        os.killpg(run.process.pid, signal.SIGCONT)
        _, err = run.process.communicate(timeout=300)
        assert run.process.returncode == 0, err


# ---------------------------------------------------------------------------------------------------------- --debug


@pytest.mark.parametrize(
    "arguments",
    [("clean", "nothing.jsonl", "-o", "out", "--debug"), ("--debug", "clean", "nothing.jsonl", "-o", "out")],
)
def test_debug_shows_a_traceback(here: Path, arguments: tuple[str, ...]) -> None:
    call = jina_data(*arguments, cwd=here)
    assert call.status == 1
    assert call.err.startswith("Traceback (most recent call last):")
    assert call.err.splitlines()[-1].startswith("jina_data.errors.InputError: nothing.jsonl: no such file or folder")

"""Reads and writes labels: those of a run in `labels/STAGE.jsonl`, and those of a file that a user names."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jina_data.errors import InputError
from jina_data.run.files import atomic_file
from jina_data.run.inspection import shown_raw

RANDOM, NEAR, GIVEN = "random", "near", "given"
"""How a row was chosen: at random from its stratum, near the threshold, or not known (from a file)."""

EXPECTED = (
    'expected an object with "file" and "row", or "row_id", and "keep" (true, false, or null if not labelled), such as '
    '{"file": "questions.jsonl", "row": 17, "keep": true}'
)


@dataclass(frozen=True)
class Label:
    """Whether a row should be kept, according to a person. `time` is in seconds since 1970."""

    file: str
    row: int
    row_id: int
    stage: str
    keep: bool
    sample: str
    time: float

    @classmethod
    def now(cls, file: str, row: int, row_id: int, *, stage: str, keep: bool, sample: str) -> Label:
        """Return a label with the current time."""
        return cls(file, row, row_id, stage, keep, sample, round(time.time(), 3))


@dataclass(frozen=True)
class GivenLabel:
    """A label of a file that a user names. `line` counts from 1; the row is given by file and row, row_id, or both."""

    line: int
    keep: bool
    sample: str
    row_id: int | None = None
    file: str | None = None
    row: int | None = None


@dataclass(frozen=True)
class LabelFile:
    """The labels of one stage in a run folder. Each label is one line, written at once."""

    path: Path

    def load(self) -> dict[int, Label]:
        """Return the labels by row id; a later line about a row replaces an earlier one.

        Raises:
            InputError: a line is not a label. The line that a killed session was writing does not count.
        """
        labels = {}
        for number, line in _lines(self.path):
            try:
                label = Label(**json.loads(line))
            except (ValueError, TypeError):
                raise InputError(
                    f"{self.path}, line {number}: {shown_raw(line, 200)} is not a label; remove the line"
                ) from None
            labels[label.row_id] = label
        return labels

    def append(self, *labels: Label) -> None:
        """Add labels at the end."""
        self.path.parent.mkdir(exist_ok=True)
        self._end_last_line()
        text = "".join(json.dumps(asdict(label)) + "\n" for label in labels)
        with self.path.open("ab") as sink:
            sink.write(text.encode())
            sink.flush()
            os.fsync(sink.fileno())

    def remove(self, row_id: int) -> None:
        """Remove the labels of a row."""
        if not self.path.exists():
            return
        labels = [line for _, line in _lines(self.path) if json.loads(line)["row_id"] != row_id]
        with atomic_file(self.path, "w") as sink:
            sink.write("".join(f"{line}\n" for line in labels))

    def _end_last_line(self) -> None:
        """Remove an incomplete last line, which a killed session wrote; end a complete one that has no line break."""
        if not self.path.exists() or (data := self.path.read_bytes()).endswith(b"\n") or not data:
            return
        complete = list(_lines(self.path))
        with atomic_file(self.path, "w") as sink:
            sink.write("".join(f"{line}\n" for _, line in complete))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers, without blank lines and without an incomplete last line."""
    if not path.exists():
        return
    text = path.read_bytes().decode("utf-8", "replace")
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        is_last = number == len(lines)
        if line.strip() and not (is_last and not _is_json(line)):
            yield number, line


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def read_given_labels(path: Path, stage: str) -> tuple[list[GivenLabel], int]:
    """Return the labels of a file about a stage, and the number of rows in it that are not labelled.

    Raises:
        InputError: the file cannot be read, or a line is no label.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}; expected labels as JSON lines in UTF-8") from None
    labels, n_empty = [], 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        label = _given_label(path, number, line, stage)
        n_empty += label is None
        labels += [label] if label else []
    return labels, n_empty


def _given_label(path: Path, number: int, line: str, stage: str) -> GivenLabel | None:
    def problem(what: str) -> InputError:
        return InputError(f"{path}, line {number}: {what} in {shown_raw(line.strip(), 200)}; {EXPECTED}")

    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise problem("no valid JSON") from None
    if not isinstance(values, Mapping):
        raise problem("no JSON object")
    if "keep" not in values:
        raise problem('no key "keep"')
    if values.get("stage") not in (None, stage):
        raise problem(f"the stage is not {stage}")
    keep, sample = values["keep"], values.get("sample", GIVEN)
    if keep is not None and keep != "" and not isinstance(keep, bool):
        raise problem('"keep" is neither true, false nor null')
    if sample not in (RANDOM, NEAR, GIVEN):
        raise problem(f'"sample" is not {RANDOM}, {NEAR} or {GIVEN}')
    place = {name: values.get(name) for name in ("row_id", "row")}
    if not all(value is None or _is_count(value) for value in place.values()):
        raise problem('"row" or "row_id" is not a whole number')
    file = values.get("file")
    if place["row_id"] is None and (not isinstance(file, str) or place["row"] is None):
        raise problem('neither "file" and "row" nor "row_id"')
    if not isinstance(keep, bool):
        return None
    return GivenLabel(number, keep, sample, place["row_id"], file if isinstance(file, str) else None, place["row"])


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63

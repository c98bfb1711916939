"""Detects how a JSON file holds its records: as lines, array, values, columns, or as a list inside of a document."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from jina_data.errors import InputError
from jina_data.read.csv_format.header import has_known_name
from jina_data.read.encoding import BOM
from jina_data.read.json_format.columns import CONVERT, column_notes, load_document, orientation_of
from jina_data.read.json_format.grammar import BETWEEN, SPACE, START, STRING, value_end
from jina_data.read.json_format.load import NotARowError, stored_keys, try_load
from jina_data.read.json_format.reading import (
    DOCUMENT_ITSELF,
    Reading,
    Step,
    is_small,
    parse_records_path,
    path_text,
    reading_of,
    taken_names,
)
from jina_data.read.model import SAMPLE_ROWS, InputFile
from jina_data.read.names import is_usable, replaced_names, usable_names

MAX_ITEMS = 100
"""Items of an array that decide what its records are."""

_KEY = re.compile(BETWEEN.pattern + rb"(" + STRING + rb")" + SPACE + rb":" + SPACE)
_LIST_OF_OBJECTS = re.compile(rb"\[" + SPACE + rb"(?:\{|.?" + SPACE + STRING + SPACE + rb":)")
"""A list whose first item is an object, or has one wrong byte in the place of its {."""
_BROKEN_OBJECT = re.compile(rb"\[" + SPACE + STRING + SPACE + rb":")
_NEXT_OBJECT = re.compile(rb"\}\s*+\{\s*+\"")
"""Between objects that no comma separates."""
_COMMA = re.compile(rb"\s*+,\s*+\{")
_SHAPES: dict[type, str] = {dict: "objects", list: "lists", str: "texts"}


@dataclass(frozen=True)
class Member:
    """A field of a document: its keys from the root, and the bytes of its value, as far as they are in the head."""

    keys: tuple[str, ...]
    start: int
    end: int | None

    @property
    def path(self) -> str:
        """The path of its items."""
        return path_text((*self.keys, None))


def choose_layout(file: InputFile, head: bytes, *, at_end: bool) -> InputFile:
    """Return a file with the layout that its first bytes show, or that is set. `at_end`: they are the whole file.

    Raises:
        InputError: the layout is known, but cannot be read.
    """
    found = _choose(file, head, at_end=at_end)
    if found.option("layout") == "columns":
        return found
    reading = reading_of(found)
    values, outer = _sample(found, head, at_end=at_end)
    if not reading.path and reading.shape == "texts":
        found = found.with_notes(_doubly_encoded(values))
    elif not reading.path:
        found = found.with_notes(
            _renamed_keys(values) if reading.shape == "objects" else _doubts(file, reading, values)
        )
    if reading.is_plain:
        return found
    found = found.with_notes(_left_out(head, reading))
    taken = taken_names(reading, values, outer)
    return replace(found, options=(*found.options, ("taken", json.dumps(taken)))) if taken else found


def _left_out(head: bytes, reading: Reading) -> list[str]:
    """Return a note about the fields of the document after its list of records, as far as they are in the head."""
    keys = reading.above
    members = list(_members(head, BETWEEN.match(head, 0).end())) if keys else []  # type: ignore[union-attr]
    place = next((number for number, member in enumerate(members) if member.keys == keys), len(members))
    names = [
        ".".join(member.keys)
        for member in members[place + 1 :]
        if member.end and member.keys[:-1] == keys[: len(member.keys) - 1] and member.keys != keys
        if is_small(try_load(head[member.start : member.end]))
    ]
    return [f"fields after the records are not read: {', '.join(names)}"] if names else []


def _doubts(file: InputFile, reading: Reading, values: list[Any]) -> list[str]:
    """Return a note if the first of some lists seems to hold the names of columns, and this was not set."""
    lists = [value for value in values if isinstance(value, list)]
    if reading.shape != "lists" or file.settings.header is not None or reading.names or len(lists) < 2:
        return []
    names, *rows = lists
    if not all(isinstance(name, str) for name in names):
        return []
    is_over_numbers = any(
        all(isinstance(row[position], int | float) for row in rows if position < len(row))
        for position in range(len(names))
        if any(position < len(row) for row in rows)
    )
    if not is_over_numbers and not has_known_name(names):
        return []
    shown = ", ".join(names)
    return [f"the first list seems to hold column names ({shown[:60]}), but is read as a row; if it does, use --header"]


def _doubly_encoded(values: list[Any]) -> list[str]:
    """Return a note if the texts of a file are JSON objects."""
    objects = [value for value in values if isinstance(value, str) and isinstance(try_load(value.encode()), dict)]
    if 2 * len(objects) <= len(values):
        return []
    return ["the texts are JSON objects, perhaps encoded twice; they are read as texts"]


def _renamed_keys(values: list[Any]) -> list[str]:
    """Return notes about the keys of records that cannot be names of columns."""
    notes: dict[str, None] = {}
    for value in values:
        if not isinstance(value, dict):
            continue
        names = stored_keys(value)
        if len(set(names)) < len(names) or not all(map(is_usable, names)):
            notes.update(dict.fromkeys(replaced_names(names)))
    return list(notes)


def _sample(file: InputFile, head: bytes, *, at_end: bool) -> tuple[list[Any], dict[str, Any]]:
    """Return the first values of a file, and the fields of the document around them."""
    if file.format == "jsonl":
        lines = head.removeprefix(BOM).split(b"\n")[: SAMPLE_ROWS if at_end else -1][:SAMPLE_ROWS]
        return [value for value in map(try_load, lines) if not isinstance(value, NotARowError)], {}
    begin = BETWEEN.match(head, 0).end()  # type: ignore[union-attr]
    keys = reading_of(file).above
    outer: dict[str, Any] = {}
    if keys:
        members = list(_members(head, begin))
        for member in members:
            if member.keys == keys:
                begin = member.start
                break
            if member.end and len(member.keys) <= len(keys) and member.keys[:-1] == keys[: len(member.keys) - 1]:
                outer[".".join(member.keys)] = try_load(head[member.start : member.end])
    position = begin + (file.option("layout") in ("array", "wrapped"))
    return [try_load(head[start:end]) for start, end in _values(head, position)], {
        path: value for path, value in outer.items() if is_small(value)
    }


def _choose(file: InputFile, head: bytes, *, at_end: bool) -> InputFile:
    mark = len(BOM) if head.startswith(BOM) else 0
    lines, shape = _lines(head[mark:], at_end=at_end)
    steps = _records_path(file)
    is_document = file.format == "json" and len(lines) == 1 and at_end
    if (lines and shape and not is_document) or not head[mark:].strip():
        options = {"shape": shape or "objects", "path": path_text(steps), "records": path_text(steps)}
        return _with_header(replace(file, format="jsonl"), options, head)
    begin = BETWEEN.match(head, 0).end()  # type: ignore[union-attr]
    first = head[begin : begin + 1]
    is_broken_object = _BROKEN_OBJECT.match(head, begin) is not None and _NEXT_OBJECT.search(head) is not None
    is_array = first == b"[" and not is_broken_object
    if is_array or _is_broken_array(head, begin):
        if steps[:1] == (None,):
            steps = steps[1:]
        shape = _shape_of_items(head, begin + 1)
        end = value_end(head, begin)
        if shape == "lists" and end is None and at_end:  # the list in the list closes, but not the list
            shape = "objects"
        options = {"layout": "array", "shape": shape, "path": path_text(steps)}
        if steps:
            options["records"] = path_text((None, *steps))
        return _with_header(replace(file, format="json"), options, head)
    if first == b"{":
        return _with_document(replace(file, format="json"), head, begin, at_end=at_end)
    if first != b'"' and 2 * sum(map(_has_prefix, lines)) > len(lines):
        return _with_header(replace(file, format="jsonl"), {"shape": "objects"}, head)
    found = shape or ("objects" if is_broken_object else _shape_of_items(head, begin))
    return replace(file, format="json", options=_options({"layout": "values", "shape": found}))


def _is_broken_array(head: bytes, begin: int) -> bool:
    """Return whether one wrong byte is before objects that commas separate."""
    start = BETWEEN.match(head, begin + 1).end()  # type: ignore[union-attr]
    if head[begin : begin + 1] == b"[" or not START["objects"].match(head, start):
        return False
    end = value_end(head, start)
    return end is not None and bool(_COMMA.match(head, end[0]))


def _records_path(file: InputFile) -> tuple[Step, ...]:
    path = file.settings.records
    return () if path is None or path == DOCUMENT_ITSELF else parse_records_path(path)


def _options(options: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in options.items() if value and (name, value) != ("shape", "objects"))


def _lines(head: bytes, *, at_end: bool) -> tuple[list[bytes], str | None]:
    """Return the complete lines, and what most of them are, if most are records."""
    raw = head.split(b"\n")
    if not at_end:
        raw = raw[:-1]
    lines = [line for line in raw[: 2 * SAMPLE_ROWS] if line.strip()][:SAMPLE_ROWS]
    kinds = Counter(_SHAPES.get(type(value), "") for value in map(_plain, lines))
    kinds.pop("", None)
    shape, count = kinds.most_common(1)[0] if kinds else ("", 0)
    n_broken = sum(map(_is_broken_record, lines)) if shape == "objects" else 0
    if not shape or 2 * (count + n_broken) <= len(lines):
        return lines, None
    if shape == "lists" and 2 * sum(_are_objects(try_load(line)) for line in lines) > count:
        return lines, None  # one array in each line
    return lines, shape


def _is_broken_record(line: bytes) -> bool:
    """Return whether a line begins as an object does and is broken, but not one that goes on in the next line."""
    is_start = START["objects"].match(line) is not None and not line.rstrip().endswith((b",", b"{", b"[", b":"))
    return is_start and isinstance(try_load(line), NotARowError)


def _has_prefix(line: bytes) -> bool:
    """Return whether a line is an object after something else, such as `data: {"text": "..."}`."""
    start = START["objects"].search(line)
    if start is None or not isinstance(try_load(line[: start.start()].strip()), NotARowError):
        return False
    return not isinstance(try_load(line[start.start() :]), NotARowError)


def _plain(line: bytes) -> Any:
    value = try_load(line)
    return None if isinstance(value, NotARowError) else dict(value) if isinstance(value, dict) else value


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _values(head: bytes, position: int) -> Iterator[tuple[int, int]]:
    """Yield the places of the valid values that follow one another."""
    for _ in range(MAX_ITEMS):
        start = BETWEEN.match(head, position).end()  # type: ignore[union-attr]
        end = value_end(head, start) if start < len(head) else None
        if end is None or not end[1]:
            return
        yield start, end[0]
        position = end[0]


def _shape_of_items(head: bytes, position: int) -> str:
    kinds = Counter(_SHAPES.get(type(_plain(head[start:end])), "") for start, end in _values(head, position))
    kinds.pop("", None)
    shape = kinds.most_common(1)[0][0] if kinds else "objects"
    if not kinds and head[BETWEEN.match(head, position).end() :].startswith(b"["):  # type: ignore[union-attr]
        shape = "lists"
    return "objects" if shape == "texts" and START["objects"].search(head) else shape


def _with_header(file: InputFile, options: dict[str, str], head: bytes) -> InputFile:
    """Add the names of the columns of lists: those that are set, or the first list."""
    names = list(file.settings.column_names)
    if options["shape"] == "lists" and file.settings.header:
        position = 0
        if options.get("layout") == "array":
            position = BETWEEN.match(head, 0).end() + 1  # type: ignore[union-attr]
        start, end = next(_values(head, position), (0, 0))
        header = try_load(head[start:end]) if end else []
        names = names or [str(name) for name in header]
        options["header_end"] = str(end)
    if names and options["shape"] != "objects":
        options["names"] = json.dumps(usable_names(names))
    return replace(file, options=_options(options))


def _with_document(file: InputFile, head: bytes, begin: int, *, at_end: bool) -> InputFile:
    steps = _records_path(file)
    if steps:
        return replace(file, options=_options(_path_options(steps, head, begin)))
    end = value_end(head, begin)
    is_valid = end is not None and end[1]
    is_one = not is_valid or end is None or not head[end[0] :].strip()
    if file.settings.records is None and is_one:
        options = _document_options(file, head, begin, is_whole=at_end and is_valid)
        if options is not None:
            return replace(file, options=_options(options))
    return replace(file, options=_options({"layout": "values"}))


def _path_options(steps: tuple[Step, ...], head: bytes, begin: int) -> dict[str, str]:
    if None not in steps:
        member = next((member for member in _members(head, begin) if member.keys == steps), None)
        if member is not None and head[member.start : member.start + 1] == b"{":
            return {"layout": "values", "path": path_text(steps), "records": path_text(steps)}
        steps = (*steps, None)
    first = steps.index(None)
    keys, path = steps[:first], steps[first + 1 :]
    if not keys:
        return {"layout": "values", "path": path_text(steps), "records": path_text(steps)}
    return {
        "layout": "wrapped",
        "above": json.dumps(keys),
        "path": path_text(path),
        "records": path_text(steps),
    }


def _document_options(file: InputFile, head: bytes, begin: int, *, is_whole: bool) -> dict[str, str] | None:
    """Return the layout of a file that is one object; None if the object is a record."""
    members = list(_members(head, begin))
    lists = [member for member in members if _LIST_OF_OBJECTS.match(head, member.start)]
    top = {member.keys[0] for member in members}
    if {"features", "rows"} <= top and _is_viewer(head, members):
        return _path_options(("rows", None, "row"), head, begin)
    if not is_whole and lists:
        chosen = lists[-1] if lists[-1].end is None else lists[0]
        return _path_options((*chosen.keys, None), head, begin)
    if {"schema", "data"} <= top <= {"schema", "data"} and ("data",) in (member.keys for member in lists):
        return _path_options(("data", None), head, begin)
    document = load_document(file) if _may_be_columns(head, begin) else None
    orientation = orientation_of(document)
    if orientation and document is not None:
        notes = column_notes(document, orientation)
        return {
            "layout": "columns",
            "orientation": orientation,
            "notes": json.dumps(notes) if notes else "",
        }
    if document is not None:
        _refuse_columns(file, document)
    if len(lists) == 1:
        return _path_options((*lists[0].keys, None), head, begin)
    return {"layout": "values", "candidates": ", ".join(member.path for member in lists)} if lists else None


def _is_viewer(head: bytes, members: list[Member]) -> bool:
    rows = next(member for member in members if member.keys == ("rows",))
    start, end = next(_values(head, rows.start + 1), (0, 0))
    row = try_load(head[start:end])
    return isinstance(row, dict) and {"row_idx", "row"} <= row.keys()


def _members(head: bytes, begin: int, above: tuple[str, ...] = ()) -> Iterator[Member]:
    """Yield the fields of an object and of the objects in it, as far as they are in the head."""
    position = begin + 1
    while key := _KEY.match(head, position):
        name = try_load(key.group(1))
        if not isinstance(name, str):
            return
        start = key.end()
        end = value_end(head, start)
        yield Member((*above, name), start, end[0] if end else None)
        if head[start : start + 1] == b"{":
            yield from _members(head, start, (*above, name))
        if end is None:
            return
        position = end[0]


def _may_be_columns(head: bytes, begin: int) -> bool:
    """Return whether the first field of an object holds lists or objects, as columns do."""
    key = _KEY.match(head, begin + 1)
    return key is not None and head[key.end() : key.end() + 1] in (b"[", b"{")


def _refuse_columns(file: InputFile, document: dict[str, Any]) -> None:
    """Refuse an object of equally long lists of which some hold lists or objects: one record, or columns?"""
    parts = list(document.values()) if isinstance(document, dict) else []
    if len(parts) < 2 or not all(isinstance(part, list) for part in parts):
        return
    lengths = {len(part) for part in parts}
    if len(lengths) > 1 or lengths.pop() < 2 or all(map(_holds_objects, parts)):
        return
    raise InputError(
        f"{file.name}: this seems to be column-oriented JSON (a list for each column: {', '.join(document)}), but some "
        f"of its columns hold lists or objects, so that it may be one record with lists. {CONVERT} "
        "If it is one record, set records to '.'."
    )

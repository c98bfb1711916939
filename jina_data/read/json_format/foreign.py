"""Names what a file is that should be JSON and is not, and how to convert it."""

from __future__ import annotations

import ast
import re

from jina_data.read.encoding import BOM
from jina_data.read.json_format.load import NotARowError, load_value

_STRING = r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
_ASSIGNMENT = re.compile(r"(?:(?:var|let|const)\s+)?[\w$.\[\]\"']+\s*=\s*[\[{]|module\.exports|export\s+default\b")
_CALL = re.compile(r"[\w$.]+\s*\(\s*[\[{]")
_STARTS = (
    (
        re.compile(r"<(?:!doctype\s+)?html", re.IGNORECASE),
        "this is an HTML page, not JSON; a download was probably answered by a web page. Fetch the file again",
    ),
    (re.compile("<"), "this is XML or HTML, not JSON. Convert it"),
    (
        re.compile(r"\)\]\}'|(?:while|for)\s*\("),
        "this is JSON after a line against scripts. Delete all before the first [ or {",
    ),
    (_ASSIGNMENT, "this is JavaScript that assigns a value. Delete all before the first [ or {, and a ; at the end"),
    (_CALL, "this is JSONP (a call of a function), not JSON. Delete the name and brackets of the call"),
)
_COMMENT = re.compile(_STRING + r"|(//|/\*|^\s*#)", re.MULTILINE)
_TRAILING_COMMA = re.compile(_STRING + r"|(,\s*[}\]])")
_BARE_KEY = re.compile(_STRING + r"|([{,]\s*[A-Za-z_$][\w$]*\s*:)")
_PYTHON_WORD = re.compile(_STRING + r"|([:\[,]\s*(?:True|False|None|nan)\s*[,}\]])")

_DICTS = "these are Python dicts (single quotes, True, None), not JSON. Convert them: "
DICT_LINES = (
    f'{_DICTS}python -c "import ast, json, sys; [print(json.dumps(ast.literal_eval(line), ensure_ascii=False)) '
    'for line in sys.stdin]" < IN > OUT.jsonl'
)
DICT_LIST = (
    f'{_DICTS}python -c "import ast, json, sys; json.dump(ast.literal_eval(sys.stdin.read()), sys.stdout, '
    'ensure_ascii=False)" < IN > OUT.json'
)
JSON5 = (
    "this is JSON5 or JavaScript ({}), not JSON. Convert it, for example with pip install json5, and: "
    'python -c "import json, json5, sys; json.dump(json5.load(sys.stdin), sys.stdout, ensure_ascii=False)" '
    "< IN > OUT.json"
)


def describe(head: bytes) -> str | None:
    """Return what the first bytes of a file are, and how to convert it; None if that is not known."""
    text = head.removeprefix(BOM).decode("utf-8", "replace").lstrip()
    start = next((found for pattern, found in _STARTS if pattern.match(text)), None)
    return start or _describe_value(text)


def _describe_value(text: str) -> str | None:
    if text[:1] not in ("{", "[", "("):
        return _describe_text(text)
    if _is_python(text):
        return DICT_LIST if text.startswith("[") and not _is_python_value(text.partition("\n")[0]) else DICT_LINES
    found = _json5(text)
    return JSON5.format(found) if found else None


def _describe_text(text: str) -> str | None:
    line = text.splitlines()[0] if text else ""
    if re.fullmatch(r"[^{\"]*\{\s*\".*\}\s*", line):
        return "text stands before the object in each line. Delete it, for example: sed 's/^[^{]*//' IN > OUT.jsonl"
    if text.startswith(("//", "/*")):
        return JSON5.format("comments")
    if re.match(r"(?:---\s|- [\w\"']+:|[\w\"']+:\s)", text):
        return "this looks like YAML, not JSON. Convert it"
    if any(separator in line for separator in (",", ";", "\t")):
        return "this looks like CSV or TSV, not JSON. Rename it, or set format to csv or tsv"
    return None


def _is_python(text: str) -> bool:
    lines = [line.strip().rstrip(",") for line in text.splitlines()[:20] if line.strip()]
    values = [*[line for line in lines if line[:1] in "{[("][:5], text.strip()]
    return any(map(_is_python_value, values)) or bool(
        any(match.group(1) for match in _PYTHON_WORD.finditer(text[:100_000])) or re.match(r"[\[(]?\s*\{\s*'", text)
    )


def _is_python_value(text: str) -> bool:
    try:
        load_value(text.encode("utf-8", "surrogatepass"))
    except NotARowError:
        pass
    else:
        return False
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return False
    return isinstance(value, dict | list | tuple) and bool(re.search(r"'|\b(?:True|False|None)\b|\(", text))


def _json5(text: str) -> str:
    head = text[:100_000]
    found = [
        name
        for name, pattern in (
            ("comments", _COMMENT),
            ("commas before a closing bracket", _TRAILING_COMMA),
            ("keys without quotes", _BARE_KEY),
        )
        if any(match.group(1) for match in pattern.finditer(head))
    ]
    return ", ".join(found)

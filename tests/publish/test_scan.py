from __future__ import annotations

import pyarrow as pa
import pytest

from jina_data.publish.scan import Scan

# Assembled at run time, so that no secret scanner reports this file.
FAKE = "A1b2C3d4" * 8

FOUND: list[tuple[str, str]] = [
    ("AKIA" + "ABCDEFGHIJ234567", "AWS access key"),
    ("token ghp_" + FAKE[:36], "GitHub token"),
    ("hf_" + FAKE[:34], "Hugging Face token"),
    ("key=sk-" + FAKE[:40], "API key (sk-...)"),
    ("xoxb-" + "123456789012-abc", "Slack token"),
    ("AIza" + FAKE[:35], "Google API key"),
    ("-----BEGIN RSA PRIVATE KEY-----", "private key"),
    (f"eyJ{FAKE[:20]}.eyJ{FAKE[:20]}.{FAKE[:20]}", "JSON web token"),
    ("see postgres://jane:secret@db.host/x", "password in a URL"),
    ("write to jane.doe+x@mail.acme.co.uk.", "e-mail address"),
    ("ping 8.8.8.8 now", "IPv4 number"),
    ("at 2001:4860:4860::8888, say", "IPv6 number"),
]

NOT_FOUND = [
    "jane@example.com and joe@mail.example.org",
    "192.168.1.1, 10.0.0.1, 127.0.0.1 and 0.0.0.0",
    "section 1.2.3.4.5 of version 999.1.1.1",
    "12:30:45 and a::b, std::vector<int>::size",
    "@jane said hi @ noon",
    "http://host:8080/path and https://example.com/a@b",
    "sk-short, hf_short, AKIA123",
    "",
]


@pytest.mark.parametrize(("text", "kind"), FOUND)
def test_sensitive_content_is_found(text: str, kind: str) -> None:
    scan = Scan()
    batch = pa.record_batch({"text": pa.array(["fine", None, text]), "_file": ["a.csv"] * 3, "_row": [7, 8, 9]})
    assert scan.check(batch) == {2}
    assert scan.lines() == [f"likely {kind} in 1 row: a.csv:9 (text)"]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_harmless_content_is_not_found(text: str) -> None:
    assert Scan().check(pa.record_batch({"text": [text]})) == set()


def test_lists_and_structs_are_scanned() -> None:
    mail = "jane@acme.com"
    batch = pa.record_batch(
        {
            "id": ["a", "b", "c", "d"],
            "list": [["x"], None, [mail, mail], []],
            "deep": [{"texts": [{"t": "x"}]}, {"texts": None}, None, {"texts": [{"t": "x"}, {"t": mail}]}],
            "n": [1, 2, 3, 4],
        }
    )
    scan = Scan()
    assert scan.check(batch) == {2, 3}
    assert scan.lines() == ["likely e-mail address in 2 rows: c (list), d (deep)"]


def test_secrets_come_first_and_places_are_bounded() -> None:
    scan = Scan()
    for first in range(0, 20, 10):
        rows = range(first, first + 10)
        texts = [f"m{n}@acme.com" for n in rows]
        scan.check(pa.record_batch({"text": texts, "_file": ["f"] * 10, "_row": list(rows)}))
    scan.check(pa.record_batch({"text": ["hf_" + FAKE[:34]], "_file": ["f"], "_row": [20]}))
    locations = ", ".join(f"f:{n} (text)" for n in range(5))
    assert scan.lines() == [
        "likely Hugging Face token in 1 row: f:20 (text)",
        f"likely e-mail address in 20 rows: {locations} and 15 more",
    ]
    assert FAKE[:34] not in "".join(scan.lines())

"""Small files as they occur in the field, and the rows that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jina_data.read import InputOptions, resolve_inputs, settled_schema
from tests.support.tables import ranges_of, table_of

FILES: list[tuple[str, bytes, dict[str, Any], list[dict[str, Any]]]] = [
    (
        "01_mixed_types.json",
        b'[{"title":"How do I sort?","text":"Use sorted().","resolve":true},\n{"title":"How do I loop?","text":"Use for.","resolve":""},\n{"title":"How do I exit?","text":"Use exit().","resolve":""}]\n',
        {},
        [
            {"title": "How do I sort?", "text": "Use sorted().", "resolve": "true"},
            {"title": "How do I loop?", "text": "Use for.", "resolve": ""},
            {"title": "How do I exit?", "text": "Use exit().", "resolve": ""},
        ],
    ),
    (
        "02_version_ids.csv",
        b"uid,text\n1,Question one is here.\n1.1,First reply is here.\n1.10,Tenth reply is here.\n",
        {},
        [
            {"uid": "1", "text": "Question one is here."},
            {"uid": "1.1", "text": "First reply is here."},
            {"uid": "1.10", "text": "Tenth reply is here."},
        ],
    ),
    (
        "03_quoted_comma_in_header.csv",
        b'name;"price, net";text\nA;1;Hello there you all.\nB;2;Good morning to you, dear all.\n',
        {},
        [
            {"name": "A", "price, net": 1, "text": "Hello there you all."},
            {"name": "B", "price, net": 2, "text": "Good morning to you, dear all."},
        ],
    ),
    (
        "04_cp1252.csv",
        b"english,french\nJustice,Justice\nHealth,Sant\xe9\nSchool,\xc9cole\n",
        {"encoding": "cp1252"},
        [
            {"english": "Justice", "french": "Justice"},
            {"english": "Health", "french": "Santé"},
            {"english": "School", "french": "École"},
        ],
    ),
    (
        "04b_gb18030.csv",
        b"question,answer\n\xcd\xb7\xcd\xb4\xd4\xf5\xc3\xb4\xb0\xec,\xb6\xe0\xba\xc8\xcb\xae\n\xb7\xa2\xc9\xd5\xd4\xf5\xc3\xb4\xb0\xec,\xbf\xb4\xd2\xbd\xc9\xfa\n",
        {"encoding": "gb18030"},
        [{"question": "头痛怎么办", "answer": "多喝水"}, {"question": "发烧怎么办", "answer": "看医生"}],
    ),
    (
        "04d_utf16.jsonl",
        b'\xff\xfe{\x00"\x00t\x00e\x00x\x00t\x00"\x00:\x00"\x00H\x00e\x00l\x00l\x00o\x00 \x00t\x00h\x00e\x00r\x00e\x00 \x00y\x00o\x00u\x00 \x00a\x00l\x00l\x00.\x00"\x00}\x00\r\x00\n\x00',
        {},
        [{"text": "Hello there you all."}],
    ),
    (
        "05_cr_only.csv",
        b'question,answer\rWhat is it?,A test.\rWho is it?,"Me\rmyself."\r',
        {},
        [{"question": "What is it?", "answer": "A test."}, {"question": "Who is it?", "answer": "Me\rmyself."}],
    ),
    (
        "05b_cr_only.jsonl",
        b'{"text":"Hello there you all."}\r{"text":"Good morning to you."}\r',
        {},
        [{"text": "Hello there you all."}, {"text": "Good morning to you."}],
    ),
    (
        "06_empty_header_name.csv",
        b",question,answer\n0,What is it?,A test.\n1,Who is it?,Me.\n",
        {},
        [
            {"column_1": 0, "question": "What is it?", "answer": "A test."},
            {"column_1": 1, "question": "Who is it?", "answer": "Me."},
        ],
    ),
    (
        "08_no_header.csv",
        b"0,to be oneself and to follow dreams\n1,to read many good books\n2,to walk in the rain\n",
        {},
        [
            {"column_1": 0, "column_2": "to be oneself and to follow dreams"},
            {"column_1": 1, "column_2": "to read many good books"},
            {"column_1": 2, "column_2": "to walk in the rain"},
        ],
    ),
    (
        "09_single_quotes.csv",
        b"label;text\nweb;'He said: hello; and went.'\nweb;'It''s \"fine\".'\n",
        {},
        [{"label": "web", "text": "He said: hello; and went."}, {"label": "web", "text": 'It\'s "fine".'}],
    ),
    (
        "12_squad.json",
        b'{"version":"1.1","data":[{"title":"T","paragraphs":[{"context":"C is a letter.","qas":[{"id":"1","question":"What is C?","answers":[{"text":"a letter","answer_start":5}]}]}]}]}\n',
        {"records": "data[].paragraphs[].qas[]"},
        [
            {
                "id": "1",
                "question": "What is C?",
                "answers": [{"text": "a letter", "answer_start": 5}],
                "version": "1.1",
                "title": "T",
                "context": "C is a letter.",
            }
        ],
    ),
    (
        "13_wrapped.json",
        b'{"data":[{"question":"What is C?","answer":"A letter."},{"question":"What is 1?","answer":"A number."}]}\n',
        {},
        [{"question": "What is C?", "answer": "A letter."}, {"question": "What is 1?", "answer": "A number."}],
    ),
    (
        "14.csv.bz2",
        b'BZh91AY&SYV\xb3\xc6M\x00\x00\x12_\x80\x00\x10@\x05\x00\x00\xa0\x02\x00\x80"a\xbe\x80 \x00TS\t\xa6\x80\xd3\x10J\xa7\x94\xda\x8c\x9af)\xea=\x89y1\x82\x1bhd\xf0G\xd55@\xb0\x1b\x9b\xfd\x9fTCM\x16.\xb4\x9f\x17rE8P\x90V\xb3\xc6M',
        {},
        [{"question": "What is it?", "answer": "A test."}, {"question": "Who is it?", "answer": "Me."}],
    ),
    (
        "14.csv.zip",
        b"PK\x03\x04\x14\x00\x00\x00\x00\x00;,\x81]\xe5\xbe+\r3\x00\x00\x003\x00\x00\x00\x05\x00\x00\x00a.csvquestion,answer\nWhat is it?,A test.\nWho is it?,Me.\nPK\x01\x02\x14\x03\x14\x00\x00\x00\x00\x00;,\x81]\xe5\xbe+\r3\x00\x00\x003\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x01\x00\x00\x00\x00a.csvPK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x003\x00\x00\x00V\x00\x00\x00\x00\x00",
        {},
        [{"question": "What is it?", "answer": "A test."}, {"question": "Who is it?", "answer": "Me."}],
    ),
    (
        "14_bz2_named.csv",
        b'BZh91AY&SYV\xb3\xc6M\x00\x00\x12_\x80\x00\x10@\x05\x00\x00\xa0\x02\x00\x80"a\xbe\x80 \x00TS\t\xa6\x80\xd3\x10J\xa7\x94\xda\x8c\x9af)\xea=\x89y1\x82\x1bhd\xf0G\xd55@\xb0\x1b\x9b\xfd\x9fTCM\x16.\xb4\x9f\x17rE8P\x90V\xb3\xc6M',
        {},
        [{"question": "What is it?", "answer": "A test."}, {"question": "Who is it?", "answer": "Me."}],
    ),
    (
        "14_zip_named.csv",
        b"PK\x03\x04\x14\x00\x00\x00\x00\x00;,\x81]\xe5\xbe+\r3\x00\x00\x003\x00\x00\x00\x05\x00\x00\x00a.csvquestion,answer\nWhat is it?,A test.\nWho is it?,Me.\nPK\x01\x02\x14\x03\x14\x00\x00\x00\x00\x00;,\x81]\xe5\xbe+\r3\x00\x00\x003\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x01\x00\x00\x00\x00a.csvPK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x003\x00\x00\x00V\x00\x00\x00\x00\x00",
        {},
        [{"question": "What is it?", "answer": "A test."}, {"question": "Who is it?", "answer": "Me."}],
    ),
    (
        "15.txt",
        b"Hello there you all.\nGood morning to you.\n",
        {},
        [{"text": "Hello there you all."}, {"text": "Good morning to you."}],
    ),
    ("15_tab.txt", b"question\tanswer\nWhat is it?\tA test.\n", {}, [{"question": "What is it?", "answer": "A test."}]),
    (
        "16_pipe.csv",
        b"question|answer\nWhat is it?|A test.\nWho, then?|Me.\n",
        {},
        [{"question": "What is it?", "answer": "A test."}, {"question": "Who, then?", "answer": "Me."}],
    ),
    (
        "17_short_rows.csv",
        b"id,title,description\n1,A page,About something\n2,A page without description\n3,Another page,More\n",
        {},
        [
            {"id": 1, "title": "A page", "description": "About something"},
            {"id": 2, "title": "A page without description", "description": None},
            {"id": 3, "title": "Another page", "description": "More"},
        ],
    ),
    (
        "18_backslash.csv",
        b'question,answer\n"He said \\"hello\\" to me","Fine, I said"\n"What?","A \\"test\\"."\n',
        {},
        [{"question": 'He said "hello" to me', "answer": "Fine, I said"}, {"question": "What?", "answer": 'A "test".'}],
    ),
    (
        "21_unique_json_in_jsonl_ext.jsonl",
        b'[{"text":"Hello there you all."}]\n',
        {},
        [{"text": "Hello there you all."}],
    ),
    (
        "22_nested.jsonl",
        b'{"translation":{"en":"Hello there.","fr":"Bonjour."}}\n{"translation":{"en":"Good night.","fr":"Bonne nuit."}}\n',
        {},
        [
            {"translation": {"en": "Hello there.", "fr": "Bonjour."}},
            {"translation": {"en": "Good night.", "fr": "Bonne nuit."}},
        ],
    ),
    (
        "24_docs_list.jsonl",
        b'{"docs":[{"id":"1","text":"Here it is."},{"id":"2","text":"There it is."}]}\n',
        {"explode": "docs"},
        [{"docs": {"id": "1", "text": "Here it is."}}, {"docs": {"id": "2", "text": "There it is."}}],
    ),
    (
        "24_docs_list.jsonl",
        b'{"docs":[{"id":"1","text":"Here it is."},{"id":"2","text":"There it is."}]}\n',
        {"records": "docs[]"},
        [{"id": "1", "text": "Here it is."}, {"id": "2", "text": "There it is."}],
    ),
    (
        "25_nul.csv",
        b"question,answer\nWhat is it?,A\x00test.\nWho?,Me.\n",
        {},
        [{"question": "What is it?", "answer": "A\x00test."}, {"question": "Who?", "answer": "Me."}],
    ),
    (
        "28_date_col.csv",
        b"when,text\n2020,Hello there you all.\nunknown,Good morning to you.\n",
        {},
        [{"when": "2020", "text": "Hello there you all."}, {"when": "unknown", "text": "Good morning to you."}],
    ),
    (
        "31_comma_in_column_name.csv",
        b'a,"price, net"\n1,Hello there you all my friends.\n2,Good day to you my dear friends.\n',
        {},
        [
            {"a": 1, "price, net": "Hello there you all my friends."},
            {"a": 2, "price, net": "Good day to you my dear friends."},
        ],
    ),
    (
        "42b_version.csv",
        b"version,text\n3.9,Hello there you all.\n3.10,Good morning to you.\n",
        {},
        [{"version": "3.9", "text": "Hello there you all."}, {"version": "3.10", "text": "Good morning to you."}],
    ),
    (
        "43_na_first.jsonl",
        b'{"text":"Hello there you all.","answers":"N/A"}\n{"text":"Good morning to you.","answers":3}\n',
        {},
        [{"text": "Hello there you all.", "answers": "N/A"}, {"text": "Good morning to you.", "answers": "3"}],
    ),
    (
        "45_html.csv",
        b'question,answer\nHow to print?,"<p>Use <code>print()</code> &amp; be happy.</p>"\nHow to read?,"<p>Use <code>open()</code> &lt;here&gt;.</p>"\n',
        {},
        [
            {"question": "How to print?", "answer": "<p>Use <code>print()</code> &amp; be happy.</p>"},
            {"question": "How to read?", "answer": "<p>Use <code>open()</code> &lt;here&gt;.</p>"},
        ],
    ),
    (
        "48_pairs_labelled.csv",
        b"question1,question2,is_duplicate\nHow old are you?,What is your age?,1\nHow old are you?,Where do you live?,0\n",
        {},
        [
            {"question1": "How old are you?", "question2": "What is your age?", "is_duplicate": 1},
            {"question1": "How old are you?", "question2": "Where do you live?", "is_duplicate": 0},
        ],
    ),
    (
        "50_tsv_quoted_phrase.tsv",
        b'question\tanswer\nWhat is it?\t"roo bars"\nWho is it?\tMe.\n',
        {},
        [{"question": "What is it?", "answer": '"roo bars"'}, {"question": "Who is it?", "answer": "Me."}],
    ),
]


@pytest.mark.parametrize(
    ("name", "content", "known", "rows"), FILES, ids=[" ".join((case[0], *case[2])) for case in FILES]
)
def test_files_of_the_field(
    tmp_path: Path, name: str, content: bytes, known: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    (file,) = resolve_inputs([str(path)], InputOptions(**known))
    ranges = ranges_of(file, settled_schema([file]))
    assert [parsed.unreadable for parsed in ranges if parsed.unreadable] == []
    assert table_of(ranges).to_pylist() == rows

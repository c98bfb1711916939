from __future__ import annotations

from typing import Any

import pytest

from jina_data.read.csv_format.dialect import NO_DELIMITER, Detected, Dialect, detect, unusual_delimiter
from jina_data.read.names import replaced_names, usable_names
from jina_data.read.options import InputOptions

Expected = tuple[dict[str, Any], list[str]]


def detected(text: str, kind: str = "csv", **settings: Any) -> Detected:
    return detect(text, at_end=True, kind=kind, settings=InputOptions.make(**settings))


CASES: list[tuple[str, str, dict[str, Any], list[str]]] = [
    ("comma", "id,text\n1,Hello there\n", {}, ["id", "text"]),
    ("semicolon, decimal commas", "id;text;price\n1;One, two, three;0,50\n2;Four, five, six;1,50\n",
     {"delimiter": ";"}, ["id", "text", "price"]),
    ("semicolon, a comma in a quoted name", 'name;"price, net";text\nA;1;Hello all\nB;2;Good day to you, dear\n',
     {"delimiter": ";"}, ["name", "price, net", "text"]),
    ("semicolon, a comma in a name", "id;text (title, body);price\n0;Some words;0,5\n1;More words;1,5\n",
     {"delimiter": ";"}, ["id", "text (title, body)", "price"]),
    ("semicolon, both in quotes", '"text; long";"x, y"\n"Blanket island";"a, b"\n"Needle forest";"a, b"\n',
     {"delimiter": ";"}, ["text; long", "x, y"]),
    ("tabs in .csv", "id\ttext\n1\tHello, you\n2\tGood, bye, all\n", {"delimiter": "\t"}, ["id", "text"]),
    ("pipe", "question|answer\nWhat is it?|A test.\nWho, then?|Me.\n", {"delimiter": "|"}, ["question", "answer"]),
    ("commas in a long quoted cell", 'q,a\n"What, then, is it?",7\n"And, who, is that?",8\n', {}, ["q", "a"]),
    ("single quotes", "label;text\nweb;'He said: hello; and went.'\nweb;'It''s \"fine\".'\n",
     {"delimiter": ";", "quote": "'"}, ["label", "text"]),
    ("apostrophes are no quotes", "text;lang\n'Tis the season;en\n'Twas night;en\n",
     {"delimiter": ";"}, ["text", "lang"]),
    ("a phrase in quotes is no quoted cell in tsv", 'question\tanswer\nWhat is it?\t"roo bars"\nWho is it?\tMe.\n',
     {"delimiter": "\t", "quote": ""}, ["question", "answer"]),
    ("backslash", 'question,answer\n"He said \\"hi\\" to me","Fine, I said"\n',
     {"escape": "\\"}, ["question", "answer"]),
    ("backslash without quotes", "id,text\nx\\,y,z\nq,r\n", {"escape": "\\", "quote": ""}, ["id", "text"]),
    ("blanks after the delimiter", 'id, text\n1, "Hello, you"\n2, "Good, bye"\n',
     {"skip_space": True}, ["id", "text"]),
    ("quotes inside of cells are text", 'id,text\n1,He said "hi" to me\n2,"Quote" starts here\n3,plain\n',
     {"quote": ""}, ["id", "text"]),
    ("inches", 'id,text\n1,a 5" disk\n2,"a, b"\n', {}, ["id", "text"]),
    ("carriage returns", 'question,answer\rWhat is it?,A test.\rWho is it?,"Me\rmyself."\r',
     {"line_end": "\r"}, ["question", "answer"]),
    ("crlf", 'question,answer\r\nWhat is it?,"A\r\ntest."\r\n', {}, ["question", "answer"]),
    ("one column, commas in its texts", "text\nHello, there you all\nGood morning\nSome, more, commas\n",
     {"delimiter": "\x1f"}, ["text"]),
    ("one column, quoted", 'text\n"a, b"\n"c"\n', {}, ["text"]),
    ("sep= of Excel", "sep=;\nid;text\n0;Hammer, then\n", {"delimiter": ";", "skip_rows": 1}, ["id", "text"]),
    ("a title line", "Export of 6 January\nid,text,lang\n0,Window insect,en\n1,More,en\n",
     {"skip_rows": 1}, ["id", "text", "lang"]),
    ("a comment", "# made by a tool, today\nid,text,lang\n0,Window insect,en\n",
     {"skip_rows": 1}, ["id", "text", "lang"]),
    ("comments with commas", "# source: x, y, z\n# license: CC\nid,text\n0,Window insect\n1,More\n",
     {"skip_rows": 2}, ["id", "text"]),
    ("a comment with as many commas", "# exported, by me\nid,text\n0,Window insect\n1,More\n",
     {"skip_rows": 1}, ["id", "text"]),
    ("a header that begins with a sharp", "#id,text\n0,Window insect\n1,More\n", {}, ["#id", "text"]),
    ("blanks after the quotes", 'id,text\n"1" ,"Hello, you" \n"2" ,"Good, bye" \n',
     {"skip_space": True}, ["id", "text"]),
    ("a line of dashes", "id,text\n--,----\n1,Hello\n", {"ruler": True}, ["id", "text"]),
    ("Hive", "id\x01text\n1\x01Hello, you\n2\x01Good, bye\n", {"delimiter": "\x01"}, ["id", "text"]),
    ("a padded title", 'Report 2024;;\n;;\nid;question;answer\n1;What, then?;Yes\n2;"No; never";No\n',
     {"delimiter": ";", "skip_rows": 2}, ["id", "question", "answer"]),
    ("blank lines first", "\n\n\nid,text,lang\n0,Basket silver,en\n", {}, ["id", "text", "lang"]),
    ("an index of pandas", ",text,label\n0,Island blanket,x\n1,Basket letter,x\n", {}, ["column_1", "text", "label"]),
    ("numbers as names", ",0,1\n0,hello there you,bye\n1,second text here,foo\n", {}, ["column_1", "0", "1"]),
    ("a comma too many", "text,label,\nStone thunder,x,\nFabric cotton,x,\n", {}, ["text", "label", "column_3"]),
    ("a comma too many in the rows only", "text,label\nStone thunder,x,\nFabric cotton,x,\n", {}, ["text", "label"]),
    ("row names of R", '"text","n"\n"1","hello there",3\n"2","good bye all",4\n', {}, ["column_1", "text", "n"]),
    ("short rows", "id,title,description\n1,A page,About it\n2,A page without\n3,Other,More\n",
     {}, ["id", "title", "description"]),
    ("unquoted commas in the last column", "id,text\n0,Hello, you there\n1,Good, bye\n2,None here\n",
     {}, ["id", "text"]),
    ("the same name twice", "text,text,id\na b c,d e f,1\n", {}, ["text", "text_2", "id"]),
    ("no header: numbers", "0,to be oneself and to follow dreams\n1,to read many good books\n",
     {"header": False}, ["column_1", "column_2"]),
    ("no header: sentences", "I like tea very much.,Me too.\nHow are you?,Fine, thanks.\n".replace("Fine, t", "Fine t"),
     {"header": False}, ["column_1", "column_2"]),
    ("no header: dates", "2020-01-01,Hello there all\n2020-01-02,Good bye all\n",
     {"header": False}, ["column_1", "column_2"]),
    ("no header: Chinese", "中国的首都是哪里？,北京是中国的首都\n法国的首都是哪里？,巴黎是法国首都\n",
     {"header": False}, ["column_1", "column_2"]),
    ("a Chinese header", "问题,答案\n中国的首都是哪里？,北京\n法国的首都是哪里？,巴黎\n", {}, ["问题", "答案"]),
    ("only a header", "a,b,c\n", {}, ["a", "b", "c"]),
    ("a header without a line end", "question,answer", {}, ["question", "answer"]),
    ("nothing", "", {}, []),
]  # fmt: skip


@pytest.mark.parametrize(("case", "text", "differs", "names"), CASES, ids=[case[0] for case in CASES])
def test_dialects_are_detected(case: str, text: str, differs: dict[str, Any], names: list[str]) -> None:
    found = detected(text, "tsv" if "tsv" in case else "csv")
    assert found.dialect == Dialect(**differs)
    assert usable_names(found.names) == names


TSV: list[tuple[str, str, dict[str, Any]]] = [
    ("no quotes", "a\tb\nx\ty\n", {}),
    ("quotes are text", 'a\tb\n"Oh", he said\t"x\nz\ty\n', {}),
    ("a doubled quote", 'q\ta\n"He said ""hi"""\tx\nplain\ty\n', {"quote": '"'}),
    ("a tab in quotes", 'q\ta\n"x\ty"\tz\nplain\ty\n', {"quote": '"'}),
    ("a line break in quotes", 'q\ta\n"x\ny"\tz\nplain\ty\n', {"quote": '"'}),
    ("all quoted", '"q"\t"a"\n"b"\t"x"\n', {"quote": '"'}),
    ("pipes in .tsv", "id|text\n1|Hello, you\n2|Good\n", {"delimiter": "|"}),
]


@pytest.mark.parametrize(("case", "text", "differs"), TSV, ids=[case[0] for case in TSV])
def test_dialects_of_tsv(case: str, text: str, differs: dict[str, Any]) -> None:
    assert detected(text, "tsv").dialect == Dialect(**{"delimiter": "\t", "quote": "", **differs})


def test_what_is_set_is_not_detected() -> None:
    text = "a;b,c\nd;e,f\n"
    assert detected(text, delimiter=";").names == ["a", "b,c"]
    assert detected(text, delimiter=",").names == ["a;b", "c"]
    assert detected(text, header=False, delimiter=";").names == ["", ""]
    assert detected(text, column_names=("x", "y"), delimiter=";").dialect.header is False
    assert detected("t\na,b\nx,y\n", skip_rows=1).names == ["a", "b"]
    assert detected("a,b\n'x,y',z\n", quote="'").dialect.quote == "'"
    assert detected('a,b\n"x,y,z\n', quote="none").dialect.quote == ""
    assert detected('a,b\n"x!"y",z\n', escape="!").dialect.escape == "!"
    assert detected("0,Some words\n1,Other words\n", header=True).names == ["0", "Some words"]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("id:text\n1:Hello there\n2:Good bye\n", ":"),
        ("id~text\n1~Hello: you\n2~Good bye\n", "~"),
        ('"question" "n"\n"1" "What is it?" 3\n"2" "Who is it?" 4\n', " "),
        ("text\nNote: a thing\nHello\n", None),
        ("text\n", None),
        ("", None),
    ],
)
def test_unusual_delimiters_are_only_named(text: str, delimiter: str | None) -> None:
    assert unusual_delimiter(text) == delimiter
    assert detected(text).dialect.delimiter in (",", NO_DELIMITER)


NOTES = [
    ("certain", "id,text\n1,Hello there\n", []),
    ("no header", "0,a b c d\n1,e f g h\n", ["no header: the first line looks like values (0, a b c d)"]),
    ("doubt", "cat,chat\ndog,chien\n", ["the first line is read as column names (cat, chat)"]),
    ("set", "cat,chat\ndog,chien\n", []),
]


@pytest.mark.parametrize(("case", "text", "notes"), NOTES, ids=[case[0] for case in NOTES])
def test_doubts_about_the_header_are_reported(case: str, text: str, notes: list[str]) -> None:
    found = detected(text, header=True if case == "set" else None).notes
    assert [note.split(")")[0] + ")" if ")" in note else note for note in found] == notes


def test_names_are_mended() -> None:
    assert usable_names(["", "a", ""]) == ["column_1", "a", "column_3"]
    assert usable_names(["text", "text", "text_2"]) == ["text", "text_3", "text_2"]
    assert usable_names(["_file", "_row", "__row"]) == ["_file_2", "_row_2", "row"]
    assert usable_names(["a\0b", "column_2", ""]) == ["ab", "column_2", "column_3"]
    assert usable_names(["", "column_1"]) == ["column_1_2", "column_1"]
    assert replaced_names(["", "a"]) == ["column '' is named column_1"]

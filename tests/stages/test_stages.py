"""The stages select, where, length, exact_dedup and sample, and fused queries, case by case, on literal tables."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from jina_data.errors import ModelError, RecipeError
from jina_data.stages import ExactDedup, Length, Sample, Select, Stage, Where
from jina_data.stages.base import KEEP, Context, FitResult, RemainingRows, Sql
from jina_data.stages.fuse import apply_sql
from jina_data.stages.rows import Rows, View

Drop = tuple[str, float | None]
"""A reason and its score."""


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


def rows_of(
    columns: Mapping[str, Sequence[Any] | pa.Array],
    roles: Mapping[str, Sequence[str]] | None = None,
    sources: Sequence[str] | None = None,
    first_row_id: int = 0,
) -> Rows:
    """Make a batch; by default, the column `text` has the role text."""
    batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
    n = batch.num_rows
    view = View(batch.schema, {role: tuple(names) for role, names in (roles or {"text": ("text",)}).items()})
    row_ids = pa.array(range(first_row_id, first_row_id + n), pa.uint64())
    return Rows(batch, view, row_ids, pa.array(sources or ["s"] * n, pa.string()))


@dataclass
class Answer:
    """The results of SQL stages: a verdict for each row and stage, and the rows after the stages as plain data."""

    dropped: list[list[Drop | None]]
    behind: list[dict[str, Any]]
    scores: list[dict[str, list[Any]]]
    view: View


def judge(con: duckdb.DuckDBPyConnection, rows: Rows, *stages: Sql) -> Answer:
    """Run SQL stages fused, and check that separate queries give the same result."""
    views = [rows.view]
    for stage in stages:
        views.append(stage.after(views[-1]))
    outcomes, behind = apply_sql(con, stages, views, rows)
    dropped = [
        [
            None if code == KEEP else (stage.reasons[code], None if math.isnan(score) else score)
            for code, score in zip(outcome.reason.tolist(), outcome.score.tolist(), strict=True)
        ]
        for stage, outcome in zip(stages, outcomes, strict=True)
    ]
    scores = [{name: values.to_pylist() for name, values in outcome.scores.items()} for outcome in outcomes]
    return Answer(dropped, behind.batch.to_pylist(), scores, views[-1])


def one(con: duckdb.DuckDBPyConnection, rows: Rows, stage: Sql) -> list[Drop | None]:
    return judge(con, rows, stage).dropped[0]


# select


TABLE: dict[str, Any] = {"text": ["a", "b", "c"], "n": ["1", "x", None], "lang": ["en", "de", None]}


@pytest.mark.parametrize(
    ("stage", "columns"),
    [
        (Select(), {"text": ["a", "b", "c"], "n": ["1", "x", None], "lang": ["en", "de", None]}),
        (Select(drop=("n",)), {"text": ["a", "b", "c"], "lang": ["en", "de", None]}),
        (Select(keep=("lang", "text")), {"lang": ["en", "de", None], "text": ["a", "b", "c"]}),
        (
            Select(rename={"n": "lang", "lang": "n"}),
            {"text": ["a", "b", "c"], "lang": ["1", "x", None], "n": ["en", "de", None]},
        ),
        (Select(rename={"n": 'a "b"'}, keep=("text", "n")), {"text": ["a", "b", "c"], 'a "b"': ["1", "x", None]}),
        (Select(cast={"n": "BIGINT"}, drop=("lang",)), {"text": ["a", "b", "c"], "n": [1, None, None]}),
    ],
    ids=["nothing", "drop", "keep in this order", "swap names", "odd name", "cast"],
)
def test_select_columns(con: duckdb.DuckDBPyConnection, stage: Select, columns: dict[str, list[Any]]) -> None:
    answer = judge(con, rows_of(TABLE), stage)
    assert {name: [row[name] for row in answer.behind] for name in answer.view.schema.names} == columns
    assert answer.view.schema.names == list(columns)


def test_select_drops_what_cannot_be_cast_and_no_null(con: duckdb.DuckDBPyConnection) -> None:
    assert one(con, rows_of(TABLE), Select(cast={"n": "BIGINT"})) == [None, ("cast_failed", None), None]


@pytest.mark.parametrize(
    ("kind", "values", "expected", "arrow"),
    [
        ("BIGINT", ["7", " 8 ", "-9"], [7, 8, -9], pa.int64()),
        ("DOUBLE", ["1.5", "1e3", "nan"], [1.5, 1000.0, math.nan], pa.float64()),
        ("BOOLEAN", ["true", "f", "1"], [True, False, True], pa.bool_()),
        ("VARCHAR", [7, -8, None], ["7", "-8", None], pa.string()),
        ("VARCHAR[]", [[1, 2], None, []], [["1", "2"], None, []], pa.list_(pa.string())),
    ],
)
def test_select_cast_types(
    con: duckdb.DuckDBPyConnection, kind: str, values: list[Any], expected: list[Any], arrow: pa.DataType
) -> None:
    answer = judge(con, rows_of({"text": ["a", "b", "c"], "value": values}), Select(cast={"value": kind}))
    assert repr([row["value"] for row in answer.behind]) == repr(expected)
    got = answer.view.schema.field("value").type
    assert got.equals(arrow) or (pa.types.is_list(arrow) and got.value_type == arrow.value_type)
    assert answer.dropped == [[None, None, None]]


def test_select_roles_follow_the_new_name(con: duckdb.DuckDBPyConnection) -> None:
    roles = {"anchor": ("q",), "positive": ("a",)}
    rows = rows_of({"q": ["x"], "a": ["y"], "z": [1]}, roles)
    view = Select(rename={"q": "a", "a": "q"}, cast={"z": "VARCHAR"}).after(rows.view)
    assert view.roles == {"anchor": ("a",), "positive": ("q",)}
    assert (view.input_name("a"), view.input_name("q"), view.input_name("z")) == ("q", "a", "z")
    again = Select(rename={"a": "anchor"}).after(view)
    assert again.roles == {"anchor": ("anchor",), "positive": ("q",)}
    assert again.input_name("anchor") == "q"


def test_select_source_follows_too() -> None:
    schema = pa.schema([("text", pa.string()), ("site", pa.string())])
    view = View(schema, {"text": ("text",)}, source="site")
    assert Select(rename={"site": "from"}).after(view).source == "from"
    assert Select(drop=("site",)).after(view).source is None


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (Select(rename={"nope": "x"}), "no column 'nope'; the columns are text, n, lang"),
        (Select(cast={"nope": "BIGINT"}), "no column 'nope'"),
        (Select(keep=("text", "nope")), "no column 'nope'"),
        (Select(drop=("nope",)), "no column 'nope'"),
        (Select(drop=("text",)), "column 'text' is the text, it cannot be dropped"),
        (Select(keep=("n",)), "column 'text' is the text, it cannot be dropped"),
        (Select(rename={"n": "lang"}), "two columns would be named 'lang'"),
        (Select(cast={"n": "NUMBRE"}), "cannot cast 'n' .string. to 'NUMBRE'"),
        (Select(cast={"n": "BIGINT; SELECT 1"}), "cannot cast 'n'"),
    ],
)
def test_select_errors(stage: Select, message: str) -> None:
    with pytest.raises(RecipeError, match=f"stage select: {message}"):
        stage.after(rows_of(TABLE).view)


def test_select_casts_no_column_that_differs_from_another_by_case_only() -> None:
    view = rows_of({"text": ["a"], "d": ["1"], "D": ["x"], "e": ["2"]}).view
    with pytest.raises(RecipeError, match="SQL cannot distinguish the columns d and D"):
        Select(cast={"D": "BIGINT"}).after(view)
    assert Select(cast={"e": "BIGINT"}, rename={"d": "f"}).after(view).schema.names == ["text", "f", "D", "e"]


def test_select_takes_keep_or_drop() -> None:
    with pytest.raises(ValidationError, match="keep or drop, not both"):
        Select(keep=("text",), drop=("n",))


# where


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("true", [0, 1, 2, 3]),
        ("false", []),
        ("NULL", []),
        ("n > 1", [1]),
        ("n > 1 OR n IS NULL", [1, 3]),
        ("NOT n > 1", [0, 2]),
        ("n", [0, 1]),
        ("lang = 'de'", [1, 2]),
        ("LANG IN ('en') AND \"n\" = 1", [0]),
        ("length(text) BETWEEN 2 AND 3", [1, 2]),
        ("len(tags) > 0 AND tags[1] = 'x'", [0]),
        ("len(list_filter(tags, lambda tag: tag = 'y')) = 1", [1]),
        ("list_sum([n, 1]) = 3", [1]),
        ("meta.year >= 2000", [0, 3]),
        ("CASE WHEN lang = 'en' THEN n = 1 ELSE text LIKE '%c%' END", [0, 2]),
    ],
)
def test_where(con: duckdb.DuckDBPyConnection, expression: str, kept: list[int]) -> None:
    rows = rows_of(
        {
            "text": ["a", "bb", "ccc", None],
            "n": pa.array([1, 2, 0, None], pa.int32()),
            "lang": ["en", "de", "de", None],
            "tags": [["x"], ["y", "x"], [], None],
            "meta": [{"year": 2001}, {"year": None}, None, {"year": 2000}],
        }
    )
    verdicts = one(con, rows, Where(expression=expression))
    assert [row for row, verdict in enumerate(verdicts) if verdict is None] == kept
    assert {verdict for verdict in verdicts if verdict} <= {("filtered", None)}


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("count(*) > 1", r"uses count_star\(\), whose result does not depend on that row alone"),
        ("n > avg(n)", r"uses avg\(\)"),
        ("mode(text) = 'a'", r"uses mode\(\)"),
        ("row_number() OVER (ORDER BY n) = 1", "uses a window function"),
        ("lag(n) OVER () IS NULL", "uses a window function"),
        ("sum(n) OVER (PARTITION BY text) > 1", "uses a window function"),
        ("n = (SELECT 1)", "uses a sub-query"),
        ("n IN (SELECT max(n) FROM rows)", "uses a sub-query"),
        ("EXISTS (SELECT 1)", "uses a sub-query"),
        ("random() < 0.5", r"uses random\(\)"),
        ("RANDOM ( ) < 0.5", r"uses random\(\)"),
        ("uuid() IS NOT NULL", r"uses uuid\(\)"),
        ("now() > TIMESTAMP '2020-01-01'", r"uses now\(\)"),
        ("nope = 1", "there is no column 'nope'. The columns are text, n"),
        ("texts = 'a'", "there is no column 'texts'. Did you mean 'text'?"),
        ("current_date > DATE '2020-01-01'", "current_date"),
        ("CURRENT_TIMESTAMP IS NOT NULL", "CURRENT_TIMESTAMP"),
        ("today() IS NOT NULL", r"today\(\)"),
        ("COLUMNS(*) = 1", "COLUMNS|\\*"),
        ("rows.n = 1", "there is no column 'rows'"),
        ("nope(n)", "cannot be evaluated: .*nope.*The columns are text, n"),
        ("n = = 1", "is not an SQL expression"),
        ("n = 1; DROP TABLE rows", "is not an SQL expression"),
        ("true) FROM rows WHERE (true", "is not an SQL expression"),
    ],
)
def test_where_refuses(expression: str, message: str) -> None:
    view = rows_of({"text": ["a"], "n": [1]}).view
    with pytest.raises(RecipeError, match=message):
        Where(expression=expression).after(view)


@pytest.mark.parametrize("expression", ["", " \n"])
def test_where_needs_an_expression(expression: str) -> None:
    with pytest.raises(ValidationError, match="expression"):
        Where(expression=expression)


def test_where_refuses_columns_that_differ_by_case_only() -> None:
    view = rows_of({"text": ["a"], "Lang": ["x"], "lang": ["y"]}).view
    with pytest.raises(RecipeError, match="cannot distinguish the columns Lang and lang"):
        Where(expression="lang = 'y'").after(view)
    assert Where(expression="text = 'a'").after(view) == view
    renamed = Select(rename={"Lang": "other"}).after(view)
    with pytest.raises(RecipeError, match="cannot distinguish the columns Lang and lang"):
        Where(expression="other = 'x'").after(renamed)


def test_where_reads_the_columns_it_names() -> None:
    view = rows_of({"text": ["a"], "Some Name": ["x"], "other": ["y"]}).view
    assert Where(expression="\"some name\" = 'x' AND length(TEXT) = 1").reads(view) == ("Some Name", "text")


# length


PAIR = {"anchor": ("anchor",), "positive": ("positive",)}


@pytest.mark.parametrize(
    ("text", "bounds", "verdict"),
    [
        (None, {}, ("empty", 0)),
        ("", {}, ("empty", 0)),
        (" \t\n\u00a0\u3000\u2028\x1c", {}, ("empty", 0)),
        ("\0", {}, None),
        ("\u200b", {}, None),
        (".", {}, None),
        ("", {"min_chars": 0, "min_words": 0}, ("empty", 0)),
        ("abc", {"min_chars": 3, "max_chars": 3}, None),
        ("abc", {"min_chars": 4}, ("too_short", 3)),
        ("abc", {"max_chars": 2}, ("too_long", 3)),
        ("  a", {"min_chars": 3}, None),
        ("e\u0301", {"max_chars": 1}, ("too_long", 2)),
        ("👩‍👩‍👧", {"min_chars": 6}, ("too_short", 5)),
        ("don't panic", {"min_words": 2, "max_words": 2}, None),
        ("well-known", {"max_words": 1}, ("too_long", 2)),
        ("!?", {"min_words": 1}, ("too_short", 0)),
        ("北京大学", {"min_words": 4, "max_words": 4}, None),
        ("ซื้อ", {"min_words": 3}, ("too_short", 2)),
        ("one two", {"min_chars": 9, "min_words": 3}, ("too_short", 7)),
        ("one two", {"min_words": 3, "max_chars": 9}, ("too_short", 2)),
    ],
)
def test_length_of_a_text(
    con: duckdb.DuckDBPyConnection, text: str | None, bounds: dict[str, Any], verdict: Drop | None
) -> None:
    assert one(con, rows_of({"text": pa.array([text], pa.string())}), Length(**bounds)) == [verdict]


@pytest.mark.parametrize(
    ("texts", "verdict"),
    [
        (None, ("empty", 0)),
        ([], ("empty", 0)),
        ([None], ("empty", 0)),
        (["abc", " "], ("empty", 0)),
        (["abc", None], None),
        (["abc", "ab", "x"], ("too_short", 1)),
        (["abcdef", "ab", "abcdefg"], ("too_long", 7)),
    ],
)
def test_length_of_lists(con: duckdb.DuckDBPyConnection, texts: list[str | None] | None, verdict: Drop | None) -> None:
    """Every text must pass; the worst text gives the score."""
    stage = Length(min_chars=2, max_chars=5)
    negatives = pa.array([texts], pa.list_(pa.string()))
    assert one(con, rows_of({"negatives": negatives}, {"negative": ("negatives",)}), stage) == [verdict]
    columns = {f"negative_{place}": pa.array([text], pa.string()) for place, text in enumerate(texts or [None])}
    assert one(con, rows_of(columns, {"negative": tuple(columns)}), stage) == [verdict]


def test_length_of_several_roles(con: duckdb.DuckDBPyConnection) -> None:
    """`empty` is checked before all other reasons, for every role."""
    rows = rows_of({"anchor": ["a", "a", "abc", "abc", "a"], "positive": ["abc", "", "a", None, "b"]}, PAIR)
    short, empty = ("too_short", 1.0), ("empty", 0.0)
    assert one(con, rows, Length(min_chars=2)) == [short, empty, short, empty, short]
    assert one(con, rows, Length(min_chars=2, roles=("anchor",))) == [short, short, None, None, short]


@pytest.mark.parametrize(
    ("anchor", "positive", "bounds", "score"),
    [
        ("far too long", "a", {"min_chars": 2, "max_chars": 5}, 1),
        ("one two", "some text", {"min_words": 3, "max_chars": 5}, 2),
    ],
)
def test_length_tries_too_short_first(
    con: duckdb.DuckDBPyConnection, anchor: str, positive: str, bounds: dict[str, Any], score: int
) -> None:
    rows = rows_of({"anchor": [anchor], "positive": [positive]}, PAIR)
    assert one(con, rows, Length(**bounds)) == [("too_short", score)]


def test_length_scores(con: duckdb.DuckDBPyConnection) -> None:
    """A role with one text has one length, with several the shortest and the longest; null without a text."""
    rows = rows_of(
        {"q": ["two words", "", None], "n": pa.array([["a", "b c d"], [], None], pa.list_(pa.string()))},
        {"anchor": ("q",), "negative": ("n",)},
    )
    assert judge(con, rows, Length()).scores == [
        {
            "anchor.chars": [9, 0, None],
            "anchor.words": [2, 0, None],
            "negative.min_chars": [1, None, None],
            "negative.max_chars": [5, None, None],
            "negative.min_words": [1, None, None],
            "negative.max_words": [3, None, None],
        }
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_chars": 3, "max_chars": 2}, r"min_chars \(3\) is above max_chars \(2\)"),
        ({"min_words": -1}, "greater than or equal to 0"),
        ({"max_chars": 0}, "greater than or equal to 1"),
        ({"min_tokens": 1}, "need `tokenizer`"),
        ({"min_char": 1}, "Extra inputs are not permitted"),
    ],
)
def test_length_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Length(**settings)


def word_tokenizer(path: Path, vocabulary: Sequence[str]) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["?", *vocabulary])}, "?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(2)
    tokenizer.save(str(path))
    return path


def test_length_in_tokens(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    file = str(word_tokenizer(tmp_path / "words.json", ["one", "two"]))
    stage = Length(min_tokens=2, max_tokens=3, tokenizer=file)
    rows = rows_of({"text": ["one", "one, two", "one two one two", "one two"]})
    answer = judge(con, rows, stage)
    assert answer.dropped == [[("too_short", 1), None, ("too_long", 4), None]]
    assert answer.scores[0]["text.tokens"] == [1, 3, 4, 2]
    ((name, sha256),) = stage.model_hashes().items()
    assert name == f"tokenizer {file}"
    assert len(sha256) == 64
    word_tokenizer(tmp_path / "other.json", ["three"])
    assert sha256 not in Length(tokenizer=str(tmp_path / "other.json")).model_hashes().values()


def test_length_by_two_tokenizers(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    whole = str(word_tokenizer(tmp_path / "words.json", ["one"]))
    Tokenizer(models.WordLevel({"?": 0}, "?")).save(str(tmp_path / "texts.json"))
    rows = rows_of({"text": ["one two three", "one"]})
    by_word, by_text = (
        Length(max_tokens=2, tokenizer=whole),
        Length(max_tokens=2, tokenizer=str(tmp_path / "texts.json")),
    )
    assert judge(con, rows, by_word, by_text).dropped == [[("too_long", 3), None], [None, None]]


def test_length_without_its_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ModelError, match=r"broken\.json' cannot be loaded"):
        Length(tokenizer=str(tmp_path / "broken.json")).after(rows_of({"text": ["a"]}).view)


@pytest.mark.parametrize("stage", [Length(roles=("anchor",)), ExactDedup(roles=("text", "anchor"))], ids=repr)
def test_a_role_that_the_table_lacks(stage: Stage) -> None:
    with pytest.raises(RecipeError, match=rf"stage {stage.name}: .*no role 'anchor'; its roles are text.*-c anchor="):
        stage.after(rows_of({"text": ["a"]}).view)


# fuse


def test_a_row_falls_to_the_first_stage_that_drops_it(con: duckdb.DuckDBPyConnection) -> None:
    rows = rows_of({"text": ["", "ab", "abcd", "abcdef", None], "n": [1, 1, 0, 1, 0]})
    stages = (Where(expression="n = 1"), Length(min_chars=3), Where(expression="length(text) < 5"))
    assert judge(con, rows, *stages).dropped == [
        [None, None, ("filtered", None), None, ("filtered", None)],
        [("empty", 0.0), ("too_short", 2.0), None, None, None],
        [None, None, None, ("filtered", None), None],
    ]


def test_fused_scores_are_of_the_rows_that_arrive(con: duckdb.DuckDBPyConnection) -> None:
    rows = rows_of({"text": ["one", "two words", None], "n": [0, 1, 1]})
    answer = judge(con, rows, Where(expression="n = 1"), Length(), Length(min_words=3))
    assert answer.scores == [
        {},
        {"text.chars": [None, 9, None], "text.words": [None, 2, None]},
        {"text.chars": [None, 9, None], "text.words": [None, 2, None]},
    ]


def test_an_expression_is_not_evaluated_for_rows_that_fell(con: duckdb.DuckDBPyConnection) -> None:
    rows = rows_of({"text": ["a", "b"], "n": ["x", "5"]})
    stages = (Where(expression="regexp_full_match(n, '[0-9]+')"), Where(expression="CAST(n AS INTEGER) > 3"))
    assert judge(con, rows, *stages).dropped == [[("filtered", None), None], [None, None]]


def test_names_in_front_of_each_stage(con: duckdb.DuckDBPyConnection) -> None:
    """Swap names twice: every expression uses the names before it, and casts hold after it."""
    rows = rows_of({"text": ["a", "b", "c"], "x": ["1", "2", "no"], "y": ["9", "8", "7"]})
    swap = Select(rename={"x": "y", "y": "x"})
    stages = (
        Where(expression="x <> '2'"),
        swap,
        Where(expression="x = '9' OR y = 'no'"),
        Select(cast={"y": "BIGINT"}, rename={"y": "number", "text": "y", "x": "text"}),
        Where(expression="number + 1 = 2 AND y = 'a' AND text = '9'"),
    )
    answer = judge(con, rows, *stages)
    assert answer.dropped == [
        [None, ("filtered", None), None],
        [None, None, None],
        [None, None, None],
        [None, None, ("cast_failed", None)],
        [None, None, None],
    ]
    assert answer.behind[0] == {"y": "a", "text": "9", "number": 1}
    assert answer.view.roles == {"text": ("y",)}


def test_fusing_changes_no_answer(con: duckdb.DuckDBPyConnection) -> None:
    chosen = random.Random(4)
    columns = {
        "text": chosen.choices(["", None, "a", "two words", "a longer text of words"], k=200),
        "n": chosen.choices(["1", "22", "x", None], k=200),
    }
    stages: tuple[Sql, ...] = (
        Length(min_words=1),
        Where(expression="n <> '22'"),
        Select(cast={"n": "BIGINT"}, rename={"n": "number"}),
        Where(expression="number IS NOT NULL"),
        Length(min_chars=2),
    )
    fused = judge(con, rows_of(columns), *stages)
    fates = [next((drop for drop in drops if drop), None) for drops in zip(*fused.dropped, strict=True)]
    alone: list[Drop | None] = [None] * 200
    rows, left = rows_of(columns), np.arange(200)
    for stage in stages:
        ((outcome,), behind) = apply_sql(con, [stage], [rows.view, stage.after(rows.view)], rows)
        for place, code, score in zip(left, outcome.reason, outcome.score, strict=True):
            if code != KEEP:
                alone[place] = (stage.reasons[code], None if math.isnan(score) else float(score))
        rows, left = behind.take(outcome.reason == KEEP), left[outcome.reason == KEEP]
    assert fates == alone
    assert Counter(fates).keys() >= {None, ("filtered", None), ("cast_failed", None), ("too_short", 1.0)}


def test_no_rows(con: duckdb.DuckDBPyConnection) -> None:
    rows = rows_of({"text": pa.array([], pa.string())})
    answer = judge(con, rows, Length(min_words=1), Where(expression="text = 'a'"))
    assert answer.dropped == [[], []]
    assert answer.scores[0] == {"text.chars": [], "text.words": []}


# exact_dedup


def survivors_of(
    stage: ExactDedup | Sample, con: duckdb.DuckDBPyConnection, batches: Sequence[Rows], seed: int
) -> RemainingRows:
    tables = [
        pa.table({**stage.keys(rows, Context(seed)), "row_id": rows.row_ids, "source": rows.sources})
        for rows in batches
    ]
    con.register("survivors", pa.concat_tables(tables))
    return RemainingRows(con, "survivors", Context(seed))


def partners(con: duckdb.DuckDBPyConnection, stage: ExactDedup, *batches: Rows) -> dict[int, int]:
    """Return the partner of every dropped row."""
    stage.after(batches[0].view)
    decided = stage.decide(survivors_of(stage, con, batches, 0)).fetchall()
    assert {(reason, score, outside) for _, reason, score, outside, _ in decided} <= {(0, None, None)}
    assert len({row for row, *_ in decided}) == len(decided)
    return {row: partner for row, *_, partner in decided}


@pytest.mark.parametrize(
    ("texts", "settings", "expected"),
    [
        (["a", "b", "a", "a", "b"], {}, {2: 0, 3: 0, 4: 1}),
        (["a b", " A\u00a0\n b "], {}, {1: 0}),
        (["a b", "A b"], {"fold_case": False}, {}),
        (["a b", "a  b"], {"fold_case": False}, {1: 0}),
        (["a b", "a  b"], {"fold_whitespace": False}, {}),
        (["a b", "A B"], {"fold_whitespace": False}, {1: 0}),
        (["straße", "STRASSE", "strasse"], {}, {1: 0, 2: 0}),
        (["ΟΔΥΣΣΕΥΣ", "οδυσσευς"], {}, {1: 0}),
        (["ab", "a b"], {}, {}),
        ([None, "", None, " "], {}, {2: 0, 3: 1}),
        (["e\u0301", "\u00e9"], {}, {}),
        (["a\0b", "a\0c", "a\0B"], {}, {2: 0}),
    ],
    ids=ascii,
)
def test_dedup_of_texts(
    con: duckdb.DuckDBPyConnection, texts: list[str | None], settings: dict[str, Any], expected: dict[int, int]
) -> None:
    rows = rows_of({"text": pa.array(texts, pa.string())})
    assert partners(con, ExactDedup(**settings), rows) == expected


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (None, {3: 0}),
        (("anchor", "positive"), {3: 0, 4: 1}),
        (("anchor",), {1: 0, 3: 0, 4: 0}),
        (("positive", "negative"), {2: 1, 3: 0}),
        ("row", {}),
    ],
)
def test_dedup_roles(con: duckdb.DuckDBPyConnection, roles: Any, expected: dict[int, int]) -> None:
    """The texts of several roles are one content; `row` includes all columns."""
    rows = rows_of(
        {
            "anchor": ["q", "q", "qa", "Q", "q"],
            "positive": ["ab", "b", "b", "ab", "b"],
            "negative_1": ["x", "x", "x", "x", None],
            "negative_2": [None, None, None, None, "x"],
            "id": [1, 2, 3, 4, 5],
        },
        {"anchor": ("anchor",), "positive": ("positive",), "negative": ("negative_1", "negative_2")},
    )
    assert partners(con, ExactDedup(roles=roles), rows) == expected


def test_dedup_of_whole_rows(con: duckdb.DuckDBPyConnection) -> None:
    """Texts are folded at any depth; numbers, NaN and nulls are compared unchanged."""
    rows = rows_of(
        {
            "text": ["a", "A", "a", "a", "a", "a", "a"],
            "x": [0.0, 0.0, -0.0, math.nan, math.nan, 0.0, None],
            "deep": [{"b": ["T"]}, {"b": ["t "]}, {"b": ["t"]}, None, None, {"b": []}, {"b": ["t"]}],
        }
    )
    assert partners(con, ExactDedup(roles="row"), rows) == {1: 0, 4: 3}


def test_dedup_of_lists(con: duckdb.DuckDBPyConnection) -> None:
    lists = [["a", "b"], ["ab"], ["A", " b"], ["b", "a"], [], None, [None], [""], ["a", "b", None]]
    rows = rows_of({"n": pa.array(lists, pa.list_(pa.string()))}, {"negative": ("n",)})
    assert partners(con, ExactDedup(), rows) == {2: 0}


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        ((), {1: 0, 2: 0, 3: 0, 5: 4}),
        (("good",), {0: 2, 1: 2, 3: 2, 5: 4}),
        (("fair", "good"), {0: 1, 2: 1, 3: 1, 5: 4}),
        (("good", "fair"), {0: 2, 1: 2, 3: 2, 5: 4}),
        (("poor",), {1: 0, 2: 0, 3: 0, 5: 4}),
        (("none of them",), {1: 0, 2: 0, 3: 0, 5: 4}),
    ],
)
def test_dedup_priority(con: duckdb.DuckDBPyConnection, priority: tuple[str, ...], expected: dict[int, int]) -> None:
    """The first row of the best source is kept; sources without a rank come last, in input order."""
    texts, sources = ["a", "a", "a", "a", "b", "b"], ["poor", "fair", "good", "good", "other", "more"]
    first, second = rows_of({"text": texts[:3]}, None, sources[:3]), rows_of({"text": texts[3:]}, None, sources[3:], 3)
    assert partners(con, ExactDedup(priority=priority), first, second) == expected


def test_dedup_row_ids_of_many_files(con: duckdb.DuckDBPyConnection) -> None:
    high = 2**63 + 5
    batches = rows_of({"text": ["a", "b"]}, None, ["x", "x"], high), rows_of({"text": ["a"]}, None, ["y"], 7)
    assert partners(con, ExactDedup(), *batches) == {high: 7}
    assert partners(con, ExactDedup(priority=("x",)), *batches) == {7: high}


# sample


def kept(stage: Sample, batches: Sequence[Rows], seed: int = 0) -> tuple[list[int], list[float]]:
    """Return the ids of the kept rows, and the score of every dropped row."""
    with duckdb.connect(config={"threads": 1}) as con:
        seen = stage.fit(survivors_of(stage, con, batches, seed))
    stay, scores = [], []
    for rows in batches:
        outcome = stage.apply(rows, FitResult(seen), Context(seed))
        stay += rows.row_ids.filter(pa.array(outcome.reason == KEEP)).to_pylist()
        scores += outcome.score[outcome.reason != KEEP].tolist()
        assert set(outcome.reason.tolist()) <= {KEEP, 0}
    return stay, scores


def many(n: int, sources: Mapping[str, int] | None = None, first_row_id: int = 0) -> Rows:
    """Make rows of n different texts, with sources in turn."""
    names = [name for name, size in (sources or {"s": n}).items() for _ in range(size)]
    return rows_of({"text": [f"text {place + first_row_id}" for place in range(n)]}, None, names, first_row_id)


@pytest.mark.parametrize("count", [0, 1, 7, 99, 100, 101])
def test_sample_count_is_exact(count: int) -> None:
    stay, scores = kept(Sample(count=count), [many(60), many(40, None, 60)])
    assert len(stay) == min(count, 100)
    assert len(scores) == 100 - len(stay)
    assert all(0 <= score < 1 for score in scores)


def test_sample_keeps_the_smallest_scores() -> None:
    rows = [many(100)]
    all_scores = kept(Sample(count=0), rows)[1]
    stay, scores = kept(Sample(count=30), rows)
    assert sorted(stay) == sorted(np.argsort(all_scores)[:30].tolist())
    assert sorted(scores) == sorted(all_scores)[30:]
    assert set(kept(Sample(count=29), rows)[0]) < set(stay)


def test_sample_ties_go_by_row_id() -> None:
    rows = [rows_of({"text": ["same"] * 4}), rows_of({"text": ["same"] * 4}, None, None, 4)]
    assert kept(Sample(count=3), rows)[0] == [0, 1, 2]
    assert kept(Sample(count=6), rows)[0] == [0, 1, 2, 3, 4, 5]
    assert len(kept(Sample(fraction=0.5), rows)[0]) in (0, 8)


def test_sample_does_not_look_at_order_or_neighbours() -> None:
    texts = [f"text {place}" for place in range(200)]
    mixed = random.Random(0).sample(texts, 200)
    ways = [Sample(count=50), Sample(fraction=0.25)]
    for stage in ways:
        one_way, other = (
            {order[row] for row in kept(stage, [rows_of({"text": order})])[0]} for order in (texts, mixed)
        )
        assert one_way == other
    fewer = {texts[row] for row in kept(ways[1], [rows_of({"text": texts[:100]})])[0]}
    more = {texts[row] for row in kept(ways[1], [rows_of({"text": texts})])[0]}
    assert fewer == more & set(texts[:100])


def test_sample_depends_on_seed_and_on_texts_only() -> None:
    texts = [f"text {place}" for place in range(100)]
    first, again = (rows_of({"text": texts, "id": [row * sign for row in range(100)]}) for sign in (1, -1))
    drawn = [kept(Sample(count=20), [rows], seed)[0] for rows, seed in ((first, 1), (again, 1), (first, 2))]
    assert drawn[0] == drawn[1] != drawn[2]
    upper = rows_of({"text": [text.upper() for text in texts]})
    assert kept(Sample(count=20), [upper], 1)[0] != drawn[0], "texts are hashed as they are, not folded"


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_sample_fraction_is_about_that_share(fraction: float) -> None:
    stay, scores = kept(Sample(fraction=fraction), [many(2000)], 3)
    assert abs(len(stay) - 2000 * fraction) <= 3.5 * math.sqrt(2000 * fraction * (1 - fraction))
    assert all(score >= fraction for score in scores)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"weights": {"*": 1}}, {"a": 10, "b": 10, "c": 10}),
        ({"weights": {"a": 3, "b": 2, "c": 1}}, {"a": 30, "b": 20, "c": 10}),
        ({"weights": {"a": 1, "*": 0}}, {"a": 60, "b": 0, "c": 0}),
        ({"weights": {"*": 0}}, {"a": 0, "b": 0, "c": 0}),
        ({"weights": {"a": 0.1, "b": 0.2, "c": 0.1}}, {"a": 10, "b": 20, "c": 10}),
        ({"weights": {"a": 1, "b": 1, "c": 0}}, {"a": 30, "b": 30, "c": 0}),
        ({"weights": {"a": 2, "b": 1, "c": 0.3, "gone": 5}}, {"a": 60, "b": 30, "c": 9}),
        ({"count": 12, "weights": {"*": 1}}, {"a": 4, "b": 4, "c": 4}),
        ({"count": 10, "weights": {"*": 1}}, {"a": 4, "b": 3, "c": 3}),
        ({"count": 11, "weights": {"*": 1}}, {"a": 4, "b": 4, "c": 3}),
        ({"count": 7, "weights": {"a": 1, "b": 5, "c": 1}}, {"a": 1, "b": 5, "c": 1}),
        ({"count": 9, "weights": {"a": 1, "b": 5, "c": 1}}, {"a": 1, "b": 7, "c": 1}),
        ({"count": 10, "weights": {"a": 0.1, "b": 0.2, "c": 0.7}}, {"a": 1, "b": 2, "c": 7}),
        ({"count": 60, "weights": {"*": 1}}, {"a": 10, "b": 10, "c": 10}),
        ({"count": 30, "weights": {"*": 1}}, {"a": 10, "b": 10, "c": 10}),
        ({"count": 99, "weights": {"a": 1, "*": 0}}, {"a": 60, "b": 0, "c": 0}),
        ({"count": 0, "weights": {"*": 1}}, {"a": 0, "b": 0, "c": 0}),
        ({"count": 1, "weights": {"*": 1}}, {"a": 1, "b": 0, "c": 0}),
    ],
)
def test_sample_weights(settings: dict[str, Any], expected: dict[str, int]) -> None:
    """Counts are proportional, at most the size of a source; rounding gives the rest to the largest remainders."""
    sizes = {"a": 60, "b": 30, "c": 10}
    rows = many(100, sizes)
    stay, _ = kept(Sample(**settings), [rows])
    counted = Counter(rows.sources.to_pylist()[row] for row in stay)
    assert {source: counted[source] for source in sizes} == expected


def test_sample_takes_the_best_of_each_source() -> None:
    rows = many(100, {"a": 60, "b": 40})
    scores = kept(Sample(count=0), [rows])[1]
    stay, _ = kept(Sample(count=20, weights={"*": 1}), [rows])
    best = [sorted(range(start, stop), key=scores.__getitem__)[:10] for start, stop in ((0, 60), (60, 100))]
    assert sorted(stay) == sorted(best[0] + best[1])


def test_sample_needs_a_weight_for_every_source() -> None:
    with pytest.raises(RecipeError, match="source 'b' has no weight"):
        kept(Sample(weights={"a": 1}), [many(4, {"a": 2, "b": 2})])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give one of count, fraction, weights"),
        ({"count": 1, "fraction": 0.5}, "give one of count, fraction, weights"),
        ({"fraction": 0.5, "weights": {"*": 1}}, "exclude each other"),
        ({"weights": {"a": -1}}, "not negative"),
        ({"weights": {"a": math.inf}}, "finite"),
        ({"weights": {"a": math.nan}}, "finite"),
        ({"count": -1}, "greater than or equal to 0"),
        ({"fraction": 1.1}, "less than or equal to 1"),
        ({"fraction": math.nan}, "fraction"),
    ],
)
def test_sample_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Sample(**settings)

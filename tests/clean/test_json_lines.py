"""JSON lines of every Arrow type: exact texts for what JSON lacks, or a refusal before any work."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jina_data import Pipeline
from jina_data.clean.json_lines import check_json_types, json_values, write_json_lines
from jina_data.errors import InputError

VALUES: list[tuple[pa.Array, list[Any]]] = [
    (pa.array([0, 1_000_000_001], pa.duration("ns")), ["PT0S", "PT1.000000001S"]),
    (pa.array([-1_500, None], pa.duration("ms")), ["-PT1.500S", None]),
    (pa.array([1, 86_399_999_999_999], pa.time64("ns")), ["00:00:00.000000001", "23:59:59.999999999"]),
    (pa.array([3_661], pa.time32("s")), ["01:01:01"]),
    (pa.array([1_000_000_000_000_000_001], pa.timestamp("ns")), ["2001-09-09T01:46:40.000000001"]),
    (pa.array([-1], pa.timestamp("us")), ["1969-12-31T23:59:59.999999"]),
    (pa.array([253_402_300_800], pa.timestamp("s")), ["+10000-01-01T00:00:00"]),
    (pa.array([7], pa.timestamp("ns", "Europe/Berlin")), ["1970-01-01T01:00:00.000000007+01:00"]),
    (pa.array([0], pa.timestamp("s", "Asia/Kolkata")), ["1970-01-01T05:30:00+05:30"]),
    (pa.array([0], pa.timestamp("ms", "-07:00")), ["1969-12-31T17:00:00-07:00"]),
    (pa.array([2_932_897, -719_529, 0], pa.date32()), ["+10000-01-01", "-0001-12-31", "1970-01-01"]),
    (pa.array([86_400_000], pa.date64()), ["1970-01-02"]),
    (pa.array([decimal.Decimal("1.10"), decimal.Decimal("0E-2")], pa.decimal128(9, 2)), ["1.10", "0.00"]),
    (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
    (pa.array([0.1, float("nan"), float("-inf"), None]), [0.1, None, None, None]),
    (pa.array([b"\xff\x00", None], pa.binary()), ["/wA=", None]),
    (pa.array([b"ab"], pa.binary(2)), ["YWI="]),
    (pa.array([[("b", 1), ("a", None)], None], pa.map_(pa.string(), pa.int8())), [{"b": 1, "a": None}, None]),
    (pa.array([[(1, "x")]], pa.map_(pa.int8(), pa.string())), [[[1, "x"]]]),
    (pa.array([["x"], None, []], pa.list_(pa.string_view())), [["x"], None, []]),
    (pa.array([[1, 2]], pa.list_(pa.float16(), 2)), [[1.0, 2.0]]),
    (pa.array([{"at": 1, "n": None}, None], pa.struct([("at", pa.duration("s")), ("n", pa.null())])),
     [{"at": "PT1S", "n": None}, None]),
    (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
    (pa.array([(1, -2, -3)], pa.month_day_nano_interval()), ["P1M-2DT-0.000000003S"]),
    (pa.array([bytes(16)], pa.binary(16)).cast(pa.uuid()), ["00000000-0000-0000-0000-000000000000"]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "expected"), VALUES, ids=lambda value: str(getattr(value, "type", "")) or None)
def test_every_type_has_an_exact_form(values: pa.Array, expected: list[Any], tmp_path: Path) -> None:
    check_json_types(pa.schema([("column", values.type)]))
    assert json_values(values) == expected
    path = tmp_path / "rows.jsonl"
    assert write_json_lines(path, iter([pa.table({"column": values})])) == len(values)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"column": value} for value in expected]


@given(st.datetimes(timezones=st.none() | st.just(datetime.UTC)))
def test_timestamps_are_those_of_python(value: datetime.datetime) -> None:
    kind = pa.timestamp("us", None if value.tzinfo is None else "UTC")
    (text,) = json_values(pa.array([value], kind))
    assert datetime.datetime.fromisoformat(text) == value


@given(st.integers(-(2**31), 2**31 - 1))
def test_dates_of_any_year_are_those_of_numpy(days: int) -> None:
    (text,) = json_values(pa.array([days], pa.date32()))
    assert np.datetime64(text.removeprefix("+")) == np.datetime64(days, "D")


def test_other_types_are_refused_before_any_work(tmp_path: Path) -> None:
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    with pytest.raises(InputError, match=r"column 'u' is .*union.*--format jsonl cannot write.*drop: \[u\]"):
        check_json_types(pa.schema([("u", pa.list_(union.type))]))


def test_a_run_writes_and_reads_its_lines(tmp_path: Path) -> None:
    columns = {
        "at": pa.array([1_000_000_001, 2], pa.timestamp("ns")),
        "for": pa.array([1, -1], pa.duration("ns")),
        "day": pa.array([2_932_897, 0], pa.date32()),
        "clock": pa.array([1, 2], pa.time64("ns")),
    }
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["one text", "another text"], **columns}), path)
    report = Pipeline().run(path, tmp_path / "run", out_format="jsonl")
    assert report.rows.kept == 2
    lines = (tmp_path / "run" / "data" / "part-00000.jsonl").read_text().splitlines()
    first = {"text": "one text", "at": "1970-01-01T00:00:01.000000001", "for": "PT0.000000001S"}
    assert json.loads(lines[0]) == {**first, "day": "+10000-01-01", "clock": "00:00:00.000000001"}
    Pipeline().run(tmp_path / "run", tmp_path / "again", out_format="jsonl")
    assert (tmp_path / "again" / "data" / "part-00000.jsonl").read_text().splitlines() == lines

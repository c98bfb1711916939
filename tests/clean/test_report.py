"""The report: its counts compared with numpy, and its HTML page."""

from __future__ import annotations

import json
import random
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from jina_data.clean import charts, report_page, report_samples
from jina_data.clean.histograms import Bins, ScoreCounts
from jina_data.clean.recipe import Recipe
from jina_data.clean.report import CleanReport
from jina_data.cli import cli
from jina_data.errors import JinaDataError
from jina_data.html.page import visible
from jina_data.html.text_diff import WIDTH, Excerpt, compare
from jina_data.pipeline import Pipeline
from jina_data.stages import ExactDedup, Language, Length, Normalize, Rules, Sample, Select, Stage, Where
from jina_data.stages.base import Collective, Context, Outcome, RemainingRows, RowLocal, Threshold
from jina_data.stages.rows import Rows, View
from tests.support.files import write_csv, write_jsonl, write_parquet

VOID = {"meta", "line", "br", "rect", "path"}
"""Elements of the page without an end tag."""


class Page(HTMLParser):
    """A parsed page: its text and its elements; it checks that elements are closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a beginning"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def inside(self, element_id: str) -> str:
        """The text of a `code` element, as a browser copies it."""
        import html

        match = re.search(rf'<code id="{element_id}">(.*?)</code>', self.source, re.S)
        assert match
        return html.unescape(match[1])


def run(tmp_path: Path, rows: Sequence[Mapping[str, Any] | str], *stages: Stage, **options: Any) -> CleanReport:
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    return Pipeline(*stages, **options).run(source, tmp_path / "run", overwrite=True)


def page_of(report: CleanReport) -> Page:
    assert report.path is not None
    page = Page((report.path / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    return page


def random_texts(n_rows: int, seed: int = 0) -> list[dict[str, str]]:
    """Texts of a long-tailed length."""
    rng = random.Random(seed)
    return [{"text": " ".join(["word"] * int(rng.lognormvariate(2.5, 1.4)))} for _ in range(n_rows)]


# -------------------------------------------------------------------------------------------------------- histograms


class Measured(RowLocal):
    """Records scores of many kinds, and drops every third row."""

    name: ClassVar[str] = "measured"
    reasons: ClassVar[tuple[str, ...]] = ("third",)
    limit: float = 0.25

    def thresholds(self, view: View) -> Mapping[str, Sequence[Threshold]]:
        return {"share": [Threshold(self.limit, "above", "third")], "huge": [Threshold(1.0, "below", "third")]}

    def apply(self, rows: Rows) -> Outcome:
        outcome = Outcome.keep_all(len(rows))
        ids = rows.row_ids.to_numpy().astype(np.int64)
        rng = [np.random.default_rng(int(row)) for row in ids]
        share = np.array([generator.random() for generator in rng])
        tail = np.array([generator.pareto(0.6) - 5 for generator in rng])
        outcome.drop(ids % 3 == 0, 0, share)
        outcome.scores = {
            "share": pa.array(share),
            "tail": pa.array(tail),
            "some": pa.array(np.where(ids % 2 == 0, share, np.nan), from_pandas=True),
            "broken": pa.array(np.where(ids % 5 == 0, np.inf, np.where(ids % 7 == 0, np.nan, -share))),
            "whole": pa.array(ids % 11 - 5),
            "constant": pa.array(np.full(len(ids), 0.3)),
            "huge": pa.array(1e15 + share),
            "tiny": pa.array(share * 1e-12),
            "list": pa.array(
                [list(generator.random(row % 4)) for generator, row in zip(rng, ids.tolist(), strict=True)]
            ),
            "label": pa.array(["a"] * len(ids)),
            "nothing": pa.nulls(len(ids), pa.float64()),
        }
        return outcome


def recount(report: CleanReport, score: ScoreCounts) -> tuple[list[int], list[int], Any]:
    """Count the values of a score with numpy: return the counts of all rows, of dropped rows, and the values."""
    assert report.path is not None
    folder = report.path / "scores" / f"{score.stage:02d}-{report.stages[score.stage].name}"
    table = pa.concat_tables(pq.read_table(path) for path in sorted(folder.iterdir()))
    ledger = pq.read_table(report.path / "ledger").to_pylist()
    reasons = {limit.reason for limit in score.thresholds}
    dropped_ids = {
        row["row_id"]
        for row in ledger
        if row["stage_index"] == score.stage and (not reasons or row["reason"] in reasons)
    }
    pairs: list[tuple[float, bool]] = []
    for row_id, value in zip(table["row_id"].to_pylist(), table[score.name].to_pylist(), strict=True):
        items = value if isinstance(value, list) else [value]
        pairs += [(item, row_id in dropped_ids) for item in items if item is not None and np.isfinite(item)]
    values = np.array([value for value, _ in pairs])
    places = np.searchsorted(score.bins.edges[1:], values, side="left")
    size = len(score.bins.counts)
    is_dropped = np.array([flag for _, flag in pairs])
    return (
        np.bincount(places, minlength=size).tolist(),
        np.bincount(places[is_dropped], minlength=size).tolist(),
        values,
    )


def check_histogram(report: CleanReport, score: ScoreCounts) -> None:
    counts, dropped, values = recount(report, score)
    assert (list(score.bins.counts), list(score.bins.dropped)) == (counts, dropped)
    assert sum(score.bins.counts) == score.count == len(values)
    assert (score.min, score.max) == (values.min(), values.max())
    assert score.bins.edges[0] <= score.min <= score.max <= score.bins.edges[-1]
    assert all(np.diff(score.bins.edges) > 0)
    assert len(score.bins.counts) < 80
    for share, value in score.quantiles.items():
        exact = np.quantile(values, float(share), method="inverted_cdf")
        assert value == pytest.approx(exact, rel=0.011)
    assert score.is_whole == bool((values == np.round(values)).all())


def test_histograms_count_what_is_in_the_score_files(tmp_path: Path) -> None:
    report = run(tmp_path, random_texts(700), Length(min_words=3, max_words=90), Measured(), Rules(max_char_run=3))
    assert [score.name for score in report.scores if score.stage == 1] == [
        *("share", "tail", "some", "broken", "whole", "constant", "huge", "tiny", "list")
    ]
    for score in report.scores:
        check_histogram(report, score)
    words = next(score for score in report.scores if score.name == "text.words")
    assert words.bins.tail_above
    assert not words.bins.tail_below
    assert sum(words.bins.dropped) == report.stages[0].dropped["too_short"] + report.stages[0].dropped["too_long"]


def test_only_rows_dropped_by_the_limit_are_hatched(tmp_path: Path) -> None:
    rows = [{"text": "12 ab"}, {"text": "---"}, {"text": "1 abcdefgh"}, {"text": "123456 a"}]
    report = run(tmp_path, rows, Rules(no_letters=True, placeholder=False, only_punctuation=False, max_digit_ratio=0.6))
    dropped = {score.name: sum(score.bins.dropped) for score in report.scores}
    assert report.stages[0].dropped == {"no_letters": 1, "too_many_digits": 1}
    assert dropped == {"text.no_letters": 1, "text.too_many_digits": 1}
    # A text without letters and digits has no share of digits.
    assert {score.name: score.count for score in report.scores} == {"text.no_letters": 4, "text.too_many_digits": 3}


def test_limits_of_the_stages_are_in_the_report(tmp_path: Path) -> None:
    rows = [{"anchor": "one two three", "positive": "four five", "negative": ["six", "seven eight"]}] * 3
    stages = (
        Length(min_words=1, max_words=9, min_chars=2),
        Rules(max_digit_ratio=0.5, roles=("anchor",)),
        Language(languages=("en",), uncertain="drop", roles=("positive",)),
        Language(languages=("en", "de"), language_threshold=0.7, roles=("positive",)),
        Language(languages="any"),
    )
    report = run(tmp_path, rows, *stages)
    thresholds = {(score.stage, score.name): score.thresholds for score in report.scores}
    assert thresholds[0, "anchor.words"] == (Threshold(1.0, "above", "too_short"), Threshold(9.0, "below", "too_long"))
    assert thresholds[0, "negative.min_words"] == (Threshold(1.0, "above", "too_short"),)
    assert thresholds[0, "negative.max_words"] == (Threshold(9.0, "below", "too_long"),)
    assert thresholds[0, "negative.max_chars"] == ()
    assert thresholds[1, "anchor.too_many_digits"] == (Threshold(0.5, "below", "too_many_digits"),)
    assert thresholds[1, "anchor.placeholder"] == (Threshold(0.0, "below", "placeholder"),)
    view = View(pa.schema([("text", pa.string())]), {"text": ("text",)})
    assert stages[2].model_copy(update={"roles": None}).thresholds(view) == {
        "text.probability": [Threshold(0.65, "above", "uncertain_language")]
    }
    assert stages[3].model_copy(update={"roles": None}).thresholds(view) == {
        "text.probability": [Threshold(0.7, "below", "wrong_language")]
    }
    assert stages[4].thresholds(view) == {}
    assert Sample(count=1).thresholds(view) == {}


@pytest.mark.parametrize("stage", [Length(min_words=4, max_words=12), Rules(max_char_run=1, max_digit_ratio=0.2)])
def test_limits_separate_kept_from_dropped_rows(tmp_path: Path, stage: Stage) -> None:
    """For a stage with one limit on a score: exactly the rows beyond the limit are dropped for its reason."""
    rng = random.Random(3)
    rows = [{"text": "".join(rng.choices("ab1  ", k=rng.randrange(3, 60)))} for _ in range(300)]
    report = run(tmp_path, rows, stage)
    assert report.path is not None
    table = pq.read_table(report.path / "scores" / f"00-{stage.name}").to_pylist()
    dropped = {
        row["row_id"]: row["reason"] for row in pq.read_table(report.path / "ledger").to_pylist() if not row["kept"]
    }
    first: dict[int, str] = {}
    limits = [(score.name, limit) for score in report.scores for limit in score.thresholds]
    assert limits
    for row in table:
        beyond = {
            limit.reason
            for name, limit in limits
            if row[name] is not None
            and (row[name] < limit.value if limit.keeps == "above" else row[name] > limit.value)
        }
        if beyond:
            first[row["row_id"]] = dropped.get(row["row_id"], "")
            assert first[row["row_id"]] in {*beyond, "empty"}
    assert set(first) == {row_id for row_id, reason in dropped.items() if reason != "empty"}


def score_of(edges: Sequence[float], limits: Sequence[Threshold], **more: Any) -> ScoreCounts:
    zeros = [1] * (len(edges) - 1)
    whole = more.pop("is_whole", False)
    quantiles = {str(share): 0.0 for share in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)}
    return ScoreCounts(
        0, "s", len(zeros), edges[0], edges[-1], whole, quantiles, Bins(edges, zeros, zeros, **more), limits
    )


def test_limit_stands_where_its_value_is_on_the_axis() -> None:
    score = score_of([0, 0.25, 0.5, 0.75, 1], [Threshold(0.65, "above", "r"), Threshold(0.1, "below", "r")])
    drawn = charts.histogram(score)
    by_text = {tick.text: tick.position for tick in drawn.x_ticks}
    per_unit = by_text["1"] - by_text["0"]
    assert [mark.position for mark in drawn.marks] == pytest.approx(
        [by_text["0"] + 0.65 * per_unit, by_text["0"] + 0.1 * per_unit]
    )
    assert [(mark.text, mark.beyond) for mark in drawn.marks] == [("0.65", False), ("0.1", False)]


def test_limit_on_whole_numbers_stands_between_the_bars() -> None:
    limits = [Threshold(2, "above", "few"), Threshold(3, "below", "many")]
    drawn = charts.histogram(score_of([-0.5, 0.5, 1.5, 2.5, 3.5, 4.5], limits, is_whole=True))
    lefts = [float(x) for x in re.findall(r"M([\d.]+) ", drawn.bars)]
    # Bars of 0, 1, 2, 3, 4: values below 2 and above 3 are dropped.
    assert [mark.position for mark in drawn.marks] == pytest.approx([lefts[2], lefts[4]], abs=0.06)


def test_limit_beyond_the_values_is_named_but_not_drawn(tmp_path: Path) -> None:
    drawn = charts.histogram(score_of([0, 1, 2], [Threshold(9, "below", "r"), Threshold(-4, "above", "r")]))
    assert [(mark.text, mark.beyond) for mark in drawn.marks] == [("9 →", True), ("← -4", True)]
    html = page_of(run(tmp_path, [{"text": "one two"}], Length(max_words=50))).source
    assert 'class="limit"' not in html
    assert "50 →" in html


def test_limit_in_a_tail_stands_in_the_bar_of_the_tail() -> None:
    score = score_of([0, 1, 2, 3, 500], [Threshold(90, "below", "r")], tail_above=True)
    assert charts.histogram(score).marks[0].position == charts.RIGHT - charts.TAIL / 2
    assert [tick.text for tick in charts.histogram(score).x_ticks][-1] == "> 3"


def test_bars_are_as_high_as_their_counts() -> None:
    bins = Bins([0, 1, 2, 3], [4, 0, 8], [2, 0, 8])
    score = ScoreCounts(0, "s", 12, 0, 3, False, dict.fromkeys(("0.01", "0.5", "0.99"), 1.0), bins)
    drawn = charts.histogram(score)
    heights = [float(height) for height in re.findall(r"v-([\d.]+)h", drawn.bars)]
    assert heights == pytest.approx([(charts.BOTTOM - charts.TOP) / 2, charts.BOTTOM - charts.TOP])
    assert [float(height) for height in re.findall(r"v-([\d.]+)h", drawn.dropped)] == pytest.approx(
        [(charts.BOTTOM - charts.TOP) / 4, charts.BOTTOM - charts.TOP]
    )
    assert not drawn.is_log
    lopsided = Bins([0, 1, 2, 3], [3, 3, 9999], [0, 0, 0])
    assert charts.histogram(ScoreCounts(**{**vars(score), "bins": lopsided})).is_log


def test_report_json_reads_back_and_may_lack_the_scores(tmp_path: Path) -> None:
    report = run(tmp_path, random_texts(50), Length(min_words=3))
    assert report.path is not None
    assert CleanReport.load(report.path) == report
    path = report.path / "report.json"
    values = json.loads(path.read_text())
    assert list(values)[-3:] == ["cut", "scores", "warnings"]
    assert values.pop("scores")[0]["thresholds"] == []
    path.write_text(json.dumps(values))
    assert CleanReport.load(report.path).scores == []


# ------------------------------------------------------------------------------------------------------------ the page


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> CleanReport:
    """A run with two files, several sources, broken lines and many reasons."""
    folder = tmp_path_factory.mktemp("rich")
    rows: list[Mapping[str, Any] | str] = [
        {
            "question": f"What is the capital of country number {n}?",
            "answer": f"It is city {n % 40}.",
            "kind": "abc"[n % 3],
        }
        for n in range(120)
    ]
    rows += [{"question": "Ist das wirklich ein deutscher Satz?", "answer": "Ja, das ist er ganz gewiss.", "kind": "a"}]
    rows += [{"question": "A", "answer": "", "kind": None}, "{broken", {"question": "B b", "answer": "!!", "kind": "d"}]
    rows += [dict(row, question=str(row["question"]).upper()) for row in rows[:9] if isinstance(row, Mapping)]
    first = write_jsonl(folder / "one.jsonl", rows)
    second = write_csv(folder / "two.csv", [{"question": "What is it?", "answer": "It.", "kind": "e"}])
    pipeline = Pipeline(
        *(Normalize(), Length(min_words=1), Rules(), Language(languages=("en",)), ExactDedup(), Sample(count=100)),
        columns={"anchor": "question", "positive": "answer", "source": "kind"},
        seed=5,
    )
    return pipeline.run([first, second], folder / "run")


def test_page_is_well_formed_and_needs_no_network(rich: CleanReport) -> None:
    page = page_of(rich)
    assert not re.search(r"(https?:)?//[a-z]", page.source)
    assert not [tag for tag, _ in page.elements if tag in ("script", "link", "img", "iframe", "object")]
    for _, attributes in page.elements:
        assert not {name for name in attributes if name.startswith("on") or name == "src"}
        assert str(attributes.get("href") or "#").startswith("#")
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = {str(value)[1:] for _, attributes in page.elements if (value := attributes.get("href"))}
    targets |= {str(value) for _, attributes in page.elements if (value := attributes.get("aria-labelledby"))}
    assert targets <= set(ids)
    charts_ = [attributes for tag, attributes in page.elements if tag == "svg" and attributes.get("role") == "img"]
    assert len(charts_) == len(rich.scores) > 5
    assert all(attributes["aria-label"] for attributes in charts_)
    assert "url(" not in page.source.replace("url(#hatch)", "")


def test_page_has_every_count(rich: CleanReport) -> None:
    page = page_of(rich)
    assert f"{rich.rows.kept:,} of {rich.rows.read:,} rows kept" in page.text
    for stage in rich.stages:
        for reason, n in stage.dropped.items():
            assert f"{stage.name}: {reason}, {n:,} row" in page.text
    assert set(Counter(reason for stage in rich.stages for reason in stage.dropped)) >= {
        *("empty", "too_short", "wrong_language", "exact_duplicate", "not_sampled")
    }
    # The cells of a source, from the ledger.
    assert rich.path is not None
    with duckdb.connect() as con:
        con.read_parquet(f"{rich.path}/ledger/*.parquet").create_view("ledger")
        (source, n), *_ = con.execute(
            "SELECT source, count(*) FROM ledger WHERE reason = 'not_sampled' GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
        ).fetchall()
    row = re.search(rf"<bdi>{source}</bdi></th>(.*?)</tr>", page.source, re.S)
    assert row
    cells = [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", row[1], re.S)]
    heads = re.findall(r"<small>.*?</small><br>(\w+)</th>", page.source.split("By source")[1])
    assert cells[2 + heads.index("not_sampled")] == str(n)


def test_languages_add_up(rich: CleanReport, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rich.path is not None
    page = page_of(rich)
    part = page.source.split('id="languages"')[1].split("</section>")[0]
    table = pq.read_table(rich.path / "scores" / "03-language")
    for role, rows in zip(("anchor", "positive"), part.split("<tbody>")[1:], strict=True):
        cells = re.findall(r'<th scope="row">(\S+)</th><td class="n">([\d,]+)</td>', rows.split("</tbody>")[0])
        labels = Counter(table[f"{role}.language"].to_pylist())
        assert {label: int(n.replace(",", "")) for label, n in cells} == dict(labels)


def test_rare_languages_are_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "MAX_LABELS", 1)
    texts = ["This is an English sentence.", "And this is another one.", "Das ist ein Satz.", "Ceci est une phrase."]
    page = page_of(run(tmp_path, [{"text": text} for text in texts], Language(languages="any")))
    assert re.search(r'<th scope="row">en</th><td class="n">2</td>', page.source)
    assert re.search(r'<th scope="row">2 others</th><td class="n">2</td>', page.source)


def test_long_lists_of_sources_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "MAX_PARTS", 3)
    rows = [{"text": f"row {n}", "from": f"source-{n % 7}"} for n in range(29)]
    page = page_of(run(tmp_path, rows, Length(min_words=3), columns={"text": "text", "source": "from"}))
    assert re.findall(r"<bdi>(source-\d)</bdi>", page.source) == ["source-0", "source-1", "source-2"]
    assert "4 more, with fewer rows, are listed in report.json" in page.text


def test_everything_is_escaped(tmp_path: Path) -> None:
    text = '<script>alert("1")</script> & <b>bold</b>'
    rows: list[Mapping[str, Any] | str] = [
        {"a<i>b": text, "from": "<u>source</u>"},
        {"a<i>b": text.upper(), "from": "'\"><s>"},
        "<img src=x>",
    ]
    page = page_of(run(tmp_path, rows, ExactDedup(), columns={"text": "a<i>b", "source": "from"}))
    assert not {tag for tag, _ in page.elements} & {"script", "b", "i", "u", "s", "img"}
    for value in (text, text.upper(), "a<i>b", "<u>source</u>", "'\"><s>", "<img src=x>"):
        assert value in page.text


def test_control_characters_are_visible_and_harmless(tmp_path: Path) -> None:
    text = "bell\x07 escape\x1b[2J null\x00 turn\u202earound c1\x9b"
    report = run(tmp_path, [{"text": text}, {"text": text}], ExactDedup())
    source = page_of(report).source
    assert "bell␇ escape␛[2J null␀ turn\ufffdaround c1\ufffd" in source
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", source)


def test_bytes_that_are_no_text_do_not_break_the_page(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b'{"text": "fine"}\n{"text": "\xff\xfe broken"}\n')
    report = Pipeline(Length()).run(source, tmp_path / "run")
    assert report.rows.unreadable == 1
    assert "broken" in page_of(report).text


def test_long_texts_are_cut(tmp_path: Path) -> None:
    rows = [{"text": "x" * 5000}]
    page = page_of(run(tmp_path, rows, Length(max_chars=100)))
    assert "x" * WIDTH + "… (5,000 characters)" in page.text
    assert "x" * (WIDTH + 1) not in page.source


# ------------------------------------------------------------------------------------------------------- dropped rows


def text_of(excerpt: Excerpt) -> str:
    return "".join(span.text for span in excerpt.spans)


def test_differences_are_marked() -> None:
    first, second = compare("the quick brown fox", "the quick red fox")
    assert [span for span in first.spans if span.differs] == [("brown", True)]
    assert [span for span in second.spans if span.differs] == [("red", True)]
    chinese, _ = compare("今天天气很好", "今天天气不好")
    assert [span.text for span in chinese.spans if span.differs] == ["很"]


@pytest.mark.parametrize("seed", range(60))
def test_excerpts_show_the_first_difference(seed: int) -> None:
    rng = random.Random(seed)
    words = [rng.choice(["a", "bb", "ccc", "字", "word,", "\n"]) for _ in range(rng.randrange(1, 900))]
    other = list(words)
    for _ in range(rng.randrange(0, 4)):
        other.insert(rng.randrange(len(other) + 1), rng.choice(["new", "", "字"]))
    texts = " ".join(words), " ".join(other)
    excerpts = compare(*texts)
    for text, excerpt in zip(texts, excerpts, strict=True):
        window = text_of(excerpt)
        assert window in text
        assert len(window) <= WIDTH
        assert excerpt.cut_before == (not text.startswith(window) or excerpt.cut_before)
        assert excerpt.n_chars == len(text)
        if not excerpt.cut_before and not excerpt.cut_after:
            assert window == text
    is_marked = any(span.differs for excerpt in excerpts for span in excerpt.spans)
    assert is_marked == (texts[0] != texts[1])


def test_equal_texts_have_no_mark_at_the_cut() -> None:
    for length in range(WIDTH - 5, WIDTH + 5):
        first, second = compare("  " + "word " * 300, "word " * 300 + "z" * length)
        assert [span.text for span in first.spans if span.differs] == ["  "]
        assert not any(span.differs for span in second.spans)


def drop_of(page: Page, place: str) -> str:
    """The part of the page that shows one dropped row."""
    articles: list[str] = re.findall(r'<article class="drop">.*?</article>', page.source, re.S)
    return next(article for article in articles if f"{place}</bdi>" in article.split("</header>")[0].split(";")[0])


def test_partner_is_shown_next_to_the_row(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "kept as it is", "n": 1},
        {"text": "other"},
        {"text": "Kept AS it is", "n": 2},
    ]
    part = drop_of(page_of(run(tmp_path, rows, ExactDedup())), "rows.jsonl:2")
    assert "rows.jsonl:0</bdi></header>" in part
    row_text, partner_text = re.findall(r'<div class="text (?:own|other)" dir="auto">(.*?)</div>', part)
    assert row_text == "<mark>Kept</mark> <mark>AS</mark> it is"
    assert partner_text == "<mark>kept</mark> <mark>as</mark> it is"


def test_rows_are_shown_as_in_the_input(tmp_path: Path) -> None:
    rows = [{"body": "fi\u0301rst   text", "year": "no number"}, {"body": "kept", "year": "7"}]
    stages = (Normalize(), Select(cast={"year": "BIGINT"}, rename={"body": "page"}), Where(expression="year > 1"))
    part = drop_of(page_of(run(tmp_path, rows, *stages, columns={"text": "body"})), "rows.jsonl:0")
    assert "fi\u0301rst   text" in part
    assert "no number" in part


def test_partner_outside_is_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = write_jsonl(tmp_path / "before.jsonl", [{"text": "x"}, {"text": "seen BEFORE"}])
    rows = [{"text": "new"}, {"text": "seen before"}]
    stage = ExactDedup(against=(str(outside),))
    part = drop_of(page_of(run(tmp_path, rows, stage)), "rows.jsonl:1")
    assert "before.jsonl:1</bdi></header>" in part
    assert "seen <mark>BEFORE</mark>" in part
    monkeypatch.setattr(report_samples, "OUTSIDE_BYTES", 1)
    part = drop_of(page_of(run(tmp_path, rows, stage)), "rows.jsonl:1")
    assert "before.jsonl:1</bdi></header>" in part
    assert "BEFORE" not in part


def test_partner_outside_may_have_other_columns() -> None:
    long = "before " * 200
    lines = report_samples._compare_columns(
        {"text": f"{long}A common run of words. {long}"}, {"query": "a COMMON run of words"}, {}
    )
    (text, _), (_, partner_text) = ((line.text, line.partner_text) for line in lines)
    assert [(line.label, line.in_row, line.in_partner) for line in lines] == [
        ("text", True, False),
        ("query", False, True),
    ]
    assert text is not None
    assert partner_text is not None
    assert "A common run of words." in text_of(text)
    assert (text.cut_before, text.cut_after) == (True, True)
    assert text_of(partner_text) == "a COMMON run of words"


def test_samples_are_those_of_inspect(rich: CleanReport) -> None:
    assert rich.path is not None
    places = re.findall(r'<article class="drop"><header><bdi>(.*?)</bdi>', page_of(rich).source)
    output = CliRunner().invoke(cli, ["inspect", str(rich.path), "--sample", "5"]).output
    assert [place for place in places if place in output] == places[1:]
    assert len(places) == 1 + sum(min(5, n) for stage in rich.stages for n in stage.dropped.values())


# ------------------------------------------------------------------------------------------------------- near_dedup


class Near(Collective):
    """Drops rows that share their first word with an earlier row, and records the facts of near_dedup."""

    name: ClassVar[str] = "near_dedup"
    reasons: ClassVar[tuple[str, ...]] = ("near_duplicate",)
    threshold: float = 0.8

    def thresholds(self, view: View) -> Mapping[str, Sequence[Threshold]]:
        return {"score": [Threshold(self.threshold, "below", self.reasons[0])]}

    def keys(self, rows: Rows, context: Context) -> dict[str, pa.Array]:
        texts = rows.texts("text").values.to_pylist()
        return {"word": pa.array([text.split()[0] for text in texts]), "size": pa.array([len(text) for text in texts])}

    def decide(self, remaining: RemainingRows) -> duckdb.DuckDBPyRelation:
        largest = [{"rows": 1234, "row_id": 2}]
        settings = {"threshold": self.threshold, "num_buckets": 9, "hashes_per_bucket": 13, "n_grams": 5}
        remaining.facts |= {**settings, "compared": 98765, "largest_buckets": largest}
        return remaining.con.sql(
            f"SELECT row_id, 0::SMALLINT AS reason, 0.8 + size % 20 / 100 AS score, NULL::VARCHAR AS partner, "
            f"first AS partner_row_id FROM (SELECT *, min(row_id) OVER (PARTITION BY word) AS first "
            f"FROM {remaining.name}) WHERE row_id <> first"
        )


def test_near_duplicates_have_their_curve_and_scores(tmp_path: Path) -> None:
    rows = [{"text": f"{'abc'[n % 3]} {'x' * (n * 7 % 31)}"} for n in range(60)]
    report = run(tmp_path, rows, Near())
    assert [(score.name, score.count) for score in report.scores] == [("score", 57)]
    assert list(report.scores[0].bins.dropped) == list(report.scores[0].bins.counts)
    page = page_of(report)
    assert "98,765" in page.text
    assert re.search(r'<td class="n">1,234</td><td class="name"><bdi>[^<]*rows.jsonl:2</bdi>', page.source)
    chance = 1 - (1 - 0.8**13) ** 9
    assert f"At the threshold 0.8 it is {100 * chance:.1f} %" in page.text


@pytest.mark.parametrize(("bands", "rows", "threshold"), [(14, 8, 0.75), (1, 1, 0.5), (450, 20, 0.9)])
def test_curve_is_the_chance_of_sharing_a_band(bands: int, rows: int, threshold: float) -> None:
    drawn = charts.lsh_curve(bands, rows, threshold)
    points = [tuple(map(float, point.split())) for point in drawn.bars[1:].split("L")]
    for x, y in points:
        similarity = (x - charts.LEFT) / (charts.RIGHT - charts.LEFT)
        chance = (charts.BOTTOM - y) / (charts.BOTTOM - charts.TOP)
        low, high = (1 - (1 - max(0.0, similarity + way) ** rows) ** bands for way in (-0.001, 0.001))
        assert low - 0.002 <= chance <= high + 0.002
    assert drawn.marks[0].position == pytest.approx(charts.LEFT + threshold * (charts.RIGHT - charts.LEFT))


# ------------------------------------------------------------------------------------------------------ running again


def test_recipe_and_command_give_the_same_data_again(rich: CleanReport, tmp_path: Path, monkeypatch: Any) -> None:
    assert rich.path is not None
    page = page_of(rich)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(page.inside("recipe"), encoding="utf-8")
    assert Recipe.load("recipe.yaml").sha256 == rich.recipe_sha256
    words = shlex.split(page.inside("command"))
    assert words[0] == "jina-data"
    done = CliRunner().invoke(cli, words[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    for name in ("data", "dropped", "ledger"):
        for path in sorted((rich.path / name).iterdir()):
            assert (tmp_path / "NEW_DIR" / name / path.name).read_bytes() == path.read_bytes()


def test_command_quotes_and_names_what_was_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "a folder; with $signs"
    folder.mkdir()
    table = pa.table({"the text": ["one two", "three four", "five"], "where": ["x", "y", "z"]})
    source = write_parquet(folder / "it's.parquet", table)
    done = CliRunner().invoke(
        cli,
        [
            *("clean", str(source), "-o", str(tmp_path / "run"), "-p", "sentences", "-c", "text=the text"),
            *("-c", "source=where", "--limit", "2", "--format", "jsonl", "-q", "--seed", "4"),
        ],
        catch_exceptions=False,
    )
    assert done.exit_code == 0
    words = shlex.split(page_of(CleanReport.load(tmp_path / "run")).inside("command"))
    assert words[:6] == ["jina-data", "clean", "-o", "NEW_DIR", "-p", "recipe.yaml"]
    assert words[6:-1] == [
        *("-c", "text=the text", "-c", "source=where", "--seed", "4", "--limit", "2", "--format", "jsonl")
    ]
    assert words[-1] == str(source)


STAGES = [
    *(Normalize(), Length(max_words=7), Rules(c4=True), Language(languages=("no", "en")), ExactDedup(roles="row")),
    *(
        Sample(weights={"*": 1}),
        Where(expression="text <> 'null: # \u202e\x07'"),
        Select(rename={"a": "yes", "n": "0"}),
    ),
]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_shown_recipe_reads_back(stage: Stage, tmp_path: Path) -> None:
    recipe = Recipe(stages=(stage,), columns={"text": ("no", "a\u202eb, c"), "source": ("on",)}, seed=-7)

    class Plan:
        pass

    plan: Any = Plan()
    plan.recipe = recipe
    text = report_page.recipe_yaml(plan)
    assert visible(text) == text
    again = Recipe.parse(text)
    assert again == recipe
    assert again.sha256 == recipe.sha256


def test_same_input_gives_the_same_page(tmp_path: Path) -> None:
    pages = []
    rows = random_texts(300) + [{"text": f"row number {n % 90}"} for n in range(300)]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    for number, options in enumerate(({"batch_rows": 7}, {"batch_rows": 4096, "memory_limit": "1GB"})):
        pipeline = Pipeline(Length(min_words=2), Language(languages=("en",)), ExactDedup(), Sample(fraction=0.5))
        report = pipeline.run(source, tmp_path / f"run-{number}", **options)  # type: ignore[arg-type]
        html = page_of(report).source
        html = re.sub(r"[\d.]+ s, \d+ MiB at the peak", "", html)
        pages.append(re.sub(r'<td class="n">\d+\.\d\d</td></tr>', "", html))
    assert pages[0] == pages[1]


@pytest.mark.parametrize("n_rows", [0, 1])
def test_run_where_no_stage_measures_a_row(tmp_path: Path, n_rows: int) -> None:
    schema = pa.schema([("text", pa.string()), ("n", pa.int64())])
    source = write_parquet(tmp_path / "rows.parquet", [{"text": "a", "n": 1}] * n_rows, schema)
    stages = (Where(expression="n > 5"), Language(languages="any"), ExactDedup(), Sample(count=1))
    report = Pipeline(*stages).run(source, tmp_path / "run")
    page = page_of(report)
    assert f"0 of {n_rows} rows kept (0.0 %)" in page.text
    assert ("where: filtered, 1 row " in page.text) == (n_rows == 1)
    assert ("No rows were dropped." in page.text) == (n_rows == 0)
    assert report.scores == []


def test_run_where_everything_is_dropped(tmp_path: Path) -> None:
    report = run(tmp_path, random_texts(40), Length(min_words=10_000_000), ExactDedup(), Sample(count=3))
    page = page_of(report)
    assert "0 of 40 rows kept (0.0 %)" in page.text
    # A text without words is empty, which is not the reason of a limit; characters have no limit.
    by_name = {score.name: (score.count, sum(score.bins.dropped)) for score in report.scores}
    n_short = report.stages[0].dropped["too_short"]
    assert by_name == {"text.chars": (40, 40), "text.words": (40, n_short)}


@pytest.mark.corpora
def test_pages_of_real_runs(corpora: Path, tmp_path: Path) -> None:
    pipeline = Pipeline.from_recipe("pairs", ["rules.gopher_quality=true", "language.languages=[en, es]"])
    report = pipeline.run(corpora / "train" / "pairs_medquad.parquet", tmp_path / "run", limit=4000)
    assert report.path is not None
    for score in report.scores:
        check_histogram(report, score)
    page = page_of(report)
    assert len(page.source) < 500_000
    with pytest.raises(JinaDataError):
        CleanReport.load(tmp_path)

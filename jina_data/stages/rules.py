"""The stage `rules`: heuristics that drop junk, named as published for Gopher, C4 and FineWeb.

docs/rules.md defines every rule. Each takes one measurement of a text, which becomes a score of the row, and drops the
row if the measurement is beyond a limit. A measurement that does not apply to a text (the word length of a Chinese
text, the share of short lines of an empty text) is null and drops nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import override

from jina_data.errors import RecipeError
from jina_data.stages.base import Outcome, RowLocal, Threshold
from jina_data.stages.placeholders import placeholders, punctuation_only
from jina_data.stages.rows import BoolArray, FloatArray, IntArray, Rows, Texts, View, per_row

Counts = Mapping[str, IntArray]
Number = Annotated[int, Field(ge=0)]
Size = Annotated[float, Field(ge=0)]
Ratio = Annotated[float, Field(ge=0, le=1)]

GOPHER_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
TOP, DUPLICATED = (2, 3, 4), (5, 6, 7, 8, 9, 10)
PAIRS = (("anchor", "positive"), ("sentence1", "sentence2"))

PUBLISHED: dict[str, dict[str, float | bool]] = {
    "gopher_quality": {
        "gopher_min_doc_words": 50,
        "gopher_max_doc_words": 100_000,
        "gopher_min_avg_word_length": 3,
        "gopher_max_avg_word_length": 10,
        "gopher_max_symbol_word_ratio": 0.1,
        "gopher_max_bullet_lines_ratio": 0.9,
        "gopher_max_ellipsis_lines_ratio": 0.3,
        "gopher_min_alpha_words_ratio": 0.8,
    },
    "gopher_repetition": {
        "gopher_dup_para_frac": 0.3,
        "gopher_dup_para_char_frac": 0.2,
        "gopher_dup_line_frac": 0.3,
        "gopher_dup_line_char_frac": 0.2,
        "gopher_top_2_gram": 0.20,
        "gopher_top_3_gram": 0.18,
        "gopher_top_4_gram": 0.16,
        "gopher_duplicated_5_n_grams": 0.15,
        "gopher_duplicated_6_n_grams": 0.14,
        "gopher_duplicated_7_n_grams": 0.13,
        "gopher_duplicated_8_n_grams": 0.12,
        "gopher_duplicated_9_n_grams": 0.11,
        "gopher_duplicated_10_n_grams": 0.10,
    },
    "c4": {
        "c4_filter_lorem_ipsum": True,
        "c4_filter_curly_bracket": True,
        "c4_max_word_length": 1000,
        "c4_max_javascript_lines_ratio": 0.5,
        "c4_max_policy_lines_ratio": 0.5,
        "c4_min_num_sentences": 5,
    },
    "fineweb": {
        "fineweb_line_punct_thr": 0.12,
        "fineweb_short_line_thr": 0.67,
        "fineweb_char_duplicates_ratio": 0.01,
        "fineweb_new_line_ratio": 0.3,
    },
}
"""The options that the switch of a group sets, unless the recipe sets them."""


Measure = Callable[[Counts, "Rules"], FloatArray]


@dataclass(frozen=True)
class Rule:
    """One reason to drop a row: a measurement, computed from the counts of kernels, is on the wrong side of a limit.

    `option` is the option that sets the limit. `kernels` are the names of the kernels, separated by spaces.
    """

    option: str
    reason: str
    side: Literal["below", "above"]
    kernels: str
    measure: Measure


def _share(part: IntArray, whole: IntArray) -> FloatArray:
    """Divide counts; NaN where `whole` is 0."""
    shares = np.full(len(part), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares


def _count(name: str) -> Measure:
    return lambda count, _: count[name].astype(np.float64)


def _ratio(part: str, whole: str) -> Measure:
    return lambda count, _: _share(count[part], count[whole])


def _per_word(part: str) -> Measure:
    """Divide by the weight of the words (in quarters), so that a Chinese text counts as much as its translation."""
    return lambda count, _: 4 * _share(count[part], count["weight"])


def _n_gram(name: str) -> Measure:
    return lambda count, _: np.where(count[name] < 0, np.nan, _share(count[name], count["word_chars"]))


def _digits(count: Counts, _: Rules) -> FloatArray:
    return _share(count["numbers"], count["letters"] + count["numbers"])


def _symbols(count: Counts, _: Rules) -> FloatArray:
    return _share(count["symbols"], count["chars"] - count["blanks"])


def _word_length(count: Counts, _: Rules) -> FloatArray:
    length = _share(count["spaced_width"], count["spaced_words"])
    return np.where(2 * count["spaced_words"] >= count["words"], length, np.nan)


def _punctuated(count: Counts, values: FloatArray) -> FloatArray:
    """Return NaN for texts with mostly Thai or Lao letters, since these do not end sentences with a mark."""
    return np.where(2 * count["thai_letters"] > count["line_letters"], np.nan, values)


def _sentences(count: Counts, _: Rules) -> FloatArray:
    return _punctuated(count, count["sentences"].astype(np.float64))


def _line_punct(count: Counts, rules: Rules) -> FloatArray:
    ratio = _punctuated(count, _share(count["terminal_ends"], count["lines"]))
    return np.where(ratio == 0, np.nan, ratio) if rules.fineweb_line_punct_exclude_zero else ratio


_DUP_LINES, _DUP_LINE_CHARS = _ratio("dup_lines", "lines"), _ratio("dup_line_chars", "line_chars")
_DUP_PARAS, _DUP_PARA_CHARS = _ratio("dup_paras", "paragraphs"), _ratio("dup_para_chars", "line_chars")

RULES = (
    Rule("placeholder", "placeholder", "above", "placeholder", _count("placeholder")),
    Rule("only_punctuation", "only_punctuation", "above", "punctuation", _count("only_punctuation")),
    Rule("no_letters", "no_letters", "below", "characters", _count("letters")),
    Rule("max_digit_ratio", "too_many_digits", "above", "characters", _digits),
    Rule("max_symbol_ratio", "too_many_symbols", "above", "characters", _symbols),
    Rule("max_char_run", "char_run", "above", "characters", _count("char_run")),
    Rule("gopher_min_doc_words", "gopher_short_doc", "below", "words", _count("words")),
    Rule("gopher_max_doc_words", "gopher_long_doc", "above", "words", _count("words")),
    Rule("gopher_min_avg_word_length", "gopher_below_avg_threshold", "below", "words", _word_length),
    Rule("gopher_max_avg_word_length", "gopher_above_avg_threshold", "above", "words", _word_length),
    Rule("gopher_max_symbol_word_ratio", "gopher_too_many_hashes", "above", "characters words", _per_word("hashes")),
    Rule(
        "gopher_max_symbol_word_ratio", "gopher_too_many_ellipsis", "above", "characters words", _per_word("ellipses")
    ),
    Rule("gopher_max_bullet_lines_ratio", "gopher_too_many_bullets", "above", "lines", _ratio("bullets", "lines")),
    Rule(
        "gopher_max_ellipsis_lines_ratio",
        "gopher_too_many_end_ellipsis",
        "above",
        "lines",
        _ratio("ellipsis_ends", "lines"),
    ),
    Rule(
        "gopher_min_alpha_words_ratio",
        "gopher_below_alpha_threshold",
        "below",
        "words",
        _ratio("letter_words", "words"),
    ),
    Rule("gopher_min_stop_words", "gopher_enough_stop_words", "below", "words", _count("stop_words")),
    Rule("gopher_dup_para_frac", "dup_para_frac", "above", "lines", _DUP_PARAS),
    Rule("gopher_dup_para_char_frac", "dup_para_char_frac", "above", "lines", _DUP_PARA_CHARS),
    Rule("gopher_dup_line_frac", "dup_line_frac", "above", "lines", _DUP_LINES),
    Rule("gopher_dup_line_char_frac", "dup_line_char_frac", "above", "lines", _DUP_LINE_CHARS),
    *(Rule(f"gopher_top_{n}_gram", f"top_{n}_gram", "above", "words", _n_gram(f"top_{n}")) for n in TOP),
    *(
        Rule(f"gopher_duplicated_{n}_n_grams", f"duplicated_{n}_n_grams", "above", "words", _n_gram(f"duplicated_{n}"))
        for n in DUPLICATED
    ),
    Rule("c4_filter_lorem_ipsum", "lorem_ipsum", "above", "search", _count("lorem_ipsum")),
    Rule("c4_filter_curly_bracket", "curly_bracket", "above", "characters", _count("curly_brackets")),
    Rule("c4_max_word_length", "too_long_word", "above", "characters", _count("longest_token")),
    Rule("c4_max_javascript_lines_ratio", "javascript", "above", "c4", _ratio("javascript_lines", "lines")),
    Rule("c4_max_policy_lines_ratio", "policy", "above", "c4", _ratio("policy_lines", "lines")),
    Rule("c4_min_num_sentences", "too_few_sentences", "below", "c4", _sentences),
    Rule("fineweb_line_punct_thr", "line_punct_ratio", "below", "lines", _line_punct),
    Rule("fineweb_short_line_thr", "short_line_ratio", "above", "lines", _ratio("short_lines", "lines")),
    Rule("fineweb_char_duplicates_ratio", "char_dup_ratio", "above", "lines", _DUP_LINE_CHARS),
    Rule("fineweb_new_line_ratio", "list_ratio", "above", "characters words", _per_word("line_breaks")),
)
"""The rules that measure a text. The first that applies gives the reason; `identical_pair` comes after `char_run`."""

N_FIRST = [rule.reason for rule in RULES].index("char_run") + 1
"""The number of rules before `identical_pair`."""

SWITCHES = {
    "placeholder": 0.0,
    "only_punctuation": 0.0,
    "no_letters": 1.0,
    "c4_filter_lorem_ipsum": 0.0,
    "c4_filter_curly_bracket": 0.0,
}
"""The limits of rules whose option is only a switch."""


class Rules(RowLocal):
    """Drop rows with a text that a rule classifies as junk; every text of every chosen role must pass every rule.

    The default rules drop placeholders such as "N/A", texts of punctuation only, and pairs of two equal texts.
    `gopher_quality`, `gopher_repetition`, `c4` and `fineweb` switch on the published rules of a group with their
    published limits. Each rule also has an option of its own, and `null` switches it off. A row is kept or dropped, and
    its texts never change: lines that C4 would remove from a page are ignored by the rules, and remain in the text.
    """

    name: ClassVar[str] = "rules"
    version: ClassVar[int] = 2
    reasons: ClassVar[tuple[str, ...]] = (
        *(rule.reason for rule in RULES[:N_FIRST]),
        "identical_pair",
        *(rule.reason for rule in RULES[N_FIRST:]),
    )

    roles: tuple[str, ...] | None = None

    placeholder: bool = True
    only_punctuation: bool = True
    # Off: an answer may be a number, a date, a sign or an emoji.
    no_letters: bool = False
    max_digit_ratio: Ratio | None = None
    max_symbol_ratio: Ratio | None = None
    max_char_run: Number | None = None
    identical_pair: bool = True

    gopher_quality: bool = False
    gopher_min_doc_words: Number | None = None
    gopher_max_doc_words: Number | None = None
    gopher_min_avg_word_length: Size | None = None
    gopher_max_avg_word_length: Size | None = None
    gopher_max_symbol_word_ratio: Size | None = None
    gopher_max_bullet_lines_ratio: Ratio | None = None
    gopher_max_ellipsis_lines_ratio: Ratio | None = None
    gopher_min_alpha_words_ratio: Ratio | None = None
    # Not in the group: the published words are English.
    gopher_min_stop_words: Number | None = None
    gopher_stop_words: tuple[str, ...] = Field(default=GOPHER_STOP_WORDS, max_length=64)

    gopher_repetition: bool = False
    gopher_dup_para_frac: Ratio | None = None
    gopher_dup_para_char_frac: Ratio | None = None
    gopher_dup_line_frac: Ratio | None = None
    gopher_dup_line_char_frac: Ratio | None = None
    # In a short text, any repetition is a large share: "to be or not to be".
    gopher_n_gram_min_words: Number = 50
    gopher_top_2_gram: Ratio | None = None
    gopher_top_3_gram: Ratio | None = None
    gopher_top_4_gram: Ratio | None = None
    gopher_duplicated_5_n_grams: Ratio | None = None
    gopher_duplicated_6_n_grams: Ratio | None = None
    gopher_duplicated_7_n_grams: Ratio | None = None
    gopher_duplicated_8_n_grams: Ratio | None = None
    gopher_duplicated_9_n_grams: Ratio | None = None
    gopher_duplicated_10_n_grams: Ratio | None = None

    c4: bool = False
    c4_filter_lorem_ipsum: bool = False
    c4_filter_curly_bracket: bool = False
    c4_max_word_length: Number | None = None
    c4_max_javascript_lines_ratio: Ratio | None = None
    c4_max_policy_lines_ratio: Ratio | None = None
    c4_min_num_sentences: Number | None = None
    c4_min_words_per_line: Number = 3

    fineweb: bool = False
    fineweb_line_punct_thr: Ratio | None = None
    fineweb_line_punct_exclude_zero: bool = False
    fineweb_short_line_thr: Ratio | None = None
    fineweb_short_line_length: Number = 30
    fineweb_char_duplicates_ratio: Ratio | None = None
    fineweb_new_line_ratio: Size | None = None

    @model_validator(mode="before")
    @classmethod
    def _published(cls, settings: object) -> object:
        """Add the limits of the groups, so that the settings include every limit and validate to themselves."""
        if not isinstance(settings, dict):
            return settings
        published: dict[str, object] = {}
        for group, limits in PUBLISHED.items():
            if _is_on(settings.get(group)):
                published |= limits
        return published | settings

    @override
    def after(self, view: View) -> View:
        if not view.chosen(self.roles, self.name):
            raise RecipeError("stage rules: the table has no text column; assign one: -c text=COLUMN.")
        return view

    @override
    def prepare(self) -> None:
        # Importing compiles the kernels.
        from jina_data.kernels import characters, equal_folded, lines, word_sorts  # noqa: F401

    def limits(self) -> dict[str, tuple[Literal["below", "above"], float]]:
        """Return the active rules, by reason: the side of the limit on which they drop, and the limit."""
        out: dict[str, tuple[Literal["below", "above"], float]] = {}
        for rule in RULES:
            value = getattr(self, rule.option)
            if rule.option in SWITCHES:
                value = SWITCHES[rule.option] if value else None
            if value is not None:
                out[rule.reason] = (rule.side, float(value))
        return out

    @override
    def thresholds(self, view: View) -> dict[str, list[Threshold]]:
        return {
            f"{role}.{reason}": [Threshold(limit, "above" if side == "below" else "below", reason)]
            for role in view.chosen(self.roles, self.name)
            for reason, (side, limit) in self.limits().items()
        }

    @override
    def apply(self, rows: Rows) -> Outcome:
        outcome = Outcome.keep_all(len(rows))
        limits = self.limits()
        rules = [rule for rule in RULES if rule.reason in limits]
        roles = rows.view.chosen(self.roles, self.name)
        counts = {role: self._counts(rows.texts(role), rules) for role in roles}
        for rule in RULES:
            if rule is RULES[N_FIRST] and self.identical_pair:
                self._drop_identical(outcome, rows, roles)
            if rule.reason not in limits:
                continue
            side, limit = limits[rule.reason]
            for role in roles:
                worst = _worst(rows.texts(role), rule.measure(counts[role], self), len(rows), side)
                outcome.scores[f"{role}.{rule.reason}"] = pa.array(worst, from_pandas=True)
                beyond = worst < limit if side == "below" else worst > limit
                outcome.drop(beyond, self.reasons.index(rule.reason), worst)
        return outcome

    def _drop_identical(self, outcome: Outcome, rows: Rows, roles: Sequence[str]) -> None:
        for role, other_role in PAIRS:
            if role in roles and other_role in roles:
                identical = _identical(rows.texts(role), rows.texts(other_role), len(rows))
                outcome.drop(identical, self.reasons.index("identical_pair"))

    def _counts(self, texts: Texts, rules: Sequence[Rule]) -> dict[str, IntArray]:
        """Run the kernels that the rules need, and return their counts."""
        from jina_data.kernels.characters import count_characters
        from jina_data.kernels.lines import count_lines
        from jina_data.kernels.word_sorts import QUARTERS, count_word_sorts

        values, kernels = texts.values, {kernel for rule in rules for kernel in rule.kernels.split()}
        reasons = {rule.reason for rule in rules}
        out: dict[str, IntArray] = {}
        if "placeholder" in kernels:
            out["placeholder"] = placeholders(values)
        if "punctuation" in kernels:
            out["only_punctuation"] = punctuation_only(values)
        if "search" in kernels:
            is_match = pc.match_substring(values, "lorem ipsum", ignore_case=True)
            out["lorem_ipsum"] = is_match.to_numpy(zero_copy_only=False).astype(np.int64)
        if "characters" in kernels:
            out |= count_characters(values)
        if kernels & {"lines", "c4"}:
            out |= count_lines(
                values,
                short_width=self.fineweb_short_line_length,
                min_words=self.c4_min_words_per_line,
                max_word_length=self.c4_max_word_length,
                c4="c4" in kernels,
            )
        if "words" in kernels:
            out |= count_word_sorts(
                values,
                stop_words=self.gopher_stop_words if "gopher_enough_stop_words" in reasons else (),
                top=[n for n in TOP if f"top_{n}_gram" in reasons],
                duplicated=[n for n in DUPLICATED if f"duplicated_{n}_n_grams" in reasons],
                min_weight=QUARTERS * self.gopher_n_gram_min_words,
            )
        return out


def _is_on(value: object) -> bool:
    """Return whether the switch of a group is on, in any spelling that pydantic accepts as true."""
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError:
        return False


def _worst(texts: Texts, values: FloatArray, n_rows: int, side: Literal["below", "above"]) -> FloatArray:
    """Return the worst measurement of the texts of each row, (N,); NaN if all are NaN."""
    if side == "below":
        return per_row(texts, np.where(np.isnan(values), np.inf, values), n_rows, "min")
    return per_row(texts, np.where(np.isnan(values), -np.inf, values), n_rows, "max")


def _identical(texts: Texts, others: Texts, n_rows: int) -> BoolArray:
    """Return in which rows (N,) a text of one role equals a text of another role after folding."""
    from jina_data.kernels.equal_folded import equal_folded

    # Each of `others` is compared with all texts of its row: those at first, first + 1 .. stop - 1. Both owners are
    # sorted, so these are contiguous.
    first, stop = (np.searchsorted(texts.owner, others.owner, side) for side in ("left", "right"))
    counts = stop - first
    bases = np.repeat(first - np.cumsum(counts) + counts, counts)
    text_indices, other_indices = bases + np.arange(len(bases)), np.repeat(np.arange(len(others)), counts)
    equal = equal_folded(texts.values.take(pa.array(text_indices)), others.values.take(pa.array(other_indices)))
    out = np.zeros(n_rows, np.bool_)
    out[others.owner[other_indices[equal]]] = True
    return out

"""The stage `length`: drop rows whose texts are empty, too short or too long."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator
from typing_extensions import override

from jina_data.errors import ModelError
from jina_data.stages.base import Check, Sql, Threshold, quoted
from jina_data.stages.rows import FloatArray, IntArray, Rows, Texts, View, per_row

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNITS = ("chars", "words", "tokens")
EMPTY, TOO_SHORT, TOO_LONG = 0, 1, 2
BOUNDS: tuple[tuple[str, Literal["above", "below"], int], ...] = (
    ("min", "above", TOO_SHORT),
    ("max", "below", TOO_LONG),
)
"""The bounds of a length: the prefix of the option, the side that is kept, and the reason."""


class Length(Sql):
    """Bound the length of every text in characters (code points), words and tokens.

    `jina_data.kernels.words` defines words, in every language. `tokenizer` counts tokens: it is the path of a
    `tokenizer.json` or a name on the Hugging Face Hub. A row without a text, or with a blank text, is `empty`.
    """

    name: ClassVar[str] = "length"
    reasons: ClassVar[tuple[str, ...]] = ("empty", "too_short", "too_long")

    min_chars: int | None = Field(default=None, ge=0)
    max_chars: int | None = Field(default=None, ge=1)
    min_words: int | None = Field(default=None, ge=0)
    max_words: int | None = Field(default=None, ge=1)
    min_tokens: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=1)
    tokenizer: str | None = None
    roles: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        for unit in UNITS:
            low, high = self._bound("min", unit), self._bound("max", unit)
            if low is not None and high is not None and low > high:
                raise ValueError(f"min_{unit} ({low}) is above max_{unit} ({high})")
        if (self.min_tokens is not None or self.max_tokens is not None) and self.tokenizer is None:
            raise ValueError("min_tokens and max_tokens need `tokenizer`: a tokenizer.json or a name on the Hub")
        return self

    @override
    def after(self, view: View) -> View:
        self.chosen(view)
        if self.tokenizer is not None:
            load_tokenizer(self.tokenizer)
        return view

    def chosen(self, view: View) -> tuple[str, ...]:
        """Return the roles whose length is bounded."""
        return view.chosen(self.roles, self.name)

    @override
    def prepare(self) -> None:
        from jina_data.kernels.words import count_words

        count_words(pa.array(["word"], pa.large_string()))

    @override
    def model_hashes(self) -> dict[str, str]:
        if self.tokenizer is None:
            return {}
        return {f"tokenizer {self.tokenizer}": load_tokenizer(self.tokenizer)[1]}

    @override
    def derived(self, rows: Rows) -> dict[str, pa.Array]:
        out: dict[str, pa.Array] = {}
        for role in self.chosen(rows.view):
            texts = rows.texts(role)
            blank = pc.equal(pc.utf8_trim_whitespace(texts.values), "").to_numpy(zero_copy_only=False)
            out[f"__row_blank:{role}"] = _numbers(per_row(texts, blank, len(rows), "max"))
            for unit in self._units():
                counts = self._count(texts, unit)
                for how in ("min", "max"):
                    out[self._derived_name(how, unit, role)] = _numbers(per_row(texts, counts, len(rows), how))
        return out

    @override
    def checks(self, view: View) -> list[Check]:
        out = [Check(f"coalesce({quoted(f'__row_blank:{role}')}, 1) = 1", EMPTY, "0") for role in self.chosen(view)]
        for reason, bound_name, sign in ((TOO_SHORT, "min", "<"), (TOO_LONG, "max", ">")):
            for role in self.chosen(view):
                for unit in UNITS:
                    if (bound := self._bound(bound_name, unit)) is not None:
                        measure = quoted(self._derived_name(bound_name, unit, role))
                        out.append(Check(f"{measure} {sign} {bound}", reason, measure))
        return out

    @override
    def measured(self, view: View) -> dict[str, str]:
        out = {}
        for role in self.chosen(view):
            for unit in self._units():
                for how in ("min", "max") if _is_plural(view, role) else ("min",):
                    name = f"{role}.{how}_{unit}" if _is_plural(view, role) else f"{role}.{unit}"
                    out[name] = f"{quoted(self._derived_name(how, unit, role))}::BIGINT"
        return out

    @override
    def thresholds(self, view: View) -> dict[str, list[Threshold]]:
        out: dict[str, list[Threshold]] = {}
        for role in self.chosen(view):
            for unit in self._units():
                for bound_name, keeps, reason in BOUNDS:
                    if (bound := self._bound(bound_name, unit)) is not None:
                        name = f"{role}.{bound_name}_{unit}" if _is_plural(view, role) else f"{role}.{unit}"
                        limit = Threshold(float(bound), keeps, self.reasons[reason])
                        out.setdefault(name, []).append(limit)
        return out

    def _derived_name(self, how: str, unit: str, role: str) -> str:
        # Stages in the same query share computed columns of the same name, so the name includes the tokenizer.
        return f"__row_{how}_{unit}:{role}" + (f":{self.tokenizer}" if unit == "tokens" else "")

    def _units(self) -> tuple[str, ...]:
        return UNITS if self.tokenizer is not None else UNITS[:2]

    def _bound(self, bound_name: str, unit: str) -> int | None:
        bound: int | None = getattr(self, f"{bound_name}_{unit}")
        return bound

    def _count(self, texts: Texts, unit: str) -> IntArray:
        if unit == "chars":
            chars: IntArray = pc.utf8_length(texts.values).to_numpy(zero_copy_only=False).astype(np.int64)
            return chars
        if unit == "words":
            from jina_data.kernels.words import count_words

            return count_words(texts.values)
        assert self.tokenizer is not None
        tokenizer = load_tokenizer(self.tokenizer)[0]
        encodings = tokenizer.encode_batch(texts.values.to_pylist())
        return np.fromiter((len(encoding.ids) for encoding in encodings), np.int64, len(texts))


def _numbers(values: FloatArray) -> pa.Array:
    return pa.array(values, from_pandas=True)


def _is_plural(view: View, role: str) -> bool:
    columns = view.roles[role]
    return len(columns) > 1 or pa.types.is_nested(view.schema.field(columns[0]).type)


@lru_cache(maxsize=4)
def load_tokenizer(name: str) -> tuple[Tokenizer, str]:
    """Load a tokenizer from a `tokenizer.json` or the Hub, and return it with the sha256 of its JSON.

    Raises:
        ModelError: the tokenizer does not exist, or the file is not a tokenizer.
    """
    import hashlib

    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(name) if Path(name).is_file() else Tokenizer.from_pretrained(name)
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(
            f"tokenizer {name!r} cannot be loaded: {error}. Give the path of a tokenizer.json, or a name on the Hub."
        ) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer, hashlib.sha256(tokenizer.to_str().encode()).hexdigest()

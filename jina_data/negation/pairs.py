"""Provides the types that the modules of this package exchange: pairs, answers, verdicts, opinions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from jina_data.english.cues import Kind

Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An anchor and a text that it entails; the run writes a negative for it."""

    id: str
    """Unique in a run: the source and 16 hex digits of a hash of the texts and the location."""
    source: str
    """Name of the source: snli, multi_nli, sentence_compression, simple_wiki, coco_captions, or one from the data."""
    source_id: str
    """Id of the pair in its source (pairID, annotation ids), or `file:row` if it has none."""
    source_license: str | None
    """Licence of the texts as an SPDX-like id of the Hub, or None if the source states none."""
    group: str
    """The image, premise or article; all pairs of a group are in the same split."""
    split: Split
    anchor: str
    entailment: str
    kind: Kind
    """The requested kind of negation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer of a generator for a pair. `negative` is None if there is none; `raw` is the complete output."""

    pair: Pair
    negative: str | None
    raw: str
    finish_reason: str = "stop"
    """As in chat completions: stop, length, content_filter; `none` if no rule fits."""
    refusal: str | None = None
    model: str
    """The model as the server names it, or `rules-N` for version N of the rules."""
    prompt_hash: str | None = None
    attempt: int = 0
    """0 for the first request for the pair."""
    schema_error: str | None = None
    """The error in the form of the answer: not JSON, a missing key, a wrong number of items."""
    is_closed: bool = False
    """Whether the negative is complete even if the answer was cut off after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of the checks of an answer. `reason` is None if the negative is accepted."""

    reason: str | None
    detail: str = ""
    """A short text for readers: the measured value and the limit."""
    kind: Kind | None = None
    """The detected kind, which may differ from the requested one."""
    flags: Sequence[str] = ()
    """Properties of an accepted negative, such as `second_negation`."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Measured values: length_ratio, token_overlap, and the scores of optional models."""


class Generator(Protocol):
    """Writes a negative for a pair in this process; models behind a server use a `Requester` instead."""

    name: str
    """The model name in the output."""

    def generate(self, pair: Pair) -> Answer:
        """Return an answer with a negative of the requested kind, or of another kind, or without a negative."""
        ...


@dataclass(frozen=True, slots=True)
class Opinion:
    """The opinion of a judge: the probability that a negative contradicts both texts of the pair."""

    probability: float | None
    """None if the judge has no opinion."""
    reason: str = ""
    is_answered: bool = True
    """False if the judge gave no answer, so the request must be repeated."""


class Judge(Protocol):
    """A model that decides whether negatives contradict their pairs: an NLI cross-encoder or an LLM."""

    name: str

    def opinions(self, answers: Sequence[Answer]) -> Sequence[Opinion]:
        """Return N opinions for N answers, which all have a negative."""
        ...

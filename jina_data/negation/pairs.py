"""What the parts of the negation data set hand to each other: pairs, answers, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from jina_data.english.cues import Kind

Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An anchor and a text that it entails, to which a negative is to be written."""

    id: str
    """Tells pairs of a run apart: the source and the first 16 hex digits of a hash of its texts and place."""
    source: str
    """The name of the source: snli, multi_nli, sentence_compression, simple_wiki, coco_captions, or a user's own."""
    source_id: str
    """The id of the pair in its source (pairID, annotation ids), or `file:row` where there is none."""
    source_license: str | None
    """The licence of the texts as an SPDX-like id of the Hub, or None where the source states none."""
    group: str
    """What must not be torn apart between train and test: the image, the premise, the article."""
    split: Split
    anchor: str
    entailment: str
    kind: Kind
    """The kind of negation that is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a generator gave for a pair. `negative` is None where it gave nothing; `raw` is what it said, whole."""

    pair: Pair
    negative: str | None
    raw: str
    finish_reason: str = "stop"
    """As chat completions call it: stop, length, content_filter; `none` where a generator left the pair."""
    refusal: str | None = None
    model: str
    """The model as the server names it, or `rules-N` for the rule set of version N."""
    prompt_hash: str | None = None
    attempt: int = 0
    """0 for the first time the pair was asked for."""
    schema_error: str | None = None
    """What was wrong with the form of the answer: not JSON, a missing key, another number of items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What verification says of an answer. `reason` is None where the negative is accepted."""

    reason: str | None
    detail: str = ""
    """One short phrase for people: what was measured, against which limit."""
    kind: Kind | None = None
    """The kind that was found, which may differ from the one that was asked for."""
    flags: Sequence[str] = ()
    """What is worth knowing of an accepted negative, such as `second_negation`."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """What was measured: length_ratio, token_overlap, and what optional models said."""


class Generator(Protocol):
    """Writes a negative for a pair without asking anybody; a model behind a server has a scheduler instead."""

    name: str
    """What the output names as the model."""

    def generate(self, pair: Pair) -> Answer:
        """Return a negative of the kind that the pair asks for, or of another; None where it has none."""
        ...


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a model says of a negative: how sure it is, from 0 to 1, that both sides of the pair are contradicted."""

    sure: float | None
    """None where it has no opinion."""
    why: str = ""
    is_answered: bool = True
    """False where it gave no answer, so that it must be asked again."""


class Judge(Protocol):
    """A model that says whether negatives contradict: an NLI cross-encoder, or an LLM."""

    name: str

    def opinions(self, answers: Sequence[Answer]) -> Sequence[Opinion]:
        """Return for each of N answers, all with a negative, whether it contradicts anchor and entailment."""
        ...

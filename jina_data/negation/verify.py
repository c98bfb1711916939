"""What a negative must stand before it is accepted: checks in one order, cheap ones first, each with its reason."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from jina_data.english.cues import Kind, negation_diff, negators
from jina_data.english.likeness import double_turn, parts_of, reworded_negation, token_overlap, trivial_prefix
from jina_data.english.texts import folded, sentence_count
from jina_data.negation.pairs import Answer, Judge, Opinion, Verdict
from jina_data.stages.language import identify

REASONS = (
    "nothing_written",
    "cut_off",
    "filtered",
    "refused",
    "bad_form",
    "prompt_echo",
    "several_sentences",
    "wrong_language",
    "same_as_anchor",
    "same_as_entailment",
    "duplicate_negative",
    "length_ratio",
    "low_overlap",
    "reordered",
    "trivial_prefix",
    "no_opposition",
    "double_turn",
    "reworded_negation",
    "not_contradiction",
    "judged_compatible",
    "unjudged",
)
"""Why a negative is rejected, in the order of the checks."""

NOT_JUDGED = "not_judged"
"""Why an answer has no verdict yet: the judge did not answer. It is no rejection."""

FLAGS = ("second_negation", "unlisted_opposite", "judged")
"""What is noted of an accepted negative."""

_REFUSAL = re.compile(
    r"^(?:i(?:'m| am) (?:sorry|unable|not able)|sorry|i (?:cannot|can't|can not) (?:help|assist|do|provide|comply)"
    r"|as an ai\b|i apologi[sz]e)",
    re.IGNORECASE,
)
_ECHO = re.compile(
    r"^(?:sure|certainly|of course|okay|here(?:'s| is| are))\b.*:|\b(?:anchor|entailment|negative|negation|premise"
    r"|hypothesis|kind|output|answer)\s*[:=]|```|\{\s*\"|\"\s*\}|<\|?/?(?:s|im_start|im_end|system|user|assistant)\|?>"
    r"|\b(?:rewritten|contradicts both|negated) (?:sentence|text|version)\b",
    re.IGNORECASE,
)


class VerifyConfig(BaseModel):
    """The limits of the checks; the defaults are those that docs/negation-data.md measures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_length_ratio: float = Field(default=0.6, gt=0)
    max_length_ratio: float = Field(default=1.6, gt=0)
    length_slack_chars: int = Field(default=12, ge=0)
    """Lengths that differ by no more are never too far apart: "does not" doubles a short text."""
    min_overlap: float = Field(default=0.5, ge=0, le=1)
    languages: tuple[str, ...] = ("en",)
    language_threshold: float = Field(default=0.65, ge=0, le=1)
    language_min_chars: int = Field(default=20, ge=0)
    max_replaced: int = Field(default=3, ge=0)
    """Content words that may be put for others without being listed as opposites; 0 demands a listed opposite."""
    allow_reworded: bool = False
    """Accept a negative in which a negation came or went and another content word was put for one besides: it may say
    the same ("thin" and "not plump")."""
    contradiction_threshold: float = Field(default=0.5, ge=0, le=1)
    prompt_phrases: tuple[str, ...] = ()
    """Sentences of the prompt that no answer may hold."""

    @model_validator(mode="after")
    def _ordered(self) -> VerifyConfig:
        if self.min_length_ratio >= self.max_length_ratio:
            raise ValueError(
                f"min_length_ratio is {self.min_length_ratio}, expected less than max_length_ratio, "
                f"{self.max_length_ratio}"
            )
        return self


class Verifier:
    """Checks answers, and remembers the negatives it accepted.

    Args:
        settings: the limits.
        seen: the negatives of the run so far; a fresh memory where none is given.
        nli: a model that must see a contradiction between negative and entailment, and negative and anchor.
        judge: asked only where the others disagree: `nli` sees none though words turned, or, without `nli`, the
            opposite is one that no list has.
    """

    def __init__(
        self,
        settings: VerifyConfig | None = None,
        *,
        seen: AcceptedTexts | None = None,
        nli: Judge | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.settings = settings or VerifyConfig()
        self.seen = seen or AcceptedTexts()
        self.nli = nli
        self.judge = judge

    def check(self, answer: Answer) -> Verdict:
        """Return what the checks say of one answer: the first that fails decides."""
        return self.check_all([answer])[0]

    def check_all(self, answers: Sequence[Answer]) -> list[Verdict]:
        """Check several answers, in order; models are asked once for all."""
        verdicts = [self._by_words(answer) for answer in answers]
        self._ask_models(answers, verdicts)
        for position, (answer, verdict) in enumerate(zip(answers, verdicts, strict=True)):
            if verdict.reason is None:
                assert answer.negative is not None
                # Again: an earlier one of the same call may have it.
                verdicts[position] = self._duplicate(answer, answer.negative) or verdict
                self.seen.add(answer.negative, answer.pair.id)
        return verdicts

    def _by_words(self, answer: Answer) -> Verdict:
        text = (answer.negative or "").strip()
        for verdict in self._form(answer, text):
            return verdict
        scores = self._scores(answer.pair.entailment, text)
        for verdict in self._likeness(answer, text, scores):
            return replace(verdict, scores=scores)
        return replace(self._turn(answer.pair.entailment, text), scores=scores)

    def _form(self, answer: Answer, text: str) -> Iterator[Verdict]:
        """Yield what is wrong with the answer itself."""
        if answer.finish_reason == "length":
            yield Verdict(reason="cut_off", detail="finish_reason is length")
        if answer.finish_reason == "content_filter":
            yield Verdict(reason="filtered", detail="finish_reason is content_filter")
        if answer.refusal:
            yield Verdict(reason="refused", detail=answer.refusal[:200])
        if answer.schema_error:
            yield Verdict(reason="bad_form", detail=answer.schema_error[:200])
        if not text:
            yield Verdict(reason="nothing_written", detail=f"finish_reason is {answer.finish_reason}")
        if _REFUSAL.search(text) and not _REFUSAL.search(answer.pair.entailment):
            yield Verdict(reason="refused", detail=text[:200])
        lower = text.lower()
        echo = next((phrase for phrase in self.settings.prompt_phrases if phrase.lower() in lower), None)
        if echo is not None or ((found := _ECHO.search(text)) and not _ECHO.search(answer.pair.entailment)):
            yield Verdict(reason="prompt_echo", detail=repr(echo or (found and found[0])))
        if (count := sentence_count(text)) > max(1, sentence_count(answer.pair.entailment)) or "\n" in text:
            yield Verdict(reason="several_sentences", detail=f"{count} sentences")
        yield from self._language(text)

    def _language(self, text: str) -> Iterator[Verdict]:
        if len(text) < self.settings.language_min_chars or not self.settings.languages:
            return
        labels, (probability,) = identify(pa.array([text], pa.large_string()))
        label = labels[0].as_py()
        if label not in self.settings.languages and probability >= self.settings.language_threshold:
            yield Verdict(reason="wrong_language", detail=f"{label} with {probability:.2f}")

    def _likeness(self, answer: Answer, text: str, scores: dict[str, float]) -> Iterator[Verdict]:
        """Yield where the text is too near to a text that there is, or too far from the entailment."""
        pair, limits = answer.pair, self.settings
        for reason, other in (("same_as_anchor", pair.anchor), ("same_as_entailment", pair.entailment)):
            if folded(text) == folded(other):
                yield Verdict(reason=reason, detail="but for case and marks")
        if found := self._duplicate(answer, text):
            yield found
        ratio, overlap = scores["length_ratio"], scores["token_overlap"]
        slack = abs(len(text) - len(pair.entailment)) <= limits.length_slack_chars
        if not slack and not limits.min_length_ratio <= ratio <= limits.max_length_ratio:
            yield Verdict(
                reason="length_ratio",
                detail=f"{ratio:.2f}, expected {limits.min_length_ratio} to {limits.max_length_ratio}",
            )
        if overlap < limits.min_overlap:
            yield Verdict(reason="low_overlap", detail=f"{overlap:.2f}, expected {limits.min_overlap} or more")
        if Counter(parts_of(text)) == Counter(parts_of(pair.entailment)):
            yield Verdict(reason="reordered", detail="the same words in another order")
        if prefix := trivial_prefix(text, pair.entailment):
            yield Verdict(reason="trivial_prefix", detail=repr(prefix))

    def _duplicate(self, answer: Answer, text: str) -> Verdict | None:
        first = self.seen.first(text)
        if first is None or first == answer.pair.id:
            return None
        return Verdict(reason="duplicate_negative", detail=f"pair {first} has it")

    def _scores(self, entailment: str, text: str) -> dict[str, float]:
        ratio = len(text) / max(len(entailment.strip()), 1)
        return {"length_ratio": round(ratio, 4), "token_overlap": round(token_overlap(entailment, text), 4)}

    def _turn(self, entailment: str, text: str) -> Verdict:
        """Judge by what turned between entailment and negative."""
        turn = negation_diff(entailment, text)
        if reason := double_turn(turn):
            return Verdict(reason="double_turn", detail=reason, kind=turn.kind)
        if (reworded := reworded_negation(turn)) and not self.settings.allow_reworded:
            return Verdict(reason="reworded_negation", detail=reworded, kind=turn.kind)
        kind: Kind | None = turn.kind
        flags: list[str] = []
        if kind is None:
            if not 1 <= len(turn.replaced) <= self.settings.max_replaced:
                detail = f"no cue, no listed opposite, {len(turn.replaced)} other words"
                return Verdict(reason="no_opposition", detail=detail)
            kind = "antonym"
            flags.append("unlisted_opposite")
        if (turn.added and negators(entailment)) or len(turn.added) > 1:
            flags.append("second_negation")
        return Verdict(reason=None, kind=kind, flags=tuple(flags))

    def _ask_models(self, answers: Sequence[Answer], verdicts: list[Verdict]) -> None:
        """Let the models decide on what the words let through; changes `verdicts`."""
        open_ = [place for place, verdict in enumerate(verdicts) if verdict.reason is None]
        if self.nli is not None and open_:
            for place, opinion in zip(open_, self.nli.opinions([answers[place] for place in open_]), strict=True):
                assert opinion.sure is not None
                sure = opinion.sure
                scores = {**verdicts[place].scores, "nli_contradiction": round(sure, 4)}
                is_none = sure < self.settings.contradiction_threshold
                detail = f"{sure:.2f}, expected {self.settings.contradiction_threshold} or more" if is_none else ""
                reason = "not_contradiction" if is_none else None
                verdicts[place] = replace(verdicts[place], reason=reason, detail=detail, scores=scores)
        if self.judge is None:
            return
        if self.nli is not None:
            asked = [place for place in open_ if verdicts[place].reason is not None]
        else:
            asked = [place for place in open_ if "unlisted_opposite" in verdicts[place].flags]
        if not asked:
            return
        for place, opinion in zip(asked, self.judge.opinions([answers[place] for place in asked]), strict=True):
            verdicts[place] = self._overruled(verdicts[place], opinion)

    def _overruled(self, verdict: Verdict, opinion: Opinion) -> Verdict:
        """Return the verdict that the judge makes of one."""
        if opinion.sure is None:
            return replace(verdict, reason="unjudged" if opinion.is_answered else NOT_JUDGED, detail=opinion.why)
        scores = {**verdict.scores, "judge_contradiction": round(opinion.sure, 4)}
        if opinion.sure >= self.settings.contradiction_threshold:
            return replace(verdict, reason=None, detail="", flags=(*verdict.flags, "judged"), scores=scores)
        limit = f"{opinion.sure:.2f}, expected {self.settings.contradiction_threshold} or more"
        return replace(verdict, reason="judged_compatible", detail=opinion.why or limit, scores=scores)


class AcceptedTexts:
    """The negatives accepted so far, by a hash of 8 bytes, and the pairs that had them first.

    They lie in SQLite: in the file named, else in a temporary one that SQLite keeps on disk as it grows.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._con = sqlite3.connect(str(path) if path else "", isolation_level=None)
        self._con.execute("pragma journal_mode = off" if path is None else "pragma journal_mode = wal")
        self._con.execute("pragma synchronous = off")
        self._con.execute("create table if not exists seen (hash integer primary key, pair text) without rowid")

    def first(self, text: str) -> str | None:
        """Return the id of the pair that had a text first, None for a new one."""
        found = self._con.execute("select pair from seen where hash = ?", (_hash(text),)).fetchone()
        return None if found is None else str(found[0])

    def add(self, text: str, pair_id: str) -> None:
        """Note a text as that of a pair, unless another has it."""
        self._con.execute("insert or ignore into seen values (?, ?)", (_hash(text), pair_id))

    def close(self) -> None:
        """Close the file; a temporary one is gone then."""
        self._con.close()


def _hash(text: str) -> int:
    digest = hashlib.blake2b(folded(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)

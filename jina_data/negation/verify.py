"""Checks whether a negative is accepted: a fixed order of checks, fast ones first, each with its reason."""

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
"""The reason of an answer without a verdict: the judge did not answer. It is not a rejection."""

FLAGS = ("second_negation", "unlisted_opposite", "judged")
"""Properties of an accepted negative."""

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
    """The limits of the checks; docs/negation-data.md measures the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_length_ratio: float = Field(default=0.6, gt=0)
    max_length_ratio: float = Field(default=1.6, gt=0)
    length_slack_chars: int = Field(default=12, ge=0)
    """Length differences up to this number always pass, since "does not" doubles the length of a short text."""
    min_overlap: float = Field(default=0.5, ge=0, le=1)
    languages: tuple[str, ...] = ("en",)
    language_threshold: float = Field(default=0.65, ge=0, le=1)
    language_min_chars: int = Field(default=20, ge=0)
    max_replaced: int = Field(default=3, ge=0)
    """Maximum number of replaced content words without a listed opposite; 0 requires a listed opposite."""
    allow_reworded: bool = False
    """Accept a negative with a changed negation and a replaced content word. It may have the same meaning ("thin" and
    "not plump")."""
    contradiction_threshold: float = Field(default=0.5, ge=0, le=1)
    prompt_phrases: tuple[str, ...] = ()
    """Sentences of the prompt that no answer may contain."""

    @model_validator(mode="after")
    def _ordered(self) -> VerifyConfig:
        if self.min_length_ratio >= self.max_length_ratio:
            raise ValueError(
                f"min_length_ratio is {self.min_length_ratio}, expected less than max_length_ratio, "
                f"{self.max_length_ratio}"
            )
        return self


class Verifier:
    """Checks answers, and stores the negatives it accepted.

    Args:
        config: the limits.
        accepted: the accepted negatives of the run so far; a new temporary store if None.
        nli: a model that must confirm the contradiction of the negative with the entailment and with the anchor.
        judge: a model that decides if the other checks disagree: `nli` sees no contradiction although the words
            contradict, or, without `nli`, the opposite is in no list.
    """

    def __init__(
        self,
        config: VerifyConfig | None = None,
        *,
        accepted: AcceptedTexts | None = None,
        nli: Judge | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.config = config or VerifyConfig()
        self.accepted = accepted or AcceptedTexts()
        self.nli = nli
        self.judge = judge

    def check(self, answer: Answer) -> Verdict:
        """Check one answer. The first check that fails determines the verdict."""
        return self.check_all([answer])[0]

    def check_all(self, answers: Sequence[Answer]) -> list[Verdict]:
        """Check answers in order, with one call of each model for all of them."""
        verdicts = [self._by_words(answer) for answer in answers]
        self._ask_models(answers, verdicts)
        for position, (answer, verdict) in enumerate(zip(answers, verdicts, strict=True)):
            if verdict.reason is None:
                assert answer.negative is not None
                # Checked again, since an earlier answer of this call may have the same negative.
                verdicts[position] = self._duplicate(answer, answer.negative) or verdict
                self.accepted.add(answer.negative, answer.pair.id)
        return verdicts

    def _by_words(self, answer: Answer) -> Verdict:
        text = (answer.negative or "").strip()
        for verdict in self._form_verdicts(answer, text):
            return verdict
        scores = self._scores(answer.pair.entailment, text)
        for verdict in self._similarity_verdicts(answer, text, scores):
            return replace(verdict, scores=scores)
        return replace(self._opposition_verdict(answer.pair.entailment, text), scores=scores)

    def _form_verdicts(self, answer: Answer, text: str) -> Iterator[Verdict]:
        """Yield rejections for the form of the answer."""
        if answer.finish_reason == "length" and not answer.is_closed:
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
        echo = next((phrase for phrase in self.config.prompt_phrases if phrase.lower() in lower), None)
        if echo is not None or ((match := _ECHO.search(text)) and not _ECHO.search(answer.pair.entailment)):
            yield Verdict(reason="prompt_echo", detail=repr(echo or (match and match[0])))
        if (count := sentence_count(text)) > max(1, sentence_count(answer.pair.entailment)) or "\n" in text:
            yield Verdict(reason="several_sentences", detail=f"{count} sentences")
        yield from self._language_verdicts(text)

    def _language_verdicts(self, text: str) -> Iterator[Verdict]:
        if len(text) < self.config.language_min_chars or not self.config.languages:
            return
        labels, (probability,) = identify(pa.array([text], pa.large_string()))
        label = labels[0].as_py()
        if label not in self.config.languages and probability >= self.config.language_threshold:
            yield Verdict(reason="wrong_language", detail=f"{label} with {probability:.2f}")

    def _similarity_verdicts(self, answer: Answer, text: str, scores: dict[str, float]) -> Iterator[Verdict]:
        """Yield rejections for a text that already exists, or that is too different from the entailment."""
        pair, limits = answer.pair, self.config
        for reason, other in (("same_as_anchor", pair.anchor), ("same_as_entailment", pair.entailment)):
            if folded(text) == folded(other):
                yield Verdict(reason=reason, detail="but for case and marks")
        if duplicate := self._duplicate(answer, text):
            yield duplicate
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
        owner = self.accepted.owner(text)
        if owner is None or owner == answer.pair.id:
            return None
        return Verdict(reason="duplicate_negative", detail=f"pair {owner} has it")

    def _scores(self, entailment: str, text: str) -> dict[str, float]:
        ratio = len(text) / max(len(entailment.strip()), 1)
        return {"length_ratio": round(ratio, 4), "token_overlap": round(token_overlap(entailment, text), 4)}

    def _opposition_verdict(self, entailment: str, text: str) -> Verdict:
        """Return a verdict by the words that differ between entailment and negative."""
        turn = negation_diff(entailment, text)
        if reason := double_turn(turn):
            return Verdict(reason="double_turn", detail=reason, kind=turn.kind)
        if (reworded := reworded_negation(turn)) and not self.config.allow_reworded:
            return Verdict(reason="reworded_negation", detail=reworded, kind=turn.kind)
        kind: Kind | None = turn.kind
        flags: list[str] = []
        if kind is None:
            if not 1 <= len(turn.replaced) <= self.config.max_replaced:
                detail = f"no cue, no listed opposite, {len(turn.replaced)} other words"
                return Verdict(reason="no_opposition", detail=detail)
            kind = "antonym"
            flags.append("unlisted_opposite")
        if (turn.added and negators(entailment)) or len(turn.added) > 1:
            flags.append("second_negation")
        return Verdict(reason=None, kind=kind, flags=tuple(flags))

    def _ask_models(self, answers: Sequence[Answer], verdicts: list[Verdict]) -> None:
        """Check the answers that pass the word checks with the models; changes `verdicts`."""
        passed = [index for index, verdict in enumerate(verdicts) if verdict.reason is None]
        if self.nli is not None and passed:
            for index, opinion in zip(passed, self.nli.opinions([answers[index] for index in passed]), strict=True):
                assert opinion.probability is not None
                probability = opinion.probability
                scores = {**verdicts[index].scores, "nli_contradiction": round(probability, 4)}
                is_low = probability < self.config.contradiction_threshold
                detail = f"{probability:.2f}, expected {self.config.contradiction_threshold} or more" if is_low else ""
                reason = "not_contradiction" if is_low else None
                verdicts[index] = replace(verdicts[index], reason=reason, detail=detail, scores=scores)
        if self.judge is None:
            return
        if self.nli is not None:
            disputed = [index for index in passed if verdicts[index].reason is not None]
        else:
            disputed = [index for index in passed if "unlisted_opposite" in verdicts[index].flags]
        if not disputed:
            return
        for index, opinion in zip(disputed, self.judge.opinions([answers[index] for index in disputed]), strict=True):
            verdicts[index] = self._judged_verdict(verdicts[index], opinion)

    def _judged_verdict(self, verdict: Verdict, opinion: Opinion) -> Verdict:
        """Return the verdict after the opinion of the judge, which overrides the NLI model."""
        if opinion.probability is None:
            return replace(verdict, reason="unjudged" if opinion.is_answered else NOT_JUDGED, detail=opinion.reason)
        scores = {**verdict.scores, "judge_contradiction": round(opinion.probability, 4)}
        if opinion.probability >= self.config.contradiction_threshold:
            return replace(verdict, reason=None, detail="", flags=(*verdict.flags, "judged"), scores=scores)
        limit = f"{opinion.probability:.2f}, expected {self.config.contradiction_threshold} or more"
        return replace(verdict, reason="judged_compatible", detail=opinion.reason or limit, scores=scores)


class AcceptedTexts:
    """The accepted negatives, as hashes of 8 bytes, and for each the id of its first pair.

    They are in SQLite: in the given file, or in a temporary database that SQLite moves to disk as it grows.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._con = sqlite3.connect(str(path) if path else "", isolation_level=None)
        self._con.execute("pragma journal_mode = off" if path is None else "pragma journal_mode = wal")
        self._con.execute("pragma synchronous = off")
        self._con.execute("create table if not exists seen (hash integer primary key, pair text) without rowid")

    def owner(self, text: str) -> str | None:
        """Return the id of the first pair with a text, None for a new text."""
        row = self._con.execute("select pair from seen where hash = ?", (_hash(text),)).fetchone()
        return None if row is None else str(row[0])

    def add(self, text: str, pair_id: str) -> None:
        """Store the text of a pair, unless an earlier pair has it."""
        self._con.execute("insert or ignore into seen values (?, ?)", (_hash(text), pair_id))

    def close(self) -> None:
        """Close the file; a temporary one is deleted."""
        self._con.close()


def _hash(text: str) -> int:
    digest = hashlib.blake2b(folded(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)

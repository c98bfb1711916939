"""Provides a judge that is a cross-encoder for natural language inference (NLI)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from jina_data.embed.cross_encoder import PairScorer, load_cross_encoder
from jina_data.errors import ModelError
from jina_data.negation.pairs import Answer, Opinion


class NliJudge:
    """Reads premise and hypothesis together. The result for a pair is always the same."""

    def __init__(self, scorer: PairScorer, column: int) -> None:
        self.name = scorer.name
        self.model_id = scorer.model_id
        self._scorer = scorer
        self._column = column

    def contradictions(self, premises: Sequence[str], hypotheses: Sequence[str]) -> list[float]:
        """Return N probabilities of the label contradiction for N pairs."""
        if not premises:
            return []
        logits = self._scorer.logits(premises, hypotheses).astype(np.float64)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return [float(probability) for probability in weights[:, self._column] / weights.sum(axis=1)]

    def opinions(self, answers: Sequence[Answer]) -> list[Opinion]:
        """Return N opinions: the lower of the probabilities with the entailment and with the anchor as premise."""
        premises = [answer.pair.entailment for answer in answers] + [answer.pair.anchor for answer in answers]
        scores = self.contradictions(premises, [answer.negative or "" for answer in answers] * 2)
        return [Opinion(min(both)) for both in zip(scores[: len(answers)], scores[len(answers) :], strict=True)]


@cache
def load_nli_judge(name: str, device: str = "cpu") -> NliJudge:
    """Load a cross-encoder from the Hub or from a folder, once per process.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: there is no such model, or it has no label contradiction.
    """
    scorer = load_cross_encoder(name, device)
    assert scorer.model.config is not None
    labels = {int(number): str(label) for number, label in scorer.model.config.id2label.items()}
    columns = [number for number, label in labels.items() if label.lower().startswith("contradict")]
    if len(columns) != 1:
        raise ModelError(
            f"{name!r} has the labels {', '.join(labels.values())}; expected one label contradiction. "
            "Use a cross-encoder for natural language inference"
        )
    return NliJudge(scorer, columns[0])

"""An NLI cross-encoder as a judge: how sure it is that one text contradicts another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from jina_data.embed.cross_encoder import PairScorer, load_cross_encoder
from jina_data.errors import ModelError
from jina_data.negation.pairs import Answer, Opinion


class NliJudge:
    """Reads premise and hypothesis together; the same pair always gets the same answer."""

    def __init__(self, scorer: PairScorer, column: int) -> None:
        self.name = scorer.name
        self.model_id = scorer.model_id
        self._scorer = scorer
        self._column = column

    def contradictions(self, premises: Sequence[str], hypotheses: Sequence[str]) -> list[float]:
        """Return for each of N pairs the probability of the label contradiction."""
        if not premises:
            return []
        logits = self._scorer.logits(premises, hypotheses).astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return [float(one) for one in shares[:, self._column] / shares.sum(axis=1)]

    def opinions(self, answers: Sequence[Answer]) -> list[Opinion]:
        """Return for each of N answers the lesser of the probabilities for entailment and anchor."""
        premises = [one.pair.entailment for one in answers] + [one.pair.anchor for one in answers]
        sure = self.contradictions(premises, [one.negative or "" for one in answers] * 2)
        return [Opinion(min(both)) for both in zip(sure[: len(answers)], sure[len(answers) :], strict=True)]


@cache
def load_nli_judge(name: str, device: str = "cpu") -> NliJudge:
    """Load a cross-encoder by the name it has on the Hub, or from a folder; once in a process.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: there is no such model, or none of its labels is called contradiction.
    """
    scorer = load_cross_encoder(name, device)
    assert scorer.model.config is not None
    labels = {int(number): str(label) for number, label in scorer.model.config.id2label.items()}
    columns = [number for number, label in labels.items() if label.lower().startswith("contradict")]
    if len(columns) != 1:
        raise ModelError(
            f"{name!r} has the labels {', '.join(labels.values())}; expected one called contradiction. "
            "Name a cross-encoder for natural language inference"
        )
    return NliJudge(scorer, columns[0])

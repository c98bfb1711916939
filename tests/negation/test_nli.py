"""The NLI judge with a tiny untrained cross-encoder from a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jina_data.embed.cross_encoder import pair_scorer_sha256
from jina_data.errors import ModelError, RunFolderError
from jina_data.negation.config import NegateConfig
from jina_data.negation.nli import load_nli_judge
from jina_data.negation.pairs import Answer, Pair
from jina_data.negation.run import negate
from jina_data.negation.verify import Verifier, VerifyConfig
from tests.support.files import write_csv
from tests.support.negation import saved

PREMISES = ["a man is sitting", "the two dogs bark", "a man is sitting on a bench in the park", "dogs"]
HYPOTHESES = ["a man is not sitting", "the two dogs bark loudly", "a man is standing", "bench"]


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("nli"), ["entailment", "neutral", "contradiction"])


def test_probabilities_are_those_of_sentence_transformers(nli: str) -> None:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(nli, device="cpu")
    expected = model.predict(list(zip(PREMISES, HYPOTHESES, strict=True)), apply_softmax=True, show_progress_bar=False)
    scores = load_nli_judge(nli).contradictions(PREMISES, HYPOTHESES)
    np.testing.assert_allclose(scores, np.asarray(expected)[:, 2], atol=1e-5)
    assert load_nli_judge(nli).contradictions([], []) == []


def test_an_answer_does_not_depend_on_its_neighbours(nli: str) -> None:
    judge = load_nli_judge(nli)
    whole = judge.contradictions(PREMISES, HYPOTHESES)
    assert [judge.contradictions([p], [h])[0] for p, h in zip(PREMISES, HYPOTHESES, strict=True)] == whole


def test_the_lower_probability_decides(nli: str) -> None:
    judge = load_nli_judge(nli)
    pair = Pair(
        id="p-1", source="pairs", source_id="1", source_license=None, group="1", split="train",
        anchor="a man is sitting on a bench", entailment="a man is sitting", kind="verbal",
    )  # fmt: skip
    answer = Answer(pair=pair, negative="a man is not sitting", raw="", model="m")
    sure = min(judge.contradictions([pair.anchor, pair.entailment], ["a man is not sitting"] * 2))
    for threshold, reason in ((max(sure - 0.01, 0), None), (min(sure + 0.01, 1), "not_contradiction")):
        verdict = Verifier(VerifyConfig(contradiction_threshold=threshold), nli=judge).check(answer)
        assert verdict.reason == reason
        assert verdict.scores["nli_contradiction"] == pytest.approx(sure, abs=1e-4)


def test_models_without_the_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected one label contradiction"):
        load_nli_judge(saved(tmp_path / "other", ["good", "bad"]))
    with pytest.raises(ModelError, match="neither a folder nor a model on the Hugging Face Hub"):
        load_nli_judge(str(tmp_path / "none"))


def test_other_files_under_the_same_name_are_another_run(tmp_path: Path) -> None:
    """A run only resumes with the model that it started with."""
    labels = ["entailment", "neutral", "contradiction"]
    name = saved(tmp_path / "nli", labels)
    write_csv(tmp_path / "pairs.csv", [{"anchor": "A man is sitting here.", "entailment": "A man is sitting."}])
    source = f"pairs={tmp_path / 'pairs.csv'}"
    settings = NegateConfig(sources=[source], generator="rules", nli=name)
    before = settings.fingerprint()["nli"]
    assert before == {"model": name, "sha256": pair_scorer_sha256(name)}
    negate(settings, tmp_path / "run")
    saved(tmp_path / "nli", labels[::-1])
    assert settings.fingerprint()["nli"]["sha256"] != before["sha256"]
    with pytest.raises(RunFolderError, match="another --nli, or other files of it"):
        negate(settings, tmp_path / "run")

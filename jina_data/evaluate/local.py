"""Tasks from Parquet files: sentence pairs with scores, retrieval trios, labelled texts. Needs neither mteb nor DuckDB.

- sts: NAME.parquet with sentence1, sentence2, score
- retrieval: NAME.corpus.parquet (doc_id, title, text), NAME.queries.parquet (query_id, text) and NAME.qrels.parquet
  (query_id, doc_id, score); or the same without NAME, in a folder of their own
- classification: NAME.train.parquet and NAME.test.parquet with text, label; or in a folder of their own
- clustering: NAME.parquet with text, label
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.embed.base import file_sha256
from jina_data.errors import InputError, UsageError

TRIO = ("corpus", "queries", "qrels")
"""The files of a retrieval task."""

SPLITS = ("train", "test")
"""The files of a classification task."""


@dataclass(frozen=True)
class StsData:
    """N pairs of sentences, and how alike people find them."""

    name: str
    sentences1: Sequence[str]
    sentences2: Sequence[str]
    scores: Sequence[float]
    sha256: str


@dataclass(frozen=True)
class RetrievalData:
    """A corpus, queries, and for each query the documents that answer it, each with how well."""

    name: str
    doc_ids: Sequence[str]
    titles: Sequence[str]
    docs: Sequence[str]
    query_ids: Sequence[str]
    queries: Sequence[str]
    qrels: Mapping[str, Mapping[str, int]]
    sha256: str


@dataclass(frozen=True)
class LabelData:
    """Texts with labels, by split: `train` and `test` for classification, `test` for clustering."""

    name: str
    splits: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    sha256: str

    @property
    def is_classification(self) -> bool:
        """Whether there is something to learn from."""
        return "train" in self.splits


LocalData = StsData | RetrievalData | LabelData


def read_local(given: str) -> list[LocalData]:
    """Read the tasks that a file, a prefix or a folder holds; `KIND:PATH` says what kind they are.

    Raises:
        InputError: a file is missing or broken, or holds what its kind has no use for.
        UsageError: the files do not tell what kind of task they are.
    """
    kind, _, rest = given.partition(":")
    if rest and kind in _READERS:
        return _READERS[kind](rest)
    path = Path(given).expanduser()
    if _prefixes(path, TRIO):
        return list(read_retrieval(given))
    if _prefixes(path, SPLITS):
        return list(read_classification(given))
    columns = set(_schema(_file(path)).names)
    if {"sentence1", "sentence2", "score"} <= columns:
        return [read_sts(given)]
    if {"text", "label"} <= columns:
        return [read_clustering(given)]
    raise UsageError(
        f"{given} is none of the tasks known: its columns are {', '.join(sorted(columns))}. Expected sentence1, "
        "sentence2 and score, or text and label, or files NAME.corpus, NAME.queries and NAME.qrels (.parquet)"
    )


def is_local(given: str) -> bool:
    """Tell whether a name stands for files rather than for a task of mteb."""
    path = Path(given).expanduser()
    named = given.partition(":")[0] in _READERS and ":" in given
    return named or path.exists() or bool(_prefixes(path, TRIO) or _prefixes(path, SPLITS))


def read_sts(given: str | Path) -> StsData:
    """Read pairs of sentences with scores from a Parquet file.

    Raises:
        InputError: the file is missing or broken, a text is missing, or all scores are equal.
    """
    path = _file(Path(given).expanduser())
    rows = _read(path, {"sentence1": _TEXT, "sentence2": _TEXT, "score": _NUMBER})
    if len(set(rows["score"])) < 2:
        raise InputError(f"{path}: {len(rows['score'])} scores, all equal; a correlation needs different ones")
    return StsData(path.stem, rows["sentence1"], rows["sentence2"], rows["score"], file_sha256(path))


def read_retrieval(given: str | Path) -> list[RetrievalData]:
    """Read retrieval tasks: that of a prefix (`eval/scifact`), or all of a folder.

    Raises:
        InputError: a file is missing or broken, an id occurs twice, or qrels name what is not there.
    """
    path = Path(given).expanduser()
    found = _prefixes(path, TRIO)
    if not found:
        raise InputError(
            f"{given} holds no retrieval task. Expected a folder with corpus.parquet, queries.parquet and "
            f"qrels.parquet, or files {path.name}.corpus.parquet, {path.name}.queries.parquet and "
            f"{path.name}.qrels.parquet"
        )
    return [_read_trio(name, files) for name, files in found.items()]


def read_classification(given: str | Path) -> list[LabelData]:
    """Read classification tasks: that of a prefix (`eval/banking77`), or all of a folder.

    Raises:
        InputError: a file is missing or broken, or a label to be found is never learnt.
    """
    path = Path(given).expanduser()
    found = _prefixes(path, SPLITS)
    if not found:
        raise InputError(
            f"{given} holds no classification task. Expected a folder with train.parquet and test.parquet, or files "
            f"{path.name}.train.parquet and {path.name}.test.parquet"
        )
    return [_read_splits(name, files) for name, files in found.items()]


def read_clustering(given: str | Path) -> LabelData:
    """Read texts with labels from a Parquet file.

    Raises:
        InputError: the file is missing or broken, or has one label only.
    """
    path = _file(Path(given).expanduser())
    rows = _read(path, {"text": _TEXT, "label": _LABEL})
    if len(set(rows["label"])) < 2:
        raise InputError(f"{path}: fewer than two labels; clusters need at least two")
    return LabelData(path.stem, {"test": (rows["text"], rows["label"])}, file_sha256(path))


_READERS: Mapping[str, Callable[[str], list[Any]]] = {
    "sts": lambda given: [read_sts(given)],
    "retrieval": read_retrieval,
    "classification": read_classification,
    "clustering": lambda given: [read_clustering(given)],
}


def _prefixes(path: Path, parts: Sequence[str]) -> dict[str, list[Path]]:
    """Return the groups of files that a path stands for, by their names; none where a file of it is missing."""
    if path.is_dir():
        bare = [path / f"{part}.parquet" for part in parts]
        if all(file.is_file() for file in bare):
            return {path.resolve().name: bare}
        ending = f".{parts[0]}.parquet"
        prefixes = [file.parent / file.name.removesuffix(ending) for file in sorted(path.glob(f"*{ending}"))]
    else:
        prefixes = [path]
    groups = {prefix.name: [prefix.with_name(f"{prefix.name}.{part}.parquet") for part in parts] for prefix in prefixes}
    return {name: files for name, files in groups.items() if all(file.is_file() for file in files)}


def _read_trio(name: str, files: Sequence[Path]) -> RetrievalData:
    corpus_file, queries_file, qrels_file = files
    corpus = _read(corpus_file, {"doc_id": _ID, "text": _TEXT, "title": _OPTIONAL})
    queries = _read(queries_file, {"query_id": _ID, "text": _TEXT})
    judged = _read(qrels_file, {"query_id": _ID, "doc_id": _ID, "score": _NUMBER})
    for file, ids in ((corpus_file, corpus["doc_id"]), (queries_file, queries["query_id"])):
        _refuse_twice(file, ids)
    qrels: dict[str, dict[str, int]] = {}
    known = {"query_id": set(queries["query_id"]), "doc_id": set(corpus["doc_id"])}
    for row, (query, doc, score) in enumerate(zip(judged["query_id"], judged["doc_id"], judged["score"], strict=True)):
        for column, value in (("query_id", query), ("doc_id", doc)):
            if value not in known[column]:
                where = queries_file if column == "query_id" else corpus_file
                raise InputError(f"{qrels_file}, row {row} (counted from 0): {column} {value!r} is not in {where.name}")
        qrels.setdefault(query, {})[doc] = int(score)
    if not any(score > 0 for found in qrels.values() for score in found.values()):
        raise InputError(f"{qrels_file} says of no document that it answers a query; expected scores above 0")
    titles = corpus["title"] if "title" in corpus else [""] * len(corpus["doc_id"])
    return RetrievalData(
        name, corpus["doc_id"], titles, corpus["text"], queries["query_id"], queries["text"], qrels, _sha256(files)
    )


def _refuse_twice(file: Path, ids: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for row, one in enumerate(ids):
        if one in seen:
            raise InputError(f"{file}, rows {seen[one]} and {row} (counted from 0) have the same id {one!r}")
        seen[one] = row


def _read_splits(name: str, files: Sequence[Path]) -> LabelData:
    read = {split: _read(file, {"text": _TEXT, "label": _LABEL}) for split, file in zip(SPLITS, files, strict=True)}
    unlearnt = sorted(set(read["test"]["label"]) - set(read["train"]["label"]))
    if unlearnt or len(set(read["train"]["label"])) < 2:
        raise InputError(
            f"{files[0]} has {len(set(read['train']['label']))} labels, and lacks "
            f"{', '.join(map(repr, unlearnt[:3])) or 'none'} of {files[1].name}; expected two or more, and all of those"
        )
    return LabelData(name, {split: (rows["text"], rows["label"]) for split, rows in read.items()}, _sha256(files))


def _sha256(files: Sequence[Path]) -> str:
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


# ------------------------------------------------------------------------------------------------------- reading

_TEXT, _OPTIONAL, _ID, _LABEL, _NUMBER = "text", "optional text", "id", "label", "number"


def _file(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path} is no file; expected a Parquet file of an evaluation task")
    return path


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from None


def _read(path: Path, columns: Mapping[str, str]) -> dict[str, list[Any]]:
    """Read columns as lists, each checked to be what its kind says.

    Raises:
        InputError: a column is missing, a value is missing or of another kind, or there is no row.
    """
    schema = _schema(path)
    wanted = [name for name, kind in columns.items() if kind != _OPTIONAL or name in schema.names]
    missing = [name for name in wanted if name not in schema.names]
    if missing:
        raise InputError(f"{path} lacks {' and '.join(missing)}; its columns are {', '.join(schema.names) or 'none'}")
    try:
        table = pq.read_table(path, columns=wanted)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from None
    if not table.num_rows:
        raise InputError(f"{path} has no rows")
    return {name: _values(path, name, table.column(name).to_pylist(), columns[name]) for name in wanted}


def _values(path: Path, name: str, values: list[Any], kind: str) -> list[Any]:
    if kind == _OPTIONAL:
        return [value or "" for value in values]
    expected: tuple[type, ...] = {_TEXT: (str,), _NUMBER: (int, float)}.get(kind, (str, int))
    for row, value in enumerate(values):
        if not isinstance(value, expected) or value != value:  # noqa: PLR0124 (NaN)
            raise InputError(
                f"{path}, row {row} (counted from 0): {name} is {value!r}; expected a "
                f"{'string' if kind == _TEXT else 'number' if kind == _NUMBER else 'string or a whole number'}"
            )
    return values if kind in (_TEXT, _NUMBER) else [str(value) for value in values]

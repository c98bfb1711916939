"""Reads evaluation tasks of all kinds from Parquet files. Needs neither mteb nor DuckDB.

- sts: NAME.parquet with sentence1, sentence2, score
- pair_classification: NAME.parquet with sentence1, sentence2, label (0 or 1)
- reranking: NAME.parquet with query, positive, negative; the last two are lists of texts
- summarization: NAME.parquet with text, human_summaries, machine_summaries, relevance; all but text are lists
- clustering: NAME.parquet with text, label
- classification: NAME.train.parquet and NAME.test.parquet with text, label; or the same without NAME in a folder
- retrieval: NAME.corpus.parquet (doc_id, title, text), NAME.queries.parquet (query_id, text) and NAME.qrels.parquet
  (query_id, doc_id, score); or the same without NAME in a folder
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jina_data.embed.model_files import file_sha256
from jina_data.errors import InputError, UsageError
from jina_data.evaluate.columns import (
    GRADE,
    NAME,
    NUMBER,
    NUMBERS,
    OPTIONAL,
    TEXT,
    TEXTS,
    TRUTH,
    column_names,
    read_columns,
)
from jina_data.evaluate.data import (
    LabelData,
    LocalData,
    PairData,
    RerankingData,
    RetrievalData,
    StsData,
    SummaryData,
)

TRIO = ("corpus", "queries", "qrels")
"""The files of a retrieval task."""

SPLITS = ("train", "test")
"""The files of a classification task."""


def read_local(name: str) -> list[LocalData]:
    """Read the tasks in a file, a folder, or the files with a prefix; `KIND:PATH` sets their kind.

    Raises:
        InputError: a file does not exist or cannot be read, or its content is invalid for its kind.
        UsageError: the kind of a task cannot be inferred from its files.
    """
    kind, _, kind_path = name.partition(":")
    if kind_path and kind in _READERS:
        return _READERS[kind](kind_path)
    path = Path(name).expanduser()
    trios, splits = _prefixes(path, TRIO), _prefixes(path, SPLITS)
    tasks: list[LocalData] = [_read_trio(task, files) for task, files in trios.items()]
    tasks += [_read_splits(task, files) for task, files in splits.items()]
    if not path.is_dir():
        return tasks or [_read_single(path)]
    grouped = {file for groups in (trios, splits) for files in groups.values() for file in files}
    tasks += [_read_single(file) for file in sorted(path.glob("*.parquet")) if file not in grouped]
    if not tasks:
        raise InputError(f"{path} is a folder without tasks; expected Parquet files of evaluation tasks")
    return tasks


def _read_single(path: Path) -> LocalData:
    """Read the task of one file; the columns decide its kind."""
    columns = column_names(path)
    for required, read in _SINGLE.items():
        if set(required) <= set(columns):
            return read(path)
    kinds = "; or ".join(", ".join(required) for required in _SINGLE)
    raise UsageError(
        f"{path} matches no known task: its columns are {', '.join(sorted(columns))}. Expected {kinds}; or files "
        "NAME.corpus, NAME.queries and NAME.qrels, or NAME.train and NAME.test (.parquet)"
    )


def is_local(name: str) -> bool:
    """Tell whether a name stands for files, not for a task of mteb."""
    path = Path(name).expanduser()
    has_kind = name.partition(":")[0] in _READERS and ":" in name
    return has_kind or path.exists() or bool(_prefixes(path, TRIO) or _prefixes(path, SPLITS))


def read_sts(path: str | Path) -> StsData:
    """Read sentence pairs with scores from a Parquet file.

    Raises:
        InputError: the file is missing or broken, a text is missing, or all scores are equal.
    """
    path = Path(path).expanduser()
    rows = read_columns(path, {"sentence1": TEXT, "sentence2": TEXT, "score": NUMBER})
    if len(set(rows["score"])) < 2:
        raise InputError(f"{path}: {len(rows['score'])} scores, all equal; a correlation needs different scores")
    return StsData(path.stem, rows["sentence1"], rows["sentence2"], rows["score"], file_sha256(path))


def read_pairs(path: str | Path) -> PairData:
    """Read sentence pairs with labels 1 or 0 from a Parquet file.

    Raises:
        InputError: the file is missing or broken, a text is missing, or all labels are equal.
    """
    path = Path(path).expanduser()
    rows = read_columns(path, {"sentence1": TEXT, "sentence2": TEXT, "label": TRUTH})
    if len(set(rows["label"])) < 2:
        raise InputError(f"{path}: all of {len(rows['label'])} labels are {rows['label'][0]}; expected both 0 and 1")
    return PairData(path.stem, rows["sentence1"], rows["sentence2"], rows["label"], file_sha256(path))


def read_reranking(path: str | Path) -> RerankingData:
    """Read queries with relevant and irrelevant texts from a Parquet file.

    Raises:
        InputError: the file is missing or broken, or a query has no relevant or no irrelevant texts.
    """
    path = Path(path).expanduser()
    rows = read_columns(path, {"query": TEXT, "positive": TEXTS, "negative": TEXTS})
    return RerankingData(path.stem, rows["query"], rows["positive"], rows["negative"], file_sha256(path))


def read_summaries(path: str | Path) -> SummaryData:
    """Read texts with human summaries, and machine summaries with human ratings, from a Parquet file.

    Raises:
        InputError: the file is missing or broken, the numbers of summaries and ratings differ, or all ratings of each
            text are equal.
    """
    path = Path(path).expanduser()
    columns = {"text": TEXT, "human_summaries": TEXTS, "machine_summaries": TEXTS, "relevance": NUMBERS}
    rows = read_columns(path, columns)
    for row, (summaries, scores) in enumerate(zip(rows["machine_summaries"], rows["relevance"], strict=True)):
        if len(summaries) != len(scores):
            raise InputError(
                f"{path}, row {row} (counted from 0): relevance has {len(scores)} numbers for {len(summaries)} "
                "machine_summaries; expected one each"
            )
    if all(len(set(scores)) < 2 for scores in rows["relevance"]):
        raise InputError(
            f"{path}: in each row, all values of relevance are equal; a correlation needs different values"
        )
    texts, human_summaries, machine_summaries, relevance = (rows[name] for name in columns)
    return SummaryData(path.stem, texts, human_summaries, machine_summaries, relevance, file_sha256(path))


def read_retrieval(path: str | Path) -> list[RetrievalData]:
    """Read the retrieval task of a prefix (`eval/scifact`), or all retrieval tasks of a folder.

    Raises:
        InputError: a file is missing or broken, an id occurs twice, or qrels contain an unknown id.
    """
    path = Path(path).expanduser()
    groups = _prefixes(path, TRIO)
    if path.is_file():
        raise InputError(
            f"{path} is only one file of a task. Give the prefix of its files, or their folder: {_prefix_of(path)}"
        )
    if not groups:
        raise InputError(
            f"{path} contains no retrieval task. Expected a folder with corpus.parquet, queries.parquet and "
            f"qrels.parquet, or files {path.name}.corpus.parquet, {path.name}.queries.parquet and "
            f"{path.name}.qrels.parquet"
        )
    return [_read_trio(name, files) for name, files in groups.items()]


def read_classification(path: str | Path) -> list[LabelData]:
    """Read the classification task of a prefix (`eval/banking77`), or all classification tasks of a folder.

    Raises:
        InputError: a file is missing or broken, or a test label does not occur in training.
    """
    path = Path(path).expanduser()
    groups = _prefixes(path, SPLITS)
    if not groups:
        raise InputError(
            f"{path} contains no classification task. Expected a folder with train.parquet and test.parquet, or files "
            f"{path.name}.train.parquet and {path.name}.test.parquet"
        )
    return [_read_splits(name, files) for name, files in groups.items()]


def read_clustering(path: str | Path) -> LabelData:
    """Read texts with labels from a Parquet file.

    Raises:
        InputError: the file is missing or broken, or has only one label.
    """
    path = Path(path).expanduser()
    rows = read_columns(path, {"text": TEXT, "label": NAME})
    if len(set(rows["label"])) < 2:
        raise InputError(f"{path}: fewer than two labels; clusters need at least two")
    return LabelData(path.stem, {"test": (rows["text"], rows["label"])}, file_sha256(path))


_SINGLE: Mapping[tuple[str, ...], Callable[[Path], LocalData]] = {
    ("sentence1", "sentence2", "score"): read_sts,
    ("sentence1", "sentence2", "label"): read_pairs,
    ("query", "positive", "negative"): read_reranking,
    ("text", "human_summaries", "machine_summaries", "relevance"): read_summaries,
    ("text", "label"): read_clustering,
}
"""The kinds of tasks in one file, by their columns; the first match is used."""

_READERS: Mapping[str, Callable[[str], list[Any]]] = {
    "sts": lambda path: [read_sts(path)],
    "pair_classification": lambda path: [read_pairs(path)],
    "reranking": lambda path: [read_reranking(path)],
    "summarization": lambda path: [read_summaries(path)],
    "clustering": lambda path: [read_clustering(path)],
    "classification": read_classification,
    "retrieval": read_retrieval,
}


def _prefixes(path: Path, parts: Sequence[str]) -> dict[str, list[Path]]:
    """Return the complete groups of files for a prefix or in a folder, by task name."""
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


def _prefix_of(path: Path) -> Path:
    """Return the prefix of the files of a task: eval/cats for eval/cats.corpus.parquet."""
    name = path.name.partition(".")[0]
    return path.parent if name in TRIO else path.with_name(name)


def _read_trio(name: str, files: Sequence[Path]) -> RetrievalData:
    corpus_file, queries_file, qrels_file = files
    corpus = read_columns(corpus_file, {"doc_id": NAME, "text": TEXT, "title": OPTIONAL})
    queries = read_columns(queries_file, {"query_id": NAME, "text": TEXT})
    judged = read_columns(qrels_file, {"query_id": NAME, "doc_id": NAME, "score": GRADE})
    _check_unique(corpus_file, corpus["doc_id"])
    _check_unique(queries_file, queries["query_id"])
    qrels: dict[str, dict[str, int]] = {}
    ids = {"query_id": set(queries["query_id"]), "doc_id": set(corpus["doc_id"])}
    for row, (query, doc, score) in enumerate(zip(judged["query_id"], judged["doc_id"], judged["score"], strict=True)):
        for column, value in (("query_id", query), ("doc_id", doc)):
            if value not in ids[column]:
                where = queries_file if column == "query_id" else corpus_file
                raise InputError(f"{qrels_file}, row {row} (counted from 0): {column} {value!r} is not in {where.name}")
        qrels.setdefault(query, {})[doc] = score
    if not any(score > 0 for grades in qrels.values() for score in grades.values()):
        raise InputError(f"{qrels_file} has no relevant document; expected scores above 0")
    titles = corpus["title"] if "title" in corpus else [""] * len(corpus["doc_id"])
    return RetrievalData(
        name, corpus["doc_id"], titles, corpus["text"], queries["query_id"], queries["text"], qrels, _sha256(files)
    )


def _check_unique(file: Path, ids: Sequence[str]) -> None:
    first_rows: dict[str, int] = {}
    for row, text_id in enumerate(ids):
        if text_id in first_rows:
            raise InputError(
                f"{file}, rows {first_rows[text_id]} and {row} (counted from 0) have the same id {text_id!r}"
            )
        first_rows[text_id] = row


def _read_splits(name: str, files: Sequence[Path]) -> LabelData:
    splits = {
        split: read_columns(file, {"text": TEXT, "label": NAME}) for split, file in zip(SPLITS, files, strict=True)
    }
    untrained = sorted(set(splits["test"]["label"]) - set(splits["train"]["label"]))
    if untrained or len(set(splits["train"]["label"])) < 2:
        raise InputError(
            f"{files[0]} has {len(set(splits['train']['label']))} labels; missing labels of {files[1].name}: "
            f"{', '.join(map(repr, untrained[:3])) or 'none'}. Expected at least two labels, and all labels of the "
            "test split"
        )
    return LabelData(name, {split: (rows["text"], rows["label"]) for split, rows in splits.items()}, _sha256(files))


def _sha256(files: Sequence[Path]) -> str:
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()

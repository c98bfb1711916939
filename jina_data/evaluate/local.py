"""Tasks from Parquet files, of each kind of the poster. Needs neither mteb nor DuckDB.

- sts: NAME.parquet with sentence1, sentence2, score
- pair_classification: NAME.parquet with sentence1, sentence2, label (0 or 1)
- reranking: NAME.parquet with query, positive, negative; the last two are lists of texts
- summarization: NAME.parquet with text, human_summaries, machine_summaries, relevance; all but text are lists
- clustering: NAME.parquet with text, label
- classification: NAME.train.parquet and NAME.test.parquet with text, label; or in a folder of their own
- retrieval: NAME.corpus.parquet (doc_id, title, text), NAME.queries.parquet (query_id, text) and NAME.qrels.parquet
  (query_id, doc_id, score); or the same without NAME, in a folder of their own
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
    trios, splits = _prefixes(path, TRIO), _prefixes(path, SPLITS)
    found: list[LocalData] = [_read_trio(name, files) for name, files in trios.items()]
    found += [_read_splits(name, files) for name, files in splits.items()]
    if not path.is_dir():
        return found or [_read_single(path)]
    known = {file for groups in (trios, splits) for files in groups.values() for file in files}
    found += [_read_single(file) for file in sorted(path.glob("*.parquet")) if file not in known]
    if not found:
        raise InputError(f"{path} is a folder without tasks; expected Parquet files of evaluation tasks")
    return found


def _read_single(path: Path) -> LocalData:
    """Read the task of one file, of the kind that its columns tell."""
    columns = column_names(path)
    for wanted, read in _SINGLE.items():
        if set(wanted) <= set(columns):
            return read(path)
    kinds = "; or ".join(", ".join(wanted) for wanted in _SINGLE)
    raise UsageError(
        f"{path} is none of the tasks known: its columns are {', '.join(sorted(columns))}. Expected {kinds}; or files "
        "NAME.corpus, NAME.queries and NAME.qrels, or NAME.train and NAME.test (.parquet)"
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
    path = Path(given).expanduser()
    rows = read_columns(path, {"sentence1": TEXT, "sentence2": TEXT, "score": NUMBER})
    if len(set(rows["score"])) < 2:
        raise InputError(f"{path}: {len(rows['score'])} scores, all equal; a correlation needs different ones")
    return StsData(path.stem, rows["sentence1"], rows["sentence2"], rows["score"], file_sha256(path))


def read_pairs(given: str | Path) -> PairData:
    """Read pairs of sentences, each with a label of 1 or 0, from a Parquet file.

    Raises:
        InputError: the file is missing or broken, a text is missing, or all labels are equal.
    """
    path = Path(given).expanduser()
    rows = read_columns(path, {"sentence1": TEXT, "sentence2": TEXT, "label": TRUTH})
    if len(set(rows["label"])) < 2:
        raise InputError(f"{path}: all of {len(rows['label'])} labels are {rows['label'][0]}; expected both 0 and 1")
    return PairData(path.stem, rows["sentence1"], rows["sentence2"], rows["label"], file_sha256(path))


def read_reranking(given: str | Path) -> RerankingData:
    """Read queries, each with texts that answer it and texts that do not, from a Parquet file.

    Raises:
        InputError: the file is missing or broken, or a query lacks texts of either sort.
    """
    path = Path(given).expanduser()
    rows = read_columns(path, {"query": TEXT, "positive": TEXTS, "negative": TEXTS})
    return RerankingData(path.stem, rows["query"], rows["positive"], rows["negative"], file_sha256(path))


def read_summaries(given: str | Path) -> SummaryData:
    """Read texts with summaries by people, and by machines with how good people find them, from a Parquet file.

    Raises:
        InputError: the file is missing or broken, summaries lack their relevance, or nowhere does it differ.
    """
    path = Path(given).expanduser()
    columns = {"text": TEXT, "human_summaries": TEXTS, "machine_summaries": TEXTS, "relevance": NUMBERS}
    rows = read_columns(path, columns)
    for row, (summaries, scores) in enumerate(zip(rows["machine_summaries"], rows["relevance"], strict=True)):
        if len(summaries) != len(scores):
            raise InputError(
                f"{path}, row {row} (counted from 0): relevance has {len(scores)} numbers for {len(summaries)} "
                "machine_summaries; expected one each"
            )
    if all(len(set(scores)) < 2 for scores in rows["relevance"]):
        raise InputError(f"{path}: in each row, all of relevance is equal; a correlation needs different numbers")
    texts, by_people, by_machines, relevance = (rows[name] for name in columns)
    return SummaryData(path.stem, texts, by_people, by_machines, relevance, file_sha256(path))


def read_retrieval(given: str | Path) -> list[RetrievalData]:
    """Read retrieval tasks: that of a prefix (`eval/scifact`), or all of a folder.

    Raises:
        InputError: a file is missing or broken, an id occurs twice, or qrels name what is not there.
    """
    path = Path(given).expanduser()
    found = _prefixes(path, TRIO)
    if path.is_file():
        raise InputError(
            f"{given} is one file of a task. Name what its files begin with, or their folder: {_begin(path)}"
        )
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
    path = Path(given).expanduser()
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
"""The kinds that are one file, by their columns; the first that fits."""

_READERS: Mapping[str, Callable[[str], list[Any]]] = {
    "sts": lambda given: [read_sts(given)],
    "pair_classification": lambda given: [read_pairs(given)],
    "reranking": lambda given: [read_reranking(given)],
    "summarization": lambda given: [read_summaries(given)],
    "clustering": lambda given: [read_clustering(given)],
    "classification": read_classification,
    "retrieval": read_retrieval,
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


def _begin(path: Path) -> Path:
    """Return what the files of a task begin with: of eval/cats.corpus.parquet that is eval/cats."""
    name = path.name.partition(".")[0]
    return path.parent if name in TRIO else path.with_name(name)


def _read_trio(name: str, files: Sequence[Path]) -> RetrievalData:
    corpus_file, queries_file, qrels_file = files
    corpus = read_columns(corpus_file, {"doc_id": NAME, "text": TEXT, "title": OPTIONAL})
    queries = read_columns(queries_file, {"query_id": NAME, "text": TEXT})
    judged = read_columns(qrels_file, {"query_id": NAME, "doc_id": NAME, "score": GRADE})
    for file, ids in ((corpus_file, corpus["doc_id"]), (queries_file, queries["query_id"])):
        _refuse_twice(file, ids)
    qrels: dict[str, dict[str, int]] = {}
    known = {"query_id": set(queries["query_id"]), "doc_id": set(corpus["doc_id"])}
    for row, (query, doc, score) in enumerate(zip(judged["query_id"], judged["doc_id"], judged["score"], strict=True)):
        for column, value in (("query_id", query), ("doc_id", doc)):
            if value not in known[column]:
                where = queries_file if column == "query_id" else corpus_file
                raise InputError(f"{qrels_file}, row {row} (counted from 0): {column} {value!r} is not in {where.name}")
        qrels.setdefault(query, {})[doc] = score
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
    read = {split: read_columns(file, {"text": TEXT, "label": NAME}) for split, file in zip(SPLITS, files, strict=True)}
    unlearnt = sorted(set(read["test"]["label"]) - set(read["train"]["label"]))
    if unlearnt or len(set(read["train"]["label"])) < 2:
        raise InputError(
            f"{files[0]} has {len(set(read['train']['label']))} labels, and lacks "
            f"{', '.join(map(repr, unlearnt[:3])) or 'none'} of {files[1].name}; expected two or more, and all of those"
        )
    return LabelData(name, {split: (rows["text"], rows["label"]) for split, rows in read.items()}, _sha256(files))


def _sha256(files: Sequence[Path]) -> str:
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()

"""Encode: any input of `clean` to one Parquet file with a vector for each row, in the order of the input.

The work goes range by range, and each range slice by slice. A slice leaves one file in a work folder beside the output,
whole or not at all. A run that was stopped takes those over; when all are there, they become the output.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.embed.vectors import VectorConfig, VectorModel, load_vector_model
from jina_data.errors import InputError, ModelError, RunFolderError, UsageError
from jina_data.progress import Progress, Quiet, Task
from jina_data.read import (
    ROW,
    InputFile,
    ParsedRange,
    conform,
    parse_range,
    resolve_inputs,
    sample_schema,
    split,
    stream_ranges,
    unite_schemas,
    writable,
)
from jina_data.read.checks import check_parseable
from jina_data.read.schema import is_string
from jina_data.run.files import remove, whole_path, write_json
from jina_data.run.folder import RunFolder
from jina_data.run.resume import ResumableRun

SLICE_ROWS = 2048
"""Rows that are encoded at a time: sorted by length among themselves, a row group of the output."""

VERSION = 1
"""Raised when the same input and model give other vectors."""

_KEY = b"jina_data.encode"


@dataclass(frozen=True, kw_only=True)
class EncodeConfig(VectorConfig):
    """The inputs, the model and its options, and which columns are read and written."""

    inputs: Sequence[str]
    column: str | None = None
    """The text column; None: `text`, or the only column of texts."""
    vector_column: str = "vector"
    vectors_only: bool = False
    limit: int | None = None

    @property
    def vectors(self) -> VectorConfig:
        """The model and its options alone."""
        return VectorConfig(**{entry.name: getattr(self, entry.name) for entry in fields(VectorConfig)})


@dataclass(frozen=True)
class EncodeReport:
    """What a run wrote: rows, dimensions, and how many texts were longer than the model reads."""

    path: Path
    n_rows: int
    dim: int
    n_cut: int


def encode(
    config: EncodeConfig, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> EncodeReport:
    """Encode a text column of some inputs into a Parquet file, or resume the run that was stopped there.

    Raises:
        InputError: an input cannot be read, or a text is missing; the message names file and row.
        UsageError: there is no such column, or the model does not take an option.
        ModelError: the model cannot be loaded, or gave a vector that is not finite.
        RunFolderError: the output exists, and is of another run.
    """
    progress, output = progress or Quiet(), Path(out)
    files = resolve_inputs(config.inputs)
    schemas = [sample_schema(file) for file in files]
    check_parseable(files, schemas)
    schema = unite_schemas([(file.name, one) for file, one in zip(files, schemas, strict=True)])
    column = _text_column(schema, config)
    fingerprint = _fingerprint(files, column, config)
    folder = VectorFile(output)
    run = ResumableRun(folder, fingerprint, progress, overwrite=overwrite)
    if run.is_finished():
        run.report_finished()
        return folder.report()
    if config.column is None:
        progress.message(f"texts: column {column!r} (choose another with --column)")
    with run.session():
        encoder = _RangeEncoder(files, schema, column, config, work=folder.work)
        with progress.task("encode", config.limit or _known_rows(files)) as task:
            parts = [part for number in range(len(files)) for part in encoder.encode_file(number, task)]
        report = encoder.gather(parts, output, json.dumps(fingerprint, sort_keys=True))
        folder.discard_work()
    if report.n_cut:
        progress.message(f"{report.n_cut:,} of {report.n_rows:,} texts were longer than the model reads, and were cut")
    return report


@dataclass(frozen=True)
class VectorFile(RunFolder):
    """The output file of a run that encodes, and the hidden work folder next to it."""

    work_name: ClassVar[re.Pattern[str]] = re.compile(r"lock|run\.json|events\.jsonl|file-.*|\..*\.tmp")

    @property
    def work(self) -> Path:
        """The folder of the parts, next to the output; removed after success."""
        return self.path.with_name(f".{self.path.name}.work")

    @property
    def events(self) -> Path:
        """The log of the sessions; removed with the work folder."""
        return self.work / "events.jsonl"

    @property
    def manifest(self) -> Path:
        """The output: its metadata holds the fingerprint."""
        return self.path

    @property
    def has_progress(self) -> bool:
        """Whether a part was encoded."""
        return any(self.work.glob("*.parquet"))

    def finished_fingerprint(self) -> Any:
        """Return the fingerprint of the run that wrote the output.

        Raises:
            RunFolderError: another program wrote it.
        """
        return json.loads(self._metadata()["key"])

    def report(self) -> EncodeReport:
        """Return the report of the run that wrote the output."""
        written = self._metadata()
        return EncodeReport(self.path, written["n_rows"], written["dim"], written["n_cut"])

    def _metadata(self) -> dict[str, Any]:
        try:
            written: dict[str, Any] = json.loads((pq.read_schema(self.path).metadata or {})[_KEY])
        except (OSError, ValueError, KeyError, pa.ArrowException):
            raise RunFolderError(
                f"{self.path} exists and was not written by jina-data encode; name another file"
            ) from None
        return written

    def check_writable(self, *, overwrite: bool) -> None:
        """Check that the output is not a folder.

        Raises:
            RunFolderError: it is one.
        """
        if self.path.is_dir():
            raise RunFolderError(f"{self.path} is a folder; -o names a Parquet file")

    def clear(self) -> None:
        """Remove the parts; an earlier output stays until the new one replaces it."""
        self.clear_work()

    def discard_work(self) -> None:
        """Remove the work folder."""
        remove(self.work)

    def discard_trash(self) -> None:
        """Do nothing: a work folder next to a file is removed in place."""

    def discard_partial_files(self) -> None:
        """Remove the files that a killed run was writing."""
        super().discard_partial_files()
        for partial in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.tmp"):
            remove(partial)

    def _remove_if_empty(self, *, is_new: bool) -> None:
        if self.work.is_dir() and all(entry.name == "lock" for entry in self.work.iterdir()):
            remove(self.work)


class _RangeEncoder:
    """The files of one run, and the model, which is loaded when the first range asks for it."""

    def __init__(
        self,
        files: Sequence[InputFile],
        schema: pa.Schema,
        column: str,
        config: EncodeConfig,
        *,
        work: Path,
    ) -> None:
        self.files, self.schema, self.column, self.config = files, schema, column, config
        self.work = work
        self.rows_left = config.limit
        self._model: VectorModel | None = None

    @property
    def model(self) -> VectorModel:
        if self._model is None:
            self._model = load_vector_model(self.config.vectors)
        return self._model

    def encode_file(self, number: int, task: Task) -> Iterator[Path]:
        """Encode what is left of a file; yields the parts of all its ranges, in order."""
        file, first_row = self.files[number], 0
        for range_number, parse in self._ranges(file):
            if self.rows_left == 0:
                return
            name = f"file-{number:05d}-range-{range_number:06d}"
            for part in self._encode_range(name, parse, file=file, first_row=first_row):
                n_rows = pq.read_metadata(part).num_rows
                task.advance(n_rows)
                first_row += n_rows
                if self.rows_left is not None:
                    self.rows_left -= n_rows
                yield part

    def _ranges(self, file: InputFile) -> Iterator[tuple[int, Any]]:
        """Yield the number of each range of a file, and what parses it."""
        specs = split(file, self.schema)
        if specs is None:
            for one in stream_ranges(file, self.schema, None, 0):
                yield one.number, lambda one=one: one
            return
        for number, spec in enumerate(specs):
            yield number, lambda spec=spec: parse_range(file, spec, self.schema)

    def _encode_range(
        self, name: str, parse: Callable[[], ParsedRange], *, file: InputFile, first_row: int
    ) -> Iterator[Path]:
        """Yield the parts of a range, one for each slice. Those that are there are not made again."""
        whole = self.work / f"{name}.json"
        if whole.exists():
            yield from (self._part(name, number) for number in range(json.loads(whole.read_text(encoding="utf-8"))))
            return
        rows = self._read(parse(), file=file, first_row=first_row)
        texts = _texts(rows, self.column, file=file, first_row=first_row)
        starts = range(0, len(texts), SLICE_ROWS)
        for number, start in enumerate(starts):
            part = self._part(name, number)
            if not part.exists():
                stop = start + SLICE_ROWS
                self._encode_slice(rows[start:stop], texts[start:stop], part, file=file, first_row=first_row + start)
            yield part
        write_json(whole, len(starts))

    def _part(self, name: str, number: int) -> Path:
        return self.work / f"{name}-slice-{number:03d}.parquet"

    def _read(self, parsed: ParsedRange, *, file: InputFile, first_row: int) -> pa.Table:
        for broken in parsed.unreadable[:1]:
            raise InputError(
                f"{file.name}, row {first_row + broken.row} (counted from 0) cannot be read: {broken.error}. Every row "
                "needs a vector: mend the file, or run jina-data clean first, which sets such rows aside"
            )
        return parsed.rows.slice(0, self.rows_left)

    def _encode_slice(
        self, rows: pa.Table, texts: Sequence[str], part: Path, *, file: InputFile, first_row: int
    ) -> None:
        cut_before = self.model.n_cut
        vectors = self.model.encode(texts)
        self._refuse_not_finite(vectors, texts, file=file, first_row=first_row)
        kept = rows.select([] if self.config.vectors_only else [name for name in rows.column_names if name != ROW])
        ready = conform(kept, writable(kept.schema))
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), self.model.dim)
        schema = self._with_vectors(kept.schema)
        with whole_path(part) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as sink:
            sink.write_table(pa.table([*ready.columns, column], schema=schema))
            sink.add_key_value_metadata({"n_cut": str(self.model.n_cut - cut_before)})

    def _refuse_not_finite(
        self, vectors: np.ndarray[Any, Any], texts: Sequence[str], *, file: InputFile, first_row: int
    ) -> None:
        broken = np.flatnonzero(~np.isfinite(vectors).all(1)).tolist()
        if not broken:
            return
        # On a GPU such a text may spoil those that share a block of attention with it; alone it shows which it is.
        guilty = (row for row in broken if not np.isfinite(self.model.encode([texts[row]])).all())
        named = first_row + next(guilty, broken[0])
        raise ModelError(
            f"{file.name}, row {named} (counted from 0): the model's vector is not finite. "
            "Its weights may be damaged, or its numbers too large for half precision: try --device cpu"
        )

    def gather(self, parts: Sequence[Path], output: Path, key: str) -> EncodeReport:
        """Write the parts into one file, row group by row group."""
        metas = [pq.read_metadata(part) for part in parts]
        named = [(part.name, pq.read_schema(part)) for part in parts]
        nothing = self._with_vectors(pa.schema([]) if self.config.vectors_only else self.schema) if not named else None
        schema = nothing or unite_schemas(named)
        n_cut = sum(int((meta.metadata or {}).get(b"n_cut", b"0")) for meta in metas)
        n_rows = sum(meta.num_rows for meta in metas)
        dim = schema.field(self.config.vector_column).type.list_size
        said = json.dumps({"key": key, "model": self.config.model, "n_rows": n_rows, "dim": dim, "n_cut": n_cut})
        with (
            whole_path(output) as temporary,
            pq.ParquetWriter(temporary, schema.with_metadata({_KEY: said}), compression="zstd") as sink,
        ):
            for part in parts:
                with pq.ParquetFile(part) as source:
                    for group in range(source.num_row_groups):
                        rows = conform(source.read_row_group(group), schema)
                        sink.write_table(rows.replace_schema_metadata({_KEY: said}))
        return EncodeReport(output, n_rows, dim, n_cut)

    def _with_vectors(self, kept: pa.Schema) -> pa.Schema:
        return writable(kept).append(pa.field(self.config.vector_column, pa.list_(pa.float32(), self.model.dim)))


def _text_column(schema: pa.Schema, config: EncodeConfig) -> str:
    """Return the column to encode: the one named, else `text`, else the only one that holds texts."""
    named = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    if config.vector_column in schema.names and not config.vectors_only:
        raise UsageError(
            f"the input has a column {config.vector_column!r} already; name another with --vector-column, or leave the "
            "input's columns out with --vectors-only"
        )
    if config.column is not None:
        if config.column not in schema.names:
            raise UsageError(f"--column {config.column}: there is no such column; the input has: {named}")
        if not is_string(schema.field(config.column).type):
            raise UsageError(f"--column {config.column} holds {schema.field(config.column).type}; expected texts")
        return config.column
    strings = [field.name for field in schema if is_string(field.type)]
    if "text" in strings or len(strings) == 1:
        return "text" if "text" in strings else strings[0]
    raise UsageError(f"which column holds the texts? Name it with --column; the input has: {named}")


def _texts(rows: pa.Table, column: str, *, file: InputFile, first_row: int) -> list[str]:
    values: list[Any] = rows.column(column).to_pylist() if column in rows.column_names else [None] * rows.num_rows
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(
                f"{file.name}, row {first_row + row} (counted from 0): column {column!r} holds "
                f"{'null' if value is None else type(value).__name__}; expected a string. Leave such rows out first, "
                "for example with jina-data clean"
            )
    return values


def _fingerprint(files: Sequence[InputFile], column: str, config: EncodeConfig) -> dict[str, Any]:
    """Return what decides the output: the inputs, the model and all options that change it."""
    return {
        "version": VERSION,
        "slice": SLICE_ROWS,
        "column": column,
        "model": config.vectors.model_key(),
        "vector_column": config.vector_column,
        "vectors_only": config.vectors_only,
        "limit": config.limit,
        "inputs": [file.to_json() for file in files],
    }


def _known_rows(files: Sequence[InputFile]) -> int | None:
    """Return the rows of all files where their format tells."""
    if not all(file.format == "parquet" and file.is_local and not file.compression for file in files):
        return None
    n_rows: int = sum(pq.read_metadata(file.name).num_rows for file in files)
    return n_rows

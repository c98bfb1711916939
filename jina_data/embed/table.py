"""Encodes a text column of any input of `clean` into one Parquet file, with a vector per row in the input order.

Files are encoded range by range, and each range slice by slice. Each slice is written atomically to one file in a work
folder next to the output. A resumed run reuses the finished slices; when all slices exist, they are merged into the
output.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jina_data.arrow.paths import type_at
from jina_data.arrow.types import is_nested, is_string
from jina_data.embed.vectors import VectorConfig, VectorModel, load_vector_model
from jina_data.errors import InputError, ModelError, RunFolderError, UsageError
from jina_data.progress import Progress, SilentProgress, Task
from jina_data.read import (
    ROW,
    InputFile,
    InputOptions,
    ParsedRange,
    conform,
    input_notes,
    parse_range,
    resolve_inputs,
    sample_schema,
    split,
    stream_ranges,
    unite_schemas,
    writable,
)
from jina_data.read.checks import check_parseable
from jina_data.roles import text_schema
from jina_data.run.files import atomic_path, remove, write_json
from jina_data.run.folder import RunFolder
from jina_data.run.inputs import RunInputs, check_apart
from jina_data.run.resume import ResumableRun

SLICE_ROWS = 2048
"""Rows of a slice: they are sorted by length for encoding, and form a row group of the output."""

VERSION = 2
"""To be raised whenever the same input and model give other vectors."""

_KEY = b"jina_data.encode"


@dataclass(frozen=True, kw_only=True)
class EncodeConfig(VectorConfig):
    """The inputs, the model and its options, and which columns are read and written."""

    inputs: Sequence[str]
    input: InputOptions = field(default_factory=InputOptions)
    """What is known about the input files."""
    column: str | None = None
    """The text column; None: `text`, or the only string column."""
    vector_column: str = "vector"
    vectors_only: bool = False
    limit: int | None = None

    @property
    def vectors(self) -> VectorConfig:
        """The model and its options, without the inputs."""
        return VectorConfig(**{entry.name: getattr(self, entry.name) for entry in fields(VectorConfig)})


@dataclass(frozen=True)
class EncodeReport:
    """The result of a run: rows, dimensions, and the number of texts that were truncated."""

    path: Path
    n_rows: int
    dim: int
    n_cut: int


def encode(
    config: EncodeConfig, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> EncodeReport:
    """Encode a text column of the inputs into a Parquet file, or resume the stopped run there.

    Raises:
        InputError: an input cannot be read, or a text is missing; the message names file and row.
        UsageError: there is no such column, or the model does not support an option.
        ModelError: the model cannot be loaded, or a vector is not finite.
        RunFolderError: the output exists and is from another run.
    """
    progress, output = progress or SilentProgress(), Path(out)
    if not output.is_dir():  # the output is a file; a folder is refused below
        check_apart(config.inputs, output)
    given = RunInputs.open(config.inputs)
    files = resolve_inputs(given.names, config.input)
    for note in input_notes(files):
        progress.message(note)
    schemas = [sample_schema(file) for file in files]
    check_parseable(files, schemas)
    column = _text_column(unite_schemas(schemas), config, given)
    files = [replace(file, text_columns=(column,)) for file in files]
    schema = text_schema(unite_schemas(schemas), (column,))
    fingerprint = _fingerprint(files, column, config)
    folder = VectorFile(output)
    run = ResumableRun(folder, fingerprint, progress, overwrite=overwrite)
    if run.is_finished():
        run.report_finished()
        return folder.report()
    if config.column is None:
        progress.message(f"texts: column {column!r} (choose another with --column)")
    if line := config.vectors.prompt_line():
        progress.message(line)
    with run.session():
        encoder = _RangeEncoder(files, schema, column, config, work=folder.work)
        with progress.task("encode", config.limit or _known_rows(files)) as task:
            parts = [part for number in range(len(files)) for part in encoder.encode_file(number, task)]
        report = encoder.gather(parts, output, json.dumps(fingerprint, sort_keys=True))
        folder.discard_work()
    if report.n_cut:
        progress.message(
            f"{report.n_cut:,} of {report.n_rows:,} texts were longer than the model reads and were truncated"
        )
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
            raise RunFolderError(f"{self.path} is a folder; expected a Parquet file in -o")

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
    """Encodes the files of one run; the model is loaded when the first range needs it."""

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
        """Encode the rest of a file; yields the parts of all its ranges, in order."""
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
        """Yield the number of each range of a file, and a function that parses it."""
        specs = split(file, self.schema)
        if specs is None:
            for parsed in stream_ranges(file, self.schema, None, 0):
                yield parsed.number, lambda parsed=parsed: parsed
            return
        for number, spec in enumerate(specs):
            yield number, lambda spec=spec: parse_range(file, spec, self.schema)

    def _encode_range(
        self, name: str, parse: Callable[[], ParsedRange], *, file: InputFile, first_row: int
    ) -> Iterator[Path]:
        """Yield the parts of a range, one for each slice; parts that exist are reused."""
        # Written when all parts of the range exist; it holds their number, so a resumed run need not parse the range.
        range_done = self.work / f"{name}.json"
        if range_done.exists():
            n_parts = json.loads(range_done.read_text(encoding="utf-8"))
            yield from (self._part(name, number) for number in range(n_parts))
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
        write_json(range_done, len(starts))

    def _part(self, name: str, number: int) -> Path:
        return self.work / f"{name}-slice-{number:03d}.parquet"

    def _read(self, parsed: ParsedRange, *, file: InputFile, first_row: int) -> pa.Table:
        for broken in parsed.unreadable[:1]:
            raise InputError(
                f"{file.name}, row {first_row + broken.row} (counted from 0) cannot be read: {broken.error}. Every row "
                "needs a vector: fix the file, or run jina-data clean first, which removes unreadable rows"
            )
        return parsed.rows.slice(0, self.rows_left)

    def _encode_slice(
        self, rows: pa.Table, texts: Sequence[str], part: Path, *, file: InputFile, first_row: int
    ) -> None:
        cut_before = self.model.n_cut
        vectors = self.model.encode(texts)
        self._check_finite(vectors, texts, file=file, first_row=first_row)
        kept = rows.select([] if self.config.vectors_only else [name for name in rows.column_names if name != ROW])
        ready = conform(kept, writable(kept.schema))
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), self.model.dim)
        schema = self._with_vectors(kept.schema)
        with atomic_path(part) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as sink:
            sink.write_table(pa.table([*ready.columns, column], schema=schema))
            sink.add_key_value_metadata({"n_cut": str(self.model.n_cut - cut_before)})

    def _check_finite(
        self, vectors: np.ndarray[Any, Any], texts: Sequence[str], *, file: InputFile, first_row: int
    ) -> None:
        broken = np.flatnonzero(~np.isfinite(vectors).all(1)).tolist()
        if not broken:
            return
        # On a GPU a text that overflows may spoil others in the same attention block; encoded alone, it is identified.
        culprits = (row for row in broken if not np.isfinite(self.model.encode([texts[row]])).all())
        row = first_row + next(culprits, broken[0])
        raise ModelError(
            f"{file.name}, row {row} (counted from 0): the vector is not finite. The weights of the model may be "
            "damaged, or its activations too large for half precision. Try --device cpu"
        )

    def gather(self, parts: Sequence[Path], output: Path, key: str) -> EncodeReport:
        """Merge the parts into one file, row group by row group."""
        metas = [pq.read_metadata(part) for part in parts]
        if parts:
            schema = unite_schemas([pq.read_schema(part) for part in parts])
        else:
            schema = self._with_vectors(pa.schema([]) if self.config.vectors_only else self.schema)
        n_cut = sum(int((meta.metadata or {}).get(b"n_cut", b"0")) for meta in metas)
        n_rows = sum(meta.num_rows for meta in metas)
        dim = schema.field(self.config.vector_column).type.list_size
        metadata = json.dumps({"key": key, "model": self.config.model, "n_rows": n_rows, "dim": dim, "n_cut": n_cut})
        with (
            atomic_path(output) as temporary,
            pq.ParquetWriter(temporary, schema.with_metadata({_KEY: metadata}), compression="zstd") as sink,
        ):
            for part in parts:
                with pq.ParquetFile(part) as source:
                    for group in range(source.num_row_groups):
                        rows = conform(source.read_row_group(group), schema)
                        sink.write_table(rows.replace_schema_metadata({_KEY: metadata}))
        return EncodeReport(output, n_rows, dim, n_cut)

    def _with_vectors(self, kept: pa.Schema) -> pa.Schema:
        return writable(kept).append(pa.field(self.config.vector_column, pa.list_(pa.float32(), self.model.dim)))


def _text_column(schema: pa.Schema, config: EncodeConfig, given: RunInputs) -> str:
    """Return the column to encode: the given one, else the only text of a run, else `text`, else the only string."""
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    if config.vector_column in schema.names and not config.vectors_only:
        raise UsageError(
            f"the input already has a column {config.vector_column!r}. Choose another name with --vector-column, or "
            "leave out the input columns with --vectors-only"
        )
    if config.column is not None:
        exists = config.column in schema.names
        kind = schema.field(config.column).type if exists else type_at(schema, config.column)
        if kind is None:
            raise UsageError(f"--column {config.column}: there is no such column; the input has: {columns}")
        if is_nested(kind):
            raise UsageError(f"--column {config.column} has the type {kind}; expected texts, or a path to a text in it")
        return config.column
    of_runs = {name for run in given.runs for names in run.roles.values() for name in names}
    if len(of_runs) == 1 and not given.has_others and of_runs <= set(schema.names):
        return of_runs.pop()
    strings = [field.name for field in schema if is_string(field.type)]
    if "text" in strings or len(strings) == 1:
        return "text" if "text" in strings else strings[0]
    raise UsageError(f"the text column is ambiguous. Name it with --column; the input has: {columns}")


def _texts(rows: pa.Table, column: str, *, file: InputFile, first_row: int) -> list[str]:
    values: list[Any] = rows.column(column).to_pylist() if column in rows.column_names else [None] * rows.num_rows
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(
                f"{file.name}, row {first_row + row} (counted from 0): column {column!r} holds "
                f"{'null' if value is None else type(value).__name__}; expected a string. Remove such rows first, "
                "for example with jina-data clean"
            )
    return values


def _fingerprint(files: Sequence[InputFile], column: str, config: EncodeConfig) -> dict[str, Any]:
    """Return everything that determines the output: the inputs, the model and the options."""
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
    """Return the number of rows of all files, or None if only reading the files can tell."""
    if not all(file.format == "parquet" and file.is_local and not file.compression for file in files):
        return None
    n_rows: int = sum(pq.read_metadata(file.name).num_rows for file in files)
    return n_rows

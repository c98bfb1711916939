"""The base class of stages, its kinds, and the outcome of a stage.

A stage is a frozen, validated settings object. It does not depend on the engine: it takes `Rows` and returns an
`Outcome`. The kind of a stage follows from the rows that it needs:

- `RowLocal`: one batch at a time, in Python or a compiled kernel.
- `Scored`: one batch at a time, by scores of a model that are cached by content.
- `Sql`: one batch at a time, as DuckDB expressions; adjacent stages run as one query.
- `Barrier`: fits to the keys of all remaining rows first, then works on one batch at a time.
- `Collective`: decides about rows from the keys of all remaining rows, in DuckDB.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator

from jina_data.arrow.paths import is_path
from jina_data.errors import RecipeError
from jina_data.read import ROW, InputFile, conform, sample_schema
from jina_data.stages.reference import ReferenceRows, read_reference_file
from jina_data.stages.rows import BoolArray, FloatArray, Rows, View
from jina_data.stages.score_cache import ScoreCache

Batches = Iterator[pa.RecordBatch]

KEEP = -1
"""The reason code of a row that is kept."""


@dataclass
class Outcome:
    """The decisions of a stage about N rows.

    `reason` is a code for each row: an index into the stage's `reasons`, or KEEP. `score` is the score behind the
    decision, NaN where there is none. `scores` are all scores that the stage measured, by name. `changed` are the text
    columns with new texts. `partner` is the reference row ("file:row") that each row was dropped for, or null.

    `removed` maps a column to a mask of the texts that are removed from kept rows: a bool for each row (the text
    becomes null), or a list of bools as long as the list of texts (the list becomes shorter); null where there is no
    text.
    """

    reason: npt.NDArray[np.int16]
    score: FloatArray
    scores: dict[str, pa.Array] = field(default_factory=dict)
    changed: dict[str, pa.Array] = field(default_factory=dict)
    removed: dict[str, pa.Array] = field(default_factory=dict)
    partner: pa.StringArray | None = None

    @classmethod
    def keep_all(cls, n_rows: int) -> Outcome:
        """Return an outcome that keeps every row; `drop` changes it."""
        return cls(np.full(n_rows, KEEP, np.int16), np.full(n_rows, np.nan))

    def drop(self, rows: BoolArray, reason: int, score: FloatArray | float = np.nan) -> None:
        """Drop the rows where `rows` (N,) is true, except those dropped before; `score` is (N,) or one number."""
        newly_dropped = rows & (self.reason == KEEP)
        self.reason[newly_dropped] = reason
        self.score[newly_dropped] = score[newly_dropped] if isinstance(score, np.ndarray) else score


Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""A tuple of names; a single name counts as a tuple of one."""


@dataclass(frozen=True)
class Threshold:
    """A limit on a score: rows on the side `keeps` are kept, rows on the other side are dropped for `reason`."""

    value: float
    keeps: Literal["above", "below"]
    reason: str


class Stage(BaseModel):
    """Settings of one step of a pipeline: frozen, keyword-only, validated.

    A subclass sets its `name`, the `reasons` for which it drops rows, and a `version` that changes when results change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    reasons: ClassVar[tuple[str, ...]] = ()
    uses_device: ClassVar[bool] = False
    """Whether the stage uses a GPU if there is one."""

    @field_validator("roles", mode="before", check_fields=False)
    @classmethod
    def _one_role(cls, value: Any) -> Any:
        """Turn a single role into a tuple of one."""
        return (value,) if isinstance(value, str) and value != "row" else value

    def reads(self, view: View) -> tuple[str, ...]:
        """Return the columns that the stage reads in addition to the texts of the roles."""
        return ()

    def input_columns(self, view: View) -> tuple[str, ...]:
        """Return all columns that the stage gets: the texts of the roles, and those of `reads`."""
        return tuple(dict.fromkeys([*view.text_columns, *self.reads(view)]))

    def after(self, view: View) -> View:
        """Check that the stage can work on a table with this view, and return the view of its output.

        Raises:
            RecipeError: a role or column that the stage needs is missing or has the wrong type.
        """
        return view

    def prepare(self) -> None:
        """Load kernels and models, so that the first batch does not wait for them."""

    def thresholds(self, view: View) -> Mapping[str, Sequence[Threshold]]:
        """Return the limits that the report draws into the histogram of each score, by the name of the score.

        The name "score" stands for the score of the dropped rows in the ledger.
        """
        return {}

    def reference_files(self) -> tuple[str, ...]:
        """Return the names of the files and run folders that the stage compares rows with."""
        return ()

    def process_bytes(self) -> int:
        """Return the memory that each worker needs for the stage's models, in bytes."""
        return 0

    def announcement(self) -> str:
        """Return a line that is printed before the run, about what the settings do not show; "" for none."""
        return ""

    def model_hashes(self) -> dict[str, str]:
        """Return the sha256 of every model file that the results depend on, by name.

        Raises:
            ModelError: a model file is missing or cannot be loaded.
        """
        return {}


class RowLocal(Stage):
    """Decides about each row from that row alone."""

    @abstractmethod
    def apply(self, rows: Rows) -> Outcome:
        """Decide about a batch. The decision about a row must not depend on other rows of the batch."""


@dataclass(frozen=True)
class Check:
    """One way to drop a row, in SQL over the stage's columns: drop where `condition` is true."""

    condition: str
    reason: int
    score: str = "NULL"


class Sql(Stage):
    """Decides about each row by DuckDB expressions; adjacent stages of this kind run as one query."""

    def derived(self, rows: Rows) -> dict[str, pa.Array]:
        """Return computed columns that the expressions need, one value a row; their names start with `__row`."""
        return {}

    @abstractmethod
    def checks(self, view: View) -> list[Check]:
        """Return the conditions under which a row is dropped. The first that is true gives the reason."""

    def measured(self, view: View) -> dict[str, str]:
        """Return the scores that the stage records, as SQL expressions by name."""
        return {}

    def projection(self, columns: Sequence[str]) -> dict[str, str]:
        """Return the output columns of this stage, as SQL expressions over the input `columns`, by name."""
        return {column: quoted(column) for column in columns}

    def project(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Apply `projection` to a batch, without a query for columns that do not change."""
        return batch


def check_distinct_ignoring_case(view: View, reads: Sequence[str], stage: str) -> None:
    """Refuse to read a column if the name of another differs in case only, since SQL ignores case in names.

    Raises:
        RecipeError: there is such a pair, under the current names or the names in the input.
    """
    for spelling in (str, view.input_name):
        for read in reads:
            alike = [name for name in view.schema.names if spelling(name).lower() == spelling(read).lower()]
            if len(alike) > 1:
                raise RecipeError(
                    f"stage {stage}: SQL cannot distinguish the columns {' and '.join(map(spelling, alike))}. "
                    "Rename one in the input, or drop one with an earlier `select`"
                )


def quoted(name: str) -> str:
    """Quote an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote an SQL string."""
    return "'" + text.replace("'", "''") + "'"


@dataclass
class Context:
    """Properties of the run that a stage may need: the seed, the device of models, and the cache of scores.

    `device` is "cpu" or "cuda".
    """

    seed: int = 0
    device: str = "cpu"
    cache: ScoreCache = field(default_factory=ScoreCache)


class Scored(Stage):
    """Decides about each row from that row alone, by the scores of a model."""

    @abstractmethod
    def apply(self, rows: Rows, context: Context) -> Outcome:
        """Decide about a batch. The decision about a row must not depend on other rows of the batch."""


@dataclass
class RemainingRows:
    """The keys of all rows that reached a stage.

    They are in a DuckDB relation `name` with `row_id`, `source` and the key columns of the stage, on the connection
    `con`. The keys of the reference rows of the stage are in the relation `reference.name`. `fetch(row_ids)` reads the
    rows with these ids (ascending) as they enter the stage, in batches. The stage may write files for `apply` to
    `folder`; the report includes `facts` (JSON).
    """

    con: duckdb.DuckDBPyConnection
    name: str
    context: Context = field(default_factory=Context)
    fetch: Callable[[npt.NDArray[np.uint64]], Iterator[Rows]] | None = None
    reference: ReferenceRows | None = None
    folder: Path = Path()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.context.seed


@dataclass(frozen=True)
class FitResult:
    """The result of fitting a barrier stage to all remaining rows: facts (JSON), and the folder with its files."""

    facts: dict[str, Any]
    folder: Path = Path()


class Barrier(Stage):
    """Decides about each row from that row and the result of fitting to the keys of all remaining rows."""

    @abstractmethod
    def keys(self, rows: Rows, context: Context) -> dict[str, pa.Array]:
        """Return the key columns that `fit` needs, one value a row; `apply` gets them as `rows.keys`."""

    @abstractmethod
    def fit(self, remaining: RemainingRows) -> dict[str, Any]:
        """Fit to all remaining rows, once; `apply` gets the result, which must be JSON."""

    @abstractmethod
    def apply(self, rows: Rows, fit_result: FitResult, context: Context) -> Outcome:
        """Decide about a batch, given the result of `fit`."""


class Collective(Stage):
    """Decides about rows from the keys of all remaining rows."""

    @abstractmethod
    def keys(self, rows: Rows, context: Context) -> dict[str, pa.Array]:
        """Return the key columns that `decide` needs, one value a row. Reference rows get the same keys."""

    @abstractmethod
    def decide(self, remaining: RemainingRows) -> duckdb.DuckDBPyRelation:
        """Return the rows to drop, in any order: row_id, reason (an index), score, partner ("file:row" of a reference
        row, else null) and partner_row_id."""


def read_reference_rows(file: InputFile, view: View, columns: Sequence[str], batch_rows: int = 4096) -> Iterator[Rows]:
    """Read the rows of a reference file in the form that a stage with this view expects; ids are rows of the file.

    The file may use the current name of a column, or its name in the input.

    Raises:
        InputError: the file lacks a column, or a record cannot be read.
    """
    names = sample_schema(file).names
    file_columns = [name if name in names else view.input_name(name) for name in columns]
    pairs = zip(file_columns, columns, strict=True)
    exists = [old in names or is_path(old, names) for old in file_columns]
    texts_of_file = [old for (old, new), found in zip(pairs, exists, strict=True) if found and new in view.text_columns]
    file = replace(file, text_columns=tuple(texts_of_file))
    for first_row, table in read_reference_file(file, file_columns):
        rows = table.column(ROW).to_numpy().astype(np.uint64) + np.uint64(first_row)
        fields = [view.schema.field(name) for name in columns]
        texts = conform(table.select(file_columns).rename_columns(list(columns)), pa.schema(fields)).combine_chunks()
        for start in range(0, max(1, len(rows)), batch_rows):
            batches = texts.slice(start, batch_rows).to_batches()
            batch = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=texts.schema)
            ids = pa.array(rows[start : start + batch_rows], pa.uint64())
            yield Rows(batch, view, ids, pa.array([file.name] * len(ids), pa.string()))


def reference_keys(context: Context, stage: Collective, rows: Rows) -> pa.Table:
    """Return the keys of reference rows, with the column `row`: their rows in the file."""
    return pa.table({"row": rows.row_ids, **stage.keys(rows, context)})

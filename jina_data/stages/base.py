"""The kinds of stages, and the view of a batch of rows that they work on.

A stage is a frozen, validated settings object. It never sees its engine: it is handed `Rows` and answers with an
`Outcome`. What a stage needs decides its kind:

- `RowLocal`: one batch at a time, in Python or a compiled kernel.
- `Scored`: one batch at a time, by scores of a model that are cached by content.
- `Sql`: one batch at a time, as DuckDB expressions; adjacent ones run as one query.
- `Barrier`: first a look at the keys of all survivors, then one batch at a time.
- `Collective`: decides about rows from the keys of all survivors, in DuckDB.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator

from jina_data.errors import RecipeError
from jina_data.read import ROW, InputFile, sample_schema
from jina_data.stages.reference import ReferenceRows, read_outside
from jina_data.stages.rows import BoolArray, FloatArray, Rows, View
from jina_data.stages.score_cache import ScoreCache

Batches = Iterator[pa.RecordBatch]

KEEP = -1
"""The reason code of a row that stays."""


@dataclass
class Outcome:
    """What a stage decided about N rows: a reason code for each (an index into the stage's `reasons`, or KEEP), the
    score the decision rests on (NaN where there is none), every score it measured, the text columns it changed, the
    texts it takes out of rows that stay, and the outside partner ("file:row", or null) of each row, if it has some.

    `removed` maps a column to a mask of the texts taken out: a bool for each row (the text becomes null), or a list of
    bools as long as the list of texts (the list becomes shorter); null where nothing is.
    """

    reason: npt.NDArray[np.int16]
    score: FloatArray
    scores: dict[str, pa.Array] = field(default_factory=dict)
    changed: dict[str, pa.Array] = field(default_factory=dict)
    removed: dict[str, pa.Array] = field(default_factory=dict)
    partner: pa.StringArray | None = None

    @classmethod
    def keep_all(cls, n_rows: int) -> Outcome:
        """Start with every row kept; `drop` then decides."""
        return cls(np.full(n_rows, KEEP, np.int16), np.full(n_rows, np.nan))

    def drop(self, rows: BoolArray, reason: int, score: FloatArray | float = np.nan) -> None:
        """Drop the rows where `rows` (N,) is true and nothing was decided yet; `score` is (N,) or one number."""
        hit = rows & (self.reason == KEEP)
        self.reason[hit] = reason
        self.score[hit] = score[hit] if isinstance(score, np.ndarray) else score


Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""Some names; one name alone is taken for a list of one."""


@dataclass(frozen=True)
class Threshold:
    """A limit on a score: a row on the side that it `keeps` stays, one on the other falls for `reason`."""

    value: float
    keeps: Literal["above", "below"]
    reason: str


class Stage(BaseModel):
    """Settings of one step of a pipeline: frozen, keyword-only, validated.

    Subclasses name themselves, the reasons they drop for, and a `version` that changes when their results change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    reasons: ClassVar[tuple[str, ...]] = ()
    uses_device: ClassVar[bool] = False
    """Whether the stage works on a GPU where there is one."""

    @field_validator("roles", mode="before", check_fields=False)
    @classmethod
    def _one_role(cls, value: Any) -> Any:
        """Take one role for a list of one."""
        return (value,) if isinstance(value, str) and value != "row" else value

    def reads(self, view: View) -> tuple[str, ...]:
        """Return the columns that the stage looks at beside the texts of the roles."""
        return ()

    def sees(self, view: View) -> tuple[str, ...]:
        """Return the columns that the stage is handed: the texts of the roles, and what it reads."""
        return tuple(dict.fromkeys([*view.text_columns, *self.reads(view)]))

    def after(self, view: View) -> View:
        """Check that the stage can work on such a table, and return what the table looks like behind it.

        Raises:
            RecipeError: a role or column it needs is not there, or has the wrong type.
        """
        return view

    def prepare(self) -> None:
        """Load what the stage works with (kernels, models), so that the first batch does not wait for it."""

    def thresholds(self, view: View) -> Mapping[str, Sequence[Threshold]]:
        """Return the limits that the report draws into the histogram of a score, by the name of the score.

        The score of the dropped rows, as it stands in the ledger, is called "score".
        """
        return {}

    def outside(self) -> tuple[str, ...]:
        """Return the names of files and run folders that the stage looks at beside the input."""
        return ()

    def process_bytes(self) -> int:
        """Return the memory that each worker needs for the stage's models, in bytes."""
        return 0

    def model_hashes(self) -> dict[str, str]:
        """Return the sha256 of every model file the results depend on, by name.

        Raises:
            ModelError: a model file is missing or cannot be loaded.
        """
        return {}


class RowLocal(Stage):
    """Decides about each row from that row alone."""

    @abstractmethod
    def apply(self, rows: Rows) -> Outcome:
        """Decide about a batch. The answer for a row does not depend on the rows beside it."""


@dataclass(frozen=True)
class Check:
    """One way to drop a row, in SQL over the stage's columns: drop where `condition` is true."""

    condition: str
    reason: int
    score: str = "NULL"


class Sql(Stage):
    """Decides about each row by DuckDB expressions, so that neighbours fuse into one query."""

    def derived(self, rows: Rows) -> dict[str, pa.Array]:
        """Return columns the expressions need beside the table's own, one value a row; names start with `__row`."""
        return {}

    @abstractmethod
    def checks(self, view: View) -> list[Check]:
        """Return the conditions under which a row is dropped, in the order in which they are tried."""

    def measured(self, view: View) -> dict[str, str]:
        """Return the scores that the stage records, by name, as SQL expressions."""
        return {}

    def projection(self, columns: Sequence[str]) -> dict[str, str]:
        """Return the columns behind this stage, by name, as SQL expressions over the `columns` at hand."""
        return {column: quoted(column) for column in columns}

    def project(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Do to a batch what `projection` does, without a query for columns that pass through untouched."""
        return batch


def refuse_look_alikes(view: View, reads: Sequence[str], stage: str) -> None:
    """Refuse to read a column where another differs from it by case alone: SQL does not tell them apart.

    Raises:
        RecipeError: there is such a pair, under the names of now or under those in the input.
    """
    for spelling in (str, view.input_name):
        for read in reads:
            alike = [name for name in view.schema.names if spelling(name).lower() == spelling(read).lower()]
            if len(alike) > 1:
                raise RecipeError(
                    f"stage {stage}: SQL cannot tell the columns {' and '.join(map(spelling, alike))} apart. "
                    "Rename one in the input, or drop one with a `select` before"
                )


def quoted(name: str) -> str:
    """Quote an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote an SQL string."""
    return "'" + text.replace("'", "''") + "'"


@dataclass
class Context:
    """What a stage may need of the run beside rows: the seed, where models run, and the scores that are known.

    `device` is "cpu" or "cuda".
    """

    seed: int = 0
    device: str = "cpu"
    cache: ScoreCache = field(default_factory=ScoreCache)


class Scored(Stage):
    """Decides about each row by what a model says of it."""

    @abstractmethod
    def apply(self, rows: Rows, context: Context) -> Outcome:
        """Decide about a batch. The answer for a row does not depend on the rows beside it."""


@dataclass
class RemainingRows:
    """The keys of all rows that reached a stage: a DuckDB relation `name` with `row_id`, `source` and the stage's own
    key columns, on the connection `con`.

    `outside` are the files that the stage named, with the keys of their rows in the relation `outside.name`.
    `fetch(row_ids)` reads the rows with these ids (ascending) as they are in front of the stage, in batches. `folder`
    is where the stage may keep files for `apply`; what it puts into `facts` (JSON) goes into the report.
    """

    con: duckdb.DuckDBPyConnection
    name: str
    context: Context = field(default_factory=Context)
    fetch: Callable[[npt.NDArray[np.uint64]], Iterator[Rows]] | None = None
    outside: ReferenceRows | None = None
    folder: Path = Path()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.context.seed


@dataclass(frozen=True)
class FitResult:
    """What a barrier stage saw when it looked at all survivors: its JSON answer, and the folder with its files."""

    facts: dict[str, Any]
    folder: Path = Path()


class Barrier(Stage):
    """Decides about each row from that row and one look at the keys of all survivors."""

    @abstractmethod
    def keys(self, rows: Rows, context: Context) -> dict[str, pa.Array]:
        """Return the key columns that `look` needs, one value a row; `apply` gets them back as `rows.keys`."""

    @abstractmethod
    def fit(self, remaining: RemainingRows) -> dict[str, Any]:
        """Look at all survivors once; the answer is JSON and is handed to `apply`."""

    @abstractmethod
    def apply(self, rows: Rows, seen: FitResult, context: Context) -> Outcome:
        """Decide about a batch, knowing what `look` saw."""


class Collective(Stage):
    """Decides about rows from the keys of all survivors."""

    @abstractmethod
    def keys(self, rows: Rows, context: Context) -> dict[str, pa.Array]:
        """Return the key columns that `decide` needs, one value a row. They are made of outside rows alike."""

    @abstractmethod
    def decide(self, remaining: RemainingRows) -> duckdb.DuckDBPyRelation:
        """Return the rows to drop: row_id, reason (an index), score, partner ("file:row" of something outside this
        run, else null) and partner_row_id, in any order."""


def outside_rows(file: InputFile, view: View, columns: Sequence[str], batch_rows: int = 4096) -> Iterator[Rows]:
    """Read the rows of an outside file as a stage with this view sees its own; their ids are rows of the file.

    A column may have its name of now, or the one it has in the input.

    Raises:
        InputError: the file lacks a column, or holds a record that cannot be read.
    """
    names = sample_schema(file).names
    given = [name if name in names else view.input_name(name) for name in columns]
    for first_row, table in read_outside(file, given):
        rows = table.column(ROW).to_numpy().astype(np.uint64) + np.uint64(first_row)
        fields = [view.schema.field(name) for name in columns]
        texts = table.select(given).rename_columns(list(columns)).cast(pa.schema(fields)).combine_chunks()
        for start in range(0, max(1, len(rows)), batch_rows):
            batches = texts.slice(start, batch_rows).to_batches()
            batch = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=texts.schema)
            ids = pa.array(rows[start : start + batch_rows], pa.uint64())
            yield Rows(batch, view, ids, pa.array([file.name] * len(ids), pa.string()))


def keys_of_outside(context: Context, stage: Collective, rows: Rows) -> pa.Table:
    """Return the keys of outside rows, and their rows in the file as `row`."""
    return pa.table({"row": rows.row_ids, **stage.keys(rows, context)})

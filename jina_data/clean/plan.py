"""The plan of a run: a recipe bound to its inputs, and cut into passes over fixed ranges of the input.

Collective and barrier stages need the keys of all remaining rows, so they separate passes. A pass contains the stages
between two of them; it starts with the row-wise part of a barrier if there is one, and ends by writing the keys for the
next collective or barrier stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from jina_data.clean.recipe import Recipe
from jina_data.errors import RecipeError
from jina_data.read import InputFile
from jina_data.read.model import ROW_BITS
from jina_data.roles import bind_roles, is_text, is_text_list, text_schema
from jina_data.stages.base import Barrier, Collective, Stage
from jina_data.stages.normalize import Normalize
from jina_data.stages.reference import resolve_reference_files
from jina_data.stages.rows import View
from jina_data.stages.select import Select

UNKNOWN_SOURCE = "(unknown)"
"""The source of a row with a null in the source column, and of a row that could not be parsed."""


@dataclass(frozen=True)
class Pass:
    """Consecutive stages, by index. `keys_for` is the stage that gets the keys of the rows that remain at the end."""

    number: int
    stages: tuple[int, ...]
    keys_for: int | None


@dataclass(frozen=True)
class InputRange:
    """A fixed range of an input file, parsed into the spool: the unit of work, of resuming and of distribution."""

    ordinal: int
    file_index: int
    number: int
    first_row: int
    n_rows: int
    n_unreadable: int
    first_line: int
    n_bytes: int

    @property
    def first_row_id(self) -> int:
        """The row id of the range's first row."""
        return (self.file_index << ROW_BITS) + self.first_row


@dataclass(frozen=True)
class Plan:
    """The settings of a run that a worker needs; each worker gets one pickled copy.

    `views[i]` is the table that stage i gets; `views[-1]` is the table after the last stage.
    """

    inputs: tuple[InputFile, ...]
    recipe: Recipe
    views: tuple[View, ...]
    passes: tuple[Pass, ...]
    batch_rows: int = 4096
    out_format: str = "parquet"
    limit: int | None = None
    device: str = "cpu"
    outside: Mapping[int, tuple[InputFile, ...]] = field(default_factory=dict)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in order."""
        return self.recipe.stages

    @property
    def writes_original(self) -> bool:
        """Whether data/ contains the texts from before `normalize`."""
        return any(isinstance(stage, Normalize) and stage.write_original for stage in self.stages)

    def process_bytes(self) -> int:
        """Return the memory that each worker needs for models, in bytes: the maximum over the stages."""
        return max((stage.process_bytes() for stage in self.stages), default=0)

    def with_schema(self, schema: pa.Schema) -> Plan:
        """Return the plan for the schema of the full input, which may be wider than the schema of the sample."""
        return replace(self, views=bind_views(schema, self.views[0].roles, self.views[0].source, self.stages))

    def fingerprint(self) -> dict[str, Any]:
        """Return all that the results depend on: the same fingerprint gives the same bytes in data/."""
        return {
            "inputs": [file.to_json() for file in self.inputs],
            "recipe": self.recipe.to_dict(),
            "roles": {role: list(names) for role, names in self.views[0].roles.items()},
            "source": self.views[0].source,
            "format": self.out_format,
            "limit": self.limit,
            "stage_versions": [f"{stage.name} {stage.version}" for stage in self.stages],
            "models": self.model_hashes(),
            "device": self.device if any(stage.uses_device for stage in self.stages) else "cpu",
            "outside": {str(index): [file.to_json() for file in files] for index, files in self.outside.items()},
        }

    def model_hashes(self) -> dict[str, str]:
        """Return the sha256 of every model file the results depend on."""
        hashes: dict[str, str] = {}
        for stage in self.stages:
            hashes |= stage.model_hashes()
        return hashes

    def file_name(self, file_index: int) -> str:
        """Return the name of an input file."""
        return self.inputs[file_index].name


def make_plan(
    inputs: Sequence[InputFile],
    schema: pa.Schema,
    recipe: Recipe,
    columns: Mapping[str, tuple[str, ...]],
    *,
    batch_rows: int = 4096,
    out_format: str = "parquet",
    limit: int | None = None,
    device: str = "cpu",
) -> tuple[Plan, str]:
    """Bind a recipe to a table.

    Args:
        inputs: the files, in order.
        schema: the columns of all files together.
        recipe: the stages; the argument `columns` overrides its `columns`.
        columns: the columns of each role, from -c.

    Returns:
        The plan, and a message about the roles that were guessed (or "").

    Raises:
        UsageError: a role is missing, or its column is not in the table.
        RecipeError: a stage cannot process this table.
    """
    # -c may use the names that columns get from a later `select`.
    input_names = {**_names_before_select(schema, recipe.stages), **{name: name for name in schema.names}}
    assigned = {
        role: tuple(input_names.get(name, name) for name in names)
        for role, names in {**recipe.columns, **columns}.items()
    }
    roles, source, assumptions = bind_roles(schema, assigned)
    text_columns = tuple(dict.fromkeys(name for names in roles.values() for name in names))
    if source is not None and source not in schema.names:
        text_columns += (source,)
    inputs = [replace(file, text_columns=text_columns) for file in inputs]
    schema = text_schema(schema, text_columns)
    _check_write_original(recipe.stages)
    views = bind_views(schema, roles, source, recipe.stages)
    outside = {
        index: resolve_reference_files(stage.reference_files())
        for index, stage in enumerate(recipe.stages)
        if stage.reference_files()
    }
    passes = cut_passes(recipe.stages)
    plan = Plan(tuple(inputs), recipe, views, passes, batch_rows, out_format, limit, device, outside)
    return plan, assumptions


def bind_views(
    schema: pa.Schema, roles: Mapping[str, tuple[str, ...]], source: str | None, stages: Sequence[Stage]
) -> tuple[View, ...]:
    """Return the table before each stage, and the table after the last.

    Raises:
        RecipeError: a stage cannot process its table, or the column of a role does not contain text.
    """
    view = View(schema, roles, source)
    views = [view]
    for stage in stages:
        if not isinstance(stage, Select):
            _check_text_types(view)
        view = stage.after(view)
        views.append(view)
    _check_text_types(view)
    return tuple(views)


def _check_text_types(view: View) -> None:
    for role, columns in view.roles.items():
        for column in columns:
            kind = view.schema.field(column).type
            if not (is_text(kind) or is_text_list(kind)):
                raise RecipeError(
                    f"column {column!r} ({role}) is {kind}, not text. Name another with -c {role}=COLUMN, "
                    f"or cast it first: - select: {{cast: {{{column}: VARCHAR}}}}"
                )


def _check_write_original(stages: Sequence[Stage]) -> None:
    flags = {stage.write_original for stage in stages if isinstance(stage, Normalize)}
    if len(flags) > 1:
        raise RecipeError(
            "the normalize stages have different values of write_original; set it for all of them or for none"
        )


def _names_before_select(schema: pa.Schema, stages: Sequence[Stage]) -> dict[str, str]:
    """Return the input name of every renamed column, by each name that a `select` gives to it."""
    origin = {name: name for name in schema.names}
    out: dict[str, str] = {}
    for stage in stages:
        if isinstance(stage, Select):
            for old, new in stage.rename.items():
                if old in origin:
                    origin[new] = out[new] = origin[old]
    return out


def cut_passes(stages: Sequence[Stage]) -> tuple[Pass, ...]:
    """Cut the stages into passes before each stage that needs all remaining rows; there is at least one pass."""
    passes: list[Pass] = []
    current: list[int] = []
    for index, stage in enumerate(stages):
        if isinstance(stage, Collective | Barrier):
            passes.append(Pass(len(passes), tuple(current), index))
            current = [index] if isinstance(stage, Barrier) else []
        else:
            current.append(index)
    if current or not passes:
        passes.append(Pass(len(passes), tuple(current), None))
    return tuple(passes)


def grouped(sized: Sequence[tuple[InputRange, int]], limit: int) -> list[list[tuple[InputRange, int]]]:
    """Group consecutive ranges, so that the sizes of a group add up to at most `limit`, or it has one range."""
    groups: list[list[tuple[InputRange, int]]] = []
    total = 0
    for piece, size in sized:
        if not groups or total + size > limit:
            groups.append([])
            total = 0
        groups[-1].append((piece, size))
        total += size
    return groups

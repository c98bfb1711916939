"""The plan of a run: inputs and recipe bound to each other, cut into passes over fixed ranges.

A pass is the stages between two looks at all survivors: it begins behind a collective stage (or with the batch part
of a barrier) and ends in front of the next, leaving the keys that one needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from jina_data.clean.recipe import Recipe
from jina_data.errors import RecipeError
from jina_data.read import InputFile
from jina_data.roles import bind_roles, is_text, is_text_list
from jina_data.stages.base import Barrier, Collective, Stage
from jina_data.stages.normalize import Normalize
from jina_data.stages.reference import resolve_reference_files
from jina_data.stages.rows import View
from jina_data.stages.select import Select

ROW_BITS = 40
"""A row id is (index of the file << ROW_BITS) + (number of the row in the file)."""

UNKNOWN_SOURCE = "(unknown)"
"""The source of a row whose source column is null, or that could not be parsed."""


@dataclass(frozen=True)
class Pass:
    """Some stages in a row, by index. `keys_for` is the stage whose keys are made for the survivors at the end."""

    number: int
    stages: tuple[int, ...]
    keys_for: int | None


@dataclass(frozen=True)
class Range:
    """A fixed range of the input, parsed into the spool: the unit of work, of resume and of distribution."""

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
    """Everything a worker needs to know: pickled once to each.

    `views[i]` is the table in front of stage i, `views[-1]` behind the last.
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
        """Whether data/ holds the texts as they were before `normalize`."""
        return any(isinstance(stage, Normalize) and stage.write_original for stage in self.stages)

    def process_bytes(self) -> int:
        """Return the memory that each worker needs for models: the most of any stage, in bytes."""
        return max((stage.process_bytes() for stage in self.stages), default=0)

    def with_schema(self, schema: pa.Schema) -> Plan:
        """Return the plan for a table that turned out wider than its sample."""
        return replace(self, views=bind_views(schema, self.views[0].roles, self.views[0].source, self.stages))

    def fingerprint(self) -> dict[str, Any]:
        """Return what decides the results: the same fingerprint gives the same bytes in data/."""
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
        schema: the columns of the table they make together.
        recipe: the stages; its `columns` are overruled by the argument of that name.
        columns: role to columns, as given with -c.

    Returns:
        The plan, and a sentence that says what was guessed (or "").

    Raises:
        UsageError: a role is missing or has no such column.
        RecipeError: a stage cannot work on this table.
    """
    wanted = {**recipe.columns, **columns}
    renamed = _renamed(schema, recipe.stages)
    wanted = {role: tuple(_front_name(name, schema, renamed) for name in names) for role, names in wanted.items()}
    roles, source, said = bind_roles(schema, wanted)
    _refuse_mixed_originals(recipe.stages)
    views = bind_views(schema, roles, source, recipe.stages)
    outside = {
        index: resolve_reference_files(stage.reference_files())
        for index, stage in enumerate(recipe.stages)
        if stage.reference_files()
    }
    passes = cut_passes(recipe.stages)
    plan = Plan(tuple(inputs), recipe, views, passes, batch_rows, out_format, limit, device, outside)
    return plan, said


def bind_views(
    schema: pa.Schema, roles: Mapping[str, tuple[str, ...]], source: str | None, stages: Sequence[Stage]
) -> tuple[View, ...]:
    """Return the table in front of each stage and behind the last.

    Raises:
        RecipeError: a stage cannot work on such a table, or a role's column does not hold text.
    """
    view = View(schema, roles, source)
    views = [view]
    for stage in stages:
        if not isinstance(stage, Select):
            _refuse_other_than_text(view)
        view = stage.after(view)
        views.append(view)
    _refuse_other_than_text(view)
    return tuple(views)


def _refuse_other_than_text(view: View) -> None:
    for role, columns in view.roles.items():
        for column in columns:
            kind = view.schema.field(column).type
            if not (is_text(kind) or is_text_list(kind)):
                raise RecipeError(
                    f"column {column!r} ({role}) is {kind}, not text. Name another with -c {role}=COLUMN, "
                    f"or cast it first: - select: {{cast: {{{column}: VARCHAR}}}}"
                )


def _refuse_mixed_originals(stages: Sequence[Stage]) -> None:
    flags = {stage.write_original for stage in stages if isinstance(stage, Normalize)}
    if len(flags) > 1:
        raise RecipeError("the normalize stages disagree about write_original; give it to all of them or to none")


def _renamed(schema: pa.Schema, stages: Sequence[Stage]) -> dict[str, str]:
    """Return the input's name of every column that a `select` renames, by each name it gets."""
    origin = {name: name for name in schema.names}
    out: dict[str, str] = {}
    for stage in stages:
        if isinstance(stage, Select):
            for old, new in stage.rename.items():
                if old in origin:
                    origin[new] = out[new] = origin[old]
    return out


def _front_name(name: str, schema: pa.Schema, renamed: Mapping[str, str]) -> str:
    return name if name in schema.names else renamed.get(name, name)


def cut_passes(stages: Sequence[Stage]) -> tuple[Pass, ...]:
    """Cut the stages where one needs to see all survivors. There is always at least one pass."""
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


def grouped(sized: Sequence[tuple[Range, int]], limit: int) -> list[list[tuple[Range, int]]]:
    """Put neighbours together until a group would pass the limit."""
    groups: list[list[tuple[Range, int]]] = []
    total = 0
    for piece, size in sized:
        if not groups or total + size > limit:
            groups.append([])
            total = 0
        groups[-1].append((piece, size))
        total += size
    return groups

"""Runs `clean`: parses the input once into the spool, runs the passes over it, and writes the outputs.

A run is a sequence of steps, and a step is a set of units of work. Each unit writes one file atomically. The file marks
the unit as done: a resumed run skips units whose file exists.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pyarrow as pa

from jina_data.clean.folder import CleanFolder
from jina_data.clean.json_lines import check_json_types
from jina_data.clean.notices import MAX_UNREADABLE, check_share
from jina_data.clean.plan import Plan, make_plan
from jina_data.clean.recipe import Recipe
from jina_data.clean.report import CleanReport
from jina_data.clean.session import CleanSession
from jina_data.embed.device import settle_device
from jina_data.engines.local import MemoryBudget
from jina_data.errors import InputError, RunFolderError
from jina_data.progress import Progress, SilentProgress
from jina_data.read import InputFile, InputOptions, input_notes, resolve_inputs, sample_schema, unite_schemas
from jina_data.read.checks import check_parseable, empty_files
from jina_data.read.memory import Inputs
from jina_data.roles import bind_roles, text_schema
from jina_data.run.inputs import RunInputs, check_apart
from jina_data.run.memory_copies import copied_inputs
from jina_data.run.resources import available_cores
from jina_data.run.resume import ResumableRun
from jina_data.stages import Stage
from jina_data.stages.where import Where

WORKER_BYTES = 4 * 2**20
"""Input bytes from which a worker pays off: starting it takes a second or two."""


@dataclass(frozen=True)
class RecipeChoice:
    """A recipe chosen on the command line: a name or path (None: by the roles of the columns), with overrides."""

    name: str | None = None
    settings: Sequence[str] = ()
    where: str | None = None
    seed: int | None = None

    def recipe_for(self, roles: Collection[str]) -> Recipe:
        """Load the recipe; without a name, load the shipped recipe for a table with these roles.

        Raises:
            RecipeError: there is no such recipe, or it does not validate.
        """
        recipe = Recipe.load(self.name or default_recipe(roles), self.settings)
        if self.where is not None:
            recipe = replace(recipe, stages=(Where(expression=self.where), *recipe.stages))
        return recipe if self.seed is None else replace(recipe, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """The inputs, the recipe and the execution settings of a run.

    `workers`, `memory_limit_bytes`, `batch_rows` and `reuse` do not change the bytes of data/. With one worker, the
    calling process does all work.
    """

    recipe: Recipe | RecipeChoice
    inputs: Inputs
    """Files, folders, patterns, URLs, `datasets:ID`, or data from memory."""
    input: InputOptions = field(default_factory=InputOptions)
    """What is known about the input files; it takes precedence over the recipe."""
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The columns of each role; without any text role, roles are inferred from the column names."""
    out_format: str = "parquet"
    limit: int | None = None
    device: str = "auto"
    workers: int = 1
    memory_limit_bytes: int = 4 * 2**30
    batch_rows: int = 4096
    reuse: Sequence[Path] = ()
    max_unreadable: float = MAX_UNREADABLE
    """The share of the records of a file from 0 to 1; a file with more unreadable records stops the run."""


def default_recipe(roles: Collection[str]) -> str:
    """Return the name of the shipped recipe for a table with these roles."""
    if "anchor" in roles:
        return "triplets" if "negative" in roles else "pairs"
    return "documents" if "text" in roles else "sentences"


def default_workers(inputs: Sequence[str]) -> int:
    """Return the number of workers for these inputs: one per core, fewer for small inputs."""
    cores = available_cores()
    paths = [Path(name) for name in inputs]
    if not all(path.is_file() for path in paths):
        return cores
    n_bytes = sum(path.stat().st_size for path in paths)
    return max(1, min(cores, n_bytes // WORKER_BYTES))


def clean(
    config: CleanConfig, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> CleanReport:
    """Run a recipe over inputs into a run folder, or resume the run that was stopped there.

    Raises:
        JinaDataError: the inputs, the recipe or the folder cannot be used; see `jina_data.errors`.
    """
    progress = progress or SilentProgress()
    check_share(config.max_unreadable)
    folder = CleanFolder(Path(out))
    folder.check_writable(overwrite=overwrite)
    with copied_inputs(config.inputs, folder.path) as inputs:
        return _clean(replace(config, inputs=inputs), folder, overwrite=overwrite, progress=progress)


def _clean(config: CleanConfig, folder: CleanFolder, *, overwrite: bool, progress: Progress) -> CleanReport:
    plan = bind_run(config, folder, overwrite=overwrite, progress=progress)
    run = ResumableRun(folder, plan.fingerprint(), progress, overwrite=overwrite)
    if run.is_finished():
        run.report_finished()
        return CleanReport.load(folder.path)
    return CleanSession(
        plan, run, share_budget(plan, config, progress), reuse=config.reuse, max_unreadable=config.max_unreadable
    ).run()


def bind_run(config: CleanConfig, folder: CleanFolder | None, *, overwrite: bool, progress: Progress) -> Plan:
    """Bind a recipe to its inputs and a folder (None: nothing will be written), and report assumptions.

    The inputs are names and input files: data from memory has been copied to files.

    Raises:
        JinaDataError: the inputs, the recipe or a folder cannot be used.
    """
    names = cast(Sequence[str | InputFile], config.inputs)
    if folder is not None:
        check_apart(names, folder.path)
        folder.check_writable(overwrite=overwrite)
    for old in config.reuse:
        check_reusable(CleanFolder(old), folder)
    given = RunInputs.open(names)
    recipe = config.recipe
    if isinstance(recipe, RecipeChoice) and recipe.name is not None:
        recipe = recipe.recipe_for(())
    options = config.input if isinstance(recipe, RecipeChoice) else recipe.input.merged(config.input)
    files = tuple(resolve_inputs(given.names, options))
    for note in input_notes(files):
        progress.message(note)
    named_schemas = [(file.name, sample_schema(file)) for file in files]
    schemas = [schema for _, schema in named_schemas]
    check_parseable(files, schemas)
    for note in empty_files(files, schemas):
        progress.message(note)
    schema = unite_schemas([file_schema for _, file_schema in named_schemas])
    columns = dict(config.columns)
    if isinstance(recipe, RecipeChoice):
        recipe = _load_default(recipe, schema, {**given.roles(columns), **columns}, progress)
    recipe, columns = carry_over(given, recipe, columns, progress)
    plan, assumptions = make_plan(
        files,
        schema,
        recipe,
        columns,
        batch_rows=config.batch_rows,
        out_format=config.out_format,
        limit=config.limit,
        device=choose_device(config.device, recipe.stages),
    )
    if assumptions:
        progress.message(assumptions)
    for stage in recipe.stages:
        if line := stage.announcement():
            progress.message(line)
    check_text_columns(named_schemas, plan.views[0].text_columns)
    if config.out_format == "jsonl":
        check_json_types(plan.views[-1].schema)
    return plan


def carry_over(
    given: RunInputs, recipe: Recipe, columns: Mapping[str, tuple[str, ...]], progress: Progress
) -> tuple[Recipe, dict[str, tuple[str, ...]]]:
    """Add the roles and licences of runs that are inputs; those that the user named come first.

    Raises:
        UsageError: the runs have different roles, and the user named none.
    """
    carried = given.roles({**recipe.columns, **columns})
    for line in given.notices(carried):
        progress.message(line)
    licenses = {**given.licenses, **recipe.licenses}
    return replace(recipe, licenses=licenses), {**carried, **columns}


def share_budget(plan: Plan, config: CleanConfig, progress: Progress) -> MemoryBudget:
    """Divide the memory limit among the workers; report if the limit allows fewer workers than requested.

    Raises:
        ResourceError: the limit is too low for one worker.
    """
    budget = MemoryBudget.share(config.memory_limit_bytes, config.workers, plan.process_bytes())
    if budget.workers < config.workers:
        progress.message(f"{budget.workers} of {config.workers} workers: the memory limit allows no more")
    return budget


def check_reusable(old: CleanFolder, new: CleanFolder | None) -> None:
    """Check that scores can be reused from a folder; `new` is the output folder of this run, if it writes any.

    Raises:
        RunFolderError: it is not the folder of a run, or it is the output folder.
    """
    if not old.manifest.exists() and not old.cache.is_dir():
        raise RunFolderError(f"--reuse {old.path}: expected the folder of an earlier run (with manifest.json)")
    if new is not None and old.path.resolve() == new.path.resolve():
        raise RunFolderError(f"--reuse {old.path} is the output folder of this run; name another with -o")


def choose_device(device: str, stages: Sequence[Stage]) -> str:
    """Return "cuda" or "cpu": the requested device, or for "auto" the available one; "cpu" if no stage runs a model.

    Raises:
        ResourceError: cuda was requested, and there is none.
    """
    return settle_device(device) if any(stage.uses_device for stage in stages) else "cpu"


def check_text_columns(named_schemas: Sequence[tuple[str, pa.Schema]], text_columns: Collection[str]) -> None:
    """Check that every file with columns has at least one text column of this run; else all its rows would be empty.

    Raises:
        InputError: a file has none.
    """
    for name, schema in named_schemas:
        if schema.names and not set(text_schema(schema, tuple(text_columns)).names) & set(text_columns):
            raise InputError(
                f"{name} has none of the text columns of this run ({', '.join(text_columns)}); its columns are "
                f"{', '.join(schema.names)}. Remove it from the inputs, or clean it in a separate run"
            )


def _load_default(
    choice: RecipeChoice, schema: pa.Schema, columns: dict[str, tuple[str, ...]], progress: Progress
) -> Recipe:
    """Load the shipped recipe for the roles of a table."""
    roles, _, _ = bind_roles(schema, columns)
    progress.message(f"recipe: {default_recipe(roles)} (choose another with -p)")
    return choice.recipe_for(roles)

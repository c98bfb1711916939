"""The Python API of clean: a pipeline of stages that runs over inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from jina_data.clean.recipe import Recipe
from jina_data.clean.report import CleanReport
from jina_data.clean.run import CleanConfig, clean
from jina_data.errors import UsageError
from jina_data.progress import Progress
from jina_data.read.memory import Inputs
from jina_data.roles import check_role
from jina_data.run.memory import memory_limit_bytes
from jina_data.stages import Stage

if TYPE_CHECKING:
    from jina_data.forecast.forecast import Forecast


class Pipeline:
    """A sequence of stages to run over raw data.

    Pipeline(Length(min_words=2), ExactDedup()).run("raw/*.parquet", "clean/")
    """

    def __init__(
        self,
        *stages: Stage,
        columns: Mapping[str, str | Sequence[str]] | None = None,
        seed: int = 0,
        licenses: Mapping[str, str] | None = None,
    ) -> None:
        if not all(isinstance(stage, Stage) for stage in stages):
            value = next(stage for stage in stages if not isinstance(stage, Stage))
            raise UsageError(f"a pipeline takes stages such as Length(min_words=2), got {value!r}")
        role_columns = {
            check_role(role): (names,) if isinstance(names, str) else tuple(names)
            for role, names in (columns or {}).items()
        }
        self.recipe = Recipe(stages=stages, columns=role_columns, seed=seed, licenses=licenses or {})

    @classmethod
    def from_recipe(cls, name_or_path: str, overrides: Sequence[str] = ()) -> Self:
        """Load a recipe file, or a shipped recipe by name; `overrides` are `stage.option=value`.

        Raises:
            RecipeError: there is no such recipe, or it does not validate.
        """
        recipe = Recipe.load(name_or_path, overrides)
        return cls(*recipe.stages, columns=recipe.columns, seed=recipe.seed, licenses=recipe.licenses)

    def run(
        self,
        inputs: Inputs,
        out: str | Path,
        *,
        workers: int = 1,
        memory_limit: str | None = None,
        batch_rows: int = 4096,
        limit: int | None = None,
        max_unreadable: float = 0.5,
        out_format: str = "parquet",
        device: str = "auto",
        reuse: str | Path | Sequence[str | Path] = (),
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> CleanReport:
        """Run the pipeline over inputs into a run folder, or resume the run that was stopped there.

        Args:
            inputs: one or several files, folders, globs, URLs or `datasets:ID`; or one or several tables in memory: of
                pyarrow, pandas, polars, datasets or DuckDB, or rows that are dicts. A mapping gives them names.
            out: the run folder.
            workers: number of processes; 1 uses the calling process. More need the usual `if __name__ == "__main__":`.
            memory_limit: memory of all processes together, such as "4GB"; None: half of the machine's memory.
            batch_rows: rows per batch.
            limit: maximum number of input rows.
            max_unreadable: stop if more than this share of the records of a file, from 0 to 1, cannot be read.
            out_format: format of data/, "parquet" or "jsonl".
            device: device of models: "auto" (a GPU if there is one), "cpu" or "cuda".
            reuse: folders of earlier runs whose model scores are reused.
            overwrite: replace an earlier run in the folder.
            progress: receives messages and progress; None shows nothing.

        Raises:
            JinaDataError: the inputs, the recipe or the folder cannot be used; see `jina_data.errors`.
        """
        return clean(
            self._config(
                inputs,
                workers=workers,
                memory_limit=memory_limit,
                batch_rows=batch_rows,
                limit=limit,
                max_unreadable=max_unreadable,
                out_format=out_format,
                device=device,
                reuse=reuse,
            ),
            out,
            overwrite=overwrite,
            progress=progress,
        )

    def plan(
        self,
        inputs: Inputs,
        *,
        workers: int = 1,
        memory_limit: str | None = None,
        batch_rows: int = 4096,
        limit: int | None = None,
        out_format: str = "parquet",
        device: str = "auto",
        reuse: str | Path | Sequence[str | Path] = (),
        progress: Progress | None = None,
    ) -> Forecast:
        """Forecast the rows, time and memory of `run` with the same arguments, from a seeded sample; writes nothing.

        Raises:
            JinaDataError: the inputs or the recipe cannot be used, as for `run`.
        """
        from jina_data.forecast.forecast import forecast

        return forecast(
            self._config(
                inputs,
                workers=workers,
                memory_limit=memory_limit,
                batch_rows=batch_rows,
                limit=limit,
                out_format=out_format,
                device=device,
                reuse=reuse,
            ),
            progress=progress,
        )

    def _config(
        self,
        inputs: Inputs,
        *,
        workers: int,
        memory_limit: str | None,
        batch_rows: int,
        limit: int | None,
        out_format: str,
        device: str,
        reuse: str | Path | Sequence[str | Path],
        max_unreadable: float = 0.5,
    ) -> CleanConfig:
        _check_choices(out_format, device)
        return CleanConfig(
            recipe=self.recipe,
            inputs=inputs,
            out_format=out_format,
            limit=limit,
            max_unreadable=max_unreadable,
            device=device,
            workers=workers,
            memory_limit_bytes=memory_limit_bytes(memory_limit),
            batch_rows=batch_rows,
            reuse=[Path(name) for name in _names(reuse)],
        )


def _names(paths: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(paths)] if isinstance(paths, str | Path) else [str(path) for path in paths]


def _check_choices(out_format: str, device: str) -> None:
    if out_format not in ("parquet", "jsonl"):
        raise UsageError(f"out_format is {out_format!r}; expected 'parquet' or 'jsonl'")
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device is {device!r}; expected 'auto', 'cpu' or 'cuda'")

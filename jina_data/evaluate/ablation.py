"""Measures the effect of each filter: trains a model on the rows kept by no filter, by each filter alone and by all.

Every variant has the same initial model, steps, batch size and seeds; only the rows differ. Variants that keep the same
rows are trained once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from jina_data.clean.recipe import Recipe
from jina_data.clean.run import CleanConfig, clean
from jina_data.embed.load import load_embedder
from jina_data.errors import UsageError
from jina_data.evaluate.ablation_report import AblateReport, VariantScores
from jina_data.evaluate.mteb_tasks import tasks_named
from jina_data.evaluate.output import need_matplotlib
from jina_data.evaluate.tasks import evaluate_tasks
from jina_data.progress import Progress, SilentProgress
from jina_data.read import resolve_inputs
from jina_data.run.files import remove, write_json
from jina_data.run.folder import RunFolder
from jina_data.run.inputs import RunInputs, check_apart
from jina_data.run.resume import ResumableRun

if TYPE_CHECKING:
    from mteb.abstasks.abstask import AbsTask

NO_FILTER, ALL = "none", "all"
START = "start"
"""The label of the model before training."""

NOT_FILTERS = ("select", "normalize", "where", "sample")
"""Stages that define the data of the ablation; they are part of every variant."""


@dataclass(frozen=True, kw_only=True)
class AblateConfig:
    """The recipe and inputs whose filters are compared, and the training and evaluation of all variants."""

    recipe: Recipe
    inputs: Sequence[str]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The columns of each role, in addition to those in the recipe."""
    tasks: tuple[str, ...]
    """Files, prefixes of files, or mteb tasks, as in `evaluate mteb`."""
    model: str = "static"
    """The model to start from, as in `train`."""
    tokenizer: str | None = None
    """The tokenizer of a preset, as in `train`."""
    phase: Literal["pairs", "triplets"] = "pairs"
    steps: int = 300
    batch_size: int = 256
    learning_rate: float | None = None
    max_length: int = 128
    seeds: int = 3
    device: str = "auto"
    workers: int = 1
    """Worker processes of `clean`."""
    memory_limit_bytes: int = 4 * 2**30
    """Memory limit of `clean`."""
    keep_models: bool = False
    """Keep the trained models, not only their scores."""

    def settings(self) -> dict[str, Any]:
        """Return the options that decide the scores, as plain data."""
        names = (
            *("tasks", "model", "tokenizer", "phase", "steps", "batch_size", "learning_rate", "max_length", "seeds"),
            "device",
        )
        return {name: list(value) if isinstance(value := getattr(self, name), tuple) else value for name in names}

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UsageError: there is no task, or a number is out of range.
        """
        if not self.tasks:
            raise UsageError("no task given. Name the tasks to evaluate with --task, such as eval/stsb.test.parquet")
        if self.seeds < 2:
            raise UsageError(f"seeds is {self.seeds}; expected 2 or more: an interval needs several runs")


class AblateFolder(RunFolder):
    """The paths of an ablation."""

    outputs: ClassVar[tuple[str, ...]] = ("clean", "runs", "scores", "report.json", "plot.png")

    def cleaned(self, variant: str) -> Path:
        """The run folder of `clean` for a variant."""
        return self.path / "clean" / variant

    def run(self, variant: str, seed: int) -> Path:
        """The run folder of `train` for a variant and seed."""
        return self.path / "runs" / f"{variant}-seed-{seed}"

    def score(self, variant: str, seed: int) -> Path:
        """The scores of a trained model."""
        return self.path / "scores" / f"{variant}-seed-{seed}.json"

    @property
    def has_progress(self) -> bool:
        """Whether a variant was cleaned or evaluated: a run that failed earlier can be repeated with other settings."""
        return any((self.path / name).exists() for name in ("clean", "scores"))

    def foreign_names(self) -> list[str]:
        """Return the names in the folder that an ablation does not write; the folders of its runs are not searched."""
        written = {"manifest.json", *self.outputs, "events.jsonl", ".work", ".trash"}
        return sorted(entry.name for entry in self.path.iterdir() if entry.name not in written)


def variants_of(recipe: Recipe) -> dict[str, Recipe]:
    """Return the recipes to compare: without filters, each filter alone, and all of them.

    Raises:
        UsageError: the recipe has no filter.
    """
    names: list[str] = []
    for stage in recipe.stages:
        n_before = sum(name.partition("#")[0] == stage.name for name in names)
        names.append(f"{stage.name}#{n_before + 1}" if n_before else stage.name)
    is_filter = [stage.name not in NOT_FILTERS for stage in recipe.stages]
    if not any(is_filter):
        raise UsageError(f"the recipe has no filter to compare; its stages are {', '.join(names) or 'none'}")

    def with_filters(chosen: Sequence[str]) -> Recipe:
        rows = zip(recipe.stages, names, is_filter, strict=True)
        return replace(recipe, stages=tuple(stage for stage, name, filters in rows if not filters or name in chosen))

    filter_names = [name for name, filters in zip(names, is_filter, strict=True) if filters]
    alone = {name: with_filters([name]) for name in filter_names}
    return {NO_FILTER: with_filters([]), **alone} | ({ALL: recipe} if len(filter_names) > 1 else {})


def ablate(
    config: AblateConfig, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> AblateReport:
    """Run an ablation into a folder, or resume the run in it.

    Raises:
        JinaDataError: recipe, inputs, tasks, model or folder cannot be used.
    """
    progress = progress or SilentProgress()
    folder = AblateFolder(Path(out))
    check_apart(config.inputs, folder.path)
    given = RunInputs.open(config.inputs)
    for line in given.notices(given.roles({**config.recipe.columns, **config.columns})):
        progress.message(line)
    variants = variants_of(replace(config.recipe, columns={**config.recipe.columns, **config.columns}))
    run = ResumableRun(folder, _fingerprint(variants, config), progress, overwrite=overwrite)
    if run.is_finished():
        run.report_finished()
        return AblateReport.load(folder.path)
    with run.session():
        if not run.is_complete:
            session = _AblationSession(folder, config, progress)
            report = AblateReport(folder.path, session.run(variants), config.settings())
            report.write(folder.out)
            run.mark_complete({"kind": "ablate"})
        if not config.keep_models:
            remove(folder.path / "runs")
        run.finish()
    return AblateReport.load(folder.path)


@dataclass
class _AblationSession:
    """A session of an ablation."""

    folder: AblateFolder
    config: AblateConfig
    progress: Progress

    def __post_init__(self) -> None:
        from jina_data.train.models import check_start

        check_start(self.config.model, has_tokenizer=self.config.tokenizer is not None)
        self.tasks: list[AbsTask] = tasks_named(self.config.tasks)
        need_matplotlib("jina-data ablate")

    def run(self, variants: Mapping[str, Recipe]) -> list[VariantScores]:
        """Clean, train and evaluate all variants; finished steps are not repeated."""
        start = self._scores(START, self.config.model)
        variant_scores = [VariantScores(START, None, None, [start])]
        n_trained = len(variants) * self.config.seeds
        rows: dict[str, int] = {}
        data: dict[str, str] = {}
        for number, (name, recipe) in enumerate(variants.items(), 1):
            self.progress.message(f"cleaning {number} of {len(variants)}: {name}")
            report = clean(self._clean_config(recipe), self.folder.cleaned(name))
            rows[name], data[name] = report.rows.kept, _kept_sha256(self.folder.cleaned(name))
        for index, name in enumerate(variants):
            # The first variant with the same rows is trained; the others share its scores.
            twin = next(other for other in variants if data[other] == data[name])
            for seed in range(self.config.seeds):
                if twin == name:
                    number = index * self.config.seeds + seed + 1
                    self.progress.message(f"training {number} of {n_trained}: {name}, seed {seed}, {rows[name]:,} rows")
                    self._train(name, seed)
            scores = [self.folder.read_json(self.folder.score(twin, seed)) for seed in range(self.config.seeds)]
            variant_scores.append(VariantScores(name, rows[name], twin if twin != name else None, scores))
        return variant_scores

    def _clean_config(self, recipe: Recipe) -> CleanConfig:
        config = self.config
        return CleanConfig(
            recipe=recipe,
            inputs=config.inputs,
            device=config.device,
            workers=config.workers,
            memory_limit_bytes=config.memory_limit_bytes,
        )

    def _train(self, name: str, seed: int) -> None:
        from jina_data.train import TrainConfig, Trainer

        if self.folder.score(name, seed).exists():
            return
        config, run = self.config, self.folder.run(name, seed)
        train_config = TrainConfig(
            phase=config.phase,
            inputs=(str(self.folder.cleaned(name)),),
            model=config.model,
            tokenizer=config.tokenizer,
            steps=config.steps,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            max_length=config.max_length,
            seed=seed,
            device=config.device,
        )
        report = Trainer(train_config, run).run()
        scores = self._scores(f"{name}-{seed}", str(report.model))
        write_json(self.folder.score(name, seed), scores | {"loss": report.last_loss})
        if not self.config.keep_models:
            remove(run)

    def _scores(self, label: str, model: str) -> dict[str, float]:
        """Return the scores of a model by task; none for a preset before training."""
        if label == START and self.config.tokenizer is not None:
            return {}
        from jina_data.embed.device import settle_device

        embedder = load_embedder(model, settle_device(self.config.device))
        scores = evaluate_tasks(self.tasks, [embedder], labels=[label]).models[0]
        return {name: score.value for name, score in scores.tasks.items()}


def _kept_sha256(run: Path) -> str:
    """Return a hash of the rows that a run of `clean` kept."""
    digest = hashlib.sha256()
    for path in sorted((run / "data").iterdir()):
        with path.open("rb") as source:
            digest.update(hashlib.file_digest(source, "sha256").digest())
    return digest.hexdigest()


def _fingerprint(variants: Mapping[str, Recipe], config: AblateConfig) -> dict[str, Any]:
    from jina_data.train.trainer import VERSION

    files = [{"name": file.name, "size": file.size} for file in resolve_inputs(RunInputs.open(config.inputs).names)]
    recipes = {name: recipe.to_dict() for name, recipe in variants.items()}
    return {"inputs": files, "recipe": recipes, "settings": config.settings(), "version": VERSION}

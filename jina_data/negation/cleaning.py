"""Clean the pairs of a run by a recipe before a negative is written for them."""

from __future__ import annotations

import pyarrow.parquet as pq

from jina_data.errors import InputError
from jina_data.negation.folder import NegationFolder
from jina_data.negation.sources import COUNTS, PAIR_SCHEMA
from jina_data.progress import Progress
from jina_data.run.folder import whole_path, write_json


def clean_pairs(folder: NegationFolder, recipe: str, seed: int, progress: Progress) -> None:
    """Run a recipe over the pairs; the anchor is its anchor, the entailment its positive.

    Raises:
        JinaDataError: the recipe does not fit, or leaves nothing.
    """
    from jina_data.clean.run import RecipeChoice, RunOptions, clean, default_workers

    inner = folder.work / "clean"
    report = clean(
        RecipeChoice(recipe, seed=seed),
        [str(folder.pairs)],
        inner,
        columns={"anchor": ("anchor",), "positive": ("entailment",), "source": ("source",)},
        options=RunOptions(workers=default_workers([str(folder.pairs)])),
        progress=progress,
    )
    if not report.rows.kept:
        raise InputError(f"the recipe {recipe} drops all {report.rows.read:,} pairs; choose a milder one with --recipe")
    rows = report.to_json()["rows"]
    stages = [{"name": stage.name, "dropped": dict(stage.dropped)} for stage in report.stages]
    write_json(folder.cleaned, {"recipe": recipe, "rows": rows, "stages": stages})
    said = pq.read_metadata(folder.pairs).metadata[COUNTS]
    with whole_path(folder.clean_pairs) as temporary, pq.ParquetWriter(temporary, PAIR_SCHEMA) as sink:
        sink.add_key_value_metadata({COUNTS: said})
        for part in sorted((inner / "data").glob("part-*.parquet")):
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(4096, columns=PAIR_SCHEMA.names):
                    sink.write_batch(batch.cast(PAIR_SCHEMA))

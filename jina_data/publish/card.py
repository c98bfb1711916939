"""The card of a data set: YAML for the Hub and `datasets`, and a page for people, filled from the run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from jina_data.html.page import template_environment, visible
from jina_data.publish.facts import Facts, Source
from jina_data.publish.layout import FULL
from jina_data.publish.licenses import Licence
from jina_data.publish.repository import RECIPE, Built
from jina_data.publish.survey import example_rows
from jina_data.stages import STAGES

EXAMPLE_CHARS = 400

SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B", "10B<n<100B")
"""The buckets of sizes that the Hub knows, each ten times the one before."""

MARK = "jina-data"
"""The tag by which a card tells that it was written here."""

LICENSE_FILE = "LICENSE.md"


@dataclass(frozen=True)
class CardInput:
    """What a card is filled from."""

    repo_id: str
    facts: Facts
    built: Built
    licence: Licence
    excluded: Sequence[Source]

    @property
    def title(self) -> str:
        """The name of the data set for people."""
        return self.repo_id.rsplit("/", 1)[-1]


def render_card(card: CardInput) -> str:
    """Return README.md: the same for the same run and settings, whenever it is made."""
    return f"---\n{card_yaml(card)}\n---\n\n{_body(card)}"


def card_yaml(card: CardInput) -> str:
    """Return the metadata, built by the classes with which the Hub and `datasets` read it."""
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(**_metadata(card))
    default, *_ = card.built.configs
    infos, configs = DatasetInfosDict(), MetadataConfigs()
    for config in card.built.configs:
        schema = card.built.schemas[config.name]
        splits = SplitDict()
        for split in config.splits:
            splits.add(SplitInfo(split.name, split.num_bytes, split.rows))
        infos[config.name] = DatasetInfo(
            features=Features.from_arrow_schema(schema),
            splits=splits,
            download_size=config.download_size,
            dataset_size=sum(split.num_bytes for split in config.splits),
        )
        files = [{"split": split.name, "path": f"{config.name}/{split.name}-*"} for split in config.splits]
        configs[config.name] = {"data_files": files, **({"default": True} if config is default else {})}
    infos.to_dataset_card_data(data)
    configs.to_dataset_card_data(data)
    return str(data.to_yaml(line_break="\n"))


def _metadata(card: CardInput) -> dict[str, Any]:
    ids = list(card.licence.ids)
    facts = card.facts
    pairs = card.built.layout.name != "document"
    values: dict[str, Any] = {
        "license": ids[0] if len(ids) == 1 else ids,
        "pretty_name": card.title,
        "size_categories": [size_category(sum(split.rows for split in card.built.configs[0].splits))],
        "task_categories": [*(["sentence-similarity"] if pairs else []), "feature-extraction"],
        "tags": ["sentence-transformers", MARK, *(["synthetic"] if facts.synthetic else [])],
    }
    values |= {"language": list(facts.languages)} if facts.languages else {}
    values |= {"source_datasets": list(facts.hub_sources)} if facts.hub_sources else {}
    values |= {"annotations_creators": ["machine-generated"]} if facts.synthetic else {}
    values |= {"license_name": "see-license-file", "license_link": LICENSE_FILE} if ids == ["other"] else {}
    return values


def size_category(rows: int) -> str:
    """Return the bucket that a number of rows falls into."""
    for power, name in enumerate(SIZES):
        if rows < 1000 * 10**power:
            return name
    return "100B<n<1T" if rows < 10**12 else "n>1T"


def _body(card: CardInput) -> str:
    environment = template_environment(is_html=False)
    environment.filters |= {"cell": cell, "fenced": fenced}
    default, *_ = card.built.configs
    examples = [card.built.layout.project(batch) for batch in card.built.seen.examples]
    return environment.get_template("card.md").render(
        card=card,
        facts=card.facts,
        default=default,
        full=next(config for config in card.built.configs if config.name == FULL),
        has_recipe=bool(card.facts.recipe),
        recipe=short_recipe(card.facts.recipe),
        recipe_file=RECIPE,
        read=card.facts.steps[0].rows_in if card.facts.steps else 0,
        examples=json.dumps(example_rows(examples, EXAMPLE_CHARS), indent=2, ensure_ascii=False, default=str),
        key=re.sub(r"[^A-Za-z0-9]+", "-", card.repo_id),
    )


def short_recipe(text: str) -> str:
    """Return a recipe without the options that are at their defaults."""
    recipe = yaml.safe_load(text) if text else None
    if not isinstance(recipe, dict):
        return text
    stages: list[Any] = []
    for stage in recipe.get("stages", []):
        name, options = next(iter(stage.items()))
        defaults = {
            key: field.get_default(call_default_factory=True) for key, field in STAGES[name].model_fields.items()
        }
        told = {key: value for key, value in (options or {}).items() if not _same(value, defaults.get(key))}
        stages.append({name: told} if told else name)
    columns = {"columns": recipe["columns"]} if recipe.get("columns") else {}
    return yaml.safe_dump(
        {**columns, "seed": recipe.get("seed", 0), "stages": stages}, sort_keys=False, allow_unicode=True, width=100
    )


def _same(value: Any, default: Any) -> bool:
    return bool(value == (list(default) if isinstance(default, tuple) else default))


def cell(value: Any) -> str:
    """Return a value for a cell of a table: in one line, nothing in it means anything to Markdown or HTML."""
    text = " ".join(str(visible(str(value))).split())
    return re.sub(r"([\\|`*_\[\]<>#~])", r"\\\1", text)


def fenced(text: str, language: str = "") -> str:
    """Return a text as a block of code, which no backticks in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def license_page(licence: Licence) -> str:
    """Return LICENSE.md of a repository whose licence has no id of its own."""
    lines = ["# Licence", "", "The texts come from these sources, each under its own terms:", ""]
    for one in licence.by_source:
        lines.append(
            f"- {cell(one.source.shown)}: {one.license or 'not known'}{f' ({one.told_by})' if one.told_by else ''}"
        )
    return "\n".join(lines) + "\n"

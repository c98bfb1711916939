"""Renders the card of a dataset: YAML metadata for the Hub and `datasets`, and a page in Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from jina_data.errors import UsageError
from jina_data.html.page import MAX_ROWS, n_more, template_environment, visible
from jina_data.publish.facts import CardFacts, PublishedSource
from jina_data.publish.layout import FULL
from jina_data.publish.licenses import RepositoryLicense, SourceLicense
from jina_data.publish.repository import RECIPE, BuiltDataset
from jina_data.publish.survey import example_rows
from jina_data.stages import STAGES

EXAMPLE_CHARS = 400

SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B", "10B<n<100B")
"""The size categories of the Hub, each ten times the previous one."""

CARD_TAG = "jina-data"
"""The tag of cards that jina-data wrote."""

LICENSE_FILE = "LICENSE.md"


@dataclass(frozen=True)
class CardInput:
    """The input of a card."""

    repo_id: str
    facts: CardFacts
    dataset: BuiltDataset
    license: RepositoryLicense
    excluded: Sequence[PublishedSource]

    @property
    def shown_sources(self) -> Sequence[SourceLicense]:
        """The sources with the most rows, with their licenses."""
        entries = self.license.by_source
        if not n_more(entries):
            return entries
        return sorted(entries, key=lambda entry: -entry.source.rows)[:MAX_ROWS]

    @property
    def title(self) -> str:
        """The display name of the dataset."""
        return self.repo_id.rsplit("/", 1)[-1]


def render_card(card: CardInput) -> str:
    """Return README.md, which depends only on the run and the settings."""
    return f"---\n{card_yaml(card)}\n---\n\n{_body(card)}"


def card_yaml(card: CardInput) -> str:
    """Return the metadata, built with the classes that the Hub and `datasets` use to read it."""
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(**_metadata(card))
    default, *_ = card.dataset.configs
    infos, configs = DatasetInfosDict(), MetadataConfigs()
    for config in card.dataset.configs:
        schema = card.dataset.schemas[config.name]
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
    ids = list(card.license.ids)
    facts = card.facts
    pairs = card.dataset.layout.name != "document"
    values: dict[str, Any] = {
        "license": ids[0] if len(ids) == 1 else ids,
        "pretty_name": card.title,
        "size_categories": [size_category(sum(split.rows for split in card.dataset.configs[0].splits))],
        "task_categories": [*(["sentence-similarity"] if pairs else []), "feature-extraction"],
        "tags": ["sentence-transformers", CARD_TAG, *(["synthetic"] if facts.synthetic else [])],
    }
    values |= {"language": list(facts.languages)} if facts.languages else {}
    values |= {"source_datasets": list(facts.hub_sources)} if facts.hub_sources else {}
    values |= {"annotations_creators": ["machine-generated"]} if facts.synthetic else {}
    values |= {"license_name": "see-license-file", "license_link": LICENSE_FILE} if ids == ["other"] else {}
    return values


def check_languages(codes: Sequence[str]) -> tuple[str, ...]:
    """Return codes of languages.

    Raises:
        UsageError: a code is not one of ISO 639, such as en or deu.
    """
    for code in codes:
        if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*|code|multilingual", code):
            raise UsageError(f"--language {code}: expected a code of a language, such as en, de or zh")
    return tuple(dict.fromkeys(codes))


def size_category(rows: int) -> str:
    """Return the size category of a number of rows."""
    for power, name in enumerate(SIZES):
        if rows < 1000 * 10**power:
            return name
    return "100B<n<1T" if rows < 10**12 else "n>1T"


def _body(card: CardInput) -> str:
    environment = template_environment(is_html=False)
    environment.filters |= {"cell": cell, "fenced": fenced}
    default, *_ = card.dataset.configs
    examples = [card.dataset.layout.project(batch) for batch in card.dataset.survey.examples]
    return environment.get_template("card.md").render(
        card=card,
        facts=card.facts,
        default=default,
        full=next(config for config in card.dataset.configs if config.name == FULL),
        has_recipe=bool(card.facts.recipe),
        recipe=short_recipe(card.facts.recipe),
        recipe_file=RECIPE,
        read=card.facts.steps[0].rows_in if card.facts.steps else 0,
        examples=json.dumps(example_rows(examples, EXAMPLE_CHARS), indent=2, ensure_ascii=False, default=str),
        key=re.sub(r"[^A-Za-z0-9]+", "-", card.repo_id),
    )


def short_recipe(text: str) -> str:
    """Return a recipe without the options that have their default values."""
    recipe = yaml.safe_load(text) if text else None
    if not isinstance(recipe, dict):
        return text
    stages: list[Any] = []
    for stage in recipe.get("stages", []):
        name, options = next(iter(stage.items()))
        # A stage of the user may not be known here; then all of its options are shown.
        options_of = STAGES[name].model_fields if name in STAGES else {}
        defaults = {key: field.get_default(call_default_factory=True) for key, field in options_of.items()}
        changed = {key: value for key, value in (options or {}).items() if not _is_default(value, defaults.get(key))}
        stages.append({name: changed} if changed else name)
    columns = {"columns": recipe["columns"]} if recipe.get("columns") else {}
    return yaml.safe_dump(
        {**columns, "seed": recipe.get("seed", 0), "stages": stages}, sort_keys=False, allow_unicode=True, width=100
    )


def _is_default(value: Any, default: Any) -> bool:
    return bool(value == (list(default) if isinstance(default, tuple) else default))


def cell(value: Any) -> str:
    """Return a value as one line for a table cell, with Markdown and HTML characters escaped."""
    text = " ".join(str(visible(str(value))).split())
    return re.sub(r"([\\|`*_\[\]<>#~])", r"\\\1", text)


def fenced(text: str, language: str = "") -> str:
    """Return a text as a fenced code block, with a fence longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def license_page(license_: RepositoryLicense) -> str:
    """Return LICENSE.md, for a repository with the license id `other`."""
    lines = ["# License", "", "The texts come from these sources. Each source has its own terms:", ""]
    shown = sorted(license_.by_source, key=lambda entry: -entry.source.rows)[:MAX_ROWS]
    for entry in shown if n_more(license_.by_source) else license_.by_source:
        basis = f" ({entry.basis})" if entry.basis else ""
        lines.append(f"- {cell(entry.source.public_name)}: {entry.license or 'unknown'}{basis}")
    if n := n_more(license_.by_source):
        ids = sorted({entry.license or "unknown" for entry in license_.by_source})
        lines.append(f"- and {n:,} more sources; all licenses: {', '.join(ids)}")
    return "\n".join(lines) + "\n"

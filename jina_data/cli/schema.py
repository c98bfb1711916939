"""jina-data schema."""

from __future__ import annotations

import json

import click


@click.command(name="schema")
def command() -> None:
    """Print the JSON Schema of recipes, for editors.

    Save it and name it in the first line of a recipe, and editors complete and check the file as you type:

    \b
    # yaml-language-server: $schema=recipe.schema.json
    """
    from jina_data.clean.recipe import recipe_schema

    click.echo(json.dumps(recipe_schema(), indent=2))

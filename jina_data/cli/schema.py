"""The command jina-data schema."""

from __future__ import annotations

import json

import click


@click.command(name="schema")
def command() -> None:
    """Print the JSON Schema of recipes, for editors.

    Save the schema to a file and name that file in the first line of a recipe. Editors with YAML support then complete
    and validate the recipe:

    \b
      jina-data schema > recipe.schema.json

    \b
      # yaml-language-server: $schema=recipe.schema.json
    """
    from jina_data.clean.recipe import recipe_schema

    click.echo(json.dumps(recipe_schema(), indent=2))

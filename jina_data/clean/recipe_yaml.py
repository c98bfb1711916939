"""Reads YAML as recipes mean it: a word is text, also `no` (Norwegian), `on` or a date, and so is every key."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from typing import Any

import yaml


class RecipeLoader(yaml.SafeLoader):
    """Reads only true, false, null and decimal numbers as such; any other word, and every key, is text.

    YAML 1.1 reads `no`, `yes`, `on` and `off` as booleans, 2024-01-05 as a date and 12:30 as 750. Options that are
    switches accept these words anyway.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping whose keys are as written."""
        self.flatten_mapping(node)
        return {
            key.value if isinstance(key, yaml.ScalarNode) else self.construct_object(key, deep=deep): (
                self.construct_object(value, deep=deep)
            )
            for key, value in node.value
        }


_PLAIN = {
    "tag:yaml.org,2002:bool": re.compile("^(?:true|True|TRUE|false|False|FALSE)$"),
    "tag:yaml.org,2002:null": re.compile("^(?:null|Null|NULL|~|)$"),
    "tag:yaml.org,2002:int": re.compile("^[-+]?(?:0|[1-9][0-9_]*)$"),
    "tag:yaml.org,2002:float": re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$"
    ),
    "tag:yaml.org,2002:merge": re.compile("^<<$"),
}
RecipeLoader.yaml_implicit_resolvers = {None: list(_PLAIN.items())}


def shown(value: object) -> str:
    """Return a value as a recipe writes it."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = str(value)
    return f"'{value}'" if isinstance(value, str) else text


def quoting_hint(value: object) -> str:
    """Return the advice to quote a value that should be text."""
    if value is None or isinstance(value, bool | int | float):
        return f"; for the text, write it in quotes: '{shown(value)}'"
    return ""

"""Recipes: the settings of a pipeline, read from YAML and validated; errors name the line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import ValidationError

from jina_data.errors import JinaDataError, RecipeError
from jina_data.read.options import InputOptions, problem_text
from jina_data.roles import ROLE_ORDER, check_role
from jina_data.stages import STAGES, Stage

_KEYS = ("columns", "input", "seed", "licenses", "stages")

SHORTHANDS = {"where": "expression"}
"""Stages that may be written as `name: value`, and the option that gets the value."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The columns of each role, the stages in order, and the random seed of a run.

    `licenses` maps sources to licence ids of the Hub; publishing needs them, cleaning does not.
    """

    stages: tuple[Stage, ...]
    columns: Mapping[str, tuple[str, ...]]
    seed: int = 0
    licenses: Mapping[str, str] = field(default_factory=dict)
    input: InputOptions = field(default_factory=InputOptions)
    """What is known about the input files."""

    @classmethod
    def load(cls, name_or_path: str, overrides: Sequence[str] = ()) -> Self:
        """Load a recipe file, or a shipped recipe by name; `overrides` are `stage.option=value`.

        Raises:
            RecipeError: there is no such recipe, or it does not validate.
        """
        path = find_recipe(name_or_path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"recipe {name_or_path} cannot be read: {error}") from None
        return cls.parse(text, str(path), overrides)

    @classmethod
    def parse(cls, text: str, file: str = "recipe", overrides: Sequence[str] = ()) -> Self:
        """Parse the YAML of a recipe; `file` is its name in errors."""
        draft = _Draft.read(text, file)
        for override in overrides:
            draft.override(override)
        return cls(
            stages=draft.build_stages(),
            columns=draft.columns,
            seed=draft.seed,
            licenses=draft.licenses,
            input=draft.input,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe with every setting, as plain data."""
        stages = [{stage.name: stage.model_dump(mode="json")} for stage in self.stages]
        return {
            "columns": {role: list(names) for role, names in self.columns.items()},
            **({"input": self.input.to_json()} if self.input.to_json() else {}),
            "seed": self.seed,
            **({"licenses": dict(self.licenses)} if self.licenses else {}),
            "stages": stages,
        }

    @property
    def sha256(self) -> str:
        """The sha256 of the recipe with every setting."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def recipe_folder() -> Path:
    """Return the folder of the shipped recipes: inside the wheel, or at the root of a checkout."""
    installed = Path(str(resources.files("jina_data"))) / "pipelines"
    return installed if installed.is_dir() else installed.parent.parent / "pipelines"


def shipped_recipes() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(path.stem for path in recipe_folder().glob("*.yaml"))


def find_recipe(name_or_path: str) -> Path:
    """Return the path of a recipe, given its path or the name of a shipped recipe.

    Raises:
        RecipeError: there is no such recipe.
    """
    shipped = recipe_folder() / f"{name_or_path}.yaml"
    if name_or_path in shipped_recipes():
        return shipped
    if Path(name_or_path).is_file():
        return Path(name_or_path)
    near = get_close_matches(name_or_path, shipped_recipes(), 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise RecipeError(
        f"no recipe {name_or_path!r}: neither a file nor a shipped recipe ({', '.join(shipped_recipes())}).{hint}"
    )


@dataclass
class _StageDraft:
    """A stage before validation: its options, and the lines or -s options that set them."""

    name: str
    options: dict[str, Any]
    location: str
    option_locations: dict[str, str]

    def build(self) -> Stage:
        try:
            return STAGES[self.name](**self.options)
        except ValidationError as error:
            raise RecipeError("\n".join(self._explain(problem) for problem in error.errors())) from None

    def _explain(self, problem: Any) -> str:
        path = [str(part) for part in problem["loc"]]
        location = self.option_locations.get(path[0], self.location) if path else self.location
        if problem["type"] == "extra_forbidden":
            options = list(STAGES[self.name].model_fields)
            return f"{location}: stage {self.name} has no option {path[0]!r}{_suggest(path[0], options)}"
        option = f" {path[0]}" if path else ""
        message = problem["msg"].removeprefix("Value error, ")
        got = f", got {problem['input']!r}" if path and problem["type"] != "missing" else ""
        return f"{location}: stage {self.name}{option}: {message}{got}"


@dataclass
class _Draft:
    """A recipe before its stages are validated."""

    file: str
    columns: dict[str, tuple[str, ...]]
    seed: int
    licenses: dict[str, str]
    input: InputOptions
    stages: list[_StageDraft]

    @classmethod
    def read(cls, text: str, file: str) -> Self:
        root = _compose(text, file)
        entries = _mapping(root, file, "a recipe is a mapping with the keys columns, input, seed, licenses and stages")
        for key, (node, _) in entries.items():
            if key not in _KEYS:
                raise RecipeError(f"{_line(file, node)}: unknown key {key!r}{_suggest(key, _KEYS)}")
        if "stages" not in entries:
            raise RecipeError(f"{file}: no stages; expected a list under the key `stages`")
        return cls(
            file,
            cls._read_columns(entries, file),
            cls._read_seed(entries, file),
            cls._read_licenses(entries, file),
            cls._read_input(entries, file),
            cls._read_stages(entries, file),
        )

    @staticmethod
    def _read_columns(entries: _Entries, file: str) -> dict[str, tuple[str, ...]]:
        if "columns" not in entries:
            return {}
        columns: dict[str, tuple[str, ...]] = {}
        for role, (key, node) in _mapping(entries["columns"][1], file, "columns maps roles to columns").items():
            value = _plain(node, file)
            names = tuple(value) if isinstance(value, list) else (value,)
            if not names or not all(isinstance(name, str) and name for name in names):
                raise RecipeError(
                    f"{_line(file, node)}: {role}: expected the name of a column or a list of names, got {value!r}"
                )
            try:
                columns[check_role(role)] = names
            except JinaDataError as error:
                raise RecipeError(f"{_line(file, key)}: {error}") from None
        return columns

    @staticmethod
    def _read_seed(entries: _Entries, file: str) -> int:
        if "seed" not in entries:
            return 0
        seed = _plain(entries["seed"][1], file)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise RecipeError(f"{_line(file, entries['seed'][1])}: seed: expected a whole number, got {seed!r}")
        return seed

    @staticmethod
    def _read_licenses(entries: _Entries, file: str) -> dict[str, str]:
        if "licenses" not in entries:
            return {}
        expected = "licenses maps sources to ids of licences, such as {questions.jsonl: cc-by-4.0}"
        licenses = {}
        for source, (_, node) in _mapping(entries["licenses"][1], file, expected).items():
            value = _plain(node, file)
            if not isinstance(value, str) or not value:
                raise RecipeError(f"{_line(file, node)}: {source}: expected the id of a licence, got {value!r}")
            licenses[source] = value
        return licenses

    @staticmethod
    def _read_input(entries: _Entries, file: str) -> InputOptions:
        if "input" not in entries:
            return InputOptions()
        expected = "input maps options of the input files to values, such as {delimiter: tab}"
        values = {}
        lines = {}
        for name, (key, node) in _mapping(entries["input"][1], file, expected).items():
            values[name], lines[name] = _plain(node, file), _line(file, key)
        try:
            return InputOptions(**values)
        except ValidationError as error:
            problems = [(problem, str((*problem["loc"], "input")[0])) for problem in error.errors()]
            texts = (f"{lines.get(name, file)}: {problem_text(problem)}" for problem, name in problems)
            raise RecipeError("\n".join(texts)) from None

    @staticmethod
    def _read_stages(entries: _Entries, file: str) -> list[_StageDraft]:
        node = entries["stages"][1]
        if not isinstance(node, yaml.SequenceNode):
            raise RecipeError(f"{_line(file, node)}: stages: expected a list, such as `- length: {{min_words: 2}}`")
        return [_read_stage(item, file) for item in node.value]

    def override(self, text: str) -> None:
        """Apply one `stage.option=value`; if a stage occurs several times, `stage#2` names the second."""
        target, equals, value = text.partition("=")
        name, dot, option = target.partition(".")
        if not (equals and dot and option):
            raise RecipeError(f"-s {text}: expected STAGE.OPTION=VALUE, for example -s length.min_words=3")
        base, _, number = name.partition("#")
        matching = [stage for stage in self.stages if stage.name == base]
        if not matching:
            names = list(dict.fromkeys(stage.name for stage in self.stages))
            raise RecipeError(f"-s {text}: the recipe has no stage {base!r}{_suggest(base, names)}")
        if len(matching) > 1 and not number:
            raise RecipeError(
                f"-s {text}: the recipe has {len(matching)} stages {base!r}; choose one: {base}#1.{option}"
            )
        position = int(number) if number.isdecimal() else 1 if not number else 0
        if not 1 <= position <= len(matching):
            stages = f"{len(matching)} stage{'s' if len(matching) > 1 else ''}"
            raise RecipeError(f"-s {text}: {name!r}: the recipe has {stages} {base!r}")
        stage = matching[position - 1]
        try:
            stage.options[option] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise RecipeError(f"-s {text}: the value is not valid YAML: {_problem(error)}") from None
        stage.option_locations[option] = f"-s {text}"

    def build_stages(self) -> tuple[Stage, ...]:
        return tuple(stage.build() for stage in self.stages)


_Entries = dict[str, tuple[yaml.Node, yaml.Node]]


def _read_stage(item: yaml.Node, file: str) -> _StageDraft:
    location = _line(file, item)
    if isinstance(item, yaml.ScalarNode):
        return _StageDraft(_check_stage_name(str(item.value), location), {}, location, {})
    entries = _mapping(item, file, "a stage is a name, or a name with its options")
    if len(entries) != 1:
        raise RecipeError(f"{location}: expected one stage, got {', '.join(entries) or 'none'}; start each with a dash")
    name, (key, node) = next(iter(entries.items()))
    _check_stage_name(name, _line(file, key))
    if name in SHORTHANDS and isinstance(node, yaml.ScalarNode) and node.value:
        option = SHORTHANDS[name]
        return _StageDraft(name, {option: str(node.value)}, location, {option: _line(file, node)})
    if isinstance(node, yaml.ScalarNode) and (not node.value or _plain(node, file) is None):
        return _StageDraft(name, {}, location, {})
    options = _mapping(node, file, f"the options of {name} are a mapping such as {{option: value}}")
    values = {option: _plain(value, file) for option, (_, value) in options.items()}
    return _StageDraft(name, values, location, {option: _line(file, key) for option, (key, _) in options.items()})


def _check_stage_name(name: str, location: str) -> str:
    if name not in STAGES:
        raise RecipeError(f"{location}: unknown stage {name!r}{_suggest(name, list(STAGES))}")
    return name


def _compose(text: str, file: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = (error.problem_mark or error.context_mark) if isinstance(error, yaml.MarkedYAMLError) else None
        line = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(f"{file}{line}: not valid YAML: {_problem(error)}") from None
    if node is None:
        raise RecipeError(f"{file}: the recipe is empty; expected the key `stages`")
    return node


def _mapping(node: yaml.Node, file: str, expected: str) -> _Entries:
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{_line(file, node)}: {expected}; got {_plain(node, file)!r}")
    entries: _Entries = {}
    for key, value in node.value:
        name = str(key.value)
        if name in entries:
            raise RecipeError(f"{_line(file, key)}: {name!r} occurs twice")
        entries[name] = (key, value)
    return entries


def _plain(node: yaml.Node, file: str) -> Any:
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{_line(file, node)}: not valid YAML: {_problem(error)}") from None


def _problem(error: Exception) -> str:
    """Return the message of a YAML error in one line, without the position."""
    problem = (error.problem or error.context) if isinstance(error, yaml.MarkedYAMLError) else None
    return problem or " ".join(str(error).split())


def _line(file: str, node: yaml.Node) -> str:
    return f"{file}, line {node.start_mark.line + 1}"


def _suggest(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{hint} Known: {', '.join(names)}"


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema of recipe files, for editors."""
    stages: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    bare = []
    for name, stage in STAGES.items():
        schema = stage.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= schema.pop("$defs", {})
        if not schema.get("required"):
            bare.append(name)
        options: dict[str, Any] = {"anyOf": [schema, {"type": "null"}]} if name in bare else schema
        if name in SHORTHANDS:
            options = {"anyOf": [options, {"type": "string"}]}
        stages.append(
            {"type": "object", "properties": {name: options}, "required": [name], "additionalProperties": False}
        )
    options = InputOptions.model_json_schema(ref_template="#/$defs/{model}")
    definitions |= options.pop("$defs", {})
    names = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "jina-data recipe",
        "type": "object",
        "properties": {
            "columns": {
                "type": "object",
                "properties": dict.fromkeys((*ROLE_ORDER, "source"), names),
                "additionalProperties": False,
            },
            "input": options,
            "seed": {"type": "integer"},
            "licenses": {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}},
            "stages": {"type": "array", "items": {"anyOf": [{"enum": bare}, *stages]}},
        },
        "required": ["stages"],
        "additionalProperties": False,
        "$defs": definitions,
    }

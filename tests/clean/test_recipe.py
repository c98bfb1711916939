"""Recipes: errors name the file, the line, what was expected, and the nearest known name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from jina_data.clean.recipe import SHORTHANDS, Recipe, find_recipe, recipe_folder, recipe_schema, shipped_recipes
from jina_data.errors import RecipeError
from jina_data.stages import STAGES, ExactDedup, Language, Length, Normalize, Sample, Where

FULL = """\
# a comment in front
columns:
  anchor: question
  positive: [answer]
  source: origin
seed: 7
stages:
  - where: "label = 'entailment'"
  - normalize
  - length: {min_words: 2, max_chars: 20000}
  - exact_dedup:
      roles: [anchor, positive]
      priority: [wiki, web]
  - length:
  - sample: {count: 10}
"""


def failure(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(text, "my.yaml", overrides)
    return str(caught.value)


def test_a_recipe_is_read_with_its_settings() -> None:
    recipe = Recipe.parse(FULL)
    assert recipe.columns == {"anchor": ("question",), "positive": ("answer",), "source": ("origin",)}
    assert recipe.seed == 7
    assert recipe.stages == (
        Where(expression="label = 'entailment'"),
        Normalize(),
        Length(min_words=2, max_chars=20000),
        ExactDedup(roles=("anchor", "positive"), priority=("wiki", "web")),
        Length(),
        Sample(count=10),
    )


# the recipe, and what the message must be (a regular expression over all of it)
WRONG: dict[str, tuple[str, str]] = {
    "empty": ("", r"my\.yaml: the recipe is empty; expected the key `stages`"),
    "only a comment": ("# nothing\n", r"my\.yaml: the recipe is empty; .*"),
    "a list": ("- normalize\n", r"my\.yaml, line 1: a recipe is a mapping .*; got \[.normalize.\]"),
    "a text": ("normalize\n", r"my\.yaml, line 1: a recipe is a mapping .*; got 'normalize'"),
    "no stages": ("seed: 1\n", r"my\.yaml: no stages; expected a list under the key `stages`"),
    "unknown key": ("seed: 1\nstagse: []\n", r"my\.yaml, line 2: unknown key 'stagse'; did you mean 'stages'\?.*"),
    "key twice": ("seed: 1\nstages: []\nseed: 2\n", r"my\.yaml, line 3: 'seed' occurs twice"),
    "seed": ("stages: []\nseed: one\n", r"my\.yaml, line 2: seed: expected a whole number, got 'one'"),
    "seed is a truth": ("stages: []\nseed: yes\n", r"my\.yaml, line 2: seed: expected a whole number, got 'yes'"),
    "stages no list": (
        "stages:\n  length: {min_words: 2}\n",
        r"my\.yaml, line 2: stages: expected a list, such as `- length: \{min_words: 2\}`",
    ),
    "stages empty": ("stages:\n", r"my\.yaml, line 1: stages: expected a list, .*"),
    "unknown stage": (
        "stages:\n  - normalize\n\n  - lenght: {min_words: 2}\n",
        r"my\.yaml, line 4: unknown stage 'lenght'; did you mean 'length'\? Known: select, where, .*",
    ),
    "unknown bare stage": ("stages:\n  - exactdedup\n", r"my\.yaml, line 2: unknown stage 'exactdedup'; did you .*"),
    "two stages behind one dash": (
        "stages:\n  - normalize: {}\n    length: {}\n",
        r"my\.yaml, line 2: expected one stage, got normalize, length; start each with a dash",
    ),
    "unknown option": (
        "stages:\n  - length:\n      max_chars: 5\n      min_word: 2\n",
        r"my\.yaml, line 4: stage length has no option 'min_word'; did you mean 'min_words'\? Known: min_chars, .*",
    ),
    "option twice": (
        "stages:\n  - length:\n      min_words: 2\n      min_words: 3\n",
        r"my\.yaml, line 4: 'min_words' occurs twice",
    ),
    "value of the wrong type": (
        "stages:\n  - length:\n      max_chars: 5\n      min_words: two\n",
        r"my\.yaml, line 4: stage length min_words: .*valid integer.*, got 'two'",
    ),
    "value out of range": (
        "stages:\n  - length: {min_words: -1}\n",
        r"my\.yaml, line 2: stage length min_words: .*greater than or equal to 0, got -1",
    ),
    "values that contradict": (
        "stages:\n  - normalize\n  - length: {min_words: 9, max_words: 3}\n",
        r"my\.yaml, line 3: stage length: min_words \(9\) is above max_words \(3\)",
    ),
    "an option is missing": ("stages:\n  - language\n", r"my\.yaml, line 2: stage language languages: Field required"),
    "options are no mapping": (
        "stages:\n  - length: [2]\n",
        r"my\.yaml, line 2: the options of length are a mapping such as \{option: value\}; got \[2\]",
    ),
    "a value where options belong": ("stages:\n  - length: 2\n", r"my\.yaml, line 2: the options of length are a .*"),
    "unknown role": (
        "columns:\n  anker: question\nstages: []\n",
        r"my\.yaml, line 2: unknown role 'anker'; did you mean 'anchor'\? The roles are .*",
    ),
    "a role without a column": (
        "columns:\n  anchor: question\n  positive: []\nstages: []\n",
        r"my\.yaml, line 3: positive: expected the name of a column or a list of names, got \[\]",
    ),
    "a role of a number": ("columns: {text: 3}\nstages: []\n", r"my\.yaml, line 1: text: expected .*, got 3; .* '3'"),
    "columns no mapping": (
        "columns: text\nstages: []\n",
        r"my\.yaml, line 1: columns maps roles to columns; got 'text'",
    ),
    "a flow that does not end": (
        "stages:\n- normalize\n- length: {min_words: 2\n- where: x\n",
        r"my\.yaml, line 4: not valid YAML: .*",
    ),
    "a tab": ("stages:\n\t- normalize\n", r"my\.yaml, line 2: not valid YAML: .*"),
    "two documents": ("stages: []\n---\nstages: []\n", r"my\.yaml, line 2: not valid YAML: .*"),
    "a control character": ("stages: [\x01]\n", r"my\.yaml.*: not valid YAML: .*"),
    "an unknown tag": ("stages:\n  - length: {min_words: !!python/name:os.system 2}\n", r"my\.yaml, line 2: .*"),
    "a date that is none": ("stages:\n  - length: {min_words: 2020-13-45}\n", r"my\.yaml, line 2: .*"),
    "a key that is a list": ("stages: []\n? [a, b]\n: 1\n", r"my\.yaml, line 2: unknown key .*"),
    "an alias of itself": ("stages: &a\n  - length: *a\n", r"my\.yaml, line 1: .*"),
    "an alias that is not there": ("stages:\n  - length: *a\n", r"my\.yaml, line 2: not valid YAML: .*'a'.*"),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG.keys())
def test_an_error_names_its_line(text: str, expected: str) -> None:
    message = failure(text)
    assert re.fullmatch(expected, message, re.DOTALL), message


def test_all_errors_of_a_stage_are_reported_together() -> None:
    lines = failure("stages:\n  - length:\n      min_words: two\n      max_char: 3\n").splitlines()
    assert [line.split(": ")[0] for line in lines] == ["my.yaml, line 3", "my.yaml, line 4"]


def test_anchors_and_aliases_of_yaml_work() -> None:
    recipe = Recipe.parse("stages:\n  - length: &short {min_words: 2}\n  - normalize\n  - length: *short\n")
    assert recipe.stages == (Length(min_words=2), Normalize(), Length(min_words=2))


@pytest.mark.parametrize("expression", ["lang = 'en'", "n > 3", "5", "true", "label IS NOT NULL # no comment"])
def test_where_may_be_written_as_its_expression(expression: str) -> None:
    recipe = Recipe.parse(f"stages:\n  - where: {json.dumps(expression)}\n")
    assert recipe.stages == (Where(expression=expression),)
    assert Recipe.parse(f"stages:\n  - where: {{expression: {json.dumps(expression)}}}\n") == recipe


def test_where_without_quotes_is_taken_literally() -> None:
    assert Recipe.parse("stages:\n  - where: true\n").stages == (Where(expression="true"),)
    assert Recipe.parse("stages:\n  - where: n > 3 and lang = 'en'\n").stages == (
        Where(expression="n > 3 and lang = 'en'"),
    )


@pytest.mark.parametrize("text", ["stages:\n  - where\n", "stages:\n  - where:\n", 'stages:\n  - where: ""\n'])
def test_where_needs_an_expression(text: str) -> None:
    assert failure(text).startswith("my.yaml, line 2: ")


def test_shorthands_name_existing_options() -> None:
    assert all(option in STAGES[name].model_fields for name, option in SHORTHANDS.items())


# ------------------------------------------------------------------------------------------------------ -s, overrides


TWICE = "stages:\n  - length: {min_words: 1}\n  - normalize\n  - length: {max_words: 9}\n"


def test_an_override_changes_one_option() -> None:
    recipe = Recipe.parse("stages:\n  - length: {min_words: 1, max_words: 9}\n", "r", ["length.min_words=3"])
    assert recipe.stages == (Length(min_words=3, max_words=9),)


def test_an_override_names_one_of_two_stages() -> None:
    recipe = Recipe.parse(TWICE, "r", ["length#1.min_words=2", "length#2.min_words=3"])
    assert recipe.stages == (Length(min_words=2), Normalize(), Length(min_words=3, max_words=9))


@pytest.mark.parametrize(
    ("override", "stage"),
    [
        ("language.languages=[en, de]", {"languages": ["en", "de"]}),
        ("language.languages=en", {"languages": ["en"]}),
        ("language.language_threshold=0.9", {"languages": "any", "language_threshold": 0.9}),
        ("language.uncertain=drop", {"languages": "any", "uncertain": "drop"}),
        ("language.model=a=b.bin", {"languages": "any", "model": "a=b.bin"}),
        ("language.roles=", {"languages": "any", "roles": None}),
    ],
)
def test_the_value_of_an_override_is_yaml(override: str, stage: dict[str, Any]) -> None:
    recipe = Recipe.parse("stages:\n  - language: {languages: any}\n", "r", [override])
    assert recipe.stages == (STAGES["language"](**stage),)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("length", "-s length: expected STAGE.OPTION=VALUE, for example -s length.min_words=3"),
        ("length=3", "-s length=3: expected STAGE.OPTION=VALUE.*"),
        ("length.min_words", "-s length.min_words: expected STAGE.OPTION=VALUE.*"),
        ("lenght.min_words=3", "-s lenght.min_words=3: the recipe has no stage 'lenght'; did you mean 'length'.*"),
        ("language.languages=en", "-s language.languages=en: the recipe has no stage 'language'.*length, normalize"),
        ("length.min_words=3", ".*the recipe has 2 stages 'length'; choose one: length#1.min_words"),
        ("length#3.min_words=3", ".*'length#3': the recipe has 2 stages 'length'"),
        ("length#0.min_words=3", ".*'length#0': the recipe has 2 stages 'length'"),
        ("length#x.min_words=3", ".*'length#x': the recipe has 2 stages 'length'"),
        ("length#.min_words=3", ".*the recipe has 2 stages 'length'; choose one: length#1.min_words"),
        ("length#².min_words=3", ".*'length#²': the recipe has 2 stages 'length'"),
        ("normalize#2.remove_markup=true", ".*'normalize#2': the recipe has 1 stages? 'normalize'"),
        ("length#2.min_word=3", "-s length#2.min_word=3: stage length has no option 'min_word'; did you mean .*"),
        ("length#2.min_words=two", "-s length#2.min_words=two: stage length min_words: .*integer.*, got 'two'"),
        ("length#2.min_words=[", r"-s length#2.min_words=\[: the value is not valid YAML: .*"),
        ("length#2.min_words=2020-13-45", ".*valid integer.*got '2020-13-45'"),
        ("length#2.min_words=10", "my.yaml, line 4: stage length: min_words .10. is above max_words .9."),
    ],
)
def test_a_wrong_override_is_reported(override: str, expected: str) -> None:
    message = failure(TWICE, override)
    assert re.fullmatch(expected, message, re.DOTALL), message


# ------------------------------------------------------------------------------------------------- shipped, by name


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load_by_name_and_path(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.stages
    assert recipe.columns == {}
    assert recipe == Recipe.load(str(recipe_folder() / f"{name}.yaml"))


def test_the_recipes_that_the_help_names_are_shipped() -> None:
    assert {"documents", "sentences", "pairs"} <= set(shipped_recipes())


@pytest.mark.parametrize(("name", "hint"), [("documnts", " Did you mean 'documents'?"), ("zzz", "")])
def test_an_unknown_recipe_is_reported_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        find_recipe(name)
    assert str(caught.value) == (
        f"no recipe {name!r}: neither a file nor a shipped recipe ({', '.join(shipped_recipes())}).{hint}"
    )


def test_a_recipe_that_is_not_text_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"recipe .*binary\.yaml cannot be read: .*utf-8"):
        Recipe.load(str(path))


# ------------------------------------------------------------------------------------------------- as data, and hash


@pytest.mark.parametrize(
    "text", [FULL, TWICE, *((recipe_folder() / f"{n}.yaml").read_text() for n in shipped_recipes())]
)
def test_a_recipe_written_out_is_the_same_recipe(text: str) -> None:
    recipe = Recipe.parse(text)
    written = yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True)
    assert Recipe.parse(written) == recipe
    assert json.loads(json.dumps(recipe.to_dict())) == recipe.to_dict()
    assert Recipe.parse(json.dumps(recipe.to_dict())).sha256 == recipe.sha256


def test_the_hash_depends_on_the_settings_not_the_notation() -> None:
    written = "stages:\n- length: {min_words: 2}\n- normalize: {}\n"
    otherwise = "# the same\nseed: 0\nstages:\n  - length:\n      min_words: 2\n      max_words:\n  - normalize\n"
    assert Recipe.parse(written).sha256 == Recipe.parse(otherwise).sha256
    hashes = {
        Recipe.parse(text).sha256
        for text in (
            written,
            written.replace("2", "3"),
            written + "seed: 1\n",
            written + "columns: {text: body}\n",
            "stages:\n- normalize: {}\n- length: {min_words: 2}\n",
        )
    }
    assert len(hashes) == 5


def test_the_hash_is_the_same_everywhere() -> None:
    recipe = Recipe.parse("stages:\n- where: \"lang = 'en'\"\n- sample: {count: 3}\nseed: 7\n")
    assert recipe.sha256 == "c92419957d190debec1de257a6f1220805bac2008363ecaf58df0e1ffa7c38de"


# ------------------------------------------------------------------------------------------------------- JSON Schema


def schema_errors(recipe: object) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(recipe_schema())
    return [error.message for error in validator.iter_errors(recipe)]


def test_the_schema_is_one() -> None:
    pytest.importorskip("jsonschema").Draft202012Validator.check_schema(recipe_schema())


@pytest.mark.parametrize("text", [FULL, TWICE, "stages: []\n", "stages:\n- where: 'n > 3'\n- normalize\n- length:\n"])
def test_the_schema_allows_what_the_parser_allows(text: str) -> None:
    Recipe.parse(text)
    assert schema_errors(yaml.safe_load(text)) == []


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_schema_allows_the_shipped_recipes(name: str) -> None:
    assert schema_errors(yaml.safe_load((recipe_folder() / f"{name}.yaml").read_text(encoding="utf-8"))) == []
    assert schema_errors(Recipe.load(name).to_dict()) == []


@pytest.mark.parametrize(
    "text",
    [
        "seed: 1\n",
        "stages: {}\n",
        "stages: [lenght]\n",
        "stages: [language]\n",
        "stages: [where]\n",
        "stages: [{lenght: {}}]\n",
        "stages: [{length: {min_word: 2}}]\n",
        "stages: [{length: {min_words: two}}]\n",
        "stages: [{length: {min_words: -1}}]\n",
        "stages: [{length: {}, normalize: {}}]\n",
        "stages: [{length: 3}]\n",
        "stages: [{length: short}]\n",
        "stages: [{language: {}}]\n",
        "stages: [{language: {languages: any, uncertain: maybe}}]\n",
        "stages: []\nseed: one\n",
        "stages: []\nstagse: []\n",
        "stages: []\ncolumns: {anker: question}\n",
        "stages: []\ncolumns: {anchor: []}\n",
        "stages: []\ncolumns: {anchor: 3}\n",
    ],
)
def test_the_schema_refuses_what_the_parser_refuses(text: str) -> None:
    failure(text)
    assert schema_errors(yaml.safe_load(text))


# Words that YAML 1.1 does not read as text

SETTINGS = [
    ("language: {languages: [no, sv]}", "languages", ("no", "sv")),
    ("language: {languages: no}", "languages", ("no",)),
    ("sample: {weights: {no: 1, yes: 2, null: 3, 2024-01-05: 4, 1: 5}}", "weights",
     {"no": 1, "yes": 2, "null": 3, "2024-01-05": 4, "1": 5}),
    ("exact_dedup: {priority: [no, yes, on, off, y, n]}", "priority", ("no", "yes", "on", "off", "y", "n")),
    ("exact_dedup: {priority: [2024-01-05, 12:30, 007]}", "priority", ("2024-01-05", "12:30", "007")),
    ("rules: {roles: [no]}", "roles", ("no",)),
    ("select: {rename: {no: off}}", "rename", {"no": "off"}),
    ("normalize: {markup: yes}", "markup", True),
    ("normalize: {markup: off}", "markup", False),
    ("normalize: {unicode: null}", "unicode", None),
    ("length: {max_words: 1000}", "max_words", 1000),
    ("near_dedup: {threshold: .9}", "threshold", 0.9),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "option", "value"), SETTINGS)
def test_words_are_text_in_options_of_text(stage: str, option: str, value: object) -> None:
    (read,) = Recipe.parse(f"stages:\n  - {stage}\n").stages
    assert getattr(read, option) == value


@pytest.mark.parametrize("value", ["no", "[no]"])
def test_words_are_text_on_the_command_line(value: str) -> None:
    (stage,) = Recipe.parse("stages: [language: {languages: [en]}]", "r", [f"language.languages={value}"]).stages
    assert isinstance(stage, Language)
    assert stage.languages == ("no",)


def test_words_are_text_in_columns_and_licenses() -> None:
    recipe = Recipe.parse("columns: {text: no, source: on}\nlicenses: {no: mit, null: mit}\nstages: [normalize]\n")
    assert recipe.columns == {"text": ("no",), "source": ("on",)}
    assert recipe.licenses == {"no": "mit", "null": "mit"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: [exact_dedup: {priority: [2024]}]", "got 2024; for the text, write it in quotes: '2024'"),
        ("stages: [exact_dedup: {priority: [null]}]", "got null; for the text, write it in quotes: 'null'"),
        ("stages: [exact_dedup: {priority: no}]", "expected a list, such as [no], got 'no'"),
        ("columns: {text: 2024}\nstages: [normalize]", "got 2024; for the text, write it in quotes: '2024'"),
        ("licenses: {a: true}\nstages: [normalize]", "got true; for the text, write it in quotes: 'true'"),
    ],
)
def test_other_values_in_options_of_text_are_to_be_quoted(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        Recipe.parse(text)

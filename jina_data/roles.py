"""Roles of columns: which columns have texts, and which role each has. Imports no DuckDB, since training uses it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

import pyarrow as pa

from jina_data.arrow.paths import type_at
from jina_data.arrow.types import is_list
from jina_data.errors import UsageError

ROLE_ORDER = ("text", "anchor", "positive", "negative", "sentence1", "sentence2")
"""The text roles, in the order in which stages process them."""

GUESSES: tuple[Mapping[str, str], ...] = (
    {"anchor": "anchor", "positive": "positive"},
    {"anchor": "anchor", "positive": "entailment"},
    {"anchor": "query", "positive": "positive"},
    {"anchor": "query", "positive": "pos"},
    {"anchor": "query", "positive": "document"},
    {"anchor": "query", "positive": "passage"},
    {"anchor": "query", "positive": "answer"},
    {"anchor": "question", "positive": "answer"},
    {"anchor": "question", "positive": "answers"},
    {"anchor": "title", "positive": "abstract"},
    {"anchor": "title", "positive": "text"},
    {"anchor": "title", "positive": "body"},
    {"anchor": "prompt", "positive": "response"},
    {"anchor": "prompt", "positive": "completion"},
    {"anchor": "instruction", "positive": "output"},
    {"sentence1": "sentence1", "sentence2": "sentence2"},
    {"sentence1": "sentence_1", "sentence2": "sentence_2"},
    {"sentence1": "sentence_a", "sentence2": "sentence_b"},
    {"sentence1": "text1", "sentence2": "text2"},
    {"sentence1": "question1", "sentence2": "question2"},
    {"sentence1": "premise", "sentence2": "hypothesis"},
    {"text": "text"},
    {"text": "content"},
    {"text": "sentence"},
    {"text": "document"},
    {"text": "passage"},
    {"text": "body"},
)
"""Column names from which the roles of a table are guessed, tried in this order."""

NEGATIVES = ("negative", "negatives", "neg", "negs", "hard_negative", "hard_negatives")
"""Names of a column of negatives of a pair."""

LABELS = (
    *("label", "labels", "score", "similarity", "relatedness", "gold_label", "is_duplicate", "relevance"),
    *("similarity_score", "relatedness_score", "is_paraphrase", "paraphrase", "duplicate"),
    *("entailment_label", "entailment_judgment"),
)
"""A table of pairs with one of these columns has labelled pairs: not all of them are positives."""

_SCORES = ("score", "similarity", "relatedness", "relevance")


def parse_roles(assignments: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Parse `role=column` or `role=column,column`, the values of -c; a name with a comma is quoted: `text="a, b"`.

    Raises:
        UsageError: a role is unknown, or has no column.
    """
    roles: dict[str, tuple[str, ...]] = {}
    for assignment in assignments:
        role, _, columns = assignment.partition("=")
        fields = next(csv.reader([columns], skipinitialspace=True), [])
        names = tuple(name.strip() for name in fields if name.strip())
        if not names:
            raise UsageError(f"-c {assignment}: expected ROLE=COLUMN, for example -c anchor=question")
        roles[check_role(role.strip())] = names
    return roles


def check_role(role: str) -> str:
    """Return the role if it exists.

    Raises:
        UsageError: there is no such role.
    """
    roles = (*ROLE_ORDER, "source")
    if role not in roles:
        near = get_close_matches(role, roles, 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"unknown role {role!r}{hint} The roles are {', '.join(roles)}")
    return role


def bind_roles(
    schema: pa.Schema, assigned: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, tuple[str, ...]], str | None, str]:
    """Return the columns of each role of a table.

    Args:
        schema: the columns of the table.
        assigned: the columns that the user assigned to roles; without any text role, the text roles are guessed.

    Returns:
        The columns of each text role, the source column or None, and a message about the guessed roles (or "").

    Raises:
        UsageError: an assigned column does not exist, or the roles cannot be guessed.
    """
    assigned = {role: _existing(schema, role, columns) for role, columns in assigned.items()}
    source = assigned["source"][0] if "source" in assigned else None
    roles = {role: columns for role, columns in assigned.items() if role != "source"}
    assumptions = ""
    if not roles:
        roles = guess_roles(schema)
        assumptions = "roles guessed from the column names: " + ", ".join(
            f"{role} = {', '.join(columns)}" for role, columns in roles.items()
        )
    return {role: roles[role] for role in ROLE_ORDER if role in roles}, source, assumptions


def _existing(schema: pa.Schema, role: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns of a role, which exist, or are paths into a column: `translation.en`.

    Raises:
        UsageError: one does not exist, or is an object, of which a field has to be named.
    """
    missing = [column for column in columns if column not in schema.names]
    whole = next((name for name in schema.names if missing and _same_name(name, ",".join(columns))), None)
    if whole is not None:
        columns, missing = (whole,), []
    for column in missing:
        if type_at(schema, column) is None:
            near = get_close_matches(column, schema.names, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"the input has no column {column!r} (assigned to {role}).{hint} "
                f"Its columns are {', '.join(schema.names) or 'none'}"
            )
    for column in columns:
        kind = schema.field(column).type if column in schema.names else type_at(schema, column)
        fields = _fields(kind)
        if fields and role != "source":
            paths = ", ".join(f"{column}{'[]' * is_list(kind)}.{name}" for name in fields[:3])
            raise UsageError(
                f"column {column!r} ({role}) holds objects, not texts. Name one of their fields by its path: {paths}"
            )
    return columns


def _same_name(name: str, written: str) -> bool:
    return re.sub(r"\s*,\s*", ",", name.strip()) == written


def _fields(kind: pa.DataType) -> list[str]:
    """Return the names of the fields of objects, also of those in lists."""
    while is_list(kind):
        kind = kind.value_type
    return [child.name for child in kind] if pa.types.is_struct(kind) else []


def text_schema(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    """Return a schema in which the columns of roles are texts or lists of texts; paths are added as columns."""
    for column in columns:
        exists = column in schema.names
        kind = schema.field(column).type if exists else type_at(schema, column)
        if kind is None:
            continue
        text = pa.list_(pa.string()) if is_list(kind) else kind if is_text(kind) else pa.string()
        field = pa.field(column, text)
        schema = schema.set(schema.get_field_index(column), field) if exists else schema.append(field)
    return schema


def guess_roles(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Guess the roles of a table from the names of its columns of texts, numbers, or lists of these.

    Raises:
        UsageError: the names do not match any guess, or the pairs have labels, so that the user has to choose rows.
    """
    texts = [field for field in schema if not _fields(field.type) and not pa.types.is_map(field.type)]
    names = [field.name for field in texts]
    # A column without a value in the sample has a role only if no guess does without it.
    for candidates in ([field.name for field in texts if not pa.types.is_null(field.type)], names):
        by_key = {name.lower(): name for name in reversed(candidates)} | {name: name for name in candidates}
        for guess in GUESSES:
            if all(column in by_key for column in guess.values()):
                roles: dict[str, tuple[str, ...]] = {role: (by_key[column],) for role, column in guess.items()}
                if len(roles) > 1:
                    _check_no_labels(schema, roles)
                    roles |= _negatives(names) if "anchor" in roles else {}
                return roles
    columns = ", ".join(f"{field.name} ({_type_name(field.type)})" for field in schema)
    raise UsageError(
        f"cannot guess the text columns among {columns or 'no columns'}. "
        "Assign them: -c text=COLUMN for documents, or -c anchor=COLUMN -c positive=COLUMN for pairs" + _advice(schema)
    )


def _type_name(kind: pa.DataType) -> str:
    name = str(kind)
    return name if len(name) <= 80 else name[:77] + "..."


def _advice(schema: pa.Schema) -> str:
    """Return how to reach texts inside of objects, if there are any."""
    nested = next((field for field in schema if _fields(field.type)), None)
    if nested is None:
        return ""
    path = f"{nested.name}{'[]' * is_list(nested.type)}.{_fields(nested.type)[0]}"
    advice = f". A field of an object is named by its path: -c text={path}"
    if is_list(nested.type):
        is_records = pa.types.is_struct(nested.type.value_type)
        paths = f", or for JSON --records with one of the lists {', '.join(_lists(nested.name, nested.type))}"
        advice += f"; to make a row of each item, use --explode {nested.name}{paths if is_records else ''}"
    return advice


def _lists(path: str, kind: pa.DataType) -> Iterator[str]:
    """Yield the paths of a list of objects and of those inside of it: `paragraphs[]`, `paragraphs[].qas[]`."""
    yield f"{path}[]"
    for child in kind.value_type:
        if is_list(child.type) and pa.types.is_struct(child.type.value_type):
            yield from _lists(f"{path}[].{child.name}", child.type)


def _check_no_labels(schema: pa.Schema, roles: Mapping[str, tuple[str, ...]]) -> None:
    label = next((field for field in schema if field.name.lower() in LABELS), None)
    if label is None:
        return
    columns = [column for names in roles.values() for column in names]
    condition = positive_condition(label.type, columns, label.name)
    written = f"TRY_CAST({label.name} AS DOUBLE)" if is_text(label.type) and condition.startswith(">") else label.name
    raise UsageError(
        f"the columns {' and '.join(columns)} come with {label.name!r}, so some rows may be pairs of texts that do not "
        f"belong together. Select the rows that do by {label.name!r}, and assign the roles: "
        f'--where "{written} {condition}" -c anchor={columns[0]} -c positive={columns[1]}'
    )


def positive_condition(kind: pa.DataType, columns: Sequence[str], label: str = "label") -> str:
    """Return the usual condition on such a label for two texts that belong together."""
    if is_text(kind):
        return "= 'entailment'" if label.lower() not in _SCORES else ">= 4"
    if pa.types.is_floating(kind):
        return ">= 4"  # STS and SICK score from 0 or 1 to 5
    if pa.types.is_boolean(kind):
        return "= true"
    # In SNLI and MNLI, 0 is entailment; in paraphrase datasets, 1 is a paraphrase.
    return "= 0" if columns[0].lower() == "premise" else "= 1"


def _negatives(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    single = [name for name in texts if name.lower() in NEGATIVES]
    numbered = [name for name in texts if re.fullmatch(r"negative_\d+", name.lower())]
    columns = tuple(single[:1]) or tuple(sorted(numbered, key=lambda name: int(name.rsplit("_", 1)[1])))
    return {"negative": columns} if columns else {}


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column of this type has one text per row."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_text_list(kind: pa.DataType) -> bool:
    """Return whether a column of this type has a list of texts per row."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists and is_text(kind.value_type))

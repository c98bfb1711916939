"""Roles of columns: which columns have texts, and which role each has. Imports no DuckDB, since training uses it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import pyarrow as pa

from jina_data.errors import UsageError

ROLE_ORDER = ("text", "anchor", "positive", "negative", "sentence1", "sentence2")
"""The text roles, in the order in which stages process them."""

GUESSES: tuple[Mapping[str, str], ...] = (
    {"anchor": "anchor", "positive": "positive"},
    {"anchor": "anchor", "positive": "entailment"},
    {"anchor": "query", "positive": "positive"},
    {"anchor": "query", "positive": "document"},
    {"anchor": "query", "positive": "passage"},
    {"anchor": "question", "positive": "answer"},
    {"anchor": "title", "positive": "abstract"},
    {"anchor": "title", "positive": "text"},
    {"sentence1": "sentence1", "sentence2": "sentence2"},
    {"sentence1": "premise", "sentence2": "hypothesis"},
    {"text": "text"},
    {"text": "content"},
    {"text": "sentence"},
)
"""Column names from which the roles of a table are guessed, tried in this order."""

LABELS = (
    *("label", "labels", "score", "similarity", "relatedness", "gold_label", "is_duplicate", "relevance"),
    *("similarity_score", "relatedness_score", "is_paraphrase", "paraphrase", "duplicate"),
    *("entailment_label", "entailment_judgment"),
)
"""A table of pairs with one of these columns has labelled pairs: not all of them are positives."""


def parse_roles(assignments: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Parse `role=column` or `role=column,column`, the values of -c.

    Raises:
        UsageError: a role is unknown, or has no column.
    """
    roles: dict[str, tuple[str, ...]] = {}
    for assignment in assignments:
        role, _, columns = assignment.partition("=")
        names = tuple(name.strip() for name in columns.split(",") if name.strip())
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
    for role, columns in assigned.items():
        for column in columns:
            if column not in schema.names:
                near = get_close_matches(column, schema.names, 1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise UsageError(
                    f"the input has no column {column!r} (assigned to {role}).{hint} "
                    f"Its columns are {', '.join(schema.names) or 'none'}"
                )
    source = assigned["source"][0] if "source" in assigned else None
    roles = {role: columns for role, columns in assigned.items() if role != "source"}
    assumptions = ""
    if not roles:
        roles = guess_roles(schema)
        assumptions = "roles guessed from the column names: " + ", ".join(
            f"{role} = {', '.join(columns)}" for role, columns in roles.items()
        )
    return {role: roles[role] for role in ROLE_ORDER if role in roles}, source, assumptions


def guess_roles(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Guess the roles of a table from the names of its text columns.

    Raises:
        UsageError: the names do not match any guess, or the pairs have labels, so that the user has to choose rows.
    """
    texts = [field.name for field in schema if is_text(field.type) or is_text_list(field.type)]
    by_key = {name.lower(): name for name in reversed(texts)}
    for guess in GUESSES:
        if all(column in by_key for column in guess.values()):
            roles: dict[str, tuple[str, ...]] = {role: (by_key[column],) for role, column in guess.items()}
            if len(roles) > 1:
                _check_no_labels(schema, roles)
                roles |= _negatives(texts)
            return roles
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise UsageError(
        f"cannot guess the text columns among {columns or 'no columns'}. "
        "Assign them: -c text=COLUMN for documents, or -c anchor=COLUMN -c positive=COLUMN for pairs"
    )


def _check_no_labels(schema: pa.Schema, roles: Mapping[str, tuple[str, ...]]) -> None:
    label = next((field for field in schema if field.name.lower() in LABELS), None)
    if label is None:
        return
    columns = [column for names in roles.values() for column in names]
    condition = positive_condition(label.type, columns)
    raise UsageError(
        f"the columns {' and '.join(columns)} come with {label.name!r}, so some rows may be pairs of texts that do not "
        f"belong together. Select the rows that do by {label.name!r}, and assign the roles: "
        f'--where "{label.name} {condition}" -c anchor={columns[0]} -c positive={columns[1]}'
    )


def positive_condition(kind: pa.DataType, columns: Sequence[str]) -> str:
    """Return the usual condition on such a label for two texts that belong together."""
    if is_text(kind):
        return "= 'entailment'"
    if pa.types.is_floating(kind):
        return ">= 4"  # STS and SICK score from 0 or 1 to 5
    if pa.types.is_boolean(kind):
        return "= true"
    # In SNLI and MNLI, 0 is entailment; in paraphrase datasets, 1 is a paraphrase.
    return "= 0" if columns[0].lower() == "premise" else "= 1"


def _negatives(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    single = [name for name in texts if name.lower() in ("negative", "negatives")]
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

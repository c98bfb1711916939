"""Which columns are texts, and what role each plays. Imports no DuckDB: training asks, too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import pyarrow as pa

from jina_data.errors import UsageError

ROLE_ORDER = ("text", "anchor", "positive", "negative", "sentence1", "sentence2")
"""The roles, in the order in which stages look at them."""

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
"""Column names that tell the roles of a table, tried in this order."""

LABELS = ("label", "labels", "score", "similarity", "relatedness", "gold_label", "is_duplicate", "relevance")
"""A pair table with one of these columns holds judged pairs, not positives."""


def parse_roles(assignments: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Parse `role=column` or `role=column,column` as given with -c.

    Raises:
        UsageError: an unknown role, or no column.
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
    """Return the role, if there is one of this name."""
    known = (*ROLE_ORDER, "source")
    if role not in known:
        near = get_close_matches(role, known, 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"unknown role {role!r}{hint} The roles are {', '.join(known)}")
    return role


def bind_roles(
    schema: pa.Schema, wanted: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, tuple[str, ...]], str | None, str]:
    """Settle which columns of a table play which role.

    Args:
        schema: the columns of the table.
        wanted: roles that the user named; without any text role among them, the roles are guessed.

    Returns:
        The columns of each text role, the source column or None, and a sentence that says what was guessed (or "").

    Raises:
        UsageError: a named column is not there, or the roles cannot be guessed.
    """
    for role, columns in wanted.items():
        for column in columns:
            if column not in schema.names:
                near = get_close_matches(column, schema.names, 1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise UsageError(
                    f"the input has no column {column!r} (named as {role}).{hint} "
                    f"Its columns are {', '.join(schema.names) or 'none'}"
                )
    source = wanted["source"][0] if "source" in wanted else None
    roles = {role: columns for role, columns in wanted.items() if role != "source"}
    said = ""
    if not roles:
        roles = guess_roles(schema)
        said = "roles guessed from the column names: " + ", ".join(
            f"{role} = {', '.join(columns)}" for role, columns in roles.items()
        )
    return {role: roles[role] for role in ROLE_ORDER if role in roles}, source, said


def guess_roles(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Guess the roles of a table from the names of its text columns.

    Raises:
        UsageError: no names that tell, or a table of judged pairs, which need a decision first.
    """
    texts = [field.name for field in schema if is_text(field.type) or is_text_list(field.type)]
    by_key = {name.lower(): name for name in reversed(texts)}
    for guess in GUESSES:
        if all(column in by_key for column in guess.values()):
            roles: dict[str, tuple[str, ...]] = {role: (by_key[column],) for role, column in guess.items()}
            if len(roles) > 1:
                _refuse_judged(schema, roles)
                roles |= _negatives(texts)
            return roles
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise UsageError(
        f"cannot tell which columns hold the texts among {columns or 'no columns'}. "
        "Name them: -c text=COLUMN for documents, or -c anchor=COLUMN -c positive=COLUMN for pairs"
    )


def _refuse_judged(schema: pa.Schema, roles: Mapping[str, tuple[str, ...]]) -> None:
    label = next((field for field in schema if field.name.lower() in LABELS), None)
    if label is None:
        return
    columns = [column for names in roles.values() for column in names]
    raise UsageError(
        f"the columns {' and '.join(columns)} come with {label.name!r}, so not every row need be a pair of texts that "
        f"belong together. Say which rows are, by what {label.name!r} means, and name the roles: "
        f'--where "{label.name} {_agreeing(label.type, columns)}" -c anchor={columns[0]} -c positive={columns[1]}'
    )


def _agreeing(kind: pa.DataType, columns: Sequence[str]) -> str:
    """Return the condition under which such a label usually says that two texts belong together."""
    if is_text(kind):
        return "= 'entailment'"
    if pa.types.is_floating(kind):
        return ">= 4"  # of 5, as STS and SICK score
    if pa.types.is_boolean(kind):
        return "= true"
    # SNLI and MNLI count entailment as 0, pairs of paraphrases as 1.
    return "= 0" if columns[0].lower() == "premise" else "= 1"


def _negatives(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    single = [name for name in texts if name.lower() in ("negative", "negatives")]
    numbered = [name for name in texts if re.fullmatch(r"negative_\d+", name.lower())]
    columns = tuple(single[:1]) or tuple(sorted(numbered, key=lambda name: int(name.rsplit("_", 1)[1])))
    return {"negative": columns} if columns else {}


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a column of this type holds one text a row."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_text_list(kind: pa.DataType) -> bool:
    """Tell whether a column of this type holds a list of texts a row."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists and is_text(kind.value_type))

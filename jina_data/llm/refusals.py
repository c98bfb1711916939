"""Finds out what a server refuses: which parameter of a request, the form of the answer, or the system message."""

from __future__ import annotations

import re
from collections.abc import Iterable

_VALUE_RANGE = re.compile(
    r"too (?:large|high|big|long|low|small)|at (?:most|least)|must be (?:between|less|greater|positive|>|<|≥|≤|in the)|"
    r"(?:less|greater) than|exceed|context (?:length|window|size)|range|maximum (?:value|allowed|context)",
    re.IGNORECASE,
)
_UNSUPPORTED = re.compile(
    r"un(?:supported|known|recogni[sz]ed|expected)|"
    r"not (?:supported|permitted|allowed|recogni[sz]ed|implemented|a valid|available|enabled)|"
    r"does(?: not|n't|n’t) (?:support|accept|allow)|extra (?:inputs|fields)|cannot find field|no field|"
    r"invalid (?:param|argument|field|property)|deprecated",
    re.IGNORECASE,
)
_SYSTEM_MESSAGE = re.compile(
    r"system (?:role|message|prompt|instruction)s?\b.{0,40}not|developer instruction|"
    r"roles? must alternate|(?:role|messages?).{0,60}\bsystem\b|\bsystem\b.{0,30}role|not support.{0,30}\bsystem\b",
    re.IGNORECASE,
)
_THIS_TEXT = re.compile(
    r"content.?(?:filter|management|policy)|moderation|flagged|safety|blocked|context.?(?:length|window|size)|"
    r"prompt is too long|too many (?:input )?tokens",
    re.IGNORECASE,
)
_FORM = re.compile(r"response.?format|json.?(?:schema|object|mode)|structured|grammar|guided|\bschema\b", re.IGNORECASE)


def refused_parameter(message: str, parameters: Iterable[str], named: str | None = None) -> str | None:
    """Return the parameter that a server names in a refusal; None if it names none of the given ones.

    A message may list all parameters that the server knows, so the first one in it is the refused one.

    Args:
        message: the message of the server.
        parameters: the parameters that the request has.
        named: the parameter in a field of the response, which servers fill only sometimes.
    """
    parameters = list(parameters)
    if named is not None:
        parts = [part for part in re.split(r"[.\[\]>\s/]+", named) if part != "body"]
        if parts and parts[0] in parameters:
            return parts[0]
    places = {name: match.start() for name in parameters if (match := _mention(name).search(message))}
    if not places and "reasoning_effort" in parameters and re.search(r"not support.{0,20}thinking", message):
        return "reasoning_effort"
    return min(places, key=lambda name: places[name]) if places else None


def _mention(name: str) -> re.Pattern[str]:
    """Return the pattern of a parameter in a message: in quotes, or as a word that cannot be an ordinary one."""
    escaped = re.escape(name)
    quoted = rf"[\"'`‘“]{escaped}[\"'`’”]"
    if "_" in name or name in ("temperature", "logprobs"):
        return re.compile(rf"{quoted}|(?<![\w-]){escaped}(?![\w-])")
    before = (
        r"(?:parameters?|params?|arguments?|fields?|property|properties|keys?|names?|inputs?|options?|supplied|body)"
    )
    return re.compile(
        rf"{quoted}|\b{before}\W{{1,6}}{escaped}\b|\A\W*{escaped}\s*:|\b{escaped}\s*[=:]|\bsupport {escaped}\b",
        re.IGNORECASE,
    )


def is_about_range(message: str) -> bool:
    """Return whether a refusal is about the size of a value: the parameter itself is supported."""
    return _VALUE_RANGE.search(message) is not None and _UNSUPPORTED.search(message) is None


def is_about_parameters(message: str) -> bool:
    """Return whether an error is a refusal of parameters or of the form, whatever its status is."""
    return _UNSUPPORTED.search(message) is not None and (
        _FORM.search(message) is not None
        or re.search(r"param|argument|field|extra inputs|[\"'`]\w+[\"'`]", message, re.I) is not None
    )


def is_about_system_message(message: str) -> bool:
    """Return whether a server refuses messages of the role system."""
    return _SYSTEM_MESSAGE.search(message) is not None


def is_about_this_text(message: str) -> bool:
    """Return whether a refusal is about the texts of one request, such as a content filter or a long prompt."""
    return _THIS_TEXT.search(message) is not None

"""Extracts the text of HTML fragments, and recognizes texts with HTML in them.

Most texts with < and > are not HTML: `a<b && b>c`, `List<String>`, "the <p> element". So a text counts as HTML only if
an element in it is closed, has an attribute with a value, or is a line break or a paragraph at its place; and a tag is
removed only if its attributes are well-formed and, where HTML requires it, the element is closed somewhere.
"""

from __future__ import annotations

import html
import re
from html.entities import html5

_PARAGRAPH = (
    "article|aside|blockquote|body|dl|figure|footer|form|h[1-6]|head|header|html|main|nav|ol|p|pre|section|table|title|"
    "ul"
)
_LINE = (
    "address|br|caption|center|dd|details|div|dt|fieldset|figcaption|hr|li|option|select|summary|tbody|tfoot|thead|tr"
)
_INLINE = (
    "a|abbr|acronym|audio|b|base|bdi|bdo|big|button|canvas|cite|code|col|colgroup|data|del|dfn|em|embed|font|i|iframe|"
    "img|input|ins|kbd|label|legend|link|map|mark|meta|nobr|noscript|object|output|param|picture|q|rp|rt|ruby|s|samp|"
    "script|small|source|span|strike|strong|style|sub|sup|svg|template|textarea|time|tt|u|var|video|wbr"
)
_NAMES = f"{_PARAGRAPH}|{_LINE}|{_INLINE}|td|th"
_VOID = frozenset("base br col embed hr img input link meta param source wbr".split())  # noqa: SIM905
_UNCLOSED = frozenset("body colgroup dd dt head html li option p tbody td tfoot th thead tr".split())  # noqa: SIM905
"""Elements that HTML allows to leave open."""

_SWITCHES = (
    "allowfullscreen|async|autofocus|autoplay|checked|compact|controls|default|defer|disabled|hidden|ismap|loop|"
    "multiple|muted|noshade|novalidate|nowrap|open|readonly|required|reversed|selected"
)
_VALUE = r"""[A-Za-z_:@][-\w:.@]*\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>=`]+)"""
_TAG = re.compile(rf"<(/?)({_NAMES})((?:\s+(?:{_VALUE}|(?:{_SWITCHES})\b))*+)\s*/?>", re.I)
_HIDDEN = re.compile(r"""<!--|<!doctype\b[^<>]*>|<(script|style)\b(?:[^<>"']|"[^"<>]*"|'[^'<>]*')*+>""", re.I)
_ENDS = {name: re.compile(rf"</{name}\s*>", re.I) for name in ("script", "style")} | {"!--": re.compile("-->")}
_BREAKS = re.compile("[ \t\n\r]*(?:[\ue000\ue001][ \t\n\r]*)+")
_ENTITY = re.compile("&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[0-9A-Za-z]{2,32});")
_AT_ITS_PLACE = re.compile(r"\S<br\s*/?>|<br\s*/?>\S|^\s*<(?:p|li|tr|dt|dd|option)>\s*\S", re.I | re.M)
_QUOTED_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.S)
"""Code in Markdown: what stands in it is meant as it is."""

_P, _L = "\ue000", "\ue001"
"""Stand for the end of a paragraph and of a line; private characters, which no text has a use for."""

SUSPECTED = (
    rf"(?i)</(?:{_NAMES})\s*>|<br\s*/?>|<(?:{_NAMES})\s[^<>]*=|<!--|"
    r"&(?:amp|lt|gt|quot|apos|nbsp|copy|reg|hellip|[lr][ds]quo|[mn]dash|bull|#[0-9]{2,6}|#x[0-9a-f]{2,5});"
)
"""An RE2 pattern of texts that probably contain HTML: a closing tag, a line break, an attribute or an entity."""


def strip_markup(text: str) -> str:
    """Return the text of an HTML fragment, with its paragraphs and lines; anything else does not change."""
    parts = _QUOTED_CODE.split(text) if "`" in text else [text]
    closed = _closed("".join(parts[::2])) if "<" in text else None
    parts[::2] = [_strip_part(part, closed) for part in parts[::2]]
    return "".join(parts)


def _strip_part(text: str, closed: set[str] | None) -> str:
    if "<" in text:
        text = _drop_hidden(text)
    if closed is not None:
        text = _TAG.sub(lambda tag: _replacement(tag, closed), text.replace(_P, "").replace(_L, ""))
        text = _BREAKS.sub(lambda run: "\n\n" if _P in run[0] else "\n", text)
    return _ENTITY.sub(_decode, text) if "&" in text else text


def _drop_hidden(text: str) -> str:
    """Remove comments, scripts and styles; an unclosed comment ends the text, an unclosed script is only a word."""
    parts, position = [], 0
    missing: set[str] = set()
    while match := _HIDDEN.search(text, position):
        name = "!--" if match[0] == "<!--" else (match[1] or "").lower()
        end = _ENDS[name].search(text, match.end()) if name and name not in missing else None
        if name in ("script", "style") and end is None:
            missing.add(name)
            parts.append(text[position : match.end()])
            position = match.end()
            continue
        parts.append(text[position : match.start()])
        position = end.end() if end else len(text) if name else match.end()
    return "".join([*parts, text[position:]])


def _closed(text: str) -> set[str] | None:
    """Return the elements that are opened and closed in a text; None if the text is no HTML."""
    opened, closed, is_html = set[str](), set[str](), False
    for tag in _TAG.finditer(text):
        name = tag[2].lower()
        if tag[1]:
            closed.add(name)
        else:
            opened.add(name)
            is_html |= "=" in tag[3]
    pairs = opened & closed
    return pairs if is_html or pairs or _AT_ITS_PLACE.search(text) else None


def _replacement(tag: re.Match[str], closed: set[str]) -> str:
    name = tag[2].lower()
    if not (name in closed or name in _VOID or name in _UNCLOSED or tag[1] or "=" in tag[3]):
        return tag[0]
    if name in ("td", "th"):
        return " "
    if re.fullmatch(_PARAGRAPH, name):
        return _P
    return _L if re.fullmatch(_LINE, name) else ""


def _decode(entity: re.Match[str]) -> str:
    written = entity[0]
    return html.unescape(written) if written[1] == "#" else html5.get(written[1:], written)

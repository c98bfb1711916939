"""Detects the dialect of CSV from the first records: delimiter, quote, escape, line ends, header, lines before it.

Each candidate is tried on a sample, with the strict rules of the csv module, and rated by how many records have the
same number of fields: a record counts as (fields - 1) / fields, as in van den Burg et al., "Wrangling messy CSV files
by detecting row and type patterns" (2019). A quote other than the usual one has to be strictly better.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product

from jina_data.read.csv_format.header import describe, has_known_name, is_header, looks_like_names
from jina_data.read.model import MAX_RECORD_BYTES
from jina_data.read.options import NO_CHARACTER, InputOptions

DELIMITERS = (",", "\t", ";", "|", "\x01")
"""The last is that of Hive."""
NO_DELIMITER = "\x1f"
"""Stands for the delimiter of a file with one column."""

OTHER_DELIMITERS = ("^", "~", "#", ":", " ")
"""Characters that are named as possible delimiters of a file that seems to have one column."""

MAX_PREAMBLE = 10
SAMPLE_RECORDS = 500
SAMPLE_CHARS = 2**17

_RULE = re.compile(
    r"[-+=|:\s]*-{3}[-+=|:\s]*|\(?\d[\d,.]* (?:rows?|records?)(?: (?:affected|selected|returned|in set))?"
    r"(?: \([\d.]+ sec\))?\)?[.;]?",
    re.IGNORECASE,
)
"""A line of dashes, or a number of rows, as databases print them around a table: `(2 rows affected)`."""


def is_rule(record: Sequence[str]) -> bool:
    """Return whether a record is a line of dashes, or a number of rows."""
    return len(record) == 1 and _RULE.fullmatch(record[0].strip()) is not None


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written.

    `quote` and `escape` are one character, or empty for none. `line_end` is LF (also for CR LF) or CR. `skip_rows`
    is the number of lines before the header or the first record.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    skip_space: bool = False
    """Whether blanks after a delimiter are not part of the field."""
    line_end: str = "\n"
    skip_rows: int = 0
    header: bool = True
    ruler: bool = False
    """Whether a line of dashes follows the header."""

    @property
    def is_plain(self) -> bool:
        """Whether the dialect has nothing but a delimiter and a doubled quote, so that Arrow reads it alike."""
        return not self.escape and not self.skip_space and self.line_end == "\n"

    def to_options(self) -> dict[str, str]:
        """Return the dialect as options of an input file."""
        return {"dialect": json.dumps(asdict(self))}

    @classmethod
    def of(cls, options: str) -> Dialect:
        """Read back what `to_options` wrote."""
        return cls(**json.loads(options))

    def records(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """Parse lines strictly; blank lines are empty records. A malformed record raises `csv.Error`."""
        csv.field_size_limit(MAX_RECORD_BYTES)
        return csv.reader(
            self._mended(lines) if self.escape or self.skip_space else lines,
            delimiter=self.delimiter,
            quotechar=self.quote or None,
            escapechar=self.escape or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            skipinitialspace=self.skip_space,
            strict=True,
        )

    def _mended(self, lines: Iterator[str]) -> Iterator[str]:
        """Bring lines into the form that the csv module reads.

        An escape character that escapes nothing is doubled, since it would be removed; in a quoted field a delimiter
        needs no escape. Blanks between a closing quote and what follows are removed.
        """
        quote, delimiter = re.escape(self.quote), re.escape(self.delimiter)
        escaped = rf"{re.escape(self.escape)}(?P<escaped>.|\Z)" if self.escape else r"(?!)(?P<escaped>)"
        doubled = rf"|{quote}{quote}|{quote}(?P<blanks> *(?={delimiter}|\r?\n|\r|\Z))?" if quote else ""
        token = re.compile(escaped + doubled, re.DOTALL)
        opening = re.compile(rf"(?:{delimiter}|\A){' *' if self.skip_space else ''}\Z") if quote else None
        is_quoted = False
        for line in lines:
            parts: list[str] = []
            position = 0
            while found := token.search(line, position):
                start, end = found.span()
                parts.append(line[position:start])
                text = found[0]
                if found["escaped"] is not None:
                    special = {self.escape, self.quote, "\r", "\n", "", *(() if is_quoted else self.delimiter)}
                    text = text if found["escaped"] in special else self.escape + text
                elif is_quoted:
                    is_quoted = text == 2 * self.quote
                    text = self.quote if self.skip_space and not is_quoted else text
                elif opening is not None and opening.search(line, max(0, line.rfind(self.delimiter, 0, start)), start):
                    is_quoted, end, text = True, start + 1, self.quote
                parts.append(text)
                position = end
            parts.append(line[position:])
            yield "".join(parts)


@dataclass(frozen=True)
class Sample:
    """The first records of a file in a dialect: fields, or None for a malformed record, and the line of each."""

    records: tuple[list[str] | None, ...]
    lines: tuple[int, ...]

    @property
    def width(self) -> int:
        """The most frequent number of fields; the larger of two."""
        counts = Counter(len(record) for record in self.records if record and not is_rule(record))
        return max(counts, key=lambda width: (counts[width], width)) if counts else 0

    @property
    def preamble(self) -> int:
        """The number of leading records that have fewer fields than the others."""
        width = self.width
        comments = self._comments(width)
        rest = enumerate(self.records[comments:], comments)
        number = next((n for n, record in rest if record and len(record) >= width), 0)
        return number if number <= MAX_PREAMBLE else 0

    def _comments(self, width: int) -> int:
        """Return the number of leading records that are comments, not a header such as `#id,text`."""
        firsts = [record[0] if record else "" for record in self.records]
        number = next((n for n, cell in enumerate(firsts) if not cell.startswith("#")), 0)
        records = [record for record in self.records[:number] if record]
        names = self.records[number] if number else None
        is_certain = any(len(record) != width for record in records) or bool(names and has_known_name(names))
        return number if is_certain and not any(map(has_known_name, records)) else 0


@dataclass(frozen=True)
class Detected:
    """A dialect, the column names (empty for an empty file), the fields of the header as they stand, and notes."""

    dialect: Dialect
    names: list[str]
    header: list[str]
    notes: list[str]


def detect(text: str, *, at_end: bool, kind: str, settings: InputOptions) -> Detected:
    """Detect the dialect of the beginning of a file; what is set in `settings` is not detected.

    Args:
        text: the first characters, without a byte order mark.
        at_end: whether these are all characters of the file.
        kind: "csv" or "tsv", from which the usual delimiter and quote follow.
        settings: what the user knows.
    """
    line_end = _line_end(text, settings.quote)
    first_line, delimiter_line = _separator_line(text)
    dialect = Dialect(line_end=line_end)
    if settings.skip_rows is None and delimiter_line and settings.delimiter is None:
        settings = settings.merged(InputOptions(delimiter=delimiter_line))
        dialect = replace(dialect, skip_rows=first_line)
    if settings.skip_rows is not None:
        dialect = replace(dialect, skip_rows=settings.skip_rows)
    lines = _lines(text, line_end, at_end=at_end)
    dialect = _best(dialect, lines, kind, settings)
    sample = take_sample(dialect, lines)
    if settings.skip_rows is None and (preamble := _preamble(sample)):
        dialect = replace(dialect, skip_rows=sample.lines[preamble])
        sample = take_sample(dialect, lines)
    rows = [record for record in sample.records if record]
    if settings.header is None:
        dialect = replace(dialect, header=is_header(rows) if not settings.column_names else False)
    else:
        dialect = replace(dialect, header=settings.header)
    dialect = replace(dialect, ruler=dialect.header and len(rows) > 1 and _is_ruler(rows[1]))
    if dialect.ruler:
        del rows[1]
    names = _names(rows, dialect, sample.width, settings)
    header = rows[0] if rows and dialect.header else []
    return Detected(dialect, names, header, describe(dialect.header, rows, settings))


def unusual_delimiter(text: str) -> str | None:
    """Return a character that is no usual delimiter, but seems to separate the columns of a text: names, and rows."""
    lines = [line for line in text[:SAMPLE_CHARS].splitlines() if line.strip()][:SAMPLE_RECORDS]
    for delimiter in OTHER_DELIMITERS:
        try:
            names, *rows = csv.reader(lines, delimiter=delimiter, strict=True)
        except (csv.Error, ValueError):
            continue
        widths = {len(row) for row in rows}
        if len(names) > 1 and rows and looks_like_names(names) and widths in ({len(names)}, {len(names) + 1}):
            return delimiter
    return None


def _is_ruler(record: Sequence[str]) -> bool:
    """Return whether a record is a line of dashes between the header and the rows, as databases print it."""
    cells = [cell.strip() for cell in record if cell.strip()]
    return len(record) > 1 and bool(cells) and all(re.fullmatch(":?-{2,}:?", cell) for cell in cells)


def _best(base: Dialect, lines: Sequence[str], kind: str, settings: InputOptions) -> Dialect:
    usual_delimiter, usual_quote = ("\t", "") if kind == "tsv" else (",", '"')
    text = "".join(lines)
    delimiters = [settings.delimiter] if settings.delimiter else [d for d in DELIMITERS if d in text]
    if not settings.delimiter and text.strip():
        delimiters.append(NO_DELIMITER)
    best, best_score = replace(base, delimiter=settings.delimiter or usual_delimiter, quote=usual_quote), -1.0
    best = _with_set(best, settings)
    for delimiter in sorted(delimiters, key=lambda d: d != usual_delimiter):
        for candidate in _candidates(replace(base, delimiter=delimiter), usual_quote, text, settings):
            score = _score(candidate, lines, usual_quote)
            if score > best_score + 1e-9:
                best, best_score = candidate, score
    return best


def _with_set(dialect: Dialect, settings: InputOptions) -> Dialect:
    quote = dialect.quote if settings.quote is None else settings.quote.replace(NO_CHARACTER, "")
    escape = dialect.escape if settings.escape is None else settings.escape.replace(NO_CHARACTER, "")
    return replace(dialect, quote=quote, escape=escape)


def _candidates(base: Dialect, usual_quote: str, text: str, settings: InputOptions) -> Iterator[Dialect]:
    """Yield dialects with a delimiter, the usual one first."""
    quotes = [usual_quote, *(quote for quote in ('"', "", "'") if quote != usual_quote)]
    if settings.quote is not None:
        quotes = [settings.quote.replace(NO_CHARACTER, "")]
    escapes = ["", "\\"] if settings.escape is None else [settings.escape.replace(NO_CHARACTER, "")]
    for quote, escape, skip_space in product(quotes, escapes, (False, True)):
        is_set = settings.quote is not None or quote == usual_quote
        if quote and not is_set and quote not in text:
            continue
        is_escaped = f"\\{quote or base.delimiter}" in text or re.search(r"\\\r?\n", text)
        if escape and settings.escape is None and not is_escaped:
            continue
        if skip_space and not _has_space_around_quotes(replace(base, quote=quote, escape=escape), text):
            continue
        yield replace(base, quote=quote, escape=escape, skip_space=skip_space)


def _has_space_around_quotes(dialect: Dialect, text: str) -> bool:
    """Return whether a blank stands between a delimiter and a quote, outside of the fields that begin with a quote.

    Blanks after a quote count, too, if a delimiter or the end of the line follows.
    """
    if not dialect.quote or not (f" {dialect.quote}" in text or f"{dialect.quote} " in text):
        return False
    quote, escape = re.escape(dialect.quote), re.escape(dialect.escape)
    escaped = f"{escape}.|" if escape else ""
    field = rf"(^|[\r\n]|{re.escape(dialect.delimiter)}){quote}(?:{escaped}[^{quote}{escape}]|{quote}{quote})*+{quote}"
    unquoted = re.sub(field, "\\1\0", text, flags=re.DOTALL)
    delimiter = re.escape(dialect.delimiter)
    return bool(re.search(rf"{delimiter} {quote}|\0 +(?={delimiter}|\r?\n|\Z)", unquoted))


def _score(dialect: Dialect, lines: Sequence[str], usual_quote: str) -> float:
    sample = take_sample(dialect, lines)
    width, preamble = sample.width, sample.preamble
    body = [record for record in sample.records[preamble:] if record is None or not is_rule(record)]
    if not body or not width:
        return 0.0
    fields = (width - 1 + 0.01) / width
    share = sum(record is not None and len(record) == width for record in body) / len(body)
    score = fields * share * (1 - _share_of_cut_quotes(sample, dialect))
    first = sample.records[0]
    if first and has_known_name(first) and len(first) < width:
        score *= 0.0 if len(first) == 1 else 0.3
    elif preamble:
        skipped = "".join(lines[dialect.skip_rows : sample.lines[preamble]])
        others = [delimiter for delimiter in DELIMITERS if delimiter in skipped and delimiter != dialect.delimiter]
        score *= 0.5 if others and not skipped.startswith("#") else 0.95
    if dialect.quote and dialect.quote != usual_quote and not _proves_quotes(dialect, sample, "".join(lines)):
        score -= 1e-6
    elif dialect.quote and not usual_quote:
        score += 1e-6
    if dialect.skip_space or (dialect.escape and dialect.quote):
        score += 1e-6
    return score


def _share_of_cut_quotes(sample: Sample, dialect: Dialect) -> float:
    """Return the share of records in which a field has an odd number of double quotes, so that it was cut in two."""
    if dialect.quote == '"':
        return 0.0
    records = [record for record in sample.records if record]
    cut = [any(cell.count('"') % 2 for cell in record) for record in records]
    return sum(cut) / len(cut) if cut else 0.0


def _proves_quotes(dialect: Dialect, sample: Sample, text: str) -> bool:
    """Return whether fields have to be quoted: they hold a doubled quote, a delimiter or a line break, or all are.

    Only asked where quotes are unusual, in TSV for example: `"roo bars"` alone is a phrase in quotes.
    """
    quote, delimiter = re.escape(dialect.quote), re.escape(dialect.delimiter)
    start, end = rf"(?:^|[\r\n]|{delimiter})", rf"(?=$|[\r\n]|{delimiter})"
    quoted = re.findall(rf"{start}{quote}((?:[^{quote}]|{quote}{quote})*){quote}{end}", text)
    if any(dialect.quote * 2 in field or dialect.delimiter in field or "\n" in field for field in quoted):
        return True
    n_fields = sum(len(record) for record in sample.records if record)
    return len(quoted) == n_fields and n_fields > 1


def take_sample(dialect: Dialect, lines: Sequence[str]) -> Sample:
    """Parse the first lines in a dialect; blank lines are no records."""
    records: list[list[str] | None] = []
    starts: list[int] = []
    position = dialect.skip_rows
    while position < len(lines) and len(records) < SAMPLE_RECORDS:
        reader = dialect.records(iter(lines[position:]))
        start = position
        try:
            for fields in reader:
                begin, start = start, position + reader.line_num  # type: ignore[attr-defined]
                if any(field.strip() for field in fields):
                    records.append(fields)
                    starts.append(begin)
                if len(records) >= SAMPLE_RECORDS:
                    break
            else:
                break
        except csv.Error:
            parts = _parts(dialect, lines[start])
            records += parts or [None]
            starts += [start] * max(len(parts), 1)
            # An open quote may have swallowed many good lines: begin again on the next line.
            position = start + 1
    return Sample(tuple(records), tuple(starts))


def _parts(dialect: Dialect, line: str) -> list[list[str]]:
    """Return the records of a line with line breaks of another system; none unless all have as many fields."""
    other = "\r" if dialect.line_end == "\n" else "\n"
    parts = line.rstrip("\r\n").split(other)
    try:
        records = [next(dialect.records(iter([part])), []) for part in parts]
    except csv.Error:
        return []
    return records if len(parts) > 1 and len(set(map(len, records))) == 1 else []


def _preamble(sample: Sample) -> int:
    """Return the number of leading records before the header: titles and comments, not a short header."""
    preamble = sample.preamble
    first = sample.records[preamble - 1] if preamble else None
    if not preamble:
        return _padded_titles(sample)
    if not first:
        return preamble
    names = sample.records[preamble]
    if has_known_name(first) and not (names and has_known_name(names)):
        return 0
    if preamble == 1 and names and _names_rows(first, sample):
        return 0 if not looks_like_names(names) else preamble
    return preamble


def _padded_titles(sample: Sample) -> int:
    """Return the number of leading records that have only a first cell, such as the title of a spreadsheet."""
    for number, record in enumerate(sample.records[: MAX_PREAMBLE + 1]):
        if not record or len(record) < 2 or not record[0].strip() or any(cell.strip() for cell in record[1:]):
            return number if record and number and all(cell.strip() for cell in record) else 0
    return 0


def _names_rows(names: Sequence[str], sample: Sample) -> bool:
    """Return whether the header lacks one name, as R writes it: the rows begin with their own, unique names."""
    rows = [record for record in sample.records[1:] if record and len(record) == len(names) + 1]
    firsts = [record[0] for record in rows]
    return bool(rows) and len(set(firsts)) == len(firsts) and looks_like_names(names) and all(map(_is_row_name, firsts))


def _is_row_name(cell: str) -> bool:
    return len(cell) <= 40 and " " not in cell.strip()


def _names(rows: Sequence[list[str]], dialect: Dialect, width: int, settings: InputOptions) -> list[str]:
    if not rows and not settings.column_names:
        return []
    if settings.column_names:
        return [*settings.column_names, *("" for _ in range(width - len(settings.column_names)))]
    if not dialect.header:
        return [""] * width
    names = [name.strip().strip("\ufeff") for name in rows[0]]
    if width != len(names) + 1 or len(rows) < 2:
        return names
    wide = [record for record in rows[1:] if len(record) == width]
    if not any(record[-1].strip() for record in wide):
        return names  # a delimiter at the end of each row
    return ["", *names] if _names_rows(names, Sample(tuple(rows), ())) and names[0].lower() != "id" else names


def _line_end(text: str, quote: str | None) -> str:
    """Return a carriage return if lines end in it alone: outside of quotes it is more frequent than a line feed."""
    if "\r" not in text:
        return "\n"
    mark = re.escape(quote) if quote and quote != NO_CHARACTER else '"'
    unquoted = re.sub(rf"{mark}[^{mark}]*{mark}", "", text)
    return "\r" if unquoted.count("\r") - unquoted.count("\r\n") > unquoted.count("\n") else "\n"


def _separator_line(text: str) -> tuple[int, str | None]:
    """Return the number of lines up to Excel's `sep=;`, if the text begins with it, and the delimiter."""
    found = re.match(r'\s*"?sep=(.)"?[\r\n]', text)
    return (found[0].rstrip("\r\n").count("\n") + 1, found[1]) if found else (0, None)


def _lines(text: str, line_end: str, *, at_end: bool) -> list[str]:
    text = text[:SAMPLE_CHARS] if len(text) > SAMPLE_CHARS else text
    at_end = at_end and len(text) < SAMPLE_CHARS
    lines = [line + line_end for line in text.split(line_end)]
    lines[-1] = lines[-1].removesuffix(line_end)
    return [line for line in lines if line] if at_end or len(lines) < 2 else lines[:-1]

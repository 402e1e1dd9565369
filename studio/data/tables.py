"""Metadata files: one name and one caption a row, from CSV or JSON lines, with every line that is wrong."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from studio.data.problems import Problem, shown
from studio.language import say

NAMES = ("file_name", "filename", "file", "image", "path")
TEXTS = ("text", "caption", "prompt")
NAME = rf'"(?:{"|".join(NAMES)})"\s*:\s*"([^"\\]+)"'
"""The picture's name in a line that isn't sound JSON."""
LARGEST_FILE = 64 * 1024**2
"""Bytes; more than that is no file of captions."""
LONGEST_LINE = 1024**2
LONGEST_FIELD = 131_072  # what Python's csv takes
CLIP = 80

BYTE_ORDER_MARKS = (  # UTF-32 first: its mark begins like the one of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Row(NamedTuple):
    """A picture's name, as a relative path with `/`, and its caption as written. `line` counts physical lines from 1."""

    line: int
    name: str
    caption: str


class Table(NamedTuple):
    """What a metadata file says, in its order, and every line that can't be used. `faulty` are the names in these, as far as they can be read."""

    rows: list[Row]
    problems: list[Problem]
    faulty: frozenset[str] = frozenset()


class LineError(Exception):
    """Why a line can't be used. `name` is the picture that it is about, where that can be read."""

    def __init__(self, message: str, fix: str = "", name: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.name = name


def read_table(path: Path) -> Table:
    """Rows of a `.csv` or `.jsonl` file; the ending decides. Faults are in the result, nothing is raised."""
    text, problem = read_text(path)
    if text is None:
        return Table([], [problem] if problem else [])
    name = shown(path.name)
    match path.suffix.lower():
        case ".csv":
            return _table(name, _csv_rows(text))
        case ".jsonl" | ".ndjson":
            return _table(name, _json_rows(text))
    message = say("A file with captions ends in .csv or .jsonl.")
    return Table([], [Problem(name, None, message, say("Save the captions as CSV or as JSON lines."), kind="metadata")])


def read_text(path: Path, name: str | None = None, largest: int = LARGEST_FILE) -> tuple[str | None, Problem | None]:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; or what is wrong with it.

    `name` stands for the file in a message, `largest` is in bytes.
    """
    name = shown(name or path.name)
    try:
        with path.open("rb") as file:
            raw = file.read(largest + 1)
    except OSError as error:
        reason = say("The file can't be read: {reason}", reason=error.strerror or error)
        return None, Problem(name, None, reason, say("Check the path and its permissions."), kind="metadata")
    if len(raw) > largest:
        message = say("The file is larger than {limit} MB.", limit=largest // 1024**2)
        fix = say("Give a file with a name and a caption a line.") if largest == LARGEST_FILE else say("Split it into smaller files.")
        return None, Problem(name, None, message, fix, kind="metadata")
    encoding = next((encoding for mark, encoding in BYTE_ORDER_MARKS if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(encoding), None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1 if encoding.startswith("utf-8") else 1
        fix = say("Save the file as UTF-8; Excel calls it 'CSV UTF-8'.")
        return None, Problem(name, line, say("The text is not UTF-8."), fix, kind="encoding")


def _table(file: str, found: Iterator[tuple[int, tuple[str, str] | LineError]]) -> Table:
    rows: dict[str, Row] = {}
    problems: list[Problem] = []
    faulty: set[str] = set()
    for line, result in found:
        try:
            if isinstance(result, LineError):
                raise result
            row = Row(line, relative(result[0]), clean(result[1]).strip())
        except LineError as fault:
            problems.append(Problem(file, line, fault.message, fault.fix, kind="format"))
            faulty.add(fault.name or ("" if isinstance(result, LineError) else result[0].strip()))
            continue
        if earlier := rows.pop(row.name, None):
            message = say("{name} is in line {earlier} already; the last caption is used.", name=shown(row.name, CLIP), earlier=earlier.line)
            problems.append(Problem(file, line, message, say("Keep one line for each picture."), "warning", "repeated-row"))
        rows[row.name] = row
    return Table(list(rows.values()), problems, frozenset(faulty - {""}))


def relative(name: str) -> str:
    """`name` with `/` between its parts and no `.` among them. Raises LineError for one that leads out of the folder."""
    told = shown(name, CLIP)
    name = clean(name).strip().replace("\\", "/")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://|data:", name):
        raise LineError(say("{name} is an address, not a file in the folder.", name=told), say("Download the pictures and give their names."))
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise LineError(say("{name} is an absolute path.", name=told), say("Give names relative to train_data_dir."))
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise LineError(say("{name} leads out of the folder.", name=told), say("Give names relative to train_data_dir."))
    if not parts:
        raise LineError(say("The name of the picture is missing."))
    return "/".join(parts)


def clean(text: str) -> str:
    """`text`. Raises LineError when it holds what no text file can."""
    if "\0" in text:
        raise LineError(say("It holds a NUL byte."), say("The file is damaged, or no text: save it again."))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise LineError(say("It holds half a character (a lone surrogate)."), say("Write the character itself.")) from None
    return text


def _csv_rows(text: str) -> Iterator[tuple[int, tuple[str, str] | LineError]]:
    physical = list(io.StringIO(text, newline=""))
    columns: tuple[int, int] | None = None
    expected = 2
    for line, record in records(physical):
        if isinstance(record, LineError):
            yield line, record
            continue
        if not any(field.strip() for field in record):
            continue
        if columns is None:
            columns, expected = (0, 1), 2
            header = columns_of(record)
            if isinstance(header, LineError):
                yield line, header
                return
            if header:
                columns, expected = header, len(record)
                continue
        if len(record) != expected:
            fault = wrong_count(expected, record, physical[line - 1])
            fault.name = record[columns[0]].strip() if columns[0] < len(record) else ""
            yield line, fault
        else:
            yield line, (record[columns[0]], record[columns[1]])


def records(physical: list[str]) -> Iterator[tuple[int, list[str] | LineError]]:
    """Logical records with the line they begin at. After a fault, reading goes on with the line behind the one it began at."""
    begin = 0
    while begin < len(physical):
        reader = csv.reader(_from(physical, begin), strict=True, skipinitialspace=True)
        line = begin
        try:
            for record in reader:
                yield line + 1, record
                line = begin + reader.line_num
            return
        except csv.Error as error:
            spans = begin + reader.line_num > line + 1
            fault = _csv_fault(str(error), spans, physical[line])
            fault.name = physical[line].partition(",")[0].strip()
            yield line + 1, fault
        begin = line + 1


def _from(physical: list[str], begin: int) -> Iterator[str]:
    for index in range(begin, len(physical)):
        yield physical[index]


def _csv_fault(reason: str, spans: bool, line: str) -> LineError:
    text = shown(line.strip(), CLIP)
    if "field limit" in reason:
        return LineError(say("A field is longer than {limit} characters; perhaps a quote was never closed.", limit=LONGEST_FIELD))
    if spans or "unexpected end" in reason:
        return LineError(say("Invalid format (a quote opens here and isn't closed): {text}", text=text), say('Close the quote with ".'))
    return LineError(say("Invalid format (text after a closing quote): {text}", text=text), say('Double a quote inside a quoted caption: "".'))


def wrong_count(expected: int, record: list[str], line: str) -> LineError:
    """Why a record that has not as many fields as expected can't be used; `line` is how it is written."""
    text = shown(line.strip(), CLIP)
    message = say('Invalid format (expected {expected} fields, found {found}): "{text}"', expected=expected, found=len(record), text=text)
    if len(record) > expected:
        return LineError(message, say("Put captions that hold commas in double quotes."))
    if ";" in line or "\t" in line:
        return LineError(message, say("Separate the fields with commas, not with semicolons or tabs."))
    return LineError(message, say('Write each line as name,"caption".'))


def columns_of(record: list[str]) -> tuple[int, int] | LineError | None:
    """Columns of name and caption; None when the first record is a row already."""
    words = [field.strip().lower() for field in record]
    name = next((words.index(word) for word in NAMES if word in words), None)
    text = next((words.index(word) for word in TEXTS if word in words), None)
    if name is not None and text is not None:
        return name, text
    if name is None and (text is None or any("." in word for word in words)):
        return None
    if any("." in word for word in words):
        return None
    found = shown(", ".join(words), CLIP)
    names, texts = ", ".join(NAMES), ", ".join(TEXTS)
    if text is None:
        return LineError(say("The header has no column for captions ({known}): {found}", known=texts, found=found))
    return LineError(say("The header has no column for names ({known}): {found}", known=names, found=found))


def _json_rows(text: str) -> Iterator[tuple[int, tuple[str, str] | LineError]]:
    for line, written in enumerate(io.StringIO(text, newline=None), 1):
        if not written.strip():
            continue
        try:
            yield line, _json_row(written)
        except LineError as fault:
            name = re.search(NAME, written)
            fault.name = name[1] if name else ""
            yield line, fault


def _json_row(written: str) -> tuple[str, str]:
    row = parsed(written)
    if not isinstance(row, dict):
        example = '{"file_name": "01.png", "text": "a cat"}'
        raise LineError(say("Expected an object, found {found}.", found=kind_of(row)), say("Write each line as {example}.", example=example))
    return _value(row, NAMES), _value(row, TEXTS)


def parsed(written: str) -> Any:
    """The JSON value of a line. Raises LineError for what is no JSON: NaN, a name that stands there twice, depths without end."""
    if len(written) > LONGEST_LINE:
        raise LineError(say("The line is longer than {limit} characters.", limit=LONGEST_LINE))
    try:
        return STRICT.decode(written.strip())
    except RecursionError:
        raise LineError(say("It is nested too deeply.")) from None
    except json.JSONDecodeError as error:
        reason = say("{reason}, at character {place}", reason=error.msg, place=error.pos + 1)
        raise LineError(say("Invalid JSON ({reason}): {text}", reason=reason, text=shown(written.strip(), CLIP))) from None


def _value(row: dict[str, Any], keys: tuple[str, ...]) -> str:
    key = next((key for key in keys if key in row), None)
    if key is None:
        raise LineError(say("A field is missing: one of {keys}.", keys=", ".join(keys)))
    value = row[key]
    if not isinstance(value, str):
        raise LineError(say("{key} must be a text, found {found}.", key=key, found=kind_of(value)))
    if len(value) > LONGEST_FIELD:
        raise LineError(say("{key} is longer than {limit} characters.", key=key, limit=LONGEST_FIELD))
    return value


def kind_of(value: object) -> str:
    """What JSON calls a value."""
    return {dict: "object", list: "array", str: "text", bool: "true/false", type(None): "null"}.get(type(value), "number")


def _constant(name: str) -> None:
    raise LineError(say("{name} is no JSON.", name=name))


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python refuses to read more than 4,300 digits
        raise LineError(say("A number has {count} digits.", count=len(digits))) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise LineError(say("{key} stands there twice.", key=shown(key, CLIP)))
        found[key] = value
    return found


STRICT = json.JSONDecoder(parse_constant=_constant, parse_int=_integer, object_pairs_hook=_once)
"""Raises LineError for what other readers take differently."""

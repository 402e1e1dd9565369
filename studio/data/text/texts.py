"""Files of texts → conversations and plain texts: JSON lines, JSON, CSV and .txt, with every line that is wrong."""

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from studio.data.importing import open_folder
from studio.data.listing import scan
from studio.data.problems import FaultyDataError, Problem, shown
from studio.data.tables import CLIP, LONGEST_LINE, STRICT, LineError, clean, kind_of, parsed, read_text, records, wrong_count
from studio.data.text.conversations import Columns, TextExample, example_of, form_of
from studio.errors import DataError
from studio.language import say

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".txt")
LARGEST_FILE = 256 * 1024**2
CAPTIONS = ("metadata.jsonl", "metadata.csv")
"""They speak of pictures, wherever these are."""
NO_DATA = frozenset({"readme.txt", "license.txt", "licence.txt", "requirements.txt", "dataset_info.json", "dataset_infos.json"})
SAMPLES = 3
LENIENT = json.JSONDecoder(parse_int=str)
LEFT_OUT = "format"
"""The kind of a problem that concerns one row only."""
BLANK = re.compile(r"[ \t\r\n]*")

Record = tuple[int, Mapping[str, Any] | LineError]


class TextRow(NamedTuple):
    """A text, and the file and physical line (from 1) that it begins at. `form` is one of FORMS."""

    file: str
    line: int
    form: str
    example: TextExample


class FileError(LineError):
    """Why a file can't be read beyond a line."""


class Unknown(NamedTuple):
    """A file whose columns say nothing by their names, with the first values of each."""

    file: str
    columns: dict[str, list[str]]


@dataclass(frozen=True)
class Texts:
    """What files of texts say, in their order, and everything that can't be used."""

    rows: tuple[TextRow, ...]
    problems: tuple[Problem, ...] = ()
    unknown: tuple[Unknown, ...] = ()

    @property
    def fingerprint(self) -> str:
        """sha256 over the texts, in order: other files or formats that say the same change nothing."""
        total = hashlib.sha256()
        for row in self.rows:
            total.update(json.dumps(row.example.row).encode() + b"\n")
        return total.hexdigest()


class UnknownColumnsError(DataError):
    """Nobody can tell which column holds what. `unknown` has the columns, to choose from."""

    def __init__(self, unknown: Sequence[Unknown]) -> None:
        self.unknown = tuple(unknown)
        problems = [_unknown(file) for file in self.unknown]
        super().__init__("\n".join(map(str, problems)), problems[0].fix)


def text_files(names: Sequence[str]) -> list[str]:
    """Those of the names that may hold texts."""
    kept = [name for name in names if PurePosixPath(name).suffix.lower() in ENDINGS]
    return [name for name in kept if PurePosixPath(name).name.lower() not in {*NO_DATA, *CAPTIONS}]


def holds_texts(source: Path, metadata: Path | None = None, extract_to: Path | None = None) -> bool:
    """Whether texts are there to learn from, and no pictures."""
    if source.is_file() and source.suffix.lower() in ENDINGS:
        return True
    try:
        listing = scan(open_folder(source, extract_to))
    except FaultyDataError:
        return False
    return not listing.pictures and bool(metadata or text_files(listing.others))


def read_texts(source: Path, columns: Columns | None = None, metadata: Path | None = None, extract_to: Path | None = None) -> Texts:
    """All texts of a folder, a zip or one file; with `metadata` only those of that file. Faults are in the result;
    only a source that can't be opened raises (FaultyDataError, MachineError)."""
    alone = metadata or (source if source.is_file() and source.suffix.lower() in ENDINGS else None)
    if alone:
        return joined([read_file(alone, columns=columns)])
    folder = open_folder(source, extract_to)
    listing = scan(folder)
    found = joined([Texts((), listing.problems), *(read_file(folder / name, name, columns) for name in text_files(listing.others))])
    if not found.rows and not found.problems:
        fix = say("Put .jsonl, .json, .csv or .txt files there, or correct train_data_dir.")
        return Texts((), (Problem(shown(folder), None, say("There are no texts in the folder."), fix, kind="empty"),))
    return found


def gather(source: Path, columns: Columns | None = None, metadata: Path | None = None, extract_to: Path | None = None) -> Texts:
    """The same for a run. Raises UnknownColumnsError, and FaultyDataError with all errors there are."""
    found = read_texts(source, columns, metadata, extract_to)
    if found.unknown:
        raise UnknownColumnsError(found.unknown)
    if errors := [problem for problem in found.problems if problem.severity == "error"]:
        raise FaultyDataError(errors)
    return found


def joined(parts: Sequence[Texts]) -> Texts:
    """Several files as one."""
    return Texts(
        tuple(row for part in parts for row in part.rows),
        tuple(problem for part in parts for problem in part.problems),
        tuple(unknown for part in parts for unknown in part.unknown),
    )


def read_file(path: Path, name: str | None = None, columns: Columns | None = None) -> Texts:
    """The texts of one file; the ending decides. Faults are in the result, nothing is raised. `name` stands for the file in a message."""
    name = shown(name or path.name)
    text, problem = read_text(path, name, LARGEST_FILE)
    if text is None:
        return Texts((), (problem,) if problem else ())
    suffix = path.suffix.lower() if path.suffix.lower() in ENDINGS else PurePosixPath(name).suffix.lower()
    readers = {".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json, ".csv": _csv, ".txt": _documents}
    if suffix not in readers:
        message = say("A file of texts ends in .jsonl, .json, .csv or .txt.")
        return Texts((), (Problem(name, None, message, say("Save the texts as JSON lines."), kind="source"),))
    made = _collected(name, list(readers[suffix](text)), columns if suffix != ".txt" else None)
    if not made.rows and not made.problems:
        return Texts((), (Problem(name, None, say("There is no text in the file."), say("Save it again, or take it away."), kind="empty"),))
    return made


def _collected(name: str, found: list[Record], columns: Columns | None) -> Texts:
    rows: list[TextRow] = []
    problems: list[Problem] = []
    strange: list[tuple[int, Mapping[str, Any]]] = []
    for line, record in found:
        try:
            if isinstance(record, LineError):
                raise record
            made = example_of(record, columns)
            if made and _too_long(made[1]):
                raise LineError(say("The text is longer than {limit} characters.", limit=LONGEST_LINE), say("Split it into several."))
        except LineError as fault:
            problems.append(Problem(name, line, fault.message, fault.fix, kind="broken" if isinstance(fault, FileError) else LEFT_OUT))
            continue
        if made is None:
            strange.append((line, record))
        else:
            rows.append(TextRow(name, line, *made))
    if strange and not rows:
        unknown = Unknown(name, _columns([record for _, record in strange]))
        return Texts((), (_unknown(unknown), *problems), (unknown,))
    for line, record in strange:
        message = say("The fields are not known: {names}.", names=shown(", ".join(record), 2 * CLIP))
        problems.append(Problem(name, line, message, say("Give all rows of a file the same fields."), kind=LEFT_OUT))
    return Texts(tuple(rows), tuple(sorted(problems, key=lambda problem: problem.line or 0)))


def _too_long(example: TextExample) -> bool:
    """Whether it would not be read again as a line of JSON, where a character takes up to six."""
    return len(example.whole) > LONGEST_LINE // 6 and len(json.dumps(example.row, ensure_ascii=False)) > LONGEST_LINE


def _columns(records: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The columns of the first records, each with its first values."""
    found: dict[str, list[str]] = {}
    for record in records[:20]:
        for column, value in record.items():
            samples = found.setdefault(column, [])
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            if text.strip() and len(samples) < SAMPLES:
                samples.append(shown(" ".join(text.split()), CLIP))
    return found


def _unknown(file: Unknown) -> Problem:
    columns = "; ".join(f"{shown(name, CLIP)} ({samples[0] if samples else '–'})" for name, samples in file.columns.items())
    message = say("It isn't clear which column holds what: {columns}.", columns=shown(columns, 600))
    fix = say("Say it with --columns prompt=…,response=… or --columns text=…; in the app you are asked.")
    return Problem(file.file, None, message, fix, kind="columns")


def _object(value: object) -> Mapping[str, Any] | LineError:
    if isinstance(value, dict) and value:
        return value
    example = '{"prompt": "…", "response": "…"}'
    return LineError(say("Expected an object, found {found}.", found=kind_of(value)), say("Write each line as {example}.", example=example))


def _json_lines(text: str) -> Iterator[Record]:
    for line, written in enumerate(io.StringIO(text, newline=None), 1):
        if not written.strip():
            continue
        try:
            yield line, _object(parsed(written))
        except LineError as fault:
            yield line, fault


def _csv(text: str) -> Iterator[Record]:
    physical = list(io.StringIO(text, newline=""))
    header: list[str] | None = None
    for line, record in records(physical):
        if isinstance(record, LineError):
            yield line, record
        elif not any(field.strip() for field in record):
            continue
        elif header is None:
            header = [field.strip() for field in record]
            if fault := _header_fault(header, physical[line - 1]):
                yield line, fault
                return
        elif len(record) != len(header):
            fault = wrong_count(len(header), record, physical[line - 1])
            yield line, LineError(fault.message, say("Put fields that hold commas or line breaks in double quotes."))
        else:
            yield line, dict(zip(header, record, strict=True))


def _header_fault(header: list[str], line: str) -> LineError | None:
    if len(header) == 1 and (";" in line or "\t" in line):
        message = say("The header has one column: {text}", text=shown(line.strip(), CLIP))
        return FileError(message, say("Separate the fields with commas, not with semicolons or tabs."))
    twice = next((name for name in header if header.count(name) > 1), None)
    return FileError(say("The header names the column {name} twice.", name=shown(twice, CLIP))) if twice is not None else None


def _documents(text: str) -> Iterator[Record]:
    """Texts with blank lines between them."""
    lines = io.StringIO(text, newline=None).read().split("\n")
    begin = 0
    for line in range(len(lines) + 1):
        if line < len(lines) and lines[line].strip():
            continue
        if begin < line:
            try:
                yield begin + 1, {"text": clean("\n".join(lines[begin:line]))}
            except LineError as fault:
                yield begin + 1, fault
        begin = line + 1


def _json(text: str) -> Iterator[Record]:
    """The objects of a list, or of the one list in an object, each with the line it begins at."""
    at = _blank(text, 0)
    try:
        if text.startswith("{", at):
            at, alone = _list_inside(text, at)
            if alone:
                yield 1, alone
                return
        if not text.startswith("[", at):
            raise FileError(say("Expected a list of objects."), say("Save it as a list, or as JSON lines in a .jsonl file."))
    except FileError as fault:
        yield 1, fault
        return
    line, counted = 1, 0
    at = _blank(text, at + 1)
    while not text.startswith("]", at):
        line, counted = line + text.count("\n", counted, at), at
        try:
            _, end = _lenient(text, at)
        except FileError as fault:
            yield line, fault
            return
        try:
            yield line, _object(STRICT.decode(text[at:end]))
        except LineError as fault:
            yield line, fault
        at = _blank(text, end)
        if text.startswith(",", at):
            at = _blank(text, at + 1)
        elif not text.startswith("]", at):
            reason = say("a comma or ] is missing")
            yield line + text.count("\n", counted, at), FileError(_invalid(reason, text, at), say("Save it again, or as JSON lines."))
            return


def _list_inside(text: str, at: int) -> tuple[int, Mapping[str, Any] | None]:
    """Where the only list of the object at `at` begins; or the object itself, where it is a row of its own. Raises FileError."""
    value, _ = _lenient(text, at)
    if form_of(tuple(value)):
        return at, value
    lists = [name for name, part in value.items() if isinstance(part, list)]
    if len(lists) != 1:
        names = shown(", ".join(value), 2 * CLIP)
        message = say("Expected a list of objects, or an object with one list; found the fields {names}.", names=names)
        raise FileError(message, say("Save it as a list, or as JSON lines in a .jsonl file."))
    at = _blank(text, at + 1)
    while True:
        name, end = _lenient(text, at)
        at = _blank(text, _blank(text, end) + 1)
        if name == lists[0]:
            return at, None
        _, end = _lenient(text, at)
        at = _blank(text, _blank(text, end) + 1)


def _lenient(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends. Raises FileError for what is no JSON at all."""
    try:
        return LENIENT.raw_decode(text, at)
    except RecursionError:
        raise FileError(say("It is nested too deeply.")) from None
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, {error.lineno}:{error.colno}"
        raise FileError(_invalid(reason, text, error.pos), say("Save it again, or as JSON lines.")) from None


def _invalid(reason: str, text: str, at: int) -> str:
    return say("Invalid JSON ({reason}): {text}", reason=reason, text=shown(" ".join(text[at : at + CLIP].split()), CLIP))


def _blank(text: str, at: int) -> int:
    """Where what isn't blank begins."""
    found = BLANK.match(text, at)
    return found.end() if found else at

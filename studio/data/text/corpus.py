"""A text dataset of the workspace: one file, rows.jsonl, a conversation or a text a line. It is never written over what somebody else wrote."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from studio.data.album import lock
from studio.data.listing import scan
from studio.data.problems import Problem, shown
from studio.data.tables import CLIP, LineError, clean, parsed
from studio.data.text.conversations import TextExample, example_of
from studio.data.text.texts import TextRow, Texts, joined, read_file, text_files
from studio.errors import DataError, InputError, MachineError
from studio.files import write_atomically
from studio.language import say

FILE = "rows.jsonl"
LONGEST = 200_000
"""Characters of a message that is written in the app."""

Written = Mapping[str, Any]


class TextEdit(NamedTuple):
    """The row at `line` that shall become `after`, where it is `before`; no `after` takes it out, no `before` puts it in there."""

    line: int
    before: Written | None
    after: Written | None


class TextConflict(NamedTuple):
    """An edit that was not made: the row isn't what the person saw; nothing where it is gone."""

    line: int
    mine: Written | None
    theirs: Written | None


@dataclass(frozen=True)
class Corpus:
    """The texts of a folder as they are now. `stamp` changes when a file does; only rows.jsonl can be edited."""

    folder: Path
    texts: Texts
    stamp: str
    editable: bool

    @property
    def rows(self) -> tuple[TextRow, ...]:
        """Its rows, in order."""
        return self.texts.rows

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The lines that can't be used."""
        return self.texts.problems


def is_corpus(folder: Path) -> bool:
    """Whether the folder is a text dataset that was made here."""
    return (folder / FILE).is_file() and not scan(folder).pictures


def open_corpus(folder: Path) -> Corpus:
    """Look at a folder; what stands as it stood is not read again. Raises DataError when it is no folder."""
    if not folder.is_dir():
        raise DataError(say("{path}: there is no such folder.", path=folder), say("It may have been moved or renamed."))
    seen = []
    for name in text_files(scan(folder).others):
        file = (folder / name).stat()
        seen.append((name, file.st_mtime_ns, file.st_size, file.st_ino))
    return _opened(folder, tuple(seen))


@lru_cache(maxsize=4)
def _opened(folder: Path, seen: tuple[tuple[str, int, int, int], ...]) -> Corpus:
    texts = joined([read_file(folder / name, name) for name, *_ in seen])
    return Corpus(folder, texts, hashlib.sha256(repr(seen).encode()).hexdigest()[:16], [name for name, *_ in seen] == [FILE])


def add(folder: Path, rows: Iterable[TextRow]) -> int:
    """Put rows at the end of rows.jsonl. Returns how many were left out because they stand there already. Raises MachineError."""
    with FileLock(lock(folder)):
        there = _lines(folder)
        known = set(there)
        new = [_line(row.example) for row in rows]
        kept = [line for line in new if line not in known]
        _write(folder, [*there, *kept], first=not there)
        return len(new) - len(kept)


def save(folder: Path, edits: Iterable[TextEdit]) -> tuple[Corpus, list[TextConflict]]:
    """Make the edits whose `before` still stands, wherever its line went; the others come back. Several at once wait for each other.

    Raises InputError for what is no row, DataError where there is no rows.jsonl, MachineError where it can't be written.
    """
    with FileLock(lock(folder)):
        lines: list[str | None] = list(_lines(folder))
        if not lines:
            raise DataError(say("{path}: there is no such file.", path=FILE), say("Import the texts first: then they can be edited."))
        conflicts, changed = [], False
        for edit in edits:
            after = _line(_example(edit.after)) if edit.after is not None else None
            if edit.before is None:
                place = min(max(edit.line - 1, 0), len(lines))
                lines[place:place] = [after]
                changed = True
                continue
            before = _line(_example(edit.before))
            at = _find(lines, edit.line - 1, before)
            if at is not None:
                changed |= lines[at] != after
                lines[at] = after
            elif after is None or _find(lines, edit.line - 1, after) is None:
                theirs = next(_read([lines[edit.line - 1]]), None) if 0 < edit.line <= len(lines) else None
                conflicts.append(TextConflict(edit.line, edit.after, theirs.row if theirs else None))
        if changed:
            _write(folder, [line for line in lines if line is not None])
    return open_corpus(folder), conflicts


def _find(lines: list[str | None], at: int, wanted: str) -> int | None:
    """The line that says `wanted`: the one at `at`, else the nearest."""
    if 0 <= at < len(lines) and any(_line(found) == wanted for found in _read([lines[at]])):
        return at
    same = [index for index, line in enumerate(lines) if line is not None and any(_line(found) == wanted for found in _read([line]))]
    return min(same, key=lambda index: abs(index - at), default=None)


def _read(lines: Iterable[str | None]) -> Iterator[TextExample]:
    for line in lines:
        try:
            found = example_of(parsed(line)) if line else None
        except (LineError, AttributeError):  # a line that somebody broke is nobody's row
            continue
        if found:
            yield found[1]


def _example(row: Written) -> TextExample:
    try:
        found = example_of(row)
    except LineError as fault:
        raise InputError(fault.message, fault.fix) from None
    if found is None or len(found[1].whole) > LONGEST:
        raise InputError(say("That is no row of texts."), say("Write at most {limit} characters.", limit=LONGEST))
    return found[1]


def _line(example: TextExample) -> str:
    return json.dumps(example.row, ensure_ascii=False)


def _lines(folder: Path) -> list[str]:
    path = folder / FILE
    try:
        text = clean(path.read_text(encoding="utf-8-sig")) if path.exists() else ""
    except (OSError, UnicodeDecodeError, LineError):
        raise DataError(say("{file} has lines that can't be read; saving would lose them.", file=FILE), say("Mend the file first.")) from None
    return [line for line in text.split("\n") if line.strip()]


def _write(folder: Path, lines: list[str], first: bool = False) -> None:
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not first and path.exists() and not (kept := path.with_name(path.name + ".bak")).exists():
            write_atomically(kept, path.read_bytes())
        write_atomically(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise MachineError(
            say("{path}: can't be written: {reason}", path=shown(folder, 2 * CLIP), reason=error.strerror or error), say("Check its permissions.")
        ) from None

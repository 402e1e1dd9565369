"""A dataset whose captions are edited. Their one home is the file that they were read from; it is written whole, and never over a text that
somebody else wrote meanwhile."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from filelock import FileLock

from studio import home
from studio.data.captions import ENDINGS, SIDECARS, Captions, read_captions
from studio.data.listing import Listing, scan
from studio.data.problems import shown
from studio.data.tables import NAMES, TEXTS, columns_of, read_text, relative
from studio.errors import DataError, MachineError
from studio.files import write_atomically
from studio.language import say

NEW = "metadata.csv"
LONGEST = 20_000


class Edit(NamedTuple):
    """A picture's caption that shall become `after`, where it is `before`."""

    name: str
    before: str
    after: str


class Conflict(NamedTuple):
    """An edit that was not made: the caption isn't what the person saw."""

    name: str
    mine: str
    theirs: str


@dataclass(frozen=True)
class Album:
    """The pictures and captions of a folder as they are now. `stamp` changes when a caption or the set of pictures does."""

    folder: Path
    listing: Listing
    captions: Captions
    stamp: str
    metadata: Path | None = None

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Name and caption of each picture, by name."""
        return [(name, self.captions.texts.get(name, "")) for name in self.listing.pictures]

    @property
    def source(self) -> str:
        """The file that the captions are in, or will be."""
        if self.metadata:
            return str(self.metadata)
        return self.captions.source if self.captions.texts or self.captions.source != SIDECARS else NEW


def open_album(folder: Path, metadata: Path | None = None) -> Album:
    """Look at a folder, with the captions in `metadata` when that file is given and there. Raises DataError when it is no folder."""
    if not folder.is_dir():
        raise DataError(say("{path}: there is no such folder.", path=folder), say("It may have been moved or renamed."))
    listing = scan(folder)
    captions = read_captions(folder, listing, metadata if metadata and metadata.exists() else None)
    total = hashlib.sha256()
    for name in listing.pictures:
        total.update(f"{name}\0{captions.texts.get(name, '')}\0".encode("utf-8", "surrogatepass"))
    return Album(folder, listing, captions, total.hexdigest()[:16], metadata)


def save(folder: Path, edits: Iterable[Edit], metadata: Path | None = None) -> tuple[Album, list[Conflict]]:
    """Make the edits whose `before` still stands; the others come back. Several at once wait for each other.

    Raises DataError where the file has lines that can't be read (they would be lost), MachineError where it can't be written.
    """
    with FileLock(lock(folder)):
        album = open_album(folder, metadata)
        if metadata and not metadata.exists():  # it begins with what the folder's own captions say
            edits = [*(Edit(name, text, text) for name, text in album.captions.texts.items() if text), *edits]
        changes: dict[str, str] = {}
        conflicts = []
        pictures = frozenset(album.listing.pictures)
        for name, before, after in edits:
            now = album.captions.texts.get(name, "")
            text = " ".join(after.split())[:LONGEST]
            if name not in pictures:
                raise DataError(say("There is no picture {name} any more.", name=shown(name, 80)), say("Open the dataset anew."))
            if now not in (before, text):
                conflicts.append(Conflict(name, text, now))
            elif now != text or (metadata and not metadata.exists()):
                changes[name] = text
        if changes:
            _write(album, changes)
        return open_album(folder, metadata), conflicts


def _write(album: Album, changes: dict[str, str]) -> None:
    try:
        if album.source == SIDECARS:  # never with a file of its own
            others = frozenset(album.listing.others)
            for name, text in changes.items():
                write_atomically(album.folder / _beside(name, others), text + "\n", durable=False)
            return
        path = album.folder / album.source
        written = _rewritten(path, album, changes)
        if path.exists() and not (kept := path.with_name(path.name + ".bak")).exists():
            write_atomically(kept, path.read_bytes())
        write_atomically(path, written)
    except OSError as error:
        raise MachineError(
            say("{path}: can't be written: {reason}", path=album.folder, reason=error.strerror or error), say("Check its permissions.")
        ) from None


def _beside(name: str, others: frozenset[str]) -> PurePosixPath:
    """The text file of a picture: the one that is there, else a new .txt."""
    found = (PurePosixPath(name).with_suffix(ending) for ending in ENDINGS)
    return next((file for file in found if str(file) in others), PurePosixPath(name).with_suffix(ENDINGS[0]))


def _rewritten(path: Path, album: Album, changes: dict[str, str]) -> str:
    """The whole file with other captions: header, order, other columns and fields stay."""
    if any(problem.severity == "error" and problem.line for problem in album.captions.problems):
        raise DataError(
            say("{file} has lines that can't be read; saving would lose them.", file=path.name), say("Mend the lines that are named above first.")
        )
    text = "" if not path.exists() else read_text(path)[0] or ""
    left = dict(changes)

    def caption(name: str) -> str | None:
        found = album.listing.find(relative(name))
        return left.pop(found, album.captions.texts.get(found)) if found else None

    return (_json if path.suffix.lower() != ".csv" else _csv)(text, caption, left)


def _csv(text: str, caption: Callable[[str], str | None], left: dict[str, str]) -> str:
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), skipinitialspace=True) if row]
    found = columns_of(rows[0]) if rows else (0, 1)
    if not rows:
        rows = [[NAMES[0], TEXTS[0]]]
    name, column = found if isinstance(found, tuple) else (0, 1)
    begins = 0 if found is None else 1
    for row in rows[begins:]:
        if len(row) > max(name, column) and (new := caption(row[name])) is not None:
            row[column] = new
    for picture, new in left.items():
        row = [""] * max(len(rows[0]), name + 1, column + 1)
        row[name], row[column] = picture, new
        rows.append(row)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _json(text: str, caption: Callable[[str], str | None], left: dict[str, str]) -> str:
    lines = []
    for line in io.StringIO(text, newline=None):
        if not line.strip():
            continue
        row = json.loads(line)
        name = next(key for key in NAMES if key in row)
        if (new := caption(row[name])) is not None:
            row[next(key for key in TEXTS if key in row)] = new
        lines.append(json.dumps(row, ensure_ascii=False))
    lines += [json.dumps({NAMES[0]: picture, TEXTS[0]: new}, ensure_ascii=False) for picture, new in left.items()]
    return "".join(f"{line}\n" for line in lines)


def lock(folder: Path) -> Path:
    """What those wait for who save in `folder`. It lies beside the cache, not in the person's folder."""
    place = home.cache() / "locks"
    place.mkdir(parents=True, exist_ok=True)
    return place / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.lock"

"""Opening what a person has: a folder as it is, a zip unpacked with care, once for the same bytes."""

import errno
import hashlib
import lzma
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from studio.data.problems import FaultyDataError, Problem, shown
from studio.errors import MachineError
from studio.language import say

MOST_ENTRIES = 20_000
MOST_BYTES = 32 * 1024**3
STEEPEST_RATIO = 100
HARMLESS_BYTES = 32 * 1024**2
"""Below this, no ratio of unpacked to packed bytes is a bomb: drawings of few colours compress a thousandfold."""

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz")


class Entry(NamedTuple):
    """A file in a zip, and where it goes, below the folder it is unpacked to."""

    info: zipfile.ZipInfo
    target: PurePosixPath


def open_folder(source: Path, extract_to: Path | None) -> Path:
    """The folder with the pictures: `source` itself, or for a zip `extract_to/<hash of its bytes>`, stepping into a single folder
    at its top. A zip is unpacked whole or not at all. Raises FaultyDataError (input) or MachineError (no room on the disk).
    """
    if source.is_dir():
        _refuse_empty(source)
        return source
    with _archive(source) as archive:
        entries, _ = _plan(source, archive)
        if extract_to is None:
            raise _refused(source, say("It is a zip, and there is no folder to unpack it to."), say("Unpack it and give the folder."))
        target = extract_to / _content(source)[:16]
        if not target.is_dir():
            _extract(source, archive, entries, target)
    inside = [path for path in target.iterdir() if not path.name.startswith(".")]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else target


def archive_findings(source: Path) -> tuple[Problem, ...]:
    """What of a zip is left out when it is unpacked; nothing for a folder. Raises FaultyDataError as `open_folder` does."""
    if source.is_dir():
        return ()
    with _archive(source) as archive:
        return tuple(_plan(source, archive)[1])


def _refuse_empty(folder: Path) -> None:
    try:
        empty = next(folder.iterdir(), None) is None
    except OSError as error:
        raise _refused(folder, say("The folder can't be read: {reason}", reason=error.strerror), say("Check its permissions.")) from None
    if empty:
        raise _refused(folder, say("The folder is empty."), say("Put the pictures there, or correct train_data_dir."))


def _archive(source: Path) -> zipfile.ZipFile:
    try:
        if not source.exists():
            raise _refused(source, say("There is no such folder or file."), say("Correct train_data_dir; paths begin where you call from."))
        if not source.is_file():
            raise zipfile.BadZipFile
        if source.stat().st_size == 0:
            raise _refused(source, say("The file is empty (0 bytes)."), say("Copy or download it again."))
        _refuse_many(source, _declared_entries(source))
        return zipfile.ZipFile(source)
    except zipfile.BadZipFile:
        ending = source.suffix.lower() == ".zip"
        fix = say("Copy or download it again.") if ending else say("Give a folder with pictures, or a zip of one.")
        raise _refused(source, say("It is neither a folder nor a whole zip."), fix) from None
    except (OSError, ValueError, NotImplementedError) as error:
        raise _refused(source, say("The file can't be read: {reason}", reason=shown(error)), say("Check its permissions.")) from None


def _declared_entries(source: Path) -> int:
    """How many entries the end of a zip speaks of; 0 where it isn't found. `zipfile` would first read all of them into memory."""
    with source.open("rb") as file:
        file.seek(-min(source.stat().st_size, 22 + 0xFFFF), os.SEEK_END)
        tail = file.read()
        end = tail.rfind(b"PK\x05\x06")
        count = int.from_bytes(tail[end + 10 : end + 12], "little") if end >= 0 else 0
        locator = tail[end - 20 : end] if end >= 20 else b""
        if count == 0xFFFF and locator.startswith(b"PK\x06\x07"):  # zip64: the number stands in a record of its own
            file.seek(min(int.from_bytes(locator[8:16], "little"), source.stat().st_size) + 32)
            count = int.from_bytes(file.read(8), "little")
    return count


def _refuse_many(source: Path, count: int) -> None:
    if count > MOST_ENTRIES:
        message = say("It has {count} entries; more than {limit} aren't unpacked.", count=count, limit=MOST_ENTRIES)
        raise _refused(source, message, say("Unpack it yourself and give the folder."))


def _content(source: Path) -> str:
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plan(source: Path, archive: zipfile.ZipFile) -> tuple[list[Entry], list[Problem]]:
    """Which entries are unpacked, and findings about the others. Raises FaultyDataError for everything that no honest zip holds."""
    infos = archive.infolist()
    _refuse_many(source, len(infos))
    bad = [problem for info in infos if (problem := _dangerous(source, info))]
    if bad:
        raise FaultyDataError(bad)
    _refuse_bomb(source, infos)
    entries: dict[PurePosixPath, Entry] = {}
    findings = []
    for info in infos:
        target = PurePosixPath(*_parts(info.filename))
        if info.is_dir() or info.filename.endswith("\\") or _hidden(target):
            continue
        if target.suffix.lower() in ARCHIVES:
            message = say("It is an archive inside the archive and left out.")
            findings.append(Problem(shown(target), None, message, say("Unpack it yourself."), "warning", "archive"))
        elif target in entries:
            message = say("The zip holds two files of this name; the first is used.")
            findings.append(Problem(shown(target), None, message, say("Rename one of them."), "warning", "archive"))
        else:
            entries[target] = Entry(info, target)
    if not entries:
        raise _refused(source, say("There are no files in the zip."), say("Put the pictures there, or correct train_data_dir."))
    return list(entries.values()), findings


def _parts(name: str) -> list[str]:
    # Some programs write \ between the parts, and on Windows it would be taken for that everywhere.
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def _hidden(target: PurePosixPath) -> bool:
    return not target.parts or any(part.startswith(".") or part == "__MACOSX" for part in target.parts)


def _dangerous(source: Path, info: zipfile.ZipInfo) -> Problem | None:
    name = info.filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in _parts(name):
        message = say("{name} would be written outside of the folder.", name=shown(name, 80))
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        message = say("{name} is a link or a device, not a file.", name=shown(name, 80))
    elif info.flag_bits & 1:
        message = say("{name} is locked with a password.", name=shown(name, 80))
    else:
        return None
    return Problem(shown(source.name), None, message, say("Unpack it yourself and give the folder."), kind="archive")


def _refuse_bomb(source: Path, infos: list[zipfile.ZipInfo]) -> None:
    total = sum(info.file_size for info in infos)
    if total > MOST_BYTES:
        message = say("It would unpack to {size} GB; the most is {limit} GB.", size=total // 1024**3, limit=MOST_BYTES // 1024**3)
        raise _refused(source, message, say("Unpack it yourself and give the folder."))
    packed = max(1, min(source.stat().st_size, sum(info.compress_size for info in infos)))
    if total > HARMLESS_BYTES and total > STEEPEST_RATIO * packed:
        message = say("It would unpack to {ratio} times its size; the most is {limit} times.", ratio=total // packed, limit=STEEPEST_RATIO)
        raise _refused(source, message, say("Unpack it yourself and give the folder."))


def _extract(source: Path, archive: zipfile.ZipFile, entries: list[Entry], target: Path) -> None:
    """Unpack beside `target` and rename, so that `target` is whole when it is there."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        needed = sum(entry.info.file_size for entry in entries)
        free = shutil.disk_usage(target.parent).free
        if free < needed:
            message = say("{name} needs {needed} MB to unpack; {free} MB are free.", name=shown(source.name), needed=needed >> 20, free=free >> 20)
            raise MachineError(message, say("Make room on the disk."))
        part = Path(tempfile.mkdtemp(prefix=f"{target.name}.part-", dir=target.parent))
    except OSError as error:
        raise _unpackable(source, error) from None
    try:
        for info, name in entries:
            file = part / name
            file.parent.mkdir(parents=True, exist_ok=True)
            # zipfile reads no more than the size an entry declares, and checks it: sizes that lie end as BadZipFile.
            with archive.open(info) as packed, file.open("xb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1024**2)
        if hasattr(os, "sync"):
            os.sync()  # the rename must not reach the disk before the files do
        part.rename(target)
    except (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if not target.is_dir():  # else another process was faster
            raise _unpackable(source, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpackable(source: Path, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
        name, reason = shown(source.name), error.strerror
        return MachineError(say("{name} can't be unpacked: {reason}", name=name, reason=reason), say("Check the disk that the workspace is on."))
    return _refused(source, say("The zip is damaged: {reason}", reason=shown(error, 120)), say("Copy or download it again."))


def _refused(source: Path, message: str, fix: str) -> FaultyDataError:
    return FaultyDataError([Problem(shown(source), None, message, fix, kind="source")])

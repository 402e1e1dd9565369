"""A dataset out again, in the forms that other trainers read. Pictures are copied byte by byte; where they come from nothing changes."""

import csv
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from studio.data import album
from studio.data.listing import MASKS
from studio.errors import DataError, InputError, MachineError
from studio.language import say

Form = Literal["csv", "jsonl", "txt", "caption", "kohya"]
FORMS: tuple[Form, ...] = get_args(Form)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Exported:
    """Where it lies, how many pictures it has, and those that had to be renamed: name there → name here."""

    target: Path
    pictures: int
    renamed: dict[str, str]


def unwatched(done: int, total: int) -> None:
    """Progress that nobody watches."""


def export(folder: Path, target: Path, form: Form = "csv", repeats: int = 1, name: str = "", progress: Progress = unwatched) -> Exported:
    """Write `folder` into `target`, a new folder or a new .zip: `csv` and `jsonl` with one metadata file, `txt` and `caption` with a text beside
    each picture, `kohya` with a folder `<repeats>_<name>`; masks in a folder of their own. It is there whole or not at all.

    Raises InputError, DataError, MachineError.
    """
    opened = album.open_album(folder)
    if not opened.rows:
        raise DataError(say("There are no pictures in {folder}.", folder=folder), say("Give the folder that holds them."))
    _refuse(folder, target)
    part = target.with_name(f".{target.stem[:100]}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        inside = part / f"{max(1, repeats)}_{_clean(name or folder.name)}" if form == "kohya" else part
        renamed = _write(opened, inside, form, progress)
        if target.suffix.lower() == ".zip":
            _pack(part, target)
            shutil.rmtree(part)
        else:
            part.rename(target)
    except OSError as error:
        raise MachineError(
            say("{path}: can't be written: {reason}", path=target, reason=error.strerror or error), say("Check the path and the room on the disk.")
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Exported(target, len(opened.rows), renamed)


def _refuse(folder: Path, target: Path) -> None:
    if target.exists() and (target.is_file() or any(target.iterdir())):
        raise InputError(say("{path} is there already.", path=target), say("Choose another --output."))
    if target.resolve().is_relative_to(folder.resolve()):
        raise InputError(say("{path} lies in the dataset itself.", path=target), say("Choose another --output."))
    if target.is_dir():
        target.rmdir()


def _write(opened: album.Album, inside: Path, form: Form, progress: Progress) -> dict[str, str]:
    folder, rows, masks = opened.folder, opened.rows, opened.listing.masks
    beside = form in ("txt", "caption", "kohya")
    names = _names([name for name, _ in rows], flat=form == "kohya", alone=beside)
    written = []
    for done, (name, caption) in enumerate(rows, 1):
        place = inside / names[name]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, place)
        if mask := masks.get(name):
            copy = (inside / MASKS / names[name]).with_suffix(PurePosixPath(mask).suffix)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / mask, copy)
        if beside and caption:
            place.with_suffix(".caption" if form == "caption" else ".txt").write_text(caption + "\n", encoding="utf-8")
        written.append((names[name], caption))
        progress(done, len(rows))
    if form == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([("file_name", "text"), *written])
        (inside / "metadata.csv").write_text(out.getvalue(), encoding="utf-8", newline="")
    elif form == "jsonl":
        lines = [json.dumps({"file_name": name, "text": caption}, ensure_ascii=False) for name, caption in written]
        (inside / "metadata.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {new: name for name, new in names.items() if new != name}


def _names(names: Iterable[str], flat: bool, alone: bool) -> dict[str, str]:
    """What each picture is called there. `flat`: without folders; `alone`: no two that would share one text beside them."""
    taken: set[str] = set()
    found = {}
    for name in names:
        path = PurePosixPath(name.replace("/", "_") if flat else name)
        stem, number = path.with_suffix(""), 1
        while (key := str(stem if alone else f"{stem}{path.suffix}").casefold()) in taken:
            number += 1
            stem = path.with_name(f"{path.stem}-{number}")
        taken.add(key)
        found[name] = f"{stem}{path.suffix}"
    return found


def _pack(part: Path, target: Path) -> None:
    temporary = part.with_suffix(".zip.part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:  # pictures don't get smaller
            for path in sorted(part.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(part).as_posix())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _clean(name: str) -> str:
    return re.sub(r"[^\w -]+", "_", name).strip(" _") or "dataset"

"""The datasets that the workspace knows: folders below datasets/, and folders elsewhere that it points to."""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from studio import home
from studio.data import datasheet
from studio.data.importing import ARCHIVES, open_folder
from studio.data.listing import READABLE, scan
from studio.data.problems import FaultyDataError, lines, shown
from studio.data.text import corpus, texts
from studio.data.text.conversations import Columns
from studio.errors import DataError, InputError, MachineError
from studio.files import write_atomically
from studio.language import say

WHERE = "where"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
TEXTUAL = frozenset({".txt", ".csv", ".jsonl", ".caption"})
ONLY_TEXTS = frozenset({".json", ".ndjson"})
MOST_NAMED = 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Known:
    """A dataset by its name in the workspace, and where its pictures are."""

    name: str
    folder: Path


def listed() -> list[Known]:
    """All datasets that are still there, by name."""
    places = sorted(home.datasets().iterdir()) if home.datasets().is_dir() else []
    return [known for place in places if place.is_dir() and not place.name.startswith(".") and (known := _at(place)).folder.is_dir()]


def find(name: str) -> Known:
    """The dataset of that name. Raises InputError."""
    for known in listed():
        if known.name == name:
            return known
    raise InputError(say("There is no dataset {name}.", name=shown(name, 80)), say("Choose one from the list."))


def register(folder: Path) -> Known:
    """Remember a folder, wherever it is; the same folder keeps its name."""
    folder = folder.expanduser().resolve()
    for known in listed():
        if known.folder.resolve() == folder:
            return known
    if folder.parent == home.datasets().resolve():
        return Known(folder.name, folder)
    place = _free(folder.name)
    write_atomically(place / WHERE, str(folder))
    return Known(place.name, folder)


def copy_of(folder: Path, name: str) -> Known:
    """The dataset `name` as a copy of `folder` (sample pictures that ship with the studio), made when it isn't there yet."""
    place = home.datasets() / name
    if not place.is_dir():
        part = home.datasets() / f".{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(folder, part)
        part.rename(place)
    return Known(name, place)


def bring(files: Sequence[tuple[str, Path]], name: str, progress: Progress, columns: Columns | None = None) -> tuple[Known, list[str]]:
    """Copy pictures, their captions and zips of them into the dataset `name` (a new one when it isn't there), and say what was left out.
    Texts without pictures become a text dataset; `columns` says what their columns hold.

    `files` are names as the person calls them and where their bytes are. Raises DataError when nothing is left to bring.
    """
    found: list[tuple[str, Path]] = []
    left_out: list[str] = []
    for title, path in files:
        if Path(title).suffix.lower() == ".zip":
            folder = open_folder(path, home.cache() / "archives")
            listing = scan(folder)
            found += [(inside, folder / inside) for inside in (*listing.pictures, *listing.others) if _wanted(inside)]
        elif _wanted(title):
            found.append((title, path))
        else:
            fix = say("unpack it or pack it as .zip") if Path(title).suffix.lower() in ARCHIVES else say("no picture and no captions")
            left_out.append(f"{shown(title, 80)}: {fix}")
    if not any(Path(title).suffix.lower() in READABLE for title, _ in found):
        if texts.text_files([title for title, _ in found]):
            known, more = _bring_texts(found, name or _name(files, "texts"), bool(name), progress, columns)
            return known, left_out + more
        raise DataError(
            say("There are no pictures and no texts in what was given."),
            "\n".join(left_out) or say("Give .png, .jpg or .webp files, or .jsonl, .json, .csv or .txt files with texts, or a zip of them."),
        )
    found = [(title, path) for title, path in found if Path(title).suffix.lower() not in ONLY_TEXTS]
    if name and corpus.is_corpus(home.datasets() / _called(name)):
        raise DataError(say("{name} holds texts, and pictures were given.", name=_called(name)), say("Give the pictures a dataset of their own."))
    place = home.datasets() / _called(name) if name else _free(_name(files, "pictures"))
    try:
        place.mkdir(parents=True, exist_ok=True)
        for done, (title, path) in enumerate(found, 1):
            _place(place, title, path)
            progress(done, len(found))
    except OSError as error:
        raise MachineError(
            say("{path}: can't be written: {reason}", path=place, reason=error.strerror or error), say("Make room on the disk.")
        ) from None
    return Known(place.name, place), left_out


def _bring_texts(files: Sequence[tuple[str, Path]], name: str, chosen: bool, progress: Progress, columns: Columns | None) -> tuple[Known, list[str]]:
    """Put the texts of files into a text dataset. Rows that can't be used, or are there already, are left out and named; a file of which
    nothing or not the whole can be read is refused (FaultyDataError), and so are columns that nobody knows (UnknownColumnsError)."""
    wanted = set(texts.text_files([title for title, _ in files]))
    read = []
    for done, (title, path) in enumerate([file for file in files if file[0] in wanted], 1):
        read.append(texts.read_file(path, title, columns))
        progress(done, len(wanted))
    found = texts.joined(read)
    if found.unknown:
        raise texts.UnknownColumnsError(found.unknown)
    whole = [problem for part in read for problem in part.problems if problem.kind != texts.LEFT_OUT or not part.rows]
    if whole:
        raise FaultyDataError(whole)
    place = home.datasets() / _called(name)
    if chosen and place.is_dir() and not corpus.is_corpus(place):
        raise DataError(say("{name} holds no texts that were imported here.", name=place.name), say("Give the texts a dataset of their own."))
    if not chosen:
        place = _free(_called(name))
    known = corpus.add(place, found.rows)
    if not datasheet.noted(place).get("fingerprint"):
        source = ", ".join(sorted({PurePosixPath(title).name for title in wanted})[:MOST_NAMED])
        datasheet.note(place, source=source, fingerprint=found.fingerprint, files=sorted(wanted)[:MOST_NAMED], columns=dict(columns or {}))
    more = [say("{count} rows are there already and were left out.", count=known)] if known else []
    return Known(place.name, place), lines(found.problems) + more


def files_of(source: str, progress: Progress) -> list[tuple[str, Path]]:
    """What `bring` shall bring from a folder, a zip, or a dataset on the Hub (`org/name`). Raises DataError, ModelError, MachineError."""
    path = Path(source).expanduser()
    if path.is_dir():
        listing = scan(path)
        return [(name, path / name) for name in (*listing.pictures, *listing.others)]
    if path.is_file():
        return [(path.name, path)]
    if HUB_NAME.fullmatch(source):
        from studio.data import hubsets

        return hubsets.fetch(source, progress)
    raise DataError(
        say("{path}: there is no such folder or file.", path=shown(source, 200)), say("Give a folder, a zip, or a Hub id such as org/name.")
    )


def _place(place: Path, title: str, source: Path) -> None:
    parts = [_clean(part) for part in PurePosixPath(title.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    target = place.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    number = 2
    while target.exists() and target.read_bytes() != source.read_bytes():
        target = target.with_name(f"{PurePosixPath(parts[-1]).stem}-{number}{target.suffix}")
        number += 1
    if not target.exists():
        write_atomically(target, source.read_bytes(), durable=False)


def _wanted(name: str) -> bool:
    suffix = Path(name).suffix.lower()
    return suffix in READABLE or suffix in TEXTUAL or suffix in ONLY_TEXTS


def _name(files: Sequence[tuple[str, Path]], otherwise: str) -> str:
    """What a new dataset is called: like the only file, else `otherwise`."""
    return _called(Path(files[0][0]).stem) if len(files) == 1 else otherwise


def _called(name: str) -> str:
    """A dataset's name that leads nowhere, is no flag, and is short enough for what is put behind it."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return re.sub(r"[^\w .()+,=@~-]+", "_", last, flags=re.UNICODE).strip(" .-_")[:64].strip(" .") or "dataset"


def _clean(name: str) -> str:
    """A file's name that is one everywhere."""
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    stem = re.sub(r"[^\w .()+,=@~-]+", "_", stem, flags=re.UNICODE).strip(" .")[:100] or "file"
    return stem + suffix.lower() if Path(name).suffix.lower() in READABLE | TEXTUAL else stem


def _free(name: str) -> Path:
    home.datasets().mkdir(parents=True, exist_ok=True)
    number, place = 1, home.datasets() / (name or "dataset")
    while True:
        try:
            place.mkdir()
        except FileExistsError:
            number += 1
            place = home.datasets() / f"{name}-{number}"
        else:
            return place


def _at(place: Path) -> Known:
    pointer = place / WHERE
    return Known(place.name, Path(pointer.read_text(encoding="utf-8").strip()) if pointer.is_file() else place)

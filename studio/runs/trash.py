"""Deleted runs wait here: what belongs to the run is moved, what else lies in its folder stays where it is."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from studio import home
from studio.errors import InputError, MachineError
from studio.files import write_atomically
from studio.language import say
from studio.runs.run import LIVE, PAPERS, Run

FROM = ".from"
OURS = (
    *PAPERS,
    "checkpoints",
    "samples",
    "exports",
    "verdicts",
    "verdicts.jsonl",
    "notes.md",
    "record.md",
    "owner",
    "pytorch_lora_weights.safetensors",
)


@dataclass(frozen=True)
class Deleted:
    """A run in the trash."""

    id: str
    name: str
    time: float
    size: int


def delete(run: Run) -> None:
    """Move a run to the trash. Raises InputError while it is trained or waits, MachineError where it can't be moved."""
    if run.state.status in (*LIVE, "queued"):
        raise InputError(say("Run {id} is being trained or waits for its turn.", id=run.id), say("Stop it first."))
    place = home.trash() / run.id
    if place.exists():
        raise InputError(say("There is a run {id} in the trash already.", id=run.id), say("Delete that one for good, or restore it."))
    registered = home.runs() / run.id
    try:
        place.mkdir(parents=True)
        write_atomically(place / FROM, str(run.folder))
        _move(run.folder, place)
        if registered.is_dir():
            shutil.rmtree(registered)
        if run.folder.is_dir() and not any(run.folder.iterdir()):
            run.folder.rmdir()
    except OSError as error:
        raise MachineError(
            say("Run {id} can't be moved: {reason}", id=place.name, reason=error.strerror or error), say("Check its folder's permissions.")
        ) from None


def restore(name: str) -> Run:
    """Bring a run back to where it was. Raises InputError when another one lies there."""
    place = _place(name)
    folder = Path((place / FROM).read_text(encoding="utf-8"))
    if (folder / "state.json").exists():
        raise InputError(say("{path} holds another run by now.", path=folder), say("Move that one away first."))
    registered = home.runs() / name
    registered.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    _move(place, folder)
    if folder != registered:
        write_atomically(registered / "where", str(folder))
    shutil.rmtree(place)
    return Run(folder)


def purge(name: str) -> None:
    """Delete a run for good."""
    shutil.rmtree(_place(name))


def listed() -> list[Deleted]:
    """What is in the trash, newest first."""
    places = [place for place in home.trash().iterdir() if (place / FROM).is_file()] if home.trash().is_dir() else []
    found = [
        Deleted(place.name, Run(place).name, (place / FROM).stat().st_mtime, _size(place)) for place in places if (place / "state.json").is_file()
    ]
    return sorted(found, key=lambda one: -one.time)


def _move(source: Path, target: Path) -> None:
    """The run's own things, its state last: until it is there, the run isn't."""
    for name in sorted(OURS, key=lambda name: name == "state.json"):
        if (source / name).exists() and name != "lock":
            shutil.move(source / name, target / name)
    (source / "lock").unlink(missing_ok=True)


def _place(name: str) -> Path:
    for one in listed():
        if one.id == name:
            return home.trash() / name
    raise InputError(say("There is no run {name} in the trash.", name=name[:80]))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

"""A run's LoRA put where A1111, Forge or ComfyUI look for theirs. The folders are set once and kept in the workspace."""

import json
from collections.abc import Sequence
from pathlib import Path

from studio import home
from studio.errors import InputError, MachineError
from studio.files import write_atomically
from studio.formats.gate import check_safetensors
from studio.language import say
from studio.results.card import pieces
from studio.runs.run import Run

INSIDE = ("models/Lora", "models/loras")  # where these programs keep LoRA files, below the folder they are installed in


def folders() -> list[Path]:
    """The folders that are set."""
    try:
        known = json.loads(_kept().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [Path(str(folder)) for folder in known] if isinstance(known, list) else []


def remember(given: Sequence[Path]) -> list[Path]:
    """Keep these folders in place of those that are set: folders for LoRA files, or those that the programs are installed in.

    Raises InputError where one isn't there.
    """
    found = []
    for folder in given:
        folder = folder.expanduser().absolute()
        if not folder.is_dir():
            raise InputError(
                say("{path}: there is no such folder.", path=folder), say("Give the folder of A1111, Forge or ComfyUI, or the one for LoRA.")
            )
        found.append(next((folder / inside for inside in INSIDE if (folder / inside).is_dir()), folder))
    home.home().mkdir(parents=True, exist_ok=True)
    write_atomically(_kept(), json.dumps([str(folder) for folder in found], ensure_ascii=False, indent=1))
    return found


def send(run: Run, step: int | None = None) -> list[Path]:
    """Copy the LoRA with its picture and settings into every folder that is set. Raises InputError, MachineError."""
    places = folders()
    if not places:
        raise InputError(say("No folder is set to send to."), say("Give it once: python studio.py export {id} --send FOLDER", id=run.id))
    for folder in places:
        _refuse_other(folder / f"{run.name}.safetensors", run)
    content = {name: data for name, data in pieces(run, step).items() if name != "README.md"}
    try:
        for folder in places:
            for name, data in content.items():
                write_atomically(folder / name, data)
    except OSError as error:
        raise MachineError(
            say("{path}: can't be written: {reason}", path=error.filename or folder, reason=error.strerror or error), say("Check its permissions.")
        ) from None
    return [folder / f"{run.name}.safetensors" for folder in places]


def _refuse_other(path: Path, run: Run) -> None:
    """Raises InputError where a file of that name is of another run."""
    if path.is_file() and check_safetensors(path).metadata.get("ss_session_id") != run.id:
        raise InputError(say("{path} is another LoRA of the same name.", path=path), say("Move it away, or give the next run another name."))


def _kept() -> Path:
    return home.home() / "send.json"

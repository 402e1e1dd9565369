"""What the visitor who is being answered may see and touch: folders, datasets, runs, and how much of the machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr
from starlette.requests import Request

from studio import fields, home
from studio.config import Config
from studio.data import datasets as shelf
from studio.data.datasets import Known
from studio.errors import InputError
from studio.files import write_atomically
from studio.language import say
from studio.runs import run as runs_shelf
from studio.runs.run import Run
from studio.ui import visitor as visiting
from studio.ui.visitor import visitor

OWNER = "owner"
# What a visitor of a public demonstration may ask for at most.
CAPS = {"max_steps": 400, "resolution": 512, "batch_size": 16, "lora_rank": 32, "conv_rank": 32, "rank_pattern": 32, "gradient_accumulation_steps": 2}
PATHS = fields.paths()


@dataclass
class House:
    """How the app was started. `open` lets it read below the folder it was started in; a `demo` shows each visitor only their own."""

    open: bool = True
    demo: bool = False
    began: Path = field(default_factory=Path.cwd)


HOUSE = House()


def settle(loopback: bool, login: bool) -> None:
    """Say how the app was started."""
    HOUSE.open = loopback and not login and "SPACE_ID" not in os.environ
    HOUSE.demo = "SPACE_ID" in os.environ and not login
    HOUSE.began = Path.cwd()


@contextmanager
def answering(request: Request) -> Iterator[None]:
    """Answer one of our own routes' requests in its visitor's name."""
    with visiting.answering(gr.Request(request)):
        yield


def roots() -> list[Path]:
    """The folders below which the visitor may go."""
    if HOUSE.demo:
        return []
    return [home.home().resolve(), *([HOUSE.began.resolve()] if HOUSE.open else [])]


def path(asked: str | Path) -> Path:
    """`asked` as an absolute path without links, where the visitor may go. Raises InputError."""
    refused = InputError(
        say("{path}: the app opens nothing there.", path=str(asked)[:200]), say("Put it below {folder}.", folder=", ".join(map(str, roots())) or "–")
    )
    try:
        found = Path(asked).expanduser().resolve()
        found.exists()
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, no such user, links in a circle
        raise refused from None
    registered = (
        [] if not HOUSE.open else [run.folder.resolve() for run in runs_shelf.listed()] + [known.folder.resolve() for known in shelf.listed()]
    )
    if not any(found.is_relative_to(root) for root in (*roots(), *registered)):
        raise refused
    return found


def uploaded(asked: object) -> Path:
    """A file that the visitor has uploaded. Raises InputError for any other."""
    place = Path(gr.utils.get_upload_folder()).resolve()
    try:
        found = Path(str(asked)).resolve()
        if found.is_relative_to(place) and found.is_file():
            return found
    except (OSError, ValueError):
        pass
    raise InputError(say("That file was not uploaded here."), say("Choose it again."))


def datasets() -> list[Known]:
    """The datasets that the visitor may open."""
    return [known for known in shelf.listed() if not HOUSE.demo or known.name.startswith(mine(""))]


def dataset(name: str) -> Known:
    """The dataset of that name, if the visitor may open it. Raises InputError."""
    for known in datasets():
        if known.name == name:
            return known
    raise InputError(say("There is no dataset {name}.", name=name[:80]), say("Choose one from the list."))


def mine(name: str) -> str:
    """What a dataset of the visitor's own is called: in a demonstration the session stands before its name."""
    return f"{visitor().session[:12] or 'nobody'}-{name}" if HOUSE.demo else name


def runs() -> list[Run]:
    """The runs that the visitor may see, oldest first."""
    return [run for run in runs_shelf.listed() if not HOUSE.demo or _owner(run) == (visitor().session or None)]


def run(name: str) -> Run:
    """The run with that id, if the visitor may see it. Raises InputError. No path is taken."""
    for found in runs():
        if found.id == name:
            return found
    raise InputError(say("There is no run {name}.", name=name[:80]))


def own(run: Run) -> None:
    """Remember whose run it is, where that matters."""
    if HOUSE.demo and visitor().session:
        write_atomically(run.folder / OWNER, visitor().session)


def limited(config: Config) -> Config:
    """`config` as the visitor may train it, its paths looked at. Raises InputError where it can't be."""
    if HOUSE.demo:
        return _capped(config)
    changes = {key: path(value) for key in PATHS if (value := getattr(config, key))}
    base = config.base_model
    if base != "pocket" and (base.startswith((".", "/", "~")) or Path(base).exists()):
        path(base)
    return config.model_copy(update=changes)


def _capped(config: Config) -> Config:
    own_folders = [known.folder.resolve() for known in datasets()]
    if config.train_data_dir.resolve() not in own_folders or any(getattr(config, key) for key in PATHS if key != "train_data_dir"):
        raise InputError(say("In this demonstration paths are not taken."), say("Choose the sample set, or drop pictures on the Dataset tab."))
    if config.base_model != "pocket":
        raise InputError(say("In this demonstration only the small model inside is trained."), say("Set base_model to pocket."))
    if config.max_steps is None:
        config = config.model_copy(update={"max_steps": CAPS["max_steps"]})
    for key, most in CAPS.items():
        given = getattr(config, key)
        if (value := max(given.values(), default=0) if isinstance(given, dict) else given) and value > most:
            raise InputError(say("{key}: this demonstration takes at most {most} (got {value}).", key=key, most=most, value=value))
    return config


def _owner(run: Run) -> str | None:
    place = run.folder / OWNER
    return place.read_text(encoding="utf-8") if place.is_file() else None

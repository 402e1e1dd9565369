"""What the visitor who is being answered may see and touch: folders, runs, and how much of the machine."""

from pathlib import Path

from studio import home
from studio.config import Config
from studio.errors import InputError
from studio.language import say
from studio.runs import run as shelf
from studio.runs.run import Run


def path(asked: str | Path) -> Path:
    """`asked` as an absolute path without links, where the visitor may go. Raises InputError."""
    found = Path(asked).expanduser().resolve()
    if not any(found.is_relative_to(root) for root in (home.home().resolve(), Path.cwd().resolve())):
        raise InputError(say("{path}: the app opens nothing there.", path=asked), say("Put it below {folder}.", folder=home.home()))
    return found


def runs() -> list[Run]:
    """The runs that the visitor may see, oldest first."""
    return shelf.listed()


def run(name: str) -> Run:
    """The run with that id, if the visitor may see it. Raises InputError. No path is taken."""
    for found in runs():
        if found.id == name:
            return found
    raise InputError(say("There is no run {name}.", name=name))


def limited(config: Config) -> Config:
    """`config` as far as the visitor may train it. Raises InputError where it can't be."""
    return config

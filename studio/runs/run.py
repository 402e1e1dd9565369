"""A run is a folder. Everything known about it is in there, so nothing is lost with a process."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from studio import events, fields, home
from studio.config import Config
from studio.errors import InputError, MachineError
from studio.events import Event, Record, Started
from studio.files import write_atomically
from studio.language import say

LIVE = ("preparing", "running")
LINE = "\n"
PAPERS = ("config.yaml", "events.jsonl", "logs", "lock", "stop", "state.json")


@dataclass(frozen=True)
class State:
    """The only thing about a run that is rewritten. Times are seconds since 1970, `cause` is the kind of error that ended it."""

    id: str
    status: str = "queued"
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    attempt: int = 0
    process: int = 0
    error: str = ""
    fix: str = ""
    cause: str = ""


@dataclass(frozen=True)
class Run:
    """A run by its folder."""

    folder: Path

    @property
    def id(self) -> str:
        """EXP-20261122-01."""
        return self._stored().id

    @property
    def name(self) -> str:
        """What its LoRA is called: `name`, else the last part of output_dir, else the id."""
        config = self.config
        return config.name or (config.output_dir.name if config.output_dir else "") or self.id

    @property
    def config(self) -> Config:
        """What was asked for."""
        return fields.build(fields.read_yaml(self.folder / "config.yaml"))

    @property
    def state(self) -> State:
        """Where it stands. A run that says it lives and whose lock is free was interrupted."""
        state = self._stored()
        return replace(state, status="interrupted") if state.status in LIVE and not self._locked() else state

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked it to stop."""
        return (self.folder / "stop").exists()

    def request_stop(self) -> None:
        """Ask whoever trains it to save and stop."""
        (self.folder / "stop").touch()

    @property
    def queued(self) -> bool:
        """Whether it is in the queue."""
        return self._stored().status == "queued"

    @property
    def waits(self) -> bool:
        """Whether it is in the queue, and nobody holds it; whoever looks holds it for a moment."""
        return self.queued and not self._locked()

    def enqueue(self) -> None:
        """Put it back into the queue."""
        (self.folder / "stop").unlink(missing_ok=True)
        self.update(status="queued", error="", fix="", cause="")

    def withdraw(self) -> bool:
        """Take it out of the queue; False when somebody trains it by now."""
        try:
            with FileLock(self.folder / "lock", timeout=0):
                self.update(status="stopped", finished=time.time())
                return True
        except Timeout:
            return False

    def update(self, **changes: Any) -> None:
        """Rewrite the state."""
        write_atomically(self.folder / "state.json", json.dumps(asdict(replace(self._stored(), **changes)), indent=1))

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the run: only one process trains it. Raises InputError when another one does."""
        try:
            with FileLock(self.folder / "lock", timeout=1):  # whoever looks whether it is free holds it for a moment
                self._cut_torn_line()
                (self.folder / "stop").unlink(missing_ok=True)
                self.update(attempt=self._stored().attempt + 1, process=os.getpid(), error="", fix="", cause="")
                yield
        except Timeout:
            state = self._stored()
            since = time.strftime("%H:%M", time.localtime(state.started))
            raise InputError(
                say("Run {id} is being trained already (process {process}, since {since}).", id=state.id, process=state.process, since=since),
                say("`python studio.py stop {id}` stops it.", id=state.id),
            ) from None

    def log(self, happened: Sequence[Event]) -> None:
        """Append events to events.jsonl."""
        if happened:
            attempt = self._stored().attempt
            lines = [events.write(event, time.time(), attempt) for event in happened]
            with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(LINE.join(lines) + LINE)

    def events(self) -> list[Record]:
        """All that happened, without what a later attempt superseded."""
        records, _ = events.tail(self.folder / "events.jsonl")
        return list(events.standing(records))

    def progress(self) -> tuple[int, int]:
        """(step, steps) as far as is known."""
        step = steps = 0
        for _, _, event in self.events():
            if isinstance(event, Started):
                step, steps = event.step, event.steps
            elif isinstance(event, events.Steps):
                step = event.last + 1
        return step, steps

    def _stored(self) -> State:
        return State(**json.loads((self.folder / "state.json").read_text(encoding="utf-8")))

    def _locked(self) -> bool:
        try:
            with FileLock(self.folder / "lock", timeout=0):
                return False
        except Timeout:
            return True

    def _cut_torn_line(self) -> None:
        path = self.folder / "events.jsonl"
        if path.exists() and (raw := path.read_bytes()) and not raw.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(raw.rfind(b"\n") + 1)


def create(config: Config, waits: bool = False) -> Run:
    """A new run: for the queue when it `waits`, else for the one who asks, who begins at once.

    Raises InputError where `output_dir` already holds one, MachineError where it can't be written.
    """
    folder = config.output_dir.expanduser().absolute() if config.output_dir else None
    status = "queued" if waits else "preparing"
    if folder and (folder / "state.json").exists() and not _made_way(Run(folder)):
        raise InputError(
            say("output_dir: {path} already holds run {id}.", path=config.output_dir, id=Run(folder).id),
            say("Go on with it (`python studio.py resume {path}`), or choose another output_dir.", path=config.output_dir),
        )
    try:
        registered = _new_id()
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(registered / "where", str(folder))
        run = Run(folder or registered)
        write_atomically(run.folder / "config.yaml", fields.write_yaml(config))
        write_atomically(run.folder / "state.json", json.dumps(asdict(State(registered.name, status, time.time())), indent=1))
    except OSError as error:
        raise MachineError(
            say("{path}: can't be written: {reason}", path=error.filename or folder or home.runs(), reason=error.strerror),
            say("Choose another output_dir, or another workspace with STUDIO_HOME."),
        ) from None
    return run


def find(name: str) -> Run:
    """The run with that id, or in that folder. Raises InputError."""
    for folder in (home.runs() / name, Path(name).expanduser()):
        with suppress(OSError):  # a name that is too long for a file
            if run := _at(folder.absolute()):
                return run
    raise InputError(say("There is no run {name}.", name=name), say("`python studio.py runs` lists them."))


def listed() -> list[Run]:
    """All runs, oldest first."""
    folders = sorted(home.runs().glob("EXP-*")) if home.runs().is_dir() else []
    return [run for folder in folders if (run := _at(folder))]


def _at(folder: Path) -> Run | None:
    pointer = folder / "where"
    if pointer.is_file():
        folder = Path(pointer.read_text(encoding="utf-8").strip())
    return Run(folder) if (folder / "state.json").is_file() else None


def _made_way(run: Run) -> bool:
    """Whether a run that failed before its first step has left its output_dir: its papers move to its own folder below the workspace."""
    registered = home.runs() / run.id
    began = any(isinstance(record.event, Started) for record in run.events())
    if began or run.state.status not in ("failed", "stopped") or not (registered / "where").is_file():
        return False
    for name in PAPERS:
        if (run.folder / name).exists():
            shutil.move(run.folder / name, registered / name)
    (registered / "where").unlink()
    return True


def _new_id() -> Path:
    """An id of its own: the folder is made exclusively, so two processes never share one."""
    home.runs().mkdir(parents=True, exist_ok=True)
    day = f"EXP-{date.today():%Y%m%d}-"
    number = max((int(path.name.removeprefix(day)) for path in home.runs().glob(f"{day}*") if path.name.removeprefix(day).isdigit()), default=0)
    while True:
        number += 1
        try:
            (home.runs() / f"{day}{number:02d}").mkdir()
        except FileExistsError:
            continue
        return home.runs() / f"{day}{number:02d}"

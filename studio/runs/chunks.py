"""Training in pieces of a few minutes, each with a checkpoint at its end: for machines that lend a GPU only for so long."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from studio.errors import RunError
from studio.events import Event
from studio.language import say
from studio.runs.run import Run

SAVING = 0.2  # share of a piece that is left for opening the next and saving
FRUITLESS = 2  # pieces without a new checkpoint after which it is given up

Piece = Callable[[str, float], Iterator[list[Event]]]


def piece(folder: str, seconds: float) -> Iterator[list[Event]]:
    """Train the run in `folder` for so long, save, and leave it queued where it isn't finished. Runs in a process of its own."""
    from pathlib import Path

    from studio.runs.execute import execute

    run, until, paused = Run(Path(folder)), time.monotonic() + seconds * (1 - SAVING), False
    for happened in execute(run):
        yield happened
        if not paused and time.monotonic() > until and not run.stop_requested:
            paused = True
            run.request_stop()
    if paused and run.state.status == "stopped":
        run.enqueue()


def train(run: Run, seconds: float, carry: Piece = piece) -> Iterator[list[Event]]:
    """Piece after piece until the run is finished, or stopped by a person. `carry` runs one piece, elsewhere perhaps; it may be killed.

    Raises RunError when pieces of that length bring nothing.
    """
    fruitless = 0
    while run.state.status in ("queued", "interrupted"):
        before = _saved(run)
        with suppress(TimeoutError):  # killed at its end: the newest checkpoint counts
            yield from carry(str(run.folder), seconds)
        fruitless = 0 if _saved(run) > before else fruitless + 1
        if fruitless == FRUITLESS and run.state.status != "finished":
            fault = RunError(
                say("In {seconds} seconds the training doesn't get as far as its next checkpoint.", seconds=round(seconds)),
                say("Choose a smaller resolution or batch, or train on a machine of your own."),
            )
            run.update(status="failed", finished=time.time(), error=fault.what, fix=fault.fix)
            raise fault


def _saved(run: Run) -> int:
    return max((int(path.name[5:]) for path in (run.folder / "checkpoints").glob("step-??????")), default=-1)

"""What a run says on a terminal: one bar while it works, a line where something lasts."""

import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from studio import home
from studio.errors import MachineError, RunError, StudioError
from studio.events import Event, Finding, Note, Progress, Sampled, Started, Steps, Validated
from studio.language import say

FORMAT = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {postfix} [{elapsed}<{remaining}]"


def show(events: Iterable[list[Event]]) -> None:
    """Follow events to their end."""
    with _bars() as bar:
        smooth: float | None = None
        for happened in events:
            for event in happened:
                match event:
                    case Progress() if event.total:
                        bar(event.what, event.done, event.total)
                    case Progress():
                        bar(event.what, 0, 1)
                    case Started():
                        bar(say("Training"), event.step, event.steps)
                        steps = event.steps
                    case Steps():
                        for loss in event.loss:
                            if loss is not None:
                                smooth = loss if smooth is None else 0.9 * smooth + 0.1 * loss
                        shown = f"{smooth:.4f}" if smooth is not None else "–"
                        speed = f"{event.seconds:.2f}"
                        bar(say("Training"), event.last + 1, steps, say("loss {loss}, {seconds} s/step", loss=shown, seconds=speed))
                    case Validated():
                        bar.line(say("Step {step}: validation loss {loss}", step=event.step, loss=f"{event.loss:.4f}"))
                    case Sampled():
                        bar.line(say("Step {step}: samples in {folder}", step=event.step, folder=event.files[0].rpartition("/")[0]))
                    case Finding() | Note():
                        bar.line(event.text)


@contextmanager
def following(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that counts."""
    with _bars() as bar:
        yield lambda done, total: bar(what, done, total)


def complain(error: StudioError) -> None:
    """An error as a person can use it: what, and what to do."""
    print(error.what, file=sys.stderr)
    if error.fix:
        print(f"→ {error.fix}", file=sys.stderr)


def unexpected(error: Exception) -> StudioError:
    """What to say of an error that nobody foresaw. Its traceback goes to studio.log in the workspace."""
    if isinstance(error, OSError) and error.strerror:
        return MachineError(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    log = home.home() / "studio.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {traceback.format_exc()}\n")
    except OSError:
        return RunError(say("Something unexpected happened ({kind}).", kind=repr(error)))
    return RunError(say("Something unexpected happened ({kind}).", kind=type(error).__name__), say("{log} says more.", log=log))


class Bars:
    """One bar at a time, by what it counts. On a file or a pipe: nothing but the lines, and one line per tenth."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.what = ""

    def __call__(self, what: str, done: int, total: int, postfix: str = "") -> None:
        """Show that `done` of `total` is done."""
        from tqdm import tqdm

        if what != self.what:
            self.close()
            live = sys.stderr.isatty()
            self.bar = tqdm(
                total=total, initial=done, desc=what, bar_format=FORMAT, file=sys.stderr, mininterval=0.1 if live else 5.0, dynamic_ncols=True
            )
            self.what = what
        self.bar.set_postfix_str(postfix, refresh=False)
        self.bar.update(done - self.bar.n)

    def line(self, text: str) -> None:
        """A line above the bar."""
        if self.bar is None:
            print(text, file=sys.stderr)
        else:
            self.bar.write(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.refresh()
            self.bar.close()
        self.bar, self.what = None, ""


@contextmanager
def _bars() -> Iterator[Bars]:
    bars = Bars()
    try:
        yield bars
    finally:
        bars.close()

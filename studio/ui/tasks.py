"""What takes longer than a moment: a thread that says how far it is, and can be cancelled."""

import contextvars
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from studio.errors import InputError, StudioError
from studio.language import say

KEPT = 50
log = logging.getLogger("studio")

Progress = Callable[[int, int], None]


class Cancelled(Exception):  # noqa: N818 - no error
    """The person asked for it."""


@dataclass
class Task:
    """A piece of work in the background."""

    what: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    done: int = 0
    total: int = 0
    ended: bool = False
    cancelled: bool = False
    error: str = ""
    fix: str = ""
    result: dict[str, Any] | None = None
    started: float = field(default_factory=time.time)

    def progress(self, done: int, total: int) -> None:
        """For the work to say how far it is; ends it where that is wanted."""
        self.done, self.total = done, total
        if self.cancelled:
            raise Cancelled


_known: OrderedDict[str, Task] = OrderedDict()


def start(what: str, work: Callable[[Progress], dict[str, Any]]) -> dict[str, Any]:
    """Begin `work` in a thread of its own, in the visitor's language. Returns what the page needs to follow it."""
    task = Task(what)
    _known[task.id] = task
    while len(_known) > KEPT:
        _known.popitem(last=False)
    threading.Thread(target=contextvars.copy_context().run, args=(_carry_out, task, work), name=f"task {what}", daemon=True).start()
    return {"task": task.id}


def task(asked: dict[str, Any]) -> dict[str, Any]:
    """How far a task is, and what came of it."""
    found = _find(asked)
    return {
        "what": found.what,
        "done": found.done,
        "total": found.total,
        "ended": found.ended,
        "cancelled": found.cancelled,
        "failed": found.error,
        "fix": found.fix,
        "result": found.result if found.ended else None,
    }


def cancel(asked: dict[str, Any]) -> None:
    """End a task at its next step."""
    _find(asked).cancelled = True


def end() -> None:
    """Cancel all that is under way. Threads that look at pictures would otherwise go through the rest before the process can end."""
    for known in _known.values():
        known.cancelled = True


def _find(asked: dict[str, Any]) -> Task:
    found = _known.get(str(asked.get("task")))
    if found is None:
        raise InputError(say("That is over, and nothing is known of it any more."))
    return found


def _carry_out(task: Task, work: Callable[[Progress], dict[str, Any]]) -> None:
    try:
        task.result = work(task.progress)
    except Cancelled:
        pass
    except StudioError as error:
        task.error, task.fix = error.what, error.fix
    except Exception:
        log.exception("%s", task.what)
        task.error, task.fix = say("Something went wrong in the studio itself."), say("Try again; the server's log says more.")
    finally:
        task.ended = True

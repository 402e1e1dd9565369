"""The queue: runs that wait on disk, oldest first, and the one thread of this process that trains them."""

import logging
import threading
import time
from dataclasses import dataclass, field

from studio.config import Config
from studio.errors import InputError, StudioError
from studio.events import Progress
from studio.language import language, say, speaking
from studio.runs import run as shelf
from studio.runs.run import Run

LOOK_AGAIN = 0.5  # seconds until a queued run that somebody held is looked at again
log = logging.getLogger("studio")


@dataclass
class Queue:
    """The thread and what is known only while it works. What lasts is in the runs' folders."""

    change: threading.Condition = field(default_factory=threading.Condition)
    thread: threading.Thread | None = None
    current: Run | None = None
    progress: Progress | None = None
    languages: dict[str, str] = field(default_factory=dict)
    ending: bool = False

    def wake(self) -> None:
        """See to it that somebody looks after the queue."""
        with self.change:
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self._work, name="training", daemon=True)
                self.thread.start()
            self.change.notify_all()

    def _work(self) -> None:
        while True:
            with self.change:
                while not self.ending and not (waits := waiting()):
                    self.change.wait(LOOK_AGAIN if any(run.queued for run in shelf.listed()) else None)
                if self.ending:
                    return
                self.current, self.progress = waits[0], None
            try:
                self._train(waits[0])
            finally:
                with self.change:
                    self.current = self.progress = None
                    self.change.notify_all()

    def _train(self, run: Run) -> None:
        """Carry a run to its end. What goes wrong is in its folder, and the next one's turn comes."""
        try:
            from studio.runs.execute import execute

            with speaking(self.languages.pop(run.id, "")):
                for happened in execute(run):
                    for event in happened:
                        self.progress = event if isinstance(event, Progress) else None
        except StudioError as error:
            log.info("%s: %s", run.folder.name, error.what)
            time.sleep(0.1)  # a run that can't even be claimed doesn't keep a core busy
        except Exception:
            log.exception("%s", run.folder.name)
            time.sleep(1)


queue = Queue()


def submit(config: Config) -> Run:
    """A new run at the end of the queue. Its config is complete."""
    made = shelf.create(config, waits=True)
    queue.languages[made.id] = language()
    queue.wake()
    return made


def again(run: Run) -> None:
    """Put a run that has ended before its last step back into the queue. Raises InputError."""
    status = run.state.status
    if status in ("queued", *shelf.LIVE):
        return
    if status == "finished":
        raise InputError(say("Run {id} is finished: nothing is left to do.", id=run.id))
    run.enqueue()
    queue.languages[run.id] = language()
    queue.wake()


def stop(run: Run) -> None:
    """Take a run out of the queue, or let it save and stop. Raises InputError where there is nothing to stop."""
    status = run.state.status
    if status not in ("queued", *shelf.LIVE):
        raise InputError(say("Run {id} is not being trained: it is {status}.", id=run.id, status=say(status)))
    with queue.change:
        if status != "queued" or run.folder == (queue.current and queue.current.folder) or not run.withdraw():
            run.request_stop()


def waiting() -> list[Run]:
    """The runs that wait for their turn, oldest first; not those that another process holds already."""
    return [run for run in shelf.listed() if run.waits]


def progress(run: Run) -> Progress | None:
    """How far what comes before the steps is, where this process does it."""
    current = queue.current
    return queue.progress if current and current.folder == run.folder else None


def wake() -> None:
    """Go on with the queue that a former process left."""
    queue.wake()


def shut_down(seconds: float) -> list[Run]:
    """Start nothing more, let the run that is being trained save and stop, and wait for it. Returns it, if there is one."""
    with queue.change:
        queue.ending = True
        current, thread = queue.current, queue.thread
        queue.change.notify_all()
        if current:
            current.request_stop()
    if thread:
        thread.join(seconds)
    return [current] if current else []

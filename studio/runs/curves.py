"""What happened in a run as series of numbers, read on from where the last look ended: a run of 100,000 steps costs what is new."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from studio.events import Finding, Note, Record, Sampled, Saved, Started, Steps, Validated, tail
from studio.runs.run import Run

KEPT = 64
SMOOTHING = 0.97


@dataclass
class Curves:
    """One number per optimizer step in `loss` (None: not finite), `learning_rate` and `grad_norm`; the rest is told beside.

    `reset` counts how often a later attempt took steps back: whoever holds a copy begins anew then.
    """

    path: Path
    offset: int = 0
    reset: int = 0
    steps: int = 0
    epoch: float = 0.0
    loss: list[float | None] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    grad_norm: list[float | None] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    samples: list[Sampled] = field(default_factory=list)
    told: list[Record] = field(default_factory=list)
    newest: Steps | None = None
    trained_share: float = 0.0
    busy: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> "Curves":
        """Read on."""
        with self.busy:
            records, self.offset = tail(self.path, self.offset)
            for record in records:
                self._take(record)
        return self

    @property
    def final(self) -> float | None:
        """The newest validation loss."""
        return self.validation[-1][1] if self.validation else None

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and value of the lowest validation loss."""
        return min(self.validation, key=lambda pair: pair[1], default=None)

    def smoothed(self) -> float | None:
        """The training loss at the end, as an exponential mean."""
        total = weight = 0.0
        for loss in self.loss[-400:]:
            if loss is not None:
                total, weight = SMOOTHING * total + (1 - SMOOTHING) * loss, SMOOTHING * weight + (1 - SMOOTHING)
        return total / weight if weight else None

    def _take(self, record: Record) -> None:
        event = record.event
        match event:
            case Started():
                self._go_back(event.step)
                self.steps, self.epoch, self.newest = event.steps, event.epoch, None
            case Steps():
                self.loss[event.first :] = event.loss
                self.grad_norm[event.first :] = event.grad_norm
                self.learning_rate[event.first :] = event.learning_rate
                self.newest = event
            case Validated():
                self.validation = [*(pair for pair in self.validation if pair[0] != event.step), (event.step, event.loss)]
                self.trained_share = event.trained_share
            case Saved():
                self.saved.append(event.step)
            case Sampled():
                self.samples = [*(other for other in self.samples if other.step != event.step), event]
        if isinstance(event, (Started, Saved, Finding, Note)):
            self.told.append(record)

    def _go_back(self, step: int) -> None:
        """A new attempt began at `step`: what an earlier one did beyond is superseded."""
        if step < len(self.loss) or any(at > step for at, _ in self.validation):
            self.reset += 1
        for series in (self.loss, self.learning_rate, self.grad_norm):
            del series[step:]
        self.validation = [pair for pair in self.validation if pair[0] <= step]
        self.saved = [at for at in self.saved if at <= step]
        self.samples = [event for event in self.samples if event.step <= step]


_known: OrderedDict[Path, Curves] = OrderedDict()
_busy = threading.Lock()


def read(run: Run) -> Curves:
    """The curves of a run as they are now."""
    path = run.folder / "events.jsonl"
    with _busy:
        found = _known.pop(path, None)
        if found is None or (found.offset and (not path.exists() or path.stat().st_size < found.offset)):  # deleted, or made anew
            found = Curves(path)
        _known[path] = found
        while len(_known) > KEPT:
            _known.popitem(last=False)
    return found.read()

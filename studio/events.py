"""What happens in a run, as records: one JSON line each in events.jsonl, and the only thing that trainer, board and app share."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened."""

    kind: ClassVar[str] = ""


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """An attempt began at `step` of `steps`, of which `epoch` show every picture once; `environment` says on what."""

    kind = "started"
    step: int
    steps: int
    epoch: float = 0.0
    environment: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """Something before or beside the steps is `done` of `total`: encoding pictures, say."""

    kind = "progress"
    what: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Steps(Event):
    """Optimizer steps `first`, `first + 1` …: loss, gradient norm before clipping and learning rate of each.

    `seconds` is the time per step, `examples` the pictures per second. A loss of None was not finite, and its step was left out.
    """

    kind = "steps"
    first: int
    loss: tuple[float | None, ...]
    grad_norm: tuple[float | None, ...]
    learning_rate: tuple[float, ...]
    seconds: float
    examples: float
    memory: int = 0

    @property
    def last(self) -> int:
        """The newest step in here."""
        return self.first + len(self.loss) - 1


@dataclass(frozen=True, kw_only=True)
class Validated(Event):
    """Loss on held-out pictures with fixed noise, in all and by timestep; `trained_share` of those pictures is trained on."""

    kind = "validated"
    step: int
    loss: float
    bands: dict[str, float] = field(default_factory=dict)
    trained_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Sampled(Event):
    """Pictures were drawn; `files` are relative to the run's folder."""

    kind = "sampled"
    step: int
    files: tuple[str, ...]
    prompts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Saved(Event):
    """A checkpoint is whole and verified."""

    kind = "saved"
    step: int
    folder: str


@dataclass(frozen=True, kw_only=True)
class Finding(Event):
    """Something about the run that a person should know."""

    kind = "finding"
    text: str
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Note(Event):
    """What was done and with what, for the log."""

    kind = "note"
    text: str


KINDS: dict[str, type[Event]] = {kind.kind: kind for kind in (Started, Progress, Steps, Validated, Sampled, Saved, Finding, Note)}


class Record(NamedTuple):
    """An event, when it was written (seconds since 1970) and by which attempt."""

    time: float
    attempt: int
    event: Event


def write(event: Event, time: float, attempt: int) -> str:
    """One line of JSON, without its end of line."""
    return json.dumps({"time": round(time, 3), "attempt": attempt, "event": event.kind, **_plain(asdict(event))}, ensure_ascii=False, allow_nan=False)


def parse(line: str) -> Record | None:
    """The record in a line; None for a line that is torn or of a kind that this version doesn't know."""
    try:
        values = json.loads(line)
        kind = KINDS[values.pop("event")]
        time, attempt = values.pop("time"), values.pop("attempt")
        return Record(time, attempt, kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def tail(path: Path, offset: int = 0) -> tuple[list[Record], int]:
    """Records from byte `offset` on, and the offset to go on from. A torn last line waits for its end."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            raw = file.read()
    except FileNotFoundError:
        return [], offset
    whole = raw[: raw.rfind(b"\n") + 1]
    lines = whole.decode("utf-8", "replace").split("\n")  # not splitlines: a text may hold what else Unicode breaks lines at
    records = [record for line in lines if (record := parse(line))]
    return records, offset + len(whole)


def standing(records: list[Record]) -> Iterator[Record]:
    """The records without what a later attempt superseded: steps beyond the checkpoint that it began from."""
    starts = [(record.attempt, record.event.step) for record in records if isinstance(record.event, Started)]
    for record in records:
        step = getattr(record.event, "step", None)
        limit = min((start for attempt, start in starts if attempt > record.attempt), default=None)
        if limit is None:
            yield record
        elif isinstance(record.event, Steps):
            kept = max(0, min(len(record.event.loss), limit - record.event.first))
            if kept:
                event = record.event
                yield record._replace(
                    event=replace(event, loss=event.loss[:kept], grad_norm=event.grad_norm[:kept], learning_rate=event.learning_rate[:kept])
                )
        elif isinstance(record.event, Started) or step is None or step <= limit:
            yield record


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""What earlier runs on similar data taught: which ended badly, how, and with which settings."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from studio.config import Config
from studio.data.listing import scan
from studio.errors import DivergedError, NoMemoryError
from studio.events import Started
from studio.runs import curves
from studio.runs.advice.habits import POCKET
from studio.runs.run import Run

FEWEST = 6
"""Measurements of the validation loss below which nothing is concluded."""
CLEARLY = 0.02
SPREADS = 3.0
SIMILAR = 1.5
"""Two sets are alike in size where neither has more pictures than so many times the other."""
LOOKED_AT = 100

How = Literal["over-fitted", "diverged", "memory", "failed"]


@dataclass(frozen=True)
class Lesson:
    """A run that ended badly: how, at which step, of what settings, and what it said. `same` data, or only such of about that size."""

    run: str
    how: How
    step: int
    config: Config
    error: str = ""
    same: bool = True

    @property
    def pictures(self) -> int:
        """How many pictures it had been shown by then."""
        return self.step * self.config.batch_size * self.config.gradient_accumulation_steps


@dataclass(frozen=True)
class Likeness:
    """What a run has to share to teach something: the kind of model; the folder, the fingerprint or about the count of the pictures; the device."""

    kind: str
    folder: Path
    fingerprint: str
    count: int
    device: str


def overfitted_after(validation: Sequence[tuple[int, float]]) -> int | None:
    """The step after which the validation loss rose clearly and for good; None where it didn't, or where the evidence is thin.

    Means of three measurements are compared, so that one lucky one counts little. Clearly: the last lies above the lowest by 2 % of it, and by
    three times the spread of single measurements.
    """
    if len(validation) < FEWEST:
        return None
    losses = [loss for _, loss in validation]
    means = [statistics.mean(losses[first : first + 3]) for first in range(len(losses) - 2)]
    best = min(range(len(means)), key=means.__getitem__)
    bends = [abs(before - 2 * here + after) for before, here, after in zip(losses, losses[1:], losses[2:], strict=False)]
    spread = statistics.mean(bends) * (math.pi / 2) ** 0.5 / 6**0.5  # second differences of pure noise are √6 times as wide as it is
    clearly = max(CLEARLY * means[best], SPREADS * spread)
    if best + 3 > len(means) - 1 or min(losses[-2:]) < means[best] or means[-1] - means[best] < clearly:
        return None
    return validation[best + 1][0]


def learned(runs: Iterable[Run], like: Likeness) -> tuple[Lesson, ...]:
    """The lessons of the newest of `runs` (oldest first) that are like that. A run that can't be read teaches nothing."""
    count = cache(_count)
    found = []
    for run in list(runs)[-LOOKED_AT:][::-1]:
        with suppress(Exception):  # a folder that somebody is deleting, a config of another version
            if lesson := _lesson(run, like, count):
                found.append(lesson)
    return tuple(found)


def _lesson(run: Run, like: Likeness, count: Callable[[Path], int]) -> Lesson | None:
    config, state = run.config, run.state
    if (POCKET if config.base_model == POCKET else config.family) != like.kind:
        return None
    read = curves.read(run)
    began = [record.event.environment for record in read.told if isinstance(record.event, Started)]
    same = config.train_data_dir.expanduser().resolve() == like.folder.resolve() or any(on.get("data") == like.fingerprint for on in began)
    step = len(read.loss)
    if state.status == "failed" and state.cause == NoMemoryError.__name__:
        here = not began or began[-1].get("device") == like.device
        return Lesson(state.id, "memory", step, config, state.error, same) if here else None
    if not same and not 1 / SIMILAR <= count(config.train_data_dir) / max(1, like.count) <= SIMILAR:
        return None
    if state.status == "failed" and state.cause == DivergedError.__name__:
        return Lesson(state.id, "diverged", step, config, state.error, same)
    best = None if read.trained_share else overfitted_after(read.validation)
    if best is not None:
        return Lesson(state.id, "over-fitted", best, config, same=same)
    return Lesson(state.id, "failed", step, config, state.error, same) if state.status == "failed" and same else None


def _count(folder: Path) -> int:
    return len(scan(folder).pictures) if folder.is_dir() else 0

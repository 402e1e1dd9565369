"""Stops a run that can't come to anything: numbers that aren't finite, or a loss that runs away."""

import math
from dataclasses import dataclass, field
from typing import Any

from studio.errors import DivergedError
from studio.language import say

FAILED_IN_A_ROW = 3
FIRST_STEPS = 20
DIVERGED = 10.0
DIVERGED_FOR = 50


@dataclass
class Watch:
    """Sees every step's loss once. Its state goes with the checkpoint."""

    failed: int = 0
    skipped: int = 0
    first: list[float] = field(default_factory=list)
    average: float | None = None
    above: int = 0

    def see(self, step: int, loss: float, failed: bool) -> None:
        """Take the loss of a step. Raises DivergedError when the run should end."""
        if failed or not math.isfinite(loss):
            self.failed, self.skipped = self.failed + 1, self.skipped + 1
            if self.failed >= FAILED_IN_A_ROW:
                raise DivergedError(
                    say("The loss was not a finite number in {count} steps in a row, up to step {step}.", count=self.failed, step=step),
                    say("Lower learning_rate (to a third, say), or use mixed_precision: bf16 or no. Checkpoints so far are good."),
                )
            return
        self.failed = 0
        if len(self.first) < FIRST_STEPS:
            self.first.append(loss)
        self.average = loss if self.average is None else 0.9 * self.average + 0.1 * loss
        start = sorted(self.first)[len(self.first) // 2]
        self.above = self.above + 1 if self.average > DIVERGED * start else 0
        if self.above >= DIVERGED_FOR:
            raise DivergedError(
                say(
                    "The loss ran away: it is {now} and began at {start} (step {step}).",
                    now=f"{self.average:.3g}",
                    start=f"{start:.3g}",
                    step=step,
                ),
                say("Lower learning_rate (to a third, say). Checkpoints so far are good."),
            )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return dict(vars(self))

"""A run that can't come to anything is stopped."""

import pytest

from studio.errors import RunError
from studio.training.watch import DIVERGED_FOR, Watch


def test_three_bad_steps_in_a_row_end_a_run():
    watch = Watch()
    for step, loss in enumerate([1.0, float("nan"), float("nan"), 1.0, float("nan"), float("inf")]):
        watch.see(step, loss, failed=False)
    with pytest.raises(RunError, match="3 steps in a row"):
        watch.see(6, 1.0, failed=True)
    assert watch.skipped == 5


def test_a_loss_that_runs_away_ends_a_run():
    watch = Watch()
    for step in range(30):
        watch.see(step, 0.1, failed=False)
    with pytest.raises(RunError, match="ran away"):
        for step in range(30, 200):
            watch.see(step, 5.0, failed=False)


def test_a_loss_that_wavers_doesnt():
    watch = Watch()
    for step in range(4 * DIVERGED_FOR):
        watch.see(step, 0.1 if step % 2 else 0.5, failed=False)


def test_its_state_goes_on():
    watch = Watch()
    watch.see(0, 1.0, failed=False)
    watch.see(1, float("nan"), failed=False)
    assert Watch(**watch.state()) == watch

"""Curves are read on from where they ended, and a later attempt supersedes what an earlier one did beyond its checkpoint."""

from pathlib import Path

import pytest

from studio import events
from studio.events import Event, Finding, Sampled, Saved, Started, Steps, Validated
from studio.runs import curves
from studio.runs.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def write(run: Run, attempt: int, *happened: Event) -> None:
    with (run.folder / "events.jsonl").open("a") as file:
        file.write("".join(events.write(event, 0.0, attempt) + "\n" for event in happened))


def steps(first: int, *loss: float | None) -> Steps:
    return Steps(first=first, loss=loss, grad_norm=loss, learning_rate=tuple(1e-4 for _ in loss), seconds=0.5, examples=4.0)


def test_new_points_come_without_the_old_ones_being_read_again(run: Run):
    write(run, 1, Started(step=0, steps=4, epoch=2.0), steps(0, 0.5, 0.4), Validated(step=2, loss=0.3), Saved(step=2, folder="x"))
    first = curves.read(run)
    assert (first.loss, first.validation, first.saved, first.steps) == ([0.5, 0.4], [(2, 0.3)], [2], 4)
    offset = first.offset
    write(run, 1, steps(2, None, 0.2), Validated(step=4, loss=0.35))
    second = curves.read(run)
    assert second is first
    assert second.offset > offset
    assert (second.loss, second.reset, second.final, second.best) == ([0.5, 0.4, None, 0.2], 0, 0.35, (2, 0.3))


def test_a_resumed_attempt_takes_back_what_lay_beyond_its_checkpoint(run: Run):
    write(run, 1, Started(step=0, steps=6), steps(0, 1, 2, 3, 4), Validated(step=2, loss=0.3), Validated(step=4, loss=0.1))
    assert curves.read(run).reset == 0
    write(run, 2, Started(step=2, steps=6), steps(2, 30, 40))
    read = curves.read(run)
    assert (read.loss, read.validation, read.reset) == ([1, 2, 30, 40], [(2, 0.3)], 1)


def test_a_resume_at_the_end_of_what_was_told_takes_nothing_back(run: Run):
    write(run, 1, Started(step=0, steps=6), steps(0, 1, 2))
    write(run, 2, Started(step=2, steps=6), steps(2, 3))
    assert curves.read(run).reset == 0
    assert curves.read(run).loss == [1, 2, 3]


def test_a_run_made_anew_in_the_same_folder_begins_anew(run: Run):
    write(run, 1, Started(step=0, steps=6), steps(0, 1, 2, 3))
    assert len(curves.read(run).loss) == 3
    (run.folder / "events.jsonl").unlink()
    write(run, 1, Started(step=0, steps=2), steps(0, 9))
    assert curves.read(run).loss == [9]


def test_samples_and_findings_are_told(run: Run):
    write(run, 1, Started(step=0, steps=2), Sampled(step=1, files=("a.png",), prompts=("a",)), Finding(text="odd"))
    read = curves.read(run)
    assert [event.step for event in read.samples] == [1]
    assert [record.event.kind for record in read.told] == ["started", "finding"]


def test_a_hundred_thousand_steps_are_one_read(run: Run):
    write(run, 1, Started(step=0, steps=100_000), *(steps(at, *[0.1] * 50) for at in range(0, 100_000, 50)))
    assert len(curves.read(run).loss) == 100_000
    assert curves.read(run).smoothed() == pytest.approx(0.1)

"""The queue trains runs one after the other, whatever becomes of each."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from studio import fields
from studio.config import Config
from studio.errors import InputError
from studio.fields import Given
from studio.pocket import SAMPLES
from studio.runs import jobs
from studio.runs import run as shelf
from studio.runs.resolve import complete


def config(**settings: object) -> Config:
    given = {"base_model": "pocket", "train_data_dir": str(SAMPLES / "gameboy"), "max_steps": 2, "lora_rank": 2, "validation_steps": 0, "threads": 1}
    return complete(fields.build({key: Given(value, "") for key, value in {**given, **settings}.items()}))


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def queue(monkeypatch: pytest.MonkeyPatch):
    fresh = jobs.Queue()
    monkeypatch.setattr(jobs, "queue", fresh)
    yield fresh
    jobs.shut_down(60)


def test_runs_are_trained_in_their_order_and_a_broken_one_stops_nothing(tmp_path: Path):
    broken = config(train_data_dir=str(tmp_path))
    first, second = jobs.submit(broken), jobs.submit(config())
    until(lambda: second.state.status == "finished")
    assert first.state.status == "failed"
    assert first.state.error
    assert first.state.started < second.state.started


def test_a_waiting_run_is_taken_out_of_the_queue(queue: jobs.Queue):
    queue.ending = True  # nobody works on it
    run = shelf.create(config(), waits=True)
    assert [waits.id for waits in jobs.waiting()] == [run.id]
    jobs.stop(run)
    assert run.state.status == "stopped"
    assert jobs.waiting() == []


def test_a_stopped_run_goes_on_to_its_end():
    run = jobs.submit(config(max_steps=400))
    until(lambda: run.progress()[0] > 0)
    jobs.stop(run)
    until(lambda: run.state.status == "stopped")
    step = run.progress()[0]
    assert 0 < step < 400
    assert (run.folder / "checkpoints" / f"step-{step:06d}").is_dir()
    jobs.again(run)
    until(lambda: run.state.status == "running")
    jobs.stop(run)
    until(lambda: run.state.status == "stopped")


def test_shutting_down_saves_and_leaves_the_queue_on_disk():
    run, waits = jobs.submit(config(max_steps=400)), jobs.submit(config())
    until(lambda: run.progress()[0] > 0)
    assert [stopped.id for stopped in jobs.shut_down(60)] == [run.id]
    assert run.state.status == "stopped"
    assert waits.state.status == "queued"
    assert any((run.folder / "checkpoints").iterdir())


def test_a_queue_of_a_former_process_goes_on():
    run = shelf.create(config(), waits=True)
    jobs.wake()
    until(lambda: run.state.status == "finished")


def test_a_dead_process_leaves_an_interrupted_run_that_is_not_begun_by_itself():
    run = shelf.create(config(), waits=True)
    run.update(status="running")
    jobs.wake()
    assert run.state.status == "interrupted"
    assert jobs.waiting() == []
    jobs.again(run)
    until(lambda: run.state.status == "finished")


def test_a_run_that_another_process_holds_is_left_to_it():
    run = shelf.create(config(), waits=True)
    with FileLock(run.folder / "lock"):
        assert jobs.waiting() == []


def test_a_run_that_somebody_held_for_a_moment_is_not_forgotten():
    run = shelf.create(config(), waits=True)
    with FileLock(run.folder / "lock"):
        jobs.wake()
        time.sleep(0.3)
    until(lambda: run.state.status == "finished")


def test_a_run_for_the_command_line_is_not_in_the_queue():
    run = shelf.create(config())
    assert jobs.waiting() == []
    assert json.loads((run.folder / "state.json").read_text())["status"] == "preparing"


def test_what_is_finished_can_neither_be_stopped_nor_resumed():
    run = jobs.submit(config())
    until(lambda: run.state.status == "finished")
    with pytest.raises(InputError, match="not being trained"):
        jobs.stop(run)
    with pytest.raises(InputError, match="nothing is left"):
        jobs.again(run)

"""A training in pieces ends with the weights of one that was never interrupted."""

import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from studio import fields
from studio.errors import RunError
from studio.fields import Given
from studio.pocket import SAMPLES
from studio.runs import chunks
from studio.runs import run as shelf
from studio.runs.resolve import complete
from studio.runs.result import DIFFUSERS
from studio.runs.run import Run
from tests.runs import zero

STEPS = 120


def made(**settings: object) -> Run:
    given = {
        "base_model": "pocket",
        "train_data_dir": str(SAMPLES / "gameboy"),
        "max_steps": STEPS,
        "lora_rank": 2,
        "batch_size": 2,
        "threads": 1,
        "save_steps": 0,
    }
    config = fields.build({key: Given(value, "") for key, value in {**given, "validation_steps": 0, "lora_dropout": 0.1, **settings}.items()})
    return shelf.create(complete(config), waits=True)


def weights(run: Run) -> dict:
    return load_file(run.folder / DIFFUSERS)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("STUDIO_DEVICE", "cpu")
        run = made()
        for _ in zero.GPU(600)(chunks.piece)(str(run.folder), 1e6):
            pass
        return weights(run)


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


def test_several_pieces_are_bit_for_bit_one(uninterrupted: dict):
    run, zero.CALLS[:] = made(), []
    started = time.monotonic()
    carry = zero.GPU(60)(chunks.piece)
    pieces = list(chunks.train(run, 3.0, carry))
    assert run.state.status == "finished"
    assert len(zero.CALLS) >= 2, (len(zero.CALLS), time.monotonic() - started, len(pieces))
    assert same(weights(run), uninterrupted)


def test_a_piece_that_is_killed_goes_on_from_its_newest_checkpoint(uninterrupted: dict):
    run, zero.CALLS[:] = made(save_steps=3), []
    list(chunks.train(run, 1e6, zero.GPU(4)(chunks.piece)))  # it never pauses by itself: each is killed
    assert run.state.status == "finished"
    assert len(zero.CALLS) >= 2
    assert same(weights(run), uninterrupted)


def test_a_person_stops_it_for_good():
    run = made()
    for _ in chunks.train(run, 1e6, chunks.piece):
        if run.progress()[0] > 2:
            run.request_stop()
    assert run.state.status == "stopped"
    assert run.progress()[0] < STEPS


def test_pieces_too_short_for_a_checkpoint_are_given_up(monkeypatch: pytest.MonkeyPatch):
    run = made()
    with pytest.raises(RunError, match="next checkpoint"):
        list(chunks.train(run, 1e6, zero.GPU(0.3)(chunks.piece)))
    assert run.state.status == "failed"
    assert not (run.folder / DIFFUSERS).exists()
    assert Path(run.folder).is_dir()

"""A validation curve says over-fitted only where the evidence is there; runs teach those that are like them."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from studio import fields
from studio.cli import main
from studio.errors import DivergedError, NoMemoryError
from studio.events import Started, Steps, Validated
from studio.fields import Given
from studio.pocket import SAMPLES
from studio.runs import run as shelf
from studio.runs.advice.lessons import Likeness, learned, overfitted_after
from studio.runs.run import Run


def measured(curve: Callable[[float], float], count: int, spread: float = 0.0, seed: int = 0) -> list[tuple[int, float]]:
    noise = random.Random(seed)
    return [(50 * number, curve(number / (count - 1)) + noise.gauss(0, spread)) for number in range(count)]


def falls(at: float) -> float:
    return 0.08 + 0.04 * math.exp(-5 * at)


def turns(at: float) -> float:
    """Falls until three tenths of the way, then rises."""
    return 0.08 + 0.04 * math.exp(-10 * at) + 0.06 * max(0.0, at - 0.3)


def test_a_loss_that_turns_and_rises_is_over_fitted_from_its_best_on():
    assert overfitted_after(measured(turns, 21)) == 300
    assert overfitted_after(measured(turns, 21, spread=0.002, seed=3)) in range(200, 451)


@pytest.mark.parametrize("curve", [falls, lambda _: 0.1, lambda at: 0.1 + 0.001 * at], ids=["falls", "flat", "hardly rises"])
@pytest.mark.parametrize("count", [6, 12, 40])
def test_noise_alone_is_no_evidence(curve: Callable[[float], float], count: int):
    found = [overfitted_after(measured(curve, count, spread=0.005, seed=seed)) for seed in range(200)]
    assert sum(step is not None for step in found) <= 5


def test_few_measurements_are_no_evidence():
    assert overfitted_after([]) is None
    assert overfitted_after([(0, 0.1), (50, 0.05), (100, 0.2), (150, 0.3), (200, 0.4)]) is None


def test_a_rise_that_comes_back_is_none():
    assert overfitted_after([(0, 0.12), (50, 0.08), (100, 0.09), (150, 0.1), (200, 0.11), (250, 0.12), (300, 0.09), (350, 0.08), (400, 0.07)]) is None


def made(folder: Path, status: str = "finished", cause: str = "", device: str = "cpu", **settings: object) -> Run:
    given = {"base_model": "pocket", "family": "sd", "train_data_dir": str(folder), "learning_rate": 2e-3, **settings}
    run = shelf.create(fields.build({key: Given(value, "") for key, value in given.items()}))
    run.update(status=status, cause=cause, error="It broke.\nBadly." if status == "failed" else "")
    run.log([Started(step=0, steps=1000, environment={"device": device, "data": "fingerprint"})])
    run.log([Steps(first=0, loss=(0.1,) * 7, grad_norm=(1.0,) * 7, learning_rate=(1e-4,) * 7, seconds=1, examples=1)])
    return run


def taught(like: Likeness) -> list[tuple[str, str, int]]:
    return [(lesson.run, lesson.how, lesson.step) for lesson in learned(shelf.listed(), like)]


@pytest.fixture
def like(tmp_path: Path) -> Likeness:
    (tmp_path / "data").mkdir()
    return Likeness("pocket", tmp_path / "data", "other", 3, "cpu")


def over(run: Run, share: float = 0.0) -> Run:
    run.log([Validated(step=step, loss=loss, trained_share=share) for step, loss in measured(turns, 21)])
    return run


def test_a_run_on_the_same_folder_teaches_how_it_ended(like: Likeness):
    run = over(made(like.folder))
    diverged = made(like.folder, "failed", DivergedError.__name__)
    broken = made(like.folder, "failed", "RunError")
    fine = made(like.folder)
    found = taught(like)
    assert found == [(broken.id, "failed", 7), (diverged.id, "diverged", 7), (run.id, "over-fitted", 300)]
    assert fine.id not in [run for run, *_ in found]


def test_a_loss_on_trained_pictures_proves_nothing(like: Likeness):
    over(made(like.folder), share=1.0)
    assert taught(like) == []


def test_the_same_pictures_elsewhere_are_the_same_data(like: Likeness, tmp_path: Path):
    over(made(tmp_path / "moved"))
    assert taught(like) == []
    assert [how for _, how, _ in taught(replace(like, fingerprint="fingerprint"))] == ["over-fitted"]


@pytest.mark.parametrize(("pictures", "teaches"), [(2, True), (4, True), (5, False), (0, False)])
def test_other_pictures_teach_when_they_are_about_as_many(like: Likeness, tmp_path: Path, pictures: int, teaches: bool):
    folder = tmp_path / "others"
    folder.mkdir()
    for number in range(pictures):
        (folder / f"{number}.png").touch()
    over(made(folder))
    assert bool(taught(like)) == teaches


def test_another_kind_of_model_teaches_nothing(like: Likeness):
    over(made(like.folder, base_model="other.safetensors"))
    assert taught(like) == []
    assert taught(replace(like, kind="sd")) != []


def test_too_little_memory_is_a_matter_of_the_device_not_the_data(like: Likeness, tmp_path: Path):
    made(tmp_path / "elsewhere", "failed", NoMemoryError.__name__)
    made(tmp_path / "elsewhere", "failed", NoMemoryError.__name__, device="another")
    assert [how for _, how, _ in taught(like)] == ["memory"]


def test_a_run_that_cant_be_read_hides_no_other(like: Likeness):
    over(made(like.folder))
    (made(like.folder).folder / "config.yaml").write_text("lora_rank: [")
    assert len(taught(like)) == 1


def test_a_training_that_diverges_teaches_that_it_did(like: Likeness):
    words = ["--max_steps", "9", "--resolution", "32", "--validation_steps", "0", "--threads", "1", "--learning_rate", "10000"]
    assert main(["train", "--base_model", "pocket", "--train_data_dir", str(SAMPLES / "gameboy"), *words]) == 4
    (lesson,) = learned(shelf.listed(), replace(like, folder=SAMPLES / "gameboy"))
    assert (lesson.how, lesson.same, lesson.config.learning_rate) == ("diverged", True, 10000)

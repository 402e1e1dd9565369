"""What TensorBoard and people with an editor read; a disk that is full doesn't stop a training."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio.events import Event, Finding, Note, Sampled, Saved, Started, Steps, Validated
from studio.runs.board import Board


def steps(first: int, *loss: float | None) -> Steps:
    count = len(loss)
    return Steps(first=first, loss=loss, grad_norm=(0.5,) * count, learning_rate=(1e-4,) * count, seconds=0.25, examples=8.0)


def write(folder: Path, *happened: Event) -> None:
    board = Board(folder)
    assert board.log(happened) == []
    board.close()


def tensorboard(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "logs"))
    read.Reload()
    return read


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(point.step, pytest.approx(point.value)) for point in tensorboard(folder).Scalars(tag)]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_tensorboard_reads_the_curves(tmp_path: Path):
    write(tmp_path, Started(step=0, steps=3), steps(0, 1.0, None, 3.0), Validated(step=3, loss=2.0, bands={"0.5": 1.5}))
    assert points(tmp_path, "Loss/train") == [(0, 1.0), (2, 3.0)]
    assert points(tmp_path, "Loss/val") == [(3, 2.0)]
    assert points(tmp_path, "Loss/val_at_0.5") == [(3, 1.5)]
    assert points(tmp_path, "lr") == [(step, 1e-4) for step in range(3)]
    assert points(tmp_path, "grad_norm") == [(step, 0.5) for step in range(3)]


def test_tensorboard_shows_the_samples(tmp_path: Path):
    for name in ("00.png", "01.png"):
        Image.new("RGB", (48, 32), "red").save(tmp_path / name)
    write(tmp_path, Started(step=0, steps=9), Sampled(step=5, files=("00.png", "01.png"), prompts=("a", "b")))
    read = tensorboard(tmp_path)
    assert read.Tags()["images"] == ["samples/00", "samples/01"]
    shown = read.Images("samples/01")[0]
    assert (shown.step, shown.width, shown.height) == (5, 48, 32)
    assert shown.encoded_image_string == (tmp_path / "01.png").read_bytes()


def test_what_a_resumed_run_does_again_is_shown_once(tmp_path: Path):
    write(tmp_path, Started(step=0, steps=6), steps(0, 1.0, 1.0, 1.0, 1.0, 1.0))
    write(tmp_path, Started(step=3, steps=6), steps(3, 2.0, 2.0, 2.0))
    assert points(tmp_path, "Loss/train") == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)]


def test_train_log_says_what_happened(tmp_path: Path):
    write(
        tmp_path,
        Started(step=0, steps=2, environment={"torch": "2"}),
        steps(0, 0.5, 0.25),
        Validated(step=2, loss=0.125),
        Saved(step=2, folder="checkpoints/step-000002"),
        Note(text="a note"),
    )
    lines = (tmp_path / "logs" / "train.log").read_text().splitlines()
    assert [line.split(" INFO ")[1] for line in lines] == [
        "Step 0 of 2. {'torch': '2'}",
        "step 1 loss 0.2500 0.250 s/step",
        "step 2 validation loss 0.1250",
        "step 2 saved checkpoints/step-000002",
        "a note",
    ]


def test_before_a_run_starts_only_the_log_is_written(tmp_path: Path):
    write(tmp_path, Saved(step=0, folder=""))
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["train.log"]


@pytest.mark.parametrize("size", [10, 90, 400])
def test_a_full_disk_is_told_once_and_stops_nothing(tmp_path: Path, size: int, capfd: pytest.CaptureFixture[str]):
    board = Board(tmp_path)
    with room_for(size):
        told = [board.log([Started(step=0, steps=60)]), *(board.log([steps(3 * number, 1.0, 1.0, 1.0)]) for number in range(20))]
        board.error("Traceback")
        board.close()
    findings = [event for events in told for event in events]
    assert findings == [Finding(text="Logs can't be written any more (File too large); the training goes on.")]
    assert capfd.readouterr() == ("", "")


def test_logs_that_cant_be_opened_stop_nothing(tmp_path: Path):
    board = Board(tmp_path)
    (tmp_path / "logs").rmdir()
    (tmp_path / "logs").write_text("in the way")
    assert [type(event) for event in board.log([Started(step=0, steps=1)])] == [Finding]
    assert board.log([steps(0, 1.0)]) == []
    board.close()


def test_a_traceback_is_kept(tmp_path: Path):
    board = Board(tmp_path)
    board.error("ValueError: a bug")
    board.close()
    assert "ERROR ValueError: a bug" in (tmp_path / "logs" / "train.log").read_text()

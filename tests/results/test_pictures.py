"""Class pictures for prior_data_dir."""

import resource
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from studio.cli import main
from studio.config import Config
from studio.data.examples import gather

DRAW = ["sample", "--base_model", "pocket", "--prompt", "a dog", "--steps", "2", "--seed", "3", "--output"]


def test_class_pictures_are_drawn_once_with_captions_and_are_what_a_run_takes(tmp_path: Path) -> None:
    folder = tmp_path / "dogs"
    assert main([*DRAW, str(folder), "--count", "2"]) == 0
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert main([*DRAW, str(folder), "--count", "3"]) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in times.items()), "drawn again"
    first, second, _ = sorted(folder.glob("*.png"))
    with Image.open(first) as one, Image.open(second) as other:
        assert ImageChops.difference(one, other).getbbox()
    dataset = gather(Config(base_model="pocket", train_data_dir=folder, prior_data_dir=folder))
    assert [example.caption for example in dataset.prior] == ["a dog"] * 3


def test_a_disk_that_refuses_is_named_and_leaves_no_half_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, (soft, hard) = tmp_path / "dogs", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # a picture has some thousand bytes
    try:
        assert main([*DRAW, str(folder), "--count", "1"]) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(folder) in capsys.readouterr().err
    assert list(folder.glob("*.png")) == []
    assert main([*DRAW, str(folder), "--count", "1"]) == 0
    with Image.open(next(folder.glob("*.png"))) as picture:
        picture.load()


def test_class_pictures_need_a_folder(tmp_path: Path, capsys) -> None:
    assert main([*DRAW, str(tmp_path / "sheet.png"), "--count", "2"]) == 2
    assert "the pictures go into a folder" in capsys.readouterr().err

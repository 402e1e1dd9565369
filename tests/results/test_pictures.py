"""Class pictures for prior_data_dir."""

from pathlib import Path

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


def test_class_pictures_need_a_folder(tmp_path: Path, capsys) -> None:
    assert main([*DRAW, str(tmp_path / "sheet.png"), "--count", "2"]) == 2
    assert "the pictures go into a folder" in capsys.readouterr().err

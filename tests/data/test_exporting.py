import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.data import album, exporting
from studio.data.importing import open_folder
from studio.data.listing import scan
from studio.errors import DataError, InputError, MachineError

CAPTIONS = {"a.png": 'a "red" car, fast', "sub/b.jpg": "一辆红色的车", "sub/c.png": ""}


@pytest.fixture
def folder(draw: Callable[..., Path], write: Callable[..., Path], tmp_path: Path) -> Path:
    for name in CAPTIONS:
        draw(f"set/{name}")
    write("set/metadata.csv", 'file_name,text\na.png,"a ""red"" car, fast"\nsub/b.jpg,一辆红色的车\n')
    return tmp_path / "set"


def rows(folder: Path) -> dict[str, str]:
    return dict(album.open_album(folder).rows)


@pytest.mark.parametrize("form", ["csv", "jsonl", "txt", "caption"])
def test_what_goes_out_comes_back(folder: Path, tmp_path: Path, form: exporting.Form) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = exporting.export(folder, tmp_path / "out", form)
    assert (done.pictures, done.renamed) == (3, {})
    assert rows(tmp_path / "out") == CAPTIONS
    assert (tmp_path / "out" / "sub" / "b.jpg").read_bytes() == before[folder / "sub" / "b.jpg"]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_kohyas_folder_carries_the_repeats_and_holds_all_pictures(folder: Path, tmp_path: Path) -> None:
    done = exporting.export(folder, tmp_path / "out", "kohya", repeats=10, name="ohwx man")
    inside = tmp_path / "out" / "10_ohwx man"
    assert sorted(path.name for path in inside.iterdir()) == ["a.png", "a.txt", "sub_b.jpg", "sub_b.txt", "sub_c.png"]
    assert done.renamed == {"sub_b.jpg": "sub/b.jpg", "sub_c.png": "sub/c.png"}


@pytest.mark.parametrize("form", exporting.FORMS)
def test_masks_go_out_with_their_pictures(folder: Path, draw: Callable[..., Path], tmp_path: Path, form: exporting.Form) -> None:
    draw("set/masks/a.png")
    draw("set/sub/b.mask.webp", lossless=True)
    exporting.export(folder, tmp_path / "out", form, name="it")
    inside = tmp_path / "out" / ("1_it" if form == "kohya" else "")
    assert len(scan(inside).masks) == 2
    for name, mask in scan(inside).masks.items():
        there = "set/masks/a.png" if name == "a.png" else "set/sub/b.mask.webp"
        assert (inside / mask).read_bytes() == (tmp_path / there).read_bytes()


def test_a_zip_holds_the_same(folder: Path, tmp_path: Path) -> None:
    exporting.export(folder, tmp_path / "out.zip", "jsonl")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None
    assert rows(open_folder(tmp_path / "out.zip", tmp_path / "unpacked")) == CAPTIONS
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_pictures_that_would_share_a_text_are_renamed(draw: Callable[..., Path], write: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        draw(f"set/{name}")
    write("set/metadata.csv", "a.png,first\na.jpg,second\n")
    done = exporting.export(tmp_path / "set", tmp_path / "out", "txt")
    assert done.renamed == {"a-2.png": "a.png"}
    assert rows(tmp_path / "out") == {"a.jpg": "second", "a-2.png": "first"}


def test_nothing_is_written_over_and_nothing_into_the_dataset(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    for target in (tmp_path / "full", folder / "out", folder):
        with pytest.raises(InputError):
            exporting.export(folder, target)
    with pytest.raises(DataError):
        exporting.export(tmp_path / "full", tmp_path / "out")


def test_a_disk_that_is_full_leaves_nothing_half(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting.shutil, "copyfile", full)
    with pytest.raises(MachineError, match="No space left"):
        exporting.export(folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]

"""Datasets of the workspace, and what is brought into them."""

import zipfile
from pathlib import Path

import pytest

from studio import home
from studio.data import datasets
from studio.errors import DataError, InputError
from studio.pocket import SAMPLES

PICTURE = SAMPLES / "gameboy" / "airplane.png"
OTHER = SAMPLES / "gameboy" / "avocado.png"


def nothing(_: int, __: int) -> None:
    pass


def names(known: datasets.Known) -> list[str]:
    return sorted(path.relative_to(known.folder).as_posix() for path in known.folder.rglob("*") if path.is_file())


def test_a_folder_elsewhere_is_remembered_by_one_name(tmp_path: Path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    known = datasets.register(folder)
    assert datasets.register(folder) == known == datasets.find("elsewhere")
    assert known.folder == folder
    assert (home.datasets() / "elsewhere" / "where").is_file()


def test_another_folder_of_the_same_name_gets_another(tmp_path: Path):
    for part in "ab":
        (tmp_path / part / "style").mkdir(parents=True)
        datasets.register(tmp_path / part / "style")
    assert [known.name for known in datasets.listed()] == ["style", "style-2"]


def test_files_of_one_name_are_both_kept(tmp_path: Path):
    known, _ = datasets.bring([("a.png", PICTURE), ("a.png", OTHER), ("a.png", PICTURE)], "set", nothing)
    assert names(known) == ["a-2.png", "a.png"]


def test_a_zip_comes_with_its_captions_and_leaves_the_rest_out(tmp_path: Path):
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(PICTURE, "in/plane.png")
        file.writestr("in/plane.txt", "a plane")
        file.writestr("in/run.exe", "MZ")
    told: list[tuple[int, int]] = []
    known, _ = datasets.bring([("mine.zip", archive)], "", lambda done, total: told.append((done, total)))
    assert known.name == "mine"
    assert names(known) == ["plane.png", "plane.txt"]
    assert told[-1] == (2, 2)


@pytest.mark.parametrize("hostile", ["../../out.png", "/etc/out.png", "..\\..\\out.png", "a/../../out.png", "\x00out.png"])
def test_a_hostile_name_stays_inside(hostile: str):
    known, _ = datasets.bring([(hostile, PICTURE)], "set", nothing)
    (path,) = known.folder.rglob("*.png")
    assert path.resolve().is_relative_to(home.datasets().resolve() / "set")


def test_what_holds_no_picture_is_refused_and_named(tmp_path: Path):
    with pytest.raises(DataError, match="no pictures") as refused:
        datasets.bring([("notes.docx", PICTURE), ("old.rar", PICTURE)], "", nothing)
    assert "notes.docx" in refused.value.fix
    assert "pack it as .zip" in refused.value.fix


def test_the_samples_are_copied_once():
    known = datasets.copy_of(SAMPLES / "gameboy", "gameboy")
    (known.folder / "metadata.csv").write_text("mine")
    assert (datasets.copy_of(SAMPLES / "gameboy", "gameboy").folder / "metadata.csv").read_text() == "mine"
    assert (SAMPLES / "gameboy" / "metadata.csv").read_text() != "mine"


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="no dataset"):
        datasets.find("../runs")

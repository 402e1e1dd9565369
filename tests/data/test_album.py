"""Captions are edited in the file they came from, and never over a text that somebody else wrote."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from studio.data.album import Conflict, Edit, open_album, save
from studio.errors import DataError
from studio.pocket import SAMPLES

NAMES = ("airplane.png", "avocado.png", "backpack.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    for name in NAMES:
        shutil.copy(SAMPLES / "gameboy" / name, made / name)
    return made


def texts(folder: Path) -> dict[str, str]:
    return dict(open_album(folder).rows)


def test_a_csv_keeps_its_header_order_and_other_columns(folder: Path):
    (folder / "metadata.csv").write_text('file_name,score,text\navocado.png,7,"green, ripe"\nairplane.png,3,old\n')
    album, conflicts = save(folder, [Edit("airplane.png", "old", 'a plane, "new"'), Edit("backpack.png", "", "a bag")])
    assert conflicts == []
    assert album.source == "metadata.csv"
    lines = (folder / "metadata.csv").read_text().splitlines()
    assert lines == ["file_name,score,text", 'avocado.png,7,"green, ripe"', 'airplane.png,3,"a plane, ""new"""', "backpack.png,,a bag"]
    assert texts(folder) == {"airplane.png": 'a plane, "new"', "avocado.png": "green, ripe", "backpack.png": "a bag"}


def test_a_csv_without_a_header_stays_without_one(folder: Path):
    (folder / "metadata.csv").write_text("airplane.png,old\n")
    save(folder, [Edit("airplane.png", "old", "new")])
    assert (folder / "metadata.csv").read_text() == "airplane.png,new\n"


def test_json_lines_keep_their_other_fields(folder: Path):
    (folder / "metadata.jsonl").write_text('{"image": "airplane.png", "caption": "old", "by": "me"}\n')
    save(folder, [Edit("airplane.png", "old", "新"), Edit("avocado.png", "", "fruit")])
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert rows == [{"image": "airplane.png", "caption": "新", "by": "me"}, {"file_name": "avocado.png", "text": "fruit"}]


def test_sidecars_stay_sidecars(folder: Path):
    (folder / "airplane.txt").write_text("old")
    save(folder, [Edit("airplane.png", "old", "new"), Edit("avocado.png", "", "fruit")])
    assert (folder / "airplane.txt").read_text() == "new\n"
    assert (folder / "avocado.txt").read_text() == "fruit\n"
    assert not (folder / "metadata.csv").exists()


def test_pictures_without_captions_get_a_metadata_file(folder: Path):
    album, _ = save(folder, [Edit("avocado.png", "", "fruit")])
    assert album.source == "metadata.csv"
    assert (folder / "metadata.csv").read_text() == "file_name,text\navocado.png,fruit\n"


def test_the_first_file_is_kept_beside(folder: Path):
    (folder / "metadata.csv").write_text("airplane.png,first\n")
    for before, after in (("first", "second"), ("second", "third")):
        save(folder, [Edit("airplane.png", before, after)])
    assert (folder / "metadata.csv.bak").read_text() == "airplane.png,first\n"


def test_what_somebody_else_changed_comes_back_with_both_texts(folder: Path):
    (folder / "metadata.csv").write_text("airplane.png,theirs\navocado.png,old\n")
    _, conflicts = save(folder, [Edit("airplane.png", "what I saw", "mine"), Edit("avocado.png", "old", "new")])
    assert conflicts == [Conflict("airplane.png", "mine", "theirs")]
    assert texts(folder) == {"airplane.png": "theirs", "avocado.png": "new", "backpack.png": ""}


def test_saving_at_once_loses_nothing(folder: Path):
    (folder / "metadata.csv").write_text("".join(f"{name},old\n" for name in NAMES))
    threads = [threading.Thread(target=save, args=(folder, [Edit(name, "old", f"new {name}")])) for name in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts(folder) == {name: f"new {name}" for name in NAMES}


def test_a_file_with_lines_that_cant_be_read_is_not_rewritten(folder: Path):
    (folder / "metadata.csv").write_text("airplane.png,old\nbroken line\n")
    with pytest.raises(DataError, match="saving would lose them"):
        save(folder, [Edit("airplane.png", "old", "new")])
    assert "broken line" in (folder / "metadata.csv").read_text()


def test_a_picture_that_isnt_there_cant_be_edited(folder: Path):
    with pytest.raises(DataError, match="no picture"):
        save(folder, [Edit("../../etc/passwd", "", "x")])


def test_the_stamp_changes_with_captions_and_pictures(folder: Path):
    before = open_album(folder).stamp
    assert open_album(folder).stamp == before
    save(folder, [Edit("avocado.png", "", "fruit")])
    edited = open_album(folder).stamp
    (folder / "backpack.png").unlink()
    assert len({before, edited, open_album(folder).stamp}) == 3

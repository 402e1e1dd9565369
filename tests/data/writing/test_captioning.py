"""Writing captions for a folder. File names are the captioner here: what is asked for is known."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.data import album
from studio.data.album import Edit
from studio.data.writing import authors, captioners, captioning, edits
from studio.data.writing.captioning import Job
from studio.errors import DataError
from tests.browser.app import ROOT

ONE = captioners.Options(batch=1)


@pytest.fixture
def folder(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    for name in ("red_car", "blue_house", "cat"):
        draw(f"set/{name}.png")
    return tmp_path / "set"


def texts(folder: Path, metadata: Path | None = None) -> dict[str, str]:
    return dict(album.open_album(folder, metadata).rows)


def test_every_picture_gets_a_caption_and_its_bytes_stay(folder: Path) -> None:
    before = (folder / "cat.png").read_bytes()
    outcome = captioning.caption(Job(folder, "filename", prefix="a photo of"))
    assert texts(folder) == {"blue_house.png": "a photo of blue house", "cat.png": "a photo of cat", "red_car.png": "a photo of red car"}
    assert (outcome.written, outcome.kept, outcome.source) == (3, 0, "metadata.csv")
    assert (folder / "cat.png").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["blue_house.png", "cat.png", "metadata.csv", "red_car.png"]


def test_captions_that_are_there_are_left_alone(folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,text\ncat.png,my cat\n")
    outcome = captioning.caption(Job(folder, "filename"))
    assert texts(folder)["cat.png"] == "my cat"
    assert (outcome.written, outcome.kept) == (2, 1)


def test_auto_overwrites_what_a_captioner_wrote_but_no_hand_edit_with_whatever_program(folder: Path) -> None:
    captioning.caption(Job(folder, "filename"))
    album.save(folder, [Edit("cat.png", "cat", "my cat")])
    table = (folder / "metadata.csv").read_text()
    (folder / "metadata.csv").write_text(table.replace("blue house", "our house"))
    captioning.caption(Job(folder, "template", captioners.Options(template="thing {number}"), overwrite="auto"))
    assert texts(folder) == {"blue_house.png": "our house", "cat.png": "my cat", "red_car.png": "thing 1"}


def test_all_overwrites_everything(folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,text\ncat.png,my cat\n")
    captioning.caption(Job(folder, "filename", overwrite="all"))
    assert texts(folder)["cat.png"] == "cat"


def test_a_captioners_work_is_taken_back_as_one(folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,text\ncat.png,my cat\n")
    captioning.caption(Job(folder, "filename", ONE, overwrite="all"))
    assert edits.undo(folder)[1] == 3
    assert texts(folder) == {"blue_house.png": "", "cat.png": "my cat", "red_car.png": ""}


def test_a_file_of_its_own_begins_with_the_folders_captions(folder: Path, tmp_path: Path) -> None:
    (folder / "cat.txt").write_text("my cat")
    output = tmp_path / "captions.csv"
    captioning.caption(Job(folder, "filename", metadata=output))
    assert texts(folder, output) == {"blue_house.png": "blue house", "cat.png": "my cat", "red_car.png": "red car"}
    assert not (folder / "metadata.csv").exists()


def test_a_crash_loses_no_batch_that_was_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captioning._Writer, "save", lambda self: None)  # the process died before it could

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        captioning.caption(Job(folder, "filename", ONE), stop)
    monkeypatch.undo()
    monkeypatch.setenv("STUDIO_HOME", str(folder.parent / "workspace"))
    assert set(texts(folder).values()) == {""}
    outcome = captioning.caption(Job(folder, "filename", ONE, resume=True))
    assert (outcome.recovered, outcome.written) == (2, 1)
    assert texts(folder)["blue_house.png"] == "blue house"


def test_what_was_written_before_a_cancel_stays(folder: Path) -> None:

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        captioning.caption(Job(folder, "filename", ONE), stop)
    assert texts(folder) == {"blue_house.png": "blue house", "cat.png": "", "red_car.png": ""}


def test_resume_writes_nothing_of_the_same_job_again(folder: Path) -> None:
    job = Job(folder, "filename", overwrite="all", resume=True)
    captioning.caption(job)
    assert captioning.caption(job).written == 0


def test_a_picture_that_cannot_be_read_is_named_and_costs_nothing_else(folder: Path, tmp_path: Path) -> None:
    from tests.data import small

    whole = (folder / "cat.png").read_bytes()
    (folder / "cat.png").write_bytes(whole[: len(whole) // 2])
    options = captioners.Options(model=str(small.blip(tmp_path / "blip")), tokens=4)
    outcome = captioning.caption(Job(folder, "blip", options))
    assert [problem.file for problem in outcome.problems] == ["cat.png"]
    assert outcome.written == 2


def test_a_caption_that_a_person_writes_meanwhile_wins(folder: Path) -> None:
    def person(done: int, total: int) -> None:
        if not done:
            album.save(folder, [Edit("cat.png", "", "my cat")])

    outcome = captioning.caption(Job(folder, "filename"), person)
    assert texts(folder)["cat.png"] == "my cat"
    assert [conflict.name for conflict in outcome.conflicts] == ["cat.png"]


def test_a_folder_without_pictures_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures"):
        captioning.caption(Job(tmp_path / "empty", "filename"))


def test_who_wrote_a_caption_is_known_until_somebody_changes_it(folder: Path) -> None:
    captioning.caption(Job(folder, "filename"))
    album.save(folder, [Edit("cat.png", "cat", "my cat")])
    assert authors.by_machine(folder, texts(folder)) == {"blue_house.png": "filename", "red_car.png": "filename"}


def test_a_torn_line_in_the_journal_is_passed_over(folder: Path) -> None:
    captioning.caption(Job(folder, "filename"))
    journal = authors.place(folder) / authors.JOURNAL
    whole = journal.read_text()
    journal.write_text(whole[:-20])
    authors.note(folder, [("cat.png", "kitty")], "filename", "x")
    lines = journal.read_text().splitlines()
    assert json.loads(lines[-1])["text"] == "kitty"
    assert [one.text for one in authors.written(folder)["cat.png"]] == ["cat", "kitty"]


def test_killed_while_it_writes_it_loses_at_most_a_batch(tmp_path: Path) -> None:
    folder, count = tmp_path / "set", 1500
    folder.mkdir()
    for number in range(count):
        (folder / f"car {number:04}.png").touch()  # names become captions without a look at the picture
    words = [sys.executable, str(ROOT / "studio.py"), "caption", "--input", str(folder), "--captioner", "filename", "--batch", "2", "--resume"]
    journal = authors.place(folder) / authors.JOURNAL
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > 10_000):
        time.sleep(0.001)
    process.kill()
    process.communicate()
    before = authors.written(folder)
    assert 50 < len(before) < count
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert f"{count - len(before)} captions written" in done.stdout
    assert f"{len(before)} more were written before the interruption." in done.stdout
    assert {len(lines) for lines in authors.written(folder).values()} == {1}
    assert [text for _, text in album.open_album(folder).rows] == ["car"] * count

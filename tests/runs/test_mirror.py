"""What is finished has a second home that knows no locks and no renames."""

from pathlib import Path

import pytest

from studio.runs.mirror import LISTS, Mirror


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    for name in ("home", "bucket"):
        (tmp_path / name).mkdir()
    return Mirror(tmp_path / "home", tmp_path / "bucket")


def write(home: Path, **files: str) -> None:
    for name, text in files.items():
        path = home / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def restarted(mirror: Mirror, tmp_path: Path) -> tuple[Path, list[str]]:
    fresh = Mirror(tmp_path / "fresh", mirror.bucket)
    damaged = fresh.bring_back()
    return fresh.home, damaged


def texts(home: Path) -> dict[str, str]:
    return {path.relative_to(home).as_posix(): path.read_text() for path in home.rglob("*") if path.is_file()}


def test_what_is_finished_comes_back_and_what_is_passing_doesnt(mirror: Mirror, tmp_path: Path):
    write(mirror.home, runs__A__state="s", runs__A__lock="", runs__A__stop="", datasets__d__a="1", cache__x="no", models__m="no")
    (mirror.home / "runs/A/checkpoints/step-000001.part").mkdir(parents=True)
    write(mirror.home, **{"runs__A__checkpoints__step-000001.part__adapter": "half", "runs__A__checkpoints__step-000002__adapter": "whole"})
    assert mirror.copy_out() == 3
    home, damaged = restarted(mirror, tmp_path)
    assert texts(home) == {"runs/A/state": "s", "datasets/d/a": "1", "runs/A/checkpoints/step-000002/adapter": "whole"}
    assert damaged == []


def test_only_what_changed_is_copied_again(mirror: Mirror, tmp_path: Path):
    write(mirror.home, runs__A__state="1", runs__A__config="c")
    assert (mirror.copy_out(), mirror.copy_out()) == (2, 0)
    write(mirror.home, runs__A__state="22")
    assert mirror.copy_out() == 1
    assert texts(restarted(mirror, tmp_path)[0]) == {"runs/A/state": "22", "runs/A/config": "c"}


def test_what_is_deleted_is_deleted_there_too(mirror: Mirror, tmp_path: Path):
    write(mirror.home, runs__A__state="1", runs__B__state="2")
    mirror.copy_out()
    (mirror.home / "runs/A/state").unlink()
    mirror.copy_out()
    assert texts(restarted(mirror, tmp_path)[0]) == {"runs/B/state": "2"}
    assert len(list((mirror.bucket / "files").iterdir())) == 1


def test_a_copy_that_was_cut_off_leaves_the_former_state(mirror: Mirror, tmp_path: Path):
    write(mirror.home, runs__A__state="old")
    mirror.copy_out()
    write(mirror.home, runs__A__state="newer")
    mirror.copy_out()
    newest = max((mirror.bucket / name for name in LISTS), key=lambda path: path.stat().st_mtime_ns)
    write(mirror.home, runs__A__state="newest", runs__B__state="b")
    for name, cut in ((newest.name, False), (next(name for name in LISTS if name != newest.name), True)):
        text = (mirror.bucket / name).read_text()
        (mirror.bucket / name).write_text(text[: len(text) // 2] if cut else text)
    assert texts(restarted(mirror, tmp_path)[0]) == {"runs/A/state": "newer"}


def test_a_damaged_copy_is_named_and_left_out(mirror: Mirror, tmp_path: Path):
    write(mirror.home, runs__A__state="1", runs__B__state="2")
    mirror.copy_out()
    next((mirror.bucket / "files").iterdir()).write_text("?")
    home, damaged = restarted(mirror, tmp_path)
    assert len(damaged) == 1
    assert len(texts(home)) == 1


def test_what_is_there_already_is_not_overwritten(mirror: Mirror, tmp_path: Path):
    write(mirror.home, runs__A__state="mirrored")
    mirror.copy_out()
    write(tmp_path / "fresh", runs__A__state="local")
    assert texts(restarted(mirror, tmp_path)[0]) == {"runs/A/state": "local"}


def test_a_bucket_that_vanished_is_trouble_and_no_more(mirror: Mirror):
    write(mirror.home, runs__A__state="1")
    mirror.bucket.rmdir()
    mirror.bucket.write_text("no folder")
    mirror.watch()
    mirror.end()
    assert mirror.trouble

import errno
from pathlib import Path

import pytest

from studio.files import write_atomically


def test_bytes_text_and_writers_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"new", "new", lambda part: part.write_bytes(b"new")):
        path.write_bytes(b"old")
        write_atomically(path, content)
        assert path.read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("reason", [OSError(errno.ENOSPC, "No space left on device"), ValueError("a bug")])
def test_a_writer_that_breaks_leaves_the_old_file_and_no_other(tmp_path: Path, reason: Exception) -> None:
    def fill(part: Path) -> None:
        part.write_bytes(b"half")
        raise reason

    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(type(reason)):
        write_atomically(path, fill)
    assert (path.read_bytes(), [file.name for file in tmp_path.iterdir()]) == (b"old", ["file"])


def test_the_longest_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"")
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

from studio.data.listing import scan

Write = Callable[[str, str | bytes], Path]


def test_a_scan_is_sorted_goes_into_folders_and_leaves_hidden_files_out(tmp_path: Path, write: Write) -> None:
    for name in ("b.png", "a/z.JPG", "a.txt", ".hidden.png", ".git/x.png", "__MACOSX/a.png", "notes.md", "x.heic"):
        write(name, "x")
    found = scan(tmp_path)
    assert found.pictures == ("a/z.JPG", "b.png", "x.heic")
    assert found.others == ("a.txt", "notes.md")


def test_pipes_and_broken_links_are_no_pictures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert scan(tmp_path).pictures == ()


def test_a_name_is_found_in_its_other_unicode_form_but_never_crosses(tmp_path: Path, write: Write) -> None:
    decomposed, composed = unicodedata.normalize("NFD", "é.png"), "é.png"
    write(decomposed, "x")
    assert scan(tmp_path).find(composed) == decomposed
    write(composed, "y")
    found = scan(tmp_path)
    assert found.find(composed) == composed
    assert found.find(decomposed) == decomposed


def test_a_name_that_is_nearly_right_gets_a_suggestion(tmp_path: Path, write: Write) -> None:
    write("IMG_1.JPG", "x")
    found = scan(tmp_path)
    assert found.find("img_1.jpg") is None
    assert found.like("img_1.jpg") == "IMG_1.JPG"
    assert found.like("img_1") == "IMG_1.JPG"
    assert found.like("img_1.png") == "IMG_1.JPG"
    assert found.like("other.png") is None


def test_names_of_any_script_length_and_shape_are_listed(tmp_path: Path, write: Write) -> None:
    names = ["con.png", "line\nbreak.png", "שלום.png", "图片.png", "😀.png", "a" * 251 + ".png"]
    for name in names:
        write(name, "x")
    assert set(scan(tmp_path).pictures) == set(names)

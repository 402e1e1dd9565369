from collections.abc import Callable
from pathlib import Path

from studio.data import album, datasheet
from studio.data.album import Edit
from studio.data.datasheet import Facts
from studio.data.problems import Problem
from studio.data.report import Report, check
from studio.data.writing import captioning
from studio.data.writing.captioning import Job


def test_what_a_person_said_is_kept_and_what_is_missing_is_named(tmp_path: Path) -> None:
    assert datasheet.read(tmp_path).missing == ["source", "preprocessing", "captioning"]
    datasheet.write(tmp_path, Facts(source="own photos, CC0", captioning="by hand"))
    assert datasheet.read(tmp_path) == Facts("own photos, CC0", "", "by hand")
    assert datasheet.read(tmp_path).missing == ["preprocessing"]
    assert list(tmp_path.iterdir()) == [tmp_path / "workspace"]


def test_a_damaged_file_is_as_if_nothing_was_said(tmp_path: Path) -> None:
    datasheet.write(tmp_path, Facts("x"))
    for content in ("[]", "{", ""):
        next((tmp_path / "workspace").rglob("dataset.json")).write_text(content)
        assert datasheet.read(tmp_path) == Facts()


def test_how_captions_came_about_is_known_where_a_captioner_wrote(tmp_path: Path, draw: Callable[..., Path]) -> None:
    for name in ("a", "b", "c"):
        draw(f"set/{name}.png")
    folder = tmp_path / "set"
    captioning.caption(Job(folder, "filename"))
    album.save(folder, [Edit("b.png", "b", "a bee")])
    assert datasheet.captioning(folder, dict(album.open_album(folder).rows)) == "filename 2, by hand 1"
    assert datasheet.captioning(folder, {"a.png": "mine"}) == ""


def test_the_section_holds_what_was_found_and_what_was_said(config, draw: Callable[..., Path], write: Callable[..., Path]) -> None:
    draw("a.png")
    draw("b.png")
    write("metadata.csv", "a.png,a red cat\nb.png,a red dog\nc.png,nothing\n")
    text = datasheet.markdown(check(config()), Facts(source="own | photos"))
    assert "| Pictures | 2 (2 to train on) |" in text
    assert "| Source | own \\| photos |" in text
    assert "| Captioning method | – |" in text
    assert "red 2" in text
    assert "- **no-picture** (1): metadata.csv:3. There is no picture c.png." in text


def test_private_words_and_names_stay_out_where_they_shall() -> None:
    report = Report("folder", 1, 1, 1, problems=(Problem("secret.png", None, "about secret.png", "Mend it.", kind="small"),))
    text = datasheet.markdown(report, Facts(), private=False)
    assert "secret" not in text
    assert "small" in text


def test_no_caption_becomes_markup() -> None:
    report = Report("folder", problems=(Problem("a|b<script>.png", None, "x `y`", "", kind="small"),))
    text = datasheet.markdown(report, Facts())
    assert "<script>" not in text
    assert "a\\|b" in text

"""Datasets of the workspace, and what is brought into them."""

import zipfile
from pathlib import Path

import pytest

from studio import home
from studio.data import datasets, datasheet
from studio.data.text import corpus
from studio.data.text.texts import UnknownColumnsError
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


@pytest.mark.parametrize(
    ("asked", "called"),
    [
        ("../../x", "x"),
        ("a/b", "b"),
        ("..\\x", "x"),
        ("-rf", "rf"),
        ("$(id)", "(id)"),
        ("a\0b\nc", "a_b_c"),
        ("x" * 300, "x" * 64),
        (".", "dataset"),
        ("..", "dataset"),
        ("---", "dataset"),
        ("mine v1.5", "mine v1.5"),
        ("猫", "猫"),
    ],
)
def test_a_dataset_gets_a_name_that_is_one(asked: str, called: str):
    known, _ = datasets.bring([("a.png", PICTURE)], asked, nothing)
    assert (known.name, known.folder.parent) == (called, home.datasets())


def test_what_holds_no_picture_is_refused_and_named(tmp_path: Path):
    with pytest.raises(DataError, match="no pictures and no texts") as refused:
        datasets.bring([("notes.docx", PICTURE), ("old.rar", PICTURE)], "", nothing)
    assert "notes.docx" in refused.value.fix
    assert "pack it as .zip" in refused.value.fix


def test_texts_become_a_dataset_of_one_form(tmp_path: Path):
    (tmp_path / "faq.csv").write_text("question,answer\nWhen?,At nine.\n\nbad\n")
    (tmp_path / "b.json").write_text('[{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}]')
    source = [(name, tmp_path / name) for name in ("faq.csv", "b.json")]
    before = [path.read_bytes() for _, path in source]
    known, left_out = datasets.bring(source, "", nothing)
    assert (known.name, names(known)) == ("texts", ["rows.jsonl"])
    assert [len(row.example.messages) for row in corpus.open_corpus(known.folder).rows] == [2, 2]
    assert left_out == ['faq.csv: Line 4: Invalid format (expected 2 fields, found 1): "bad"']
    assert [path.read_bytes() for _, path in source] == before
    noted = datasheet.noted(known.folder)
    assert (noted["source"], noted["fingerprint"]) == ("b.json, faq.csv", corpus.open_corpus(known.folder).texts.fingerprint)
    again, left_out = datasets.bring(source, "texts", nothing)
    assert (again, left_out[1:]) == (known, ["2 rows are there already and were left out."])


def test_columns_that_nobody_knows_are_asked_for(tmp_path: Path):
    (tmp_path / "faq.csv").write_text("q1,a1\nWhen?,At nine.\n")
    with pytest.raises(UnknownColumnsError):
        datasets.bring([("faq.csv", tmp_path / "faq.csv")], "", nothing)
    assert datasets.listed() == []
    known, _ = datasets.bring([("faq.csv", tmp_path / "faq.csv")], "", nothing, {"prompt": "q1", "response": "a1"})
    assert [row.example.whole for row in corpus.open_corpus(known.folder).rows] == ["When?\nAt nine."]


def test_a_file_that_breaks_off_is_refused_whole(tmp_path: Path):
    (tmp_path / "a.json").write_text('[{"text": "a"}, {"text"')
    with pytest.raises(DataError, match=r"a\.json: Line 1: Invalid JSON"):
        datasets.bring([("a.json", tmp_path / "a.json")], "", nothing)


def test_a_table_beside_pictures_is_of_captions(tmp_path: Path):
    (tmp_path / "captions.csv").write_text("file_name,text\na.png,a plane\n")
    (tmp_path / "info.json").write_text("[]")
    source = [("a.png", PICTURE), ("captions.csv", tmp_path / "captions.csv"), ("info.json", tmp_path / "info.json")]
    assert names(datasets.bring(source, "set", nothing)[0]) == ["a.png", "captions.csv"]


def test_pictures_and_texts_stay_apart(tmp_path: Path):
    (tmp_path / "a.txt").write_text("once")
    datasets.bring([("a.png", PICTURE)], "pictures", nothing)
    datasets.bring([("a.txt", tmp_path / "a.txt")], "words", nothing)
    for files, name in (([("a.png", PICTURE)], "words"), ([("a.txt", tmp_path / "a.txt")], "pictures")):
        with pytest.raises(DataError, match="a dataset of their own"):
            datasets.bring(files, name, nothing)


def test_the_samples_are_copied_once():
    known = datasets.copy_of(SAMPLES / "gameboy", "gameboy")
    (known.folder / "metadata.csv").write_text("mine")
    assert (datasets.copy_of(SAMPLES / "gameboy", "gameboy").folder / "metadata.csv").read_text() == "mine"
    assert (SAMPLES / "gameboy" / "metadata.csv").read_text() != "mine"


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="no dataset"):
        datasets.find("../runs")

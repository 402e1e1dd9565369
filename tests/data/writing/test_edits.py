import time
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.data import album
from studio.data.album import Edit
from studio.data.writing import authors, edits
from studio.errors import InputError


@pytest.fixture
def folder(tmp_path: Path, draw: Callable[..., Path], write: Callable[..., Path]) -> Path:
    for name in ("a", "b", "c"):
        draw(f"set/{name}.png")
    write("set/metadata.csv", 'file_name,text\na.png,"red car, road"\nb.png,blue car\nc.png,tree\n')
    return tmp_path / "set"


def texts(folder: Path) -> list[str]:
    return [text for _, text in album.open_album(folder).rows]


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ("prefix=portrait of anna,", "smiling", "portrait of anna, smiling"),
        ("prefix=portrait of anna,", "portrait of anna, smiling", "portrait of anna, smiling"),
        ("suffix=, oil painting", "a tree", "a tree, oil painting"),
        ("suffix=, oil painting", "a tree, oil painting", "a tree, oil painting"),
        ("trigger=ohwx", "", "ohwx"),
        ("trigger=ohwx", "a dog, OHWX, grass", "ohwx, a dog, grass"),
        ("trigger=ohwx", "ohwx dog, grass", "ohwx dog, grass"),
        ("replace=car=>automobile", "a car, a cart", "a automobile, a automobilet"),
        ("replace=blurry=>", "a dog, blurry, grass", "a dog, grass"),
        (r"regex=\bcar\b=>automobile", "a car, a cart", "a automobile, a cart"),
        (r"regex=(\w+) car=>car, \1", "red car", "car, red"),
        ("add_tag=outdoors", "tree, Outdoors", "tree, Outdoors"),
        ("add_tag=outdoors", "tree", "tree, outdoors"),
        ("remove_tag=long_hair, hat", "1girl, long hair, hat, chat", "1girl, chat"),
        ("keep_tags=2", "a, b, c", "a, b"),
        ("sort_tags", "ohwx, c, B, a", "ohwx, a, B, c"),
        ("dedupe_tags", "long_hair, x, long hair, X", "long_hair, x"),
        ("spaces", "long_hair, ^_^", "long hair, ^_^"),
        ("underscores", "long hair, hat", "long_hair, hat"),
    ],
)
def test_each_change_does_what_it_says(change: str, before: str, after: str) -> None:
    assert edits.parse([change])(before) == after


def test_changes_follow_one_another() -> None:
    assert edits.parse(["dedupe_tags", "trigger=ohwx", "keep_tags=2"])("a, a, b") == "ohwx, a"


@pytest.mark.parametrize(
    ("change", "words"),
    [("shout", "no change shout"), ("prefix", "prefix="), ("sort_tags=1", "sort_tags"), ("keep_tags=few", "keep_tags=20"), ("replace=a", "=>"),
     ("regex=(=>a", "regular expression"), (r"regex=(a)=>\2", "regular expression"), ("regex=" + "a" * 600 + "=>b", "500 characters")],
)  # fmt: skip
def test_what_is_not_understood_is_answered_with_how_to_write_it(change: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        edits.parse([change])
    assert words in str(refused.value)


def test_a_pattern_that_would_never_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edits, "SLOWEST", 0.2)
    begun = time.monotonic()
    with pytest.raises(InputError, match="takes too long"):
        edits.parse([r"regex=^(?:(a|aa)+)+\1c$=>x"])("a" * 60 + "b")
    assert time.monotonic() - begun < 20


def test_a_change_is_shown_before_it_is_made_and_can_be_taken_back(folder: Path) -> None:
    found = edits.preview(dict(album.open_album(folder).rows), edits.parse(["replace=car=>bus"]))
    assert found == [Edit("a.png", "red car, road", "red bus, road"), Edit("b.png", "blue car", "blue bus")]
    assert texts(folder)[0] == "red car, road"
    edits.apply(folder, found, "replace")
    assert texts(folder) == ["red bus, road", "blue bus", "tree"]
    assert edits.undo(folder) == ("replace", 2, [])
    assert texts(folder) == ["red car, road", "blue car", "tree"]


def test_changes_are_taken_back_one_by_one_until_none_is_left(folder: Path) -> None:
    for change in ("prefix=one", "prefix=two"):
        edits.apply(folder, edits.preview(dict(album.open_album(folder).rows), edits.parse([change])), change)
    assert [edits.undo(folder)[0], edits.undo(folder)[0]] == ["prefix=two", "prefix=one"]
    assert texts(folder)[2] == "tree"
    with pytest.raises(InputError, match="no change"):
        edits.undo(folder)


def test_a_torn_line_in_the_journal_hides_no_earlier_change(folder: Path) -> None:
    edits.apply(folder, [Edit("c.png", "tree", "oak")], "first")
    journal = authors.place(folder) / edits.JOURNAL
    journal.write_bytes(journal.read_bytes() + b'{"what": "torn')
    edits.apply(folder, [Edit("c.png", "oak", "elm")], "second")
    assert [edits.undo(folder)[0], edits.undo(folder)[0]] == ["second", "first"]


def test_the_journal_forgets_the_oldest_when_it_grows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edits, "LARGEST", 600)
    for number in range(10):
        edits.apply(folder, [Edit("c.png", f"tree {number}" if number else "tree", f"tree {number + 1}")], str(number))
    assert (authors.place(folder) / edits.JOURNAL).stat().st_size < 700
    assert edits.undo(folder)[0] == "9"


def test_what_somebody_changed_since_is_not_taken_back(folder: Path) -> None:
    edits.apply(folder, [Edit("c.png", "tree", "oak"), Edit("b.png", "blue car", "bus")], "by hand")
    album.save(folder, [Edit("c.png", "oak", "an old oak")])
    _, count, conflicts = edits.undo(folder)
    assert (count, [conflict.theirs for conflict in conflicts]) == (1, ["an old oak"])
    assert texts(folder) == ["red car, road", "blue car", "an old oak"]

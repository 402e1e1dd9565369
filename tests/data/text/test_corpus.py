"""A text dataset: rows that are added, edited, taken out and put back, by two people at once."""

import json
from pathlib import Path

import pytest

from studio.data.text import corpus
from studio.data.text.conversations import Message, TextExample
from studio.data.text.corpus import TextEdit
from studio.data.text.texts import TextRow
from studio.errors import DataError, InputError


def row(text: str) -> dict[str, object]:
    return {"text": text}


def pair(prompt: str, response: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "set"
    examples = [TextExample(text=text) for text in ("one", "two", "three")]
    examples.append(TextExample((Message("user", "hi\nyou"), Message("assistant", "hello"))))
    corpus.add(made, [TextRow("a.txt", 1, "text", example) for example in examples])
    return made


def written(folder: Path) -> list[object]:
    return [json.loads(line) for line in (folder / corpus.FILE).read_text(encoding="utf-8").splitlines()]


def test_rows_are_added_once(folder: Path) -> None:
    assert corpus.is_corpus(folder)
    again = [TextRow("b.txt", 1, "text", TextExample(text=text)) for text in ("two", "four")]
    assert corpus.add(folder, again) == 1
    assert written(folder) == [row("one"), row("two"), row("three"), pair("hi\nyou", "hello"), row("four")]


def test_an_edit_is_saved_and_the_first_state_kept(folder: Path) -> None:
    before = corpus.open_corpus(folder)
    saved, conflicts = corpus.save(folder, [TextEdit(4, pair("hi\nyou", "hello"), pair("hi\nyou", "good\nday"))])
    assert (conflicts, written(folder)[3]) == ([], pair("hi\nyou", "good\nday"))
    assert saved.stamp != before.stamp
    assert saved.rows[3].example.answer == "good\nday"
    assert "hello" in (folder / "rows.jsonl.bak").read_text()
    assert [found.file for found in saved.rows] == ["rows.jsonl"] * 4


def test_what_somebody_else_changed_comes_back(folder: Path) -> None:
    corpus.save(folder, [TextEdit(2, row("two"), row("zwei"))])
    _, conflicts = corpus.save(folder, [TextEdit(2, row("two"), row("deux"))])
    assert conflicts == [corpus.TextConflict(2, row("deux"), row("zwei"))]
    assert written(folder)[1] == row("zwei")
    assert corpus.save(folder, [TextEdit(2, row("two"), row("zwei"))])[1] == []


def test_a_row_is_found_where_it_went(folder: Path) -> None:
    corpus.save(folder, [TextEdit(1, row("one"), None)])
    _, conflicts = corpus.save(folder, [TextEdit(3, row("three"), row("drei"))])
    assert (conflicts, written(folder)[:2]) == ([], [row("two"), row("drei")])


def test_a_row_is_taken_out_and_put_back(folder: Path) -> None:
    corpus.save(folder, [TextEdit(2, row("two"), None)])
    assert written(folder)[:2] == [row("one"), row("three")]
    corpus.save(folder, [TextEdit(2, None, row("two"))])
    assert written(folder)[:3] == [row("one"), row("two"), row("three")]


def test_a_line_that_somebody_broke_stays_and_is_told(folder: Path) -> None:
    path = folder / corpus.FILE
    path.write_text(path.read_text() + "{oops\n[1]\n")
    corpus.save(folder, [TextEdit(9, row("one"), row("eins"))])
    assert path.read_text().endswith("{oops\n[1]\n")
    opened = corpus.open_corpus(folder)
    assert (len(opened.rows), [problem.line for problem in opened.problems]) == (4, [5, 6])


@pytest.mark.parametrize("after", [{}, {"x": "y"}, {"text": 3}, {"text": "x" * 300_000}, {"messages": []}])
def test_what_is_no_row_is_refused(folder: Path, after: dict[str, object]) -> None:
    with pytest.raises(InputError):
        corpus.save(folder, [TextEdit(1, row("one"), after)])
    assert written(folder)[0] == row("one")


def test_a_folder_of_somebody_elses_files_is_shown_and_not_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer\nhi,hello\n")
    opened = corpus.open_corpus(tmp_path)
    assert (len(opened.rows), opened.editable) == (1, False)
    with pytest.raises(DataError, match=r"rows\.jsonl"):
        corpus.save(tmp_path, [TextEdit(2, pair("hi", "hello"), pair("hi", "no"))])

"""The Dataset tab's texts: a page of rows, edits and conflicts, columns that are asked for; whatever the browser sends."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from studio.data import datasets
from studio.errors import InputError
from studio.ui import access, tasks
from studio.ui.tabs import dataset, texts


@pytest.fixture
def faq(tmp_path: Path) -> Path:
    folder = tmp_path / "faq"
    folder.mkdir()
    rows = [{"prompt": f"Question {number}", "response": f"Answer {number}" if number != 7 else ""} for number in range(1, 121)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def brought(faq: Path) -> str:
    return datasets.bring([("a.jsonl", faq / "a.jsonl")], "faq", lambda _, __: None)[0].name


def ended(begun: dict[str, Any]) -> dict[str, Any]:
    end = time.monotonic() + 60
    while not tasks.task(begun)["ended"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    return tasks.task(begun)


def asked(**more: Any) -> dict[str, Any]:
    return texts.text_rows({"name": "faq", "begin": 0, "count": 40, **more})


def lines(answer: dict[str, Any]) -> list[int]:
    return [row[1] for row in answer["rows"]]


def pair(prompt: str, response: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]}


def test_rows_come_by_the_page_and_are_searched(brought: str) -> None:
    assert dataset.rows({"name": brought}) == {"texts": True}
    first = asked()
    assert (lines(first), first["found"], first["total"], first["editable"]) == (list(range(1, 41)), 120, 120, True)
    assert first["rows"][0] == ["rows.jsonl", 1, "messages", pair("Question 1", "Answer 1")]
    assert lines(asked(begin=110)) == list(range(111, 121))
    assert asked(stamp=first["stamp"]) == {"same": True}
    assert lines(asked(search="answer 11")) == [11, *range(110, 120)]
    assert lines(asked(only=["rows.jsonl:7", "rows.jsonl:9"], search="question 9")) == [9]


def test_an_edit_is_saved_and_a_conflict_shown(brought: str) -> None:
    edit = [2, pair("Question 2", "Answer 2"), pair("Question 2", "Better")]
    assert texts.save_texts({"name": brought, "edits": [edit]})["conflicts"] == []
    other = [2, pair("Question 2", "Answer 2"), pair("Question 2", "Mine")]
    assert texts.save_texts({"name": brought, "edits": [other]})["conflicts"] == [[2, other[2], edit[2]]]
    assert texts.save_texts({"name": brought, "edits": [[1, pair("Question 1", "Answer 1"), None]]})["total"] == 119


@pytest.mark.parametrize("edits", [None, [[1]], [["1", {}, {}]], [[1, None, None]], [[1, "a", "b"]], [[1, {}, {}]], [[1, {"text": "a"}, {"x": 1}]]])
def test_what_is_no_edit_is_refused(brought: str, edits: Any) -> None:
    with pytest.raises(InputError):
        texts.save_texts({"name": brought, "edits": edits})


def test_the_report_is_made_in_the_background(brought: str) -> None:
    result = ended(texts.check_texts({"name": brought}))["result"]
    assert [(problem[1], problem[5]) for problem in result["problems"]] == [(7, "empty-answer")]
    assert (result["rows"], result["about"]["facts"]["source"]) == (120, "a.jsonl")


def test_columns_are_asked_for_and_then_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faq.csv").write_text("q1,a1\nWhen?,At nine.\n")
    monkeypatch.setattr(access, "uploaded", Path)
    files = [{"name": "faq.csv", "path": str(tmp_path / "faq.csv")}]
    assert ended(dataset.bring({"files": files}))["result"] == {"unknown": {"file": "faq.csv", "columns": [["q1", ["When?"]], ["a1", ["At nine."]]]}}
    with pytest.raises(InputError, match="prompt and response"):
        dataset.bring({"files": files, "columns": {"prompt": "q1"}})
    done = ended(dataset.bring({"files": files, "columns": {"prompt": "q1", "response": "a1"}}))
    assert done["result"]["name"] == "faq"
    assert asked()["rows"][0][3] == pair("When?", "At nine.")


def test_a_folder_of_texts_is_opened_as_a_copy_once(faq: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "path", Path)
    with (faq / "a.jsonl").open("a") as file:
        file.write("{oops\n")
    before = (faq / "a.jsonl").read_bytes()
    opened = dataset.choose({"folder": str(faq)})
    assert ["Line 121: Invalid JSON" in line for line in opened["left_out"]] == [True]
    texts.save_texts({"name": opened["name"], "edits": [[1, pair("Question 1", "Answer 1"), pair("Question 1", "Better")]]})
    assert dataset.choose({"folder": str(faq)}) == opened | {"left_out": []}
    assert [known.name for known in datasets.listed()] == ["faq"]
    assert (faq / "a.jsonl").read_bytes() == before
    (faq / "a.jsonl").write_text('{"q": "a", "r": "b"}\n')
    other = faq.rename(faq.with_name("other"))
    assert dataset.choose({"folder": str(other)})["unknown"]["file"] == "a.jsonl"
    assert dataset.choose({"folder": str(other), "columns": {"prompt": "q", "response": "r"}})["name"] == "other"

"""What is wrong with text data: how many, which lines, what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from studio.data import datasheet
from studio.data.datasheet import Facts
from studio.data.text.textreport import TextReport, check, count_words


def looked(tmp_path: Path, *records: Any, **options: Any) -> TextReport:
    (tmp_path / "set").mkdir(exist_ok=True)
    (tmp_path / "set" / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return check(tmp_path / "set", **options)


def chat(*turns: str) -> dict[str, Any]:
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return {"messages": [{"role": roles[turn[0]], "content": turn[2:]} for turn in turns]}


def pair(prompt: str, response: str) -> dict[str, str]:
    return {"prompt": prompt, "response": response}


GOOD = [chat("s:be kind", "u:hi", "a:hello", "u:and you?", "a:fine"), pair("what is it?", "a cat")]


def test_good_data_has_no_findings_and_is_described(tmp_path: Path) -> None:
    report = looked(tmp_path, *GOOD, {"instruction": "Say", "input": "x", "output": "x y"})
    assert report.problems == ()
    about = report.description
    assert (report.rows, about.forms) == (3, {"messages": 1, "alpaca": 1, "pairs": 1})
    assert about.roles == {"system": 1, "user": 4, "assistant": 4}
    assert about.turns == {"2": 2, "5": 1}
    assert (about.answers.least, about.answers.middle, about.answers.most, about.answers.counts) == (1, 2, 2, {"0-50": 4})
    assert about.tokens.counts == {}


@pytest.mark.parametrize(
    ("records", "kind", "lines"),
    [
        ([pair("a", "b"), pair("c", "d"), pair("a", "b"), pair("a", "b")], "duplicate-row", [3, 4]),
        ([pair("What now?", "b"), pair("what  now? ", "B")], "near-row", [2]),
        ([*GOOD, pair("x", " \n")], "empty-answer", [3]),
        ([*GOOD, pair("", "x")], "empty-prompt", [3]),
        ([{"text": "a"}, {"text": " "}], "empty-row", [2]),
        ([pair("a", "x" * 20_000), pair("b", "图" * 2_100), pair("c", "x" * 8_000)], "long-row", [1, 2]),
        ([pair(name, "I don't know.") for name in "abc"] + [pair("d", "i don't  know.")], "same-answer", [1]),
        ([pair(name, "Sorry.") for name in "aba"], "same-answer", []),
        ([*GOOD, chat("u:hi")], "no-answer", [3]),
        ([*GOOD, chat("u:hi", "a:hello", "u:bye")], "open-end", [3]),
        ([*GOOD, chat("u:hi", "u:you", "a:hello")], "order", [3]),
        ([*GOOD, chat("a:hello", "u:hi", "a:x")], "order", [3]),
        ([*GOOD, chat("u:hi", "s:be kind", "a:x")], "order", [3]),
        ([*GOOD, {"text": "once"}], "mixed", [None]),
        ([pair("a", "b")], "few", [None]),
    ],
)
def test_a_finding_names_its_lines(tmp_path: Path, records: list[Any], kind: str, lines: list[int | None]) -> None:
    found = [problem for problem in looked(tmp_path, *records).problems if problem.kind == kind]
    assert [problem.line for problem in found] == lines
    assert all(problem.severity == "warning" and problem.fix for problem in found)


def test_an_answer_for_many_prompts_is_one_finding_with_all_its_places(tmp_path: Path) -> None:
    (found,) = looked(tmp_path, *(pair(str(number), "Sorry.") for number in range(20))).problems
    assert found.also == tuple(f"a.jsonl:{line}" for line in range(2, 21))
    assert str(found).startswith('a.jsonl: Line 1: 20 different prompts have this answer: "Sorry." Also in a.jsonl:2, a.jsonl:3')
    assert len(str(found)) < 250


def test_tokens_are_counted_where_a_tokenizer_is_there(tmp_path: Path) -> None:
    report = looked(tmp_path, pair("a b", "c"), pair("a", "b " * 9), count_tokens=lambda text: len(text.split()), limit=8)
    assert (report.description.tokens.least, report.description.tokens.most) == (3, 10)
    assert [str(problem) for problem in report.problems] == ["a.jsonl: Line 2: It has 10 tokens; a model that reads 8 doesn't see its end."]


def test_words_are_counted_in_chinese_too() -> None:
    assert count_words("Hello, big world!") == 3
    assert count_words("你好，世界 ok") == 5


def test_a_report_is_data_and_markdown(tmp_path: Path) -> None:
    report = looked(tmp_path, *GOOD, pair("secret | <b>", ""), {"prompt": 1, "response": "x"})
    data = json.loads(json.dumps(report.as_json()))
    assert (data["ok"], data["counts"]) == (False, {"format": 1, "empty-answer": 1})
    text = datasheet.text_markdown(report, Facts(source="own | mails"))
    assert "| Rows | 3 |" in text
    assert "| Source | own \\| mails |" in text
    assert "- **empty-answer** (1): a.jsonl:3. An answer is empty." in text
    assert "a.jsonl" not in datasheet.text_markdown(report, Facts(), private=False)


def test_a_source_that_is_not_there_is_said(tmp_path: Path) -> None:
    report = check(tmp_path / "nowhere")
    assert [problem.kind for problem in report.errors] == ["source"]

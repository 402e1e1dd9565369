"""What a row of text data says, by the names of its fields."""

from typing import Any

import pytest

from studio.data.tables import LineError
from studio.data.text.conversations import TextExample, example_of, parse_columns
from studio.errors import InputError

CHAT = [("user", "hi"), ("assistant", "hello")]


def talk(*messages: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in messages]


def said(record: dict[str, Any], columns: str = "") -> tuple[str, list[tuple[str, str]] | str]:
    found = example_of(record, parse_columns(columns))
    assert found is not None
    return found[0], [tuple(message) for message in found[1].messages] or found[1].text


@pytest.mark.parametrize(
    ("record", "form", "messages"),
    [
        ({"prompt": "hi", "response": "hello"}, "pairs", CHAT),
        ({"prompt": "hi", "completion": "hello", "id": 7}, "pairs", CHAT),
        ({"Question": "hi", "Answer": "hello"}, "pairs", CHAT),
        ({"input": "hi", "output": "hello"}, "pairs", CHAT),
        ({"question": "hi", "context": "it is noon", "answer": "hello"}, "pairs", [("user", "hi\n\nit is noon"), CHAT[1]]),
        ({"prompt": "hi", "response": "hello", "system": "be kind"}, "pairs", [("system", "be kind"), *CHAT]),
        ({"instruction": "hi", "input": "", "output": "hello"}, "alpaca", CHAT),
        ({"instruction": "hi", "input": None, "output": "hello"}, "alpaca", CHAT),
        ({"instruction": "Add.", "input": "1 + 1", "output": "2"}, "alpaca", [("user", "Add.\n\n1 + 1"), ("assistant", "2")]),
        ({"instruction": "hi", "context": "", "response": "hello", "category": "x"}, "alpaca", CHAT),
        (
            {"instruction": "b", "output": "B", "history": [["a", "A"]]},
            "alpaca",
            [("user", "a"), ("assistant", "A"), ("user", "b"), ("assistant", "B")],
        ),
        ({"messages": talk(*CHAT)}, "messages", CHAT),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, talk(*CHAT)[1]]}, "messages", CHAT),
        ({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}, "sharegpt", CHAT),
        ({"conversations": [{"from": "system", "value": "be kind"}, *talk(*CHAT)]}, "sharegpt", [("system", "be kind"), *CHAT]),
        ({"conversation": talk(*CHAT), "system": "be kind"}, "sharegpt", [("system", "be kind"), *CHAT]),
        ({"text": "  once upon a time\n"}, "text", "  once upon a time\n"),
        ({"content": "once"}, "text", "once"),
    ],
    ids=lambda value: "" if not isinstance(value, dict) else "+".join(value),
)
def test_a_form_is_recognised_by_its_fields(record: dict[str, Any], form: str, messages: Any) -> None:
    assert said(record) == (form, messages)


@pytest.mark.parametrize("record", [{"q1": "hi", "a1": "hello"}, {"prompt": "hi"}, {"output": "hello"}, {"role": "user", "content": "hi"}])
def test_names_that_say_nothing_are_left_to_the_person(record: dict[str, Any]) -> None:
    assert example_of(record) is None


@pytest.mark.parametrize(
    ("columns", "result"),
    [
        ("prompt=frage,response=antwort", ("pairs", CHAT)),
        (" prompt = FRAGE , response = antwort ", ("pairs", CHAT)),
        ("prompt=frage,response=antwort,system=rolle,input=mehr", ("pairs", [("system", "be kind"), ("user", "hi\n\nnow"), CHAT[1]])),
        ("text=antwort", ("text", "hello")),
        ("messages=chat", ("messages", CHAT)),
    ],
)
def test_chosen_columns_win(columns: str, result: Any) -> None:
    record = {"frage": "hi", "antwort": "hello", "rolle": "be kind", "mehr": "now", "chat": talk(*CHAT), "text": "no"}
    assert said(record, columns) == result


@pytest.mark.parametrize("words", ["prompt", "prompt=a", "prompt=a,response=b,text=c", "answer=a", "text=", "prompt=a,prompt=b", "text=a,,"])
def test_a_choice_that_makes_no_sense_is_refused(words: str) -> None:
    with pytest.raises(InputError, match="olumns"):
        parse_columns(words)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": 3, "response": "hello"}, "prompt must be a text, found number"),
        ({"prompt": "hi", "response": None}, "response must be a text, found null"),
        ({"instruction": "a", "output": "b", "input": ["c"]}, "input must be a text, found array"),
        ({"instruction": "a", "output": "b", "history": "c"}, "history must be"),
        ({"text": {"a": 1}}, "text must be a text, found object"),
        ({"text": "a\0b"}, "NUL"),
        ({"text": "\ud83d"}, "surrogate"),
        ({"text": "a cat", "file_name": "a.png"}, "caption of a picture"),
        ({"messages": "hi"}, "messages must be an array, found text"),
        ({"messages": []}, "messages is empty"),
        ({"messages": ["hi"]}, "Message 1 must be an object, found text"),
        ({"messages": [{"role": "user"}]}, "Message 1 has no role or no content"),
        ({"messages": [*talk(*CHAT), {"role": "tool", "content": "x"}]}, "Message 3 has the role tool"),
        ({"messages": [{"role": "assistant", "content": None}]}, "Message 1 must hold a text, found null"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "Message 1 holds something else"),
    ],
)
def test_a_value_that_cannot_be_used_is_told(record: dict[str, Any], message: str) -> None:
    with pytest.raises(LineError, match=message):
        example_of(record)


def test_a_row_without_the_chosen_columns_is_read_by_its_names() -> None:
    assert said({"question": "hi", "answer": "hello"}, "prompt=frage,response=antwort") == ("pairs", CHAT)
    with pytest.raises(LineError, match="no field frage"):
        said({"question": "hi", "answer": "hello", "antwort": "hallo"}, "prompt=frage,response=antwort")


def test_a_chosen_column_must_be_there() -> None:
    with pytest.raises(LineError, match="no field c; there are: a, b"):
        example_of({"a": "x", "b": "y"}, {"text": "c"})


def test_a_row_is_read_as_it_is_written() -> None:
    for record in ({"text": "once"}, {"messages": talk(*CHAT)}):
        found = example_of(record)
        assert found is not None
        assert found[1].row == record
    assert TextExample(text="x").answer is None

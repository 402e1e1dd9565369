"""One row of text data: a conversation or a plain text, recognised by the names of its fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from studio.data.listing import READABLE
from studio.data.problems import shown
from studio.data.tables import CLIP, NAMES, LineError, clean, kind_of
from studio.errors import InputError
from studio.language import say

Role = Literal["system", "user", "assistant"]
ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
}
TALKS = ("messages", "conversations", "conversation")
PROMPTS = ("prompt", "question", "query", "input")
RESPONSES = ("response", "answer", "completion", "output")
EXTRAS = ("input", "context")
TEXTS = ("text", "content", "document")
FORMS = ("messages", "sharegpt", "alpaca", "pairs", "text")
PARTS = ("prompt", "response", "input", "system", "messages", "text")
"""What a column may be said to hold."""

Columns = Mapping[str, str]


class Message(NamedTuple):
    """What one side says, exactly as written."""

    role: Role
    content: str


@dataclass(frozen=True)
class TextExample:
    """A conversation; or a plain text, where `messages` is empty."""

    messages: tuple[Message, ...] = ()
    text: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """As a row of `rows.jsonl`."""
        return {"messages": [message._asdict() for message in self.messages]} if self.messages else {"text": self.text}

    @property
    def whole(self) -> str:
        """All that is written in it."""
        return "\n".join(message.content for message in self.messages) if self.messages else self.text

    @property
    def prompt(self) -> str:
        """All that stands before the last answer; nothing where there is none."""
        return "\n".join(message.content for message in self.messages[:-1]) if self.answer is not None else ""

    @property
    def answer(self) -> str | None:
        """What the assistant says last, where it has the last word."""
        return self.messages[-1].content if self.messages and self.messages[-1].role == "assistant" else None


def parse_columns(text: str) -> Columns:
    """`prompt=question,response=answer` as a choice of columns. Raises InputError."""
    example = say("Write it as {example}.", example="prompt=question,response=answer")
    chosen: dict[str, str] = {}
    for word in text.split(",") if text.strip() else ():
        part, equals, column = (piece.strip() for piece in word.partition("="))
        if part not in PARTS or not equals or not column or part in chosen:
            raise InputError(say("--columns: {word} is not understood.", word=shown(word.strip(), CLIP)), example)
        chosen[part] = column
    return checked(chosen) if text.strip() else {}


def checked(chosen: Columns) -> Columns:
    """A choice of columns that makes sense. Raises InputError for another."""
    if not _enough(chosen):
        example = say("Write it as {example}.", example="prompt=question,response=answer")
        raise InputError(say("Columns for prompt and response are needed, or one for messages, or one for text."), example)
    return chosen


def form_of(names: Sequence[str]) -> str | None:
    """Which of FORMS a row with fields of these names has; None where they say nothing."""
    known = {name.strip().lower() for name in names}
    if "messages" in known:
        return "messages"
    if known & set(TALKS):
        return "sharegpt"
    response = next((name for name in RESPONSES if name in known), None)
    if response and "instruction" in known:
        return "alpaca"
    if response and any(name in known and name != response for name in PROMPTS):
        return "pairs"
    return "text" if known & set(TEXTS) and not known & {"role", "from"} else None


def example_of(record: Mapping[str, Any], columns: Columns | None = None) -> tuple[str, TextExample] | None:
    """The form of a record and what it says; None where the names of its fields say nothing. Raises LineError for values that can't be used.

    `columns` says which field holds what, and wins over the names, except where a record has none of them.
    """
    fields = {name.strip().lower(): value for name, value in reversed(list(record.items()))}
    form = form_of(tuple(fields))
    if columns and (form is None or any(column in record or column.lower() in fields for column in columns.values())):
        return _chosen(record, fields, columns)
    if form in ("messages", "sharegpt"):
        return form, TextExample(_system(fields) + _talk(fields, next(name for name in TALKS if name in fields)))
    if form in ("alpaca", "pairs"):
        response = next(name for name in RESPONSES if name in fields)
        prompt = "instruction" if form == "alpaca" else next(name for name in PROMPTS if name in fields and name != response)
        extra = next((name for name in EXTRAS if name in fields and name != prompt), "")
        return form, TextExample(_system(fields) + _history(fields) + _pair(fields, prompt, extra, response))
    if form == "text":
        _refuse_caption(fields)
        return form, TextExample(text=_text(fields, next(name for name in TEXTS if name in fields)))
    return None


def _chosen(record: Mapping[str, Any], lowered: Mapping[str, Any], columns: Columns) -> tuple[str, TextExample]:
    fields: dict[str, Any] = {}
    for part, column in columns.items():
        if column not in record and column.lower() not in lowered:
            there = shown(", ".join(record), 2 * CLIP)
            raise LineError(say("There is no field {name}; there are: {names}.", name=shown(column, CLIP), names=there))
        fields[part] = record.get(column, lowered.get(column.lower()))
    if "messages" in columns:
        return "messages", TextExample(_system(fields) + _talk(fields, "messages"))
    if "text" in columns:
        return "text", TextExample(text=_text(fields, "text"))
    return "pairs", TextExample(_system(fields) + _pair(fields, "prompt", "input" if "input" in columns else "", "response"))


def _enough(columns: Columns) -> bool:
    talk = {"messages"} <= columns.keys() <= {"messages", "system"}
    pair = {"prompt", "response"} <= columns.keys() <= {"prompt", "response", "input", "system"}
    return talk or pair or columns.keys() == {"text"}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise LineError(say("{key} must be a text, found {found}.", key=name, found=kind_of(value)))
    return clean(value)


def _optional(fields: Mapping[str, Any], name: str) -> str:
    return _text(fields, name).strip() if name and fields.get(name) is not None else ""


def _system(fields: Mapping[str, Any]) -> tuple[Message, ...]:
    text = _optional(fields, "system")
    return (Message("system", text),) if text else ()


def _pair(fields: Mapping[str, Any], prompt: str, extra: str, response: str) -> tuple[Message, ...]:
    asked, more = _text(fields, prompt), _optional(fields, extra)
    return Message("user", f"{asked}\n\n{more}" if more else asked), Message("assistant", _text(fields, response))


def _history(fields: Mapping[str, Any]) -> tuple[Message, ...]:
    """What was said before, as pairs of question and answer."""
    told = fields.get("history")
    if told in (None, "", []):
        return ()
    if not isinstance(told, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in told):
        raise LineError(say("history must be an array of pairs of texts."))
    return tuple(message for pair in told for message in _pair({"question": pair[0], "answer": pair[1]}, "question", "", "answer"))


def _talk(fields: Mapping[str, Any], name: str) -> tuple[Message, ...]:
    value = fields[name]
    if not isinstance(value, list):
        raise LineError(say("{key} must be an array, found {found}.", key=name, found=kind_of(value)))
    if not value:
        raise LineError(say("{key} is empty.", key=name))
    return tuple(_message(part, number) for number, part in enumerate(value, 1))


def _message(part: object, number: int) -> Message:
    if not isinstance(part, dict):
        raise LineError(say("Message {number} must be an object, found {found}.", number=number, found=kind_of(part)))
    said = next((key for key in ("role", "from") if key in part), None)
    what = next((key for key in ("content", "value") if key in part), None)
    if said is None or what is None:
        fix = say("Write each message as {example}.", example='{"role": "user", "content": "…"}')
        raise LineError(say("Message {number} has no role or no content.", number=number), fix)
    role = ROLES.get(str(part[said]).strip().lower())
    if role is None:
        fix = say("Roles are system, user and assistant; from is system, human or gpt.")
        raise LineError(say("Message {number} has the role {role}.", number=number, role=shown(part[said], CLIP)), fix)
    content = part[what]
    if isinstance(content, list):  # the pieces of a message; only texts can be trained on
        content = "".join(_piece(piece, number) for piece in content)
    if not isinstance(content, str):
        raise LineError(say("Message {number} must hold a text, found {found}.", number=number, found=kind_of(content)))
    return Message(role, clean(content))


def _piece(piece: object, number: int) -> str:
    text = piece.get("text") if isinstance(piece, dict) else None
    if not isinstance(text, str):
        raise LineError(say("Message {number} holds something else than text.", number=number), say("Take pictures and calls out."))
    return text


def _refuse_caption(fields: Mapping[str, Any]) -> None:
    """A file of captions whose pictures are elsewhere is no text data."""
    for name in NAMES:
        value = fields.get(name)
        if isinstance(value, str) and PurePosixPath(value).suffix.lower() in READABLE:
            raise LineError(
                say("It is the caption of a picture, {name}.", name=shown(value, CLIP)), say("Give the folder that holds the pictures too.")
            )

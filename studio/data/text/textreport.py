"""Everything that is wrong with text data, and what it is like, before a run."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from studio.data.problems import FaultyDataError, Problem, lines, shown
from studio.data.tables import CLIP
from studio.data.text.conversations import FORMS, Columns, Message
from studio.data.text.texts import TextRow, Texts, Unknown, read_texts
from studio.language import say

LONG = 2048
"""Tokens of a row beyond which its end is often cut off."""
SAME_ANSWER = 3
"""So many different prompts with one answer are worth a look."""
MOST_NAMED = 8
BOUNDS = (50, 100, 200, 500, 1000, 2000, 5000, 10_000)
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""A word; of Chinese and Japanese, which have no blanks, a character."""

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Spread:
    """How long rows are: how many in each range ("51-100"), and the shortest, middle and longest."""

    counts: dict[str, int] = field(default_factory=dict)
    least: int = 0
    middle: int = 0
    most: int = 0
    total: int = 0

    def __str__(self) -> str:
        return say("{least} to {most}, half have at most {middle}", least=self.least, most=self.most, middle=self.middle) if self.counts else ""


@dataclass(frozen=True)
class TextDescription:
    """Rows by form, messages by role, rows by number of messages, and lengths; `tokens` is empty where nothing counts them."""

    forms: dict[str, int] = field(default_factory=dict)
    roles: dict[str, int] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    characters: Spread = field(default_factory=Spread)
    words: Spread = field(default_factory=Spread)
    answers: Spread = field(default_factory=Spread)
    tokens: Spread = field(default_factory=Spread)


@dataclass(frozen=True)
class TextReport:
    """What `check` found in text data. `unknown` are files whose columns have to be chosen."""

    folder: str
    rows: int = 0
    problems: tuple[Problem, ...] = ()
    description: TextDescription = field(default_factory=TextDescription)
    fingerprint: str = ""
    unknown: tuple[Unknown, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What stops a run."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> int:
        """How many findings there are beside them."""
        return len(self.problems) - len(self.errors)

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind."""
        return dict(Counter(problem.kind for problem in self.problems))

    def lines(self) -> list[str]:
        """A line per problem, errors first; of many of a kind the first 20 and a count."""
        return lines(sorted(self.problems, key=lambda problem: problem.severity))

    def as_json(self) -> dict[str, Any]:
        """All of it as data, every problem included."""
        unknown = [file._asdict() for file in self.unknown]
        return {**asdict(self), "unknown": unknown, "counts": self.counts, "ok": not self.errors}


def check(
    source: Path,
    columns: Columns | None = None,
    metadata: Path | None = None,
    extract_to: Path | None = None,
    count_tokens: CountTokens | None = None,
    limit: int = LONG,
) -> TextReport:
    """Look at texts as a run would. Faults of data are in the report; only a MachineError is raised."""
    try:
        found = read_texts(source, columns, metadata, extract_to)
    except FaultyDataError as refused:
        return TextReport(shown(source), problems=refused.problems)
    return report(found, source, count_tokens, limit)


def report(found: Texts, source: Path, count_tokens: CountTokens | None = None, limit: int = LONG) -> TextReport:
    """The report on texts that were read."""
    tokens = [count_tokens(row.example.whole) if count_tokens else _about(row.example.whole) for row in found.rows]
    problems = [*found.problems, *repeated(found.rows), *same_answers(found.rows), *(problem for row in found.rows for problem in of_row(row))]
    problems += [_long(row, count, limit, exact=count_tokens is not None) for row, count in zip(found.rows, tokens, strict=True) if count > limit]
    problems += _of_all(found.rows, shown(source.name))
    about = describe(found.rows, tokens if count_tokens else ())
    return TextReport(shown(source), len(found.rows), tuple(problems), about, found.fingerprint, found.unknown)


def describe(rows: Sequence[TextRow], tokens: Sequence[int] = ()) -> TextDescription:
    """The data in numbers."""
    forms = Counter(row.form for row in rows)
    turns = Counter(len(row.example.messages) for row in rows if row.example.messages)
    answers = [message.content for row in rows for message in row.example.messages if message.role == "assistant"]
    return TextDescription(
        {form: forms[form] for form in FORMS if forms[form]},
        dict(Counter(message.role for row in rows for message in row.example.messages)),
        {str(count): turns[count] for count in sorted(turns)},
        spread([len(row.example.whole) for row in rows]),
        spread([count_words(row.example.whole) for row in rows]),
        spread([count_words(answer) for answer in answers]),
        spread(tokens),
    )


def spread(lengths: Sequence[int]) -> Spread:
    """Lengths in ranges."""
    if not lengths:
        return Spread()
    labels = [f"{low + 1}-{high}" for low, high in zip((-1, *BOUNDS), BOUNDS, strict=False)]
    found = Counter(next((label for label, high in zip(labels, BOUNDS, strict=True) if length <= high), f"{BOUNDS[-1] + 1}+") for length in lengths)
    counts = {label: found[label] for label in (*labels, f"{BOUNDS[-1] + 1}+") if found[label]}
    return Spread(counts, min(lengths), round(median(lengths)), max(lengths), sum(lengths))


def count_words(text: str) -> int:
    """How many words a text has."""
    return len(WORD.findall(text))


def repeated(rows: Sequence[TextRow]) -> Iterator[Problem]:
    """A finding for each row that says what an earlier one says, to the letter or but for blanks and case."""
    exact: dict[str, TextRow] = {}
    loose: dict[str, TextRow] = {}
    for row in rows:
        said: list[tuple[str, str]] = [(message.role, message.content) for message in row.example.messages] or [("", row.example.text)]
        whole = json.dumps(said)
        if not row.example.whole.strip():
            continue
        if (earlier := exact.setdefault(whole, row)) is not row:
            yield _warning(row, say("It is the same as {place}.", place=_place(earlier)), say("Keep one of them."), "duplicate-row")
        elif (earlier := loose.setdefault(json.dumps([(role, _plain(text)) for role, text in said]), row)) is not row:
            message = say("But for blanks and case it is the same as {place}.", place=_place(earlier))
            yield _warning(row, message, say("Keep one of them."), "near-row")


def same_answers(rows: Sequence[TextRow]) -> Iterator[Problem]:
    """A finding for each answer that stands behind at least SAME_ANSWER different prompts, at its first row; `also` has the places of the others."""
    groups: dict[str, list[TextRow]] = {}
    for row in rows:
        if row.example.answer and row.example.answer.strip():
            groups.setdefault(_plain(row.example.answer), []).append(row)
    for group in groups.values():
        prompts = {_plain(row.example.prompt) for row in group}
        if len(prompts) < SAME_ANSWER:
            continue
        text = shown(" ".join((group[0].example.answer or "").split()), CLIP)
        others = tuple(f"{row.file}:{row.line}" for row in group[1:])
        places = ", ".join(others[:MOST_NAMED]) + (" …" if len(others) > MOST_NAMED else "")
        message = say('{count} different prompts have this answer: "{text}" Also in {places}.', count=len(prompts), text=text, places=places)
        fix = say("The model will give it too often: vary it, or keep a few.")
        yield replace(_warning(group[0], message, fix, "same-answer"), also=others)


def of_row(row: TextRow) -> Iterator[Problem]:
    """What is wrong with one row: nothing in it, nothing to learn from, messages in an order that no chat has."""
    messages = row.example.messages
    if not messages:
        if not row.example.text.strip():
            yield _warning(row, say("The text is empty."), say("Take the row out."), "empty-row")
        return
    spoken = [message for message in messages if message.role != "system"]
    if not any(message.role == "assistant" for message in messages):
        fix = say("Add the answer, or take the row out: nothing can be learned from it.")
        yield _warning(row, say("No message is the assistant's."), fix, "no-answer")
    elif spoken[-1].role != "assistant":
        yield _warning(row, say("The last message is the user's; it has no answer."), say("Add the answer, or take the message out."), "open-end")
    if any(message.role == "assistant" and not message.content.strip() for message in messages):
        yield _warning(row, say("An answer is empty."), say("Write it, or take the row out."), "empty-answer")
    if any(message.role == "user" and not message.content.strip() for message in messages):
        yield _warning(row, say("A prompt is empty."), say("Write it, or take the row out."), "empty-prompt")
    if reason := _disorder(messages, spoken):
        yield _warning(row, reason, say("A chat is: system (or not), then user and assistant in turn."), "order")


def _disorder(messages: Sequence[Message], spoken: Sequence[Message]) -> str:
    if any(message.role == "system" for message in messages[1:]):
        return say("A system message stands behind the beginning.")
    if spoken and spoken[0].role == "assistant":
        return say("The assistant speaks first.")
    twice = next((one.role for one, other in pairwise(spoken) if one.role == other.role), None)
    return say("Two messages of {role} follow each other.", role=twice) if twice else ""


def _of_all(rows: Sequence[TextRow], name: str) -> Iterator[Problem]:
    if len(rows) == 1:
        message = say("There is only one row: the model will mostly learn to repeat it.")
        yield Problem(name, None, message, say("Some hundred different rows are better."), "warning", "few")
    plain = sum(1 for row in rows if not row.example.messages)
    if 0 < plain < len(rows):
        message = say("{plain} rows are plain text, {talks} are conversations.", plain=plain, talks=len(rows) - plain)
        yield Problem(name, None, message, say("Train on one kind at a time, or be sure that you want both."), "warning", "mixed")


def _long(row: TextRow, count: int, limit: int, exact: bool) -> Problem:
    if exact:
        message = say("It has {count} tokens; a model that reads {limit} doesn't see its end.", count=count, limit=limit)
    else:
        message = say("It has about {count} tokens; a model that reads {limit} doesn't see its end.", count=count, limit=limit)
    return _warning(row, message, say("Split it, or set a larger length where the model and the memory allow it."), "long-row")


def _about(text: str) -> int:
    """Tokens, by rule of thumb: four letters, or one Chinese or Japanese character."""
    wide = sum(1 for character in text if "\u3040" <= character <= "\u9fff")
    return wide + (len(text) - wide + 3) // 4


def _warning(row: TextRow, message: str, fix: str, kind: str) -> Problem:
    return Problem(row.file, row.line, message, fix, "warning", kind)


def _place(row: TextRow) -> str:
    return say("{file}, line {line}", file=row.file, line=row.line)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()

"""What is wrong with data: a record per fault, how a list of them reads, and the error that stops a run for them."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from studio.errors import DataError
from studio.language import say

MOST_SHOWN = 20

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One fault in one file. Errors stop a run, warnings are findings that don't.

    `file` is safe to show (see `shown`), `line` the physical line in it, from 1. `kind` names the sort of fault
    for programs and for counting: "format", "unreadable", "no-caption" and so on. `also` are further files that it is about.
    """

    file: str
    line: int | None
    message: str
    fix: str = ""
    severity: Severity = "error"
    kind: str = "other"
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.line is None:
            return say("{file}: {message}", file=self.file, message=self.message)
        return say("{file}: Line {line}: {message}", file=self.file, line=self.line, message=self.message)


class FaultyDataError(DataError):
    """Data that can't be used as it is, with every `problems` that stands in the way."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(lines(self.problems)), "\n".join(fixes(self.problems)))


def lines(problems: Iterable[Problem], most: int = MOST_SHOWN) -> list[str]:
    """A line per problem, kind by kind; after `most` of a kind, one line that counts the rest."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    told = []
    for found in kinds.values():
        told += [str(problem) for problem in found[:most]]
        if len(found) > most:
            told.append(say("… and {count} more of this kind.", count=len(found) - most))
    return told


def fixes(problems: Iterable[Problem]) -> list[str]:
    """What to do about them, each advice once, also where another one begins with it."""
    found = list(dict.fromkeys(problem.fix for problem in problems if problem.fix))
    return [fix for fix in found if not any(other != fix and other.startswith(fix) for other in found)]


def shown(text: object, longest: int | None = None) -> str:
    """`text` for a message: on one line, with control characters, direction marks and bytes that are no text escaped."""
    line = "".join(_visible(character) for character in str(text))
    return line if longest is None or len(line) <= longest else line[: longest - 1] + "…"


def _visible(character: str) -> str:
    joins_emoji = character in "\u200c\u200d"
    if joins_emoji or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    return character.encode("unicode_escape").decode("ascii")

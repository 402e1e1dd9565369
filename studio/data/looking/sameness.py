"""Pictures that are the same, or whose names are nearly: what a person should know before they are mixed up."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from studio.data.problems import Problem, shown
from studio.language import say


def same_content(pictures: Iterable[tuple[str, str, str]]) -> list[Problem]:
    """A finding for each group of pictures (name, content, caption) with the same bytes."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, content, caption in pictures:
        groups.setdefault(content, []).append((name, caption))
    problems = []
    for group in groups.values():
        if len(group) == 1:
            continue
        (first, caption), *others = group
        names = shown(", ".join(name for name, _ in others), 200)
        if all(other == caption for _, other in others):
            message = say("The same picture again as {names}.", names=names)
        else:
            message = say("The same picture again, with another caption, as {names}.", names=names)
        fix = say("Keep one of them; num_repeats shows pictures more often.")
        problems.append(Problem(shown(first), None, message, fix, "warning", "duplicate", tuple(shown(name) for name, _ in others)))
    return problems


def nearly_same(groups: Iterable[Sequence[str]]) -> list[Problem]:
    """A finding for each group of pictures that are nearly the same."""
    problems = []
    for first, *others in groups:
        message = say("Nearly the same picture as {names}.", names=shown(", ".join(others), 200))
        fix = say("Keep the best of them: what is shown often is learned by heart.")
        problems.append(Problem(shown(first), None, message, fix, "warning", "near-duplicate", tuple(map(shown, others))))
    return problems


def kept_apart(names: Iterable[str]) -> list[Problem]:
    """Findings about names that other programs would mix up: the same but for the ending, or but for case or Unicode form."""
    names = list(names)
    problems = []
    for first, others in _groups(names, lambda name: str(PurePosixPath(name).with_suffix(""))):
        message = say("The same name with another ending is there too: {names}. One .txt would serve both.", names=others)
        problems.append(Problem(first, None, message, say("Rename one of them."), "warning", "same-stem"))
    for first, others in _groups(names, lambda name: unicodedata.normalize("NFC", name).casefold()):
        message = say("Names that differ only in case or in Unicode form: {names}. Other systems mix them up.", names=others)
        problems.append(Problem(first, None, message, say("Rename one of them."), "warning", "same-name"))
    return problems


def _groups(names: list[str], key: Callable[[str], str]) -> list[tuple[str, str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return [(shown(group[0]), ", ".join(map(shown, group[1:]))) for group in groups.values() if len(group) > 1]

"""What is found by looking at the pictures of a set side by side: nearly the same ones, blurred ones, a mark on all of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from studio.data.examples import Progress
from studio.data.images import Look, load
from studio.data.looking import likeness, marks, sharpness
from studio.data.looking.looks import remembered
from studio.data.looking.sameness import nearly_same
from studio.data.problems import FaultyDataError, Problem, shown
from studio.language import say


def findings(folder: Path, looks: Mapping[str, Look], progress: Progress) -> list[Problem]:
    """All of it, about pictures that were looked at closely. What was found is remembered while the pictures stay."""
    names: dict[str, str] = {}
    for name, look in looks.items():
        names.setdefault(look.content, name)  # the same bytes are told as that
    near = remembered(folder, "near", names, lambda: _near(folder, [looks[name] for name in names.values()], list(names.values()), progress))
    place = remembered(folder, "mark", names, lambda: marks.constant_mark(_some(folder, list(names.values()))))
    problems = nearly_same([names[content] for content in group] for group in near)
    problems += _soft(folder, {name: look.blur for name, look in looks.items()})
    if place:
        message = say("Something stands in the same place of nearly all pictures ({place}): a watermark, a signature?", place=_where(*place))
        problems.append(Problem(shown(folder), None, message, say("Crop it away: it is learned before all else."), "warning", "watermark"))
    return problems


def _near(folder: Path, looks: list[Look], names: list[str], progress: Progress) -> list[list[str]]:
    def look(place: int) -> likeness.Array:
        try:
            return likeness.square(load(folder / names[place]).convert("L"))
        except FaultyDataError:  # damaged since; the next look says so
            return np.zeros((likeness.LOOK, likeness.LOOK), np.float32)

    found = likeness.groups([look.sketch for look in looks], look, progress)
    return [[looks[place].content for place in group] for group in found]


def _some(folder: Path, names: list[str]) -> Iterator[Image.Image]:
    for name in names[:: -(-len(names) // marks.MOST) or 1]:
        try:
            yield load(folder / name).convert("L")
        except FaultyDataError:
            continue


def _where(across: float, down: float) -> str:
    rows = (
        (say("top left"), say("at the top"), say("top right")),
        (say("left"), say("in the middle"), say("right")),
        (say("bottom left"), say("at the bottom"), say("bottom right")),
    )
    return rows[min(2, int(down * 3))][min(2, int(across * 3))]


def _soft(folder: Path, blurs: dict[str, float]) -> list[Problem]:
    names, all_soft = sharpness.blurred(blurs)
    fix = say("Use a sharper picture; of small ones that were enlarged, the original.")
    problems = [Problem(shown(name), None, say("The picture is blurred."), fix, "warning", "blurred") for name in names]
    if all_soft:
        message = say("Most pictures are soft.")
        fix = say("If that is the style, it is well; else use sharper pictures.")
        problems.append(Problem(shown(folder), None, message, fix, "warning", "blurred"))
    return problems

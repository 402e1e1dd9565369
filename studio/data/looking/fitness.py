"""Captions that don't fit their picture, and pictures that don't fit the set, worst first: by a BLIP, so only as good as what it knows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from studio.data.images import load
from studio.data.problems import FaultyDataError, Problem, shown
from studio.data.writing import captioners
from studio.data.writing.blip import Blip, Judgement
from studio.data.writing.captioners import Options, Shot
from studio.errors import InputError
from studio.language import say

FEWEST = 8
"""Pictures below which nothing is said of the set."""
CLEAR_MISFIT = 1.5
"""Nats a token by which a caption must be less likely than the model's own."""
FAR = 6.0
"""Deviations (by the median) from the middle of the set, beyond which a picture doesn't fit."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Fit:
    """One picture: by how much its caption misfits (nats a token; None where words are unknown), what the model would say, and how far it
    lies from the set's middle, in deviations."""

    name: str
    misfit: float | None
    own: str
    distance: float


def judge(folder: Path, captions: Mapping[str, str], captioner: str, options: Options, progress: Progress) -> list[Fit]:
    """All pictures with a caption, the worst misfit first. Pictures that can't be read are passed over.

    Raises InputError for a captioner that can't judge, and whatever opening it raises.
    """
    opened = captioners.opened(captioner, options)
    if not isinstance(opened, Blip):
        raise InputError(say("{name} can't say whether a text fits a picture.", name=captioner), say("Choose blip, blip-large or pocket."))
    names = [name for name, text in captions.items() if text]
    found: dict[str, Judgement] = {}
    for start in range(0, len(names), opened.batch):
        batch = names[start : start + opened.batch]
        shots = [Shot(name, lambda name=name: load(folder / name)) for name in batch]  # type: ignore[misc]
        try:
            found |= zip(batch, opened.judge(shots, [captions[name] for name in batch]), strict=True)
        except FaultyDataError:
            for name, shot in zip(batch, shots, strict=True):
                try:
                    found[name] = opened.judge([shot], [captions[name]])[0]
                except FaultyDataError:
                    continue
        progress(start + len(batch), len(names))
    distances = _distances(list(found.values()))
    fits = [Fit(name, one.misfit if one.known else None, one.own, far) for (name, one), far in zip(found.items(), distances, strict=True)]
    return sorted(fits, key=lambda fit: -(fit.misfit if fit.misfit is not None else -1))


def findings(fits: list[Fit]) -> list[Problem]:
    """What is worth a look."""
    problems = []
    for fit in fits:
        if fit.misfit is not None and fit.misfit >= CLEAR_MISFIT:
            message = say('The caption may not fit the picture; the captioner sees "{text}".', text=shown(fit.own, 80))
            problems.append(Problem(shown(fit.name), None, message, say("Compare the two; captioners err too."), "warning", "misfit"))
    for fit in sorted(fits, key=lambda fit: -fit.distance):
        if fit.distance >= FAR:
            message = say("The picture is unlike the others of the set.")
            problems.append(Problem(shown(fit.name), None, message, say("Leave it out if it doesn't belong here."), "warning", "outlier"))
    return problems


def _distances(judged: list[Judgement]) -> list[float]:
    if len(judged) < FEWEST:
        return [0.0] * len(judged)
    looks = np.stack([one.place for one in judged])
    middle = np.median(looks, 0)
    away = np.linalg.norm((looks - middle) / np.maximum(looks.std(0), 1e-6), axis=1)
    usual = float(np.median(away))
    spread = max(1.4826 * float(np.median(np.abs(away - usual))), 0.05 * usual, 1e-6)
    return [float(max(0.0, (value - usual) / spread)) for value in away]

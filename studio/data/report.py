"""Everything that is wrong with a dataset, and what it is like, before a run."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from studio.config import Config
from studio.data.buckets import bucket_for, fit
from studio.data.examples import Example, Progress, survey, unwatched
from studio.data.problems import FaultyDataError, Problem, lines, shown
from studio.language import say

SIDES = (256, 512, 768, 1024, 1536, 2048)
ASPECTS = {"9:16": 9 / 16, "2:3": 2 / 3, "3:4": 3 / 4, "1:1": 1.0, "4:3": 4 / 3, "3:2": 3 / 2, "16:9": 16 / 9}
MOST_WORDS = 20
STOP_WORDS = frozenset(
    ("a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "into", "is", "it", "its", "of", "on", "or", "that", "the", "this", "to", "with")
)

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Description:
    """The data in numbers: pictures by the shorter side in pixels ("512-767") and by the nearest usual aspect ratio ("3:2"),
    and the most frequent words of the captions."""

    sides: dict[str, int] = field(default_factory=dict)
    aspects: dict[str, int] = field(default_factory=dict)
    words: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Report:
    """What `check` found. `pictures` counts those in the folder, `captions` those with a caption, `usable` those a run trains on,
    `skipped` the rest."""

    folder: str
    pictures: int = 0
    captions: int = 0
    usable: int = 0
    skipped: int = 0
    problems: tuple[Problem, ...] = ()
    description: Description = Description()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What stops a run."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What doesn't."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def lines(self) -> list[str]:
        """A line per problem, errors first; of many of a kind the first 20 and a count."""
        return lines((*self.errors, *self.warnings))

    def as_json(self) -> dict[str, Any]:
        """All of it as data, every problem included."""
        return {**asdict(self), "ok": not self.errors}


def check(
    config: Config,
    progress: Progress = unwatched,
    extract_to: Path | None = None,
    count_tokens: CountTokens | None = None,
    limit: int | None = None,
) -> Report:
    """Look at the data of `config` as a run would. Faults of data are in the report; only a MachineError is raised.

    With `count_tokens` and `limit`, captions of more than `limit` tokens are found, with the text that is cut off.
    """
    try:
        seen = survey(config, progress, extract_to)
    except FaultyDataError as refused:
        return Report(shown(config.train_data_dir), problems=refused.problems)
    problems = list(seen.problems)
    problems += too_small(seen.examples, config.resolution)
    if count_tokens and limit:
        problems += too_long(seen.examples, count_tokens, limit)
    usable = len(seen.examples)
    return Report(shown(seen.folder), seen.found, seen.captioned, usable, seen.found - usable, tuple(problems), describe(seen.examples))


def too_small(examples: Iterable[Example], resolution: int | None) -> list[Problem]:
    """A finding for each picture that has to be enlarged for `resolution`."""
    found = []
    for example in examples if resolution else ():
        width = fit(example.size, bucket_for(example.size, resolution or 0)).resize[0]
        if width > example.size[0]:
            shape = f"{example.size[0]} × {example.size[1]}"
            scale = f"{width / example.size[0]:.1f}"
            message = say(
                "It is {shape}, smaller than the resolution {resolution}: enlarged {scale} times.", shape=shape, resolution=resolution, scale=scale
            )
            found.append(Problem(shown(example.name), None, message, say("Use larger pictures or a lower resolution."), "warning", "small"))
    return found


def too_long(examples: Iterable[Example], count_tokens: CountTokens, limit: int) -> list[Problem]:
    """A finding for each caption of more than `limit` tokens, with the end of it that the model won't see."""
    found = []
    for example in examples:
        count = count_tokens(example.caption)
        if count > limit:
            cut = shown(_cut(example.caption, count_tokens, limit), 200)
            message = say('The caption has {count} tokens, {limit} are seen. Cut off: "{text}"', count=count, limit=limit, text=cut)
            found.append(Problem(shown(example.name), None, message, say("Shorten it, or put what matters first."), "warning", "long-caption"))
    return found


def describe(examples: Sequence[Example]) -> Description:
    """The data in numbers."""
    sides = Counter(_side(min(example.size)) for example in examples)
    aspects = Counter(_aspect(example.size) for example in examples)
    words = Counter(word for example in examples for word in set(re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", example.caption.lower())))
    told = sorted(((word, count) for word, count in words.items() if word not in STOP_WORDS), key=lambda pair: (-pair[1], pair[0]))
    labels = [_side(side) for side in (0, *SIDES)]
    return Description(
        {label: sides[label] for label in labels if sides[label]},
        {label: aspects[label] for label in ASPECTS if aspects[label]},
        tuple(told[:MOST_WORDS]),
    )


def _cut(caption: str, count_tokens: CountTokens, limit: int) -> str:
    """What lies behind the longest beginning, in whole words, of at most `limit` tokens."""
    ends = [match.end() for match in re.finditer(r"\S+", caption)]
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens(caption[: ends[middle - 1]]) <= limit:
            low = middle
        else:
            high = middle - 1
    return caption[ends[low - 1] if low else 0 :].strip()


def _side(side: int) -> str:
    low = max((bound for bound in SIDES if bound <= side), default=0)
    higher = [bound for bound in SIDES if bound > side]
    return f"{low}-{higher[0] - 1}" if higher else f"{low}+"


def _aspect(size: tuple[int, int]) -> str:
    aspect = size[0] / size[1]
    return min(ASPECTS, key=lambda label: max(ASPECTS[label] / aspect, aspect / ASPECTS[label]))

"""Everything that is wrong with a dataset, and what it is like, before a run."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from studio.config import Config
from studio.data import wording
from studio.data.buckets import bucket_for, fit
from studio.data.description import CountTokens, Description, describe
from studio.data.examples import Example, Progress, survey, unwatched
from studio.data.looking import seeing
from studio.data.problems import FaultyDataError, Problem, lines, shown
from studio.language import say

USUAL_RESOLUTION = 512
"""What the crops are shown for where no resolution is set."""


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
    description: Description = field(default_factory=Description)

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
        seen = survey(config, progress, extract_to, remember=True)
    except FaultyDataError as refused:
        return Report(shown(config.train_data_dir), problems=refused.problems)
    count_tokens = cache(count_tokens) if count_tokens else None
    problems = list(seen.problems)
    problems += repeat_folders(seen.examples)
    problems += too_small(seen.examples, config.resolution)
    problems += seeing.findings(seen.folder, seen.looks, progress)
    problems += wording.findings({example.name: example.caption for example in seen.examples})
    if count_tokens and limit:
        problems += too_long(seen.examples, count_tokens, limit)
    usable = len(seen.examples)
    about = describe(seen.examples, config.resolution or USUAL_RESOLUTION, config.enable_bucket, count_tokens, limit)
    return Report(shown(seen.folder), seen.found, seen.captioned, usable, seen.found - usable, tuple(problems), about)


def repeat_folders(examples: Iterable[Example]) -> list[Problem]:
    """A finding for each folder that is called as kohya's trainer wants it, `10_ohwx man`: there it means ten repeats, here nothing."""
    counts = Counter(PurePosixPath(example.name).parts[0] for example in examples if "/" in example.name)
    found = []
    for folder, count in counts.items():
        if (match := re.match(r"(\d{1,3})_.+", folder)) and int(match[1]) > 1:
            message = say("{count} pictures lie here; the number in front means repeats to other trainers, here they count once.", count=count)
            fix = say("Set num_repeats: {repeats} to show them as often.", repeats=int(match[1]))
            found.append(Problem(shown(folder), None, message, fix, "warning", "repeats"))
    return found


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

"""A dataset in numbers: sizes, shapes, what the crop into buckets leaves, how long captions are, which words they use."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from studio.data import wording
from studio.data.buckets import bucket_for, fit
from studio.data.examples import Example

SIDES = (256, 512, 768, 1024, 1536, 2048)
ASPECTS = {"9:16": 9 / 16, "2:3": 2 / 3, "3:4": 3 / 4, "1:1": 1.0, "4:3": 4 / 3, "3:2": 3 / 2, "16:9": 16 / 9}
MOST_WORDS = 20
LENGTHS = (10, 20, 30, 40, 50, 60, 77)
LOSES_MUCH = 0.75
"""Below this share of the picture, what a crop leaves is worth a look."""

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Bucket:
    """Pictures that are trained at one width and height: how many, the mean share of them that the crop keeps, and those that lose most."""

    width: int
    height: int
    count: int
    kept: float
    cropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Description:
    """Pictures by the shorter side in pixels ("512-767") and by the nearest usual aspect ratio ("3:2"), their buckets, captions by their number
    of tokens ("11-20"; ">77" is cut off), and the most frequent words and tags of the captions."""

    sides: dict[str, int] = field(default_factory=dict)
    aspects: dict[str, int] = field(default_factory=dict)
    words: tuple[tuple[str, int], ...] = ()
    tags: tuple[tuple[str, int], ...] = ()
    buckets: tuple[Bucket, ...] = ()
    tokens: dict[str, int] = field(default_factory=dict)


def describe(
    examples: Sequence[Example],
    resolution: int | None = None,
    enable_bucket: bool = True,
    count_tokens: CountTokens | None = None,
    limit: int | None = None,
) -> Description:
    """The data in numbers; buckets where a resolution is known, tokens where they can be counted."""
    sides = Counter(_side(min(example.size)) for example in examples)
    aspects = Counter(_aspect(example.size) for example in examples)
    captions = {example.name: example.caption for example in examples}
    labels = [_side(side) for side in (0, *SIDES)]
    return Description(
        {label: sides[label] for label in labels if sides[label]},
        {label: aspects[label] for label in ASPECTS if aspects[label]},
        _most(wording.words(captions)),
        _most({tag: count for tag, count in wording.tags(captions).items() if count > 1}),
        _buckets(examples, resolution, enable_bucket) if resolution else (),
        _lengths(examples, count_tokens, limit) if count_tokens and limit else {},
    )


def _most(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_WORDS])


def _buckets(examples: Sequence[Example], resolution: int, enable: bool) -> tuple[Bucket, ...]:
    kept: dict[tuple[int, int], list[tuple[float, str]]] = {}
    for example in examples:
        bucket = bucket_for(example.size, resolution, enable=enable)
        kept.setdefault(bucket, []).append((fit(example.size, bucket).kept, example.name))
    made = []
    for bucket, found in sorted(kept.items(), key=lambda item: -len(item[1])):
        mean = sum(share for share, _ in found) / len(found)
        made.append(Bucket(*bucket, len(found), round(mean, 3), tuple(name for share, name in sorted(found) if share < LOSES_MUCH)))
    return tuple(made)


def _lengths(examples: Sequence[Example], count_tokens: CountTokens, limit: int) -> dict[str, int]:
    bounds = sorted({*(bound for bound in LENGTHS if bound < limit), limit})
    labels = [f"{low + 1}-{high}" for low, high in zip((0, *bounds), bounds, strict=False)]
    found: Counter[str] = Counter()
    for example in examples:
        count = count_tokens(example.caption)
        found[next((label for label, high in zip(labels, bounds, strict=True) if count <= high), f">{limit}")] += 1
    return {label: found[label] for label in (*labels, f">{limit}") if found[label]}


def _side(side: int) -> str:
    low = max((bound for bound in SIDES if bound <= side), default=0)
    higher = [bound for bound in SIDES if bound > side]
    return f"{low}-{higher[0] - 1}" if higher else f"{low}+"


def _aspect(size: tuple[int, int]) -> str:
    aspect = size[0] / size[1]
    return min(ASPECTS, key=lambda label: max(ASPECTS[label] / aspect, aspect / ASPECTS[label]))

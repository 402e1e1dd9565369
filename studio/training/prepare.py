"""From examples to rows in memory: every picture and every text is encoded once, kept on disk by content, and found there the next time."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
from PIL.Image import Image, Transpose

from studio.config import Config
from studio.data import buckets, captions, images
from studio.data.examples import Example
from studio.device import free_memory
from studio.events import Event, Progress
from studio.families.base import Bundle, Family, Picture, Row
from studio.language import say
from studio.training.batches import Batches, derive
from studio.training.cache import RowCache, key
from studio.training.masks import View

VARIANTS = 8  # how many orders of a caption's tags are encoded when they are shuffled
ON_GPU_AT_ONCE = 8


@dataclass(frozen=True)
class Shown:
    """How an example can be shown: its bucket, its views (as it is, and mirrored), each the names of some rows, and its texts (by variant)."""

    bucket: tuple[int, int]
    views: tuple[tuple[str, ...], ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    """All that a trainer reads: rows by key, how each example is shown, and the batches of both sets."""

    rows: Mapping[str, Row]
    shown: Sequence[Shown]
    empty: str
    batches: Batches
    held_out: Sequence[int]
    trained_share: float
    encoded: int

    def batch(self, number: int, config: Config) -> list[Row]:
        """The rows of training batch `number`: a function of the seed and the number alone."""
        rng = Random(derive(config.seed, "shown", number))
        return [self._row(index, rng, config) for index in self.batches.at(number)]

    def held_out_row(self, index: int) -> Row:
        """An example as validation sees it: always the same."""
        shown = self.shown[index]
        return self._joined(*shown.views[0], shown.texts[0])

    def _row(self, index: int, rng: Random, config: Config) -> Row:
        shown = self.shown[index]
        view, text, dropped = rng.choice(shown.views), rng.choice(shown.texts), rng.random() < config.caption_dropout
        return self._joined(*view, self.empty if dropped else text)

    def _joined(self, *names: str) -> Row:
        return {part: tensor for name in names for part, tensor in self.rows[name].items()}


@dataclass
class _Wanted:
    """What rows are to be made of, by their names."""

    pictures: dict[str, Picture] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    masks: dict[str, View] = field(default_factory=dict)


def prepare(
    config: Config,
    family: Family,
    bundle: Bundle,
    sets: tuple[Sequence[Example], Sequence[Example], float],
    folder: Path,
    prior: Sequence[Example] = (),
) -> Generator[list[Event], None, Prepared]:
    """Encode what the cache below `folder` doesn't hold; yields progress and returns `Prepared`.

    `sets` are the training examples, the held-out ones and the share of these that is trained on all the same; `prior` are the class
    pictures. The parts that only encode are let go, and never opened when every row was there.
    """
    train, held_out, trained_share = sets
    examples = [*train, *([] if trained_share else held_out), *prior]
    cache, wanted = RowCache(folder), _Wanted()
    text_kind: Literal["text", "tokens"] = "tokens" if config.train_text_encoder else "text"
    encoders = [bundle.identity(part) for part in bundle.encoders]
    text_key = partial(key, family.name, text_kind, *encoders, bundle.dtype)
    picture_key = partial(key, family.name, "picture", bundle.identity("vae"))
    shown = [_shown(example, config, bundle, wanted, (picture_key, text_key)) for example in examples]
    empty = text_key("")
    drawn = {text: text_key(text) for text in ("", *config.sample_prompts)}
    wanted.texts |= {name: text for text, name in drawn.items()}
    rows: dict[str, Row] = {}
    if prior:
        shown = _weighed(shown, len(shown) - len(prior), config.prior_weight or 1.0, rows)
    yield from _read_masks(wanted.masks, rows, cache, bundle.facts, config.unmasked_weight or 0.0)
    encoded = 0
    jobs: list[tuple[Literal["picture", "text", "tokens"], dict[str, Picture] | dict[str, str], str]] = [
        ("picture", wanted.pictures, say("Encoding pictures")),
        (text_kind, wanted.texts, say("Encoding captions")),
    ]
    for kind, items, what in jobs:
        missing = []
        for name in items:
            row = None if kind == "tokens" else cache.get(name)
            if row is None:
                missing.append(name)
            else:
                rows[name] = row
        done = len(items) - len(missing)
        for names in _together(missing, items, ON_GPU_AT_ONCE if bundle.device.type == "cuda" else 1):
            made = family.encode(bundle, kind, [items[name] for name in names])
            for name, row in zip(names, made, strict=True):
                rows[name] = {part: tensor.clone() for part, tensor in row.items()}
                if kind != "tokens":
                    cache.put(name, row)
            encoded += len(names)
            done += len(names)
            yield [Progress(what=what, done=done, total=len(items))]
    if text_kind == "text":
        bundle.remembered.update({text: rows[name] for text, name in drawn.items()})
    if bundle.release("vae", *(() if config.train_text_encoder else bundle.encoders)):
        free_memory(bundle.device)
    own, companions = list(range(len(train))) * config.num_repeats, range(len(shown) - len(prior), len(shown))
    batches = Batches(_by_bucket(own, shown), config.batch_size, config.seed, _by_bucket(companions, shown))
    position = {example: index for index, example in enumerate(examples)}
    held = [position[example] for example in held_out]
    return Prepared(rows, shown, empty, batches, held, trained_share, encoded)


def _by_bucket(indices: Sequence[int], shown: Sequence[Shown]) -> tuple[list[int], ...]:
    found: dict[tuple[int, int], list[int]] = {}
    for index in indices:
        found.setdefault(shown[index].bucket, []).append(index)
    return tuple(found[bucket] for bucket in sorted(found))


def _weighed(shown: Sequence[Shown], first: int, weight: float, rows: dict[str, Row]) -> list[Shown]:
    """The same, with a row in each view that says how much its loss counts: `weight` from the `first` class picture on, else 1."""
    rows |= {"own": {"emphasis": torch.tensor(1.0)}, "prior": {"emphasis": torch.tensor(weight)}}
    names = ["own"] * first + ["prior"] * (len(shown) - first)
    return [replace(one, views=tuple((*view, name) for view in one.views)) for one, name in zip(shown, names, strict=True)]


def _read_masks(views: Mapping[str, View], rows: dict[str, Row], cache: RowCache, facts: Mapping[str, Any], floor: float) -> Iterator[list[Event]]:
    """A row for each mask, none of whose numbers is below `floor`; read where the cache doesn't hold it."""
    for done, (name, view) in enumerate(views.items(), 1):
        place = key(name, facts["factor"])
        row = cache.get(place)
        if row is None:
            row = {"mask": view.weights(facts["factor"])}
            cache.put(place, row)
            yield [Progress(what=say("Reading masks"), done=done, total=len(views))]
        rows[name] = {"mask": row["mask"].clamp(min=floor)}


def _shown(example: Example, config: Config, bundle: Bundle, wanted: _Wanted, keys: "tuple[partial[str], partial[str]]") -> Shown:
    picture_key, text_key = keys
    resolution = config.resolution or bundle.facts["resolution"]
    bucket = buckets.bucket_for(example.size, resolution, bundle.facts["step"], config.enable_bucket)
    crop = buckets.fit(example.size, bucket)
    views = []
    for flipped in (False, True) if config.random_flip else (False,):
        content = picture_key(example.content, crop, flipped)
        wanted.pictures[content] = Picture(partial(_read, example.path, crop, flipped), content, bucket, example.size, crop.box[:2])
        mask = View(example.mask, crop, flipped)
        wanted.masks |= {mask.name: mask} if config.masked_loss else {}
        views.append((content, mask.name) if config.masked_loss else (content,))
    variants = [example.caption]
    if config.shuffle_tags:
        rng = Random(derive(config.seed, "tags", example.caption))
        variants = [captions.shuffled(example.caption, config.keep_tokens, rng) for _ in range(VARIANTS)]
    for variant in variants:
        wanted.texts[text_key(variant)] = variant
    return Shown(bucket, tuple(views), tuple(text_key(variant) for variant in variants))


def _together(names: list[str], items: Mapping[str, Picture | str], at_once: int) -> Iterator[list[str]]:
    """Names in groups that go through an encoder together: pictures of one size. One by one, a row has the same bits in any company."""

    def size(name: str) -> tuple[int, int]:
        item = items[name]
        return item.size if isinstance(item, Picture) else (0, 0)

    for _, group in groupby(sorted(names, key=size), size):
        alike = list(group)
        yield from (alike[first : first + at_once] for first in range(0, len(alike), at_once))


def _read(path: Path, crop: buckets.Crop, flipped: bool) -> Image:
    picture = buckets.cut(images.load(path), crop)
    return picture.transpose(Transpose.FLIP_LEFT_RIGHT) if flipped else picture


def seeded(*words: object) -> torch.Generator:
    """A generator on the CPU whose numbers follow from the words."""
    return torch.Generator().manual_seed(derive(*words))

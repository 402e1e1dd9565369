"""How well nearly the same pictures are found: precision and recall by kind of change, and look-alikes that must not be taken for copies.

`python -m tests.benchmarks.duplicates [--count 200] [--seed 0]` prints a table (a minute). The pictures are made here: landscapes, faces, still
lifes, clouds, and forty of the samples. A look-alike has the kind, the colours and the composition of its original, but other things in it; that
of a sample is the same thing in the other style. Each table's row is a set of all originals, all look-alikes, and one changed copy of each original.
"""

import argparse
import colorsys
import io
import math
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from studio import pocket
from studio.data.images import examine, load
from studio.data.looking import likeness

Make = Callable[[random.Random, random.Random], Image.Image]
"""Draws a picture: the first says how it is composed and coloured, the second what is in it."""


def _colour(rng: random.Random, value: float | None = None) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.25, 0.9), value or rng.uniform(0.35, 0.95))
    return round(255 * red), round(255 * green), round(255 * blue)


def _ground(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    ends = [np.array(_colour(rng), float) for _ in range(2)]
    slope = np.linspace(0, 1, size[1])[:, None, None]
    return Image.fromarray(np.broadcast_to(ends[0] * (1 - slope) + ends[1] * slope, (size[1], size[0], 3)).astype(np.uint8))


def _grain(picture: Image.Image, rng: random.Random, strength: float = 5) -> Image.Image:
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, strength, (picture.height, picture.width, 1))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def landscape(manner: random.Random, things: random.Random) -> Image.Image:
    """Hills before hills, a sun, trees."""
    size = (manner.choice((384, 448, 512)), 320)
    picture = _ground(manner, size)
    draw = ImageDraw.Draw(picture)
    across, down, radius = things.uniform(0.1, 0.9) * size[0], things.uniform(0.08, 0.3) * size[1], things.uniform(14, 34)
    draw.ellipse((across - radius, down - radius, across + radius, down + radius), fill=_colour(manner, 0.95))
    for layer in range(manner.randint(3, 5)):
        level, waves = (0.4 + 0.13 * layer) * size[1], [(things.uniform(8, 40), things.uniform(1, 5), things.uniform(0, 7)) for _ in range(3)]
        edge = [
            (x, level + sum(height * math.sin(rate * x / size[0] * math.tau + phase) for height, rate, phase in waves))
            for x in range(0, size[0] + 8, 8)
        ]
        draw.polygon([*edge, (size[0], size[1]), (0, size[1])], fill=_colour(manner))
    for _ in range(things.randint(1, 6)):
        x, y, tall = things.uniform(0, size[0]), things.uniform(0.6, 1) * size[1], things.uniform(25, 80)
        draw.polygon([(x, y - tall), (x - tall / 3, y), (x + tall / 3, y)], fill=_colour(manner, 0.3))
    return _grain(picture, things)


def face(manner: random.Random, things: random.Random) -> Image.Image:
    """A head in the middle, as portraits are: other hair, eyes and mouth make another person."""
    size = (320, 384)
    picture = _ground(manner, size)
    draw = ImageDraw.Draw(picture)
    skin, dark, cloth = _colour(manner, 0.85), _colour(things, 0.3), _colour(manner)
    wide, tall = things.uniform(68, 96), things.uniform(92, 120)
    middle = (160 + things.uniform(-22, 22), 176 + things.uniform(-16, 16))
    draw.rounded_rectangle((middle[0] - 130, middle[1] + tall * 0.9, middle[0] + 130, 420), 60, fill=cloth)
    hair = things.uniform(8, 46)
    draw.ellipse((middle[0] - wide - hair, middle[1] - tall - hair, middle[0] + wide + hair, middle[1] + things.uniform(-20, 130)), fill=dark)
    draw.ellipse((middle[0] - wide, middle[1] - tall * 0.75, middle[0] + wide, middle[1] + tall), fill=skin)
    apart, eyes, lift = things.uniform(28, 42), things.uniform(6, 14), things.uniform(0, 26)
    for side in (-1, 1):
        x, y = middle[0] + side * apart, middle[1] - lift
        draw.ellipse((x - eyes * 1.6, y - eyes, x + eyes * 1.6, y + eyes), fill=(250, 250, 245))
        draw.ellipse((x - eyes * 0.7, y - eyes * 0.7, x + eyes * 0.7, y + eyes * 0.7), fill=dark)
        draw.line((x - 20, y - 20, x + 20, y - 20 + side * things.uniform(-8, 8)), fill=dark, width=things.randint(3, 8))
    mouth = things.uniform(16, 40)
    draw.arc((middle[0] - mouth, middle[1] + 22, middle[0] + mouth, middle[1] + 62), 10, 170, fill=(150, 40, 50), width=things.randint(3, 9))
    if things.random() < 0.4:
        draw.rectangle((middle[0] - 60, middle[1] - lift - 16, middle[0] + 60, middle[1] - lift + 14), outline=(20, 20, 20), width=5)
    return _grain(picture.filter(ImageFilter.GaussianBlur(1)), things)


def still_life(manner: random.Random, things: random.Random) -> Image.Image:
    """A few things on a table."""
    size = (400, 400)
    picture = _ground(manner, size)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 260, 400, 400), fill=_colour(manner, 0.5))
    palette = [_colour(manner) for _ in range(5)]
    for place in range(manner.randint(3, 5)):
        x, y = 60 + 75 * place + things.uniform(-25, 25), 280 + things.uniform(-20, 60)
        wide, tall, fill = things.uniform(22, 55), things.uniform(40, 150), things.choice(palette)
        match things.randrange(3):
            case 0:
                draw.ellipse((x - wide, y - 2 * wide, x + wide, y), fill=fill)
            case 1:
                draw.rounded_rectangle((x - wide / 2, y - tall, x + wide / 2, y), 8, fill=fill)
            case _:
                draw.polygon([(x, y - tall), (x - wide, y), (x + wide, y)], fill=fill)
        draw.line((x - wide / 3, y - tall / 2, x - wide / 3, y - 12), fill=(255, 255, 255), width=3)
    return _grain(picture, things)


def clouds(manner: random.Random, things: random.Random) -> Image.Image:
    """Two colours that run into each other, without an edge."""
    noise = np.random.default_rng(things.getrandbits(32))
    field = sum(
        np.asarray(Image.fromarray(noise.random((cells, cells), dtype=np.float32)).resize((352, 352), Image.Resampling.BICUBIC)) / cells**0.8
        for cells in (4, 8, 16, 32, 64)
    )
    field = (field - field.min()) / (field.max() - field.min())
    ends = [np.array(_colour(manner), float) for _ in range(2)]
    return Image.fromarray((ends[0] * (1 - field[..., None]) + ends[1] * field[..., None]).astype(np.uint8))


def _recompressed(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _cropped(picture: Image.Image, rng: random.Random) -> Image.Image:
    share = rng.uniform(0.05, 0.10)
    wide, tall = picture.width * (1 - share), picture.height * (1 - share)
    left, top = rng.uniform(0, picture.width - wide), rng.uniform(0, picture.height - tall)
    return picture.crop((round(left), round(top), round(left + wide), round(top + tall)))


def _rotated(picture: Image.Image, rng: random.Random) -> Image.Image:
    angle = rng.choice((-1, 1)) * rng.uniform(1, 3)
    turned = picture.rotate(angle, Image.Resampling.BICUBIC)
    edge = math.tan(math.radians(abs(angle))) / 2  # what the turn leaves empty is cut away, as programs do
    return turned.crop(
        (
            round(edge * picture.height),
            round(edge * picture.width),
            round(picture.width - edge * picture.height),
            round(picture.height - edge * picture.width),
        )
    )


def _marked(picture: Image.Image, rng: random.Random) -> Image.Image:
    marked = picture.copy()
    draw = ImageDraw.Draw(marked)
    draw.text((picture.width * rng.uniform(0.05, 0.5), picture.height * 0.85), "(c) example", fill=(255, 255, 255), font_size=picture.height / 12)
    return marked


TRANSFORMS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "resized to 40-160 %": lambda picture, rng: picture.resize(
        tuple(max(24, round(side * scale)) for scale in [rng.uniform(0.4, 1.6)] for side in picture.size),
        Image.Resampling.LANCZOS,  # type: ignore[arg-type]
    ),
    "JPEG again, quality 25-60": lambda picture, rng: _recompressed(picture, rng.randint(25, 60)),
    "cropped by 5-10 %": _cropped,
    "mirrored": lambda picture, rng: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "brightness 60-150 %": lambda picture, rng: ImageEnhance.Brightness(picture).enhance(rng.choice((rng.uniform(0.6, 0.8), rng.uniform(1.2, 1.5)))),
    "turned by 1-3 degrees": _rotated,
    "marked with a text": _marked,
}


def pictures(count: int, seed: int) -> tuple[list[Image.Image], list[Image.Image]]:
    """Originals, and to each a look-alike."""
    samples = sorted(path.name for path in (pocket.SAMPLES / "gameboy").glob("*.png"))[: count // 5]
    makers = (landscape, face, still_life, clouds)
    both: tuple[list[Image.Image], list[Image.Image]] = ([], [])
    for number in range(count - len(samples)):
        for into, what in zip(both, ("things", "other things"), strict=True):
            into.append(makers[number % 4](random.Random(f"{seed} manner {number}"), random.Random(f"{seed} {what} {number}")))
    for name in samples:
        for into, style in zip(both, ("gameboy", "blueprint"), strict=True):
            into.append(load(pocket.SAMPLES / style / name))
    return both


def found(paths: list[Path]) -> list[list[int]]:
    """Groups of places, as the report finds them."""
    looks = [examine(path, closely=True) for path in paths]
    return likeness.groups([look.sketch for look in looks], lambda place: likeness.square(load(paths[place]).convert("L")), lambda done, total: None)


def measure(folder: Path, originals: list[Image.Image], alike: list[Image.Image], copies: list[Image.Image]) -> tuple[float, float, float]:
    """Recall: copies that are in a group with their original. Precision: pairs in groups that are an original and its copy. Seconds."""
    paths = [folder / f"{number:04}.png" for number in range(len(originals) + len(alike) + len(copies))]
    for path, picture in zip(paths, [*originals, *alike, *copies], strict=True):
        picture.save(path, compress_level=1)
    began = time.monotonic()
    groups = found(paths)
    pairs = [(one, other) for group in groups for one in group for other in group if one < other]
    right = sum(other - one == len(originals) + len(alike) for one, other in pairs)
    return right / max(1, len(copies)), right / max(1, len(pairs)), time.monotonic() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    originals, alike = pictures(given.count, given.seed)
    print("| change | recall | precision | seconds |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, change in TRANSFORMS.items():
            copies = [change(picture, random.Random(f"{given.seed} {name} {number}")) for number, picture in enumerate(originals)]
            recall, precision, seconds = measure(Path(folder), originals, alike, copies)
            print(f"| {name} | {recall:.1%} | {precision:.1%} | {seconds:.0f} |")
        wrong = sum(len(group) - 1 for group in found([Path(folder) / f"{number:04}.png" for number in range(2 * len(originals))]))
        print(f"| none: {len(originals)} originals, {len(alike)} look-alikes | taken for the same: {wrong} | | |")


if __name__ == "__main__":
    main()

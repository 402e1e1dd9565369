"""Aspect-ratio buckets: pictures of about one shape are trained together, at about the same area each."""

import math
from functools import cache
from typing import Any, NamedTuple

from PIL import Image


class Crop(NamedTuple):
    """How a picture gets into its bucket: resize to `resize` (width, height), then cut out `box` (left, top, right, bottom)."""

    resize: tuple[int, int]
    box: tuple[int, int, int, int]

    @property
    def kept(self) -> float:
        """The share of the picture's area that the crop leaves, up to 1."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top) / (self.resize[0] * self.resize[1])


def bucket_for(size: tuple[int, int], resolution: int, step: int = 64, enable: bool = True) -> tuple[int, int]:
    """Width and height that a picture of `size` is trained at: of all buckets the one nearest in aspect ratio.

    Buckets have sides that are multiples of `step`, from half of `resolution` to twice it, and at most its square as area.
    Without `enable`, or where no multiple fits: the square.
    """
    square = (resolution, resolution)
    if not enable:
        return square
    aspect = math.log(size[0] / size[1])
    return min(
        _buckets(resolution, step),
        key=lambda bucket: (round(abs(math.log(bucket[0] / bucket[1]) - aspect), 9), -bucket[0] * bucket[1]),
        default=square,
    )


def fit(size: tuple[int, int], bucket: tuple[int, int]) -> Crop:
    """Scale a picture of `size` until it covers `bucket`, and keep its centre."""
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    width, height = max(bucket[0], round(size[0] * scale)), max(bucket[1], round(size[1] * scale))
    left, top = (width - bucket[0]) // 2, (height - bucket[1]) // 2
    return Crop((width, height), (left, top, left + bucket[0], top + bucket[1]))


def cut(image: Image.Image, crop: Crop) -> Any:
    """The picture as its bucket shows it."""
    resized = image if image.size == crop.resize else image.resize(crop.resize, Image.Resampling.LANCZOS)
    return resized.crop(crop.box)


@cache
def _buckets(resolution: int, step: int) -> tuple[tuple[int, int], ...]:
    side = resolution // step * step
    found = {(side, side)} if side >= resolution / 2 else set()
    first = math.ceil(resolution / 2 / step) * step
    for width in range(first, 2 * resolution + 1, step):
        height = min(resolution * resolution // width, 2 * resolution) // step * step
        if height >= resolution / 2 and height > 0:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))

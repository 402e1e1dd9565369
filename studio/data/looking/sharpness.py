"""How blurred a picture is, whatever it shows."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 512
"""Pixels of the longer side at most: what is soft only beyond that, no training sees."""
RADIUS = 4
BLURRED = 0.6
MORE_THAN_OTHERS = 0.15


def blur(picture: "Image") -> float:
    """From 0, sharp, to 1: how little the differences between neighbours shrink when a grey picture is blurred once more.

    Crété, Dolmiere, Ladret and Nicolas 2007, "The blur effect", with a box of 9 pixels.
    """
    from PIL import Image, ImageFilter

    scale = max(picture.size) / SIDE
    if scale > 1:
        picture = picture.resize((max(1, round(picture.width / scale)), max(1, round(picture.height / scale))), Image.Resampling.BOX)
    found = 0.0
    for axis, radius in ((0, (0, RADIUS)), (1, (RADIUS, 0))):
        before, after = (np.abs(np.diff(np.asarray(one, np.int16), axis=axis)) for one in (picture, picture.filter(ImageFilter.BoxBlur(radius))))
        total = int(before.sum())
        if total:
            found = max(found, 1 - int(np.maximum(before - after, 0).sum()) / total)
    return round(found, 3)


def blurred(values: dict[str, float]) -> tuple[list[str], bool]:
    """Names of pictures that are blurred, the worst first, and whether the set as a whole is soft: then only those beyond it are named."""
    if not values:
        return [], False
    usual = float(np.median(list(values.values())))
    limit = max(BLURRED, usual + MORE_THAN_OTHERS) if len(values) > 2 else BLURRED
    return sorted((name for name, value in values.items() if value >= limit), key=lambda name: -values[name]), usual >= BLURRED

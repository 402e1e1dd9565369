"""Something that stands in the same place of every picture: a watermark, a signature, a border. A LoRA learns it first."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 128
FEWEST = 8
"""Pictures below which a coincidence can't be told from a mark."""
MOST = 100
"""Pictures of a set that are looked at."""
EDGE = 6.0
"""Grey levels between neighbours, in the middle picture, that make an edge."""
SHARE = 0.0015
"""Of all places, those with a common upright edge, and with a level one, that make a mark: a horizon has one kind only."""
MOST_SHARE = 0.05
"""Beyond that it is what the pictures are like, such as paper with a grid."""


def constant_mark(pictures: Iterable["Image"]) -> tuple[float, float] | None:
    """Where grey pictures have the same edges (the middle of these, across and down, 0 to 1), or None.

    What is common is the median of each gradient over all pictures: Dekel, Rubinstein, Liu and Freeman 2017, "On the effectiveness of visible
    watermarks", formula 2.
    """
    from PIL import Image

    squares = [np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) for picture in pictures]
    if len(squares) < FEWEST:
        return None
    stack = np.stack(squares)
    across, down = (np.median(np.gradient(stack, axis=axis), axis=0) for axis in (2, 1))
    edges = [np.abs(slope) > EDGE for slope in (across, down)]
    if not all(SHARE < edge.mean() < MOST_SHARE for edge in edges):
        return None
    rows, columns = np.nonzero(edges[0] | edges[1])
    return float(np.median(columns) / SIDE), float(np.median(rows) / SIDE)

"""Four styles drawn from icons at 256 × 256: ink and blueprint from the line icons, pixel and gameboy from the flat ones."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from studio.pocket.recipe.icons import FLAT, LINE
from studio.pocket.recipe.pictures import WHITE, Picture, Pictures, on_ground, resized

PIXELS = 256
BLOCKS = 16
GAMEBOY = np.array([(15, 56, 15), (48, 98, 48), (139, 172, 15), (202, 220, 159)])
"""The four greens, dark to light; the last is the ground."""
PAPER, GRID, CHALK = (28, 78, 164), (70, 122, 200), (236, 244, 255)


class Style(NamedTuple):
    """Which icons a style is drawn from, and how: RGBA uint8 [128, 128, 4] → RGB uint8 [256, 256, 3]."""

    icon_set: str
    draw: Callable[[Picture], Picture]


def styled(style: str, pictures: Pictures, thing: str) -> Picture:
    """`thing` in a style, RGB uint8 [256, 256, 3]."""
    return STYLES[style].draw(pictures[STYLES[style].icon_set][thing])


def ink(rgba: Picture) -> Picture:
    """Black on white."""
    return resized(on_ground(rgba), PIXELS)


def blueprint(rgba: Picture) -> Picture:
    """White lines on blue paper with a grid of 32 pixels."""
    cover = resized(rgba[..., 3], PIXELS).astype(np.float32)[..., None] / 255
    paper = np.full((PIXELS, PIXELS, 3), PAPER, np.float32)
    paper[::32] = GRID
    paper[:, ::32] = GRID
    mixed = paper * (1 - cover) + np.array(CHALK, np.float32) * cover
    return mixed.round().astype(np.uint8)


def pixel(rgba: Picture) -> Picture:
    """16 × 16 blocks, six levels a channel, on white."""
    colours, covered = blocks(rgba)
    levels = np.where(covered[..., None], np.round(colours / 255 * 5) / 5 * 255, 255)
    return _enlarged(levels)


def gameboy(rgba: Picture) -> Picture:
    """16 × 16 blocks in three greens by their brightness, on the fourth."""
    colours, covered = blocks(rgba)
    brightness = colours @ np.array([0.3, 0.59, 0.11])
    low, high = np.percentile(brightness[covered], [4, 96]) if covered.any() else (0, 255)
    # At least 40 apart: an icon of one colour isn't spread over all three greens.
    shade = np.clip(np.floor((brightness - low) / max(high - low, 40) * 3), 0, 2).astype(int)
    shade[~covered] = 3
    return _enlarged(GAMEBOY[shade])


def blocks(rgba: Picture) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Mean colours [16, 16, 3] of what is not transparent, and where at least 45 % of a block is covered [16, 16]."""
    side = rgba.shape[0] // BLOCKS
    cover = rgba[..., 3:].astype(np.float32) / 255

    def mean(values: NDArray[np.floating]) -> NDArray[np.float32]:
        averaged: NDArray[np.float32] = values.reshape(BLOCKS, side, BLOCKS, side, -1).mean((1, 3))
        return averaged

    share = mean(cover)
    colours = mean(rgba[..., :3].astype(np.float32) * cover) / np.maximum(share, 1e-3)
    covered = share > 0.45
    return np.where(covered, colours, np.array(WHITE, np.float32)), covered[..., 0]


def _enlarged(values: NDArray[np.floating] | NDArray[np.integer]) -> Picture:
    block = np.ones((PIXELS // BLOCKS, PIXELS // BLOCKS, 1), np.uint8)
    return np.kron(values.round().clip(0, 255).astype(np.uint8), block)


STYLES = {
    "ink": Style(LINE, ink),
    "pixel": Style(FLAT, pixel),
    "gameboy": Style(FLAT, gameboy),
    "blueprint": Style(LINE, blueprint),
}

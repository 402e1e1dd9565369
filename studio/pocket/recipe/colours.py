"""Things in other colours, and grounds to stand on: what makes the 174 things more than 174 pictures."""

import numpy as np
from numpy.typing import NDArray

from studio.pocket.recipe.pictures import Picture

Channel = NDArray[np.floating]

COLOURS = {"red": 0, "orange": 28, "yellow": 48, "green": 125, "blue": 212, "purple": 275, "pink": 330}
"""Hue in degrees."""

RECOLOURED = {
    "automobile": "car",
    "delivery-truck": "truck",
    "balloon": "balloon",
    "umbrella": "umbrella",
    "t-shirt": "t-shirt",
    "dress": "dress",
    "backpack": "backpack",
    "billed-cap": "cap",
    "butterfly": "butterfly",
    "fish": "fish",
    "tulip": "tulip",
    "rose": "rose",
    "guitar": "guitar",
    "blue-book": "book",
    "red-apple": "apple",
    "high-heeled-shoe": "high heel",
    "gem-stone": "diamond",
    "wrapped-gift": "gift",
    "star": "star",
    "red-heart": "heart",
    "red-circle": "circle",
    "red-square": "square",
    "cat-face": "cat face",
    "frog": "frog",
    "bell": "bell",
    "key": "key",
    "house": "house",
}
"""The things that are shown in every colour, and the word that follows the colour's name."""

HELD_OUT_PAIRS = {(thing, list(COLOURS)[(3 * place + 2) % len(COLOURS)]) for place, thing in enumerate(RECOLOURED)}
"""One colour of each recoloured thing is never trained: whether it is drawn all the same shows that the words combine."""

BACKGROUNDS = {
    "red": (226, 74, 74),
    "orange": (245, 150, 60),
    "yellow": (250, 214, 80),
    "green": (88, 180, 100),
    "blue": (84, 140, 228),
    "purple": (140, 96, 200),
    "pink": (246, 150, 190),
    "black": (20, 20, 26),
    "grey": (140, 144, 150),
    "brown": (122, 84, 60),
    "dark blue": (24, 30, 72),
}


def recolour(picture: Picture, colour: str) -> Picture:
    """RGB uint8 [height, width, 3] with its dominant hue, and those within 38° of it, moved to `colour`."""
    hue, saturation, value = to_hsv(picture)
    # In double precision, or colours on the edge of two levels fall on the other side.
    distance = (hue.astype(np.float64) - _dominant_hue(hue, saturation, value) + 180) % 360 - 180
    moved = (np.abs(distance) < 38) & (saturation > 0.15)
    match colour:
        case "pink":
            new_saturation, new_value = saturation * 0.6, np.minimum(1, value * 0.6 + 0.4)
        case "yellow" | "orange":
            new_saturation, new_value = np.minimum(1, saturation * 0.7 + 0.3), np.minimum(1, value * 0.5 + 0.5)
        case _:
            new_saturation, new_value = saturation, np.minimum(value, 0.92)
    return from_hsv(
        np.where(moved, (COLOURS[colour] + distance * 0.6) % 360, hue),
        np.where(moved, new_saturation, saturation),
        np.where(moved, new_value, value),
    )


def to_hsv(picture: Picture) -> tuple[Channel, Channel, Channel]:
    """Hue (degrees), saturation and value (0 to 1) of an RGB uint8 picture."""
    scaled = picture.astype(np.float32) / 255
    high, low = scaled.max(-1), scaled.min(-1)
    spread = high - low
    saturation = np.where(high > 0, spread / np.maximum(high, 1e-6), 0)
    red, green, blue = scaled[..., 0], scaled[..., 1], scaled[..., 2]
    divisor = np.maximum(spread, 1e-6)
    of_red, of_green, of_blue = ((green - blue) / divisor) % 6, (blue - red) / divisor + 2, (red - green) / divisor + 4
    hue = np.where(high == red, of_red, np.where(high == green, of_green, of_blue)) * 60
    return hue, saturation, high


def from_hsv(hue: Channel, saturation: Channel, value: Channel) -> Picture:
    """The inverse of `to_hsv`."""

    def channel(offset: int) -> Channel:
        place = (offset + hue / 60) % 6
        level: Channel = value - value * saturation * np.clip(np.minimum(place, 4 - place), 0, 1)
        return level

    stacked = np.stack([channel(5), channel(3), channel(1)], -1) * 255
    return stacked.round().clip(0, 255).astype(np.uint8)


def _dominant_hue(hue: Channel, saturation: Channel, value: Channel) -> float:
    """The middle of the fullest 10° bin, counted with its neighbours; pale and dark pixels count little."""
    weight = (saturation > 0.25) * saturation * value
    counts, _ = np.histogram(hue, bins=36, range=(0, 360), weights=weight)
    counts = counts + np.roll(counts, 1) + np.roll(counts, -1)
    return float(counts.argmax() * 10 + 5)

"""Masks: grey pictures that say where a picture is learned from. White is learned, black is not; what is wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from studio.data.images import load_mask
from studio.data.problems import Problem, shown
from studio.language import say

SAME_SHAPE = 0.02


@dataclass(frozen=True)
class Mask:
    """Where a picture is learned from: a file, or the picture's own alpha channel. `content` is the sha256 of the file's bytes in hex."""

    path: Path
    content: str
    alpha: bool = False

    @property
    def identity(self) -> str:
        """Text that is the same for the same mask."""
        return f"alpha {self.content}" if self.alpha else self.content

    def read(self) -> Image.Image:
        """Upright, 8 bits of grey."""
        return load_mask(self.path, self.alpha)


def other_shape(name: str, size: tuple[int, int], picture: tuple[int, int]) -> list[Problem]:
    """A finding where a mask isn't of the picture's shape; another size is none."""
    if abs(size[0] * picture[1] / (size[1] * picture[0]) - 1) < SAME_SHAPE:
        return []
    shapes = {"width": size[0], "height": size[1], "across": picture[0], "down": picture[1]}
    message = say("The mask is {width} × {height}, its picture {across} × {down}: it is stretched.", **shapes)
    return [Problem(shown(name), None, message, say("Save the mask in the picture's shape."), "warning", "mask-shape")]


def masks_missing(folder: Path, found: Mapping[str, Mask | None]) -> list[Problem]:
    """A finding for each picture without a mask, an error where none has one."""
    fix = say("Put masks of the same names in a folder masks, or take masked_loss out.")
    if found and not any(found.values()):
        return [Problem(shown(folder), None, say("masked_loss: no picture has a mask."), fix, kind="no-mask")]
    message = say("The picture has no mask: all of it is learned.")
    return [Problem(shown(name), None, message, fix, "warning", "no-mask") for name, mask in found.items() if mask is None]


def masks_unused(folder: Path, count: int) -> list[Problem]:
    """A finding where masks lie beside pictures and nobody asked for them."""
    if not count:
        return []
    message = say("{count} pictures have a mask, which only counts with masked_loss: true.", count=count)
    return [Problem(shown(folder), None, message, "", "warning", "masks")]

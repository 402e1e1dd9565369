"""Rendered icons as arrays: RGBA of 128 pixels on disk, RGB of 64 pixels for the models."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
Pictures = dict[str, dict[str, Picture]]
"""Icon set → name → RGBA uint8 [128, 128, 4]."""

SIZE = 64
WHITE = (255, 255, 255)


def save(path: Path, pictures: dict[str, Picture]) -> None:
    """One icon set as one file: the names and the pictures, no pickle."""
    with path.open("wb") as file:
        np.savez_compressed(file, names=np.array(list(pictures)), pictures=np.stack(list(pictures.values())))


def load(folder: Path, *icon_sets: str) -> Pictures:
    """The rendered icon sets in `folder`."""
    return {icon_set: _load_one(folder / f"{icon_set}.npz") for icon_set in icon_sets}


def on_ground(rgba: Picture, ground: tuple[int, int, int] = WHITE) -> Picture:
    """RGB of the same size, with what is transparent filled with a colour."""
    colour, cover = rgba[..., :3].astype(np.float32), rgba[..., 3:].astype(np.float32) / 255
    mixed = colour * cover + np.array(ground, np.float32) * (1 - cover)
    return mixed.round().clip(0, 255).astype(np.uint8)


def resized(picture: Picture, size: int = SIZE) -> Picture:
    """`picture` at `size` × `size`, by Lanczos."""
    return np.array(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))


def through_256(rgba: Picture, ground: tuple[int, int, int] = WHITE) -> Picture:
    """An icon as the base shows it, by the way that a sample picture takes: at 256 pixels, then at 64."""
    return resized(resized(on_ground(rgba, ground), 256))


def stacked(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    """RGB uint8 pictures as float32 [n, 3, height, width] from -1 to 1."""
    return np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2), np.float32) / 127.5 - 1


def _load_one(path: Path) -> dict[str, Picture]:
    with np.load(path, allow_pickle=False) as file:
        return dict(zip(file["names"].tolist(), file["pictures"], strict=True))

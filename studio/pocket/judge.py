"""How far a LoRA on the pocket model took over a style, and whether its things can still be recognised.

The classifier was trained by recipe/judge_training.py on real pictures of the same 174 things: it tells whether a thing is recognisable,
not whether it is new. `judge.json` (classes, held-out things, mean features) comes from recipe/reference.py.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from studio.pocket import JUDGE, JUDGE_FACTS

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

SIZE = 64
Features = NDArray[np.float64]


def things() -> list[str]:
    """The names of the 174 things, in the order of the classes."""
    return list(_facts()["things"])


def held_out() -> dict[str, str]:
    """32 things that are in none of the sample sets → the prompt that draws each: what a LoRA is to be measured on."""
    return dict(_facts()["held_out"])


def recognised(pictures: Sequence[Image | NDArray[np.uint8]], things: Sequence[str]) -> list[bool]:
    """For each RGB picture of 64 × 64 whether the judge's first guess is the thing of the same place.

    Raises ValueError for another size, for other lengths and for a thing that the judge doesn't know.
    """
    import torch

    classes = _facts()["things"]
    if unknown := sorted(set(things) - set(classes)):
        raise ValueError(f"not among the judge's things: {', '.join(unknown)}")
    wanted = [classes.index(thing) for thing in things]
    with torch.inference_mode():
        guesses = _classifier()(_tensor(_array(pictures))).argmax(1).tolist()
    return [guess == place for guess, place in zip(guesses, wanted, strict=True)]


def style_progress(pictures: Sequence[Image | NDArray[np.uint8]], style: str) -> float:
    """The mean way from the base's real pictures (0) to the style's real ones (1), by their features; it may leave that range.

    `pictures` are RGB of 64 × 64, best of the held-out things. Raises ValueError for another size or style.
    """
    if style not in _facts()["styles"]:
        raise ValueError(f"not among the judge's styles: {style}")
    origin = np.array(_facts()["base"])
    way = np.array(_facts()["styles"][style]) - origin
    return float(((features(pictures) - origin) @ way / (way @ way)).mean())


def features(pictures: Sequence[Image | NDArray[np.uint8]]) -> Features:
    """What a style is measured by, [n, 66]: the histogram of 4 × 4 × 4 colours, the strength of edges, the unevenness of 4 × 4 blocks."""
    batch = _array(pictures)
    levels = (batch // 64).astype(int)
    numbers = levels[..., 0] * 16 + levels[..., 1] * 4 + levels[..., 2]
    histogram = np.stack([np.bincount(picture.ravel(), minlength=64) / picture.size for picture in numbers])
    colours = batch.astype(np.float32)
    grey = colours.mean(-1)
    edges = np.abs(np.diff(grey, axis=1)).mean((1, 2)) + np.abs(np.diff(grey, axis=2)).mean((1, 2))
    unevenness = colours.reshape(len(batch), SIZE // 4, 4, SIZE // 4, 4, 3).std((2, 4)).mean((1, 2, 3))
    # 40 brings the last two to the size of the histogram's larger shares.
    return np.concatenate([histogram, edges[:, None] / 40, unevenness[:, None] / 40], 1)


def network(classes: int) -> nn.Module:
    """The classifier without weights: [n, 3, 64, 64] from -1 to 1 → logits [n, classes]."""
    from torch import nn

    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 64, 128, 192):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    side = SIZE // 2**4
    layers += [nn.Flatten(), nn.Dropout(0.25), nn.Linear(channels * side * side, classes)]
    return nn.Sequential(OrderedDict(f=nn.Sequential(*layers)))  # "f" is what the weights' names begin with


@cache
def _facts() -> dict[str, Any]:
    return dict(json.loads(JUDGE_FACTS.read_text(encoding="utf-8")))


@cache
def _classifier() -> nn.Module:
    from safetensors.torch import load_file

    model = network(len(_facts()["things"]))
    model.load_state_dict(load_file(JUDGE))  # half precision on disk; copying into the model widens it
    return model.eval()


def _array(pictures: Sequence[Image | NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """uint8 [n, 64, 64, 3]."""
    batch = np.stack([np.asarray(picture) for picture in pictures])
    if batch.shape[1:] != (SIZE, SIZE, 3) or batch.dtype != np.uint8:
        raise ValueError(f"pictures must be RGB uint8 of {SIZE} × {SIZE}, these are {batch.dtype} {batch.shape[1:]}")
    return batch


def _tensor(batch: NDArray[np.uint8]) -> Tensor:
    """float32 [n, 3, 64, 64] from -1 to 1."""
    import torch

    return torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 127.5 - 1

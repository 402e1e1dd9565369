"""Do the tensors of one layer in a LoRA file fit together, and on the layer?"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from studio.language import say

if TYPE_CHECKING:
    from torch import Tensor

LOKR = {f"lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b")}

Shape = tuple[int, ...]


def problem(written: str, tensors: Mapping[str, str], loaded: Mapping[str, "Tensor"], weight: Shape | None) -> str | None:
    """What is wrong with the tensors of one layer, as half a sentence; `weight` is the shape of the base model's layer."""
    import torch

    lokr = not LOKR.isdisjoint(loaded)
    missing = _missing_of_lokr(loaded) if lokr else next((role for role in ("down", "up") if role not in loaded), None)
    if missing:
        return say("{layer} has no {missing} weight", layer=written, missing=missing)
    expected = _expected_of_lokr(loaded, weight) if lokr else _expected(loaded, weight)
    for role, tensor in tensors.items():
        found = tuple(loaded[role].shape)
        if role not in expected:
            return say("{tensor} has no place beside the layer's other tensors", tensor=tensor)
        if role == "alpha":
            fits = loaded[role].numel() == 1
        elif role == "magnitude":  # [1, out, 1, 1] is PEFT's for convolutions; as a dora_scale it would be a length of each input
            fits = loaded[role].numel() == expected[role][0] and (found[0] == expected[role][0] or "lora_magnitude" in tensor)
        else:
            fits = len(found) > 1 and 0 not in found and _bare(found) == _bare(expected[role])
        if not fits:
            return say("{tensor} has the shape {found}, expected is {expected}", tensor=tensor, found=list(found), expected=list(expected[role]))
        if not bool(torch.isfinite(loaded[role].float()).all()):
            return say("{tensor} holds NaN or infinite numbers", tensor=tensor)
    return None


def shape_of(role: str, rank: int, weight: Shape) -> Shape:
    """The shape of down or up for a layer whose weight has the shape `weight`."""
    return (rank, *weight[1:]) if role == "down" else (weight[0], rank, *(1 for _ in weight[2:]))


def _expected(loaded: Mapping[str, "Tensor"], weight: Shape | None) -> dict[str, Shape]:
    down, up = loaded["down"], loaded["up"]
    shape = weight or (up.shape[0] if up.ndim else 0, *down.shape[1:])
    rank = len(down) if down.ndim else 0
    sides = {role: shape_of(role, rank, shape) for role in ("down", "up")}
    return {**sides, "alpha": (), "magnitude": (shape[0], *(1 for _ in shape[1:]))}


def _missing_of_lokr(loaded: Mapping[str, "Tensor"]) -> str | None:
    for name in ("lokr_w1", "lokr_w2"):
        if name not in loaded and (lost := next((role for role in (f"{name}_a", f"{name}_b") if role not in loaded), None)):
            return name if f"{name}_a" not in loaded and f"{name}_b" not in loaded else lost
    return None


def _expected_of_lokr(loaded: Mapping[str, "Tensor"], weight: Shape | None) -> dict[str, Shape]:
    """Shapes by which the Kronecker product of the two matrices has the shape of the weight; the first one is taken at its word."""
    expected: dict[str, Shape] = {"alpha": ()}
    sides: dict[str, Shape] = {}
    for name in ("lokr_w1", "lokr_w2"):
        if name in loaded:
            sides[name] = expected[name] = tuple(loaded[name].shape)
            continue
        a, b = loaded[f"{name}_a"], loaded[f"{name}_b"]
        rank = len(b) if b.ndim else 0
        sides[name] = (len(a) if a.ndim else 0, b.shape[1] if b.ndim > 1 else 0)
        expected |= {f"{name}_a": (sides[name][0], rank), f"{name}_b": (rank, sides[name][1])}
    first = sides["lokr_w1"]
    if weight and len(first) == 2 and 0 not in first:
        height, width = weight[0] // first[0], weight[1] // first[1]
        whole = (height, width, *weight[2:])
        if "lokr_w2" in loaded:
            expected["lokr_w2"] = whole
        else:
            expected["lokr_w2_a"] = (height, expected["lokr_w2_b"][0])
            expected["lokr_w2_b"] = (expected["lokr_w2_b"][0], math.prod(whole[1:]))
        if weight[0] % first[0] or weight[1] % first[1]:
            expected["lokr_w1" if "lokr_w1" in loaded else "lokr_w1_a"] = weight[:2]
    return expected


def _bare(shape: Shape) -> Shape:
    return shape if math.prod(shape[2:]) > 1 else shape[:2]

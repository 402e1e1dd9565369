"""Layers that other programs keep as one, such as query, key and value: LoRAs of the parts as a LoRA of the whole, and back.

Their outputs lie one below the other, so `up` has a block for each part. Where the parts share one `down` the rank stays; else the ranks add
up, and `up` is zero outside the blocks on its diagonal. Either way the change of the weights is the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from studio.formats.names import Place

if TYPE_CHECKING:
    from torch import Tensor

    from studio.formats.lora import LoraLayer


def join_layers(layers: Mapping[str, "LoraLayer"], place: Place) -> "LoraLayer | None":
    """One LoRA for all layers of a place, with no change for those that `layers` lacks; None: DoRA of only some of them, which needs all."""
    import torch

    found = [layers[name] for name in place.layers if name in layers]
    if len(place.layers) == 1:
        return _swapped(found[0], place)
    magnitudes = [lora.magnitude for lora in found if lora.magnitude is not None]
    if magnitudes and len(magnitudes) < len(place.layers):
        return None
    height = next(len(layers[name].up) // share for name, share in zip(place.layers, place.shares, strict=True) if name in layers)
    scale = next((lora.alpha / lora.rank for lora in found if lora.alpha), 1.0)
    ups = {name: _with_scale(layers[name], scale) for name in place.layers if name in layers}
    shared = all(torch.equal(lora.down, found[0].down) for lora in found)
    rank = found[0].rank if shared else sum(lora.rank for lora in found)
    up = found[0].up.new_zeros(height * sum(place.shares), rank)
    row = column = 0
    for name, share in zip(place.layers, place.shares, strict=True):
        if name in ups:
            width = ups[name].shape[1]
            up[row : row + len(ups[name]), column : column + width] = ups[name]
            column += 0 if shared else width
        row += height * share
    down = found[0].down if shared else torch.cat([lora.down for lora in found])
    return replace(found[0], down=down, up=up, alpha=scale * rank, magnitude=torch.cat(magnitudes) if magnitudes else None)


def part_layers(lora: "LoraLayer", place: Place, heights: tuple[int, ...] = ()) -> dict[str, "LoraLayer"]:
    """The LoRA of each layer of a place; without those that it leaves as they are. `heights` are the layers' outputs where they are known."""
    if len(place.layers) == 1:
        return {place.layers[0]: _swapped(lora, place)}
    heights = heights or tuple(len(lora.up) // sum(place.shares) * share for share in place.shares)
    magnitudes: Iterable[Tensor | None] = lora.magnitude.split_with_sizes(heights) if lora.magnitude is not None else [None] * len(heights)
    whole = lora.magnitude is not None or not lora.up.any()
    result = {}
    for name, up, magnitude in zip(place.layers, lora.up.split_with_sizes(heights), magnitudes, strict=True):
        used = up.any(0)
        if whole and not used.any():
            used = ~used
        if used.any():
            rank = int(used.sum())
            result[name] = replace(lora, down=lora.down[used], up=up[:, used], alpha=lora.alpha / lora.rank * rank, magnitude=magnitude)
    return result


def _with_scale(lora: "LoraLayer", scale: float) -> "Tensor":
    """`up` such that it does with another alpha / rank what it did with its own."""
    own = lora.alpha / lora.rank
    return lora.up if own == scale else (lora.up.float() * (own / scale)).to(lora.up.dtype)


def _swapped(lora: "LoraLayer", place: Place) -> "LoraLayer":
    """The halves of the outputs exchanged, where there are two per input: a shift and a scale, which programs keep in either order."""
    import torch

    if not place.swapped or len(lora.up) != 2 * lora.down.shape[1]:
        return lora
    up, magnitude = lora.up.roll(len(lora.up) // 2, 0), lora.magnitude
    return replace(lora, up=up, magnitude=magnitude if magnitude is None else torch.roll(magnitude, len(up) // 2))

"""A transformer's weights under the names of the original program, SD3's and FLUX.1's, as those that diffusers gives them. Nothing is copied."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from studio.formats.names import ORIGINAL, Names

if TYPE_CHECKING:
    from torch import Tensor

NORMS = (  # what names of layers don't tell: layers are what takes LoRA
    (r"double_blocks\.(\d+)\.img_attn\.norm\.([qk])\w+_norm\.scale", r"transformer_blocks.\1.attn.norm_\2.weight"),
    (r"double_blocks\.(\d+)\.txt_attn\.norm\.([qk])\w+_norm\.scale", r"transformer_blocks.\1.attn.norm_added_\2.weight"),
    (r"single_blocks\.(\d+)\.norm\.([qk])\w+_norm\.scale", r"single_transformer_blocks.\1.attn.norm_\2.weight"),
    (r"joint_blocks\.(\d+)\.x_block\.(attn2?)\.ln_([qk])\.weight", r"transformer_blocks.\1.\2.norm_\3.weight"),
    (r"joint_blocks\.(\d+)\.context_block\.attn\.ln_([qk])\.weight", r"transformer_blocks.\1.attn.norm_added_\2.weight"),
    (r"pos_embed", "pos_embed.pos_embed"),
)


def renamed(tensors: Mapping[str, "Tensor"], names: Names) -> "dict[str, Tensor]":
    """Weights by their names in diffusers. What the original keeps as one is shared out in views. Raises ValueError where that doesn't go."""
    reader, found = names.reader(), {}
    for name, tensor in tensors.items():
        if norm := _norm(name):
            found[norm] = tensor
            continue
        layer, _, kind = name.rpartition(".")
        if (place := reader(f"{ORIGINAL}{layer}")) is None:
            continue
        rows, inputs = len(tensor), tensors[f"{layer}.weight"].shape[-1]
        if place.swapped and rows == 2 * inputs:
            tensor = tensor.roll(inputs, 0)
        heights = [rows * share // sum(place.shares) for share in place.shares]
        for path, part in zip(place.layers, tensor.split_with_sizes(heights), strict=True):
            found[f"{path.partition('.')[2]}.{kind}"] = part
    return found


def _norm(name: str) -> str | None:
    for pattern, replacement in NORMS:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return None

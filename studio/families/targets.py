"""Which layers take LoRA: groups by name, or the ends of layers' names."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from studio.errors import InputError
from studio.language import say

if TYPE_CHECKING:
    from torch import nn


def chosen(model: "nn.Module", wanted: Sequence[str], groups: Mapping[str, tuple[str, ...]], inside: str) -> list[str]:
    """The linear layers and convolutions of a model that `wanted` means, by their paths: a group's own lie where `inside` is part of the path.

    Raises InputError when one of them means none.
    """
    from torch.nn import Conv2d, Linear

    layers = [name for name, layer in model.named_modules() if isinstance(layer, (Linear, Conv2d))]
    found: set[str] = set()
    for target in wanted:
        matched = [name for name in layers if ends(name, groups.get(target, (target,))) and (inside in name or target not in groups)]
        if not matched:
            raise InputError(
                say("lora_targets: no layer of this model ends in {name}.", name=target),
                say("Take attention, feed-forward or the end of a layer's name such as to_q."),
            )
        found |= set(matched)
    return [name for name in layers if name in found]


def ends(name: str, known: Sequence[str]) -> bool:
    """Whether a layer's name ends in one of the known, at a dot."""
    return any(name == end or name.endswith("." + end) for end in known)

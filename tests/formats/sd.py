"""Stable Diffusion's names, the pocket model and LoRAs of random numbers: what these tests try the files on."""

from collections.abc import Iterable
from pathlib import Path

import torch

import studio
from studio.families.sd import StableDiffusion
from studio.formats.lora import LoraLayer

POCKET = Path(studio.__file__).parent / "pocket" / "base"
NAMES = StableDiffusion.names
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
ENCODER = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def shapes(**parts: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Every linear layer and convolution → the shape of its weight."""
    return {
        f"{part}.{name}": tuple(module.weight.shape)
        for part, model in parts.items()
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))
    }


def random_layer(weight: tuple[int, ...], rank: int, alpha: float, seed: int = 0, size: float = 0.1) -> LoraLayer:
    random = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, *weight[1:], generator=random) * size
    up = torch.randn(weight[0], rank, *(1 for _ in weight[2:]), generator=random) * size
    return LoraLayer(down, up, alpha)


def delta(layer: LoraLayer) -> torch.Tensor:
    """The change of the weight, written out: for every output, the sum over the rank."""
    up = layer.up.flatten(1)
    return torch.einsum("or,r...->o...", up, layer.down) * (layer.alpha / layer.down.shape[0])


def same(left: dict[str, LoraLayer], right: dict[str, LoraLayer], layers: Iterable[str] | None = None) -> bool:
    """Whether two LoRAs are the same to the last bit."""
    return left.keys() == right.keys() and all(
        torch.equal(left[name].down, right[name].down) and torch.equal(left[name].up, right[name].up) and left[name].alpha == right[name].alpha
        for name in layers or left
    )

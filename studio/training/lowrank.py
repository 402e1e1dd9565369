"""Plain LoRA on one layer: up @ down beside a frozen weight (Hu et al. 2021), in as few operations as it takes."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.formats.lora import LoraLayer

Base = nn.Linear | nn.Conv2d


class LoraLinear(torch.autograd.Function):
    """y = x Wᵀ + b + s · (x Aᵀ) Bᵀ for a frozen W, in three matrix products forward and five backward, with nothing kept but x and x Aᵀ."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        down, up = down.to(x.dtype), up.to(x.dtype)
        hidden = flat @ down.T
        ctx.save_for_backward(flat, weight, down, up, hidden)
        ctx.scale, ctx.shape = scale, x.shape
        return F.linear(flat, weight, bias).addmm_(hidden, up.T, alpha=scale).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        flat, weight, down, up, hidden = ctx.saved_tensors
        grad = grads[0].reshape(-1, grads[0].shape[-1])
        inner = grad @ up
        to_x = (grad @ weight).addmm_(inner, down, alpha=ctx.scale).view(ctx.shape) if ctx.needs_input_grad[0] else None
        to_down, to_up = (inner.T @ flat).float(), (grad.T @ hidden).float()
        if ctx.scale != 1:
            to_down, to_up = to_down * ctx.scale, to_up * ctx.scale
        return to_x, None, None, to_down, to_up, None


class LowRank(nn.Module):
    """One LoRA on one layer: `down` [r, in(, k, k)] and `up` [out, r(, 1, 1)] in float32, acting with `scale`."""

    def __init__(self, down: Tensor, up: Tensor, scale: float) -> None:
        super().__init__()
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(up)
        self.scale = scale

    @property
    def rank(self) -> int:
        """The inner width."""
        return self.down.shape[0]

    def change(self, base: Base, x: Tensor, _: Tensor, strength: Tensor | None) -> Tensor:
        """What it adds to the output of `base` for the input `x`, each row of the batch at its `strength` [B]; None: at 1."""
        return product(base, x, self.down, self.up, self.scale, strength)

    @staticmethod
    def record(tensors: Mapping[str, Tensor], scale: float) -> LoraLayer:
        """As files hold it: alpha is scale × rank, whatever rule made the scale."""
        return LoraLayer(tensors["down"], tensors["up"], scale * len(tensors["down"]))


def product(base: Base, x: Tensor, down: Tensor, up: Tensor, scale: float, strength: Tensor | None = None) -> Tensor:
    """scale · strength · up(down(x)), at the places where `base` looks."""
    down, up = down.to(x.dtype), up.to(x.dtype)
    if isinstance(base, nn.Conv2d):
        return F.conv2d(scaled(F.conv2d(x, down, None, base.stride, base.padding, base.dilation) * scale, strength), up)
    return F.linear(scaled(F.linear(x, down) * scale, strength), up)


def scaled(values: Tensor, strength: Tensor | None) -> Tensor:
    """`values` [B, …] times `strength` [B]; None: as they are."""
    return values if strength is None else values * strength.to(values.dtype).view(-1, *[1] * (values.dim() - 1))


def fresh(shape: torch.Size, rank: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """`down` as Kaiming has it (a = √5) and an empty `up` for a weight of `shape`."""
    down = torch.empty(rank, *shape[1:]).uniform_(-1, 1, generator=rng) / math.sqrt(math.prod(shape[1:]))
    return down, torch.zeros(shape[0], rank, *[1] * (len(shape) - 2))

"""DoRA on one layer: every row of the changed weight is brought to a length that is trained apart (Liu et al. 2024)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from studio.families.quantised import shape_of, weight_of
from studio.formats.lora import LoraLayer
from studio.training.lowrank import Base, product, scaled

SHORTEST = 1e-12


class Dora(nn.Module):
    """W' = m · V / ‖V‖ with V = W + scale · up @ down, ‖·‖ and m per row: an output, a convolution's output channel.

    ‖V‖ counts as a constant in the backward pass (§4.3 of the paper). m is `start` + `shift`, so that weight decay pulls to where training
    began and not to zero; `start` is ‖W‖ when none is given, which changes nothing yet.
    """

    start: Tensor
    energy: Tensor

    def __init__(self, weight: Tensor, down: Tensor, up: Tensor, scale: float, start: Tensor | None = None) -> None:
        super().__init__()
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(up)
        self.shift = nn.Parameter(torch.zeros(len(weight), device=weight.device))
        self.scale = scale
        self.register_buffer("energy", weight.detach().float().flatten(1).square().sum(1), persistent=False)
        self.register_buffer("start", self.energy.sqrt() if start is None else start)
        self.known: Tensor | None = None

    @property
    def rank(self) -> int:
        """The inner width."""
        return self.down.shape[0]

    def change(self, base: Base, x: Tensor, plain: Tensor, strength: Tensor | None) -> Tensor:
        """What it adds to `plain`, the output of `base`, for the input `x` at `strength` [B]; None: at 1.

        At 0 that is nothing: the outputs are blended, because the weights at strength 0 would keep their new lengths.
        """
        gain = self.gain(base)
        excess = (gain - 1).to(x.dtype).view(-1, *[1] * (len(shape_of(base)) - 2))
        bias = torch.zeros_like(excess) if base.bias is None else base.bias.view_as(excess) * -excess
        longer = torch.addcmul(bias, plain, excess)
        turned = product(base, x, self.down, self.up * gain.view(-1, *[1] * (self.up.dim() - 1)), self.scale)
        return scaled(longer + turned, strength)

    def gain(self, base: Base) -> Tensor:
        """m / ‖V‖ of each row. Computed once where nothing is trained: a base model in fewer bits is unpacked for it."""
        if self.known is not None:
            return self.known
        gain = (self.start + self.shift) / self.lengths(weight_of(base))
        if not self.down.requires_grad:
            self.known = gain
        return gain

    @torch.no_grad()
    def lengths(self, weight: Tensor) -> Tensor:
        """‖V‖ of each row, from products that are as small as the rank; V itself is never built."""
        rows, columns = self.up.flatten(1), self.down.flatten(1)
        across = (weight.flatten(1) @ columns.T.to(weight.dtype)).float()
        inside = rows @ (columns @ columns.T)
        squares = self.energy + (rows * (2 * self.scale * across + self.scale**2 * inside)).sum(1)
        return squares.clamp(min=0).sqrt().clamp(min=SHORTEST)

    @staticmethod
    def record(tensors: Mapping[str, Tensor], scale: float) -> LoraLayer:
        """As files hold it, with the lengths themselves."""
        return LoraLayer(tensors["down"], tensors["up"], scale * len(tensors["down"]), tensors["start"] + tensors["shift"])

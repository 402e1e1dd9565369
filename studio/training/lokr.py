"""LoKr on one layer: the Kronecker product of a small matrix and a larger one beside a frozen weight (Yeh et al. 2024)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.formats.lora import LokrLayer
from studio.training.lowrank import Base, scaled


class Lokr(nn.Module):
    """scale · w1 ⊗ w2 with `w1` [a, b] and `w2` [out / a, in / b(, k, k)], in float32.

    With `w2_b` [rank, in / b · k · k] the second matrix is `w2` @ `w2_b`, `w2` being [out / a, rank].
    """

    w2_b: nn.Parameter | None

    def __init__(self, w1: Tensor, w2: Tensor, w2_b: Tensor | None, scale: float) -> None:
        super().__init__()
        self.w1 = nn.Parameter(w1)
        self.w2 = nn.Parameter(w2)
        self.register_parameter("w2_b", None if w2_b is None else nn.Parameter(w2_b))
        self.scale = scale

    @property
    def rank(self) -> int:
        """The inner width of the second matrix, or its full rank."""
        return self.w2.shape[1] if self.w2_b is not None else min(self.w2.flatten(1).shape)

    def change(self, base: Base, x: Tensor, _: Tensor, strength: Tensor | None) -> Tensor:
        """What it adds to the output of `base` for the input `x`, each row of the batch at its `strength` [B]; None: at 1."""
        w1, w2 = (self.w1 * self.scale).to(x.dtype), self.w2.to(x.dtype)
        if isinstance(base, nn.Conv2d):
            return scaled(self._convolved(base, x, w1, w2), strength)
        inner = x.reshape(*x.shape[:-1], w1.shape[1], -1)
        inner = F.linear(inner if self.w2_b is None else F.linear(inner, self.w2_b.to(x.dtype)), w2)
        return scaled((w1 @ inner).flatten(-2), strength)

    def _convolved(self, base: nn.Conv2d, x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
        inner = x.reshape(-1, x.shape[1] // w1.shape[1], *x.shape[2:])  # every part of the channels as a picture of its own
        first = w2 if self.w2_b is None else self.w2_b.to(x.dtype).view(len(self.w2_b), inner.shape[1], *base.weight.shape[2:])
        inner = F.conv2d(inner, first, None, base.stride, base.padding, base.dilation)
        if self.w2_b is not None:
            inner = F.conv2d(inner, w2[:, :, None, None])
        parts = inner.reshape(len(x), w1.shape[1], -1)
        return (w1 @ parts).view(len(x), -1, *inner.shape[2:])

    @staticmethod
    def record(tensors: Mapping[str, Tensor], scale: float) -> LokrLayer:
        """As files hold it: alpha is scale × rank, or in `w1` where programs don't look at alpha."""
        if "w2_b" in tensors:
            return LokrLayer(tensors["w1"], tensors["w2"], scale * tensors["w2"].shape[1], tensors["w2_b"])
        return LokrLayer(tensors["w1"] * scale, tensors["w2"], 1.0)


def fresh(shape: torch.Size, rank: int, factor: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
    """`w1`, `w2` and `w2_b` for a weight of `shape`, which change nothing yet. `w2_b` only where it makes the adapter smaller."""
    a, b = (parts(size, factor) for size in shape[:2])
    rows, columns, kernel = shape[0] // a, shape[1] // b, math.prod(shape[2:])
    w1 = torch.empty(a, b).uniform_(-1, 1, generator=rng) / math.sqrt(b)
    if rank * (rows + columns * kernel) >= rows * columns * kernel:
        return w1, torch.zeros(rows, columns, *shape[2:]), None
    return w1, torch.empty(rows, rank).uniform_(-1, 1, generator=rng) / math.sqrt(rank), torch.zeros(rank, columns * kernel)


def parts(size: int, factor: int) -> int:
    """Into how many parts a side of a weight is split: the largest divisor that isn't above `factor` or the square root."""
    return max(number for number in range(1, min(factor, math.isqrt(size)) + 1) if size % number == 0)


def kron(w1: Tensor, w2: Tensor, w2_b: Tensor | None, shape: torch.Size) -> Tensor:
    """w1 ⊗ w2 as a weight of `shape`."""
    second = (w2 if w2_b is None else w2 @ w2_b).flatten(1)
    return torch.kron(w1, second).view(shape)


def nearest(matrix: Tensor, w1: tuple[int, int]) -> tuple[Tensor, Tensor, float]:
    """The Kronecker product with a first factor of the size `w1` that comes closest to a weight (Van Loan & Pitsianis 1993).

    Returns w1, w2 [out / a, in / b · k · k] and the share of the weight's energy that they have.
    """
    a, b = w1
    blocks = matrix.reshape(a, len(matrix) // a, b, -1).transpose(1, 2)  # [a, b, out / a, in / b · k · k]
    u, s, v = torch.linalg.svd(blocks.flatten(2).flatten(0, 1), full_matrices=False)
    root = s[0].sqrt()
    share = float(s[0].square() / s.square().sum().clamp(min=1e-30))
    return (u[:, 0] * root).view(a, b), (v[0] * root).view(blocks.shape[2:]), share

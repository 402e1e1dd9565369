"""Layers of lower rank: the nearest that there is to a change (Eckart and Young 1936), and how much of it that keeps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.formats.lora import LoraLayer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SPARE = 8  # directions beyond the wanted ones that a search carries along
ROUNDS = 4
WHOLE = 128  # matrices with a side up to this are taken apart exactly


@dataclass(frozen=True)
class Nearest:
    """A layer, and the energy of the change that it keeps: ‖kept‖² of ‖all‖²."""

    layer: LoraLayer
    kept: float
    all: float


def nearest(layer: LoraLayer, rank: int | None = None, keep: float = 1.0) -> Nearest:
    """The layer with at most `rank` directions, and no more than `keep` of its energy (0 … 1) needs. Where that is all of them: untouched."""
    import torch

    down, up = layer.down.double().flatten(1), layer.up.double().flatten(1) * (layer.alpha / layer.rank)
    left, left_triangle = torch.linalg.qr(up)
    right, right_triangle = torch.linalg.qr(down.T)
    u, s, v = torch.linalg.svd(left_triangle @ right_triangle.T)
    energy = s.square()
    whole = float(energy.sum())
    most = min(rank or layer.rank, len(s))
    if keep < 1 and whole:
        most = min(most, int((energy.cumsum(0) < keep * whole).sum()) + 1)
    if most >= layer.rank:
        return Nearest(layer, whole, whole)
    return Nearest(
        _layer(left @ u[:, :most], s[:most], v[:most] @ right.T, layer.up.shape[0], tuple(layer.down.shape[1:]), layer.down.dtype),
        float(energy[:most].sum()),
        whole,
    )


def of_change(change: "Tensor", rank: int, dtype: "torch.dtype", seed: int = 0) -> Nearest:
    """The nearest layer of `rank` to a change of a weight, [out, in(, height, width)].

    Large matrices are searched by subspace iteration (Halko et al. 2011) instead of taken apart: the first directions are all that is wanted.
    """
    import torch

    matrix = change.flatten(1).float()
    whole = float(matrix.double().square().sum())
    most = min(rank, *matrix.shape)
    if min(matrix.shape) <= max(WHOLE, rank + SPARE):
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    else:
        random = torch.randn(matrix.shape[1], most + SPARE, generator=torch.Generator().manual_seed(seed)).to(matrix.device)
        basis = torch.linalg.qr(matrix @ random).Q
        for _ in range(ROUNDS):
            basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis).Q).Q
        u, s, v = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
        u = basis @ u
    layer = _layer(u[:, :most], s[:most], v[:most], change.shape[0], tuple(change.shape[1:]), dtype)
    return Nearest(layer, min(whole, float(s[:most].double().square().sum())), whole)


def _layer(u: "Tensor", s: "Tensor", v: "Tensor", outputs: int, inputs: tuple[int, ...], dtype: "torch.dtype") -> LoraLayer:
    """The layer whose change is u · diag(s) · v, at strength 1, with the sizes shared evenly by its two matrices."""
    root, rank = s.sqrt(), len(s)
    down, up = root[:, None] * v, u * root
    window = inputs[1:]
    return LoraLayer(
        down.reshape(rank, *inputs).to(dtype).contiguous(), up.reshape(outputs, rank, *(1 for _ in window)).to(dtype).contiguous(), float(rank)
    )

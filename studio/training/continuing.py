"""Where a run begins that continues a LoRA file: one of another rank, another alpha or another kind."""

from collections.abc import Mapping

import torch
from torch import Tensor

from studio.formats.lora import LoraLayer
from studio.language import say
from studio.training.dora import Dora
from studio.training.lora import Adapter, Lora
from studio.training.lowrank import LowRank

KINDS = {LowRank: "LoRA", Dora: "DoRA"}


def continue_from(lora: Lora, layers: Mapping[str, LoraLayer]) -> None:
    """Start from what a LoRA file says, of whatever rank, alpha and kind.

    A lower rank is kept exactly, the rest of the new one begins empty. A higher rank, and what the other kind can't express, keeps its largest
    singular values. `lora.notes` says what was lost or left out.
    """
    adapters = dict(lora.adapters())
    known = {name: layers[name] for name in adapters if name in layers}
    kept = [_begin(adapters[name], found, lora.layers[name].weight.detach().float()) for name, found in known.items()]
    lost = [share for share in kept if share is not None]
    share = f"{sum(lost) / max(1, len(lost)):.1%}"
    before, now = sorted({_kind(found) for found in known.values()}), sorted({KINDS[type(adapter)] for adapter in adapters.values()})
    if lost and before == now:
        lora.notes.append(say("init_lora has a higher rank than lora_rank: {share} of it is kept.", share=share))
    elif lost:
        names = {"found": " + ".join(before), "kind": " + ".join(now)}
        lora.notes.append(say("init_lora is a {found}, this run trains a {kind}: {share} of it is kept.", **names, share=share))
    if left := len(set(layers) - set(adapters)):
        lora.notes.append(say("init_lora: {count} of its layers are not trained in this run and are left out.", count=left))
    if fresh := len(set(adapters) - set(layers)):
        lora.notes.append(say("init_lora: {count} layers that it doesn't have begin empty.", count=fresh))


def _kind(found: LoraLayer) -> str:
    return "LoRA" if found.magnitude is None else "DoRA"


def change(found: LoraLayer, weight: Tensor) -> Tensor:
    """What a file's layer makes of the base model's `weight` [out, in(, k, k)], less the weight itself."""
    added = (found.up.flatten(1) @ found.down.flatten(1)).to(weight).view_as(weight) * (found.alpha / found.rank)
    if found.magnitude is None:
        return added
    turned = (weight + added).flatten(1)
    gain: Tensor = found.magnitude.to(weight).flatten() / turned.norm(dim=1)
    return (turned * gain[:, None]).view_as(weight) - weight


@torch.no_grad()
def _begin(adapter: Adapter, found: LoraLayer, weight: Tensor) -> float | None:
    """Put `found` into `adapter`, on a layer with `weight` in float32. The share of its energy that is kept where that isn't all of it."""
    share = None
    if isinstance(adapter, Dora) or found.magnitude is None:
        down, up = found.down.to(weight).flatten(1), found.up.to(weight).flatten(1) * (found.alpha / found.rank / adapter.scale)
        if len(down) > adapter.rank:
            down, up, share = _product_of_rank(down, up, adapter.rank)
    else:
        down, up, share = _of_rank(change(found, weight).flatten(1) / adapter.scale, adapter.rank)
    adapter.down[: len(down)] = down.view(-1, *adapter.down.shape[1:])
    adapter.up.zero_()
    adapter.up[:, : len(down)] = up.view(len(up), -1, *adapter.up.shape[2:])
    if isinstance(adapter, Dora):
        lengths = (weight + change(found, weight)).flatten(1).norm(dim=1) if found.magnitude is None else found.magnitude
        adapter.start.copy_(lengths.flatten())
    return share


def _product_of_rank(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The best approximation of up @ down with a lower rank, and the share of its energy that is kept."""
    left, left_triangle = torch.linalg.qr(up)
    right, right_triangle = torch.linalg.qr(down.T)
    inner_down, inner_up, share = _of_rank(left_triangle @ right_triangle.T, rank)
    return inner_down @ right.T, left @ inner_up, share


def _of_rank(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """down and up whose product comes closest to `matrix` with at most that rank, and the share of its energy that they have."""
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    share = float(s[:rank].square().sum() / s.square().sum().clamp(min=1e-30))
    return root[:, None] * v[:rank], u[:, :rank] * root, share

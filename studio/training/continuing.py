"""Where a run begins that continues a LoRA file: one of another rank, another alpha or another kind."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from studio.families.quantised import weight_of
from studio.formats.lora import Layer, LokrLayer
from studio.language import say
from studio.training import lokr
from studio.training.dora import Dora
from studio.training.lokr import Lokr
from studio.training.lora import Adapter, Lora
from studio.training.lowrank import LowRank

KINDS = {LowRank: "LoRA", Dora: "DoRA", Lokr: "LoKr"}
BESIDE = 16  # directions that are followed beside those that are kept
Loss: TypeAlias = tuple[Literal["rank", "split", "kind"], float]


def continue_from(lora: Lora, layers: Mapping[str, Layer]) -> None:
    """Start from what a LoRA file says, of whatever rank, alpha and kind.

    A lower rank is kept exactly, the rest of the new one begins empty. Of a higher rank, and of what this run's kind of adapter can't express,
    the nearest there is. `lora.notes` says what was lost or left out.
    """
    adapters = dict(lora.adapters())
    known = {name: layers[name] for name in adapters if name in layers}
    losses = [_begin(adapters[name], found, weight_of(lora.layers[name].base).detach().float()) for name, found in known.items()]
    words = {
        "found": " + ".join(sorted({_kind(found) for found in known.values()})),
        "kind": " + ".join(sorted({KINDS[type(adapter)] for adapter in adapters.values()})),
    }
    for reason in ("kind", "split", "rank"):
        if shares := [loss[1] for loss in losses if loss is not None and loss[0] == reason]:
            lora.notes.append(_sentence(reason, f"{sum(shares) / len(shares):.1%}", words))
    if left := len(set(layers) - set(adapters)):
        lora.notes.append(say("init_lora: {count} of its layers are not trained in this run and are left out.", count=left))
    if fresh := len(set(adapters) - set(layers)):
        lora.notes.append(say("init_lora: {count} layers that it doesn't have begin empty.", count=fresh))


def change(found: Layer, weight: Tensor) -> Tensor:
    """What a file's layer makes of the base model's `weight` [out, in(, k, k)], less the weight itself."""
    if isinstance(found, LokrLayer):
        w2_b = None if found.w2_b is None else found.w2_b.to(weight)
        return lokr.kron(found.w1.to(weight), found.w2.to(weight), w2_b, weight.shape) * _strength(found)
    added = (found.up.flatten(1) @ found.down.flatten(1)).to(weight).view_as(weight) * (found.alpha / found.rank)
    if found.magnitude is None:
        return added
    turned = (weight + added).flatten(1)
    gain: Tensor = found.magnitude.to(weight).flatten() / turned.norm(dim=1)
    return (turned * gain[:, None]).view_as(weight) - weight


def _strength(found: LokrLayer) -> float:
    return 1.0 if found.w2_b is None else found.alpha / found.w2.shape[1]


def _kind(found: Layer) -> str:
    return "LoKr" if isinstance(found, LokrLayer) else "LoRA" if found.magnitude is None else "DoRA"


def _sentence(reason: str, share: str, words: Mapping[str, str]) -> str:
    match reason:
        case "kind":
            return say("init_lora is a {found}, this run trains a {kind}: {share} of it is kept.", **words, share=share)
        case "split":
            return say("init_lora splits its layers by another lokr_factor: {share} of it is kept.", share=share)
        case _:
            return say("init_lora has a higher rank than lora_rank: {share} of it is kept.", share=share)


@torch.no_grad()
def _begin(adapter: Adapter, found: Layer, weight: Tensor) -> Loss | None:
    """Put `found` into `adapter`, on a layer with `weight` in float32. Where that can't be all of it: why, and the share of its energy."""
    if isinstance(adapter, Lokr):
        return _begin_lokr(adapter, found, weight)
    loss: Loss | None = None
    if isinstance(found, LokrLayer) or (found.magnitude is not None and isinstance(adapter, LowRank)):
        down, up, share = _of_rank(change(found, weight).flatten(1) / adapter.scale, adapter.rank)
        loss = ("kind", share)
    else:
        down, up = found.down.to(weight).flatten(1), found.up.to(weight).flatten(1) * (found.alpha / found.rank / adapter.scale)
        if len(down) > adapter.rank:
            down, up, share = _product_of_rank(down, up, adapter.rank)
            loss = ("rank", share)
    adapter.down[: len(down)] = down.view(-1, *adapter.down.shape[1:])
    adapter.up.zero_()
    adapter.up[:, : len(down)] = up.view(len(up), -1, *adapter.up.shape[2:])
    if isinstance(adapter, Dora):
        stored = None if isinstance(found, LokrLayer) else found.magnitude
        adapter.start.copy_((weight + change(found, weight)).flatten(1).norm(dim=1) if stored is None else stored.flatten())
    return loss


def _begin_lokr(adapter: Lokr, found: Layer, weight: Tensor) -> Loss | None:
    loss: Loss | None = None
    if isinstance(found, LokrLayer) and found.w1.shape == adapter.w1.shape:
        w1, w2 = found.w1.to(weight) * (_strength(found) / adapter.scale), found.w2.to(weight).flatten(1)
        w2_b = None if found.w2_b is None else found.w2_b.to(weight)
    else:
        w1, w2, share = lokr.nearest(change(found, weight) / adapter.scale, (len(adapter.w1), adapter.w1.shape[1]))
        w2_b, loss = None, ("split" if isinstance(found, LokrLayer) else "kind", share)
    adapter.w1.copy_(w1)
    if adapter.w2_b is None:
        adapter.w2.copy_((w2 if w2_b is None else w2 @ w2_b).view_as(adapter.w2))
        return loss
    if w2_b is None or len(w2_b) > adapter.rank:
        w2_b, w2, share = _of_rank(w2 if w2_b is None else w2 @ w2_b, adapter.rank)
        loss = (loss[0], loss[1] * share) if loss else ("rank", share)
    adapter.w2[:, : len(w2_b)] = w2
    adapter.w2_b.zero_()
    adapter.w2_b[: len(w2_b)] = w2_b
    return loss


def _product_of_rank(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The best approximation of up @ down with a lower rank, and the share of its energy that is kept."""
    left, left_triangle = torch.linalg.qr(up)
    right, right_triangle = torch.linalg.qr(down.T)
    inner_down, inner_up, share = _of_rank(left_triangle @ right_triangle.T, rank)
    return inner_down @ right.T, left @ inner_up, share


def _of_rank(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """down and up whose product comes closest to `matrix` with at most that rank, and the share of its energy that they have.

    Of large matrices only so much is decomposed, from random directions (Halko et al. 2011): a whole base model takes seconds instead of minutes.
    """
    width = rank + BESIDE
    if min(matrix.shape) > 4 * width:
        with torch.random.fork_rng([matrix.device] if matrix.device.type == "cuda" else []):
            torch.manual_seed(0)
            u, s, v = torch.svd_lowrank(matrix, width, niter=4)
        v = v.T
    else:
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    share = float(s[:rank].square().sum() / matrix.square().sum().clamp(min=1e-30))
    return root[:, None] * v[:rank], u[:, :rank] * root, share

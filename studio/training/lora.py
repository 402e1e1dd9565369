"""LoRA on the layers of a model: attached, trained, blended by strength, and taken out as plain tensors (Hu et al. 2021)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.config import Config
from studio.families.base import Bundle
from studio.formats.lora import LoraLayer
from studio.language import say


class _LoraLinear(torch.autograd.Function):
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


class Adapter(nn.Module):
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


class AdaptedLayer(nn.Module):
    """A frozen linear or convolutional layer with the adapters on it. `blend` gives each row of a batch its strengths."""

    base: nn.Linear | nn.Conv2d
    adapters: nn.ModuleDict

    def __init__(self, base: nn.Linear | nn.Conv2d, blend: "Blend", dropout: float) -> None:
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict()
        self.blend = blend
        self.dropout = dropout

    @property
    def weight(self) -> Tensor:
        """The base layer's weight: some models look at its type."""
        return self.base.weight

    def slots(self) -> list[tuple[str, Adapter]]:
        """The adapters by their place in `Prompt.strengths`."""
        return [(slot, adapter) for slot, adapter in self.adapters.items() if isinstance(adapter, Adapter)]

    def forward(self, x: Tensor) -> Tensor:
        strengths = self.blend.strengths
        dropping = self.dropout > 0 and self.training
        if strengths is None and not dropping and isinstance(self.base, nn.Linear) and len(self.adapters) == 1:
            adapter = self.slots()[0][1]
            result: Tensor = _LoraLinear.apply(x, self.base.weight, self.base.bias, adapter.down, adapter.up, adapter.scale)  # type: ignore[no-untyped-call]
            return result
        y: Tensor = self.base(x)
        inside = F.dropout(x, self.dropout) if dropping else x
        for slot, adapter in self.slots():
            hidden = self._down(inside, adapter.down.to(x.dtype)) * adapter.scale
            if strengths is not None:
                column = strengths[:, int(slot)].to(x.dtype)
                hidden = hidden * column.view(-1, *[1] * (hidden.dim() - 1))
            y = y + self._up(hidden, adapter.up.to(x.dtype))
        return y

    def _down(self, x: Tensor, weight: Tensor) -> Tensor:
        if isinstance(self.base, nn.Conv2d):
            return F.conv2d(x, weight, None, self.base.stride, self.base.padding, self.base.dilation)
        return F.linear(x, weight)

    def _up(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(hidden, weight) if isinstance(self.base, nn.Conv2d) else F.linear(hidden, weight)


@dataclass
class Blend:
    """How strong each adapter is for each row of the batch, [B, adapters]; None: all at 1."""

    device: torch.device
    strengths: Tensor | None = None

    def __call__(self, strengths: Sequence[tuple[float, ...]]) -> None:
        self.strengths = torch.tensor(strengths, device=self.device) if strengths and strengths[0] else None


@dataclass
class Lora:
    """All adapters of one slot of a bundle, by layer name (`unet.….to_q`), and the switch between training and drawing."""

    layers: dict[str, AdaptedLayer]
    slot: str
    notes: list[str] = field(default_factory=list)

    def adapters(self) -> Iterator[tuple[str, Adapter]]:
        """(layer name, adapter), in a fixed order."""
        for name, layer in self.layers.items():
            yield from ((name, adapter) for slot, adapter in layer.slots() if slot == self.slot)

    def train(self, training: bool) -> None:
        """Dropout on or off."""
        for layer in self.layers.values():
            layer.training = training

    def state(self) -> dict[str, Tensor]:
        """`layer.down` and `layer.up` → tensors, as checkpoints keep them."""
        return {f"{name}.{key}": getattr(adapter, key).detach() for name, adapter in self.adapters() for key in ("down", "up")}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put what `state` gave back in. Raises KeyError when a tensor is missing."""
        with torch.no_grad():
            for name, adapter in self.adapters():
                adapter.down.copy_(state[f"{name}.down"])
                adapter.up.copy_(state[f"{name}.up"])

    def export(self) -> dict[str, LoraLayer]:
        """The layers as files hold them, on the CPU: alpha is scale × rank, whatever rule made the scale."""
        return {
            name: LoraLayer(adapter.down.detach().cpu(), adapter.up.detach().cpu(), adapter.scale * adapter.rank) for name, adapter in self.adapters()
        }


def attach(bundle: Bundle, targets: Sequence[str], config: Config) -> Lora:
    """Fresh adapters on `targets`, which change nothing yet. Convolutions larger than 1 × 1 take `conv_rank` with the same strength."""
    lora = Lora({}, "0")
    blend = Blend(bundle.device)
    scale = scale_of(config)
    for number, name in enumerate(targets):
        layer = _wrap(bundle, name, blend, config.lora_dropout)
        shape = layer.weight.shape
        inner = config.conv_rank if len(shape) == 4 and shape[2] > 1 else config.lora_rank
        rng = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        down = torch.empty(inner, *shape[1:]).uniform_(-1, 1, generator=rng) / math.sqrt(math.prod(shape[1:]))  # Kaiming, a = √5
        up = torch.zeros(shape[0], inner, *[1] * (len(shape) - 2))
        layer.adapters["0"] = Adapter(down.to(bundle.device), up.to(bundle.device), scale)
        lora.layers[name] = layer
    bundle.blend = blend
    return lora


def scale_of(config: Config) -> float:
    """What up @ down is multiplied by: alpha / rank, or alpha / √rank with rsLoRA (Kalajdzievski 2023)."""
    return config.alpha / (math.sqrt(config.lora_rank) if config.use_rslora else config.lora_rank)


def attach_files(bundle: Bundle, files: Sequence[Mapping[str, LoraLayer]]) -> None:
    """The LoRA of several files on one bundle, for drawing: the n-th file's strength is the n-th of `Prompt.strengths`."""
    blend = Blend(bundle.device)
    for slot, layers in enumerate(files):
        for name, found in layers.items():
            layer = _wrap(bundle, name, blend, 0.0)
            scale = found.alpha / found.down.shape[0]
            layer.adapters[str(slot)] = Adapter(found.down.float().to(bundle.device), found.up.float().to(bundle.device), scale).requires_grad_(False)
    bundle.blend = blend


def continue_from(lora: Lora, layers: Mapping[str, LoraLayer]) -> None:
    """Start from what a LoRA file says, of whatever rank and alpha.

    A lower rank is kept exactly, the rest of the new one begins empty; a higher rank keeps its largest singular values. `lora.notes` says what
    was lost or left out.
    """
    adapters = dict(lora.adapters())
    kept: list[float] = []
    for name, adapter in adapters.items():
        if name not in layers:
            continue
        found = layers[name]
        down, up = found.down.float().flatten(1), found.up.float().flatten(1) * (found.alpha / found.down.shape[0] / adapter.scale)
        if down.shape[0] > adapter.rank:
            down, up, share = _smaller(down, up, adapter.rank)
            kept.append(share)
        with torch.no_grad():
            adapter.down[: down.shape[0]] = down.view(-1, *adapter.down.shape[1:])
            adapter.up.zero_()
            adapter.up[:, : up.shape[1]] = up.view(up.shape[0], -1, *adapter.up.shape[2:])
    if kept:
        share_kept = f"{sum(kept) / len(kept):.1%}"
        lora.notes.append(say("init_lora has a higher rank than lora_rank: {share} of it is kept.", share=share_kept))
    if left := len(set(layers) - set(adapters)):
        lora.notes.append(say("init_lora: {count} of its layers are not trained in this run and are left out.", count=left))
    if fresh := len(set(adapters) - set(layers)):
        lora.notes.append(say("init_lora: {count} layers that it doesn't have begin empty.", count=fresh))


def weights(bundle: Bundle) -> dict[str, tuple[int, ...]]:
    """Every linear and convolutional layer of the trainable parts and the shape of its weight: what a LoRA file has to fit."""
    return {
        f"{part}.{name.removesuffix('.base')}": tuple(layer.weight.shape)
        for part in bundle.trainable
        for name, layer in bundle[part].named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
    }


def _smaller(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The best approximation of up @ down with a lower rank, and the share of its energy that is kept."""
    left, left_triangle = torch.linalg.qr(up)
    right, right_triangle = torch.linalg.qr(down.T)
    u, s, v = torch.linalg.svd(left_triangle @ right_triangle.T)
    root = s[:rank].sqrt()
    share = float(s[:rank].square().sum() / s.square().sum().clamp(min=1e-30))
    return root[:, None] * (v[:rank] @ right.T), (left @ u[:, :rank]) * root, share


def _wrap(bundle: Bundle, name: str, blend: Blend, dropout: float) -> AdaptedLayer:
    part, _, path = name.partition(".")
    before, _, last = path.rpartition(".")
    parent = bundle[part].get_submodule(before)
    layer = getattr(parent, last)
    if isinstance(layer, AdaptedLayer):
        return layer
    wrapped = AdaptedLayer(layer, blend, dropout)
    wrapped.train(layer.training)
    setattr(parent, last, wrapped)
    return wrapped

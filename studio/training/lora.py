"""The adapters on the layers of a model: attached, trained, blended by strength, and taken out as plain tensors."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.config import Config
from studio.errors import InputError
from studio.families.base import Bundle
from studio.families.quantised import shape_of, weight_of
from studio.formats.lora import Layer, LokrLayer
from studio.language import say
from studio.training import lokr
from studio.training.dora import Dora
from studio.training.lokr import Lokr
from studio.training.lowrank import Base, LoraLinear, LowRank, fresh

Adapter: TypeAlias = LowRank | Dora | Lokr


class AdaptedLayer(nn.Module):
    """A frozen linear or convolutional layer with the adapters on it. `blend` gives each row of a batch its strengths."""

    base: Base
    adapters: nn.ModuleDict

    def __init__(self, base: Base, blend: "Blend", dropout: float) -> None:
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
        return [(slot, cast(Adapter, adapter)) for slot, adapter in self.adapters.items()]

    def forward(self, x: Tensor) -> Tensor:
        strengths = self.blend.strengths
        dropping = self.dropout > 0 and self.training
        slots = self.slots()
        if strengths is None and not dropping and type(self.base) is nn.Linear and len(slots) == 1 and isinstance(lora := slots[0][1], LowRank):
            result: Tensor = LoraLinear.apply(x, self.base.weight, self.base.bias, lora.down, lora.up, lora.scale)  # type: ignore[no-untyped-call]
            return result
        plain: Tensor = self.base(x)
        inside, y = F.dropout(x, self.dropout) if dropping else x, plain
        for slot, adapter in slots:
            y = y + adapter.change(self.base, inside, plain, None if strengths is None else strengths[:, int(slot)])
        return y


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
    scale: float
    notes: list[str] = field(default_factory=list)

    def adapters(self) -> Iterator[tuple[str, Adapter]]:
        """(layer name, adapter), in a fixed order."""
        for name, layer in self.layers.items():
            yield from ((name, adapter) for slot, adapter in layer.slots() if slot == self.slot)

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, as `layer.down`, `layer.up` …, in a fixed order."""
        return {f"{name}.{key}": parameter for name, adapter in self.adapters() for key, parameter in adapter.named_parameters()}

    def train(self, training: bool) -> None:
        """Dropout on or off."""
        for layer in self.layers.values():
            layer.training = training

    def state(self) -> dict[str, Tensor]:
        """`layer.down`, `layer.up` … → tensors, as checkpoints keep them."""
        return {f"{name}.{key}": tensor for name, adapter in self.adapters() for key, tensor in adapter.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put what `state` gave back in. Raises KeyError when a tensor is missing."""
        with torch.no_grad():
            for name, tensor in self.state().items():
                tensor.copy_(state[name])

    def export(self) -> dict[str, Layer]:
        """The layers as files hold them, on the CPU."""
        return records(self.state(), self.scale)


def records(state: Mapping[str, Tensor], scale: float) -> dict[str, Layer]:
    """The layers as files hold them, on the CPU, from what `Lora.state` gave."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        layer, _, key = name.rpartition(".")
        layers.setdefault(layer, {})[key] = tensor.detach().cpu()
    return {layer: (Lokr if "w1" in tensors else Dora if "shift" in tensors else LowRank).record(tensors, scale) for layer, tensors in layers.items()}


def attach(bundle: Bundle, targets: Sequence[str], config: Config) -> Lora:
    """Fresh adapters on `targets`, which change nothing yet. Raises InputError when a pattern of `rank_pattern` means none of them."""
    lora, blend = Lora({}, "0", scale_of(config)), Blend(bundle.device)
    lora.layers = {name: _wrap(bundle, name, blend, config.lora_dropout) for name in targets}
    ranks = ranks_of(config, {name: shape_of(layer.base) for name, layer in lora.layers.items()})
    for number, (name, layer) in enumerate(lora.layers.items()):
        rng = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        layer.adapters["0"] = _fresh(config, weight_of(layer.base), ranks[name], rng)
    bundle.blend = blend
    return lora


def scale_of(config: Config) -> float:
    """What up @ down is multiplied by: alpha / rank, or alpha / √rank with rsLoRA (Kalajdzievski 2023). The same for layers of other ranks."""
    return config.alpha / (math.sqrt(config.lora_rank) if config.use_rslora else config.lora_rank)


def ranks_of(config: Config, shapes: Mapping[str, torch.Size]) -> dict[str, int]:
    """Layer → rank: by the last pattern of `rank_pattern` that means it, else `conv_rank` for convolutions larger than 1 × 1, else `lora_rank`."""
    for pattern in config.rank_pattern:
        if not any(means(pattern, name) for name in shapes):
            raise InputError(
                say("rank_pattern: {pattern} is in the name of no layer that is trained.", pattern=pattern),
                say("Layers are called {first}, for example.", first=next(iter(shapes), "–")),
            )

    def rank(name: str, shape: torch.Size) -> int:
        usual = (len(shape) == 4 and shape[2] > 1 and config.conv_rank) or config.lora_rank
        return next((found for pattern, found in reversed(config.rank_pattern.items()) if means(pattern, name)), usual)

    return {name: rank(name, shape) for name, shape in shapes.items()}


def means(pattern: str, name: str) -> bool:
    """Whether the words of `pattern`, in which * and ? stand for anything, are in a layer's name, one after the other."""
    return fnmatchcase(f".{name}.", f"*.{pattern}.*")


def attach_files(bundle: Bundle, files: Sequence[Mapping[str, Layer]]) -> None:
    """The LoRA of several files on one bundle, for drawing: the n-th file's strength is the n-th of `Prompt.strengths`."""
    blend = Blend(bundle.device)
    for slot, layers in enumerate(files):
        for name, found in layers.items():
            layer = _wrap(bundle, name, blend, 0.0)
            layer.adapters[str(slot)] = _from_file(found, weight_of(layer.base)).requires_grad_(False)
    bundle.blend = blend


def weights(bundle: Bundle) -> dict[str, tuple[int, ...]]:
    """Every linear and convolutional layer of the trainable parts and the shape of its weight: what a LoRA file has to fit."""
    return {
        f"{part}.{name.removesuffix('.base')}": tuple(shape_of(layer))
        for part in bundle.trainable
        for name, layer in bundle[part].named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
    }


def _wrap(bundle: Bundle, name: str, blend: Blend, dropout: float) -> AdaptedLayer:
    part, _, path = name.partition(".")
    bundle.adapted.add(part)
    before, _, last = path.rpartition(".")
    parent = bundle[part].get_submodule(before)
    layer = getattr(parent, last)
    if isinstance(layer, AdaptedLayer):
        return layer
    wrapped = AdaptedLayer(layer, blend, dropout)
    wrapped.train(layer.training)
    setattr(parent, last, wrapped)
    return wrapped


def _fresh(config: Config, weight: Tensor, rank: int, rng: torch.Generator) -> Adapter:
    if config.adapter == "lokr":
        w1, w2, w2_b = lokr.fresh(weight.shape, rank, config.factor, rng)
        return Lokr(w1.to(weight.device), w2.to(weight.device), None if w2_b is None else w2_b.to(weight.device), scale_of(config))
    down, up = (tensor.to(weight.device) for tensor in fresh(weight.shape, rank, rng))
    return Dora(weight, down, up, scale_of(config)) if config.adapter == "dora" else LowRank(down, up, scale_of(config))


def _from_file(found: Layer, weight: Tensor) -> Adapter:
    if isinstance(found, LokrLayer):
        w1, w2, w2_b = (None if tensor is None else tensor.float().to(weight.device) for tensor in (found.w1, found.w2, found.w2_b))
        assert w1 is not None
        assert w2 is not None
        return Lokr(w1, w2, w2_b, 1.0 if w2_b is None else found.alpha / len(w2_b))
    down, up, scale = found.down.float().to(weight.device), found.up.float().to(weight.device), found.alpha / found.rank
    if found.magnitude is None:
        return LowRank(down, up, scale)
    return Dora(weight, down, up, scale, found.magnitude.float().flatten().to(weight.device))

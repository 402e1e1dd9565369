"""A LoRA in memory, the same whatever program wrote its file, and the reader of these files."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studio.errors import ModelError
from studio.formats.adapter import stored_alpha, stored_settings
from studio.formats.fingerprints import check_lora, recognise_layers
from studio.formats.names import Names
from studio.language import say

if TYPE_CHECKING:
    from torch import Tensor

# What follows a layer's name: kohya's way, PEFT's, two older ones of diffusers; and alpha.
TENSOR = re.compile(
    r"(?P<layer>.+?)"
    r"(?:(?:\.lora_(?P<kohya>down|up)|\.lora_(?P<peft>A|B)(?:\.\w+)?|[._]lora\.(?P<old>down|up)|\.lora_linear_layer\.(?P<linear>down|up))"
    r"\.weight|\.(?P<alpha>alpha))"
)
ROLES = {"A": "down", "B": "up"}
TYPES = {"F16", "BF16", "F32", "F64"}


@dataclass(frozen=True)
class LoraLayer:
    """What is added to one layer: `up @ down * alpha / rank`. rsLoRA is expressed as alpha * sqrt(rank)."""

    down: "Tensor"
    """[rank, in], for a convolution [rank, in, height, width]."""
    up: "Tensor"
    """[out, rank], for a convolution [out, rank, 1, 1]."""
    alpha: float
    magnitude: "Tensor | None" = None
    """[out], with DoRA (Liu et al. 2024): the lengths that the rows of the changed weight are brought to."""

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])


@dataclass(frozen=True)
class LokrLayer:
    """What LoKr (Yeh et al. 2024) adds to one layer: the Kronecker product of `w1` and a second matrix, times a strength.

    The second matrix is `w2`, and the strength 1 whatever alpha says, as LyCORIS has it; or with `w2_b` it is `w2 @ w2_b`, and alpha / rank.
    """

    w1: "Tensor"
    """[a, b], where a divides the layer's outputs and b its inputs."""
    w2: "Tensor"
    """[out / a, in / b], for a convolution [out / a, in / b, height, width]; with `w2_b` [out / a, rank]."""
    alpha: float
    w2_b: "Tensor | None" = None
    """[rank, in / b], for a convolution [rank, in / b * height * width]."""


@dataclass(frozen=True)
class LoraFile:
    """What was read from a LoRA file."""

    layers: dict[str, LoraLayer]
    """By the layers' names in the studio, sorted."""
    metadata: dict[str, str]
    format: str
    """Whose names the file uses: diffusers or kohya."""
    warnings: tuple[str, ...] = ()
    """Sentences for the person: what the file leaves open, and what was assumed."""


def read_lora(path: Path, names: Names, known: Mapping[str, tuple[int, ...]] | None = None) -> LoraFile:
    """Read a LoRA file of kohya, PEFT or diffusers, also of its older versions.

    `known` are the layers of the base model: name in the studio → shape of the weight. With it everything in the file must fit;
    without it names are taken on trust. Raises ModelError that names the first tensor that is wrong: no LoRA, made for another
    kind of model, no such layer, wrong shape, NaN, or another kind of adapter (DoRA, LoHa, LoKr …).
    """
    from safetensors import safe_open

    header = check_lora(path, recognise_layers(known) if known else None)
    settings = stored_settings(path, header.metadata)
    name = names.reader(known)
    layers: dict[str, LoraLayer] = {}
    problems: list[str] = []
    pieces = _pieces(path, header.tensors)
    kohya = any(names.kohya_part(written) for written in pieces)
    silent = False
    with safe_open(path, framework="pt") as file:
        for written, tensors in pieces.items():
            layer = name(written)
            first = next(iter(tensors.values()))
            if layer is None or (known is not None and layer not in known):
                problems.append(say("{tensor} belongs to no layer of the base model", tensor=first))
                continue
            if layer in layers:
                problems.append(say("{tensor} is another name for a layer that is already there", tensor=first))
                continue
            weights = (tensor for role, tensor in tensors.items() if role != "alpha")
            if strange := next((tensor for tensor in weights if header.tensors[tensor].dtype not in TYPES), None):
                problems.append(say("{tensor} is of the type {found}", tensor=strange, found=header.tensors[strange].dtype))
                continue
            loaded = {role: file.get_tensor(tensor) for role, tensor in tensors.items()}
            if problem := _problem(written, tensors, loaded, known[layer] if known else None):
                problems.append(problem)
                continue
            rank = len(loaded["down"])
            alpha = float(loaded["alpha"]) if "alpha" in loaded else stored_alpha(path, settings, names, layer, rank)
            silent |= alpha is None and not kohya
            down, up = (_shaped(loaded[role], role, rank, known[layer]) if known else loaded[role] for role in ("down", "up"))
            layers[layer] = LoraLayer(down, up, float(rank) if alpha is None else alpha)
    if problems:
        raise ModelError(
            say("{file} can't be used: {problem}.", file=path.name, problem=problems[0])
            + " "
            + say("{matched} of its {total} layers are right.", matched=len(pieces) - len(problems), total=len(pieces)),
            fix=say("Choose a LoRA that was made for this base model, or another copy of this one."),
        )
    warning = say("{file} says nothing about alpha; alpha = rank is assumed, which is strength 1.", file=path.name)
    return LoraFile(dict(sorted(layers.items())), header.metadata, "kohya" if kohya else "diffusers", (warning,) if silent else ())


def _pieces(path: Path, tensors: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """Layer as the file calls it → role (down, up, alpha) → tensor."""
    pieces: dict[str, dict[str, str]] = {}
    for tensor in tensors:
        match = TENSOR.fullmatch(tensor)
        if match is None:
            raise ModelError(
                say("{file} holds {tensor}, which is no part of a plain LoRA.", file=path.name, tensor=tensor),
                fix=say("DoRA, LoHa, LoKr and other kinds can't be used here; choose a LoRA."),
            )
        role = next(group for key, group in match.groupdict().items() if group and key != "layer")
        pieces.setdefault(match["layer"], {})[ROLES.get(role, role)] = tensor
    return pieces


def _problem(written: str, tensors: Mapping[str, str], loaded: Mapping[str, "Tensor"], weight: tuple[int, ...] | None) -> str | None:
    """What is wrong with the tensors of one layer, as half a sentence; `weight` is the shape of the base model's layer."""
    import torch

    for role in ("down", "up"):
        if role not in loaded:
            return say("{layer} has no {missing} weight", layer=written, missing=role)
    down, up = loaded["down"], loaded["up"]
    expected: dict[str, tuple[int, ...]] = {"alpha": ()}
    for role in ("down", "up"):
        shape = weight or (up.shape[0] if up.ndim else 0, *down.shape[1:])
        expected[role] = _shape(role, len(down) if down.ndim else 0, shape)
    for role, tensor in tensors.items():
        found = tuple(loaded[role].shape)
        fits = loaded[role].numel() == 1 if role == "alpha" else len(found) > 1 and 0 not in found and _bare(found) == _bare(expected[role])
        if not fits:
            return say("{tensor} has the shape {found}, expected is {expected}", tensor=tensor, found=list(found), expected=list(expected[role]))
        if not bool(torch.isfinite(loaded[role].float()).all()):
            return say("{tensor} holds NaN or infinite numbers", tensor=tensor)
    return None


def _shape(role: str, rank: int, weight: tuple[int, ...]) -> tuple[int, ...]:
    return (rank, *weight[1:]) if role == "down" else (weight[0], rank, *(1 for _ in weight[2:]))


def _shaped(tensor: "Tensor", role: str, rank: int, weight: tuple[int, ...]) -> "Tensor":
    """The same numbers as a convolution of size 1 or as a matrix, whichever the base model has there: programs disagree."""
    return tensor.reshape(_shape(role, rank, weight))


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if math.prod(shape[2:]) > 1 else shape[:2]

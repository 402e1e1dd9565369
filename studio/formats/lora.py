"""A LoRA in memory, the same whatever program wrote its file, and the reader of these files."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from studio.errors import ModelError
from studio.formats import fits, pieces
from studio.formats.adapter import stored_alpha, stored_settings
from studio.formats.fingerprints import check_lora, recognise_layers
from studio.formats.joined import part_layers
from studio.formats.names import Names, Place
from studio.language import say

if TYPE_CHECKING:
    from torch import Tensor

TYPES = {"F16", "BF16", "F32", "F64"}
KINDS = {"lora": {"down", "up", "alpha"}, "dora": {"down", "up", "alpha", "magnitude"}, "lokr": {*fits.LOKR, "alpha"}}


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


def lokr_tensors(layer: LokrLayer) -> dict[str, "Tensor"]:
    """The matrices by the names that all programs give them."""
    if layer.w2_b is None:
        return {"lokr_w1": layer.w1, "lokr_w2": layer.w2}
    return {"lokr_w1": layer.w1, "lokr_w2_a": layer.w2, "lokr_w2_b": layer.w2_b}


Layer: TypeAlias = LoraLayer | LokrLayer


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
    lokr: Mapping[str, LokrLayer] = field(default_factory=dict)
    """The layers that have LoKr instead, by their names in the studio."""

    @property
    def all(self) -> dict[str, Layer]:
        """Every layer, of whatever kind."""
        return {**self.layers, **self.lokr}


def read_lora(
    path: Path,
    names: Names,
    known: Mapping[str, tuple[int, ...]] | None = None,
    kinds: Collection[str] = ("lora",),
    base: str | None = None,
) -> LoraFile:
    """Read a LoRA file of kohya, PEFT or diffusers, also of its older versions.

    `known` are the layers of the base model: name in the studio → shape of the weight. With it everything in the file must fit;
    without it names are taken on trust. `kinds` are what the caller can use of lora, dora and lokr. `base` is the base model's kind, a key of
    TITLES, for small ones whose shapes don't tell it. Raises ModelError that names the first tensor that is wrong: no LoRA, made for another
    kind of model, no such layer, wrong shape, NaN, or another kind of adapter.
    """
    from safetensors import safe_open

    header = check_lora(path, (recognise_layers(known) if known else None) or base)
    settings = stored_settings(path, header.metadata)
    find = names.reader(known)
    layers: dict[str, LoraLayer] = {}
    lokr: dict[str, LokrLayer] = {}
    problems: list[str] = []
    found = _pieces(path, header.tensors, kinds)
    kohya = any(names.kohya_part(written) for written in found)
    silent = False
    with safe_open(path, framework="pt") as file:
        for written, tensors in found.items():
            place = find(written)
            if place is None or (known is not None and not known.keys() >= set(place.layers)):
                problems.append(say("{tensor} belongs to no layer of the base model", tensor=next(iter(tensors.values()))))
                continue
            types = {tensor: header.tensors[tensor].dtype for role, tensor in tensors.items() if role != "alpha"}
            if problem := _refused(place, tensors, types, layers.keys() | lokr.keys()):
                problems.append(problem)
                continue
            loaded = {role: file.get_tensor(tensor) for role, tensor in tensors.items()}
            shapes = [known[layer] for layer in place.layers] if known else []
            if problem := fits.problem(written, tensors, loaded, _stacked(shapes)):
                problems.append(problem)
                continue
            if "down" not in loaded:
                lokr[place.layers[0]] = _lokr(loaded)
                continue
            rank = len(loaded["down"])
            alpha = float(loaded["alpha"]) if "alpha" in loaded else stored_alpha(path, settings, names, place.layers[0], rank)
            silent |= alpha is None and not kohya
            layers |= part_layers(_lora(loaded, alpha, _stacked(shapes)), place, tuple(shape[0] for shape in shapes))
    if problems:
        raise ModelError(
            say("{file} can't be used: {problem}.", file=path.name, problem=problems[0])
            + " "
            + say("{matched} of its {total} layers are right.", matched=len(found) - len(problems), total=len(found)),
            fix=say("Choose a LoRA that was made for this base model, or another copy of this one."),
        )
    warning = say("{file} says nothing about alpha; alpha = rank is assumed, which is strength 1.", file=path.name)
    return LoraFile(
        layers=dict(sorted(layers.items())),
        metadata=header.metadata,
        format="kohya" if kohya else "diffusers",
        warnings=(warning,) if silent else (),
        lokr=dict(sorted(lokr.items())),
    )


def _pieces(path: Path, tensors: Mapping[str, object], kinds: Collection[str]) -> dict[str, dict[str, str]]:
    """Layer as the file calls it → role → tensor. Raises ModelError at a tensor that is part of no adapter of these kinds."""
    found, strange = pieces.split(tensors)
    roles = set().union(*(KINDS[kind] for kind in kinds))
    strange += [tensor for layer in found.values() for role, tensor in layer.items() if role not in roles]
    if strange:
        raise ModelError(
            say("{file} holds {tensor}, which is no part of a plain LoRA.", file=path.name, tensor=strange[0]),
            fix=say("DoRA, LoHa, LoKr and other kinds can't be used here; choose a LoRA."),
        )
    return found


def _refused(place: Place, tensors: Mapping[str, str], types: Mapping[str, str], there: Collection[str]) -> str | None:
    """Why the tensors of one name can't be a layer's, before they are read, as half a sentence."""
    first = next(iter(tensors.values()))
    if not set(place.layers).isdisjoint(there):
        return say("{tensor} is another name for a layer that is already there", tensor=first)
    if not fits.LOKR.isdisjoint(tensors) and (len(place.layers) > 1 or place.swapped):
        return say("{tensor} is LoKr of several layers in one, which can't be divided", tensor=first)
    if strange := next((tensor for tensor, found in types.items() if found not in TYPES), None):
        return say("{tensor} is of the type {found}", tensor=strange, found=types[strange])
    return None


def _stacked(shapes: list[tuple[int, ...]]) -> tuple[int, ...] | None:
    """The shape of the layers' weights as one, their outputs one below the other; None where they aren't known."""
    return (sum(shape[0] for shape in shapes), *shapes[0][1:]) if shapes else None


def _lora(loaded: Mapping[str, "Tensor"], alpha: float | None, weight: tuple[int, ...] | None) -> LoraLayer:
    """With `weight`, as a convolution of size 1 or as a matrix, whichever the base model has there: programs disagree."""
    rank = len(loaded["down"])
    down, up = (loaded[role].reshape(fits.shape_of(role, rank, weight)) if weight else loaded[role] for role in ("down", "up"))
    magnitude = loaded["magnitude"].flatten() if "magnitude" in loaded else None
    return LoraLayer(down, up, float(rank) if alpha is None else alpha, magnitude)


def _lokr(loaded: Mapping[str, "Tensor"]) -> LokrLayer:
    """A first matrix that is kept as a product becomes one, and takes alpha where the second has no rank."""
    w1 = loaded["lokr_w1"] if "lokr_w1" in loaded else loaded["lokr_w1_a"] @ loaded["lokr_w1_b"]
    if "lokr_w2" not in loaded:
        alpha = loaded.get("alpha", len(loaded["lokr_w2_b"]))
        return LokrLayer(w1, loaded["lokr_w2_a"], float(alpha), loaded["lokr_w2_b"])
    if "lokr_w1" not in loaded and "alpha" in loaded:
        w1 = w1 * (float(loaded["alpha"]) / len(loaded["lokr_w1_b"]))
    return LokrLayer(w1, loaded["lokr_w2"], 1.0)

"""Several LoRA files as one: their matrices side by side, which is exact, or fewer directions that are nearest to that."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from studio.errors import InputError, ModelError
from studio.formats.lora import LoraLayer
from studio.formats.ranks import nearest
from studio.language import say
from studio.results.generate import LoraChoice
from studio.results.lorafile import Made, Opened, facts_of, opened, resolution_of, together

Progress = Callable[[int, int], None]


def merge(choices: Sequence[LoraChoice], rank: int | None, progress: Progress, base_model: str | None = None) -> Made:
    """Files with their strengths as one LoRA that draws at strength 1 what they draw together. Without `rank` ranks add.

    DoRA and LoKr take their `base_model` and a rank.

    Raises InputError; ModelError where they are for different kinds of models.
    """
    if len(choices) < 2:
        raise InputError(say("Merging takes at least two LoRA files."), say("Use `lora resize` to change one."))
    files = [opened(choice.path, base_model, rank) for choice in choices]
    together(files)
    strengths = [choice.strength for choice in choices]
    names = sorted({name for file in files for name in file.layers})
    layers: dict[str, LoraLayer] = {}
    kept, whole = 0.0, sum(strength**2 * file.lost for file, strength in zip(files, strengths, strict=True))
    for number, name in enumerate(names):
        found = [(file, strength) for file, strength in zip(files, strengths, strict=True) if name in file.layers and strength]
        if found:
            near = nearest(_side_by_side(name, found), rank)
            layers[name], kept, whole = near.layer, kept + near.kept, whole + near.all
        progress(number + 1, len(names))
    phrases = dict.fromkeys(phrase for file in files if (phrase := file.metadata.get("modelspec.trigger_phrase")))
    return Made(
        kind=files[0].kind,
        family=files[0].family,
        layers=layers,
        kept=kept / whole if whole else 1.0,
        merged_from=", ".join(f"{file.path.name}:{strength:g}" for file, strength in zip(files, strengths, strict=True)),
        resolution=max(resolution_of(file.metadata, file.kind) for file in files),
        dtype=max((file.dtype for file in files), key=lambda kind: kind.itemsize),
        facts={**facts_of(files[0].metadata), "trigger_phrase": ", ".join(phrases) or None},
    )


def _side_by_side(name: str, found: Sequence[tuple[Opened, float]]) -> LoraLayer:
    """Σ w · α/r · U D as one pair of matrices, [r₁ + r₂ + …, in] and [out, r₁ + r₂ + …], at strength 1."""
    first = found[0][0].layers[name]
    downs, ups = [], []
    for file, strength in found:
        layer = file.layers[name]
        if layer.down[0].numel() != first.down[0].numel() or len(layer.up) != len(first.up):
            raise ModelError(
                say("{layer} has another shape in {other} than in {one}.", layer=name, one=found[0][0].path.name, other=file.path.name),
                say("Choose LoRA files for the same base model."),
            )
        downs.append(layer.down.float().reshape(layer.rank, *first.down.shape[1:]))
        ups.append((layer.up.float() * (strength * layer.alpha / layer.rank)).reshape(len(layer.up), layer.rank, *first.up.shape[2:]))
    down, up = torch.cat(downs), torch.cat(ups, 1)
    return replace(first, down=down, up=up, alpha=float(len(down)))

"""A LoRA with fewer directions in each layer: a smaller file that draws nearly the same."""

from collections.abc import Callable
from pathlib import Path

from studio.errors import InputError
from studio.formats.lora import LoraLayer
from studio.formats.ranks import nearest
from studio.language import say
from studio.results.lorafile import Made, facts_of, opened, resolution_of

Progress = Callable[[int, int], None]


def resize(path: Path, rank: int | None, keep: float | None, progress: Progress, base_model: str | None = None) -> Made:
    """A LoRA file with at most `rank` directions a layer, or with as few as hold the share `keep` of each layer's energy.

    DoRA and LoKr take their `base_model` and a rank. Raises InputError.
    """
    if rank is None and keep is None:
        raise InputError(say("Say how small: --rank R, or --keep 0.95 for a share of the change."))
    file = opened(path, base_model, rank)
    layers: dict[str, LoraLayer] = {}
    kept, whole = 0.0, file.lost
    for number, (name, layer) in enumerate(file.layers.items()):
        near = nearest(layer, rank, 1.0 if keep is None else keep)
        layers[name], kept, whole = near.layer, kept + near.kept, whole + near.all
        progress(number + 1, len(file.layers))
    return Made(
        kind=file.kind,
        family=file.family,
        layers=layers,
        kept=kept / whole if whole else 1.0,
        merged_from=file.path.name,
        resolution=resolution_of(file.metadata, file.kind),
        dtype=file.dtype,
        facts=facts_of(file.metadata),
    )

"""LoRA files as kohya's sd-scripts write them: what A1111, Forge, ComfyUI and InvokeAI expect."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from studio.files import write_atomically
from studio.formats.container import join, pack
from studio.formats.joined import join_layers
from studio.formats.lora import Layer, LokrLayer, LoraLayer, lokr_tensors
from studio.formats.names import Names, Place

if TYPE_CHECKING:
    from torch import Tensor


def write_kohya(path: Path, layers: Mapping[str, Layer], names: Names, metadata: Mapping[str, str]) -> None:
    """Write a file in kohya's naming, with `metadata` as given and the hashes by which A1111 and Forge know a file again.

    `layers` by their names in the studio. Raises OSError when the disk refuses; an older file is then still there.
    """
    import torch

    tensors: dict[str, Tensor] = {}
    for written, layer in _written(layers, names).items():
        tensors[f"{written}.alpha"] = torch.tensor(layer.alpha, dtype=torch.float32)
        if isinstance(layer, LokrLayer):
            tensors |= {f"{written}.{key}": tensor for key, tensor in lokr_tensors(layer).items()}
            continue
        tensors[f"{written}.lora_down.weight"] = layer.down
        tensors[f"{written}.lora_up.weight"] = layer.up
        if layer.magnitude is not None:
            tensors[f"{written}.dora_scale"] = layer.magnitude.reshape(-1, *(1 for _ in layer.down.shape[1:]))
    entries, data = pack(tensors)
    # The older of the two hashes covers a file that has only the training's metadata.
    trained = join(entries, {key: value for key, value in metadata.items() if key.startswith("ss_")}, data)
    digest = hashlib.sha256(data).hexdigest()
    notes = dict(metadata)
    if "modelspec.sai_model_spec" in metadata:
        notes["modelspec.hash_sha256"] = f"0x{digest}"
    notes["sshs_model_hash"] = digest
    notes["sshs_legacy_hash"] = hashlib.sha256(trained[0x100000:0x110000]).hexdigest()[:8]
    write_atomically(path, join(entries, notes, data))


def _written(layers: Mapping[str, Layer], names: Names) -> dict[str, Layer]:
    """The layers by their names in the file, those joined that the original model keeps as one.

    Where one of them can't be joined, all layers of the part are written one by one: programs read either way, but no mixture.
    """
    plain = {name: layer for name, layer in layers.items() if isinstance(layer, LoraLayer)}
    given = {**layers, **(_one_alpha(plain, names) if names.apart is not None else {})}
    result: dict[str, Layer] = {}
    apart = set()
    for name in sorted(layers):
        written, place = names.in_kohya(name), names.place(name)
        if written not in result:
            joined = _joined({member: given[member] for member in place.layers if member in given}, place)
            if joined is None:
                apart.add(name.split(".")[0])
            else:
                result[written] = joined
    for part in apart:
        inside = {name: layer for name, layer in given.items() if name.startswith(f"{part}.")}
        result = {name: layer for name, layer in result.items() if names.kohya_part(name) != part}
        result |= {names.alone_in_kohya(name): layer for name, layer in inside.items()}
    return result


def _joined(layers: Mapping[str, Layer], place: Place) -> Layer | None:
    """The layers of a place as one; None where that can't be: LoKr of several or with outputs to swap, DoRA of only some."""
    plain = {name: layer for name, layer in layers.items() if isinstance(layer, LoraLayer)}
    if len(plain) < len(layers):
        return next(iter(layers.values())) if len(place.layers) == 1 and not place.swapped else None
    joined = join_layers(plain, place)
    return _with_alpha(joined, joined.rank) if joined and place.plain else joined


def _one_alpha(layers: Mapping[str, LoraLayer], names: Names) -> dict[str, LoraLayer]:
    """The same LoRA with one alpha for all layers of a part, except those that may have their own.

    diffusers, when it reads these files, gives a part's most frequent alpha to every attention layer and drops others that it
    finds there. So where alphas differ, `up` takes over the difference; alpha / rank * up stays what it was.
    """
    result: dict[str, LoraLayer] = {}
    for part in names.kohya:
        inside = {layer: lora for layer, lora in layers.items() if layer.startswith(f"{part}.")}
        apart = {layer for layer in inside if not set(names.apart or ()).isdisjoint(layer.split("."))}
        together = Counter(lora.alpha for layer, lora in inside.items() if layer not in apart and lora.alpha)
        if not together:
            result |= inside
            continue
        common = together.most_common(1)[0][0]
        others = Counter(inside[layer].alpha for layer in apart)
        keep = all(count < len(inside) - len(apart) + others[common] for alpha, count in others.items() if alpha != common)
        for layer, lora in inside.items():
            result[layer] = lora if lora.alpha == common or (keep and layer in apart) else _with_alpha(lora, common)
    return result


def _with_alpha(lora: LoraLayer, alpha: float) -> LoraLayer:
    return lora if lora.alpha == alpha else replace(lora, up=(lora.up.float() * (lora.alpha / alpha)).to(lora.up.dtype), alpha=float(alpha))

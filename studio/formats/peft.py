"""A LoRA as PEFT keeps it: a folder with the weights and their settings, one for each part of the model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from studio.files import write_atomically
from studio.formats.adapter import PEFT_SETTINGS, PEFT_WEIGHTS, peft_settings
from studio.formats.container import join, pack
from studio.formats.lora import LoraLayer

if TYPE_CHECKING:
    from torch import Tensor


def write_peft(folder: Path, layers: Mapping[str, LoraLayer], base_model: str) -> list[Path]:
    """Write `folder/<part>` for `PeftModel.from_pretrained`, with every layer's own rank and alpha. Returns the folders.

    `layers` by their names in the studio. Raises OSError when the disk refuses.
    """
    written = []
    for part in dict.fromkeys(name.partition(".")[0] for name in layers):
        inside = {name.removeprefix(f"{part}."): layer for name, layer in sorted(layers.items()) if name.startswith(f"{part}.")}
        tensors: dict[str, Tensor] = {}
        for name, layer in inside.items():
            tensors[f"base_model.model.{name}.lora_A.weight"] = layer.down
            tensors[f"base_model.model.{name}.lora_B.weight"] = layer.up
            if layer.magnitude is not None:
                sides = layer.down.dim() - 2
                tensors[f"base_model.model.{name}.lora_magnitude_vector"] = layer.magnitude.view(1, -1, *[1] * sides) if sides else layer.magnitude
        settings = {
            "peft_type": "LORA",
            "base_model_name_or_path": base_model,
            "inference_mode": True,
            "bias": "none",
            **peft_settings(inside),
        }
        target = folder / part
        target.mkdir(parents=True, exist_ok=True)
        entries, data = pack(tensors)
        write_atomically(target / PEFT_WEIGHTS, join(entries, {"format": "pt"}, data))
        write_atomically(target / PEFT_SETTINGS, json.dumps(settings, indent=2, sort_keys=True))
        written.append(target)
    return written

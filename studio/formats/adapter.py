"""LoRA files as diffusers and PEFT write them, and what these programs note in them of rank and alpha."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ModelError
from studio.files import write_atomically
from studio.formats.container import join, pack
from studio.formats.names import Names
from studio.language import say

if TYPE_CHECKING:
    from torch import Tensor

    from studio.formats.lora import Layer, LoraLayer

KEY = "lora_adapter_metadata"
PEFT_WEIGHTS, PEFT_SETTINGS = "adapter_model.safetensors", "adapter_config.json"
MAGNITUDE = {2: (-1,), 4: (1, -1, 1, 1)}
"""The shape that PEFT gives to DoRA's magnitude, for a linear layer and a convolution."""


def write_diffusers(path: Path, layers: Mapping[str, "Layer"], names: Names, metadata: Mapping[str, str]) -> None:
    """Write a file that `load_lora_weights` of diffusers reads, with every layer's own rank and alpha.

    `layers` by their names in the studio. Raises OSError when the disk refuses; an older file is then still there.
    """
    import torch

    from studio.formats.lora import LokrLayer, LoraLayer, lokr_tensors

    tensors: dict[str, Tensor] = {}
    for layer, found in sorted(layers.items()):
        written = names.in_diffusers(layer)
        if isinstance(found, LokrLayer):
            tensors |= {f"{written}.{key}": tensor for key, tensor in lokr_tensors(found).items()}
            tensors[f"{written}.alpha"] = torch.tensor(found.alpha, dtype=torch.float32)
            continue
        tensors[f"{written}.lora_A.weight"] = found.down
        tensors[f"{written}.lora_B.weight"] = found.up
        if found.magnitude is not None:
            tensors[f"{written}.lora_magnitude_vector.weight"] = found.magnitude.reshape(MAGNITUDE[found.down.ndim])
    settings: dict[str, Any] = {}
    for part in names.kohya:
        begin = f"{part}."
        inside = {
            layer.removeprefix(begin): lora for layer, lora in sorted(layers.items()) if layer.startswith(begin) and isinstance(lora, LoraLayer)
        }
        # A part that is left out here makes diffusers refuse the whole file when another part is there.
        settings |= {f"{part}.{name}": value for name, value in peft_settings(inside).items()}
    entries, data = pack(tensors)
    notes = {**metadata, "format": "pt", KEY: json.dumps(settings, indent=2, sort_keys=True)}
    write_atomically(path, join(entries, notes, data))


def stored_settings(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What diffusers noted in the metadata of a file, or PEFT beside it: `unet.lora_alpha`, `unet.alpha_pattern` … Empty where neither did."""
    beside = path.with_name(PEFT_SETTINGS)
    try:
        if KEY not in metadata and path.name == PEFT_WEIGHTS and beside.is_file():
            settings = json.loads(beside.read_text(encoding="utf-8"))
        else:
            settings = json.loads(metadata.get(KEY, "{}"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(settings, dict):
        raise _damaged(path)
    return settings


def stored_alpha(path: Path, settings: Mapping[str, Any], names: Names, layer: str, rank: int) -> float | None:
    """A layer's alpha according to the settings of its file; None: they don't say."""
    part, inner = layer.split(".", 1)
    alpha, pattern, rslora = (settings.get(f"{part}.{name}", settings.get(name)) for name in ("lora_alpha", "alpha_pattern", "use_rslora"))
    for name, value in pattern.items() if isinstance(pattern, dict) else ():
        # Patterns are regular expressions to PEFT; from a file of unknown origin they are taken by the letter.
        end = name.removeprefix("^").removeprefix(names.inserted.get(part, ""))
        if inner == end or (not name.startswith("^") and inner.endswith(f".{end}")):
            alpha = value
            break
    if alpha is None:
        return None
    if type(alpha) not in {int, float} or not math.isfinite(alpha):
        raise _damaged(path)
    return float(alpha * math.sqrt(rank) if rslora else alpha)


def peft_settings(layers: Mapping[str, "LoraLayer"]) -> dict[str, Any]:
    """PEFT's settings for the layers of one part: the most frequent rank and alpha, and by name what differs."""
    if not layers:
        return {}
    rank = Counter(lora.rank for lora in layers.values()).most_common(1)[0][0]
    alpha = Counter(lora.alpha for lora in layers.values()).most_common(1)[0][0]
    return {
        "r": rank,
        "lora_alpha": _number(alpha),
        "rank_pattern": {_pattern(name, layers): lora.rank for name, lora in layers.items() if lora.rank != rank},
        "alpha_pattern": {_pattern(name, layers): _number(lora.alpha) for name, lora in layers.items() if lora.alpha != alpha},
        "target_modules": list(layers),
        "use_rslora": False,
        "use_dora": any(lora.magnitude is not None for lora in layers.values()),
    }


def _pattern(name: str, layers: Mapping[str, "LoraLayer"]) -> str:
    # PEFT compares ends, so a name that is another one's end is tied to the beginning; elsewhere older versions don't know "^".
    return f"^{name}" if any(other.endswith(f".{name}") for other in layers) else name


def _number(value: float) -> float:
    return int(value) if float(value).is_integer() else float(value)


def _damaged(path: Path) -> ModelError:
    return ModelError(
        say("{file} has damaged metadata: {key} isn't what diffusers writes there.", file=path.name, key=KEY),
        fix=say("Download it again, or choose another copy of this LoRA."),
    )

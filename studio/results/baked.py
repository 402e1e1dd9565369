"""A base model with a LoRA in its weights, as a diffusers folder that needs no LoRA any more. Written part by part: one is in memory at a time."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from studio import families
from studio.device import device
from studio.errors import InputError, MachineError
from studio.families.base import Bundle, Family
from studio.formats.lora import Layer
from studio.language import say
from studio.results.precision import stored
from studio.training.continuing import change

Progress = Callable[[int, int], None]
WANTED = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")


def bake(
    base_model: str,
    layers: Mapping[str, Layer],
    target: Path,
    progress: Progress,
    dtype: torch.dtype | None = None,
    prediction: str | None = None,
) -> Path:
    """Write the base model with `layers` added at strength 1 to the new folder `target`, in `dtype` or the precision that its files have.

    `prediction` is what the LoRA was trained to predict, where the model's own files say otherwise.
    Raises InputError where the folder is there already, MachineError where it can't be written.
    """
    if target.exists():
        raise InputError(say("{path} is there already.", path=target), say("Choose another folder."))
    source = families.find(base_model)
    family = families.get(families.recognise(source))
    bundle = family.load(source, device(), dtype or stored(source))
    if prediction:
        bundle.facts["prediction_type"] = prediction
    beside = target.with_name(f".{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        classes: dict[str, list[str]] = {}
        parts = _parts(bundle)
        for number, part in enumerate(parts):
            progress(number, len(parts))
            if part not in bundle.loaders or (source.is_dir() and dtype is None and not any(name.startswith(f"{part}.") for name in layers)):
                _copy(source / part, beside / part)
            elif hasattr(bundle[part], "save_pretrained"):
                add(bundle, part, layers)
                opened = bundle[part].to(dtype) if dtype and isinstance(bundle[part], nn.Module) else bundle[part]
                opened.save_pretrained(beside / part)
                classes[part] = [type(opened).__module__.partition(".")[0], type(opened).__name__]
            bundle.release(part)
        _describe(bundle, family, beside, classes)
        beside.rename(target)
    except OSError as error:
        raise MachineError(
            say("{path}: can't be written: {reason}", path=target, reason=error.strerror or error), say("Make room, or choose another folder.")
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


@torch.no_grad()
def add(bundle: Bundle, part: str, layers: Mapping[str, Layer]) -> None:
    """Add the layers of one part to its weights."""
    for name, layer in layers.items():
        if name.startswith(f"{part}."):
            weight = bundle[part].get_submodule(name.removeprefix(f"{part}.")).weight
            weight.copy_(changed(weight, layer))


def changed(weight: Tensor, layer: Layer) -> Tensor:
    """The weight with what a layer adds, in float32."""
    return weight.float() + change(layer, weight.float())


def _parts(bundle: Bundle) -> list[str]:
    """The folders that the source has, or the parts that a single file is opened as."""
    if bundle.source.is_file():
        return list(bundle.loaders)
    return sorted(path.name for path in bundle.source.iterdir() if path.is_dir() and any(path.glob("*.json")))


def _copy(source: Path, target: Path) -> None:
    """The files of a part that hold settings and weights; nothing that could run. Weights with a variant in their name lose it."""
    target.mkdir()
    files = [path for pattern in WANTED for path in sorted(source.glob(pattern))]
    plain = {path.name for path in files}
    for path in files:
        name = path.name.replace(".fp16", "")
        if name == path.name or name not in plain:
            shutil.copyfile(path, target / name)


def _describe(bundle: Bundle, family: Family, folder: Path, classes: Mapping[str, list[str]]) -> None:
    """The index of the parts, and the schedule with the prediction type that holds for this model."""
    scheduler = dict(bundle.facts["scheduler"])
    if "prediction_type" in bundle.facts:
        scheduler["prediction_type"] = bundle.facts["prediction_type"]
    (folder / "scheduler").mkdir(exist_ok=True)
    _write(folder / "scheduler" / "scheduler_config.json", scheduler)
    if bundle.source.is_dir():
        shutil.copyfile(bundle.source / "model_index.json", folder / "model_index.json")
        return
    pipeline = next(name for name, known in families.PIPELINES.items() if known == family.name)
    _write(folder / "model_index.json", {"_class_name": pipeline, **classes, "scheduler": ["diffusers", scheduler["_class_name"]]})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")

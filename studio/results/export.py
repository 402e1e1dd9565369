"""The LoRA of any checkpoint of a run, as files for other programs."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from studio.errors import InputError
from studio.formats.lora import Layer, LoraLayer
from studio.formats.peft import write_peft
from studio.language import say
from studio.results.baked import bake
from studio.results.loading import refuse_loss
from studio.runs import result
from studio.runs.resolve import open_base
from studio.runs.run import Run
from studio.training import checkpoints
from studio.training.lora import records, scale_of

Progress = Callable[[int, int], None]
AnyLayer = TypeVar("AnyLayer", bound=Layer)
FORMATS = (*result.FORMATS, "peft")
PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def export(
    run: Run, step: int | None = None, formats: Collection[str] = result.FORMATS, precision: str | None = None, program: str | None = None
) -> list[Path]:
    """Write files of a run from its newest checkpoint, or from that of `step`: its result files, or those of `formats`.

    Numbers are in 32 bits, as they were trained, or in `precision`. Raises InputError, also where `program` wouldn't read all of it.
    """
    step = found_step(run, step)
    family, bundle = open_base(run.config)
    found = layers(run, step)
    if precision:
        found = {name: in_precision(layer, PRECISIONS[precision]) for name, layer in found.items()}
    if program:
        refuse_loss(program, found, family, bundle, result.metadata(run, bundle, step))
    written = result.write(run, family, bundle, found, step, formats)
    if "peft" in formats:
        written += write_peft(run.folder / "exports" / f"{run.name}-peft", _plain(found), run.config.base_model)
    return written


def merged(run: Run, target: Path, step: int | None, precision: str | None, progress: Progress) -> Path:
    """Write the base model with the run's LoRA in its weights as the diffusers folder `target`. Raises InputError, MachineError."""
    config = run.config
    dtype = PRECISIONS[precision] if precision else None
    return bake(config.base_model, layers(run, found_step(run, step)), target, progress, dtype, config.prediction_type)


def in_precision(layer: AnyLayer, dtype: torch.dtype) -> AnyLayer:
    """The same layer with its numbers in `dtype`."""
    changes: dict[str, Any] = {
        field.name: value.to(dtype) for field in fields(layer) if isinstance(value := getattr(layer, field.name), torch.Tensor)
    }
    return replace(layer, **changes)


def layers(run: Run, step: int) -> dict[str, Layer]:
    """The LoRA as it was at a checkpoint."""
    tensors = checkpoints.load(checkpoints.place(run.folder / "checkpoints", step)).shown
    return records(tensors, scale_of(run.config))


def steps(run: Run) -> list[int]:
    """The steps of which there is a whole checkpoint."""
    return [int(path.name.removeprefix("step-")) for path in checkpoints.listed(run.folder / "checkpoints") if checkpoints.is_whole(path)]


def _plain(layers: Mapping[str, Layer]) -> dict[str, LoraLayer]:
    if not all(isinstance(layer, LoraLayer) for layer in layers.values()):
        raise InputError(say("A LoKr has no PEFT folder: PEFT keeps it under other names."), say("Choose --format kohya or diffusers."))
    return {name: layer for name, layer in layers.items() if isinstance(layer, LoraLayer)}


def found_step(run: Run, step: int | None) -> int:
    """The step of a whole checkpoint: that one, or the newest. Raises InputError."""
    known = steps(run)
    if not known:
        raise InputError(say("Run {id} has no checkpoint yet.", id=run.id), say("Resume it, or wait until it has saved one."))
    if step is not None and step not in known:
        there = ", ".join(map(str, known))
        raise InputError(say("Run {id} has no checkpoint of step {step}.", id=run.id, step=step), say("There are: {known}.", known=there))
    return known[-1] if step is None else step

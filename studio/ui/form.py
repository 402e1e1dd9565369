"""The form of all settings as data, from the one place where they are declared, and what follows from values in it."""

import math
import typing
from pathlib import Path
from typing import Any, Literal

from studio import fields
from studio.config import GROUPS, Config, unfilled, unusual
from studio.data.examples import held_out
from studio.data.listing import READABLE, scan
from studio.fields import Fault, Given, SettingsError
from studio.language import say

# What most people look at; the rest is folded away.
PLAIN = frozenset(
    [
        "base_model",
        "train_data_dir",
        "resolution",
        "caption_prefix",
        "lora_rank",
        "lora_alpha",
        "train_text_encoder",
        "epochs",
        "max_steps",
        "batch_size",
        "learning_rate",
        "lr_scheduler",
        "mixed_precision",
        "save_steps",
        "sample_prompts",
        "sample_steps",
    ]
)
ELSEWHERE = frozenset({"purpose", "name"})  # asked on the Train tab
SLIDERS = {"lora_rank": (1, 128), "lora_alpha": (1, 128), "batch_size": (1, 32), "epochs": (1, 100), "conv_rank": (0, 64)}


def groups() -> list[dict[str, Any]]:
    """Groups of fields: name, title, help, kind of input, choices, bounds, default."""
    return [
        {
            "title": say(group.__doc__ or ""),
            "fields": [_field(name, field) for owner, name, field in fields.settings() if owner is group and name not in ELSEWHERE],
        }
        for group in GROUPS
    ]


def typed(settings: dict[str, Any]) -> dict[str, Any]:
    """What was typed as values: texts are read as YAML reads them, empty ones are absent."""
    return {
        key: fields.scalar(key, value.strip()) if isinstance(value, str) else value
        for key, value in settings.items()
        if value not in ("", [], {}, None)
    }


def faults(values: dict[str, Any]) -> list[Fault]:
    """Everything that is wrong with values."""
    try:
        fields.build({key: Given(value, "") for key, value in values.items()})
    except SettingsError as error:
        return error.faults
    return []


def consequences(values: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """What follows: learning scale, pictures, steps and epochs. Pictures are counted in `folder` without opening them."""
    config = _best(values)
    if config is None:
        return {}
    found: dict[str, Any] = {"scale": config.alpha / (math.sqrt(config.lora_rank) if config.use_rslora else config.lora_rank)}
    found["batch"] = config.batch_size * config.gradient_accumulation_steps
    notes = {sentence.partition(":")[0]: sentence.partition(": ")[2] for sentence in unusual(config)}
    notes |= {key: say("{blank} is still to be filled in.", blank=blank) for key, blank in unfilled(config).items()}
    if folder and folder.is_dir():
        pictures = sum(1 for name in scan(folder).pictures if Path(name).suffix.lower() in READABLE)
        kept = pictures - (held_out(pictures, config.validation_split) if config.validation_steps else 0)
        found |= {"pictures": pictures, "trained": kept} | _length(config, kept)
    elif config.max_steps:
        found["steps"] = config.max_steps
    return found | {"notes": notes}


def _length(config: Config, pictures: int) -> dict[str, Any]:
    """Steps and epochs, as the trainer counts them where all pictures have one shape."""
    from studio.training.batches import Batches

    if not pictures:
        return {}
    batches = Batches([range(pictures * config.num_repeats)], config.batch_size, 0)
    steps = config.max_steps or max(1, math.ceil(batches.count(config.epochs) / config.gradient_accumulation_steps))
    return {"steps": steps, "epochs": steps * config.gradient_accumulation_steps / batches.count(1)}


def _best(values: dict[str, Any]) -> Config | None:
    """The config of what is right in `values`."""
    wrong = {fault.key for fault in faults({**values, "base_model": "pocket", "train_data_dir": "."})}
    right = {key: value for key, value in values.items() if key not in wrong}
    try:
        return fields.build({key: Given(value, "") for key, value in {**right, "base_model": "pocket", "train_data_dir": "."}.items()})
    except SettingsError:
        return None


def _field(name: str, field: Any) -> dict[str, Any]:
    kind, bounds = fields.kind(field)
    choices = [str(value) for value in typing.get_args(kind)] if typing.get_origin(kind) is Literal else []
    shape = (
        "choice"
        if choices
        else {tuple: "list", dict: "mapping", bool: "switch", int: "number", float: "number", Path: "path"}.get(
            typing.get_origin(kind) or kind, "text"
        )
    )
    default = None if field.is_required() else field.default
    return {
        "name": name,
        "title": say(fields.title(name)),
        "help": fields.help_text(field),
        "takes": fields.allowed(field),
        "kind": shape,
        "choices": choices,
        "slider": SLIDERS.get(name),
        "whole": kind is int,
        "default": list(default) if isinstance(default, tuple) else default,
        "plain": name in PLAIN,
        "required": field.is_required(),
        "bounds": bounds,
    }

"""What is absent in a config, made definite: from the family, the base model's own files and the machine. A run stores the whole."""

from pathlib import Path
from typing import Any

from studio import families, fields
from studio.config import OPTIONAL, Config, unfilled
from studio.device import device, precision, usual_threads
from studio.errors import InputError
from studio.families.base import Bundle, Family
from studio.language import say

UNMASKED = 0.1


def open_base(config: Config) -> tuple[Family, Bundle]:
    """The family and the base model of a config, nothing of it in memory yet."""
    from studio.device import dtype
    from studio.families import quantised

    source = families.find(config.base_model)
    family = families.get(families.recognise(source))
    if config.family not in (None, family.name):
        asked = families.get(config.family).title
        raise InputError(
            say("family: {asked} is asked for, but {base} is {found}.", asked=asked, base=config.base_model, found=family.title),
            say("Leave family out, or choose another base_model or preset."),
        )
    on = device()
    quantised.check(config.load_in, on)
    bundle = family.load(source, on, dtype(precision(config.mixed_precision, on)), config.load_in)
    for setting in ("prediction_type", "zero_terminal_snr"):
        if (value := getattr(config, setting)) is not None:
            bundle.facts[setting] = value
    return family, bundle


def complete(config: Config) -> Config:
    """The config with nothing left to chance: later changes of defaults don't reach a stored run. Paths become absolute."""
    for key, blank in unfilled(config).items():
        raise InputError(
            say("{key}: {blank} is still to be filled in.", key=key, blank=blank), say("Write what it stands for in your captions, without brackets.")
        )
    family, bundle = open_base(config)
    if config.task_type not in (None, family.task):
        raise InputError(
            say("task_type: {task} doesn't fit {base}, which is for {other}.", task=config.task_type, base=config.base_model, other=family.task),
            say("Leave task_type out, or choose another base_model."),
        )
    if strange := sorted(config.model_fields_set & OPTIONAL - family.settings):
        raise InputError(say("{settings}: means nothing for {family}.", settings=", ".join(strange), family=family.title), say("Leave it out."))
    found: dict[str, Any] = {key: value for key, value in family.defaults.items() if key not in config.model_fields_set}
    found |= {
        "family": family.name,
        "task_type": family.task,
        "resolution": config.resolution or found.get("resolution") or bundle.facts["resolution"],
        "prediction_type": bundle.facts.get("prediction_type"),
        "zero_terminal_snr": bundle.facts.get("zero_terminal_snr"),
        "lora_alpha": float(found.get("lora_rank", config.lora_rank)) if config.lora_alpha is None else config.lora_alpha,
        "mixed_precision": precision(config.mixed_precision, bundle.device),
        "threads": config.threads or usual_threads(),  # set when it begins: another run may be training
    }
    if found["zero_terminal_snr"] and found["prediction_type"] != "v_prediction":
        raise InputError(
            say("zero_terminal_snr: pure noise says nothing of the noise in it, so a model that predicts noise can't learn from it."),
            say("Take it out, or set prediction_type: v_prediction for a base model that predicts the velocity."),
        )
    if config.prior_data_dir:
        found["prior_weight"] = config.prior_weight or 1.0
    elif alone := [name for name in ("prior_prompt", "prior_weight") if getattr(config, name)]:
        raise InputError(
            say("{key}: only means something for the class pictures in prior_data_dir.", key=alone[0]),
            say("Set prior_data_dir to a folder of them, or take it out. `sample --count` draws some."),
        )
    if config.masked_loss:
        found["unmasked_weight"] = UNMASKED if config.unmasked_weight is None else config.unmasked_weight
    if config.train_text_encoder:
        found["text_encoder_lr"] = config.text_encoder_lr or config.learning_rate / 2
    if config.adapter == "lokr":
        found["lokr_factor"] = config.factor
    for name in fields.paths():
        if path := getattr(config, name):
            found[name] = Path(path).expanduser().absolute()
            if name != "output_dir" and not found[name].exists():
                raise InputError(say("{key}: {path} is not there.", key=name, path=path), say("Check the path; it begins where you call from."))
    if Path(config.base_model).expanduser().exists() and config.base_model != "pocket":
        found["base_model"] = str(Path(config.base_model).expanduser().absolute())
    step = bundle.facts["step"]
    if found["resolution"] % step:
        raise InputError(say("resolution: must be a multiple of {step} for this model (got {value})", step=step, value=found["resolution"]))
    return Config.model_validate({**config.model_dump(), **found})

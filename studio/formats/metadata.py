"""What a LoRA file says of itself: the `ss_…` fields of kohya's sd-scripts and the `modelspec.…` ones, which other programs show and sort by."""

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

# What a run knows, by the names that its settings and events use → what kohya calls it.
FIELDS = {
    "name": "ss_output_name",
    "run": "ss_session_id",
    "lora_rank": "ss_network_dim",
    "lora_alpha": "ss_network_alpha",
    "lora_dropout": "ss_network_dropout",
    "steps": "ss_steps",
    "epochs": "ss_epoch",
    "pictures": "ss_num_train_images",
    "batch_size": "ss_total_batch_size",
    "gradient_accumulation_steps": "ss_gradient_accumulation_steps",
    "gradient_checkpointing": "ss_gradient_checkpointing",
    "learning_rate": "ss_learning_rate",
    "text_encoder_lr": "ss_text_encoder_lr",
    "optimizer": "ss_optimizer",
    "lr_scheduler": "ss_lr_scheduler",
    "warmup_steps": "ss_lr_warmup_steps",
    "max_grad_norm": "ss_max_grad_norm",
    "seed": "ss_seed",
    "mixed_precision": "ss_mixed_precision",
    "snr_gamma": "ss_min_snr_gamma",
    "noise_offset": "ss_noise_offset",
    "caption_dropout": "ss_caption_dropout_rate",
    "started": "ss_training_started_at",
    "finished": "ss_training_finished_at",
    "date": "modelspec.date",
    "trigger_phrase": "modelspec.trigger_phrase",
    "description": "modelspec.description",
}
# What tells of the pictures that were trained on, and where they lie.
PRIVATE = {"dataset_dirs": "ss_dataset_dirs", "tag_frequency": "ss_tag_frequency"}


class Base(NamedTuple):
    """What kohya's sd-scripts write for one kind of base model: its name and version, the program it comes from, the module that trains it."""

    version: str
    architecture: str
    implementation: str = "diffusers"
    module: str = "networks.lora"


STABILITY = "https://github.com/Stability-AI/generative-models"
FLUX = "https://github.com/black-forest-labs/flux"
BASES = {
    "sd1": Base("sd_v1", "stable-diffusion-v1"),
    "sd2": Base("sd_v2", "stable-diffusion-v2-512"),
    "sdxl": Base("sdxl_base_v1-0", "stable-diffusion-xl-v1-base", STABILITY),
    "sd3": Base("sd3", "stable-diffusion-3", module="networks.lora_sd3"),
    "flux": Base("flux1", "flux-1", FLUX, "networks.lora_flux"),
    "qwen-image": Base("qwen_image", "Qwen-Image", "https://github.com/QwenLM/Qwen-Image", "networks.lora_qwen_image"),
    "flux2": Base("flux_2", "Flux.2", "https://github.com/black-forest-labs/flux2", "networks.lora_flux_2"),
    "z-image": Base("z_image", "Z-Image", "https://github.com/Tongyi-MAI/Z-Image", "networks.lora_zimage"),
}
# The rest of the architecture's name, by the version that fingerprints.py or a family recognises.
VERSIONS = {
    "3-medium": "-m",
    "3.5-medium": "-5-medium",
    "3.5-large": "-5-large",
    **{name: f"-{name}" for name in ("dev", "schnell", "klein-4b", "klein-9b")},
}


def kohya_metadata(facts: Mapping[str, Any], private: bool = False) -> dict[str, str]:
    """The fields of a LoRA file from what its run knows.

    Needs `name`, `kind` (a key of BASES), `lora_rank`, `lora_alpha`, `resolution`. Takes the keys of FIELDS (`started` and `finished`
    in seconds since 1970, `date` as ISO 8601), `version` (a key of VERSIONS), `conv_rank`, `conv_alpha`, `adapter` (lora, dora, lokr),
    `lokr_factor`, `prediction_type` and `base_model`; None means absent, other keys are left out. Of paths only the last part gets in. Of the
    data nothing does, unless `private` lets `dataset_dirs` and `tag_frequency` in: {folder: {"n_repeats": …, "img_count": …}},
    {folder: {tag: count}}.
    """
    given = {key: value for key, value in facts.items() if value is not None}
    kind, size = given["kind"], int(given["resolution"])
    base, velocity, adapter = BASES[kind], given.get("prediction_type") == "v_prediction", given.get("adapter", "lora")
    older = kind in {"sd1", "sd2"}
    fields: dict[str, Any] = {
        "ss_v2": kind == "sd2",
        "ss_base_model_version": base.version + ("_v" if older and velocity else ""),
        "ss_network_module": base.module if adapter == "lora" else "lycoris.kohya",
        "ss_network_args": json.dumps(_arguments(given, adapter)),
        "ss_resolution": (size, size),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{_architecture(given, velocity)}/lora",
        "modelspec.implementation": base.implementation,
        "modelspec.title": given["name"],
        "modelspec.resolution": f"{size}x{size}",
        **{field: given[key] for key, field in FIELDS.items() if key in given},
    }
    if older or kind == "sdxl":
        fields["modelspec.prediction_type"] = "v" if velocity else "epsilon"
    if "learning_rate" in given:
        fields["ss_unet_lr"] = given["learning_rate"]
    if "base_model" in given:
        fields["ss_sd_model_name"] = PurePath(str(given["base_model"]).replace("\\", "/")).name
    if private:
        fields |= {field: json.dumps(given[key], ensure_ascii=False) for key, field in PRIVATE.items() if key in given}
    return {field: str(value) for field, value in sorted(fields.items())}


def _architecture(given: Mapping[str, Any], velocity: bool) -> str:
    if given["kind"] == "sd2" and velocity:
        return "stable-diffusion-v2-768-v"
    return BASES[given["kind"]].architecture + VERSIONS.get(given.get("version", ""), "")


def _arguments(given: Mapping[str, Any], adapter: str) -> dict[str, str]:
    """What sd-scripts and LyCORIS note as arguments of the network, as text."""
    known: dict[str, Any] = {"conv_dim": given.get("conv_rank"), "conv_alpha": given.get("conv_alpha")}
    if adapter == "dora":
        known |= {"algo": "locon", "dora_wd": True, "wd_on_output": True}
    elif adapter == "lokr":
        known |= {"algo": "lokr", "factor": given.get("lokr_factor")}
    return {key: str(value) for key, value in known.items() if value is not None}

"""One file per kind of model. FAMILIES says where each is; a model's own files say which it is."""

import gc
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from studio import home
from studio.device import opening
from studio.errors import InputError, ModelError
from studio.families.base import Family
from studio.formats import fingerprints
from studio.formats.folder import check_folder
from studio.language import say

FAMILIES = {
    "sd": "studio.families.sd:StableDiffusion",
    "sdxl": "studio.families.sdxl:StableDiffusionXL",
    "sd3": "studio.families.sd3:StableDiffusion3",
    "flux": "studio.families.flux:Flux",
    "z_image": "studio.families.z_image:ZImage",
    "qwen_image": "studio.families.qwen_image:QwenImage",
    "flux2": "studio.families.flux2:Flux2",
}
PIPELINES = {
    "StableDiffusionPipeline": "sd",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
    "FluxPipeline": "flux",
    "ZImagePipeline": "z_image",
    "QwenImagePipeline": "qwen_image",
    "Flux2Pipeline": "flux2",
    "Flux2KleinPipeline": "flux2",
}
BASES = {"sd1": "sd", "sd2": "sd", "sdxl": "sdxl", "sd3": "sd3", "flux": "flux", "z-image": "z_image", "qwen-image": "qwen_image", "flux2": "flux2"}
HUB_NAME = re.compile(r"(?!.*(?:--|\.\.|\.(?:git|safetensors|ckpt|gguf)$))\b[\w.-]+\b/\b[\w.-]{1,96}\b", re.ASCII)
POCKET = Path(__file__).parent.parent / "pocket" / "base"


@cache
def get(name: str) -> Family:
    """The family called `name`."""
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise InputError(say("family: {name} is not known.", name=name), say("Known are: {known}.", known=known))
    module, _, kind = FAMILIES[name].partition(":")
    with opening, _no_collection():
        family: Family = getattr(importlib.import_module(module), kind)()
    return family


@contextmanager
def _no_collection() -> Iterator[None]:
    """Opening torch and diffusers makes half a million objects that stay: looking through them for garbage takes an eighth of that time."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def find(base_model: str) -> Path:
    """Where the base model lies: `pocket`, a path, a name below models/, or a Hub id, which is downloaded if it isn't there yet."""
    if path := here(base_model):
        return path
    if HUB_NAME.fullmatch(base_model):
        from studio import hub

        return hub.download(base_model, hub.PIPELINE, "base_model")
    raise ModelError(
        say("base_model: {path} is not there.", path=base_model),
        say("Give a .safetensors file, a diffusers folder, a Hub id such as org/name, or pocket."),
    )


def here(base_model: str) -> Path | None:
    """Where the base model lies, if it is on this machine's disk."""
    places = (POCKET,) if base_model == "pocket" else (Path(base_model).expanduser(), home.models() / base_model)
    return next((path for path in places if path.exists()), None)


def recognise(source: Path) -> str:
    """The family of the base model at `source`, by what is in it."""
    if source.is_dir():
        kind = str(check_folder(source).get("_class_name"))
        found = PIPELINES.get(kind)
    else:
        kind = fingerprints.check_base(source)
        found = BASES.get(kind)
    if found is None:
        known = ", ".join(get(name).title for name in FAMILIES)
        raise ModelError(
            say(
                "{path}: is a model of a kind that can't be trained here yet ({kind}).",
                path=source,
                kind=fingerprints.TITLES.get(str(kind), kind) or say("not recognised"),
            ),
            say("Trained are: {known}.", known=known),
        )
    return found

"""The Presets tab: settings to start from, every setting with its meaning, and the YAML of it."""

from pathlib import Path
from typing import Any

from studio import fields, home
from studio.errors import InputError
from studio.fields import Given
from studio.language import say
from studio.runs import presets as shelf
from studio.runs.presets import Preset
from studio.ui import access, form
from studio.ui.parts import part

LARGEST_BASE = 1_000_000_000  # bytes; smaller files below models/ are LoRA
TOLD = ("lora_rank", "learning_rate", "epochs", "max_steps", "batch_size", "resolution")


def listing(_: dict[str, Any]) -> dict[str, Any]:
    """The presets, the form, and the base models that are there."""
    return {"presets": [_shown(preset) for preset in _visible()], "groups": form.groups(), "bases": _bases()}


def check(asked: dict[str, Any]) -> dict[str, Any]:
    """What was typed as values, what is wrong with it, what follows from it, and how it reads as YAML."""
    values = form.typed(_settings(asked))
    folder = _folder(values.get("train_data_dir") or asked.get("folder"))
    wanted = {"train_data_dir": str(folder), **values} if folder else values
    faults = form.faults(wanted)
    return {
        "values": values,
        "faults": {fault.key: fault.text for fault in faults},
        "follows": form.consequences(values, folder),
        "yaml": _yaml(wanted, bool(asked.get("complete"))) if not faults else "",
    }


def read(asked: dict[str, Any]) -> dict[str, Any]:
    """Settings from a YAML text. Its faults come with their lines; paths are looked at when a run starts."""
    name = Path(str(asked.get("name") or "settings.yaml")).name[:80]
    given = fields.parse_yaml(str(asked.get("text") or "")[: fields.LARGEST_FILE], name)
    for key in ("title", "about"):
        given.pop(key, None)
    missing = {key: Given("pocket" if key == "base_model" else ".", name) for key in ("base_model", "train_data_dir") if key not in given}
    config = fields.build({**missing, **given})
    access.limited(config.model_copy(update={"train_data_dir": home.home()} if "train_data_dir" in missing else {}))
    return {"values": {key: one.value for key, one in given.items()}}


def save(asked: dict[str, Any]) -> dict[str, Any]:
    """Keep the settings as a preset of one's own."""
    if access.HOUSE.demo:
        raise InputError(say("In this demonstration presets are not kept."), say("Download the settings as YAML."))
    values = {
        key: value
        for key, value in form.typed(_settings(asked)).items()
        if key not in ("train_data_dir", "metadata_path", "output_dir", "purpose", "name")
    }
    if wrong := list(form.faults({"base_model": "pocket", "train_data_dir": ".", **values})):
        raise InputError("\n".join(map(str, wrong)), say("Mend what is marked first."))
    return {"preset": _shown(shelf.save(str(asked.get("title") or ""), str(asked.get("about") or ""), values, bool(asked.get("over"))))}


def delete(asked: dict[str, Any]) -> None:
    """Delete a preset of one's own."""
    if access.HOUSE.demo:
        raise InputError(say("In this demonstration presets are not kept."))
    shelf.delete(str(asked.get("name")))


def build() -> None:
    """Put the tab's part on the page."""
    part("presets", [listing, check, read, save, delete])


def _settings(asked: dict[str, Any]) -> dict[str, Any]:
    given = asked.get("settings")
    if not isinstance(given, dict) or len(given) > 500:
        raise InputError(say("Those are no settings."))
    return {str(key): value for key, value in given.items()}


def _folder(given: Any) -> Path | None:
    """The dataset's folder, where the visitor may look."""
    try:
        known = {str(known.folder) for known in access.datasets()}
        return Path(str(given)) if str(given) in known else access.path(str(given)) if given else None
    except InputError:
        return None


def _yaml(values: dict[str, Any], complete: bool) -> str:
    return fields.write_yaml(fields.build({key: Given(value, "") for key, value in values.items()}), only_set=not complete)


def _visible() -> list[Preset]:
    return [preset for preset in shelf.listed() if not preset.own or not access.HOUSE.demo]


def _shown(preset: Preset) -> dict[str, Any]:
    values = {key: given.value for key, given in preset.settings.items()}
    told = [[say(fields.title(key)), values[key]] for key in TOLD if key in values]
    return {"name": preset.name, "title": say(preset.title), "about": say(preset.about), "own": preset.own, "values": values, "told": told}


def _bases() -> list[str]:
    found = ["pocket"]
    if home.models().is_dir() and not access.HOUSE.demo:
        found += [str(path.parent) for path in sorted(home.models().rglob("model_index.json"))]
        found += [
            str(path)
            for path in sorted(home.models().rglob("*.safetensors"))
            if path.stat().st_size > LARGEST_BASE and path.parent.name not in ("unet", "transformer")
        ]
    return found

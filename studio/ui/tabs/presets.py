"""The Presets tab: settings to start from, every setting with its meaning, and the YAML of it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from studio import families, fields, home
from studio.config import OPTIONAL
from studio.errors import InputError, StudioError
from studio.families import meaning
from studio.fields import Given
from studio.language import say
from studio.runs import presets as shelf
from studio.runs.foreign import reading
from studio.runs.presets import Preset
from studio.ui import access, form, tasks
from studio.ui.parts import part
from studio.ui.tabs.recommend import recommend

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
    filled = {**shelf.YOURS, **wanted}
    idle = _idle(values)
    return {
        "values": values,
        "faults": {key: say("It means nothing for this base model. Leave it out.") for key in idle & values.keys()}
        | {fault.key: fault.text for fault in faults},
        "idle": sorted(idle),
        "follows": form.consequences(values, folder),
        "yaml": _yaml(filled, bool(asked.get("complete"))) if not form.faults(filled) else "",
    }


def read(asked: dict[str, Any]) -> dict[str, Any]:
    """Settings from a text: our YAML, or a file of another trainer, with what was adapted and left out. Paths are looked at when a run starts."""
    name = Path(str(asked.get("name") or "settings")).name[:80]
    found = reading.parse(str(asked.get("text") or ""), name)
    missing = {key: "pocket" if key == "base_model" else "." for key in ("base_model", "train_data_dir") if key not in found.settings}
    config = fields.build({key: Given(value, name) for key, value in {**missing, **found.settings}.items()})
    access.limited(config.model_copy(update={"train_data_dir": home.home()} if "train_data_dir" in missing else {}))
    notes = {"adapted": [note._asdict() for note in found.adapted], "left_out": [note._asdict() for note in found.left_out]}
    return {"program": found.program, "title": found.title, "about": found.about, "values": found.settings, **notes}


def share(asked: dict[str, Any]) -> dict[str, Any]:
    """A preset as one file, which can be imported elsewhere."""
    preset = _called(asked.get("name"))
    return {"name": f"{preset.name}.yaml", "text": shelf.template(preset)}


def differ(asked: dict[str, Any]) -> dict[str, Any]:
    """What two presets differ in: setting, its name in words, both values."""
    rows = shelf.differences(_called(asked.get("a")), _called(asked.get("b")))
    return {"rows": [[key, say(fields.title(key)), fields.shown(a), fields.shown(b)] for key, a, b in rows]}


def save(asked: dict[str, Any]) -> dict[str, Any]:
    """Keep the settings as a preset of one's own."""
    if access.HOUSE.demo:
        raise InputError(say("In this demonstration presets are not kept."), say("Download the settings as YAML."))
    values = {key: value for key, value in form.typed(_settings(asked)).items() if key not in shelf.PERSONAL}
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
    part("presets", [listing, check, read, save, delete, share, differ, recommend, tasks.task, tasks.cancel], "exchange", "recommend")


def _settings(asked: dict[str, Any]) -> dict[str, Any]:
    given = asked.get("settings")
    if not isinstance(given, dict) or len(given) > 500:
        raise InputError(say("Those are no settings."))
    return {str(key): value for key, value in given.items()}


def _idle(values: dict[str, Any]) -> set[str]:
    """Settings that mean nothing for the base model, as far as it can be told without the Hub."""
    family, base = values.get("family"), str(values.get("base_model") or "pocket")
    if (source := families.here(base)) and not (access.HOUSE.demo and base != "pocket"):
        with suppress(StudioError, OSError):
            family = families.recognise(source)
    return set(OPTIONAL - meaning.settings(family)) if isinstance(family, str) else set()


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


def _called(name: Any) -> Preset:
    for preset in _visible():
        if preset.name == name:
            return preset
    raise InputError(say("There is no preset {name}.", name=str(name)[:80]))


def _shown(preset: Preset) -> dict[str, Any]:
    values = {key: given.value for key, given in preset.settings.items()}
    told = [[say(fields.title(key)), values[key]] for key in TOLD if key in values]
    shown = {"name": preset.name, "title": say(preset.title), "about": say(preset.about), "own": preset.own, "memory": preset.memory}
    return {**shown, "values": values, "told": told}


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

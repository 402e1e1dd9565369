"""Presets: YAML files with a title, what they are for, and every value that the title promises."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio import families, fields, home
from studio.errors import InputError
from studio.fields import Given
from studio.files import write_atomically
from studio.language import say

YOURS = {"base_model": "./models/your-model.safetensors", "train_data_dir": "./data/pictures"}

PERSONAL = (*fields.paths(), "purpose", "name")
MEMORY = re.compile(r".+-(\d+)gb")
HEADING = re.compile(r"# (title|about): (.*)")


@dataclass(frozen=True)
class Preset:
    """A preset. `title` and `about` are sentences for people, `settings` what it sets and in which line; `own` ones the person has saved."""

    name: str
    title: str
    about: str
    settings: dict[str, Given]
    own: bool = False

    @property
    def memory(self) -> int | None:
        """GB of the card that a preset is made for, which its name ends in; None: it is made for a purpose."""
        found = None if self.own else MEMORY.fullmatch(self.name)
        return int(found[1]) if found else None


def load(name: str) -> Preset:
    """The preset called `name` (of those that ship, else of one's own), or in the file `name`. Raises InputError."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else _place(name)
    if not path.is_file():
        if name.endswith((".json", ".toml")):
            raise InputError(say("{path}: is no preset yet.", path=name), say("Bring it in: python studio.py presets import {path}", path=name))
        known = ", ".join(preset.name for preset in listed())
        raise InputError(say("There is no preset {name}.", name=name), say("There are: {known}.", known=known))
    given = fields.read_yaml(path)
    title, about = (str(given.pop(key).value) if key in given else "" for key in ("title", "about"))
    return Preset(path.stem, title or path.stem, about, given, path.parent == home.own_presets())


def listed() -> list[Preset]:
    """All presets by name: those for a purpose, those for a memory, the smallest first, then one's own. One that can't be read is passed over."""
    found = []
    for folder in (home.presets(), home.own_presets()):
        for path in folder.glob("*.yaml"):
            with suppress(InputError):
                found.append(load(str(path)))
    return sorted(found, key=_place_of)


def save(title: str, about: str, settings: dict[str, Any], over: bool = False) -> Preset:
    """Keep settings as a preset of one's own, without what belongs to one run. Raises InputError when the name is taken (unless `over` one's own)."""
    name = re.sub(r"[^\w-]+", "-", title.strip().lower()).strip("-")[:60]
    if not name:
        raise InputError(say("A preset needs a title."))
    path = home.own_presets() / f"{name}.yaml"
    if (home.presets() / f"{name}.yaml").exists() or (path.exists() and not over):
        raise InputError(say("There is a preset {name} already.", name=name), say("Give it another title."))
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = {"title": title.strip(), "about": " ".join(about.split())} | {key: settings[key] for key in settings if key not in PERSONAL}
    write_atomically(path, "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in lines.items()))
    return load(str(path))


def delete(name: str) -> None:
    """Delete one of one's own. Raises InputError."""
    path = home.own_presets() / f"{name}.yaml"
    if name not in [preset.name for preset in listed() if preset.own]:
        raise InputError(say("There is no preset {name}.", name=name), say("Only your own presets can be deleted."))
    path.unlink()


def _place(name: str) -> Path:
    shipped = home.presets() / f"{name}.yaml"
    return shipped if shipped.is_file() or "/" in name else home.own_presets() / f"{name}.yaml"


def _place_of(preset: Preset) -> tuple[bool, int, int, str]:
    if preset.memory is None:
        return preset.own, -1, 0, preset.name
    return False, list(families.FAMILIES).index(str(preset.settings["family"].value)), preset.memory, preset.name


def template(preset: Preset) -> str:
    """A commented file to start from, or to share: the preset's values, and what a run needs besides."""
    given = {key: Given(value, "preset") for key, value in YOURS.items()} | preset.settings
    config = fields.build(given)
    return f"# title: {say(preset.title)}\n# about: {say(preset.about)}\n\n{fields.write_yaml(config, only_set=True)}"


def stands_in(key: str, value: Any) -> bool:
    """Whether a template has this in place of a path of one's own."""
    return key in YOURS and Path(str(value)) == Path(YOURS[key])


def heading(text: str, given: dict[str, Given]) -> tuple[str, str]:
    """Title and purpose: taken out of `given`, or from the comments in which a template has them."""
    said = {found[1]: found[2] for line in text.splitlines()[:5] if (found := HEADING.fullmatch(line))}
    for key in ("title", "about"):
        if key in given:
            said[key] = str(given.pop(key).value)
    return said.get("title", "").strip(), said.get("about", "").strip()


def differences(left: Preset, right: Preset) -> list[tuple[str, Any, Any]]:
    """Setting, value in `left`, value in `right`, wherever they differ. What a preset leaves open has the studio's default."""
    a, b = _effective(left), _effective(right)
    return [(key, a[key], b[key]) for key in a if a[key] != b[key]]


def _effective(preset: Preset) -> dict[str, Any]:
    config = fields.build({key: Given(value, "preset") for key, value in YOURS.items()} | preset.settings)
    values = {**config.model_dump(mode="json"), "lora_alpha": config.alpha}
    return {key: None if stands_in(key, values[key]) else values[key] for _, key, _ in fields.settings() if key not in PERSONAL}

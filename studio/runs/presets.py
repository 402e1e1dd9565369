"""Presets: YAML files with a title, what they are for, and every value that the title promises."""

from dataclasses import dataclass
from pathlib import Path

from studio import fields, home
from studio.errors import InputError
from studio.fields import Given
from studio.language import say

YOURS = {"base_model": "./models/your-model.safetensors", "train_data_dir": "./data/pictures"}


@dataclass(frozen=True)
class Preset:
    """A preset. `title` and `about` are sentences for people, `settings` what it sets and in which line."""

    name: str
    title: str
    about: str
    settings: dict[str, Given]


def load(name: str) -> Preset:
    """The preset called `name`, or in the file `name`. Raises InputError."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else home.presets() / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(preset.name for preset in listed())
        raise InputError(say("There is no preset {name}.", name=name), say("There are: {known}.", known=known))
    given = fields.read_yaml(path)
    title, about = (str(given.pop(key).value) if key in given else "" for key in ("title", "about"))
    return Preset(path.stem, title or path.stem, about, given)


def listed() -> list[Preset]:
    """The presets that ship with the project, by name."""
    return [load(str(path)) for path in sorted(home.presets().glob("*.yaml"))]


def template(preset: Preset) -> str:
    """A commented file to start from: the preset's values, and what a run needs besides."""
    given = {key: Given(value, "preset") for key, value in YOURS.items()} | preset.settings
    config = fields.build(given)
    return f"# {say(preset.title)}: {say(preset.about)}\n\n{fields.write_yaml(config, only_set=True)}"

"""Settings files as they come: our own YAML, and TOML or JSON of kohya's sd-scripts, its GUI and SD-Trainer."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from studio import fields
from studio.errors import InputError
from studio.fields import Given
from studio.language import say
from studio.runs import presets
from studio.runs.foreign import kohya
from studio.runs.foreign.imported import Imported
from studio.runs.presets import Preset

LARGEST = 1_000_000  # characters
DEEPEST = 4
DOTS = 200  # in a line: a name of many thousand parts keeps the TOML reader busy for minutes
LIKE_TOML = re.compile(r"^\s*(?:\[[^\]\n]*\]|[\w.\"-]+\s*=)", re.M)


def read(path: Path) -> Imported:
    """The settings in a file. Raises InputError."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(say("{path}: can't be read: {reason}", path=path, reason=error.strerror), say("Check the path.")) from None
    if len(raw) > LARGEST:
        raise _too_large(str(path), LARGEST)
    try:
        return parse(raw.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(say("{path}:{line}: is not UTF-8 text.", path=path, line=line), say("Save the file as UTF-8.")) from None


def preset(name: str) -> Preset:
    """The preset called `name`, or what a settings file would be as one. Raises InputError."""
    if Path(name).suffix.lower() not in (".json", ".toml", ".yaml", ".yml"):
        return presets.load(name)
    found = read(Path(name))
    return Preset(Path(name).name, found.title, found.about, {key: Given(value, name) for key, value in found.settings.items()})


def parse(text: str, name: str) -> Imported:
    """The settings in a text; `name` is what messages call it. Its ending says what it is, or its looks. Raises InputError."""
    if len(text) > LARGEST:
        raise _too_large(name, LARGEST)
    kind, title = Path(name).suffix.lower(), Path(name).stem
    if kind == ".json" or (kind != ".toml" and text.lstrip().startswith("{")):
        read = _json(text, name)
    elif kind == ".toml" or (kind not in (".yaml", ".yml") and LIKE_TOML.search(text)):
        read = _toml(text, name)
    else:
        return _own(text, name)
    made = kohya.translate(_flat(read, {}) if isinstance(read, dict) else {}, title)
    if not made.settings:
        raise InputError(
            say("{path}: holds no training settings.", path=name),
            say("Choose a settings file of sd-scripts, kohya_ss or SD-Trainer, or one of ours."),
        )
    made.about = made.about or say("From {file} of {program}.", file=Path(name).name, program=made.program)
    return made


def _own(text: str, name: str) -> Imported:
    """Our own YAML. What stands in it for a person's paths is dropped."""
    if len(text) > fields.LARGEST_FILE:
        raise _too_large(name, fields.LARGEST_FILE)
    given = fields.parse_yaml(text, name)
    title, about = presets.heading(text, given)
    missing = {key: Given(value, name) for key, value in presets.YOURS.items() if key not in given}
    fields.build({**missing, **given})
    values = {key: one.value for key, one in given.items() if not presets.stands_in(key, one.value)}
    return Imported("LoRA Studio", title or Path(name).stem, about, values, {key: key for key in values})


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise _nested(name) from None
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise InputError(say("{path}:{line}: is not valid JSON.", path=name, line=line), say("Save it anew with the program it is from.")) from None


def _toml(text: str, name: str) -> Any:
    if any(line.count(".") > DOTS for line in text.splitlines()):
        raise _nested(name)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _nested(name) from None
    except ValueError as error:
        reason = str(error).partition("\n")[0][:200]
        raise InputError(
            say("{path}: is not valid TOML: {reason}", path=name, reason=reason), say("Save it anew with the program it is from.")
        ) from None


def _flat(given: dict[str, Any], found: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Sections dissolved, as sd-scripts does; of several datasets the first."""
    for key, value in given.items():
        inner = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
        if not isinstance(inner, dict):
            found[key.lower()[:80]] = inner
        elif depth < DEEPEST:
            _flat(inner, found, depth + 1)
    return found


def _too_large(name: str, limit: int) -> InputError:
    return InputError(say("{path}: is larger than {limit} kB, so it is no settings file.", path=name, limit=limit // 1000))


def _nested(name: str) -> InputError:
    return InputError(say("{path}: is nested too deeply to be a settings file.", path=name))

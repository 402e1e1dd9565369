"""Is a model folder in the format of diffusers sound? Nothing in it may be a program, and its lists of files may name only what lies there."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from studio.errors import ModelError
from studio.language import say

INDEX = "model_index.json"
# The third is how old Stable Diffusion models call the library of their safety checker; no such library is ever opened.
LIBRARIES = {"diffusers", "transformers", "stable_diffusion"}
LIMIT = 10_000_000


def check_folder(folder: Path) -> dict[str, Any]:
    """What model_index.json says. Raises ModelError when it is missing, or when something in the folder is a program or is missing."""
    index = folder / INDEX
    if not index.is_file():
        raise ModelError(say("{path}: is no diffusers folder: model_index.json is missing.", path=folder), say("Give the folder that holds it."))
    content = _read(index)
    inside = [path for path in folder.iterdir() if path.is_dir()]
    if programs := sorted(path for place in (folder, *inside) for path in place.glob("*.py")):
        raise ModelError(
            say("{path}: is a program. Models that bring their own programs aren't opened.", path=programs[0]),
            say("Choose a model that needs none, or delete the program if you are sure that the model works without it."),
        )
    for name, value in content.items():
        library = value[0] if isinstance(value, list) and value else None
        if (name == "_class_name" and not isinstance(value, str)) or (library is not None and library not in LIBRARIES):
            raise ModelError(
                say("{path}: {name} comes from {library}, which is none of diffusers and transformers.", path=index, name=name, library=library),
                say("Choose a model that is made of parts of diffusers and transformers only."),
            )
    for place in inside:
        for shards in sorted(place.glob("*.safetensors.index.json")):
            _check_shards(shards)
    return content


def _check_shards(index: Path) -> None:
    """Every file that holds a part of the weights is a plain name and lies beside its list."""
    names = _read(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise _unreadable(index)
    for name in sorted(set(names.values())):
        if PurePosixPath(name.replace("\\", "/")).name != name or name in {"", ".", ".."}:
            raise ModelError(
                say("{path}: names {name}, which is no file beside it.", path=index, name=ascii(name)[:100]),
                say("Don't use this model: it may be made to read other files of this machine."),
            )
        if not (index.parent / name).is_file():
            raise ModelError(say("{path}: is missing.", path=index.parent / name), say("Download the model again; it is in several files."))


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise _unreadable(path) from None
    if not isinstance(content, dict):
        raise _unreadable(path)
    return content


def _unreadable(path: Path) -> ModelError:
    return ModelError(say("{path}: can't be read.", path=path), say("Download the model again."))

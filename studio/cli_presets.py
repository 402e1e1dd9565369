"""The command line's part for presets: look at them, bring them in, compare them."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from studio import fields
from studio.errors import InputError
from studio.language import say

if TYPE_CHECKING:
    from studio.runs.imported import Imported, Note
    from studio.runs.presets import Preset


def presets(arguments: argparse.Namespace) -> None:
    """List presets, show one as a file to start from, bring one in from a file, or compare two."""
    {"list": _list, "show": _show, "import": _import, "diff": _diff}[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> None:
    from studio.runs import presets as shelf

    found = shelf.listed()
    if arguments.json:
        print(json.dumps([_row(preset) for preset in found], ensure_ascii=False, indent=1))
        return
    for preset in found:
        print(f"{preset.name:<15} {say(preset.title)}: {say(preset.about)}")


def _show(arguments: argparse.Namespace) -> None:
    from studio.files import write_atomically
    from studio.runs import presets as shelf

    text = shelf.template(shelf.load(arguments.name))
    if arguments.output is None:
        print(text, end="")
        return
    if arguments.output.exists():
        raise InputError(say("{path} is there already.", path=arguments.output), say("Choose another --output."))
    write_atomically(arguments.output, text)
    print(say("Written: {path}. Put your paths in, then: python studio.py train --config {path}", path=arguments.output))


def _import(arguments: argparse.Namespace) -> None:
    from studio.runs import foreign
    from studio.runs import presets as shelf

    found = foreign.read(arguments.file)
    made = shelf.save(arguments.title or found.title, found.about, found.settings)
    if arguments.json:
        print(json.dumps({**_row(made), "taken": found.taken, **_notes(found)}, ensure_ascii=False, indent=1))
        return
    print(say("Taken over from {program}:", program=found.program))
    for ours, given in made.settings.items():
        theirs = found.taken.get(ours, ours)
        print(f"  {ours}: {fields.shown(given.value)}" + (f"  ({theirs})" if theirs != ours else ""))
    _tell(say("Adapted:"), found.adapted)
    _tell(say("Left out:"), found.left_out)
    print(say("Kept as {name}. Use it with: python studio.py train --preset {name} --config FILE", name=made.name))


def _tell(heading: str, notes: "list[Note]") -> None:
    """Notes with the same reason together."""
    if notes:
        print(heading)
    for reason in dict.fromkeys(note.reason for note in notes):
        print(f"  {reason}")
        print("    " + ", ".join(f"{note.key} = {' '.join(note.value.split())}" for note in notes if note.reason == reason))


def _diff(arguments: argparse.Namespace) -> None:
    from studio.runs import foreign
    from studio.runs import presets as shelf

    left, right = (foreign.preset(name) for name in (arguments.a, arguments.b))
    rows = shelf.differences(left, right)
    if arguments.json:
        print(json.dumps({key: {"a": a, "b": b} for key, a, b in rows}, ensure_ascii=False, indent=1))
        return
    if not rows:
        print(say("Their settings are the same."))
        return
    table = [("", left.name, right.name), *((key, fields.shown(a), fields.shown(b)) for key, a, b in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(2)]
    for key, a, b in table:
        print(f"{key:<{widths[0]}}  {a:<{widths[1]}}  {b}")


def _row(preset: "Preset") -> dict[str, Any]:
    return {
        "name": preset.name,
        "title": say(preset.title),
        "about": say(preset.about),
        "settings": {key: given.value for key, given in preset.settings.items()},
    }


def _notes(found: "Imported") -> dict[str, Any]:
    return {"adapted": [note._asdict() for note in found.adapted], "left_out": [note._asdict() for note in found.left_out]}

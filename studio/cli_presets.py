"""The command line's part for settings to start from: presets, and what is recommended for some data."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from studio import fields
from studio.errors import InputError
from studio.fields import Given
from studio.language import say

if TYPE_CHECKING:
    from studio.runs.foreign.imported import Imported, Note
    from studio.runs.presets import Preset


def presets(arguments: argparse.Namespace) -> None:
    """List presets, show one as a file to start from, bring one in from a file, or compare two."""
    {"list": _list, "show": _show, "import": _import, "diff": _diff}[arguments.action](arguments)


def recommend(arguments: argparse.Namespace) -> None:
    """Find settings for pictures, a base model and this machine, with the reason for each."""
    from studio.files import write_atomically
    from studio.runs import run
    from studio.runs.advice import facts
    from studio.runs.advice import recommend as adviser
    from studio.terminal import following

    if arguments.output and arguments.output.exists():
        raise InputError(say("{path} is there already.", path=arguments.output), say("Choose another --output."))
    given = {"base_model": Given(arguments.base_model, "--base_model"), "train_data_dir": Given(str(arguments.data), "--data")}
    if arguments.metadata_path:
        given["metadata_path"] = Given(str(arguments.metadata_path), "--metadata_path")
    config = fields.build(given)
    with following(say("Looking at the base model")) as progress:
        progress(0, 1)
        base = facts.base_of(config)
        progress(1, 1)
    with _after_a_second(say("Looking at the pictures")) as progress:
        known = facts.gather(config, base, run.listed(), progress)
    found = adviser.recommend(known)
    besides = adviser.notes(known, found)
    if arguments.json:
        rows = [vars(one) for one in found]
        print(json.dumps({"about": adviser.about(known), "settings": rows, "notes": besides}, ensure_ascii=False, indent=1))
    else:
        print(adviser.about(known) + "\n")
        for one in found:
            print(f"{one.key:<27} {fields.shown(one.value):<20} {one.reason}")
        for line in besides:
            print(f"\n{line}")
    if arguments.output:
        reasons = {one.key: one.reason for one in found}
        text = "".join(f"# {line}\n" for line in (adviser.about(known), *besides))
        write_atomically(arguments.output, f"{text}\n{fields.write_yaml(adviser.config(config, found), only_set=True, reasons=reasons)}")
        print(say("Written: {path}. Start it with: python studio.py train --config {path}", path=arguments.output), file=sys.stderr)


@contextmanager
def _after_a_second(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that is over in a moment, mostly."""
    from studio.terminal import following

    began = time.monotonic()
    with following(what) as progress:
        yield lambda done, total: progress(done, total) if time.monotonic() - began > 1 else None


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
    from studio.runs import presets as shelf
    from studio.runs.foreign import reading

    found = reading.read(arguments.file)
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
    from studio.runs import presets as shelf
    from studio.runs.foreign import reading

    left, right = (reading.preset(name) for name in (arguments.a, arguments.b))
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

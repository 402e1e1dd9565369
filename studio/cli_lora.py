"""The command line's part for LoRA files: look into them."""

import argparse
import json
from typing import TYPE_CHECKING

from studio.language import say

if TYPE_CHECKING:
    from studio.formats.inspect import Inspection

WIDTH = 30  # characters of the longest bar


def inspect(arguments: argparse.Namespace) -> None:
    """Say what is in a LoRA file, of whatever program."""
    from studio.formats.inspect import inspect as look

    found = look(arguments.file)
    if arguments.json:
        print(json.dumps(found.as_json(), ensure_ascii=False, indent=1))
        return
    _tell(found)


def _tell(found: "Inspection") -> None:
    from studio.formats.facts import facts, sort

    print(found.file)
    for name, value in facts(found):
        print(f"  {name}: {value}")
    print(say("Layers by group, with rank and alpha:"))
    for group in found.groups:
        ranks, alphas = (", ".join(f"{value:g}" for value in values) for values in (group.ranks, group.alphas))
        print(f"  {group.name} {sort(group.sort)}: {group.layers} × {ranks or '–'} / {alphas or '–'}")
    if found.norms:
        print(say("How much each block is changed (Frobenius norm):"))
        most, longest = max(norm for _, norm in found.norms), max(len(name) for name, _ in found.norms)
        for name, norm in found.norms:
            print(f"  {name:<{longest}} {norm:10.4g} {'█' * round(WIDTH * norm / (most or 1))}")
    for note in found.notes:
        print(note)

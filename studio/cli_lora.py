"""The command line's part for LoRA files: write a run's, look into any, put them together, make them smaller."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from studio.errors import InputError
from studio.language import say

if TYPE_CHECKING:
    from studio.formats.inspect import Inspection
    from studio.results.lorafile import Made
    from studio.runs.run import Run

WIDTH = 30  # characters of the longest bar


def export(arguments: argparse.Namespace) -> None:
    """Write a run's LoRA files anew, of any checkpoint, for whatever program; as a pack to give away, or merged into the base model."""
    from studio.results import export as results
    from studio.runs import run

    found = run.find(arguments.run)
    if arguments.private and not arguments.pack:
        raise InputError(say("--private belongs to --pack."))
    if arguments.pack:
        from studio.results.card import pack

        print(pack(found, arguments.step, arguments.private))
    if arguments.send is not None:
        from studio.results import sending

        if arguments.send:
            sending.remember(arguments.send)
        for path in sending.send(found, arguments.step):
            print(path)
    if arguments.merged:
        from studio.terminal import following

        with following(say("Parts")) as bar:
            print(results.merged(found, arguments.merged, arguments.step, arguments.precision, bar))
    if arguments.format or arguments.program or not (arguments.pack or arguments.merged or arguments.send is not None):
        _write(found, arguments)


def _write(found: "Run", arguments: argparse.Namespace) -> None:
    """The run's files, and which program would lose something of them."""
    from studio.formats.facts import loading
    from studio.formats.fingerprints import recognise_lora
    from studio.formats.gate import check_safetensors
    from studio.formats.readers import will_load
    from studio.results import export as results
    from studio.results.loading import form_for
    from studio.runs import result

    usual = (form_for(arguments.program),) if arguments.program else result.FORMATS
    formats = {None: usual, "all": results.FORMATS}.get(arguments.format, (arguments.format,))
    for path in results.export(found, arguments.step, formats, arguments.precision, None if arguments.anyway else arguments.program):
        print(path)
        header = check_safetensors(path) if path.is_file() else None
        kind = recognise_lora(header) if header else None
        for program, share, why in loading(will_load(header, kind)) if header and kind else []:
            if why and (path.name != result.DIFFUSERS or program == "diffusers"):  # that file is for diffusers; others have their own
                print(f"  {program}: {share}. {why}")


def inspect(arguments: argparse.Namespace) -> None:
    """Say what is in a LoRA file, of whatever program."""
    from studio.formats.inspect import inspect as look

    path = Path(arguments.file)
    if not path.exists():
        from studio.results.generate import find_lora

        path = find_lora(arguments.file)
    found = look(path)
    if arguments.json:
        print(json.dumps(found.as_json(), ensure_ascii=False, indent=1))
        return
    _tell(found)


def lora(arguments: argparse.Namespace) -> None:
    """Merge LoRA files, make one smaller, or take one out of a tuned model."""
    from studio.results.lorafile import write
    from studio.terminal import following

    if arguments.rank is not None and arguments.rank < 1:
        raise InputError(say("--rank: must be at least 1 (got {value}).", value=arguments.rank))
    with following(say("Layers")) as bar:
        made = _ACTIONS[arguments.action](arguments, bar)
    for path in write(made, arguments.output, arguments.format, arguments.precision):
        print(path)
    ranks = "–".join(str(rank) for rank in dict.fromkeys((made.ranks[0], made.ranks[-1])))
    print(say("Rank {ranks}; {share} of the change is kept.", ranks=ranks, share=f"{made.kept:.2%}"))
    for note in made.notes:
        print(note)


def _merge(arguments: argparse.Namespace, bar: Callable[[int, int], None]) -> "Made":
    from studio.results.generate import choice
    from studio.results.merge import merge

    return merge([choice(word) for word in arguments.files], arguments.rank, bar, arguments.base_model)


def _resize(arguments: argparse.Namespace, bar: Callable[[int, int], None]) -> "Made":
    from studio.results.generate import find_lora
    from studio.results.resize import resize

    if arguments.keep is not None and not 0 < arguments.keep <= 1:
        raise InputError(say("--keep: a share lies between 0 and 1 (got {value}).", value=f"{arguments.keep:g}"))
    return resize(find_lora(arguments.file), arguments.rank, arguments.keep, bar, arguments.base_model)


def _extract(arguments: argparse.Namespace, bar: Callable[[int, int], None]) -> "Made":
    from studio.results.extract import extract

    return extract(arguments.tuned, arguments.base_model, arguments.rank, bar)


_ACTIONS = {"merge": _merge, "resize": _resize, "extract": _extract}


def _tell(found: "Inspection") -> None:
    from studio.formats.facts import facts, loading, sort

    print(found.file)
    for name, value in facts(found):
        print(f"  {name}: {value}")
    if found.programs:
        print(say("Will it load?"))
        for program, share, why in loading(found.programs):
            print(f"  {program}: {share} {why}".rstrip())
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

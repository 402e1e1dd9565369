"""Will it load? Which program reads how much of what leaves a run, known before it is written."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from studio.errors import InputError
from studio.families.base import Bundle, Family
from studio.formats.adapter import write_diffusers
from studio.formats.facts import loading
from studio.formats.gate import check_safetensors
from studio.formats.kohya import write_kohya
from studio.formats.lora import Layer
from studio.formats.readers import PROGRAMS, Verdict, will_load
from studio.language import say

WRITERS = {"kohya": write_kohya, "diffusers": write_diffusers}
NAMES = {program.lower(): program for readers in PROGRAMS.values() for program in readers}
"""What a program is called on the command line."""


def form_for(program: str) -> str:
    """The format that is meant for a program."""
    return "diffusers" if program == "diffusers" else "kohya"


def verdict(program: str, layers: Mapping[str, Layer], family: Family, bundle: Bundle, metadata: Mapping[str, str]) -> Verdict | None:
    """What a program (a key of NAMES) makes of the file that is meant for it; None where nothing is known of the two."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "lora.safetensors"
        WRITERS[form_for(program)](path, layers, family.names, metadata)
        found = will_load(check_safetensors(path), str(bundle.facts["kind"]))
    return next((one for one in found if one.program == NAMES[program]), None)


def refuse_loss(program: str, layers: Mapping[str, Layer], family: Family, bundle: Bundle, metadata: Mapping[str, str]) -> None:
    """Raises InputError where the program doesn't read all of the file, with the layers that are lost."""
    found = verdict(program, layers, family, bundle, metadata)
    if found and not found.complete:
        ((name, share, why),) = loading([found])
        raise InputError(
            say("{program} reads {share} of this LoRA. {why}", program=name, share=share, why=why),
            say("Add --anyway to write it all the same, or choose another program."),
        )

"""The demonstration: a style from forty pictures on the pocket model, and the small judge's word on what came of it."""

from collections.abc import Sequence

from PIL.Image import Image

from studio import fields
from studio.config import Config
from studio.fields import Given
from studio.language import say
from studio.pocket import SAMPLES, judge
from studio.results.generate import Look
from studio.runs import presets

STYLE = "gameboy"
STRENGTHS = [0.0, 0.5, 1.0]
SEED = 900
LOOK = Look(steps=12, guidance=4.0)
SHOWN = 8


def config() -> Config:
    """The pocket preset on the sample pictures."""
    given = {"train_data_dir": str(SAMPLES / STYLE), "purpose": say("See a style arrive on the pocket model.")}
    return fields.build(presets.load("pocket").settings, {key: Given(value, "demo") for key, value in given.items()})


def prompts() -> list[str]:
    """Things that are in none of the sample pictures."""
    return list(judge.held_out().values())[:SHOWN]


def verdict(pictures: Sequence[Sequence[Image]]) -> str:
    """What the judge says of pictures by prompt and strength."""
    things = list(judge.held_out())[:SHOWN]
    columns = [[row[column] for row in pictures] for column in range(len(STRENGTHS))]
    style = " → ".join(f"{judge.style_progress(column, STYLE):.2f}" for column in columns)
    seen = sum(judge.recognised(columns[-1], things))
    return say("Style, from 0 (before) to 1 (the real thing): {style}. Still recognised: {seen} of {all}.", style=style, seen=seen, all=len(things))

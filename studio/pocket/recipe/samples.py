"""The sample sets: 40 pictures of one style at 256 × 256 with captions that name the thing and not the style."""

import csv
from pathlib import Path

from PIL import Image

from studio.pocket.recipe.pictures import Pictures
from studio.pocket.recipe.styles import styled
from studio.pocket.recipe.things import caption, sample_things

STYLES = ("gameboy", "blueprint")


def write(folder: Path, style: str, pictures: Pictures) -> None:
    """Write one set into `folder`: a PNG per thing and metadata.csv (`file_name`, `text`)."""
    rows = [("file_name", "text")]
    for thing in sorted(sample_things()):
        Image.fromarray(styled(style, pictures, thing)).save(folder / f"{thing}.png", optimize=True)
        rows.append((f"{thing}.png", caption(thing)))
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)

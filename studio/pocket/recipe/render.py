"""Icons → pictures: every chosen SVG through rsvg-convert."""

import io
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from studio.language import say
from studio.pocket.recipe import icons
from studio.pocket.recipe.pictures import Picture, save

PIXELS = 128
SECONDS = 20


def render(packages: Path, target: Path) -> None:
    """Write one file of pictures per icon set into the folder `target`; `packages` holds node_modules."""
    sets = {name: icons.load(packages, name) for name in icons.VERSIONS}
    names = icons.chosen(sets[icons.FLAT], sets[icons.COLOUR])
    for icon_set, content in sets.items():
        drawn = render_set((name, svg) for name in names if (svg := icons.svg(content, name)))
        missing = sorted(set(names) - set(drawn))
        save(target / f"{icon_set}.npz", drawn)
        print(
            say("{name}: {count} pictures; not to be had: {missing}", name=icon_set, count=len(drawn), missing=", ".join(missing) or "–"),
            flush=True,
        )


def render_set(documents: Iterable[tuple[str, str]]) -> dict[str, Picture]:
    """Name and SVG text → RGBA uint8 [128, 128, 4]; what the renderer can't draw is left out (fluent-emoji's umbrella, by librsvg 2.54)."""
    with ThreadPoolExecutor(2) as pool:
        drawn = pool.map(lambda item: (item[0], draw(item[1])), documents)
        return {name: picture for name, picture in drawn if picture is not None}


def draw(svg: str) -> Picture | None:
    """One SVG document as RGBA uint8 [128, 128, 4], or None where the renderer gives up."""
    command = ["rsvg-convert", "-w", str(PIXELS), "-h", str(PIXELS)]
    try:
        result = subprocess.run(command, input=svg.encode(), capture_output=True, timeout=SECONDS, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return np.array(Image.open(io.BytesIO(result.stdout)).convert("RGBA"))

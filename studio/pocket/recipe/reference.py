"""What the judge measures against, as judge.json: its classes, the held-out things, and the mean features of their real pictures."""

import json
from pathlib import Path

from studio.pocket.judge import Features, features
from studio.pocket.recipe import samples
from studio.pocket.recipe.icons import FLAT
from studio.pocket.recipe.pictures import Pictures, resized, through_256
from studio.pocket.recipe.styles import styled
from studio.pocket.recipe.things import THINGS, caption, held_out_things


def write(path: Path, pictures: Pictures) -> None:
    """Write `things`, `held_out` (thing → prompt), `base` and `styles` (means of the 66 features over the held-out things)."""
    held_out = held_out_things()
    styles = {style: [resized(styled(style, pictures, thing)) for thing in held_out] for style in samples.STYLES}
    facts = {
        "things": list(THINGS),
        "held_out": {thing: caption(thing) for thing in held_out},
        "base": _mean(features([through_256(pictures[FLAT][thing]) for thing in held_out])),
        "styles": {style: _mean(features(shown)) for style, shown in styles.items()},
    }
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _mean(values: Features) -> list[float]:
    return [round(value, 6) for value in values.mean(0).tolist()]

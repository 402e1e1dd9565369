"""A network that gives each of its tags a probability: the WD taggers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.data.writing.captioners import Options, Shot


@dataclass
class Tagger:
    """A WD tagger: an ONNX network [n, side, side, 3] (BGR, 0 to 255) → a probability for each tag of selected_tags.csv."""

    session: Any
    tags: list[tuple[str, int]]
    options: Options
    batch: int

    RATING, CHARACTER = 9, 4

    def write(self, shots: Sequence[Shot]) -> list[str]:
        """The tags of each picture, the surest first, characters before the rest."""
        import numpy as np

        found = self.session.get_inputs()[0]
        side = found.shape[1] if isinstance(found.shape[1], int) else 448
        pictures = np.stack([_squared(shot.read(), side) for shot in shots])
        (chances,) = self.session.run(None, {found.name: pictures})
        return [self._text(row) for row in chances]

    def _text(self, chances: Any) -> str:
        options, chosen = self.options, []
        for (tag, category), chance in zip(self.tags, chances.tolist(), strict=True):
            if category == self.RATING:
                continue
            is_character = category == self.CHARACTER
            if (is_character and not options.characters) or chance < (options.character_threshold if is_character else options.threshold):
                continue
            chosen.append((not is_character, -chance, tag))
        words = [tag for _, _, tag in sorted(chosen)]
        if options.ratings:
            rated = [(chance, tag) for (tag, category), chance in zip(self.tags, chances.tolist(), strict=True) if category == self.RATING]
            words += [tag for _, tag in sorted(rated, reverse=True)[:1]]
        left_out = {word.replace("_", " ").strip().lower() for word in options.without}
        shown = [tag if options.underscores or len(tag) <= 3 else tag.replace("_", " ") for tag in words]  # ^_^ is a face, not two words
        return ", ".join(tag for tag in shown if tag.replace("_", " ").lower() not in left_out)


def _squared(picture: Image, side: int) -> Any:
    """The picture on a white square of `side`, BGR float32 [side, side, 3] from 0 to 255, as the tagger was trained."""
    import numpy as np
    from PIL import Image

    longest = max(picture.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
    return np.asarray(square.resize((side, side), Image.Resampling.BICUBIC), np.float32)[..., ::-1]

"""What the UNet learns from: every thing in its manners, colours and grounds as latents, with the words and the weight of each."""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from studio.language import say
from studio.pocket.recipe.colours import BACKGROUNDS, COLOURS, HELD_OUT_PAIRS, RECOLOURED, recolour
from studio.pocket.recipe.icons import COLOUR, FLAT
from studio.pocket.recipe.pictures import WHITE, Picture, Pictures, on_ground, resized, stacked
from studio.pocket.recipe.things import TEMPLATES, THINGS, phrase, phrases, with_article
from studio.pocket.recipe.vae import CHANNELS, autoencoder, decibels

GLOSSY = "glossy "
LOG_VARIANCE = -8.0
_DRAWN_GROUNDS = 3


@dataclass(frozen=True)
class Words:
    """What one picture may be called, and how often it is drawn: `manner` is "" or "glossy ", `ground` "" or " on a red background"."""

    phrases: list[str]
    manner: str
    ground: str
    weight: float

    def captions(self) -> list[str]:
        """All captions of the picture; one is drawn at a time."""
        return [caption for words in self.phrases for caption in self._captions(words)]

    def _captions(self, words: str) -> list[str]:
        named = with_article(words)
        if not self.manner:
            return [template.format(a=named, p=words) + self.ground for template in TEMPLATES]
        manner = self.manner.strip()
        return [
            f"a {manner} {words}{self.ground}",
            f"{manner} {words}{self.ground}",
            f"{named}{self.ground}, {manner}",
            f"a {manner} emoji of {named}{self.ground}",
        ]


def examples(pictures: Pictures) -> Iterator[tuple[Picture, Words]]:
    """Every picture, RGB uint8 [64, 64, 3], with its words: 70 % of a thing's weight on white, 10 % on each of three grounds."""
    rng = random.Random(0)
    for icon_set, manner in ((FLAT, ""), (COLOUR, GLOSSY)):
        for thing in THINGS:
            if thing in pictures[icon_set]:
                # "a circle" and "a square" would say that red is what makes them so.
                words = [phrase(thing)] if thing in ("red-circle", "red-square") else phrases(thing)
                yield from _on_grounds(pictures[icon_set][thing], words, manner, 0.6 if manner else 1.0, rng)
    for thing, named in RECOLOURED.items():
        for colour in COLOURS:
            if (thing, colour) not in HELD_OUT_PAIRS:
                rgba = pictures[FLAT][thing]
                coloured = np.concatenate([recolour(rgba[..., :3], colour), rgba[..., 3:]], -1)
                yield from _on_grounds(coloured, [f"{colour} {named}"], "", 0.4, rng)


def write(folder: Path, vae_weights: Path, pictures: Pictures) -> None:
    """Write latents.safetensors (`plain` and `mirrored`, [n, 4, 16, 16]), words.json and the folded vae.safetensors."""
    torch.set_num_threads(1)
    model = autoencoder().eval()
    model.load_state_dict(load_file(vae_weights))
    shown, words = zip(*examples(pictures), strict=True)
    batch = torch.from_numpy(stacked(shown))
    fold(model, encoded(model, batch))
    plain, mirrored = encoded(model, batch), encoded(model, batch.flip(-1))
    save_file({"plain": plain, "mirrored": mirrored}, folder / "latents.safetensors")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "vae.safetensors")
    (folder / "words.json").write_text(json.dumps([asdict(item) for item in words]), encoding="utf-8")
    with torch.no_grad():
        restored = torch.cat([model.decode(latents).sample for latents in torch.split(plain[::16], 32)])
    quality = f"{decibels(restored, batch[::16]):.2f}"
    print(say("{count} pictures encoded; decoded again they have {quality} dB", count=len(words), quality=quality), flush=True)


def load(folder: Path) -> tuple[Tensor, list[Words]]:
    """The latents [n, 2, 4, 16, 16], plain and mirrored, and the words of each."""
    tensors = load_file(folder / "latents.safetensors")
    words = [Words(**item) for item in json.loads((folder / "words.json").read_text(encoding="utf-8"))]
    return torch.stack([tensors["plain"], tensors["mirrored"]], 1), words


@torch.no_grad()
def fold(model: AutoencoderKL, latents: Tensor) -> None:
    """Change the quant convolutions so that the model's latents have mean 0 and deviation 1: no scaling factor is needed.

    `latents` [n, 4, 16, 16] are what it encodes now. The log-variance becomes constant: encoding is by the mode.
    """
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, out_of = model.quant_conv, model.post_quant_conv
    into.weight[CHANNELS:] = 0
    into.bias[CHANNELS:] = LOG_VARIANCE
    out_of.bias += out_of.weight[:, :, 0, 0] @ mean
    out_of.weight *= deviation[None, :, None, None]
    into.weight[:CHANNELS] /= deviation[:, None, None, None]
    into.bias[:CHANNELS] = (into.bias[:CHANNELS] - mean) / deviation


@torch.no_grad()
def encoded(model: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Pictures [n, 3, 64, 64] from -1 to 1 → latents [n, 4, 16, 16]."""
    return torch.cat([model.encode(batch).latent_dist.mode() for batch in torch.split(pictures, 32)]).contiguous()


def _on_grounds(rgba: Picture, words: list[str], manner: str, weight: float, rng: random.Random) -> Iterator[tuple[Picture, Words]]:
    yield resized(on_ground(rgba, WHITE)), Words(words, manner, "", weight * 0.7)
    for colour in rng.sample(list(BACKGROUNDS), _DRAWN_GROUNDS):
        yield resized(on_ground(rgba, BACKGROUNDS[colour])), Words(words, manner, f" on a {colour} background", weight * 0.1)

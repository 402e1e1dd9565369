"""What the captioner learns from: every thing as every renderer draws it, on every ground, and changed at random."""

import math
import random
import re
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from studio.pocket.recipe.colours import BACKGROUNDS, COLOURS, HELD_OUT_PAIRS, RECOLOURED, recolour
from studio.pocket.recipe.icons import COLOUR, FLAT, LINE, NOTO
from studio.pocket.recipe.pictures import SIZE, Picture, Pictures, resized
from studio.pocket.recipe.styles import STYLES, styled
from studio.pocket.recipe.things import THINGS, caption, phrase, with_article

HELD_OUT = 0.08
"""The share of pairs thing × renderer that is never trained."""
GROUNDS = tuple(BACKGROUNDS)
NOWHERE = len(GROUNDS)
"""The number of a ground without a name: white, a tint, a drawn one."""
MANNERS = ("as it is", "blocks", "palette", "lines", "grey", "channels")
"""What a drawing is turned into at random: renderers beyond the seven."""


@dataclass(frozen=True)
class View:
    """A thing as one renderer draws it: RGBA uint8 [64, 64, 4]; opaque where the renderer draws the ground too."""

    renderer: str
    thing: str
    colour: str
    rgba: Picture
    bare: bool = field(default=False)
    """Only good as a source of other manners: black lines on nothing."""

    @property
    def held_out(self) -> bool:
        """Whether it is never trained."""
        if self.colour:
            return (self.thing, self.colour) in HELD_OUT_PAIRS
        return is_held_out(self.renderer, self.thing)

    def words(self, ground: int = NOWHERE) -> str:
        """Its caption: "a blue car on a yellow background"."""
        text = with_article(f"{self.colour} {RECOLOURED[self.thing]}") if self.colour else caption(self.thing)
        return text if ground == NOWHERE else f"{text} on {with_article(GROUNDS[ground])} background"


def is_held_out(renderer: str, thing: str) -> bool:
    """The same pairs in every build."""
    return random.Random(f"{renderer} {thing}").random() < HELD_OUT


def views(pictures: Pictures) -> list[View]:
    """Every pair of thing and renderer, every recoloured thing, and the line icons as sources."""
    found = [View(name, thing, "", _half(pictures[name][thing])) for name in (FLAT, COLOUR, NOTO) for thing in THINGS if thing in pictures[name]]
    for thing in RECOLOURED:
        flat = pictures[FLAT][thing]
        found += [View(FLAT, thing, colour, _half(np.concatenate([recolour(flat[..., :3], colour), flat[..., 3:]], -1))) for colour in COLOURS]
    for name, style in STYLES.items():
        for thing in THINGS:
            if thing in pictures[style.icon_set]:
                found.append(View(name, thing, "", _opaque(resized(styled(name, pictures, thing)))))
    found += [View(LINE, thing, "", _half(pictures[LINE][thing]), bare=True) for thing in THINGS if thing in pictures[LINE]]
    return found


def changeable(view: View) -> bool:
    """Whether a drawing may be turned into other manners: not where that would show a held-out pair by another door."""
    if view.colour or re.search(r"\b(red|green|blue|orange)\b", phrase(view.thing)) or view.rgba[..., 3].min() == 255:
        return False
    copies = [name for name, style in STYLES.items() if style.icon_set == view.renderer]
    return not any(is_held_out(name, view.thing) for name in copies)


@dataclass
class Source:
    """Batches of changed pictures with their captions, drawn from the views that are trained."""

    views: list[View]
    rng: random.Random

    def __post_init__(self) -> None:
        self.views = [view for view in self.views if not view.held_out and (not view.bare or changeable(view))]
        self.rgba = torch.from_numpy(np.stack([view.rgba for view in self.views])).permute(0, 3, 1, 2)
        self.opaque = self.rgba[:, 3].flatten(1).amin(1) == 255
        self.changeable = torch.tensor([changeable(view) for view in self.views])
        self.bare = torch.tensor([view.bare for view in self.views])
        # A recoloured thing is one of seven; without this the 27 would be shown more often than all others.
        self.weights = torch.tensor([0.35 if view.colour else 0.6 if view.bare else 1.0 for view in self.views])
        self.things = torch.tensor([THINGS.index(view.thing) for view in self.views])

    def draw(self, count: int) -> tuple[Tensor, list[str], Tensor]:
        """Pictures [count, 3, 64, 64] from -1 to 1, captions, the things' numbers."""
        places = torch.multinomial(self.weights, count, replacement=True)
        rgba = self.rgba[places].float() / 255
        manner = torch.where(self.changeable[places] & (torch.rand(count) < 0.5), torch.randint(1, len(MANNERS), (count,)), 0)
        manner = torch.where(self.bare[places], torch.tensor(MANNERS.index("lines")), manner)
        named = (manner == 0) & ~self.opaque[places] & (torch.rand(count) < 0.45)
        grounds = torch.where(named, torch.randint(0, NOWHERE, (count,)), NOWHERE)
        shown = _moved(in_manner(rgba, manner), grounds)
        words = [self.views[place].words(ground) for place, ground in zip(places.tolist(), grounds.tolist(), strict=True)]
        return _worn(shown), words, self.things[places]


def on_ground(rgba: Tensor, grounds: Tensor) -> Tensor:
    """[n, 4, h, w] from 0 to 1 → RGB [n, 3, h, w] from -1 to 1, on the ground of each number, about."""
    table = torch.tensor([*BACKGROUNDS.values(), (255, 255, 255)]) / 255
    colour = table[grounds][:, :, None, None]
    spread = torch.where(grounds == NOWHERE, 0.0, 0.055)[:, None, None, None]
    colour = (colour + spread * (2 * torch.rand(len(rgba), 3, 1, 1) - 1)).clamp(0, 1)
    tint = 1 - 0.08 * torch.rand(len(rgba), 3, 1, 1) * (torch.rand(len(rgba), 1, 1, 1) < 0.3)
    colour = torch.where((grounds == NOWHERE)[:, None, None, None], colour * tint, colour)
    cover = rgba[:, 3:]
    return (rgba[:, :3] * cover + colour * (1 - cover)) * 2 - 1


def in_manner(rgba: Tensor, manner: Tensor) -> Tensor:
    """Each drawing [n, 4, 64, 64] in the manner of its number."""
    result = rgba.clone()
    for number, change in enumerate((_blocks, _palette, _lines, _grey, _channels), 1):
        chosen = manner == number
        if chosen.any():
            result[chosen] = change(rgba[chosen])
    return result


def _blocks(rgba: Tensor) -> Tensor:
    side = random.choice((2, 4, 4, 8))
    premultiplied = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
    small = F.avg_pool2d(premultiplied, side)
    cover = (small[:, 3:] > 0.45).float()
    levels = random.choice((4, 6, 9))
    colours = (small[:, :3] / small[:, 3:].clamp(min=1e-3) * (levels - 1)).round() / (levels - 1)
    return torch.cat([colours.clamp(0, 1), cover], 1).repeat_interleave(side, 2).repeat_interleave(side, 3)


def _palette(rgba: Tensor) -> Tensor:
    """Two to five shades of a random colour, by brightness, on the lightest or the darkest of them; half of them in blocks."""
    if random.random() < 0.6:
        rgba = _blocks(rgba)
    count, shades = len(rgba), random.choice((2, 3, 3, 4))
    low, high = torch.rand(count, 3) * 0.35, 0.6 + torch.rand(count, 3) * 0.4
    brightness = (rgba[:, :3] * torch.tensor([0.3, 0.59, 0.11])[:, None, None]).sum(1)
    inside = torch.where(rgba[:, 3] > 0.5, brightness, float("nan")).flatten(1)
    darkest, lightest = (torch.nanquantile(inside, share, 1)[:, None, None].nan_to_num(0.5) for share in (0.04, 0.96))
    place = ((brightness - darkest) / (lightest - darkest).clamp(min=0.16) * shades).floor().clamp(0, shades - 1) / shades
    if random.random() < 0.2:
        place = 1 - place
    cover = (rgba[:, 3] > 0.45).float()
    place = place * cover + (1 - cover)
    colours = low[:, :, None, None] * (1 - place[:, None]) + high[:, :, None, None] * place[:, None]
    return torch.cat([colours, torch.ones(count, 1, *rgba.shape[2:])], 1)


def _lines(rgba: Tensor) -> Tensor:
    """Where the drawing has edges (or, for a line icon, lines), in one colour on another, at times on squared paper."""
    count = len(rgba)
    brightness = (rgba[:, :3].mean(1, keepdim=True) * rgba[:, 3:] + (1 - rgba[:, 3:])) * 0.8 + 0.2 * (1 - rgba[:, 3:])
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    slopes = F.conv2d(F.pad(brightness, (1, 1, 1, 1), mode="replicate"), torch.stack([kernel, kernel.T])[:, None])
    drawn_by_edges = (slopes.square().sum(1, keepdim=True).sqrt() * random.uniform(1, 2.5)).clamp(0, 1)
    flat_black = (rgba[:, :3] * rgba[:, 3:]).flatten(1).amax(1) < 0.05
    strength = torch.where(flat_black[:, None, None, None], rgba[:, 3:], drawn_by_edges)
    paper, pen = torch.rand(count, 3, 1, 1), torch.rand(count, 3, 1, 1)
    pen = torch.where((paper - pen).abs().sum(1, keepdim=True) < 1.0, (paper < 0.5).float(), pen)
    sheet = paper.expand(-1, -1, SIZE, SIZE).clone()
    if random.random() < 0.35:
        gap = random.choice((6, 8, 10, 16))
        line = sheet * 0.8 + pen * 0.2
        sheet[:, :, ::gap], sheet[:, :, :, ::gap] = line[:, :, ::gap], line[:, :, :, ::gap]
    return torch.cat([sheet * (1 - strength) + pen * strength, torch.ones(count, 1, SIZE, SIZE)], 1)


def _grey(rgba: Tensor) -> Tensor:
    grey = rgba[:, :3].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return torch.cat([grey if random.random() < 0.6 else 1 - grey, rgba[:, 3:]], 1)


def _channels(rgba: Tensor) -> Tensor:
    order = random.choice(((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)))
    return torch.cat([rgba[:, list(order)], rgba[:, 3:]], 1)


def _moved(rgba: Tensor, grounds: Tensor) -> Tensor:
    """On its ground, then mirrored, scaled, turned and shifted, with the ground going on at the edges."""
    count = len(rgba)
    shown = on_ground(rgba, grounds)
    place = torch.zeros(count, 2, 3)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    scale, turn = 1 + 0.4 * (torch.rand(count) - 0.4), 0.35 * (torch.rand(count) - 0.5)
    place[:, 0, 0], place[:, 1, 1] = scale * mirror, scale * (1 + 0.16 * (torch.rand(count) - 0.5))
    place[:, 0, 1], place[:, 1, 0] = turn, -turn * mirror
    place[:, :, 2] = (torch.rand(count, 2) - 0.5) * 0.3
    return F.grid_sample(shown, F.affine_grid(place, list(shown.shape), align_corners=False), align_corners=False, padding_mode="border")


def _worn(shown: Tensor) -> Tensor:
    """Blurred at times, lighter or darker, with noise."""
    count = len(shown)
    if random.random() < 0.25:
        factor = random.choice((0.4, 0.55, 0.75))
        shown = F.interpolate(F.interpolate(shown, scale_factor=factor, mode="bilinear", antialias=True), size=(SIZE, SIZE), mode="bilinear")
    shown = shown * (1 + 0.25 * (torch.rand(count, 1, 1, 1) - 0.5)) + 0.15 * (torch.rand(count, 1, 1, 1) - 0.5)
    return (shown + torch.randn_like(shown) * 0.1 * torch.rand(count, 1, 1, 1)).clamp(-1, 1)


def _half(rgba: Picture) -> Picture:
    return resized(rgba)


def _opaque(rgb: Picture) -> Picture:
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], -1)


def cosine(share: float, least: float = 0.02) -> float:
    """From 1 down to `least` while `share` goes from 0 to 1."""
    return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * share))

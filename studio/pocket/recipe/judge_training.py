"""The judge learns the 174 things from real pictures in every manner and style that it may be asked about."""

import random

import torch
import torch.nn.functional as F
from torch import Tensor

from studio.language import say
from studio.pocket.judge import network
from studio.pocket.recipe.colours import BACKGROUNDS
from studio.pocket.recipe.icons import COLOUR, FLAT, NOTO
from studio.pocket.recipe.pictures import SIZE, Picture, Pictures, resized, stacked, through_256
from studio.pocket.recipe.styles import STYLES, styled
from studio.pocket.recipe.things import THINGS
from studio.pocket.recipe.vae import until

BATCH = 64
LEARNING_RATE = 3e-3
GROUNDS = [BACKGROUNDS[colour] for colour in ("red", "yellow", "green", "blue", "dark blue")]
ON_COLOUR = "coloured ground"


def train(pictures: Pictures, minutes: float) -> dict[str, Tensor]:
    """Train for `minutes` on one thread and return the weights in half precision; prints what it recognises by manner."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = random.Random(0)
    manners, classes, shown = zip(*examples(pictures), strict=True)
    batch, wanted = torch.from_numpy(stacked(shown)), torch.tensor(classes)
    model = network(len(THINGS))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=2e-2)
    for share in until(minutes):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - share) + 1e-5
        places = torch.randint(len(batch), (BATCH,))
        loss = F.cross_entropy(model(moved(batch[places], rng)), wanted[places], label_smoothing=0.05)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = model(batch).argmax(1) == wanted
    for manner in dict.fromkeys(manners):
        of_manner = right[torch.tensor([other == manner for other in manners])]
        print(
            say("{name}: {percent} of {count} recognised", name=manner, percent=f"{of_manner.float().mean():.0%}", count=len(of_manner)),
            flush=True,
        )
    return {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}


def examples(pictures: Pictures) -> list[tuple[str, int, Picture]]:
    """Manner, class and picture, RGB uint8 [64, 64, 3]: three icon sets on white, two of them on a colour too, four styles."""
    found = []
    for icon_set in (FLAT, COLOUR, NOTO):
        for number, thing in _known(pictures, icon_set):
            rgba = pictures[icon_set][thing]
            found.append((icon_set, number, through_256(rgba)))
            if icon_set != NOTO:
                found.append((ON_COLOUR, number, through_256(rgba, random.Random(thing).choice(GROUNDS))))
    for name, style in STYLES.items():
        found += [(name, number, resized(styled(name, pictures, thing))) for number, thing in _known(pictures, style.icon_set)]
    return found


def moved(batch: Tensor, rng: random.Random) -> Tensor:
    """Pictures mirrored, shifted, turned, scaled, blurred, with colours exchanged and noise: what a drawn picture may differ by."""
    count = len(batch)
    if rng.random() < 0.5:
        batch = batch.flip(-1)
    scale, turn = 1 + 0.25 * (torch.rand(count) - 0.5), 0.3 * (torch.rand(count) - 0.5)
    place = torch.zeros(count, 2, 3)
    place[:, 0, 0] = place[:, 1, 1] = scale
    place[:, 0, 1], place[:, 1, 0] = turn, -turn
    place[:, :, 2] = (torch.rand(count, 2) - 0.5) * 0.2
    grid = F.affine_grid(place, list(batch.shape), align_corners=False)
    batch = F.grid_sample(batch, grid, align_corners=False, padding_mode="border")
    if rng.random() < 0.35:
        small = F.interpolate(batch, scale_factor=rng.choice([0.35, 0.5, 0.7]), mode="bilinear", antialias=True)
        batch = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear")
    exchanged = torch.rand(count) < 0.3
    batch[exchanged] = batch[exchanged][:, torch.randperm(3)]
    return batch + torch.randn_like(batch) * 0.12 * torch.rand(count, 1, 1, 1)


def _known(pictures: Pictures, icon_set: str) -> list[tuple[int, str]]:
    """Number and name of the things that a set has."""
    return [(number, thing) for number, thing in enumerate(THINGS) if thing in pictures[icon_set]]

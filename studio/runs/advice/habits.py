"""What is usual for each kind of model: rates, ranks, and about how much memory a training takes. One row a kind, rough figures."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from studio.runs import presets

POCKET = "pocket"
"""The small model inside is of the family sd and has habits of its own: those of the preset of that name."""
BESIDE = 1.0
"""GB that are taken beside weights and activations: CUDA itself, the LoRA and its optimizer."""


@dataclass(frozen=True)
class Habits:
    """Rates go with alpha equal to the rank. `text_encoder_rate` 0: it is left as it is. `least` is the lowest share of its own resolution at
    which the base model still draws well, `pictures` how many a step averages."""

    learning_rate: float = 1e-4
    text_encoder_rate: float = 0.0
    snr_gamma: float = 5.0
    least: float = 0.5
    pictures: int = 4


@dataclass(frozen=True)
class Appetite:
    """GB of a training in 16 bits: the weights, and for each picture of a batch, at `resolution`, what is kept of it; `checkpointed` is that with
    gradient_checkpointing."""

    resolution: int
    weights: float
    picture: float
    checkpointed: float


HABITS = {"sd": Habits(text_encoder_rate=2e-5), "sdxl": Habits(least=0.75)}
# Weights and activations as counted on the models' shapes. With BESIDE it is up to 1.1 GB above the published peaks of SD 1.5, SDXL and SD 3.
APPETITES = {
    POCKET: Appetite(64, 0.02, 0.03, 0.01),
    "sd": Appetite(512, 1.7, 1.1, 0.3),
    "sdxl": Appetite(1024, 5.1, 7.8, 1.3),
    "sd3": Appetite(1024, 4.2, 10.1, 1.2),
    "sd3-3.5-large": Appetite(1024, 16.3, 25.0, 2.6),
    "flux": Appetite(1024, 23.8, 32.0, 2.5),
    "flux2": Appetite(1024, 64.0, 74.0, 4.0),
    "flux2-klein-4b": Appetite(1024, 7.8, 17.0, 1.6),
    "flux2-klein-9b": Appetite(1024, 18.2, 29.0, 2.2),
    "qwen_image": Appetite(1024, 40.9, 42.0, 2.2),
    "z_image": Appetite(1024, 12.3, 23.0, 1.7),
}
UNKNOWN = APPETITES["sdxl"]
WHOLE = "16bit"
QUANTISED = {WHOLE: 1.0, "8bit": 0.52, "4bit": 0.29}
"""What is left of the weights by load_in: their scales, and the layers outside of the blocks, come on top of the bits."""


def usual(kind: str) -> Habits:
    """The habits of a kind of model; of one that has no row, what most share."""
    return HABITS.get(kind, Habits())


@cache
def pocket() -> dict[str, Any]:
    """The settings that the small model inside is trained with."""
    return {key: given.value for key, given in presets.load(POCKET).settings.items()}


def memory(kind: str, resolution: int, batch: int, checkpointed: bool, precision: str = "bf16", load_in: str = WHOLE) -> float:
    """GB that a training takes, about. `kind` may be followed by a version, such as sd3-3.5-large."""
    appetite = APPETITES.get(kind) or APPETITES.get(kind.partition("-")[0], UNKNOWN)
    picture = appetite.checkpointed if checkpointed else appetite.picture
    whole = appetite.weights * QUANTISED[load_in] + batch * picture * (resolution / appetite.resolution) ** 2
    return BESIDE + whole * (2 if precision == "no" else 1)

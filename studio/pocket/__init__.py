"""The embedded model: a whole, small Stable Diffusion with two sets of pictures, so that everything runs with no GPU and no download.

It knows 174 things in 64 × 64 pixels (README.md says what else); its classes are those that Stable Diffusion 1.x uses.
"""

from pathlib import Path

FOLDER = Path(__file__).parent

BASE = FOLDER / "base"
"""A diffusers folder that `StableDiffusionPipeline.from_pretrained` opens; fp16."""

CAPTIONER = FOLDER / "captioner"
"""A BLIP that names what the base draws; fp16. `figures.json` in it says how often it is right."""

FIGURES = "figures.json"

SAMPLES = FOLDER / "samples"
"""Holds a data set per style, each 40 pictures of 256 × 256 with metadata.csv: `gameboy` and `blueprint`."""

JUDGE = FOLDER / "judge.safetensors"
"""The weights of the classifier in `judge.py`; fp16."""

JUDGE_FACTS = FOLDER / "judge.json"
"""What the judge measures against: its classes, the held-out things and the styles' mean features."""

STYLES = ("gameboy", "blueprint")
"""The sample sets' names."""

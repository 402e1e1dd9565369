"""The sample pictures as the judge takes them, and a few that the base draws."""

import csv

import numpy as np
import pytest
from PIL import Image

from studio import pocket
from studio.pocket import judge


@pytest.fixture(scope="session")
def samples():
    """Style → (pictures of 64 × 64, things)."""

    def load(style):
        with (pocket.SAMPLES / style / "metadata.csv").open(encoding="utf-8") as file:
            names = [row["file_name"] for row in csv.DictReader(file)]
        pictures = [Image.open(pocket.SAMPLES / style / name).resize((64, 64), Image.Resampling.LANCZOS) for name in names]
        return pictures, [name.removesuffix(".png") for name in names]

    return {style: load(style) for style in pocket.STYLES}


@pytest.fixture(scope="session")
def pipeline():
    import torch
    from diffusers import StableDiffusionPipeline

    opened = StableDiffusionPipeline.from_pretrained(pocket.BASE, dtype=torch.float32, safety_checker=None)
    opened.set_progress_bar_config(disable=True)
    return opened


@pytest.fixture(scope="session")
def drawn(pipeline):
    """Eight held-out things and what the base draws of them."""
    import torch

    prompts = dict(list(judge.held_out().items())[:8])
    seeds = [torch.Generator().manual_seed(seed) for seed in range(8)]
    settings = {"height": 64, "width": 64, "num_inference_steps": 8, "guidance_scale": 4.0}
    images = pipeline(list(prompts.values()), generator=seeds, output_type="np", **settings).images
    return [(image * 255).round().astype(np.uint8) for image in images], list(prompts)

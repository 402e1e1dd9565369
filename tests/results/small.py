"""What is made in seconds on the pocket model: a run of six steps with a checkpoint every two, LoRA files of random numbers, pictures."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from studio import families
from studio.config import Config
from studio.families.sd import StableDiffusion
from studio.formats.kohya import write_kohya
from studio.formats.lora import LoraLayer
from studio.formats.metadata import kohya_metadata
from studio.pocket import SAMPLES
from studio.results.generate import Look, LoraChoice, Request, draw
from studio.runs import run as shelf
from studio.runs.execute import execute
from studio.runs.resolve import complete
from studio.runs.run import Run
from studio.training.lora import weights

LOOK = Look(steps=3, guidance=4.0)
TEXT = "a red apple"


def pictures(folder: Path) -> Path:
    """Four pictures with captions."""
    folder.mkdir(parents=True)
    lines = ["file_name,text"]
    for path in sorted((SAMPLES / "gameboy").glob("*.png"))[:4]:
        with Image.open(path) as opened:
            opened.convert("RGB").resize((64, 64)).save(folder / path.name)
        lines.append(f"{path.name},{path.stem}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def config(data: Path, **settings: object) -> Config:
    """Few and large steps."""
    few = {"base_model": "pocket", "train_data_dir": data, "name": "small", "lora_rank": 2, "batch_size": 2, "max_steps": 6, "learning_rate": 0.02}
    return complete(Config.model_validate({**few, "save_steps": 2, "validation_steps": 0, "threads": 1, **settings}))


def made(data: Path, **settings: object) -> Run:
    """A finished run below $STUDIO_HOME."""
    run = shelf.create(config(data, **settings))
    for _ in execute(run):
        pass
    return run


@cache
def shapes() -> dict[str, tuple[int, ...]]:
    """The pocket model's layers."""
    return weights(families.get("sd").load(families.POCKET, torch.device("cpu"), torch.float32))


def lora(path: Path, seed: int, rank: int = 4, alpha: float = 2.0, size: float = 0.15, only: str = "") -> Path:
    """A LoRA of random numbers on attention, convolutions and text encoder, in kohya's names."""
    random = torch.Generator().manual_seed(seed)
    layers = {}
    for name, shape in shapes().items():
        if only in name and any(place in name for place in ("attn", "resnets", "self_attn")):
            down = torch.randn(rank, *shape[1:], generator=random) * size
            up = torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=random) * size
            layers[name] = LoraLayer(down, up, alpha)
    facts = {"kind": "sd1", "name": path.stem, "lora_rank": rank, "lora_alpha": alpha, "resolution": 64, "prediction_type": "v_prediction"}
    write_kohya(path, layers, StableDiffusion.names, kohya_metadata({**facts, "trigger_phrase": path.stem}))
    return path


def picture(loras: Sequence[LoraChoice] = (), base: str = "pocket") -> "np.ndarray":
    """One picture, 0 … 1."""
    images = [piece.image for piece in draw(base, list(loras), [Request(TEXT, seed=3)], LOOK) if piece.image is not None]
    return np.asarray(images[0], np.float32) / 255

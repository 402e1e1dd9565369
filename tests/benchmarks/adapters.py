"""CPU time of a step with each kind of adapter on the pocket model, one after the other in turn: `python -m tests.benchmarks.adapters`."""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import torch

from studio.config import Config
from studio.data.examples import gather
from studio.pocket import SAMPLES
from studio.runs.resolve import complete, open_base
from studio.training.lora import attach
from studio.training.prepare import prepare
from studio.training.trainer import Trainer

KINDS = ("lora", "dora", "lokr")
SKIPPED = 3


def trainer(kind: str, folder: Path) -> Trainer:
    """A trainer on the sample pictures, attention and feed-forward with rank 16, convolutions with 8."""
    config = complete(
        Config(
            base_model="pocket",
            train_data_dir=SAMPLES / "gameboy",
            adapter=kind,  # type: ignore[arg-type]
            lora_targets=("attention", "feed-forward"),
            conv_rank=8,
            batch_size=4,
            max_steps=1_000_000,
            threads=1,
        )
    )
    family, bundle = open_base(config)
    preparing = prepare(config, family, bundle, (gather(config).examples, (), 0.0), folder / "cache")
    while True:
        try:
            next(preparing)
        except StopIteration as end:
            data = end.value
            break
    return Trainer(config, family, bundle, attach(bundle, family.targets(bundle, config), config), data, folder / kind)


def main() -> None:
    """Print seconds, the ratio to plain LoRA, and how much each has to learn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=16)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STUDIO_HOME"] = folder
        trainers = {kind: trainer(kind, Path(folder)) for kind in KINDS}
        seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for number in range(SKIPPED + rounds):
            for kind, each in trainers.items():
                began = time.process_time()
                each._step()
                if number >= SKIPPED:
                    seconds[kind].append(time.process_time() - began)
    for kind, each in trainers.items():
        low, middle, high = quantiles([mine / plain for mine, plain in zip(seconds[kind], seconds["lora"], strict=True)], n=4)
        size = sum(parameter.numel() for parameter in each.lora.parameters().values())
        print(f"{kind:<6} {median(seconds[kind]):.4f} CPU seconds a step, {middle:.3f} [{low:.3f} .. {high:.3f}] of plain LoRA, {size:,} numbers")


if __name__ == "__main__":
    main()

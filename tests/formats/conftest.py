"""The pocket model, opened once, and LoRAs on it."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.formats.lora import LoraLayer

from .sd import POCKET, delta, random_layer, shapes

Outputs = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="session")
def pipeline() -> Any:
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(POCKET, local_files_only=True, dtype=torch.float32)


@pytest.fixture(scope="session")
def known(pipeline: Any) -> dict[str, tuple[int, ...]]:
    return shapes(unet=pipeline.unet, text_encoder=pipeline.text_encoder)


@pytest.fixture(scope="session")
def layers(known: dict[str, tuple[int, ...]]) -> dict[str, LoraLayer]:
    """Attention, feed-forward, convolutions and text encoder, each with its own rank and an alpha that isn't the rank."""

    def build(number: int, name: str, weight: tuple[int, ...]) -> LoraLayer:
        if name.startswith("text_encoder"):
            return random_layer(weight, rank=8, alpha=4.0, seed=number)
        if "attentions" in name:
            return random_layer(weight, rank=4, alpha=8.0, seed=number, size=0.06)
        return random_layer(weight, rank=2, alpha=1.0, seed=number, size=0.06)

    places = ("attentions", "resnets", "samplers", "text_encoder.encoder")
    return {name: build(number, name, weight) for number, (name, weight) in enumerate(known.items()) if any(place in name for place in places)}


def outputs(unet: Any, text_encoder: Any) -> Outputs:
    """What text encoder and UNet answer to fixed inputs."""
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        text = text_encoder(torch.arange(24)[None])[0]
        return text, unet(noise, 500, encoder_hidden_states=torch.full((1, 24, 128), 0.1))[0]


@pytest.fixture(scope="session")
def by_hand(pipeline: Any) -> Callable[[dict[str, LoraLayer]], Outputs]:
    """The model's answers when the LoRA is added to its weights in plain arithmetic."""
    untouched = {part: copy.deepcopy(getattr(pipeline, part)) for part in ("unet", "text_encoder")}

    def run(layers: dict[str, LoraLayer]) -> Outputs:
        models = copy.deepcopy(untouched)
        with torch.no_grad():
            for layer, lora in layers.items():
                part, path = layer.split(".", 1)
                models[part].get_submodule(path).weight += delta(lora)
        return outputs(**models)

    return run


@pytest.fixture
def loaded(pipeline: Any) -> Iterator[Callable[[Path], Any]]:
    """Open a LoRA file with plain diffusers; afterwards the model is as before."""

    def load(path: Path) -> Any:
        pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name="probe")
        pipeline.set_adapters(["probe"], [1.0])
        return pipeline

    yield load
    pipeline.unload_lora_weights()

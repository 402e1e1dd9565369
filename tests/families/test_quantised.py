"""Base models in 8 and 4 bits: what is trained on them follows nearly the same gradients."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from studio import families
from studio.config import Config
from studio.errors import MachineError
from studio.families import quantised
from studio.families.base import Bundle
from studio.runs.resolve import complete
from studio.training.lora import AdaptedLayer, Lora, attach, weights

from .test_contract import drawn

CPU = torch.device("cpu")


@pytest.fixture(params=families.FAMILIES)
def both(request: pytest.FixtureRequest, small: dict[str, dict[str, Path]]) -> Any:
    """The same small model twice: whole, and in so many bits."""
    family = families.get(request.param)
    source = list(small[request.param].values())[-1]

    def load(load_in: str) -> tuple[Bundle, Bundle]:
        pytest.importorskip("bitsandbytes")
        return family.load(source, CPU, torch.float32), family.load(source, CPU, torch.float32, load_in)

    return family, load


def moved(lora: Lora) -> None:
    """Weights that are no longer fresh."""
    rng = torch.Generator().manual_seed(1)
    for parameter in lora.parameters().values():
        parameter.data.uniform_(-0.1, 0.1, generator=rng)


def as_on_cuda(bundle: Bundle) -> None:
    """On a CPU the library packs weights for a kernel of its own as soon as a layer is only evaluated."""
    for layer in bundle[bundle.trainable[0]].modules():
        if type(layer).__name__ == "Linear4bit":
            layer.training = True


@pytest.mark.parametrize("adapter", ["lora", "dora", "lokr"])
@pytest.mark.parametrize("load_in", ["8bit", "4bit"])
def test_gradients_are_nearly_those_of_the_whole_model(both: Any, load_in: str, adapter: str) -> None:
    family, load = both
    config = Config(base_model="small", train_data_dir=Path("none"), lora_rank=4, adapter=adapter)
    found = []
    for bundle in load(load_in):
        batch = drawn(family, bundle, config, "text")
        as_on_cuda(bundle)
        lora = attach(bundle, family.targets(bundle, config), config)
        if adapter == "lora":
            moved(lora)
        family.loss(bundle, batch).mean().backward()
        found.append((weights(bundle), torch.cat([parameter.grad.flatten() for parameter in lora.parameters().values()])))
        layers = [layer.base for layer in lora.layers.values() if isinstance(layer, AdaptedLayer)]
    (shapes, one), (same, other) = found
    assert any(type(layer) is not torch.nn.Linear for layer in layers), "nothing was quantised"
    assert shapes == same
    assert not torch.equal(one, other)
    assert torch.cosine_similarity(one, other, dim=0) > (0.99 if load_in == "8bit" else 0.9)


def test_weights_are_what_the_bits_stand_for() -> None:
    pytest.importorskip("bitsandbytes")
    for load_in, most in (("8bit", 0.01), ("4bit", 0.2)):
        blocks = torch.nn.ModuleList([torch.nn.ModuleDict({"to_q": torch.nn.Linear(64, 32)})])
        model = torch.nn.ModuleDict({"blocks": blocks, "out": torch.nn.Linear(32, 4)})
        whole = blocks[0]["to_q"].weight.detach().clone()
        quantised.quantise(model, load_in, torch.float32)
        model.to(CPU)
        layer = blocks[0]["to_q"]
        assert quantised.shape_of(layer) == whole.shape
        assert layer.weight.dtype in (torch.int8, torch.uint8)
        assert 0 < (quantised.weight_of(layer) - whole).norm() / whole.norm() < most
        assert type(model["out"]) is torch.nn.Linear


def test_without_cuda_it_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="load_in: 4bit needs a CUDA device"):
        complete(Config(base_model="pocket", train_data_dir=tmp_path, load_in="4bit"))


def test_without_the_package_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MachineError, match="needs the package bitsandbytes"):
        quantised.check("8bit", torch.device("cuda"))

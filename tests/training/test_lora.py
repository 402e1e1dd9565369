"""LoRA on a layer is what the paper says, in fewer operations."""

import math

import pytest
import torch
from torch import nn

from studio import families
from studio.config import Config
from studio.errors import InputError
from studio.families.base import Bundle
from studio.formats.lora import LoraLayer
from studio.training.continuing import _of_rank, continue_from
from studio.training.lora import AdaptedLayer, Blend, attach, attach_files, scale_of
from studio.training.lowrank import LoraLinear, LowRank

CPU = torch.device("cpu")


def bundle() -> Bundle:
    return families.get("sd").load(families.POCKET, CPU, torch.float32)


def config(**settings) -> Config:
    return Config.model_validate({"base_model": "pocket", "train_data_dir": "none", "lora_rank": 4, **settings})


def test_its_gradients_are_right():
    rng = torch.Generator().manual_seed(0)
    x, down, up = (torch.randn(*shape, dtype=torch.float64, generator=rng, requires_grad=True) for shape in ((2, 3, 5), (2, 5), (4, 2)))
    weight, bias = torch.randn(4, 5, dtype=torch.float64, generator=rng), torch.randn(4, dtype=torch.float64, generator=rng)

    def plain(x, down, up):
        return x @ weight.T + bias + 0.7 * (x @ down.T) @ up.T

    def ours(x, down, up):
        return LoraLinear.apply(x, weight, bias, down, up, 0.7)

    torch.testing.assert_close(ours(x, down, up), plain(x, down, up))
    seed = torch.randn(2, 3, 4, dtype=torch.float64, generator=rng)
    for mine, theirs in zip(
        torch.autograd.grad(ours(x, down, up), (x, down, up), seed), torch.autograd.grad(plain(x, down, up), (x, down, up), seed), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)  # gradients of the adapter are kept in float32


@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv2d(6, 5, 3, stride=2, padding=1), nn.Conv2d(6, 5, 1)])
def test_it_adds_up_times_down(layer):
    blend = Blend(CPU)
    adapted = AdaptedLayer(layer.requires_grad_(False), blend, 0.0)
    kernel = layer.weight.shape[2:]
    down, up = torch.randn(3, 6, *kernel), torch.randn(5, 3, *[1] * len(kernel))
    adapted.adapters["0"] = LowRank(down, up, 0.5)
    x = torch.randn(2, 6, 8, 8) if kernel else torch.randn(2, 7, 6)
    changed = torch.einsum("or,r...->o...", up.flatten(1), down) * 0.5
    expected = layer(x) + (nn.functional.conv2d(x, changed, None, layer.stride, layer.padding) if kernel else x @ changed.T)
    torch.testing.assert_close(adapted(x), expected, atol=1e-5, rtol=1e-4)
    blend([(0.0,), (1.0,)])
    assert torch.equal(adapted(x)[0], layer(x)[0])
    torch.testing.assert_close(adapted(x)[1], expected[1], atol=1e-5, rtol=1e-4)


def test_dropout_only_drops_in_training():
    adapted = AdaptedLayer(nn.Linear(64, 8).requires_grad_(False), Blend(CPU), 0.5)
    adapted.adapters["0"] = LowRank(torch.randn(4, 64), torch.randn(8, 4), 1.0)
    x = torch.randn(3, 64)
    assert not torch.equal(adapted.train()(x), adapted(x))
    assert torch.equal(adapted.eval()(x), adapted(x))


def test_scales():
    assert scale_of(config(lora_alpha=8)) == 2
    assert scale_of(config(lora_alpha=8, use_rslora=True)) == 4
    assert scale_of(config()) == 1


@pytest.mark.parametrize("kind", ["lora", "dora", "lokr"])
def test_files_say_rslora_with_alpha(kind):
    settings = config(adapter=kind, lora_rank=9, lora_alpha=6.0, conv_rank=4, use_rslora=True)
    base = bundle()
    exported = attach(base, families.get("sd").targets(base, settings), settings).export()
    found = {
        layer.alpha / (layer.w2.shape[1] if kind == "lokr" else layer.rank) for layer in exported.values() if kind != "lokr" or layer.w2_b is not None
    }
    assert found == {2.0}


def test_ranks_follow_the_last_pattern_that_fits():
    settings = config(
        lora_alpha=2.0, conv_rank=2, rank_pattern={"unet.down_blocks": 3, "attn?.to_q": 5, "down_blocks.0": 6, "*.to_q": 7, "mid_block": 1}
    )
    base = bundle()
    lora = attach(base, families.get("sd").targets(base, settings), settings)
    ranks = {name: adapter.rank for name, adapter in lora.adapters()}
    assert ranks["unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k"] == 3
    assert ranks["unet.down_blocks.0.resnets.0.conv1"] == 6
    assert {rank for name, rank in ranks.items() if "mid_block" in name} == {1}
    assert {rank for name, rank in ranks.items() if name.endswith("to_q") and "mid_block" not in name} == {7}
    assert {rank for name, rank in ranks.items() if "up_blocks" in name and name.endswith("conv1")} == {2}
    assert {layer.alpha / layer.rank for layer in lora.export().values()} == {0.5}, "the strength is the same everywhere"


def test_a_pattern_that_fits_no_layer_is_named():
    base, settings = bundle(), config(rank_pattern={"mid_block": 2, "mid": 4})
    with pytest.raises(InputError, match="rank_pattern: mid is in the name of no layer that is trained") as caught:
        attach(base, families.get("sd").targets(base, settings), settings)
    assert "unet.down_blocks" in caught.value.fix


def random_lora(rank: int, alpha: float) -> tuple[Config, dict[str, LoraLayer]]:
    settings = config(lora_rank=rank, lora_alpha=alpha, conv_rank=rank)
    base = bundle()
    lora = attach(base, families.get("sd").targets(base, settings), settings)
    rng = torch.Generator().manual_seed(rank)
    with torch.no_grad():
        for _, adapter in lora.adapters():
            adapter.up.copy_(torch.randn(adapter.up.shape, generator=rng))
    return settings, lora.export()


def delta(layer: LoraLayer) -> torch.Tensor:
    return layer.up.flatten(1) @ layer.down.flatten(1) * (layer.alpha / layer.rank)


@pytest.mark.parametrize(("rank", "alpha"), [(4, 4.0), (2, 8.0)])
def test_continuing_keeps_a_lora_of_no_higher_rank_exactly(rank, alpha):
    _, found = random_lora(rank, alpha)
    base, settings = bundle(), config(lora_rank=4, lora_alpha=2.0, conv_rank=4)
    lora = attach(base, families.get("sd").targets(base, settings), settings)
    continue_from(lora, found)
    for name, layer in lora.export().items():
        torch.testing.assert_close(delta(layer), delta(found[name]), atol=1e-4, rtol=1e-4)
    assert lora.notes == []


def test_continuing_keeps_the_most_of_a_higher_rank_and_says_so():
    _, found = random_lora(8, 8.0)
    base, settings = bundle(), config(lora_rank=2)
    lora = attach(base, families.get("sd").targets(base, settings), settings)
    continue_from(lora, found)
    for name, layer in lora.export().items():
        best = torch.linalg.svdvals(delta(found[name]))
        lost = (delta(layer) - delta(found[name])).norm()
        assert math.isclose(float(lost), float(best[2:].norm()), rel_tol=1e-3)
    assert len(lora.notes) == 2, "what was lost, and that convolutions are left out"


def test_large_matrices_lose_no_more_than_they_must():
    rng = torch.Generator().manual_seed(0)
    flat = torch.randn(300, 400, generator=rng) * 0.1 + torch.randn(300, 3, generator=rng) @ torch.randn(3, 400, generator=rng)
    torch.manual_seed(5)
    down, up, share = _of_rank(flat, 4)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), expected), "the process' randomness is not touched"
    singular = torch.linalg.svdvals(flat).square()
    assert math.isclose(share, float(singular[:4].sum() / singular.sum()), rel_tol=1e-3)
    assert math.isclose(float((flat - up @ down).square().sum() / flat.square().sum()), 1 - share, rel_tol=1e-3)


def test_files_are_blended_by_row():
    base = bundle()
    _, first = random_lora(4, 4.0)
    attach_files(base, [first, first])
    layer = base["unet"].get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1.to_q")
    x = torch.randn(3, 5, layer.base.in_features)
    base.blend([(0.0, 0.0), (1.0, 0.0), (0.5, 0.5)])
    out = layer(x)
    assert torch.equal(out[0], layer.base(x)[0])
    expected = x @ delta(first["unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"]).T + layer.base(x)
    torch.testing.assert_close(out[1:], expected[1:], atol=1e-4, rtol=1e-4)

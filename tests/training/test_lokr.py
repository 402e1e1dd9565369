"""LoKr on a layer adds the Kronecker product of its matrices, without ever building it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.training import lokr
from studio.training.lokr import Lokr
from studio.training.lora import AdaptedLayer, Blend

CPU = torch.device("cpu")
LAYERS = [nn.Linear(12, 8), nn.Conv2d(12, 8, 1), nn.Conv2d(12, 8, 3, stride=2, padding=1), nn.Conv2d(12, 8, 3, padding=1, bias=False)]
KINDS = pytest.mark.parametrize(("base", "rank"), [(base, rank) for base in LAYERS for rank in (1, 64)])


def made(base: nn.Linear | nn.Conv2d, rank: int, dropout: float = 0.0) -> tuple[AdaptedLayer, Lokr, Tensor]:
    """A layer with a LoKr of random numbers on it, split 2 × 3, and an input for it."""
    rng = torch.Generator().manual_seed(1)
    w1, w2, w2_b = lokr.fresh(base.requires_grad_(False).weight.shape, rank, 3, rng)
    adapter = Lokr(w1, w2, w2_b, 0.5)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    layer = AdaptedLayer(base, Blend(CPU), dropout)
    layer.adapters["0"] = adapter
    return layer, adapter, torch.randn(2, 12, 8, 8, generator=rng) if base.weight.dim() == 4 else torch.randn(2, 7, 12, generator=rng)


def applied(base: nn.Linear | nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x, weight, base.bias) if isinstance(base, nn.Linear) else F.conv2d(x, weight, base.bias, base.stride, base.padding)


@KINDS
def test_its_output_and_gradients_are_those_of_the_changed_weight(base, rank):
    layer, adapter, x = made(base, rank)
    assert adapter.w1.shape == (2, 3)
    assert (adapter.w2_b is None) == (rank == 64)
    expected = applied(base, x, base.weight + 0.5 * lokr.kron(adapter.w1, adapter.w2, adapter.w2_b, base.weight.shape))
    torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-4)
    trained = list(adapter.parameters())
    for one, other in zip(*(torch.autograd.grad(output.square().sum(), trained) for output in (layer(x), expected)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-3)


@KINDS
def test_a_fresh_one_changes_nothing_and_learns_at_once(base, rank):
    layer, _, x = made(base, rank)
    layer.adapters["0"] = fresh = Lokr(*lokr.fresh(base.weight.shape, rank, 3, torch.Generator().manual_seed(2)), 0.5)
    assert torch.equal(layer(x), base(x))
    layer(x).square().sum().backward()
    assert any(parameter.grad.any() for parameter in fresh.parameters())


@KINDS
def test_each_row_has_its_strength(base, rank):
    layer, _, x = made(base, rank)
    whole, plain = layer(x), base(x)
    layer.blend([(0.0,), (0.25,)])
    assert torch.equal(layer(x)[0], plain[0])
    torch.testing.assert_close(layer(x)[1], (plain + 0.25 * (whole - plain))[1], atol=1e-4, rtol=1e-4)


def test_the_parts_of_a_side():
    assert [lokr.parts(size, 8) for size in (320, 30, 7, 1)] == [8, 5, 1, 1]
    assert lokr.parts(64, 1024) == 8


def test_a_kronecker_product_is_found_again():
    w1, w2 = torch.randn(2, 3), torch.randn(4, 5, 3, 3)
    weight = lokr.kron(w1, w2, None, torch.Size((8, 15, 3, 3)))
    left, right, share = lokr.nearest(weight, (2, 3))
    torch.testing.assert_close(lokr.kron(left, right, None, weight.shape), weight, atol=1e-5, rtol=1e-4)
    assert share == pytest.approx(1)


def test_what_comes_nearest_is_said_with_its_share():
    weight = torch.randn(8, 15, generator=torch.Generator().manual_seed(0))
    left, right, share = lokr.nearest(weight, (2, 3))
    found = lokr.kron(left, right, None, weight.shape)
    assert 0.1 < share < 0.9
    assert float((weight - found).square().sum() / weight.square().sum()) == pytest.approx(1 - share, abs=1e-4)


def test_dropout_only_drops_in_training():
    layer, _, x = made(nn.Linear(12, 8), 1, dropout=0.5)
    assert not torch.equal(layer.train()(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))

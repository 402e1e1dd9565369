"""DoRA on a layer is what the paper says: rows of the changed weight, brought to a length that is trained apart."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.training.dora import Dora
from studio.training.lora import AdaptedLayer, Blend

CPU = torch.device("cpu")
LAYERS = [
    nn.Linear(6, 5),
    nn.Linear(6, 5, bias=False),
    nn.Conv2d(6, 5, 3, stride=2, padding=1),
    nn.Conv2d(6, 5, 1),
    nn.Conv2d(6, 5, 3, padding=1, bias=False),
]


def made(base: nn.Linear | nn.Conv2d, dropout: float = 0.0) -> tuple[AdaptedLayer, Dora, Tensor]:
    """A layer with a DoRA of random numbers on it, and an input for it."""
    rng, kernel = torch.Generator().manual_seed(1), base.weight.shape[2:]
    down, up = torch.randn(3, 6, *kernel, generator=rng), torch.randn(5, 3, *[1] * len(kernel), generator=rng)
    dora = Dora(base.requires_grad_(False).weight, down, up, 0.5)
    with torch.no_grad():
        dora.shift.copy_(torch.randn(5, generator=rng) * 0.3)
    layer = AdaptedLayer(base, Blend(CPU), dropout)
    layer.adapters["0"] = dora
    return layer, dora, torch.randn(2, 6, 8, 8, generator=rng) if kernel else torch.randn(2, 7, 6, generator=rng)


def changed(layer: AdaptedLayer, dora: Dora, constant: bool = True) -> Tensor:
    """W' = m · V / ‖V‖, written out; ‖V‖ is a constant to the gradients, or not."""
    v = layer.weight + 0.5 * torch.einsum("or,r...->o...", dora.up.flatten(1), dora.down)
    lengths = v.flatten(1).norm(dim=1)
    gain = (dora.start + dora.shift) / (lengths.detach() if constant else lengths)
    return v * gain.view(-1, *[1] * (v.dim() - 1))


def applied(base: nn.Linear | nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x, weight, base.bias) if isinstance(base, nn.Linear) else F.conv2d(x, weight, base.bias, base.stride, base.padding)


@pytest.mark.parametrize("base", LAYERS)
def test_its_output_and_gradients_are_those_of_the_changed_weight(base):
    layer, dora, x = made(base)
    expected = applied(base, x, changed(layer, dora))
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)
    trained = list(dora.parameters())
    mine, theirs = (torch.autograd.grad(output.square().sum(), trained) for output in (layer(x), expected))
    assert len(trained) == 3
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_lengths_are_constants_to_the_gradients():
    layer, dora, x = made(nn.Linear(6, 5))
    mine = torch.autograd.grad(layer(x).square().sum(), dora.up)[0]
    through = torch.autograd.grad(applied(layer.base, x, changed(layer, dora, constant=False)).square().sum(), dora.up)[0]
    assert not torch.allclose(mine, through, rtol=0.01)


@pytest.mark.parametrize("base", LAYERS)
def test_a_fresh_one_changes_nothing(base):
    layer, dora, x = made(base)
    with torch.no_grad():
        dora.up.zero_()
        dora.shift.zero_()
    assert torch.equal(layer(x), base(x))


@pytest.mark.parametrize("base", LAYERS)
def test_its_strength_blends_outputs_and_at_zero_it_is_the_base(base):
    layer, dora, x = made(base)
    whole, plain = applied(base, x, changed(layer, dora)), base(x)
    layer.blend([(0.0,), (0.25,)])
    assert torch.equal(layer(x)[0], plain[0])
    torch.testing.assert_close(layer(x)[1], (plain + 0.25 * (whole - plain))[1], atol=1e-5, rtol=1e-4)


def test_what_is_not_trained_is_measured_once():
    layer, dora, x = made(nn.Linear(6, 5))
    before = layer(x)
    assert dora.known is None, "training changes the lengths"
    dora.requires_grad_(False)
    assert torch.equal(layer(x), before)
    assert dora.known is not None
    assert torch.equal(layer(x), before)


def test_a_row_of_zeros_stays_finite():
    base = nn.Linear(6, 5)
    with torch.no_grad():
        base.weight[2] = 0
    layer, dora, x = made(base)
    with torch.no_grad():
        dora.up.zero_()
    layer(x).sum().backward()
    assert torch.isfinite(layer(x)).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in dora.parameters())


def test_dropout_only_drops_in_training():
    layer, _, x = made(nn.Linear(6, 5), dropout=0.5)
    assert not torch.equal(layer.train()(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))

"""Layers of lower rank: nearest to the change, and honest about what is lost."""

import pytest
import torch

from studio.formats.ranks import nearest, of_change

from .sd import delta, random_layer


@pytest.mark.parametrize("weight", [(24, 16), (12, 8, 3, 3)])
def test_a_lower_rank_is_the_best_there_is_and_says_what_it_keeps(weight: tuple[int, ...]):
    layer = random_layer(weight, rank=6, alpha=3.0)
    whole = delta(layer).flatten(1).double()
    near = nearest(layer, 2)
    values = torch.linalg.svdvals(whole)
    missed = whole - delta(near.layer).flatten(1).double()
    assert near.layer.rank == 2
    assert float(missed.norm()) == pytest.approx(float(values[2:].norm()), rel=1e-4)
    assert near.kept / near.all == pytest.approx(float(values[:2].square().sum() / values.square().sum()), rel=1e-5)
    assert near.layer.down.shape[1:] == layer.down.shape[1:]


def test_a_rank_that_is_enough_leaves_the_layer_as_it_is():
    layer = random_layer((24, 16), rank=6, alpha=3.0)
    for near in (nearest(layer, 6), nearest(layer, 64), nearest(layer)):
        assert near.layer is layer
        assert near.kept == near.all > 0


def test_a_share_takes_as_few_directions_as_hold_it():
    layer = random_layer((64, 64), rank=16, alpha=16.0)
    values = torch.linalg.svdvals(delta(layer).double()).square()
    near = nearest(layer, keep=0.9)
    assert near.kept / near.all >= 0.9
    assert float(values[: near.layer.rank - 1].sum() / values.sum()) < 0.9
    assert nearest(layer, rank=3, keep=0.9).layer.rank == 3


def test_more_directions_than_a_layer_has_are_let_go_without_loss():
    layer = random_layer((4, 32), rank=12, alpha=12.0)
    near = nearest(layer, 8)
    assert near.layer.rank == 4
    assert torch.allclose(delta(near.layer), delta(layer), atol=1e-5)


def test_the_directions_of_a_large_change_are_found_and_no_other_randomness_is_touched():
    change = delta(random_layer((320, 384), rank=5, alpha=5.0)) + 1e-4 * torch.randn(320, 384, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    near = of_change(change, 5, torch.float32)
    assert torch.equal(torch.rand(2), expected)
    values = torch.linalg.svdvals(change.double()).square()
    assert near.kept / near.all == pytest.approx(float(values[:5].sum() / values.sum()), rel=1e-5)
    assert float((delta(near.layer) - change).norm() / change.norm()) == pytest.approx(float((values[5:].sum() / values.sum()).sqrt()), rel=1e-2)


def test_nothing_is_nearest_to_nothing():
    near = of_change(torch.zeros(8, 8), 2, torch.float32)
    assert (near.kept, near.all) == (0.0, 0.0)
    assert bool(near.layer.down.isfinite().all())

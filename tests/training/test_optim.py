"""Steps are AdamW's, clipped, and left out where they aren't finite."""

import copy
import math

import pytest
import torch

from studio.training.optim import FIRST_SCALE, Optimizer, schedule

CPU = torch.device("cpu")


def parameters() -> dict[str, torch.nn.Parameter]:
    rng = torch.Generator().manual_seed(0)
    return {name: torch.nn.Parameter(torch.randn(3, 4, generator=rng)) for name in "ab"}


def give_gradients(named: dict[str, torch.nn.Parameter], step: int, size: float = 1.0) -> None:
    rng = torch.Generator().manual_seed(step)
    for parameter in named.values():
        parameter.grad = torch.randn(3, 4, generator=rng) * size


@pytest.mark.parametrize("size", [0.01, 10.0])
@pytest.mark.parametrize("scaled", [False, True])
def test_it_is_adamw_with_clipping(size, scaled):
    ours, theirs = parameters(), parameters()
    mine = Optimizer([(ours, 1e-2)], CPU, weight_decay=0.1, max_norm=1.0, scaled=scaled)
    reference = torch.optim.AdamW(theirs.values(), lr=1e-2, weight_decay=0.1)
    for step in range(5):
        give_gradients(ours, step, size * (FIRST_SCALE if scaled else 1))
        give_gradients(theirs, step, size)
        norm, failed = mine.step(1.0, torch.tensor(1.0))
        assert math.isclose(float(norm), float(torch.nn.utils.clip_grad_norm_(theirs.values(), 1.0)), rel_tol=1e-5)
        assert not failed
        reference.step()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=2e-6, rtol=1e-5)


def test_clipping_really_clips():
    moved = {}
    for most in (0.0, 1e-3):
        named = parameters()
        start = named["a"].detach().clone()
        optimizer = Optimizer([(named, 1e-2)], CPU, 0.0, most, scaled=False)
        give_gradients(named, 0)
        optimizer.step(1.0, torch.tensor(1.0))
        moved[most] = (optimizer.adamw.state[named["a"]]["exp_avg"].norm().item(), (named["a"] - start).norm().item())
    assert moved[1e-3][0] < 1e-2 * moved[0.0][0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_isnt_finite_changes_nothing_and_is_told(bad):
    named = parameters()
    optimizer = Optimizer([(named, 1e-2)], CPU, 0.1, 1.0, scaled=False)
    give_gradients(named, 0)
    optimizer.step(1.0, torch.tensor(1.0))
    before, state = copy.deepcopy(named), {name: tensor.clone() for name, tensor in optimizer.state().items()}
    give_gradients(named, 1)
    named["a"].grad[0, 0] = bad
    _, failed = optimizer.step(1.0, torch.tensor(1.0))
    assert failed
    assert all(torch.equal(named[name], before[name]) for name in named)
    assert all(torch.equal(tensor, state[name]) for name, tensor in optimizer.state().items())


def test_a_loss_scale_that_is_too_high_is_halved_and_is_no_failure():
    named = parameters()
    optimizer = Optimizer([(named, 1e-2)], CPU, 0.0, 1.0, scaled=True)
    give_gradients(named, 0)
    named["a"].grad[0, 0] = float("inf")
    _, failed = optimizer.step(1.0, torch.tensor(1.0))
    assert not failed
    assert float(optimizer.scale) == FIRST_SCALE / 2
    give_gradients(named, 1)
    _, failed = optimizer.step(1.0, torch.tensor(float("nan")))
    assert failed


def test_groups_have_rates_of_their_own():
    named = parameters()
    start = copy.deepcopy(named)
    optimizer = Optimizer([({"a": named["a"]}, 1e-2), ({"b": named["b"]}, 0.0)], CPU, 0.0, 0.0, scaled=False)
    give_gradients(named, 0)
    optimizer.step(0.5, torch.tensor(1.0))
    assert torch.equal(named["b"], start["b"])
    torch.testing.assert_close((named["a"] - start["a"]).abs(), torch.full((3, 4), 5e-3), atol=1e-6, rtol=1e-3)


def test_its_state_goes_on_exactly():
    named = parameters()
    first = Optimizer([(named, 1e-2)], CPU, 0.1, 1.0, scaled=True)
    give_gradients(named, 0)
    first.step(1.0, torch.tensor(1.0))
    other = copy.deepcopy(named)
    second = Optimizer([(other, 1e-2)], CPU, 0.1, 1.0, scaled=True)
    second.load_state(first.state())
    for optimizer, each in ((first, named), (second, other)):
        give_gradients(each, 1)
        optimizer.step(1.0, torch.tensor(1.0))
    assert all(torch.equal(named[name], other[name]) for name in named)


def test_schedules():
    assert [schedule("constant", step, 10, 4) for step in (0, 3, 4, 9)] == [0.2, 0.8, 1.0, 1.0]
    assert schedule("linear", 5, 10, 0) == 0.5
    assert math.isclose(schedule("cosine", 5, 10, 0), 0.5)
    assert schedule("cosine", 9, 10, 0) < 0.03
    assert schedule("linear", 0, 10, 0) == 1.0

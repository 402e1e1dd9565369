"""Every picture gets its turn."""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from studio.training.batches import Batches, derive

SIZES = st.lists(st.integers(1, 13), min_size=1, max_size=4)


def made(sizes: list[int], batch_size: int, seed: int = 0) -> Batches:
    numbers = iter(range(sum(sizes)))
    return Batches([[next(numbers) for _ in range(size)] for size in sizes], batch_size, seed)


@given(SIZES, st.integers(1, 6), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_every_example_comes_once_a_pass(sizes, batch_size, epochs):
    batches = made(sizes, batch_size)
    seen = Counter(index for number in range(batches.count(epochs)) for index in batches.at(number))
    for bucket in batches.buckets:
        counts = [seen[index] for index in bucket]
        assert min(counts) >= epochs
        assert max(counts) - min(counts) <= 1
        assert sum(counts) < epochs * len(bucket) + batch_size


@given(SIZES, st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_a_batch_is_full_and_of_one_bucket(sizes, batch_size):
    batches = made(sizes, batch_size)
    for number in range(batches.count(3)):
        batch = batches.at(number)
        assert len(batch) == batch_size
        assert any(set(batch) <= set(bucket) for bucket in batches.buckets)


@given(SIZES, st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_epochs_hold_what_they_count(sizes, batch_size):
    batches = made(sizes, batch_size)
    epochs = [batches.epoch(number) for number in range(batches.count(4))]
    assert epochs == sorted(epochs)
    assert [epochs.count(epoch) for epoch in range(4)] == [batches.count(epoch + 1) - batches.count(epoch) for epoch in range(4)]


@given(SIZES, SIZES, st.integers(1, 6), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_companions_come_as_often_as_what_they_accompany(sizes, others, batch_size, epochs):
    own = made(sizes, batch_size)
    first, batches = sum(sizes), made([*sizes, *others], batch_size)
    batches = replace(batches, buckets=batches.buckets[: len(sizes)], companions=batches.buckets[len(sizes) :])
    shown = [batches.at(number) for number in range(batches.count(epochs))]
    seen = Counter(index for batch in shown for index in batch)
    counts = [seen[index] for index in range(first, first + sum(others))]
    assert all(len({index < first for index in batch}) == 1 for batch in shown), "never in one batch with the others"
    assert sum(count for index, count in seen.items() if index < first) == own.count(epochs) * batch_size
    assert 0 <= sum(counts) - epochs * first <= len(others) * batch_size
    for bucket in batches.companions:
        assert max(seen[index] for index in bucket) - min(seen[index] for index in bucket) <= 1


def test_the_order_follows_from_the_seed_alone():
    assert [made([9, 4], 3).at(number) for number in range(9)] == [made([9, 4], 3).at(number) for number in range(9)]
    assert [made([9, 4], 3).at(number) for number in range(9)] != [made([9, 4], 3, seed=1).at(number) for number in range(9)]


def test_derived_seeds_differ():
    assert len({derive(seed, word, number) for seed in range(9) for word in "ab" for number in range(9)}) == 162

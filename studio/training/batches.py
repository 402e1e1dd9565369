"""Which pictures meet in which batch: a function of (seed, number of the batch), so that a run resumes anywhere without history."""

import hashlib
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache


def derive(*words: object) -> int:
    """A seed of 63 bits that follows from the words."""
    return int.from_bytes(hashlib.blake2b("/".join(map(str, words)).encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True)
class Batches:
    """An endless stream of batches of one bucket each.

    Each bucket is an endless row of shuffled passes over its examples, cut into whole batches: none is padded, dropped or smaller, and every
    example comes once a pass. After epoch e, bucket b has given ⌈e · n_b / batch_size⌉ batches; those of an epoch are shuffled together.
    `companions` are buckets of other examples, of which an epoch shows as many as of the first, however many there are.
    """

    buckets: Sequence[Sequence[int]]
    batch_size: int
    seed: int
    companions: Sequence[Sequence[int]] = ()

    def count(self, epochs: int) -> int:
        """Batches in that many epochs."""
        return sum(self._given(bucket, epochs) for bucket in range(len(self._all)))

    def epoch(self, number: int) -> int:
        """The epoch, from 0, that batch `number` is in."""
        most = 1
        while self.count(most) <= number:
            most *= 2
        return bisect_right(range(most), number, key=lambda epoch: self.count(epoch + 1))

    def at(self, number: int) -> list[int]:
        """The examples of batch `number`."""
        epoch = self.epoch(number)
        before = self.count(epoch)
        place = _permutation(self.count(epoch + 1) - before, self.seed, "order", epoch)[number - before]
        for bucket, examples in enumerate(self._all):
            given, size = self._given(bucket, epoch), len(examples)
            here = self._given(bucket, epoch + 1) - given
            if place < here:
                first = (given + place) * self.batch_size
                places = range(first, first + self.batch_size)
                return [examples[_permutation(size, self.seed, "pass", bucket, place // size)[place % size]] for place in places]
            place -= here
        raise IndexError(number)

    @property
    def _all(self) -> Sequence[Sequence[int]]:
        return (*self.buckets, *self.companions)

    def _given(self, bucket: int, epochs: int) -> int:
        shown, out_of = epochs * len(self._all[bucket]), 1
        if bucket >= len(self.buckets):
            shown, out_of = shown * sum(map(len, self.buckets)), sum(map(len, self.companions))
        return -(-shown // (out_of * self.batch_size))


@lru_cache(maxsize=64)
def _permutation(size: int, *words: object) -> list[int]:
    order = list(range(size))
    random.Random(derive(*words)).shuffle(order)
    return order

"""Draw random numbers from named streams, one for each consumer, so that a new consumer changes nobody's draws."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Stream:
    """A seeded source of draws whose sequence depends on the machine's seed and the stream's name alone."""

    __slots__ = ("_bits", "_random", "name")

    def __init__(self, seed: int, name: str) -> None:
        self.name = name
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        self._random = random.Random(int.from_bytes(digest, "big"))
        self._bits = self._random.getrandbits

    def below(self, n: int) -> int:
        """Return a uniform integer in ``0 .. n-1``; ``n`` must be positive."""
        k = n.bit_length()
        value = self._bits(k)
        while value >= n:
            value = self._bits(k)
        return value

    def sample(self, values: Sequence[T]) -> T:
        """Return one element of a non-empty sequence."""
        return values[self.below(len(values))]

    def exponential_ns(self, mean_ns: int) -> int:
        """Return a whole number of ns drawn from an exponential distribution (memoryless arrivals)."""
        u = 1 - self._random.random()
        return round(-math.log(u) * mean_ns)

    def between(self, low: int, high: int) -> int:
        """Return a uniform integer in ``low .. high``, both included."""
        return low + self.below(high - low + 1)

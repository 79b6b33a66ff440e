"""Hold a distribution as its sorted samples, and compare two of them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Dist(msgspec.Struct, frozen=True):
    """All samples of one quantity, sorted, in ns; never empty in ``Metrics``."""

    samples: tuple[int, ...]

    @classmethod
    def of(cls, samples: Iterable[int]) -> Dist:
        """Return the distribution of some samples, in whatever order they come."""
        return cls(tuple(sorted(samples)))

    @property
    def n(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def quantile(self, p: float) -> int:
        """Return the sample at index ``min(n - 1, int(p * n))``: an observed value, nothing is interpolated."""
        return self.samples[min(len(self.samples) - 1, int(p * len(self.samples)))]

    @property
    def p50(self) -> int:
        """Return the median, in ns."""
        return self.quantile(0.5)

    @property
    def p90(self) -> int:
        """Return the 90th percentile, in ns."""
        return self.quantile(0.9)

    @property
    def p99(self) -> int:
        """Return the 99th percentile, in ns."""
        return self.quantile(0.99)

    @property
    def p999(self) -> int:
        """Return the 99.9th percentile, in ns."""
        return self.quantile(0.999)

    @property
    def max(self) -> int:
        """Return the largest sample, in ns."""
        return self.samples[-1]

    def clipped(self, limit: int) -> Dist:
        """Return the distribution with every sample above ``limit`` lowered to it."""
        return Dist(tuple(min(sample, limit) for sample in self.samples))


def wasserstein_1(left: Dist, right: Dist) -> float:
    """Return the area between two cumulative distributions, in ns: how far the mass has to move on average."""
    a, b = left.samples, right.samples
    n, m = len(a), len(b)
    i = j = area = at = 0
    while i < n or j < m:
        step = a[i] if j >= m or (i < n and a[i] <= b[j]) else b[j]
        area += abs(i * m - j * n) * (step - at)
        at = step
        while i < n and a[i] == step:
            i += 1
        while j < m and b[j] == step:
            j += 1
    return area / (n * m)


def w1n(predicted: Dist, real: Dist) -> float:
    """Return the normalised distance: both clipped at the real 98th percentile, divided by the real clipped mean.

    A real mean of 0 (everything shorter than the clock's step) gives 0 if the prediction is 0 too, else infinity.
    """
    limit = real.quantile(0.98)
    clipped = real.clipped(limit)
    total = sum(clipped.samples)
    distance = wasserstein_1(predicted.clipped(limit), clipped)
    if total == 0:
        return 0.0 if distance == 0 else float("inf")
    return distance * clipped.n / total

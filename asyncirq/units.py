"""Give the model its units: integer nanoseconds and the five ids that are never swapped.

Virtual time is an ``int`` of nanoseconds everywhere; there is no float and no ``/`` in the model.
The ids are ``NewType`` s so that a type checker refuses a vector where a pin is meant.
"""

from __future__ import annotations

from typing import Final, NewType

from asyncirq.errors import UsageError

Pin = NewType("Pin", int)
"""Input of a controller that a wire is soldered to."""
Hwirq = NewType("Hwirq", int)
"""Interrupt number inside one controller (an ``irq_domain``)."""
Irq = NewType("Irq", int)
"""Linux interrupt number, global to a machine."""
Vector = NewType("Vector", int)
"""Slot of a CPU's IDT, 0 to 255."""
CpuId = NewType("CpuId", int)
"""Logical CPU number, 0 to n-1."""

NSEC_PER_USEC: Final = 1_000
NSEC_PER_MSEC: Final = 1_000_000
NSEC_PER_SEC: Final = 1_000_000_000


def _whole(n: int) -> int:
    if not isinstance(n, int):
        raise UsageError(f"{n!r} is no whole number: take the smaller unit for a fraction")
    return n


def ns(n: int) -> int:
    """Return ``n`` nanoseconds as nanoseconds (for symmetry in tables of costs)."""
    return _whole(n)


def us(n: int) -> int:
    """Return ``n`` microseconds in nanoseconds."""
    return _whole(n) * NSEC_PER_USEC


def ms(n: int) -> int:
    """Return ``n`` milliseconds in nanoseconds."""
    return _whole(n) * NSEC_PER_MSEC


def sec(n: int) -> int:
    """Return ``n`` seconds in nanoseconds."""
    return _whole(n) * NSEC_PER_SEC


def format_ns(value: int) -> str:
    """Render a duration with the unit that keeps it exact: ``1500`` is ``'1500 ns'``, ``2000`` is ``'2 us'``."""
    for size, unit in ((NSEC_PER_SEC, "s"), (NSEC_PER_MSEC, "ms"), (NSEC_PER_USEC, "us")):
        if value and value % size == 0:
            return f"{value // size} {unit}"
    return f"{value} ns"

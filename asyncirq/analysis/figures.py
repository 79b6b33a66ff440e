"""Write figures for people: durations in us, signed changes, shares, rates."""

from __future__ import annotations

from typing import Final

from asyncirq.units import NSEC_PER_USEC

NONE: Final = "-"
"""What stands where there is no figure."""
_EXACT_BELOW_NS: Final = 100 * NSEC_PER_USEC


def us(value: int) -> str:
    """Return ns as us: whole where it is whole or 100 us and more, else with one digit."""
    if value % NSEC_PER_USEC == 0 or abs(value) >= _EXACT_BELOW_NS:
        return f"{value / NSEC_PER_USEC:.0f}"
    return f"{value / NSEC_PER_USEC:.1f}"


def signed_us(value: int) -> str:
    """Return a change in ns as us with its sign; no change is ``0``."""
    text = us(value)
    return f"+{text}" if value > 0 else text


def percent(share: float) -> str:
    """Return a share of 0 to 1 in percent, with more digits the smaller it is."""
    value = 100 * share
    if value == 0:
        return "0 %"
    return f"{value:.0f} %" if value >= 10 else f"{value:.1f} %" if value >= 1 else f"{value:.2f} %"


def rate(value: float) -> str:
    """Return a rate per second, with one digit below 100."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def number(value: float | None, digits: int) -> str:
    """Return a number with fixed digits, or a dash if there is none."""
    return NONE if value is None else f"{value:.{digits}f}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"

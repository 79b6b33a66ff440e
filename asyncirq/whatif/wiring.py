"""Find out how each interrupt line of a capture was wired, from the ``/proc/interrupts`` next to it.

A line that no file tells of is a message (MSI): the edge flow, nothing to mask.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

FILES: Final = ("after.interrupts", "before.interrupts", "interrupts")
PINS: Final = 24
SPIS: Final = 256
PPI_LIMIT: Final = 32
_GIC: Final = re.compile(r"\bGIC(v3|-0)\s+(\d+)\b")
_ROW: Final = re.compile(r"\s*(\d+):((?:\s+\d+)+)\s+(.+)")
_TRIGGER: Final = re.compile(r"\b(\d+)-?\s*(fasteoi|edge|level)\b", re.IGNORECASE)


class Wiring(msgspec.Struct, frozen=True):
    """How one line reaches a CPU: ``pin`` of the IO-APIC, or SPI of a GIC, or -1 for a message; ``level``: asserted until served."""

    pin: int = -1
    level: bool = False


def read_wiring(capture: Path, lines: Iterable[int]) -> dict[int, Wiring]:
    """Return the wiring of each line of a capture: its folder, or the trace file in it."""
    folder = capture if capture.is_dir() else capture.parent
    found: dict[int, Wiring] = {}
    for name in FILES:
        path = folder / name
        if path.is_file():
            found = parse_interrupts(path.read_text(encoding="utf-8", errors="replace")) | found
    wanted = sorted(lines)
    wired = {irq: found.get(irq, Wiring()) for irq in wanted}
    pins = PINS if read_controller(capture) == "apic" else SPIS
    taken: set[int] = set()
    for irq in wanted:
        wiring = wired[irq]
        if (wiring.level and wiring.pin < 0) or wiring.pin >= pins or wiring.pin in taken:
            free = next((pin for pin in range(pins - 1, -1, -1) if pin not in taken), -1)
            wired[irq] = Wiring(free, wiring.level) if wiring.level and free >= 0 else Wiring()
        if wired[irq].pin >= 0:
            taken.add(wired[irq].pin)
    return wired


def read_controller(capture: Path) -> str:
    """Return the interrupt controller that a capture's files name: ``gicv3``, ``gicv2``, else ``apic``."""
    folder = capture if capture.is_dir() else capture.parent
    for name in FILES:
        path = folder / name
        if path.is_file():
            found = _GIC.search(path.read_text(encoding="utf-8", errors="replace"))
            return "apic" if found is None else "gicv3" if found[1] == "v3" else "gicv2"
    return "apic"


def parse_interrupts(text: str) -> dict[int, Wiring]:
    """Return the wiring of each numbered row of ``/proc/interrupts``."""
    found: dict[int, Wiring] = {}
    for line in text.splitlines():
        row = _ROW.match(line)
        if row is None:
            continue
        rest = row[3]
        trigger = _TRIGGER.search(rest)
        level = trigger is not None and trigger[2].lower() in ("fasteoi", "level")
        gic = _GIC.search(rest)
        if gic is not None and int(gic[2]) >= PPI_LIMIT:
            found[int(row[1])] = Wiring(int(gic[2]) - PPI_LIMIT, level)
        elif "IO-APIC" in rest and trigger is not None:
            found[int(row[1])] = Wiring(int(trigger[1]), level)
        else:
            found[int(row[1])] = Wiring(-1, level and "MSI" not in rest)
    return found

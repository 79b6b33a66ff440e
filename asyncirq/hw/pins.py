"""Define how an interrupt controller reaches a CPU: what ``hw/cpu.py`` asks of its front end, and nothing more.

A local APIC is one; so is the CPU interface of another controller. A front end derives ``intr`` and ``nmi_pending`` and calls
``on_output()`` when one of them changed; the CPU answers with ``inta()`` or ``nmi_taken()``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from asyncirq.trace.record import CpuView


class CpuPins(Protocol):
    """The front end of one CPU.

    ``intr``: an interrupt is to be taken as soon as the CPU lets interrupts in. ``nmi_pending``: the same for what the CPU's
    flag does not hold back. ``on_output`` is the CPU's, called after a change of either.
    """

    on_output: Callable[[], None]
    intr: bool
    nmi_pending: bool

    def inta(self) -> tuple[int, int]:
        """Answer the acknowledge cycle: the vector that the CPU enters, and the cause of what raised it.

        A cause below 0 stands for an acknowledge with a record of its own, which ``took`` leaves. A controller that is
        acknowledged by software changes no state here and names the one entry for all its interrupts.
        """
        ...

    def took(self, cpu: CpuView, vector: int, cause: int) -> int:
        """Record an acknowledge whose cause is below 0, if there is anything to record, and return what the entry is caused by."""
        ...

    def nmi_taken(self) -> int:
        """Clear the NMI latch and return the cause of the first raise."""
        ...

    def in_service(self) -> int:
        """Return the number of the interrupt in service that must end before its hard interrupt does, or -1; for the invariants."""
        ...

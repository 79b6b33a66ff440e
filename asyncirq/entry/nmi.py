"""Find out whose an NMI is: every handler of the CPU's own is asked, then the port that tells of errors, then nobody knows.

| order | who | claims |
| --- | --- | --- |
| 1 | ``local`` handlers: performance counters, IPIs; all of them, since several sources may have become one NMI | events handled |
| 2 | port 0x61: SERR, IOCHK, with the handlers of their kind | the reason |
| 3 | ``unknown`` handlers | events handled |
| 4 | nobody | "Uhhuh." |

When a pass claimed more than one event, the NMI of the others may still be latched: it comes back to back, at the same instruction,
finds nothing, and is swallowed. At any other instruction it is unknown.

Linux: arch/x86/kernel/nmi.c. Trace: nmi_handler for each handler, printk.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

from asyncirq.entry.common import Entry
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.port61 import (
    NMI_REASON_CLEAR_IOCHK,
    NMI_REASON_CLEAR_MASK,
    NMI_REASON_CLEAR_SERR,
    NMI_REASON_IOCHK,
    NMI_REASON_MASK,
    NMI_REASON_SERR,
    Port61,
)
from asyncirq.locking.raw_spinlock import RawSpinlock

NmiKind = Literal["local", "unknown", "serr", "io_check"]
NmiFn = Callable[[Cpu], Coroutine[Any, Any, int]]
"""A handler: ``await handler(cpu)`` returns how many events it found to be its own."""
KINDS: Final = ("local", "unknown", "serr", "io_check")
IOCHK_WAIT_NS: Final = 2_000_000_000
KERN_EMERG: Final = 0
KERN_INFO: Final = 6


class NmiStats:
    """What became of one CPU's NMIs. ``normal`` and ``unknown`` count events, the others NMIs."""

    __slots__ = ("external", "normal", "swallow", "unknown")

    def __init__(self) -> None:
        self.normal = 0
        self.unknown = 0
        self.external = 0
        self.swallow = 0


class NmiHandlers:
    """The NMI handlers of one machine.

    ``port`` is the reason port; without one no NMI has a reason. ``unknown_nmi_panic``, ``panic_on_unrecovered_nmi`` and
    ``panic_on_io_nmi`` are the sysctls that stop the machine. ``longest_ns`` is the time from which on a handler is reported, each
    time that it takes longer than ever.
    """

    def __init__(self, entry: Entry, port: Port61 | None = None) -> None:
        self.entry = entry
        self.trace = entry.trace
        self.engine = entry.sched.engine
        self.port = port
        self.unknown_nmi_panic = False
        self.panic_on_unrecovered_nmi = False
        self.panic_on_io_nmi = False
        self.longest_ns = 1_000_000
        cpus = len(entry.sched.cpus)
        self.stats = [NmiStats() for _ in range(cpus)]
        self._handlers: dict[str, list[tuple[str, NmiFn]]] = {kind: [] for kind in KINDS}
        self._last_ip = [-1] * cpus
        self._swallow = [False] * cpus
        self._reason_lock = RawSpinlock("nmi_reason_lock")
        entry.nmi = self.default_do_nmi

    # --- handlers

    def register(self, kind: NmiKind, handler: NmiFn, name: str, *, first: bool = False) -> None:
        """Add a handler at the end of its kind's list, or with ``first`` at the beginning.

        Raises ``UsageError`` for a kind that there is not, and for a name that is taken.
        """
        found = self._handlers.get(kind)
        if found is None:
            raise UsageError(f"{kind!r} is no kind of NMI handler: {', '.join(KINDS)}", 22)
        if any(name == other for other, _ in found):
            raise UsageError(f"there is an NMI handler {name!r} of kind {kind} already", 16)
        found.insert(0 if first else len(found), (name, handler))

    def unregister(self, kind: NmiKind, name: str) -> None:
        """Remove a handler. Raises ``UsageError`` when there is none of that name."""
        found = self._handlers[kind]
        kept = [pair for pair in found if pair[0] != name]
        if len(kept) == len(found):
            raise UsageError(f"there is no NMI handler {name!r} of kind {kind}", 2)
        self._handlers[kind] = kept

    async def _handle(self, cpu: Cpu, kind: NmiKind) -> int:
        """Ask every handler of a kind, whoever claims it; return the sum of what they found."""
        handled = 0
        for name, handler in list(self._handlers[kind]):
            began = self.engine.now
            found = await handler(cpu)
            handled += found
            took = self.engine.now - began
            if self.trace is not None:
                self.trace.nmi_handler(cpu, name, took, found)
            if took > self.longest_ns:
                self.longest_ns = took
                text = f"INFO: NMI handler ({name}) took too long to run: {took // 1_000_000}.{took // 1000 % 1000:03d} msecs"
                self._printk(cpu, KERN_INFO, text)
        return handled

    # --- the NMI

    async def default_do_nmi(self, cpu: Cpu) -> None:
        """Handle one NMI on a CPU."""
        index = cpu.id
        stats = self.stats[index]
        where = self._interrupted(index)
        back_to_back = where == self._last_ip[index]
        if not back_to_back:
            self._swallow[index] = False
        self._last_ip[index] = where
        handled = await self._handle(cpu, "local")
        stats.normal += handled
        if handled:
            # The other events' NMI may be latched already.
            if handled > 1:
                self._swallow[index] = True
            return
        await self._reason_lock.lock(cpu)
        reason = self.port.read() if self.port is not None else 0
        if reason & NMI_REASON_MASK:
            if reason & NMI_REASON_SERR:
                await self._pci_serr_error(cpu, reason)
            elif reason & NMI_REASON_IOCHK:
                await self._io_check_error(cpu, reason)
            stats.external += 1
            await self._reason_lock.unlock(cpu)
            return
        await self._reason_lock.unlock(cpu)
        if back_to_back and self._swallow[index]:
            stats.swallow += 1
        else:
            await self._unknown(cpu, reason)

    def _interrupted(self, index: int) -> int:
        """Return what stands for the instruction pointer that the NMI found.

        Model: Python code has none. How much time its CPU had spent outside of NMIs is as good: two NMIs with nothing between them
        find the same.
        """
        return self.entry.nmi_began[index] - self.entry.nmi_ns[index]

    async def _pci_serr_error(self, cpu: Cpu, reason: int) -> None:
        if await self._handle(cpu, "serr"):
            return
        assert self.port is not None
        self._printk(cpu, KERN_EMERG, f"NMI: PCI system error (SERR) for reason {reason:02x} on CPU {cpu.id}.")
        if self.panic_on_unrecovered_nmi:
            self._panic(cpu, "NMI: Not continuing")
        self._printk(cpu, KERN_EMERG, "Dazed and confused, but trying to continue")
        self.port.write(reason & NMI_REASON_CLEAR_MASK | NMI_REASON_CLEAR_SERR)

    async def _io_check_error(self, cpu: Cpu, reason: int) -> None:
        """Report a device's error, then hold its line clear for two seconds."""
        if await self._handle(cpu, "io_check"):
            return
        assert self.port is not None
        self._printk(cpu, KERN_EMERG, f"NMI: IOCK error (debug interrupt?) for reason {reason:02x} on CPU {cpu.id}.")
        if self.panic_on_io_nmi:
            self._panic(cpu, "NMI IOCK error: Not continuing")
        held = reason & NMI_REASON_CLEAR_MASK | NMI_REASON_CLEAR_IOCHK
        self.port.write(held)
        await cpu.spend(IOCHK_WAIT_NS)
        self.port.write(held & ~NMI_REASON_CLEAR_IOCHK)

    async def _unknown(self, cpu: Cpu, reason: int) -> None:
        handled = await self._handle(cpu, "unknown")
        stats = self.stats[cpu.id]
        if handled:
            stats.unknown += handled
            return
        stats.unknown += 1
        self._printk(cpu, KERN_EMERG, f"Uhhuh. NMI received for unknown reason {reason:02x} on CPU {cpu.id}.")
        if self.unknown_nmi_panic or self.panic_on_unrecovered_nmi:
            self._panic(cpu, "NMI: Not continuing")
        self._printk(cpu, KERN_EMERG, "Dazed and confused, but trying to continue")

    def _panic(self, cpu: Cpu, text: str) -> None:
        words = f"Kernel panic - not syncing: {text}"
        self._printk(cpu, KERN_EMERG, words)
        raise KernelBug(f"{words}, on {cpu.name} at {self.engine.now} ns")

    def _printk(self, cpu: Cpu, level: int, text: str) -> None:
        if self.trace is not None:
            self.trace.printk(cpu, level, text)

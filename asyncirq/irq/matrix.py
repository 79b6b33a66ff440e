"""Hand out vectors: one bit map for each CPU, the same system vectors cut out of all of them.

An ordinary allocation takes the lowest free vector of the CPU that has the most left (the lowest-numbered of equals). A
managed one was set aside on every CPU of its mask before. A reservation only counts.

Linux: kernel/irq/matrix.c. Trace: the irq_matrix events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from asyncirq.errors import InternalError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncirq.hw.cpu import Cpu
    from asyncirq.trace.recorder import Recorder

ENOSPC: Final = 28


class Allocation(NamedTuple):
    """A vector of a CPU."""

    cpu: int
    bit: int


class CpuMap:
    """The vectors of one CPU: bit sets of what is allocated and what is set aside for managed interrupts."""

    __slots__ = ("alloc_map", "allocated", "available", "initialized", "managed", "managed_allocated", "managed_map", "online")

    def __init__(self) -> None:
        self.alloc_map = 0
        self.managed_map = 0
        self.available = 0
        self.allocated = 0
        self.managed = 0
        self.managed_allocated = 0
        self.initialized = False
        self.online = False


class IrqMatrix:
    """Vectors ``start`` to ``end - 1`` of every CPU. ``cpus[0]`` is who the trace says did it, unless told.

    With a ``step`` above 1 the vectors are taken in leaps, from ``start`` and then from one higher, to spread them.
    """

    def __init__(self, cpus: Sequence[Cpu], start: int, end: int, trace: Recorder | None, step: int = 1) -> None:
        self.start = start
        self.end = end
        self.maps = [CpuMap() for _ in cpus]
        self.system_map = 0
        self.system_in_range = 0
        self.online_maps = 0
        self.global_available = 0
        self.global_reserved = 0
        self.total_allocated = 0
        self._range = (1 << end) - (1 << start)
        self._cpus = cpus
        self._trace = trace
        self._order = [bit for first in range(start, start + step) for bit in range(first, end, step)] if step > 1 else []

    # --- decide

    def _free_bits(self, cm: CpuMap) -> int:
        return self._range & ~(cm.alloc_map | cm.managed_map | self.system_map)

    def _best(self, mask: int) -> int:
        best, most = -1, 0
        for cpu, cm in enumerate(self.maps):
            if mask >> cpu & 1 and cm.online and cm.available > most:
                best, most = cpu, cm.available
        return best

    def _best_managed(self, mask: int) -> int:
        best, fewest = -1, 1 << 30
        for cpu, cm in enumerate(self.maps):
            if mask >> cpu & 1 and cm.online and cm.managed > cm.managed_allocated and cm.managed_allocated < fewest:
                best, fewest = cpu, cm.managed_allocated
        return best

    # --- CPUs and system vectors

    def assign_system(self, bit: int) -> None:
        """Cut a vector out of every CPU's map; before the second CPU is online."""
        if self.online_maps > 1:
            raise InternalError(f"system vector {bit} comes after CPUs are online")
        self.system_map |= 1 << bit
        if self.start <= bit < self.end:
            self.system_in_range += 1
        if self._trace is not None:
            self._trace.irq_matrix_assign_system(self._cpus[0], bit, *self._totals())

    def online(self, cpu: int) -> None:
        """Add a CPU's vectors to what can be allocated."""
        cm = self.maps[cpu]
        if cm.online:
            raise InternalError(f"vectors of CPU{cpu} are online already")
        if not cm.initialized:
            cm.available = self.end - self.start - cm.managed - self.system_in_range
            cm.initialized = True
        cm.online = True
        self.online_maps += 1
        self.global_available += cm.available
        if self._trace is not None:
            self._trace.irq_matrix_online(self._cpus[0], *self._totals())

    def offline(self, cpu: int) -> None:
        """Take a CPU's vectors out of what can be allocated; those in use stay."""
        cm = self.maps[cpu]
        cm.online = False
        self.online_maps -= 1
        self.global_available -= cm.available
        if self._trace is not None:
            self._trace.irq_matrix_offline(self._cpus[0], *self._totals())

    def assign(self, cpu: int, bit: int) -> None:
        """Give a CPU's vector to whoever had it before the matrix was made. Raises ``InternalError`` for one in use."""
        cm = self.maps[cpu]
        if (cm.alloc_map | self.system_map) >> bit & 1:
            raise InternalError(f"vector {bit} of CPU{cpu} is assigned but was not free")
        cm.alloc_map |= 1 << bit
        cm.allocated += 1
        cm.available -= 1
        self.total_allocated += 1
        self.global_available -= 1
        if self._trace is not None:
            self._emit(self._trace.irq_matrix_assign, bit, cpu)

    def show(self) -> str:
        """Return the state of the matrix as text: totals, each CPU's counts, the system vectors. Linux: irq_matrix_debug_show()."""
        system = [bit for bit in range(self.system_map.bit_length()) if self.system_map >> bit & 1]
        lines = [
            f"Online bitmaps: {self.online_maps:>8}",
            f"Global available: {self.global_available:>6}",
            f"Global reserved: {self.global_reserved:>7}",
            f"Total allocated: {self.total_allocated:>7}",
            f"System: {len(system)}: {','.join(str(bit) for bit in system)}",
            " | CPU | avl | man | mac | act | vectors",
        ]
        for cpu, cm in enumerate(self.maps):
            taken = ",".join(str(bit) for bit in range(cm.alloc_map.bit_length()) if cm.alloc_map >> bit & 1)
            lines.append(f"   {cpu:>4}  {cm.available:>4}  {cm.managed:>4}  {cm.managed_allocated:>4} {cm.allocated:>4}  {taken}")
        return "".join(f"{line}\n" for line in lines)

    # --- managed vectors

    def reserve_managed(self, mask: int) -> None:
        """Set one vector aside on every CPU of ``mask``. Raises ``UsageError`` ENOSPC with nothing changed."""
        done = 0
        for cpu, cm in enumerate(self.maps):
            if not mask >> cpu & 1:
                continue
            free = self._free_bits(cm)
            if not free:
                self.remove_managed(done)
                raise UsageError(f"no vector is left on CPU{cpu}", ENOSPC)
            bit = (free & -free).bit_length() - 1
            cm.managed_map |= 1 << bit
            cm.managed += 1
            if cm.initialized:
                cm.available -= 1
            if cm.online:
                self.global_available -= 1
            done |= 1 << cpu
            if self._trace is not None:
                self._emit(self._trace.irq_matrix_reserve_managed, bit, cpu)

    def remove_managed(self, mask: int) -> None:
        """Give back one unused vector set aside on every CPU of ``mask``."""
        for cpu, cm in enumerate(self.maps):
            unused = cm.managed_map & ~cm.alloc_map
            if not mask >> cpu & 1 or not unused:
                continue
            bit = (unused & -unused).bit_length() - 1
            cm.managed_map &= ~(1 << bit)
            cm.managed -= 1
            cm.available += 1
            if cm.online:
                self.global_available += 1
            if self._trace is not None:
                self._emit(self._trace.irq_matrix_remove_managed, bit, cpu)

    def alloc_managed(self, mask: int) -> Allocation:
        """Take a vector set aside into use, on the CPU that uses the fewest. Raises ``UsageError`` ENOSPC."""
        cpu = self._best_managed(mask)
        if cpu < 0:
            raise UsageError(f"no managed vector is left on CPUs {mask:#x}", ENOSPC)
        cm = self.maps[cpu]
        unused = cm.managed_map & ~cm.alloc_map
        bit = (unused & -unused).bit_length() - 1
        cm.alloc_map |= 1 << bit
        cm.allocated += 1
        cm.managed_allocated += 1
        self.total_allocated += 1
        if self._trace is not None:
            self._emit(self._trace.irq_matrix_alloc_managed, bit, cpu)
        return Allocation(cpu, bit)

    # --- ordinary vectors

    def reserve(self) -> None:
        """Count one interrupt that will want a vector some day."""
        self.global_reserved += 1
        if self._trace is not None:
            self._trace.irq_matrix_reserve(self._cpus[0], *self._totals())

    def remove_reserved(self) -> None:
        """Take a reservation back."""
        self.global_reserved -= 1
        if self._trace is not None:
            self._trace.irq_matrix_remove_reserved(self._cpus[0], *self._totals())

    def alloc(self, mask: int, reserved: bool) -> Allocation:
        """Allocate a vector on a CPU of ``mask``; ``reserved`` turns a reservation into it. Raises ``UsageError`` ENOSPC."""
        cpu = self._best(mask)
        free = self._free_bits(self.maps[cpu]) if cpu >= 0 else 0
        if not free:
            raise UsageError(f"no vector is left on CPUs {mask:#x}", ENOSPC)
        cm = self.maps[cpu]
        bit = (free & -free).bit_length() - 1
        if self._order:
            bit = next(bit for bit in self._order if free >> bit & 1)
        cm.alloc_map |= 1 << bit
        cm.allocated += 1
        cm.available -= 1
        self.total_allocated += 1
        self.global_available -= 1
        if reserved:
            self.global_reserved -= 1
        if self._trace is not None:
            self._emit(self._trace.irq_matrix_alloc, bit, cpu)
        return Allocation(cpu, bit)

    def free(self, cpu: int, bit: int, managed: bool) -> None:
        """Give a vector back; a managed one stays set aside."""
        cm = self.maps[cpu]
        if not cm.alloc_map >> bit & 1:
            raise InternalError(f"vector {bit} of CPU{cpu} is freed but was not allocated")
        cm.alloc_map &= ~(1 << bit)
        cm.allocated -= 1
        if managed:
            cm.managed_allocated -= 1
        if cm.online:
            self.total_allocated -= 1
        if not managed:
            cm.available += 1
            if cm.online:
                self.global_available += 1
        if self._trace is not None:
            self._emit(self._trace.irq_matrix_free, bit, cpu)

    def _totals(self) -> tuple[int, int, int, int]:
        return self.online_maps, self.global_available, self.global_reserved, self.total_allocated

    def _emit(self, emit: Callable[..., int], bit: int, cpu: int) -> None:
        cm = self.maps[cpu]
        emit(self._cpus[0], bit, cpu, cm.online, cm.available, cm.allocated, cm.managed, *self._totals())

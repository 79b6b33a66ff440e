"""Give each interrupt a vector of a CPU: the innermost domain of x86.

A vector number means nothing but on its CPU, so ``vector_irq`` has a table for each. An interrupt holds a reservation
until it is activated. When it moves, it gets a vector on the new CPU at once; the old one is kept until an interrupt
has arrived on the new CPU, and for a tick longer while it is still pending on the old one.

Linux: arch/x86/kernel/apic/vector.c. Trace: the vector events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from asyncirq.errors import InternalError, KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.affinity import irq_move_irq
from asyncirq.irq.chip import SET_MASK_OK, IrqChip
from asyncirq.irq.core import KERN_EMERG, KERN_WARNING, NR_LEGACY_IRQS, IrqTable
from asyncirq.irq.desc import IrqData, IrqDesc
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.matrix import IrqMatrix
from asyncirq.irq.ratelimit import Ratelimit

NR_VECTORS: Final = 256
FIRST_EXTERNAL_VECTOR: Final = 0x20
IA32_SYSCALL_VECTOR: Final = 0x80
MANAGED_IRQ_SHUTDOWN_VECTOR: Final = 0xEF
NO_VECTOR: Final = 0
CASCADE_IRQ: Final = 2
"""The legacy irq that joins the two halves of the first controller: never delivered."""


def expected_irqs(pins: int, cpus: int) -> int:
    """Return how many irqs a machine with so many wired pins expects, messages included. Linux: arch_probe_nr_irqs()."""
    messages = 16 * pins if pins > NR_LEGACY_IRQS else 8 * cpus
    return min(256 * cpus, pins + NR_LEGACY_IRQS + 8 * cpus + messages)


class VectorData:
    """What the vector domain keeps for one interrupt. ``vector`` 0 means none; ``prev_*`` is what it moved away from.

    ``move_in_progress``: nothing has arrived on the new CPU yet. ``cleanup``: the old vector waits for its last tick.
    ``fixed``: a legacy irq, whose vector stays even while it is not active.
    """

    __slots__ = (
        "apic_id",
        "cleanup",
        "cpu",
        "fixed",
        "has_reserved",
        "is_managed",
        "move_in_progress",
        "prev_cpu",
        "prev_vector",
        "vector",
    )

    def __init__(self) -> None:
        self.vector = NO_VECTOR
        self.cpu = 0
        self.apic_id = 0
        self.prev_vector = NO_VECTOR
        self.prev_cpu = 0
        self.move_in_progress = False
        self.cleanup = False
        self.has_reserved = False
        self.is_managed = False
        self.fixed = False


class VectorDomain(IrqDomain):
    """The vectors of one machine; ``vector_irq[cpu][vector]`` is what the entry code looks an interrupt up in.

    ``schedule_cleanup(cpu_id, function)`` calls ``function()`` one jiffy later on that CPU; unless the machine sets it,
    a timer of the engine does, which takes no CPU time. In a kernel whose vector map has a vector for that it is an
    interrupt to that CPU at once, whose handler is ``move_cleanup``. ``system`` False leaves the system vectors to a later
    ``assign_system_vectors``. It is the default host of the machine's numbers.
    """

    def __init__(self, core: IrqTable, system: bool = True) -> None:
        super().__init__(core, "VECTOR")
        self.map = core.config.vectors
        if not FIRST_EXTERNAL_VECTOR <= self.map.first_device < self.map.first_system <= NR_VECTORS:
            raise KernelBug(f"x86: vectors {self.map.first_device:#x} to {self.map.first_system:#x} make no vector domain")
        self.chip = VectorChip(self)
        core.default_host = self
        core.boot_note("arch: vector domain VECTOR")
        self.vector_irq: list[list[IrqDesc | None]] = [[None] * 256 for _ in core.cpus]
        self.matrix = IrqMatrix(core.cpus, self.map.first_device, self.map.first_system, core.trace, self.map.step)
        self.schedule_cleanup: Callable[[int, Callable[[], None]], None] = self._cleanup_by_timer
        self._silent: set[tuple[int, int]] = set()
        self._cleanup_lists: list[list[Callable[[], bool]]] = [[] for _ in core.cpus]
        self._unused_messages = Ratelimit(core)
        if system:
            self.assign_system_vectors()

    def assign_system_vectors(self) -> None:
        """Cut what is not the devices' out of the matrix, once the gates of it are made, and let the CPUs' vectors be used.

        Linux: lapic_assign_system_vectors(), lapic_online().
        """
        for irq in range(self.map.legacy):
            self.vector_irq[0][self.map.first_legacy + irq] = self.core.desc(irq)
        for vector in (*self.map.reserved, *self.map.system):
            self.matrix.assign_system(vector)
        if self.map.legacy:
            self.matrix.assign_system(self.map.first_legacy + CASCADE_IRQ)
        for cpu in self.core.cpus:
            self.matrix.online(cpu.id)
            for irq in range(self.map.legacy):
                vector = self.map.first_legacy + irq
                if irq != CASCADE_IRQ and self.matrix.start <= vector < self.matrix.end:
                    self.matrix.assign(cpu.id, vector)

    def assign_legacy(self, line: int, desc: IrqDesc) -> None:
        """Give a line of the 8259 its fixed vector on the boot CPU, where that is not done yet. Linux: lapic_assign_legacy_vector()."""
        vector = self.map.first_legacy + line
        if not (self.matrix.maps[0].alloc_map | self.matrix.system_map) >> vector & 1:
            self.matrix.assign(0, vector)
        self.vector_irq[0][vector] = desc

    # --- the domain

    def alloc(self, data: IrqData, arg: Any) -> None:
        """Take an interrupt in with a reservation: a vector comes at activation."""
        data.chip = self.chip
        data.chip_data = vectors = VectorData()
        data.desc.single_target = data.desc.enforce_irqctx = True
        vectors.is_managed = data.desc.managed
        if data.irq < self.map.legacy:
            vectors.fixed = True
            vectors.vector = self.map.first_legacy + data.irq
            vectors.apic_id = self.core.cpus[0].lapic.regs.id
        elif vectors.is_managed:
            self.matrix.reserve_managed(data.desc.affinity)
        else:
            self._reserve(data, vectors)
        if self.core.trace is not None:
            self.core.trace.vector_setup(self.core.cpus[0], data.irq, vectors.fixed, 0)

    def _reserve(self, data: IrqData, vectors: VectorData) -> None:
        self.matrix.reserve()
        vectors.has_reserved = True
        data.desc.can_reserve = True
        if self.core.trace is not None:
            self.core.trace.vector_reserve(self.core.cpus[0], data.irq, 0)

    def free(self, data: IrqData) -> None:
        """Give back everything that an interrupt holds."""
        vectors: VectorData = data.chip_data
        if self.core.trace is not None:
            self.core.trace.vector_teardown(self.core.cpus[0], data.irq, vectors.is_managed, vectors.has_reserved)
        self._clear(self.core.cpus[0], data, vectors)
        if vectors.is_managed:
            self.matrix.remove_managed(data.desc.affinity)
        elif vectors.has_reserved:
            self.matrix.remove_reserved()
            vectors.has_reserved = False

    def activate(self, cpu: Cpu, data: IrqData, reserve: bool) -> int:
        """Turn the reservation into a vector: 0, or -ENOSPC when none is left on any CPU."""
        desc = data.desc
        vectors: VectorData = data.chip_data
        if self.core.trace is not None:
            self.core.trace.vector_activate(cpu, data.irq, vectors.is_managed, desc.can_reserve, reserve)
        if reserve:
            vectors.vector = MANAGED_IRQ_SHUTDOWN_VECTOR
            return 0
        online = self.core.online_mask
        error = self.assign(cpu, data, desc.affinity & online) if desc.affinity & online else -28
        if error and not vectors.is_managed:
            error = self.assign(cpu, data, online)
            if not error:
                self.core.printk(cpu, KERN_WARNING, f"irq {data.irq}: Affinity broken due to vector space exhaustion.")
        return error

    def deactivate(self, cpu: Cpu, data: IrqData) -> None:
        """Turn the vector back into the reservation."""
        vectors: VectorData = data.chip_data
        if self.core.trace is not None:
            self.core.trace.vector_deactivate(cpu, data.irq, vectors.is_managed, data.desc.can_reserve, False)
        if vectors.has_reserved or vectors.fixed:
            return
        self._clear(cpu, data, vectors)
        if not vectors.is_managed:
            self._reserve(data, vectors)

    # --- vectors

    def assign(self, cpu: Cpu, data: IrqData, mask: int) -> int:
        """Give an interrupt a vector on a CPU of ``mask``, unless it has one there: 0, -EBUSY during a move, -ENOSPC."""
        vectors: VectorData = data.chip_data
        real = vectors.vector not in (NO_VECTOR, MANAGED_IRQ_SHUTDOWN_VECTOR)
        if real and mask >> vectors.cpu & 1:
            data.desc.effective_affinity = 1 << vectors.cpu
            return 0
        if vectors.move_in_progress or vectors.cleanup:
            return -16
        trace = self.core.trace
        reserved = vectors.has_reserved
        try:
            new = self.matrix.alloc_managed(mask) if vectors.is_managed else self.matrix.alloc(mask, reserved)
        except UsageError as error:
            if trace is not None:
                trace.vector_alloc(cpu, data.irq, 0, reserved, -error.errno)
            return -error.errno
        if trace is not None:
            trace.vector_alloc(cpu, data.irq, new.bit, reserved, 0)
            trace.vector_update(cpu, data.irq, new.bit, new.cpu, vectors.vector, vectors.cpu)
        vectors.has_reserved = False
        if real:
            self._leave(cpu, data, vectors)
        if self.vector_irq[new.cpu][new.bit] is not None:
            raise InternalError(f"vector {new.bit} of CPU{new.cpu} is allocated twice")
        vectors.vector = new.bit
        vectors.cpu = new.cpu
        vectors.apic_id = self.core.cpus[new.cpu].lapic.regs.id
        self.vector_irq[new.cpu][new.bit] = data.desc
        self._silent.discard((new.cpu, new.bit))
        data.desc.effective_affinity = 1 << new.cpu
        if trace is not None:
            trace.vector_config(cpu, data.irq, new.bit, new.cpu, vectors.apic_id)
        return 0

    def _leave(self, cpu: Cpu, data: IrqData, vectors: VectorData) -> None:
        vectors.prev_vector = vectors.vector
        vectors.prev_cpu = vectors.cpu
        if self.core.online_mask >> vectors.cpu & 1:
            vectors.move_in_progress = True
        else:
            self.free_moved(cpu, data, vectors)

    def _clear(self, cpu: Cpu, data: IrqData, vectors: VectorData) -> None:
        if vectors.vector == NO_VECTOR or vectors.vector == MANAGED_IRQ_SHUTDOWN_VECTOR:
            return
        if self.core.trace is not None:
            self.core.trace.vector_clear(cpu, data.irq, vectors.vector, vectors.cpu, vectors.prev_vector, vectors.prev_cpu)
        if vectors.fixed and vectors.vector == self.map.first_legacy + data.irq:
            return
        self._drop(vectors.cpu, vectors.vector, vectors.is_managed)
        vectors.vector = NO_VECTOR
        if vectors.prev_vector:
            self._drop(vectors.prev_cpu, vectors.prev_vector, vectors.is_managed)
            vectors.prev_vector = NO_VECTOR
        vectors.move_in_progress = vectors.cleanup = False
        data.desc.effective_affinity = 0

    def _drop(self, cpu_id: int, vector: int, managed: bool) -> None:
        # An interrupt of it may be on its way still: that one is no news.
        self.vector_irq[cpu_id][vector] = None
        self._silent.add((cpu_id, vector))
        self._give_back(cpu_id, vector, managed)

    def _give_back(self, cpu_id: int, vector: int, managed: bool) -> None:
        """Free a vector in the matrix, unless it lies below the devices': a fixed one of a legacy irq, which was never taken there."""
        if self.matrix.start <= vector < self.matrix.end:
            self.matrix.free(cpu_id, vector, managed)

    # --- after a move

    def complete_move(self, cpu: Cpu, data: IrqData, vectors: VectorData) -> None:
        """Begin to clean up behind a move, if this is the CPU that it went to. Linux: irq_complete_move()."""
        if cpu.id != vectors.cpu:
            return
        vectors.move_in_progress = False
        if self.core.online_mask >> vectors.prev_cpu & 1:
            vectors.cleanup = True
            if self.map.move_cleanup is not None:
                self._cleanup_lists[vectors.prev_cpu].append(lambda: self._free_if_quiet(data, vectors))
                self._send_cleanup(cpu, vectors.prev_cpu)
            else:
                self.schedule_cleanup(vectors.prev_cpu, lambda: self._clean_up(data, vectors))
        else:
            self.free_moved(cpu, data, vectors)

    def _clean_up(self, data: IrqData, vectors: VectorData) -> None:
        if not self._free_if_quiet(data, vectors):
            old = self.core.cpus[vectors.prev_cpu]
            self.core.printk(old, KERN_WARNING, f"Moved interrupt pending in old target APIC {vectors.prev_cpu}")
            self.schedule_cleanup(vectors.prev_cpu, lambda: self._clean_up(data, vectors))

    def _free_if_quiet(self, data: IrqData, vectors: VectorData) -> bool:
        """Free the vector that a move left behind, unless an interrupt of it is pending; tell whether there is no more to do."""
        if not vectors.cleanup:
            return True
        old = self.core.cpus[vectors.prev_cpu]
        if old.lapic.irr >> vectors.prev_vector & 1:
            return False
        self.free_moved(old, data, vectors)
        return True

    def _send_cleanup(self, cpu: Cpu, dest: int) -> None:
        assert self.map.move_cleanup is not None
        cpu.lapic.send_ipi(self.core.cpus[dest].lapic.regs.id, self.map.move_cleanup, cause=cpu.cause)

    async def move_cleanup(self, cpu: Cpu) -> None:
        """Free what moves left behind on this CPU; what is pending still is looked at after it was taken.

        The body of the move-cleanup interrupt, which has the lowest priority. Linux: sysvec_irq_move_cleanup(), before 6.7.
        """
        waiting, self._cleanup_lists[cpu.id] = self._cleanup_lists[cpu.id], []
        again = [free for free in waiting if not free()]
        if again:
            self._cleanup_lists[cpu.id] += again
            self._send_cleanup(cpu, cpu.id)

    def free_moved(self, cpu: Cpu, data: IrqData, vectors: VectorData) -> None:
        """Free the vector that a move has left behind. Trace: vector_free_moved."""
        if self.core.trace is not None:
            self.core.trace.vector_free_moved(cpu, data.irq, vectors.prev_cpu, vectors.prev_vector, vectors.is_managed)
        self._give_back(vectors.prev_cpu, vectors.prev_vector, vectors.is_managed)
        self.vector_irq[vectors.prev_cpu][vectors.prev_vector] = None
        vectors.prev_vector = NO_VECTOR
        vectors.move_in_progress = vectors.cleanup = False

    def _cleanup_by_timer(self, cpu_id: int, function: Callable[[], None]) -> None:
        engine = self.core.engine
        jiffy = self.core.config.jiffy_ns
        engine.timer(function, f"vector cleanup of CPU{cpu_id}").arm((engine.now // jiffy + 1) * jiffy)

    # --- strays

    def expect_stray(self, cpu_id: int, vector: int) -> None:
        """Let one interrupt of an unused vector pass without a word: a move may cause it."""
        if self.vector_irq[cpu_id][vector] is None:
            self._silent.add((cpu_id, vector))

    def handle_unused(self, cpu: Cpu, vector: int) -> None:
        """End an interrupt whose vector nobody has; say so, unless it was to be expected. Linux: common_interrupt()."""
        cpu.lapic.eoi(cpu)
        if (cpu.id, vector) in self._silent:
            self._silent.discard((cpu.id, vector))
        else:
            self._unused_messages.printk(cpu, KERN_EMERG, "common_interrupt", f": {cpu.id}.{vector} No irq handler for vector")


class VectorChip(IrqChip):
    """The CPU's side of every interrupt: EOI to the local APIC, a vector on another CPU, an interrupt to itself."""

    name = "APIC"

    def __init__(self, domain: VectorDomain) -> None:
        self.domain = domain
        self.costs = domain.core.costs

    def irq_ack(self, cpu: Cpu, data: IrqData) -> int:
        """Complete a move that ended here, begin one that is due, and write EOI. Linux: apic_ack_edge()."""
        vectors: VectorData = data.chip_data
        if vectors.move_in_progress:
            self.domain.complete_move(cpu, data, vectors)
        cost = irq_move_irq(cpu, data.desc) if data.desc.setaffinity_pending else 0
        cpu.lapic.eoi(cpu)
        return cost + self.costs.apic_eoi_ns

    def irq_set_affinity(self, cpu: Cpu, data: IrqData, mask: int, force: bool) -> int:
        """Assign a vector on one CPU of ``mask``."""
        error = self.domain.assign(cpu, data, mask & self.domain.core.online_mask)
        return error or SET_MASK_OK

    def irq_retrigger(self, cpu: Cpu, data: IrqData) -> bool:
        """Send the interrupt's own vector to its CPU."""
        vectors: VectorData = data.chip_data
        return cpu.lapic.send_ipi(vectors.apic_id, vectors.vector, cause=cpu.cause) > 0


def vector_data(data: IrqData) -> VectorData:
    """Return what the vector domain keeps for an interrupt, from any level of its hierarchy."""
    while data.parent is not None:
        data = data.parent
    vectors: VectorData = data.chip_data
    return vectors

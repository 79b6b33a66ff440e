"""Translate a controller's interrupt numbers (hwirq) to Linux's (irq), through one domain or a hierarchy of them.

A linear domain keeps its numbers in an array, a tree domain in a sparse map. In a hierarchy a domain's parent is the
next one towards the CPU: allocation goes from the device's side inwards, freeing back, and deactivation comes before.

Linux: kernel/irq/irqdomain.c, Documentation/core-api/irq/irq-domain.rst.
"""

from __future__ import annotations

from typing import Any

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.core import EINVAL, KERN_WARNING, IrqTable
from asyncirq.irq.desc import IRQ_TYPE_NONE, IrqData
from asyncirq.irq.spread import AffinityDesc
from asyncirq.irq.state import irq_deactivate, set_trigger_type


class IrqDomain:
    """The interrupts of one controller. ``size`` makes it linear, 0 a tree; ``parent`` puts it into a hierarchy.

    A controller's driver overrides ``alloc`` (set chip, flow handler and chip data), ``free``, ``activate`` and
    ``deactivate``; each of them sees this domain's ``IrqData``. ``pm_users`` counts the lines that keep it powered.
    """

    def __init__(self, core: IrqTable, name: str, size: int = 0, parent: IrqDomain | None = None) -> None:
        self.core = core
        self.name = name
        self.size = size
        self.parent = parent
        self.pm_users = 0
        self._linear = [0] * size
        self._tree: dict[int, int] = {}

    # --- what a driver overrides

    def alloc(self, data: IrqData, arg: Any) -> None:
        """Prepare one interrupt at this level; ``arg`` is the caller's. Raises ``UsageError`` if it cannot."""

    def free(self, data: IrqData) -> None:
        """Undo ``alloc``."""

    def activate(self, cpu: Cpu, data: IrqData, reserve: bool) -> int:
        """Make the interrupt deliverable at this level, the parent's being done: 0 or a negative errno."""
        return 0

    def deactivate(self, cpu: Cpu, data: IrqData) -> None:
        """Undo ``activate``."""

    def pm_get(self) -> None:
        """Keep the controller powered: one of its lines is in use. Linux: irq_chip_pm_get()."""
        self.pm_users += 1

    def pm_put(self) -> None:
        """Undo one ``pm_get``."""
        self.pm_users -= 1

    # --- mappings

    def find_mapping(self, hwirq: int) -> int:
        """Return the irq of a hwirq, 0 where there is none."""
        if self.size:
            return self._linear[hwirq] if 0 <= hwirq < self.size else 0
        return self._tree.get(hwirq, 0)

    def create_mapping(
        self, hwirq: int, kind: int = IRQ_TYPE_NONE, arg: Any = None, irq: int = -1, affinity: AffinityDesc | None = None
    ) -> int:
        """Return the irq of a hwirq, made now if there is none; ``irq`` asks for a number, ``kind`` is the trigger.

        ``affinity`` is where the interrupt shall go from the start, managed by the kernel or not.

        A second mapping with another trigger is refused with a message and 0. Raises ``UsageError`` for a hwirq that
        the domain does not have, or whatever ``alloc`` raises.
        """
        found = self.find_mapping(hwirq)
        if found:
            return self._map_again(found, hwirq, kind)
        if hwirq < 0 or (self.size and hwirq >= self.size):
            raise UsageError(f"hwirq {hwirq} is not in domain {self.name} (0..{self.size - 1})", EINVAL)
        desc = self.core.alloc_desc(irq)
        desc.data.hwirq = hwirq
        if affinity is not None:
            desc.affinity, desc.managed = affinity.mask, affinity.managed
            desc.affinity_set = not affinity.managed
        data = desc.data
        domain: IrqDomain | None = self
        while domain is not None:
            data.domain = domain
            domain = domain.parent
            if domain is not None:
                data.parent = IrqData(desc.irq, desc, self.core.no_irq_chip)
                data = data.parent
        done: list[IrqData] = []
        for data in desc.datas():
            assert data.domain is not None
            try:
                data.domain.alloc(data, arg)
            except UsageError:
                self._undo(desc.irq, done)
                raise
            done.append(data)
        desc.chip = desc.data.chip
        if kind != IRQ_TYPE_NONE:
            set_trigger_type(desc, kind)
        for data in done:
            assert data.domain is not None
            data.domain.insert(data.hwirq, desc.irq)
        return desc.irq

    def insert(self, hwirq: int, irq: int) -> None:
        """Enter a mapping; 0 removes it."""
        if self.size:
            self._linear[hwirq] = irq
        elif irq:
            self._tree[hwirq] = irq
        else:
            self._tree.pop(hwirq, None)

    def dispose_mapping(self, irq: int) -> None:
        """Remove an irq that this domain is the outermost of. Raises ``UsageError`` while it has an action."""
        desc = self.core.desc(irq)
        if desc.data.domain is not self:
            raise UsageError(f"irq {irq} is not mapped in domain {self.name}", EINVAL)
        if desc.action is not None:
            raise UsageError(f"irq {irq} is still in use by {desc.action.name}", 16)
        irq_deactivate(self.core.cpus[0], desc)
        datas = desc.datas()
        for data in datas:
            assert data.domain is not None
            data.domain.insert(data.hwirq, 0)
        self._undo(irq, datas)

    async def generic_handle_domain_irq(self, cpu: Cpu, hwirq: int) -> bool:
        """Run the flow handler of a hwirq; return whether it is mapped."""
        irq = self.find_mapping(hwirq)
        if not irq:
            return False
        desc = self.core.descs[irq]
        await desc.handle_irq(cpu, desc)
        return True

    def _map_again(self, irq: int, hwirq: int, kind: int) -> int:
        desc = self.core.desc(irq)
        if kind in (IRQ_TYPE_NONE, desc.trigger):
            return irq
        if desc.trigger == IRQ_TYPE_NONE:
            set_trigger_type(desc, kind)
            return irq
        self.core.printk(None, KERN_WARNING, f"type mismatch, failed to map hwirq-{hwirq} for {self.name}!")
        return 0

    def _undo(self, irq: int, datas: list[IrqData]) -> None:
        for data in reversed(datas):
            assert data.domain is not None
            data.domain.free(data)
        self.core.free_desc(irq)

    def __repr__(self) -> str:
        return f"<IrqDomain {self.name}>"

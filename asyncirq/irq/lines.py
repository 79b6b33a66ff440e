"""Look at lines and change what they do beside interrupting: chip states, wake-up, suspend, probing, non-maskable ones.

Linux: kernel/irq/manage.c, pm.c, autoprobe.c.
"""

from __future__ import annotations

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq import pm, poll, probe, resend
from asyncirq.irq.chip import IRQCHIP_STATE_ACTIVE
from asyncirq.irq.core import EINVAL, Context
from asyncirq.irq.desc import IrqData, IrqDesc
from asyncirq.irq.percpu import PercpuTable
from asyncirq.irq.spurious import stall_in_progress
from asyncirq.sched.task import Task


class LineTable(PercpuTable):
    """What is asked of lines that are set up already."""

    async def run_resend(self, cpu: Cpu) -> None:
        """Handle what waits for a software resend: the function of the tasklet that ``schedule_resend`` schedules."""
        await resend.run_resend(self, cpu)

    async def poll_spurious(self, cpu: Cpu) -> None:
        """Serve the lines that were disabled as spurious: the function of the timer that ``arm_spurious_poll`` arms."""
        await poll.poll_spurious(self, cpu)

    async def synchronize_hardirq(self, cpu: Cpu, irq: int) -> None:
        """Wait until no hard handler of the line runs. Raises ``KernelBug`` where that would wait for itself."""
        desc = self.desc(irq)
        while True:
            while desc.inprogress:
                await stall_in_progress(cpu, desc)
            if not (desc.chip.has_active and desc.chip.irq_get_active(cpu, desc.data)):
                return
            # The hardware tells no one when it is done: ask again.
            await cpu.spend(self.costs.mmio_ns or 1)

    # --- chip states

    def irq_get_irqchip_state(self, cpu: Cpu, irq: int, which: int) -> bool:
        """Ask the hardware for an ``IRQCHIP_STATE_*`` of a line, the controller next to the device first.

        Raises ``UsageError`` EINVAL where no controller can tell.
        """
        for data in self.desc(irq).datas():
            if data.chip.has_get_state:
                return data.chip.irq_get_irqchip_state(cpu, data, which)
            if data.chip.has_active and which == IRQCHIP_STATE_ACTIVE:
                return data.chip.irq_get_active(cpu, data)
        raise UsageError(f"irq {irq}: no controller can tell state {which}", EINVAL)

    async def irq_set_irqchip_state(self, context: Context, irq: int, which: int, value: bool) -> None:
        """Write an ``IRQCHIP_STATE_*`` of a line into the hardware. Raises ``UsageError``, EINVAL where no controller can."""
        desc = self.desc(irq)
        cpu, was_off = self.enter(context)
        error = _set_state(cpu, desc.datas(), which, value)
        await self.leave(context, cpu, was_off, self.costs.mmio_ns)
        if error:
            raise UsageError(f"irq {irq}: state {which} could not be set", -error)

    # --- sleep

    async def irq_set_irq_wake(self, context: Context, irq: int, on: bool) -> None:
        """Let a line wake the sleeping machine, or no more; calls nest. Raises ``UsageError``: ENXIO if its chip cannot."""
        desc = self.desc(irq, percpu=False)
        cpu, was_off = self.enter(context)
        error = pm.set_wake(desc, on)
        await self.leave(context, cpu, was_off)
        if error:
            raise UsageError(f"irq {irq} cannot wake the machine", -error)

    async def suspend_device_irqs(self, task: Task) -> None:
        """Switch every line off that may be, in the order of the irqs, and wait for the handlers of each."""
        self.wakeup_irqs.clear()
        for desc in self.all_descs():
            if desc.nested_thread:
                continue
            cpu, was_off = self.enter(task)
            wait, cost = pm.suspend_device_irq(cpu, desc)
            await self.leave(task, cpu, was_off, cost)
            if wait:
                await self.wait_for_line(task, desc)

    async def resume_device_irqs(self, task: Task, early: bool = False) -> None:
        """Switch every suspended line on again; ``early`` those alone whose first action asks for it."""
        for desc in self.all_descs():
            if desc.nested_thread or (early and not pm.is_early(desc)):
                continue
            cpu, was_off = self.enter(task)
            cost = pm.resume_irq(cpu, desc)
            await self.leave(task, cpu, was_off, cost)

    async def wait_for_line(self, task: Task, desc: IrqDesc) -> None:
        """Wait until no handler of a line runs, its threads included."""
        from asyncirq.irq.thread import wait_for_threads

        cpu = task.preempt_disable()
        await self.synchronize_hardirq(cpu, desc.irq)
        await task.preempt_enable()
        await wait_for_threads(desc, task)

    # --- probing

    async def probe_irq_on(self, task: Task) -> int:
        """Start every free line before a device of unknown line is made to interrupt; return the mask of those below 32."""
        return await probe.probe_irq_on(self, task)

    async def probe_irq_off(self, task: Task) -> int:
        """End a probe: the irq that came, 0 for none, the first one negated for several."""
        return await probe.probe_irq_off(self, task)


def _set_state(cpu: Cpu, datas: list[IrqData], which: int, value: bool) -> int:
    for data in datas:
        if data.chip.has_set_state:
            return data.chip.irq_set_irqchip_state(cpu, data, which, value)
    return -EINVAL

"""Say for each kind of interrupt when to mask, ack, handle, unmask and EOI: the flow handlers.

``async def handle_x(cpu, desc)`` runs with interrupts off. ``[`` and ``]`` stand for entry and exit of the actions:

| flow | plain | one-shot thread woken | disabled, or no action |
| --- | --- | --- | --- |
| level | mask ack [ ] unmask | mask ack [ ] | mask ack |
| edge | ack [ ] | ack [ ] | mask ack, pending |
| fasteoi | [ ] eoi | mask [ ] eoi | mask eoi, pending |
| edge_eoi | [ ] eoi | [ ] eoi | eoi, pending |
| simple, untracked | [ ] | [ ] | pending |
| percpu | ack [ ] eoi | | |
| fasteoi_nmi | [ ] eoi | | |

A second edge while the first is handled on another CPU masks, marks pending and leaves; the first CPU unmasks and runs
the actions again. A second level finds the line masked. A second fasteoi interrupt only gets its EOI: it is lost unless
the line says that it needs a resend.

Linux: kernel/irq/chip.c, Documentation/core-api/genericirq.rst.
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import IRQCHIP_EOI_IF_HANDLED, IRQCHIP_EOI_THREADED
from asyncirq.irq.desc import IrqDesc
from asyncirq.irq.handle import handle_irq_event, handle_irq_event_percpu, run_actions
from asyncirq.irq.resend import check_irq_resend
from asyncirq.irq.spurious import wait_for_poll
from asyncirq.irq.state import mask_ack_irq, mask_irq, note, unmask_irq


async def handle_level_irq(cpu: Cpu, desc: IrqDesc) -> None:
    """Handle a level that its device holds until it was served: masked while the actions run."""
    cost = mask_ack_irq(cpu, desc)
    if (desc.inprogress and not await _may_run(cpu, desc)) or not _has_actions(desc):
        if cost:
            await cpu.spend(cost)
        return
    desc.kstat_irqs[cpu.id] += 1
    desc.tot_count += 1
    await handle_irq_event(cpu, desc, cost)
    if not desc.disabled and desc.masked and not desc.threads_oneshot:
        cost = unmask_irq(cpu, desc)
        if cost:
            await cpu.spend(cost)


async def handle_edge_irq(cpu: Cpu, desc: IrqDesc) -> None:
    """Handle an edge, which the hardware forgets at once: acknowledged first, handled again if another one came meanwhile."""
    chip = desc.chip
    if (desc.inprogress and not await _may_run(cpu, desc)) or not _has_actions(desc):
        desc.pending = True
        cost = mask_ack_irq(cpu, desc)
        if cost:
            await cpu.spend(cost)
        return
    desc.kstat_irqs[cpu.id] += 1
    desc.tot_count += 1
    if desc.core.flow_trace is not None:
        note(cpu, desc, "ack")
    cost = chip.irq_ack(cpu, desc.data)
    while True:
        if desc.action is None:
            cost = mask_irq(cpu, desc)
            if cost:
                await cpu.spend(cost)
            return
        if desc.pending and not desc.disabled and desc.masked:
            cost += unmask_irq(cpu, desc)
        await handle_irq_event(cpu, desc, cost)
        if not desc.pending or desc.disabled:
            return
        cost = 0


async def handle_edge_eoi_irq(cpu: Cpu, desc: IrqDesc) -> None:
    """Handle an edge on a controller that needs an EOI: as ``handle_edge_irq``, without mask and ack. Linux: PowerPC alone."""
    if (desc.inprogress and not await _may_run(cpu, desc)) or not _has_actions(desc):
        desc.pending = True
    else:
        desc.kstat_irqs[cpu.id] += 1
        desc.tot_count += 1
        while desc.action is not None:
            await handle_irq_event(cpu, desc)
            if not desc.pending or desc.disabled:
                break
    note(cpu, desc, "eoi")
    cost = desc.chip.irq_eoi(cpu, desc.data)
    if cost:
        await cpu.spend(cost)


async def handle_fasteoi_irq(cpu: Cpu, desc: IrqDesc) -> None:
    """Handle an interrupt whose controller needs one EOI at the end and does the rest itself."""
    if desc.inprogress and not await _may_run(cpu, desc):
        if desc.needs_resend:
            desc.pending = True
        await eoi_unhandled(cpu, desc, 0)
        return
    if not _has_actions(desc):
        await eoi_unhandled(cpu, desc, mask_irq(cpu, desc))
        return
    desc.kstat_irqs[cpu.id] += 1
    desc.tot_count += 1
    cost = mask_irq(cpu, desc) if desc.oneshot else 0
    await handle_irq_event(cpu, desc, cost)
    chip = desc.chip
    cost = 0
    if not desc.oneshot:
        if desc.core.flow_trace is not None:
            note(cpu, desc, "eoi")
        cost = chip.irq_eoi(cpu, desc.data)
    elif not desc.disabled and desc.masked and not desc.threads_oneshot:
        note(cpu, desc, "eoi")
        cost = chip.irq_eoi(cpu, desc.data) + unmask_irq(cpu, desc)
    elif not chip.flags & IRQCHIP_EOI_THREADED:
        note(cpu, desc, "eoi")
        cost = chip.irq_eoi(cpu, desc.data)
    if cost:
        await cpu.spend(cost)
    if desc.pending:
        check_irq_resend(cpu, desc)
        if desc.core.resend_queued:
            await desc.core.kick_resend(cpu)


async def handle_simple_irq(cpu: Cpu, desc: IrqDesc) -> None:
    """Handle an interrupt that needs no chip at all: demultiplexed in software."""
    if (desc.inprogress and not await _may_run(cpu, desc)) or not _has_actions(desc):
        return
    desc.kstat_irqs[cpu.id] += 1
    desc.tot_count += 1
    await handle_irq_event(cpu, desc)


async def handle_untracked_irq(cpu: Cpu, desc: IrqDesc) -> None:
    """Handle an interrupt as ``handle_simple_irq`` does, without counting or judging it."""
    if (desc.inprogress and not await _may_run(cpu, desc)) or not _has_actions(desc):
        return
    desc.pending = False
    desc.inprogress = True
    desc.handling_cpu = cpu
    await run_actions(cpu, desc)
    desc.inprogress = False
    desc.progress.poke()


async def handle_percpu_irq(cpu: Cpu, desc: IrqDesc) -> None:
    """Handle an interrupt that every CPU has for itself: nothing is shared, so nothing is marked or masked."""
    desc.kstat_irqs[cpu.id] += 1
    chip = desc.chip
    cost = 0
    if chip.has_ack:
        note(cpu, desc, "ack")
        cost = chip.irq_ack(cpu, desc.data)
        if cost:
            await cpu.spend(cost)
    await handle_irq_event_percpu(cpu, desc)
    cost = desc.core.costs.irq_return_ns
    if chip.has_eoi:
        note(cpu, desc, "eoi")
        cost += chip.irq_eoi(cpu, desc.data)
    if cost:
        await cpu.spend(cost)


async def handle_percpu_devid_irq(cpu: Cpu, desc: IrqDesc) -> None:
    """Handle a per-CPU interrupt of a device that every CPU has an instance of; the handler gets this CPU's.

    On a CPU that no action covers the interrupt is disabled there, and said once.
    """
    core = desc.core
    chip = desc.chip
    desc.kstat_irqs[cpu.id] += 1
    if chip.has_ack:
        cost = chip.irq_ack(cpu, desc.data)
        if cost:
            await cpu.spend(cost)
    action = desc.action
    while action is not None and not action.affinity >> cpu.id & 1:
        action = action.next
    if action is not None:
        assert action.percpu_dev_id is not None
        cause = cpu.cause
        trace = core.trace
        if trace is not None:
            cpu.cause = trace.irq_handler_entry(cpu, desc.irq, action.name)
        ret = await action.handler(cpu, desc.irq, action.percpu_dev_id[cpu.id])
        if trace is not None:
            trace.irq_handler_exit(cpu, desc.irq, ret)
        cpu.cause = cause
    else:
        enabled = desc.percpu_enabled >> cpu.id & 1
        if enabled:
            desc.percpu_enabled &= ~(1 << cpu.id)
            percpu_mask(cpu, desc)
        if not core.warned_percpu:
            core.warned_percpu = True
            core.printk(cpu, 3, f"Spurious{' and unmasked' if enabled else ''} percpu IRQ{desc.irq} on CPU{cpu.id}")
    cost = core.costs.irq_return_ns
    if chip.has_eoi:
        cost += chip.irq_eoi(cpu, desc.data)
    if cost:
        await cpu.spend(cost)


def percpu_mask(cpu: Cpu, desc: IrqDesc) -> int:
    """Switch a per-CPU interrupt off on this CPU, through ``irq_disable`` where the chip has it."""
    chip = desc.chip
    return chip.irq_disable(cpu, desc.data) if chip.has_disable else chip.irq_mask(cpu, desc.data)


async def handle_fasteoi_nmi(cpu: Cpu, desc: IrqDesc) -> None:
    """Handle a non-maskable interrupt: its one action and the EOI, without a look at any state. Trace: irq_handler_entry, exit."""
    desc.kstat_irqs[cpu.id] += 1
    action = desc.action
    assert action is not None
    trace = desc.core.trace
    cause = cpu.cause
    if trace is not None:
        cpu.cause = trace.irq_handler_entry(cpu, desc.irq, action.name)
    ret = await action.handler(cpu, desc.irq, action.dev_id)
    if trace is not None:
        trace.irq_handler_exit(cpu, desc.irq, ret)
    cpu.cause = cause
    cost = desc.core.costs.irq_return_ns
    if desc.chip.has_eoi:
        cost += desc.chip.irq_eoi(cpu, desc.data)
    if cost:
        await cpu.spend(cost)


async def handle_bad_irq(cpu: Cpu, desc: IrqDesc) -> None:
    """Take note of an interrupt that nobody wired up. Linux: kernel/irq/handle.c handle_bad_irq(), ack_bad_irq()."""
    core = desc.core
    desc.kstat_irqs[cpu.id] += 1
    desc.tot_count += 1
    core.err_count += 1
    core.printk(cpu, 3, f"unexpected IRQ trap at irq {desc.irq}")
    if core.ack_bad_irq is not None:
        core.ack_bad_irq(cpu, desc.irq)


def _has_actions(desc: IrqDesc) -> bool:
    """Tell whether the line can be handled; if not, the interrupt is remembered."""
    desc.replay = desc.waiting = False
    if desc.action is None or desc.disabled:
        desc.pending = True
        return False
    return True


async def _may_run(cpu: Cpu, desc: IrqDesc) -> bool:
    """Tell whether a line in progress may be handled here: only once a poll of it, on another CPU, is over."""
    if not desc.poll_inprogress:
        return False
    return await wait_for_poll(cpu, desc)


async def eoi_unhandled(cpu: Cpu, desc: IrqDesc, cost: int) -> None:
    """Write EOI for an interrupt that no handler saw, after ``cost`` ns of register writes, unless the chip wants none."""
    if not desc.chip.flags & IRQCHIP_EOI_IF_HANDLED:
        note(cpu, desc, "eoi")
        cost += desc.chip.irq_eoi(cpu, desc.data)
    if cost:
        await cpu.spend(cost)

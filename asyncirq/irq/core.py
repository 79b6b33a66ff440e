"""Hold the table of all interrupts of a machine, and what every part of the core works on.

Linux: kernel/irq/irqdesc.c.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import DummyIrqChip, IrqChip, NoIrqChip
from asyncirq.irq.controller import HwInterruptType
from asyncirq.irq.desc import FlowHandler, IrqAction, IrqDesc
from asyncirq.irq.do_irq import do_irq, wire
from asyncirq.irq.flow import handle_bad_irq
from asyncirq.irq.poll import misrouted_irq
from asyncirq.sched.core import Sched
from asyncirq.sched.task import Task

if TYPE_CHECKING:
    from asyncirq.irq.domain import IrqDomain
    from asyncirq.trace.recorder import Recorder

Context = Task | Cpu | None
"""Who calls: a task that may migrate, a context that cannot, or boot (None), where no time passes."""

KERN_EMERG: Final = 0
KERN_ERR: Final = 3
KERN_WARNING: Final = 4
KERN_INFO: Final = 6

NR_LEGACY_IRQS: Final = 16
EINVAL: Final = 22
EBUSY: Final = 16
ENOSPC: Final = 28
EEXIST: Final = 17
ENOSYS: Final = 38


class BottomHalves(Protocol):
    """What forced irq threads need of softirqs."""

    async def local_bh_disable(self, task: Task) -> Cpu:
        """Keep softirqs off the task's CPU and return it."""
        ...

    async def local_bh_enable(self, task: Task) -> None:
        """Let softirqs run again, at once if some are pending."""
        ...


class IrqTable:
    """All descriptors of one machine by irq number, and the means that every part of the core shares.

    ``flow_trace`` is the recorder while the debug switch is on, else None. ``ack_bad_irq(cpu, irq)`` tells the
    hardware of an interrupt that nobody wired up. ``schedule_resend(cpu)`` schedules a tasklet whose function is
    ``run_resend``; without it only the hardware can resend. ``arm_spurious_poll(cpu, delay_ns)`` arms a timer whose
    function is ``poll_spurious``; ``msleep(task, ms)`` sleeps. These are set by the machine. ``add_randomness(cpu, desc)``, if
    set, is what each hard interrupt does for the entropy pool once its actions have run. ``alloc_action`` makes an action; a
    test of an exhausted memory replaces it. ``default_host`` is the domain of numbers that name none,
    ``first_irq`` the least number that is given out unasked, ``wakeup_irqs`` what has
    woken the machine since it was last put to sleep. ``early`` False leaves the descriptors that are there from the start to a
    later ``early_irq_init``.
    """

    def __init__(
        self,
        sched: Sched,
        bottom_halves: BottomHalves,
        *,
        debug: bool = False,
        noirqdebug: bool = False,
        irqfixup: int = 0,
        early: bool = True,
    ) -> None:
        self.sched = sched
        self.bottom_halves = bottom_halves
        self.engine = sched.engine
        self.cpus = sched.cpus
        self.config = sched.config
        self.costs = sched.costs
        self.trace: Recorder | None = sched.trace
        self.flow_trace = sched.trace if debug else None
        self.noirqdebug = noirqdebug
        self.irqfixup = 0 if sched.config.rt else irqfixup
        self.default_affinity = sched.all_cpus
        self.online_mask = sched.all_cpus
        self.descs: dict[int, IrqDesc] = {}
        self.first_irq = NR_LEGACY_IRQS
        self.no_irq_chip = NoIrqChip()
        self.dummy_irq_chip = DummyIrqChip()
        self.ack_bad_irq: Callable[[Cpu, int], None] | None = None
        self.schedule_resend: Callable[[Cpu], Coroutine[Any, Any, None]] | None = None
        self.arm_spurious_poll: Callable[[Cpu, int], None] | None = None
        self.add_randomness: Callable[[Cpu, IrqDesc], Coroutine[Any, Any, None]] | None = None
        self.resend_list: list[IrqDesc] = []
        self.resend_queued = False
        self.msleep: Callable[[Task, int], Coroutine[Any, Any, None]] | None = None
        self.alloc_action = IrqAction
        self.default_host: IrqDomain | None = None
        self.force_complete_move: Callable[[Cpu, IrqDesc], None] | None = None
        self.count_all = sched.config.spurious_window == "all"
        self.judge_all = bool(self.irqfixup) or self.count_all
        self.no_controller = HwInterruptType()
        self.wakeup_irqs: list[int] = []
        self.warned_noautoen = False
        self.bogus_reports = 0
        self.warned_irqs_on = False
        self.warned_percpu = False
        self.poll_active = False
        self.err_count = 0
        self.misrouted = misrouted_irq
        if early:
            early_irq_init(self)

    # --- descriptors

    def _preallocate(self, count: int) -> None:
        self._unclaimed = set(range(count))
        for irq in range(count):
            self.descs[irq] = self._new_desc(irq)

    def _new_desc(self, irq: int) -> IrqDesc:
        desc = IrqDesc(self, irq, self.no_irq_chip, handle_bad_irq)
        if self.config.irq_flow == "do_irq":
            desc.handle_irq = do_irq
            desc.controller = self.no_controller
            desc.disabled = desc.masked = False
            desc.depth = 0
        return desc

    def boot_note(self, text: str) -> None:
        """Say a step of the boot, for whoever debugs it. Trace: printk, while the debug switch is on."""
        if self.flow_trace is not None:
            self.flow_trace.printk(None, KERN_INFO, text)

    def alloc_desc(self, irq: int = -1) -> IrqDesc:
        """Make a descriptor: of that number, or of the first free one from ``first_irq``.

        Raises ``UsageError``: EEXIST for one that is taken, EINVAL or ENOSPC past the end of a table of fixed size.
        """
        if irq < 0:
            irq = self.first_irq
            while irq in self.descs and irq not in self._unclaimed:
                irq += 1
        elif irq in self.descs and irq not in self._unclaimed:
            raise UsageError(f"irq {irq} has a descriptor already", EEXIST)
        size = self.config.nr_irqs
        if size and irq >= size:
            raise UsageError(f"irq {irq} is beyond the {size} of this kernel", ENOSPC)
        if irq in self._unclaimed:
            self._unclaimed.discard(irq)
        else:
            self.descs[irq] = self._new_desc(irq)
        return self.descs[irq]

    def free_desc(self, irq: int) -> None:
        """Drop a descriptor. Raises ``UsageError`` while it has an action."""
        desc = self.desc(irq)
        if desc.action is not None:
            raise UsageError(f"irq {irq} is still in use by {desc.action.name}", EBUSY)
        if irq < (self.config.nr_irqs or self.config.vectors.legacy):
            self.descs[irq] = self._new_desc(irq)
            self._unclaimed.add(irq)
        else:
            del self.descs[irq]

    def desc(self, irq: int, percpu: bool | None = None) -> IrqDesc:
        """Return the descriptor of an irq number. Raises ``UsageError`` EINVAL where there is none.

        ``percpu`` refuses a line that every CPU has for itself (False), or any other (True). Linux: irq_get_desc_lock().
        """
        desc = self.descs.get(irq)
        if desc is None:
            raise UsageError(f"irq {irq} has no descriptor", EINVAL)
        if percpu is not None and desc.percpu_devid is not percpu:
            raise UsageError(f"irq {irq} is {'not a' if percpu else 'a'} per-CPU interrupt", EINVAL)
        return desc

    def all_descs(self) -> list[IrqDesc]:
        """Return every descriptor in the order of the irq numbers."""
        return [self.descs[irq] for irq in sorted(self.descs)]

    def set_chip_and_handler(self, irq: int, chip: IrqChip, handle_irq: FlowHandler, name: str = "") -> IrqDesc:
        """Wire an interrupt: its controller and its flow handler. Linux: irq_set_chip_and_handler_name()."""
        desc = self.desc(irq)
        desc.set_chip(chip)
        self.set_handler(desc, handle_irq, name)
        return desc

    def set_handler(self, desc: IrqDesc, handle_irq: FlowHandler, name: str = "") -> None:
        """Set the flow handler of a line whose chip is set; a kernel with one flow for all lines takes its kind from it."""
        desc.name = name
        if self.config.irq_flow == "do_irq":
            wire(desc, handle_irq)
        else:
            desc.handle_irq = handle_irq

    async def generic_handle_irq(self, cpu: Cpu, irq: int) -> None:
        """Run an interrupt's flow handler: what a demultiplexing parent does for its children."""
        desc = self.desc(irq)
        await desc.handle_irq(cpu, desc)

    # --- what the parts share

    def printk(self, cpu: Cpu | None, level: int, text: str) -> None:
        """Say something in the kernel log. Trace: printk."""
        if self.trace is not None:
            self.trace.printk(cpu, level, text)

    def enter(self, context: Context) -> tuple[Cpu, bool]:
        """Begin what Linux does under the descriptor's lock: return the CPU, and whether its interrupts were off."""
        if context is None:
            return self.cpus[0], True
        cpu = context.preempt_disable() if isinstance(context, Task) else context
        return cpu, cpu.irq_disable()

    async def leave(self, context: Context, cpu: Cpu, was_off: bool, ns: int = 0) -> None:
        """End what ``enter`` began, after ``ns`` for the register writes in between."""
        if context is None:
            return
        if ns:
            await cpu.spend(ns)
        if self.resend_queued:
            await self.kick_resend(cpu)
        if not was_off:
            await cpu.irq_enable()
        if isinstance(context, Task):
            await context.preempt_enable()

    async def kick_resend(self, cpu: Cpu) -> None:
        """Schedule the tasklet that resends what ``resend_list`` holds."""
        self.resend_queued = False
        if self.schedule_resend is not None:
            await self.schedule_resend(cpu)


def early_irq_init(core: IrqTable) -> None:
    """Make the descriptors that are there from the start, none of them anybody's yet. Linux: kernel/irq/irqdesc.c."""
    config = core.config
    count = config.nr_irqs or config.vectors.legacy
    core.boot_note(f"irq: default affinity {core.default_affinity:#x}")
    core._preallocate(count)
    core.boot_note(f"NR_IRQS: {config.nr_irqs or 524544}, preallocated irqs: {count}")

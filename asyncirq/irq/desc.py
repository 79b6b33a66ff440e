"""Define what the kernel knows of one interrupt: its descriptor, its place in each domain, its actions.

The states are plain bools named after Linux's bits. ``IrqData`` is one controller's view of the interrupt; a hierarchy
is a chain of them, outermost (next to the device) first.

Linux: include/linux/irqdesc.h, kernel/irq/internals.h. Model: no descriptor lock; what Linux does under it is done
between two awaits here, so no other CPU sees it half done.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import IntFlag
from typing import TYPE_CHECKING, Any, Final

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import IrqChip
from asyncirq.locking.completion import Completion
from asyncirq.locking.mutex import Mutex
from asyncirq.locking.wait_head import WaitHead
from asyncirq.sched.task import Task
from asyncirq.sim.word import Word

if TYPE_CHECKING:
    from asyncirq.irq.controller import HwInterruptType
    from asyncirq.irq.core import IrqTable
    from asyncirq.irq.domain import IrqDomain

IrqReturn = int
"""What a handler returns: ``IRQ_NONE``, ``IRQ_HANDLED`` or ``IRQ_WAKE_THREAD``."""
IRQ_NONE: Final = 0
IRQ_HANDLED: Final = 1
IRQ_WAKE_THREAD: Final = 2

IRQ_TYPE_NONE: Final = 0
IRQ_TYPE_EDGE_RISING: Final = 1
IRQ_TYPE_EDGE_FALLING: Final = 2
IRQ_TYPE_EDGE_BOTH: Final = 3
IRQ_TYPE_LEVEL_HIGH: Final = 4
IRQ_TYPE_LEVEL_LOW: Final = 8
IRQ_TYPE_LEVEL_MASK: Final = 0xC
IRQ_TYPE_SENSE_MASK: Final = 0xF

IRQF_TRIGGER_RISING: Final = 0x1
IRQF_TRIGGER_FALLING: Final = 0x2
IRQF_TRIGGER_HIGH: Final = 0x4
IRQF_TRIGGER_LOW: Final = 0x8
IRQF_TRIGGER_MASK: Final = 0xF
IRQF_DISABLED: Final = 0x20
"""Of 2.6 (SA_INTERRUPT): the handler runs with interrupts off."""
IRQF_SAMPLE_RANDOM: Final = 0x40
"""Of 2.6 (SA_SAMPLE_RANDOM): what the handler handles is credited to the entropy pool."""
IRQF_SHARED: Final = 0x80
IRQF_PROBE_SHARED: Final = 0x100
IRQF_TIMER_BIT: Final = 0x200
IRQF_PERCPU: Final = 0x400
IRQF_NOBALANCING: Final = 0x800
IRQF_IRQPOLL: Final = 0x1000
IRQF_ONESHOT: Final = 0x2000
IRQF_NO_SUSPEND: Final = 0x4000
IRQF_FORCE_RESUME: Final = 0x8000
IRQF_NO_THREAD: Final = 0x10000
IRQF_EARLY_RESUME: Final = 0x20000
IRQF_COND_SUSPEND: Final = 0x40000
IRQF_NO_AUTOEN: Final = 0x80000
IRQF_NO_DEBUG: Final = 0x100000
IRQF_COND_ONESHOT: Final = 0x200000
IRQF_TIMER: Final = IRQF_TIMER_BIT | IRQF_NO_SUSPEND | IRQF_NO_THREAD

IRQ_NOTCONNECTED: Final = 1 << 31
"""The number of the interrupt of a device that has none: its pin is not wired."""


class Irqf(IntFlag):
    """The flags of a request, for callers who like their names printed; the ``IRQF_*`` constants are the same numbers."""

    TRIGGER_NONE = 0
    TRIGGER_RISING = 0x1
    TRIGGER_FALLING = 0x2
    TRIGGER_HIGH = 0x4
    TRIGGER_LOW = 0x8
    TRIGGER_PROBE = 0x10
    SHARED = 0x80
    PROBE_SHARED = 0x100
    PERCPU = 0x400
    NOBALANCING = 0x800
    IRQPOLL = 0x1000
    ONESHOT = 0x2000
    NO_SUSPEND = 0x4000
    FORCE_RESUME = 0x8000
    NO_THREAD = 0x10000
    EARLY_RESUME = 0x20000
    COND_SUSPEND = 0x40000
    NO_AUTOEN = 0x80000
    NO_DEBUG = 0x100000
    COND_ONESHOT = 0x200000
    TIMER = 0x14200


Handler = Callable[[Cpu, int, Any], Coroutine[Any, Any, IrqReturn]]
"""A primary handler: ``await handler(cpu, irq, dev_id)``, in hard interrupt context."""
ThreadFn = Callable[[Task, int, Any], Coroutine[Any, Any, IrqReturn]]
"""A thread function: ``await thread_fn(task, irq, dev_id)``, in the interrupt's own kernel thread."""
FlowHandler = Callable[[Cpu, "IrqDesc"], Coroutine[Any, Any, None]]


class IrqAction:
    """One handler on one line. ``next`` chains the sharers of a line in the order of their requests.

    ``run_thread``, ``affinity_changed``, ``warned`` and ``ready`` are Linux's IRQTF bits. ``primary`` is the handler
    that forced threading moved into the thread; ``default_primary`` says that ``handler`` only wakes the thread.
    ``percpu_dev_id`` replaces ``dev_id`` on a per-CPU line, one instance for each CPU. ``proc_dir`` is the action's directory
    in ``/proc/irq/N``, empty where another action has the name already.
    """

    __slots__ = (
        "affinity",
        "affinity_changed",
        "created",
        "default_primary",
        "dev_id",
        "flags",
        "handler",
        "irq",
        "name",
        "next",
        "percpu_dev_id",
        "primary",
        "proc_dir",
        "ready",
        "run_thread",
        "secondary",
        "should_stop",
        "stopper",
        "thread",
        "thread_fn",
        "thread_mask",
        "warned",
    )

    def __init__(self, irq: int, handler: Handler, thread_fn: ThreadFn | None, flags: int, name: str, dev_id: object) -> None:
        self.irq = irq
        self.handler = handler
        self.thread_fn = thread_fn
        self.flags = flags
        self.name = name
        self.dev_id = dev_id
        self.next: IrqAction | None = None
        self.primary: Handler | None = None
        self.default_primary = False
        self.secondary: IrqAction | None = None
        self.proc_dir = ""
        self.thread: Task | None = None
        self.thread_mask = 0
        self.run_thread = False
        self.affinity_changed = False
        self.warned = False
        self.created: Completion | None = None
        self.ready = False
        self.should_stop = False
        self.stopper: Task | None = None
        self.percpu_dev_id: tuple[object, ...] | None = None
        self.affinity = -1

    @property
    def forced(self) -> bool:
        """Tell whether forced threading moved the primary handler into the thread."""
        return self.primary is not None

    def __repr__(self) -> str:
        return f"<IrqAction {self.name} of irq {self.irq}>"


class IrqData:
    """One controller's view of an interrupt: its number there, its chip, and what the chip keeps for it."""

    __slots__ = ("chip", "chip_data", "desc", "domain", "hwirq", "irq", "parent")

    def __init__(self, irq: int, desc: IrqDesc, chip: IrqChip) -> None:
        self.irq = irq
        self.desc = desc
        self.chip = chip
        self.hwirq = irq
        self.chip_data: Any = None
        self.domain: IrqDomain | None = None
        self.parent: IrqData | None = None

    def __repr__(self) -> str:
        return f"<IrqData irq {self.irq} hwirq {self.hwirq} on {self.chip.name}>"


class InProgress(Word):
    """Ready while no handler of the line runs and, as far as the chip can tell, no hardware still has it in service."""

    __slots__ = ("desc",)

    def __init__(self, desc: IrqDesc) -> None:
        super().__init__(f"handler of irq {desc.irq}")
        self.desc = desc

    def ready(self) -> bool:
        """Tell whether no handler of the line runs."""
        return not self.desc.inprogress


class IrqDesc:
    """Everything the kernel knows of one interrupt number.

    Settings: ``level percpu percpu_devid norequest noprobe nothread nested_thread noautoen no_debug is_polled
    disable_unlazy nobalancing hidden managed``. State of the line: ``disabled masked inprogress started activated
    setaffinity_pending``. State of the core: ``pending replay waiting autodetect oneshot spurious_disabled
    poll_inprogress suspended nmi``. ``depth`` counts nested disables. ``kstat_irqs`` counts per CPU, ``tot_count``
    in total. ``affinity``, ``effective_affinity`` and ``pending_mask`` are CPU masks. Times are in ns.

    For suspend: ``wake_depth`` counts who wants the line to wake the machine, ``wakeup_armed`` says that it may now; the
    ``*_depth`` of an action flag count the actions that have it, ``nr_actions`` all of them. ``controller`` holds the operations
    of a kernel with one flow for all lines (``do_irq``), ``random_samples`` what its line gave to the entropy pool.
    """

    __slots__ = (
        "action",
        "activated",
        "affinity",
        "affinity_hint",
        "affinity_set",
        "armed_flow",
        "autodetect",
        "can_reserve",
        "chip",
        "cond_suspend_depth",
        "controller",
        "core",
        "data",
        "depth",
        "disable_unlazy",
        "disabled",
        "effective_affinity",
        "enabled_on_suspend",
        "enforce_irqctx",
        "force_resume_depth",
        "handle_irq",
        "handler_data",
        "handling_cpu",
        "hidden",
        "inprogress",
        "irq",
        "irq_count",
        "irqs_unhandled",
        "is_polled",
        "kstat_irqs",
        "last_unhandled",
        "level",
        "managed",
        "managed_shutdown",
        "masked",
        "msi_desc",
        "name",
        "needs_resend",
        "nested_thread",
        "nmi",
        "no_debug",
        "no_suspend_depth",
        "noautoen",
        "nobalancing",
        "noprobe",
        "norequest",
        "nothread",
        "nr_actions",
        "oneshot",
        "parent_irq",
        "pending",
        "pending_mask",
        "percpu",
        "percpu_devid",
        "percpu_enabled",
        "poll_inprogress",
        "proc_dir",
        "progress",
        "random_samples",
        "random_state",
        "replay",
        "request_mutex",
        "setaffinity_pending",
        "single_target",
        "spurious_disabled",
        "started",
        "suspended",
        "thread_waiters",
        "threads_active",
        "threads_handled",
        "threads_handled_last",
        "threads_oneshot",
        "tot_count",
        "trigger",
        "trigger_set",
        "wait_for_threads",
        "waiting",
        "wake_depth",
        "wakeup_armed",
    )

    handle_irq: FlowHandler

    def __init__(self, core: IrqTable, irq: int, chip: IrqChip, handle_irq: FlowHandler) -> None:
        self.core = core
        self.irq = irq
        self.name = ""
        self.chip = chip
        self.data = IrqData(irq, self, chip)
        self.handle_irq = handle_irq
        self.handler_data: Any = None
        self.action: IrqAction | None = None
        self.kstat_irqs = [0] * len(core.cpus)
        self.tot_count = 0
        self.depth = 1
        self.irq_count = 0
        self.irqs_unhandled = 0
        self.last_unhandled = 0
        self.threads_handled = 0
        self.threads_handled_last = 0
        self.threads_active = 0
        self.threads_oneshot = 0
        self.thread_waiters: list[Task] = []
        self.wait_for_threads = WaitHead(core.sched, f"threads of irq {irq}")
        self.handling_cpu: Cpu | None = None
        self.progress = InProgress(self)
        self.trigger = IRQ_TYPE_NONE
        self.trigger_set = False
        self.affinity = core.default_affinity
        self.effective_affinity = 0
        self.pending_mask = 0
        self.affinity_hint = 0
        self.affinity_set = False
        self.percpu_enabled = 0
        self.parent_irq = -1
        self.controller: HwInterruptType | None = None
        self.msi_desc: Any = None
        self.armed_flow: FlowHandler | None = None
        self.wake_depth = self.nr_actions = 0
        self.no_suspend_depth = self.cond_suspend_depth = self.force_resume_depth = 0
        self.random_samples = 0
        self.request_mutex = Mutex(core.sched, f"request_mutex of irq {irq}", "&desc->request_mutex")
        self._clear_flags()

    def _clear_flags(self) -> None:
        self.level = self.percpu = self.percpu_devid = False
        self.norequest = self.noprobe = self.nothread = self.nested_thread = self.noautoen = False
        self.no_debug = self.is_polled = self.disable_unlazy = self.nobalancing = self.hidden = False
        self.managed = self.managed_shutdown = self.single_target = self.can_reserve = self.enforce_irqctx = self.needs_resend = False
        self.disabled = self.masked = True
        self.inprogress = self.started = self.activated = self.setaffinity_pending = False
        self.pending = self.replay = self.waiting = self.autodetect = self.oneshot = False
        self.spurious_disabled = self.poll_inprogress = self.suspended = self.nmi = False
        self.wakeup_armed = self.enabled_on_suspend = self.proc_dir = self.random_state = False

    def actions(self) -> list[IrqAction]:
        """Return the actions in the order in which they are called."""
        found = []
        action = self.action
        while action is not None:
            found.append(action)
            action = action.next
        return found

    def datas(self) -> list[IrqData]:
        """Return every controller's view, from the device's side inwards."""
        found = []
        data: IrqData | None = self.data
        while data is not None:
            found.append(data)
            data = data.parent
        return found

    def set_chip(self, chip: IrqChip) -> None:
        """Set the chip that the flow handler talks to."""
        self.chip = self.data.chip = chip

    def __repr__(self) -> str:
        return f"<IrqDesc {self.irq}>"

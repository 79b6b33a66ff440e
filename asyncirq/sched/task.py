"""Define the kernel's task: a thread with a name, a class, a state.

A task's function is ``async def fn(task)``. It may migrate at every await; code that must not takes ``cpu`` from
``preempt_disable()``, ``migrate_disable()`` or a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from asyncirq.errors import InternalError, KernelBug
from asyncirq.hw.cpu import Cpu, Thread, interrupt_window
from asyncirq.sched.preempt import PREEMPT_MASK

if TYPE_CHECKING:
    from asyncirq.sched.core import Sched
    from asyncirq.sched.deadline import DlEntity
    from asyncirq.sched.signal import Signals

TASK_RUNNING: Final = 0x0
TASK_INTERRUPTIBLE: Final = 0x1
TASK_UNINTERRUPTIBLE: Final = 0x2
TASK_PARKED: Final = 0x40
TASK_DEAD: Final = 0x80
TASK_WAKING: Final = 0x200
TASK_IDLE: Final = 0x402
TASK_NEW: Final = 0x800
TASK_RTLOCK_WAIT: Final = 0x1000
TASK_NORMAL: Final = TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE
TASK_ALL: Final = TASK_NORMAL | TASK_NEW

SCHED_NORMAL: Final = 0
SCHED_FIFO: Final = 1
SCHED_RR: Final = 2
SCHED_DEADLINE: Final = 6
SCHED_STOP: Final = 8
"""The stop class, which Linux has no number for: nobody can ask for it."""
MAX_RT_PRIO: Final = 100
DEFAULT_PRIO: Final = 120

NICE_WEIGHTS: Final = (
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586,
    1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
)  # fmt: skip

_STATE_LETTERS: Final = (
    (TASK_DEAD, "X"),
    (TASK_PARKED, "P"),
    (TASK_RTLOCK_WAIT, "D"),
    (TASK_UNINTERRUPTIBLE, "D"),
    (TASK_INTERRUPTIBLE, "S"),
)

TaskFn = Callable[["Task"], Coroutine[Any, Any, None]]


def state_letter(state: int) -> str:
    """Return the letter that sched_switch prints for a state."""
    if state & TASK_IDLE == TASK_IDLE:
        return "I"
    for bit, letter in _STATE_LETTERS:
        if state & bit:
            return letter
    return "R"


class TaskExit(BaseException):
    """End the running task wherever it is, as Linux's do_exit does: it unwinds the task's stack, so nobody else may catch it.

    ``oops`` says that the kernel killed it in the middle of its own code: what it holds stays held.
    """

    def __init__(self, oops: bool = False) -> None:
        super().__init__()
        self.oops = oops


class ThreadStruct:
    """What the architecture keeps for a thread: its last trap, its debug registers, its hooks. Linux: struct thread_struct.

    ``fpu_status`` are the pending x87 or SSE exceptions; ``vm86(trap, error_code)``, if the thread runs a virtual 8086, handles its traps
    and says whether it did. ``fault_disabled`` counts pagefault_disable().
    """

    __slots__ = ("cr2", "error_code", "fault_disabled", "fpu_status", "trap_nr", "virtual_dr6", "vm86")

    def __init__(self) -> None:
        self.cr2 = 0
        self.error_code = 0
        self.trap_nr = 0
        self.virtual_dr6 = 0
        self.fpu_status = 0
        self.fault_disabled = 0
        self.vm86: Callable[[int, int], bool] | None = None


class Task(Thread):
    """One kernel task: a kthread, a user thread, or a CPU's idle task.

    ``prio`` is the kernel's number: -1 deadline, 0-99 real time (99 minus the FIFO priority), 100-139 fair (120 plus nice), 140
    idle; lower runs first, and boosting lowers it while ``normal_prio`` stays. ``allowed`` is a CPU mask. ``state``
    is one of the ``TASK_*`` bits; ``on_rq`` says that the task is queued or running. A fair task has a ``vruntime``, and under
    EEVDF a ``vlag``, a ``deadline``, a ``custom_slice`` (0: the kernel's) and may be ``delayed`` (asleep, but queued to pay a debt).
    ``high`` is 1 for a deadline task, which has a ``dl``, 2 for a CPU's stopper.
    ``run_delay`` is how long it has waited for a CPU while ready, ``pcount`` how often it was given one.
    """

    __slots__ = (
        "allowed",
        "blocked_on",
        "comm",
        "custom_slice",
        "deadline",
        "delayed",
        "dl",
        "exec_start",
        "exited",
        "flags",
        "fn",
        "held_locks",
        "high",
        "is_idle",
        "kthread",
        "migrate_depth",
        "moved",
        "nice",
        "normal_prio",
        "on_rq",
        "pcount",
        "percpu",
        "pi_waiters",
        "policy",
        "prio",
        "protected",
        "queued_at",
        "rel_deadline",
        "rr_left",
        "rt_priority",
        "run_delay",
        "saved_state",
        "sched",
        "signals",
        "slice_start",
        "state",
        "sum_exec",
        "thread",
        "vlag",
        "vruntime",
        "wake_cause",
        "weight",
        "worker",
    )

    def __init__(self, sched: Sched, pid: int, comm: str, fn: TaskFn | None) -> None:
        super().__init__(pid)
        self.sched = sched
        self.comm = comm[:15]
        self.fn = fn
        self.state = TASK_NEW
        self.saved_state = TASK_RUNNING
        self.on_rq = False
        self.is_idle = False
        self.kthread = False
        self.percpu = False
        self.exited = False
        self.migrate_depth = 0
        self.allowed = sched.all_cpus & ~sched.isolated or sched.all_cpus
        self.policy = SCHED_NORMAL
        self.rt_priority = 0
        self.nice = 0
        self.weight = NICE_WEIGHTS[20]
        self.prio = self.normal_prio = DEFAULT_PRIO
        self.vruntime = 0
        self.vlag = 0
        self.deadline = 0
        self.rel_deadline = 0
        self.protected = -1
        self.custom_slice = 0
        self.delayed = False
        self.high = 0
        self.dl: DlEntity | None = None
        self.exec_start = 0
        self.slice_start = 0
        self.sum_exec = 0
        self.rr_left = 0
        self.moved = False
        self.pcount = 0
        self.queued_at = 0
        self.run_delay = 0
        self.wake_cause = 0
        self.flags = 0
        self.blocked_on: Any = None
        self.pi_waiters: list[Any] = []
        self.held_locks: list[Any] = []
        self.worker: Any = None
        self.signals: Signals | None = None
        self.thread: ThreadStruct | None = None

    def __repr__(self) -> str:
        return f"<Task {self.comm}-{self.pid}>"

    @property
    def rt_task(self) -> bool:
        """Tell whether the task is in a real-time class now, by policy or boosted."""
        return self.prio < MAX_RT_PRIO

    # --- time

    async def spend(self, ns: int) -> None:
        """Let ``ns`` of this task's CPU time pass in kernel mode; it may be interrupted, preempted and migrated."""
        engine = self.sched.engine
        left = ns
        while True:
            cpu = self.cpu
            if cpu.attention:
                await interrupt_window(self)
                continue
            if cpu.check is not None:
                cpu.check(cpu)
            if engine.advance(left):
                return
            left -= await engine.elapse(left)
            if left <= 0 and not self.cpu.attention:
                return

    async def user(self, ns: int) -> None:
        """Let ``ns`` of this task's CPU time pass in user mode, where every kernel preempts at interrupt exit."""
        if self.kthread:
            raise KernelBug(f"{self.comm}: a kthread has no user mode")
        if self.cpu.preempt_count & PREEMPT_MASK or self.cpu.irqs_off:
            raise KernelBug(f"{self.comm}: return to user with preempt_count {self.cpu.preempt_count:#x}")
        if self.sched.lockdep is not None:
            self.sched.lockdep.check_user(self.cpu, self)
        if self.sched.rqs[self.cpu.id].lazy:
            self.cpu.need_resched = True
        if self.cpu.need_resched:
            await self.sched.exit_to_user(self)
        if self.work:
            await self.exit_to_user()
            await self.cpu.irq_enable()
        hook = self.sched.user_hook
        if hook is not None:
            hook(self, True)
        self.user_mode = True
        await self.spend(ns)
        self.user_mode = False
        if hook is not None:
            hook(self, False)

    async def exit_to_user(self) -> None:
        """Do what ``work`` asks for; returns with interrupts off."""
        assert self.sched.user_work is not None
        await self.sched.user_work(self)

    # --- where am I

    def this_cpu(self) -> Cpu:
        """Return the CPU that the task is on; valid while it cannot migrate, else a ``KernelBug``."""
        cpu = self.cpu
        if not (cpu.preempt_count or cpu.irqs_off or self.pinned):
            raise KernelBug(f"BUG: using smp_processor_id() in preemptible [{cpu.preempt_count:08x}] code: {self.comm}/{self.pid}")
        return cpu

    def preempt_disable(self) -> Cpu:
        """Forbid preemption and return the CPU, which stays this one until ``preempt_enable``. Nests 255 deep, past it a ``KernelBug``."""
        cpu = self.cpu
        if cpu.preempt_count & PREEMPT_MASK == PREEMPT_MASK:
            raise KernelBug(f"BUG: preempt_count overflow: {self.comm}/{self.pid} on {cpu.name} at {self.sched.engine.now} ns")
        cpu.preempt_count += 1
        return cpu

    async def preempt_enable(self) -> None:
        """End one ``preempt_disable``; at the last one a preemptible kernel reschedules if it must."""
        cpu = self.cpu
        cpu.preempt_count -= 1
        if cpu.irqs_off:
            # Turned off inside the section, and legally kept off beyond it.
            self.own_irqs_off = True
        elif cpu.need_resched:
            await self.sched.preempt_schedule(self)

    def migrate_disable(self) -> Cpu:
        """Forbid migration, not preemption, and return the CPU."""
        self.migrate_depth += 1
        self.pinned = True
        return self.cpu

    def migrate_enable(self) -> None:
        """End one ``migrate_disable``."""
        if self.migrate_depth == 0:
            raise InternalError(f"{self.comm}: migrate_enable without migrate_disable")
        self.migrate_depth -= 1
        self.pinned = self.percpu or self.migrate_depth > 0
        if not (self.pinned or self.allowed >> self.cpu.id & 1):
            # Its affinity changed meanwhile: it leaves at its next reschedule.
            self.cpu.need_resched = True

    # --- sleeping

    def set_current_state(self, state: int) -> None:
        """Announce a sleep before the last test of its condition: a wake-up from now on cancels it."""
        self.state = state

    async def wake(self, other: Task) -> bool:
        """Wake another task from task context; return whether it slept."""
        cpu = self.preempt_disable()
        woken = await self.sched.wake_up_process(cpu, other)
        await self.preempt_enable()
        return woken

    async def schedule(self) -> None:
        """Give up the CPU if ``state`` says so; return when woken and picked again."""
        await self.sched.schedule(self)

"""Say what each subsystem does in the steps of hotplug.

Linux: the functions of the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.arch import Arch
from asyncirq.bottom_half.detectors import Detectors
from asyncirq.bottom_half.hrtimer import Hrtimers
from asyncirq.bottom_half.irq_work import IrqWorks
from asyncirq.bottom_half.rcu import Rcu
from asyncirq.bottom_half.sleep import Sleep
from asyncirq.bottom_half.softirq import BLOCK_SOFTIRQ, Softirq
from asyncirq.bottom_half.tick import Tick
from asyncirq.bottom_half.timer import Timers
from asyncirq.bottom_half.timer_wheel import NEXT_TIMER_MAX_DELTA
from asyncirq.errors import KernelBug
from asyncirq.hotplug.steps import EBUSY
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.cpuhotplug import affinity_online_cpu
from asyncirq.sched.idle import Idle
from asyncirq.sched.smpboot import Smpboot
from asyncirq.sched.task import Task
from asyncirq.sim.engine import FOREVER

POLL_JIFFIES: Final = 1
CallsFn = Callable[[Cpu], Coroutine[Any, Any, None]]


class Subsystems:
    """What the steps call: parts of one kernel."""

    def __init__(
        self,
        *,
        arch: Arch,
        idle: Idle,
        smpboot: Smpboot,
        softirq: Softirq,
        rcu: Rcu,
        timers: Timers,
        hrtimers: Hrtimers,
        tick: Tick,
        irq_work: IrqWorks,
        sleep: Sleep,
        detectors: Detectors,
    ) -> None:
        self.arch = arch
        self.idle = idle
        self.smpboot = smpboot
        self.softirq = softirq
        self.rcu = rcu
        self.timers = timers
        self.hrtimers = hrtimers
        self.tick = tick
        self.irq_work = irq_work
        self.sleep = sleep
        self.detectors = detectors


class PrepareSteps:
    """The steps of PREPARE, which the control CPU runs; on the way down the CPU is dead."""

    def __init__(self, parts: Subsystems) -> None:
        self.parts = parts
        self.sched = parts.softirq.sched

    async def smpboot_create_threads(self, task: Task, cpu_id: int) -> int:
        """Make what per-CPU threads the CPU lacks."""
        return await self.parts.smpboot.create_threads(task, cpu_id)

    async def blk_softirq_cpu_dead(self, task: Task, cpu_id: int) -> int:
        """Complete here what was to be completed there; what else was raised there, and is not taken over, vanishes."""
        softirq = self.parts.softirq
        pending = softirq.pending[cpu_id]
        softirq.pending[cpu_id] = softirq.pending_timers[cpu_id] = 0
        if pending >> BLOCK_SOFTIRQ & 1:
            cpu = task.preempt_disable()
            await softirq.raise_softirq(cpu, BLOCK_SOFTIRQ)
            await task.preempt_enable()
        return 0

    async def hrtimers_prepare_cpu(self, task: Task, cpu_id: int) -> int:
        """Start with nothing programmed."""
        base = self.parts.hrtimers.bases[cpu_id]
        base.expires_next = base.softirq_expires_next = FOREVER
        base.softirq_activated = base.in_hrtirq = False
        return 0

    async def rcutree_prepare_cpu(self, task: Task, cpu_id: int) -> int:
        """Owe no quiescent state."""
        data = self.parts.rcu.data[cpu_id]
        data.quiescent = True
        data.switches = self.sched.rqs[cpu_id].nr_switches
        return 0

    async def rcutree_dead_cpu(self, task: Task, cpu_id: int) -> int:
        """Take over what the CPU would have called."""
        cpu = task.preempt_disable()
        self.parts.rcu.migrate_callbacks(cpu, cpu_id)
        await task.preempt_enable()
        return 0

    async def timers_prepare_cpu(self, task: Task, cpu_id: int) -> int:
        """Begin with wheels that have been worked off to now, and a CPU that is not idle."""
        jiffies = self.parts.timers.jiffies
        for base in self.parts.timers.bases[cpu_id]:
            base.is_idle = False
            if not base.timers_pending:
                base.next_expiry = jiffies + NEXT_TIMER_MAX_DELTA
                base.clk = jiffies
        return 0

    async def timers_dead_cpu(self, task: Task, cpu_id: int) -> int:
        """Arm the CPU's timers here."""
        cpu = task.preempt_disable()
        self.parts.timers.timers_dead_cpu(cpu, cpu_id)
        await task.preempt_enable()
        return 0


class StartingSteps:
    """The steps of STARTING, which the CPU itself runs with interrupts off. ``flush_calls(cpu)`` runs what others have asked it to do."""

    def __init__(self, parts: Subsystems, flush_calls: CallsFn) -> None:
        self.parts = parts
        self.sched = parts.softirq.sched
        self.flush_calls = flush_calls

    async def sched_cpu_starting(self, task: Task, cpu_id: int) -> int:
        """Begin with an empty run queue."""
        rq = self.sched.rqs[cpu_id]
        rq.next_balance = self.sched.engine.now
        rq.nr_balance_failed = 0
        return 0

    async def sched_cpu_dying(self, task: Task, cpu_id: int) -> int:
        """See that nothing but the stopper is left; raise ``KernelBug`` if not."""
        rq = self.sched.rqs[cpu_id]
        if rq.nr_running != 1 or rq.wake_list:
            left = ", ".join(f"{each.comm}/{each.pid}" for each in self.sched.tasks.values() if each.cpu is rq.cpu and each.on_rq)
            now = self.sched.engine.now
            raise KernelBug(
                f"Dying CPU not properly vacated! CPU{cpu_id} at {now} ns has {left}; {rq.nr_running} ready, woken {rq.wake_list}"
            )
        return 0

    async def smpcfd_dying_cpu(self, task: Task, cpu_id: int) -> int:
        """Run what other CPUs have asked this one to do, whose interrupt it does not take any more, and its irq_work."""
        cpu = task.cpu
        await self.flush_calls(cpu)
        self.sched.sched_ttwu_pending(cpu)
        await self.parts.irq_work.irq_work_run(cpu)
        return 0

    async def hrtimers_cpu_dying(self, task: Task, cpu_id: int) -> int:
        """Move the timers to an active CPU, and tell it."""
        cpu = task.cpu
        hrtimers = self.parts.hrtimers
        active = self.sched.active
        dest = (active & -active).bit_length() - 1
        hrtimers.hrtimers_cpu_dying(cpu, dest)
        await self.parts.arch.ipi.smp_call_function_single_async(cpu, dest, hrtimers.retrigger_next_event)
        return 0

    async def tick_cpu_dying(self, task: Task, cpu_id: int) -> int:
        """Stop the tick."""
        self.parts.tick.stop(task.cpu)
        return 0


class OnlineSteps:
    """The steps of ONLINE, which the CPU's hotplug thread runs."""

    def __init__(self, parts: Subsystems) -> None:
        self.parts = parts
        self.sched = parts.softirq.sched

    async def sched_cpu_wait_empty(self, task: Task, cpu_id: int) -> int:
        """Wait until everything has left that can, and what cannot sleeps."""
        while True:
            cpu = task.preempt_disable()
            stay = self.sched.push_away(cpu)
            await task.preempt_enable()
            if not stay:
                return 0
            await self.parts.sleep.schedule_timeout(task, POLL_JIFFIES)

    async def smpboot_unpark_threads(self, task: Task, cpu_id: int) -> int:
        """Let the per-CPU threads go on."""
        await self.parts.smpboot.unpark_threads(task, cpu_id)
        return 0

    async def smpboot_park_threads(self, task: Task, cpu_id: int) -> int:
        """Park the per-CPU threads."""
        await self.parts.smpboot.park_threads(task, cpu_id)
        return 0

    async def irq_affinity_online_cpu(self, task: Task, cpu_id: int) -> int:
        """Give the CPU its managed interrupts back."""
        cpu = task.preempt_disable()
        affinity_online_cpu(self.parts.arch.irq, cpu)
        await task.preempt_enable()
        return 0

    async def lockup_detector_online_cpu(self, task: Task, cpu_id: int) -> int:
        """Watch the CPU."""
        watchdog = self.parts.detectors.watchdog
        assert watchdog is not None
        watchdog.restart(task.cpu)
        self.parts.arch.smp_ops.watch(task.cpu, True)
        return 0

    async def lockup_detector_offline_cpu(self, task: Task, cpu_id: int) -> int:
        """Watch the CPU no more."""
        watchdog = self.parts.detectors.watchdog
        assert watchdog is not None
        watchdog.stop(task.cpu)
        self.parts.arch.smp_ops.watch(task.cpu, False)
        return 0

    async def sched_cpu_activate(self, task: Task, cpu_id: int) -> int:
        """Let tasks be placed on the CPU."""
        self.sched.set_cpu_active(cpu_id, True)
        return 0

    async def sched_cpu_deactivate(self, task: Task, cpu_id: int) -> int:
        """Place no more tasks on the CPU, and move what waits on it; -EBUSY where the others have no room for the deadline tasks."""
        sched = self.sched
        sched.set_cpu_active(cpu_id, False)
        if not sched.deadlines.fits(sched.active.bit_count()):
            sched.set_cpu_active(cpu_id, True)
            return -EBUSY
        cpu = task.preempt_disable()
        sched.push_away(cpu)
        await task.preempt_enable()
        # Whoever has chosen this CPU for a task before is through after a grace period.
        await self.parts.rcu.synchronize_rcu(task)
        return 0

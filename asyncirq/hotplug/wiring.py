"""Register the steps of this kernel's subsystems.

Linux: kernel/cpu.c cpuhp_hp_states[] and the subsystems' own calls of cpuhp_setup_state(). Model: kernels before 4.6 had notifier
chains in the same order; they get these steps too.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncirq.hotplug.core import Hotplug
from asyncirq.hotplug.starting import Lifecycle
from asyncirq.hotplug.states import CpuhpState
from asyncirq.hotplug.steps import StepFn
from asyncirq.hotplug.subsystem_steps import CallsFn, OnlineSteps, PrepareSteps, StartingSteps, Subsystems
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.smpboot import DeadFn
from asyncirq.sched.task import Task


class KernelSteps:
    """The steps of one kernel's subsystems."""

    def __init__(self, hotplug: Hotplug, parts: Subsystems, flush_calls: CallsFn) -> None:
        self.hotplug = hotplug
        self.parts = parts
        self.sched = hotplug.sched
        self.prepare = PrepareSteps(parts)
        self.starting = StartingSteps(parts, flush_calls)
        self.online = OnlineSteps(parts)
        self.life = life = Lifecycle(hotplug, parts.idle, parts.arch.smp_ops)
        life.mark_online = self._mark_online
        life.call = parts.arch.ipi.smp_call_function_single_async
        life.start_tick = parts.tick.start
        hotplug.hotpluggable = parts.arch.smp_ops.hotpluggable

    def register(self) -> None:
        """Register every step but those of the work queues, softirqs and network, which differ between kernels."""
        step = self.hotplug.boot_step
        prepare, starting, online = self.prepare, self.starting, self.online
        s = CpuhpState
        step(s.OFFLINE, "offline", None, None)
        step(s.CREATE_THREADS, "threads:prepare", prepare.smpboot_create_threads, None, cant_stop=True)
        step(s.BLOCK_SOFTIRQ_DEAD, "block/softirq:dead", None, prepare.blk_softirq_cpu_dead)
        step(s.HRTIMERS_PREPARE, "hrtimers:prepare", prepare.hrtimers_prepare_cpu, None)
        step(s.RCUTREE_PREP, "RCU/tree:prepare", prepare.rcutree_prepare_cpu, prepare.rcutree_dead_cpu)
        step(s.TIMERS_PREPARE, "timers:prepare", prepare.timers_prepare_cpu, prepare.timers_dead_cpu)
        step(s.BRINGUP_CPU, "cpu:bringup", self.life.bringup_cpu, None, cant_stop=True)
        step(s.AP_IDLE_DEAD, "idle:dead", None, None)
        step(s.AP_OFFLINE, "ap:offline", None, None, cant_stop=True)
        step(s.AP_SCHED_STARTING, "sched:starting", starting.sched_cpu_starting, starting.sched_cpu_dying)
        step(s.AP_SMPCFD_DYING, "smpcfd:dying", None, starting.smpcfd_dying_cpu)
        step(s.AP_HRTIMERS_DYING, "hrtimers:dying", None, starting.hrtimers_cpu_dying)
        step(s.AP_TICK_DYING, "tick:dying", None, starting.tick_cpu_dying)
        step(s.AP_ONLINE, "ap:online", None, None)
        step(s.TEARDOWN_CPU, "cpu:teardown", None, self.life.takedown_cpu, cant_stop=True)
        step(s.AP_ONLINE_IDLE, "ap:online:idle", None, None)
        step(s.AP_SCHED_WAIT_EMPTY, "sched:waitempty", None, online.sched_cpu_wait_empty)
        step(s.AP_SMPBOOT_THREADS, "smpboot/threads:online", online.smpboot_unpark_threads, online.smpboot_park_threads)
        step(s.AP_IRQ_AFFINITY_ONLINE, "irq/affinity:online", online.irq_affinity_online_cpu, None)
        if self.parts.detectors.watchdog is not None:
            step(s.AP_WATCHDOG_ONLINE, "lockup_detector:online", online.lockup_detector_online_cpu, online.lockup_detector_offline_cpu)
        step(s.AP_ACTIVE, "sched:active", online.sched_cpu_activate, online.sched_cpu_deactivate)
        step(s.ONLINE, "online", None, None)

    def register_controller(self) -> None:
        """Register the steps of the interrupt controller, once that is set up."""
        step = self.hotplug.boot_step
        s = CpuhpState
        for kind, name, startup in self.parts.arch.smp_ops.steps():
            step(s.BP_PREPARE_DYN if kind == "prepare" else s.AP_IRQ_GIC_STARTING, name, self._of_controller(startup), None)

    def _of_controller(self, startup: Callable[[Cpu], int]) -> StepFn:
        async def step(task: Task, cpu_id: int) -> int:
            return startup(self.sched.cpus[cpu_id])

        step.__name__ = startup.__name__
        return step

    def register_dead(self, state: int, name: str, function: DeadFn) -> None:
        """Register what a living CPU takes over from a dead one: ``await function(cpu, dead)``."""

        async def step(task: Task, cpu_id: int) -> int:
            cpu = task.preempt_disable()
            await function(cpu, cpu_id)
            await task.preempt_enable()
            return 0

        step.__name__ = getattr(function, "__name__", name)
        self.hotplug.boot_step(state, name, None, step)

    def _mark_online(self, cpu_id: int, online: bool) -> None:
        bit = 1 << cpu_id
        hotplug = self.hotplug
        hotplug.online = hotplug.online | bit if online else hotplug.online & ~bit
        self.sched.set_cpu_online(cpu_id, online)
        self.parts.smpboot.online[cpu_id] = online
        self.parts.arch.irq.online_mask = hotplug.online

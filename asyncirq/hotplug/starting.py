"""Begin and end a CPU's life: the two steps of the control CPU that the CPU itself takes part in.

======================== ==========================================================================================
BRINGUP_CPU              TEARDOWN_CPU
======================== ==========================================================================================
the platform wakes it    its hotplug thread is parked
it runs STARTING,        the machine stops; the CPU disables itself: not online, interrupts moved, and runs DYING
is online, starts its    its stopper goes to sleep, its idle loop finds that the CPU is to die, says so, and stays in
tick, enters its idle    the halt
loop
its hotplug thread runs  the platform has it gone
ONLINE
======================== ==========================================================================================

Linux: kernel/cpu.c bringup_cpu(), takedown_cpu(), take_cpu_down(), cpuhp_report_idle_dead(); arch's start_secondary(), play_dead().
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from asyncirq.hotplug.core import Hotplug
from asyncirq.hotplug.states import CpuhpState
from asyncirq.hw.cpu import Cpu, interrupt_window
from asyncirq.locking.completion import Completion
from asyncirq.sched.idle import Idle
from asyncirq.sched.task import Task


class Platform(Protocol):
    """What the side that knows the interrupt controller does when a CPU goes or comes."""

    async def cpu_disable(self, cpu: Cpu) -> int:
        """Let a CPU disable itself, interrupts off and the machine stopped; 0 or a negative errno with nothing changed."""
        ...

    def cpu_die(self, cpu: Cpu) -> None:
        """Take note that a CPU is gone."""
        ...

    def cpu_wake(self, cpu: Cpu) -> None:
        """Have a CPU begin again."""
        ...

    def cpu_starting(self, cpu: Cpu) -> None:
        """Set up the CPU that runs this, interrupts off."""
        ...


CallFn = Callable[[Cpu, int, Callable[[Cpu], Coroutine[Any, Any, None]]], Coroutine[Any, Any, None]]


class Lifecycle:
    """The beginning and the end of the CPUs of one machine.

    The kernel sets ``mark_online(cpu_id, online)``, which tells every subsystem; ``call(cpu, dest, fn)``, which runs a function on another
    CPU; and ``start_tick(cpu)``.
    """

    mark_online: Callable[[int, bool], None]
    call: CallFn
    start_tick: Callable[[Cpu], None]

    def __init__(self, hotplug: Hotplug, idle: Idle, platform: Platform) -> None:
        self.hotplug = hotplug
        self.sched = hotplug.sched
        self.idle = idle
        self.platform = platform
        self._began = [True for _ in hotplug.cpus]
        self._up = [Completion(f"CPU{st.id} up") for st in hotplug.cpus]
        self._down = [Completion(f"CPU{st.id} dead") for st in hotplug.cpus]
        idle.play_dead = self.play_dead

    # --- up

    async def bringup_cpu(self, task: Task, cpu_id: int) -> int:
        """Wake a CPU, wait until it is online, and have its hotplug thread do the rest: 0 or the error of that."""
        hotplug = self.hotplug
        st = hotplug.cpus[cpu_id]
        target = self.sched.cpus[cpu_id]
        await task.spend(self.sched.costs.cpu_startup_ns)
        self.platform.cpu_wake(target)
        self._began[cpu_id] = True
        target.engine.poke(target.current.sim)
        await self._up[cpu_id].wait(task)
        await hotplug.thread(cpu_id).unpark(task)
        if st.target <= CpuhpState.AP_ONLINE_IDLE:
            return 0
        return await hotplug.kick_ap(task, st, st.target)

    async def _start_secondary(self, task: Task) -> None:
        """Run the first steps of a CPU that has come back, interrupts off, then be its idle task."""
        cpu = task.cpu
        hotplug = self.hotplug
        st = hotplug.cpus[cpu.id]
        await hotplug.range_nofail(task, st, min(st.target, CpuhpState.AP_ONLINE), bringup=True)
        self.platform.cpu_starting(cpu)
        self.idle.offline &= ~(1 << cpu.id)
        self.mark_online(cpu.id, True)
        cpu.need_resched = False
        self.start_tick(cpu)
        st.state = CpuhpState.AP_ONLINE_IDLE
        await self._up[cpu.id].complete(cpu)
        await cpu.irq_enable()

    # --- down

    async def takedown_cpu(self, task: Task, cpu_id: int) -> int:
        """Stop the machine for a CPU to leave it, and wait until it is dead: 0, or the error of the platform with the CPU as it was."""
        hotplug = self.hotplug
        kthread = hotplug.thread(cpu_id)
        await kthread.park(task)
        ret = await self.sched.stoppers.stop_machine(task, hotplug.online, cpu_id, self._take_cpu_down)
        if ret:
            await kthread.unpark(task)
            return ret
        await self._down[cpu_id].wait(task)
        self.platform.cpu_die(self.sched.cpus[cpu_id])
        return 0

    async def _take_cpu_down(self, cpu: Cpu) -> int:
        st = self.hotplug.cpus[cpu.id]
        self.mark_online(cpu.id, False)
        ret = await self.platform.cpu_disable(cpu)
        if ret:
            self.mark_online(cpu.id, True)
            return ret
        task = cpu.current
        assert isinstance(task, Task)
        await self.hotplug.range_nofail(task, st, max(st.target, CpuhpState.AP_OFFLINE), bringup=False)
        self._began[cpu.id] = False
        self.idle.offline |= 1 << cpu.id
        return 0

    async def play_dead(self, task: Task) -> None:
        """Tell the control CPU that this one is dead, and halt with interrupts off until it is woken; then start it."""
        cpu = task.cpu
        cpu.irq_disable()
        st = self.hotplug.cpus[cpu.id]
        st.state = CpuhpState.AP_IDLE_DEAD
        online = self.hotplug.online
        await self.call(cpu, (online & -online).bit_length() - 1, self._down[cpu.id].complete)
        while not self._began[cpu.id]:
            await cpu.engine.park()
            if cpu.attention:
                # Nothing but an NMI gets here.
                await interrupt_window(task)
        await self._start_secondary(task)

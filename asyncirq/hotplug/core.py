"""Take a CPU down, bring it up, and go back when a step fails.

The control CPU runs the steps below BRINGUP_CPU, and TEARDOWN_CPU; it has the CPU's thread ``cpuhp/N`` run those above.

| a step fails | what follows |
| --- | --- |
| PREPARE, going up | the control CPU tears down what is below it |
| ONLINE, going up | ``cpuhp/N`` tears down what is below it, then the control CPU takes the CPU down |
| ONLINE, going down | ``cpuhp/N`` starts what is above it again |
| the stop of the machine | ``cpuhp/N`` starts everything above TEARDOWN_CPU again |
| STARTING, DYING | nothing: it is too late, the kernel says so and goes on |

Linux: kernel/cpu.c. Model: ``cpuhp/N`` is made when it is first needed; one lock for everything, which readers
do not take, since nothing but hotplug looks at more than one CPU across an await.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncirq.hotplug.states import CpuhpState, is_ap_state
from asyncirq.hotplug.steps import EBUSY, EINVAL, EPERM, CpuhpCpu, Step, StepFn, Steps
from asyncirq.locking.mutex import Mutex
from asyncirq.sched.core import Sched
from asyncirq.sched.kthread import Kthread, kthread_create
from asyncirq.sched.task import TASK_INTERRUPTIBLE, TASK_RUNNING, Task
from asyncirq.sched.wait import WaitQueue

KERN_WARNING: Final = 4
KERN_DEBUG: Final = 7


class Hotplug:
    """The hotplug state machine of one machine; ``cpus[n]`` says where CPU n is. ``online`` is the mask of those that run.

    ``disabled`` counts who forbids hotplug for now, ``hotpluggable(n)`` tells whether CPU n may go at all. ``steps`` is the table;
    ``registration.setup_state`` adds to it.
    """

    def __init__(self, sched: Sched) -> None:
        self.sched = sched
        self.steps = Steps()
        self.cpus = [CpuhpCpu(cpu.id) for cpu in sched.cpus]
        self.online = sched.all_cpus
        self.disabled = 0
        self.hotpluggable: Callable[[int], bool] = lambda cpu_id: True
        self.lock = Mutex(sched, "cpu_hotplug_lock")
        self._done = WaitQueue("cpuhp")
        self._threads: list[Kthread | None] = [None for _ in sched.cpus]

    # --- requests

    async def cpu_up(self, task: Task, cpu_id: int, target: int = CpuhpState.ONLINE) -> int:
        """Bring a CPU up to ``target``: 0, or a negative errno with the CPU as it was before.

        -EINVAL: there is no such CPU; -EBUSY: hotplug is disabled; else what the failing step returned.
        Trace: cpuhp_enter, cpuhp_exit.
        """
        if not 0 <= cpu_id < len(self.cpus):
            return -EINVAL
        await self.lock.lock(task)
        ret = -EBUSY if self.disabled else await self._cpu_up(task, self.cpus[cpu_id], target)
        await self.lock.unlock(task)
        return ret

    async def cpu_down(self, task: Task, cpu_id: int, target: int = CpuhpState.OFFLINE) -> int:
        """Take a CPU down to ``target``: 0, or a negative errno with the CPU as it was before.

        -EINVAL: there is no such CPU; -EBUSY: it is the last one, or hotplug is disabled; -EPERM: this one never goes;
        else what the failing step returned.
        Trace: cpuhp_enter, cpuhp_exit.
        """
        if not 0 <= cpu_id < len(self.cpus):
            return -EINVAL
        await self.lock.lock(task)
        ret = -EBUSY if self.disabled else await self._cpu_down(task, self.cpus[cpu_id], target)
        await self.lock.unlock(task)
        return ret

    async def _cpu_up(self, task: Task, st: CpuhpCpu, target: int) -> int:
        if st.state >= target:
            return 0
        self._set_state(st, target)
        if st.state > CpuhpState.BRINGUP_CPU:
            return await self.kick_ap(task, st, target)
        target = min(target, CpuhpState.BRINGUP_CPU)
        before = st.state
        ret = await self._range(task, st, target)
        if ret:
            self._say(task, KERN_DEBUG, f"CPU UP failed ({ret}) CPU {st.id} state {self._name(st.state)} ({st.state})")
            self._reset_state(st, before)
            if await self._range(task, st, before):
                self._warn(task, st, "cannot be undone")
        return ret

    async def _cpu_down(self, task: Task, st: CpuhpCpu, target: int) -> int:
        if self.online == 1 << st.id and target < CpuhpState.TEARDOWN_CPU:
            return -EBUSY
        if not self.hotpluggable(st.id):
            return -EPERM
        if st.state <= target:
            return 0
        before = st.state
        self._set_state(st, target)
        if st.state > CpuhpState.TEARDOWN_CPU:
            ret = await self.kick_ap(task, st, max(target, CpuhpState.TEARDOWN_CPU))
            if ret or st.state > CpuhpState.TEARDOWN_CPU:
                return ret
            st.target = target
        ret = await self._down_callbacks(task, st, target)
        if ret and st.state < before:
            if st.state == CpuhpState.TEARDOWN_CPU:
                self._reset_state(st, before)
                await self._kick(task, st)
            else:
                self._warn(task, st, f"DEAD callback error for CPU{st.id}")
        return ret

    async def _down_callbacks(self, task: Task, st: CpuhpCpu, target: int) -> int:
        before = st.state
        ret = await self._range(task, st, target)
        if ret:
            self._say(task, KERN_DEBUG, f"CPU DOWN failed ({ret}) CPU {st.id} state {self._name(st.state)} ({st.state})")
            self._reset_state(st, before)
            if st.state < before and await self._range(task, st, before):
                self._warn(task, st, "cannot be undone")
        return ret

    # --- the control CPU's walk

    def _set_state(self, st: CpuhpCpu, target: int) -> None:
        st.rollback = st.single = False
        st.target = target
        st.bringup = st.state < target
        self._dying(st)

    def _reset_state(self, st: CpuhpCpu, before: int) -> None:
        """Turn round: what failed is not undone, everything before it is. Linux: cpuhp_reset_state()."""
        st.target = before
        if st.rollback:
            return
        st.rollback = True
        st.state += -1 if st.bringup else 1
        st.bringup = not st.bringup
        self._dying(st)

    def _dying(self, st: CpuhpCpu) -> None:
        self.sched.set_cpu_dying(st.id, not st.bringup)

    async def _range(self, task: Task, st: CpuhpCpu, target: int) -> int:
        while True:
            state = self.steps.following(st, target)
            if state < 0:
                return 0
            ret = await self.steps.invoke(task, st, state, st.bringup)
            if ret:
                return ret

    async def range_nofail(self, task: Task, st: CpuhpCpu, target: int, bringup: bool) -> None:
        """Run the steps that cannot fail any more, on the CPU itself with interrupts off. Trace: cpuhp_enter, cpuhp_exit, printk."""
        st.bringup = bringup
        while True:
            state = self.steps.following(st, target)
            if state < 0:
                return
            ret = await self.steps.invoke(task, st, state, bringup)
            if ret:
                way = "UP" if bringup else "DOWN"
                self._say(task, KERN_WARNING, f"CPU {st.id} {way} state {self._name(state)} ({state}) failed ({ret})")

    # --- the hotplug threads

    async def kick_ap(self, task: Task, st: CpuhpCpu, target: int) -> int:
        """Have ``cpuhp/N`` run the steps to ``target``; when one fails, those back as well. Return 0 or the error."""
        before = st.state
        self._set_state(st, target)
        await self._kick(task, st)
        ret = st.result
        if ret:
            self._reset_state(st, before)
            await self._kick(task, st)
        return ret

    async def call_ap(self, task: Task, st: CpuhpCpu, state: int, bringup: bool, node: object = None) -> int:
        """Have ``cpuhp/N`` run one step, at once and without any rollback. Return what it returned."""
        st.rollback, st.single = False, True
        st.bringup, st.cb_state, st.node = bringup, state, node
        await self._kick(task, st)
        st.single = False
        st.node = None
        return st.result

    def thread(self, cpu_id: int) -> Kthread:
        """Return the hotplug thread of a CPU, made at the first call."""
        kthread = self._threads[cpu_id]
        if kthread is None:
            kthread = self._threads[cpu_id] = kthread_create(self.sched, self._main, f"cpuhp/{cpu_id}", cpu=cpu_id)
        return kthread

    async def _kick(self, task: Task, st: CpuhpCpu) -> None:
        kthread = self.thread(st.id)
        st.result = 0
        st.should_run = True
        await task.wake(kthread.task)
        await self._done.wait_event(task, lambda: not st.should_run)

    async def _main(self, kthread: Kthread) -> None:
        task = kthread.task
        st = self.cpus[task.cpu.id]
        while True:
            task.set_current_state(TASK_INTERRUPTIBLE)
            if kthread.should_park:
                task.set_current_state(TASK_RUNNING)
                await kthread.parkme()
            elif st.should_run:
                task.set_current_state(TASK_RUNNING)
                await self._run_one(task, st)
            else:
                await task.schedule()

    async def _run_one(self, task: Task, st: CpuhpCpu) -> None:
        """Run the next step of a CPU in its thread. Linux: cpuhp_thread_fun()."""
        more = not st.single
        state = self.steps.following(st, st.target) if more else st.cb_state
        if state >= 0:
            st.result = await self.steps.invoke(task, st, state, st.bringup, st.node if st.single else None)
            if st.result:
                more = False
                if st.rollback:
                    self._warn(task, st, "cannot be undone")
        else:
            more = False
        if not more:
            st.should_run = False
            cpu = task.preempt_disable()
            await self._done.wake_up_all(cpu)
            await task.preempt_enable()

    # --- words

    def _name(self, state: int) -> str:
        step = self.steps.table.get(state)
        return step.name if step is not None else "none"

    def _say(self, task: Task, level: int, text: str) -> None:
        if self.sched.trace is not None:
            self.sched.trace.printk(task.cpu, level, text)

    def _warn(self, task: Task, st: CpuhpCpu, what: str) -> None:
        self._say(task, KERN_WARNING, f"WARNING: CPU: {task.cpu.id} PID: {task.pid} at kernel/cpu.c: CPU{st.id} state {st.state}: {what}")

    # --- for registration

    def reached(self, st: CpuhpCpu, state: int) -> bool:
        """Tell whether a CPU has passed a state's step, so that one that is added must be run now."""
        return st.state >= state

    async def issue(self, task: Task, st: CpuhpCpu, state: int, bringup: bool, node: object = None) -> int:
        """Run one step outside of any walk, where it belongs: in ``cpuhp/N`` or here. Linux: cpuhp_issue_call()."""
        step = self.steps.table[state]
        if step.empty(bringup):
            return 0
        if is_ap_state(state):
            return await self.call_ap(task, st, state, bringup, node)
        return await self.steps.invoke(task, st, state, bringup, node)

    def boot_step(self, state: int, name: str, startup: StepFn | None, teardown: StepFn | None, *, cant_stop: bool = False) -> None:
        """Register a step of the kernel's own at boot, when every CPU has passed it already."""
        self.steps.reserve(state, Step(name, startup, teardown, cant_stop=cant_stop))

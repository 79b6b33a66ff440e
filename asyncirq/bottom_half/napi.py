"""Poll network devices: NAPI instances from the NET_RX softirq, or each from its own kthread.

A driver's interrupt masks its device and schedules its instance; the poll function takes up to ``weight`` packets. Fewer
than the weight means done: the driver calls ``napi_complete_done`` and, if that says so, unmasks its interrupt. The full
weight means that the instance stays owned and is polled again.

A round of NET_RX polls each instance once, until ``netdev_budget`` packets or ``netdev_budget_usecs``; what is left goes
back in this order: not polled in this round, newly scheduled meanwhile, those that used their full weight.

A device may be left masked after a poll: ``defer_hard_irqs`` times in a row the completion is answered with no and a timer of
``gro_flush_timeout_ns`` polls again; while an application polls busily, ``irq_suspend_timeout_ns`` guards the masked device.

A driver may hold packets back (``gro``): they go up when polling ends, or with a ``gro_flush_timeout_ns`` when the timer polls again.

Linux: net/core/dev.c. Model: no netpoll beyond the ``npsvc`` bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from asyncirq.bottom_half.callback_wait import name_of
from asyncirq.bottom_half.hrtimer import HRTIMER_MODE_HARD, HRTIMER_MODE_PINNED, HRTIMER_MODE_REL, Hrtimer
from asyncirq.bottom_half.sleep import Sleep
from asyncirq.bottom_half.softirq import NET_RX_SOFTIRQ, Softirq
from asyncirq.bottom_half.softnet import Softnet, SoftnetData
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.percpu import check_hand
from asyncirq.sched.task import TASK_INTERRUPTIBLE, TASK_RUNNING, Task

if TYPE_CHECKING:
    from asyncirq.bottom_half.gro import Gro

NapiFn = Callable[[Cpu, "Napi", int], Coroutine[Any, Any, int]]


class Napi:
    """One instance: ``async def poll(cpu, napi, budget) -> int``, the packets it took.

    ``scheduled``, ``missed``, ``disabled``, ``npsvc``, ``in_busy_poll``, ``prefer_busy_poll`` and ``sched_threaded`` are Linux's
    NAPI_STATE bits. ``listed`` says that it is on a poll list of CPU ``owner``. ``polls`` and ``packets`` count. A new instance is
    scheduled, so nobody can schedule it before ``napi_enable``. ``defer_hard_irqs`` and the two timeouts are the sysfs files of these
    names. ``gro`` holds its packets back, None: none is held back.
    """

    __slots__ = (
        "defer_count",
        "defer_hard_irqs",
        "dev_name",
        "disabled",
        "exceeded",
        "exhausted",
        "gro",
        "gro_flush_timeout_ns",
        "in_busy_poll",
        "irq_suspend_timeout_ns",
        "listed",
        "missed",
        "name",
        "napi_id",
        "npsvc",
        "owner",
        "packets",
        "poll",
        "poll_name",
        "polls",
        "prefer_busy_poll",
        "sched_threaded",
        "scheduled",
        "thread",
        "timer",
        "weight",
    )

    def __init__(self, poll: NapiFn, weight: int, name: str, dev_name: str) -> None:
        if weight < 1:
            raise UsageError(f"napi {name}: the weight is {weight}, not at least 1")
        self.poll = poll
        self.poll_name = name_of(poll)
        self.weight = weight
        self.name = name
        self.dev_name = dev_name
        self.napi_id = 0
        self.scheduled = True
        self.npsvc = True
        self.missed = False
        self.disabled = False
        self.in_busy_poll = False
        self.prefer_busy_poll = False
        self.sched_threaded = False
        self.listed = False
        self.owner = 0
        self.thread: Task | None = None
        self.polls = 0
        self.packets = 0
        self.exceeded = False
        self.exhausted = False
        self.defer_hard_irqs = 0
        self.defer_count = 0
        self.gro_flush_timeout_ns = 0
        self.irq_suspend_timeout_ns = 0
        self.timer: Hrtimer | None = None
        self.gro: Gro | None = None

    def __repr__(self) -> str:
        return f"<Napi {self.name}>"


class NapiCore:
    """The polling of one machine: what drivers call, NET_RX, and the kthreads of threaded instances."""

    def __init__(self, softirq: Softirq, softnet: Softnet, sleep: Sleep) -> None:
        self.softirq = softirq
        self.softnet = softnet
        self.sleep = sleep
        self.sched = softirq.sched
        self.engine = softirq.engine
        self.costs = softirq.costs
        self.trace = softirq.trace
        config = softirq.config
        self._jiffy_ns = config.jiffy_ns
        self._budget = config.netdev_budget
        usecs = config.netdev_budget_usecs
        self._limit_jiffies = -(-usecs * 1000 // config.jiffy_ns) if usecs else 2
        self._all_threaded = config.napi_threaded
        self._always_raises = config.napi_always_raises
        self._next_id = 1
        softirq.open_softirq(NET_RX_SOFTIRQ, self._net_rx_action)

    # --- configuring

    def netif_napi_add(self, napi: Napi, threaded: bool = False) -> None:
        """Register an instance; where it is threaded, its kthread ``napi/<device>-<id>`` starts to wait for work.

        Called from boot, or from a probe function: it takes no time. Raises ``UsageError`` where the kernel has no instances.
        """
        if self.softirq.config.net_rx != "napi":
            raise UsageError(f"napi {napi.name}: this kernel polls devices by their quota, it has no NAPI instances")
        napi.napi_id = self._next_id
        self._next_id += 1
        if threaded or self._all_threaded:
            task = self.sched.new_task(lambda task: self._thread(task, napi), f"napi/{napi.dev_name}-{napi.napi_id}", kthread=True)
            napi.thread = task
            self.sched.start_now(task)

    def napi_enable(self, napi: Napi) -> None:
        """Let an instance be scheduled. Raises ``KernelBug`` if it is enabled already."""
        if not (napi.scheduled and napi.npsvc):
            raise KernelBug(f"napi_enable: {napi.name} is enabled already, at {self.engine.now} ns")
        napi.scheduled = napi.npsvc = False

    async def napi_disable(self, task: Task, napi: Napi) -> None:
        """Keep an instance from being scheduled, and sleep until its polling has come to an end."""
        napi.disabled = True
        while napi.scheduled or napi.npsvc:
            await self.sleep.usleep_range(task, 20, 200)
        napi.scheduled = napi.npsvc = True
        napi.disabled = False

    # --- scheduling and completing

    def napi_schedule_prep(self, napi: Napi) -> bool:
        """Claim an instance for polling; return whether the caller is to schedule it. Claimed already, it is marked missed."""
        if napi.disabled:
            return False
        if napi.scheduled:
            napi.missed = True
            return False
        napi.scheduled = True
        return True

    async def napi_schedule(self, cpu: Cpu, napi: Napi) -> bool:
        """Schedule an instance unless it is claimed already; return whether this did. Trace: softirq_raise, or sched_waking."""
        if not self.napi_schedule_prep(napi):
            return False
        await self.napi_schedule_claimed(cpu, napi)
        return True

    async def napi_schedule_claimed(self, cpu: Cpu, napi: Napi) -> None:
        """Put a claimed instance on this CPU's poll list, or wake its kthread. Linux: __napi_schedule()."""
        if napi.thread is not None:
            napi.sched_threaded = True
            await self.sched.wake_up_process(cpu, napi.thread)
            return
        if self.sched.lockdep is not None:
            check_hand(self.sched, cpu, "softnet_data.poll_list")
        data = self.softnet.data[cpu.id]
        data.poll_list.append(napi)
        napi.listed = True
        napi.owner = cpu.id
        if not data.in_net_rx_action or self._always_raises:
            await self.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)

    async def napi_complete_done(self, cpu: Cpu, napi: Napi, work_done: int) -> bool:
        """End the polling of an instance; return whether the driver may unmask its interrupt.

        It may not when the instance was scheduled meanwhile (it is polled again), or is polled by somebody else.
        """
        if napi.npsvc or napi.in_busy_poll:
            return False
        if not napi.scheduled:
            raise KernelBug(f"napi_complete_done: {napi.name} is not scheduled, on {cpu.name} at {self.engine.now} ns")
        gro = napi.gro
        deferred = self._defer(napi, work_done) if napi.defer_hard_irqs or napi.defer_count else 0
        timeout = deferred
        if gro is not None:
            if work_done and gro.held:
                timeout = napi.gro_flush_timeout_ns
            await gro.flush(cpu, old_only=timeout != 0)
        if napi.listed:
            self.softnet.data[napi.owner].drop(napi)
        napi.sched_threaded = napi.prefer_busy_poll = False
        if napi.missed:
            napi.missed = False
            await self.napi_schedule_claimed(cpu, napi)
            return False
        napi.scheduled = False
        if timeout:
            self._arm(cpu, napi, timeout)
        return not deferred

    # --- leaving the device masked

    def _defer(self, napi: Napi, work_done: int) -> int:
        if work_done:
            napi.defer_count = napi.defer_hard_irqs
        if napi.defer_count == 0:
            return 0
        napi.defer_count -= 1
        return napi.gro_flush_timeout_ns

    def _arm(self, cpu: Cpu, napi: Napi, timeout_ns: int) -> None:
        if napi.timer is None:
            napi.timer = Hrtimer(partial(self._napi_watchdog, napi), HRTIMER_MODE_HARD, f"napi/{napi.name}")
        self.sleep.hrtimers.hrtimer_start(cpu, napi.timer, timeout_ns, HRTIMER_MODE_REL | HRTIMER_MODE_PINNED)

    async def _napi_watchdog(self, napi: Napi, cpu: Cpu, timer: Hrtimer) -> bool:
        if not napi.disabled and not napi.scheduled:
            napi.scheduled = True
            napi.prefer_busy_poll = False
            await self.napi_schedule_claimed(cpu, napi)
        return False

    def napi_suspend_irqs(self, cpu: Cpu, napi: Napi) -> None:
        """Keep a masked device masked while an application that found packets polls; the timer polls if it does not come back."""
        if napi.irq_suspend_timeout_ns:
            self._arm(cpu, napi, napi.irq_suspend_timeout_ns)

    async def napi_resume_irqs(self, task: Task, napi: Napi) -> None:
        """End a suspension at once: poll, and go back to interrupts, since the application is about to sleep. Trace: softirq_raise."""
        if napi.irq_suspend_timeout_ns:
            cpu = await self.softirq.local_bh_disable(task)
            await self.napi_schedule(cpu, napi)
            await self.softirq.local_bh_enable(task)

    # --- polling

    async def _poll(self, cpu: Cpu, napi: Napi) -> tuple[int, bool]:
        """Poll an instance once; return the packets and whether it wants to be polled again. Trace: napi_poll."""
        weight = napi.weight
        work = 0
        if napi.scheduled:
            cost = self.costs.napi_poll_ns
            if cost:
                await cpu.spend(cost)
            work = await napi.poll(cpu, napi, weight)
            napi.polls += 1
            napi.packets += work
            if self.trace is not None:
                self.trace.napi_poll(cpu, napi.name, napi.dev_name, work, weight)
        if work < weight:
            return work, False
        if work > weight and not napi.exceeded:
            napi.exceeded = True
            self._complain(cpu, 3, f"NAPI poll function {napi.poll_name} returned {work}, exceeding its budget of {weight}.")
        if napi.disabled:
            await self.napi_complete_done(cpu, napi, work)
            return work, False
        if napi.prefer_busy_poll:
            if await self.napi_complete_done(cpu, napi, work):
                await self.napi_schedule(cpu, napi)
            return work, False
        if napi.gro is not None:
            await napi.gro.polled(cpu)
        if napi.listed:
            if not napi.exhausted:
                napi.exhausted = True
                self._complain(cpu, 4, f"{napi.dev_name}: Budget exhausted after napi rescheduled")
            return work, False
        return work, True

    def _complain(self, cpu: Cpu, level: int, text: str) -> None:
        if self.trace is not None:
            self.trace.printk(cpu, level, text)

    async def _net_rx_action(self, cpu: Cpu) -> None:
        data = self.softnet.data[cpu.id]
        time_limit = self.engine.now // self._jiffy_ns + self._limit_jiffies
        budget = self._budget
        data.in_net_rx_action = True
        self._take(data)
        todo = data.todo
        repeat = data.repeat
        while True:
            if not todo:
                if repeat or data.rps_ipi_list:
                    break
                data.in_net_rx_action = False
                if not data.poll_list or self._always_raises:
                    return
                data.in_net_rx_action = True
                self._take(data)
            napi = todo.popleft()
            napi.listed = False
            work, again = await self._poll(cpu, napi)
            if again:
                repeat.append(napi)
                napi.listed = True
            budget -= work
            if budget <= 0 or self.engine.now // self._jiffy_ns >= time_limit:
                data.time_squeeze += 1
                break
        data.poll_list = deque([*todo, *data.poll_list, *repeat])
        todo.clear()
        repeat.clear()
        if data.poll_list:
            self.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        else:
            data.in_net_rx_action = False
        if data.rps_ipi_list:
            await self.softnet.rps_action(cpu)

    def _take(self, data: SoftnetData) -> None:
        data.todo.extend(data.poll_list)
        data.poll_list.clear()

    async def _thread(self, task: Task, napi: Napi) -> None:
        softirq = self.softirq
        while True:
            task.set_current_state(TASK_INTERRUPTIBLE)
            if not napi.sched_threaded:
                await task.schedule()
                continue
            task.set_current_state(TASK_RUNNING)
            again = True
            while again:
                cpu = await softirq.local_bh_disable(task)
                again = (await self._poll(cpu, napi))[1]
                await softirq.local_bh_enable(task)
                if again:
                    await self.sched.cond_resched(task)

    async def napi_busy_poll(self, task: Task, napi: Napi, budget: int = 8, prefer: bool = False) -> int:
        """Poll an instance once from a task that waits for packets, if nobody owns it; return the packets.

        While it is claimed so its interrupt stays masked and completion is refused; afterwards it is polled once more, and
        left to NET_RX if that used the whole budget. With ``prefer`` NET_RX gives an instance back that it owns now, and the
        interrupt stays masked for ``gro_flush_timeout_ns`` where ``defer_hard_irqs`` is set. Linux: napi_busy_loop(). Trace: napi_poll.
        """
        if napi.scheduled or napi.in_busy_poll or napi.disabled:
            napi.prefer_busy_poll |= prefer
            return 0
        cpu = await self.softirq.local_bh_disable(task)
        napi.scheduled = napi.in_busy_poll = True
        work = await self._busy_round(cpu, napi, budget)
        napi.missed = napi.in_busy_poll = False
        guarded = prefer and napi.defer_hard_irqs > 0 and napi.gro_flush_timeout_ns > 0
        if prefer:
            napi.defer_count = napi.defer_hard_irqs
        if guarded:
            self._arm(cpu, napi, napi.gro_flush_timeout_ns)
        last = await self._busy_round(cpu, napi, budget)
        if last == budget and guarded:
            napi.scheduled = False
        elif last == budget:
            await self.napi_schedule_claimed(cpu, napi)
        await self.softirq.local_bh_enable(task)
        return work + last

    async def _busy_round(self, cpu: Cpu, napi: Napi, budget: int) -> int:
        work = await napi.poll(cpu, napi, budget)
        napi.polls += 1
        napi.packets += work
        if self.trace is not None:
            self.trace.napi_poll(cpu, napi.name, napi.dev_name, work, budget)
        if napi.gro is not None:
            await napi.gro.pass_up(cpu)
        return work

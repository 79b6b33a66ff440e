"""Hold every scheduling latency of random machines under the bound that the same run's own sections and interrupts give."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncirq import Machine, preset
from asyncirq.analysis.latency_bound import ThreadLatency, none, solve
from asyncirq.analysis.model import capture_from_records
from asyncirq.analysis.thread_latency import CpuLatency, as_observed, thread_latencies
from asyncirq.board import BOARDS
from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.config import KernelConfig
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_WAKE_THREAD
from asyncirq.locking.mutex import Mutex
from asyncirq.locking.raw_spinlock import RawSpinlock
from asyncirq.sched import rv
from asyncirq.sched.task import SCHED_FIFO, TASK_UNINTERRUPTIBLE, Task, TaskFn
from asyncirq.trace.record import Record
from tests.sched.harness import Lab

US = 1_000
FULL = preset("linux-6.12", preemption="full", rv=True)
RT = preset("linux-6.12", rt=True, rv=True)
KERNELS = [FULL, RT, preset("linux-6.1", preemption="full", rv=True), preset("linux-7.1", rt=True, rv=True)]


class Random:
    """Threads that do a bit of everything that delays others, under devices with handlers, tasklets and threads of their own."""

    def __init__(self, cpus: int, kernel: KernelConfig, seed: int, devices: int, threads: int) -> None:
        self.m = m = Machine(cpus, kernel, seed=seed, check=True)
        self.stream = stream = m.engine.stream("scene")
        self.mutex = Mutex(m.sched, "mutex")
        self.raw = RawSpinlock("raw")
        self.below = stream.below
        m.start_thread(self._probe(devices), "probe")
        for n in range(threads):
            rt = n % 2
            m.start_thread(self._thread, f"t{n}", policy=SCHED_FIFO if rt else 0, rt_priority=5 + n if rt else 0)

    def _probe(self, devices: int) -> TaskFn:
        async def probe(task: Task) -> None:
            for n in range(devices):
                await self._device(task, n)

        return probe

    async def _device(self, task: Task, n: int) -> None:
        m, below = self.m, self.below
        msi = m.msi(f"dev{n}")
        cost = 500 + below(20 * US)

        async def work(cpu: Cpu, tasklet: Tasklet) -> None:
            await cpu.spend(1 + below(15 * US))

        tasklet = Tasklet(work, f"tasklet{n}")

        async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
            await cpu.spend(1 + below(cost))
            if below(3) == 0:
                await m.tasklets.tasklet_schedule(cpu, tasklet)
            return IRQ_WAKE_THREAD if n % 2 else IRQ_HANDLED

        async def thread(task: Task, irq: int, dev_id: object) -> int:
            await task.spend(1 + below(10 * US))
            return IRQ_HANDLED

        await m.irq.request_threaded_irq(task, msi.irq, handler, thread if n % 2 else None, 0, f"dev{n}", None)

        def ring() -> None:
            msi.send()
            timer.arm(m.now + 30 * US + below(400 * US))

        timer = m.engine.timer(ring, f"dev{n}")
        timer.arm(m.now + 1 + below(300 * US))

    async def _thread(self, task: Task) -> None:
        below = self.below
        while True:
            ns = 1 + below(30 * US)
            match below(8):
                case 0:
                    await task.user(ns * 4)
                case 1:
                    cpu = task.preempt_disable()
                    await cpu.spend(ns)
                    await task.preempt_enable()
                case 2:
                    cpu = task.preempt_disable()
                    cpu.irq_disable()
                    await cpu.spend(ns)
                    await cpu.irq_enable()
                    await task.preempt_enable()
                case 3:
                    await self.m.softirq.local_bh_disable(task)
                    await task.spend(ns)
                    await self.m.softirq.local_bh_enable(task)
                case 4:
                    await self.mutex.lock(task)
                    await task.spend(ns)
                    await self.mutex.unlock(task)
                case 5:
                    cpu = task.preempt_disable()
                    await self.raw.lock(cpu)
                    await cpu.spend(ns)
                    await self.raw.unlock(cpu)
                    await task.preempt_enable()
                case 6:
                    await task.spend(ns)
                case _:
                    await self.m.sleep.usleep_range(task, 20 + below(100), 120)

    def play(self, ns: int) -> list[CpuLatency]:
        async def run() -> None:
            async with self.m as m:
                await m.run_for(ns)

        asyncio.run(run())
        events = capture_from_records(self.m.records, "scene").events
        found = thread_latencies(events, softirq_threads=self.m.config.rt)
        for cpu in found:
            # The trace shows the same interrupts as the account of the invariants, which reads no trace; only where preemption was off
            # already nothing in it tells an interrupt's end from the softirq that follows at once.
            spans = sum(end - begin for each in cpu.interrupts.values() for begin, end in each)
            more, entry = spans - self.m.accounts[cpu.cpu].kinds["interrupt"], self.m.costs.softirq_entry_ns
            assert (more >= 0 and more % entry == 0) if not self.m.config.rt else more == 0
        return found


@given(st.integers(1, 3), st.sampled_from(KERNELS), st.integers(0, 10**6), st.integers(0, 3), st.integers(1, 6))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_latency_exceeds_the_bound_of_its_own_run(
    every_controller: str, cpus: int, kernel: KernelConfig, seed: int, devices: int, threads: int
) -> None:
    for cpu in Random(min(cpus, BOARDS[every_controller].max_cpus), kernel, seed, devices, threads).play(3_000 * US):
        bound = cpu.bound()
        assert bound.converged
        assert cpu.worst_ns <= bound.latency
        for each in cpu.latencies:
            assert sum(each.parts.values()) == each.latency_ns
            assert all(part >= 0 for part in each.parts.values())


@pytest.mark.smp
@pytest.mark.parametrize("kernel", KERNELS, ids=["6.12-full", "6.12-rt", "6.1-full", "7.1-rt"])
def test_bounds_are_near_what_happens_and_no_part_of_them_is_spare(every_controller: str, kernel: KernelConfig) -> None:
    """A bound of which a section is left out is broken somewhere, and so is one without interrupts: the measured parts matter."""
    whole = [cpu for seed in range(6) for cpu in Random(1 + seed % 2, kernel, seed, 3, 6).play(4_000 * US)]
    assert all(solve(cpu.sections, none).latency <= cpu.bound().latency for cpu in whole)
    assert all(cpu.worst_ns <= cpu.bound().latency for cpu in whole)
    assert any(2 * cpu.worst_ns > cpu.bound().latency for cpu in whole)
    parts = [each.parts for cpu in whole for each in cpu.latencies]
    assert all(any(each[part] for each in parts) for part in ("poid", "paie", "psd", "dst", "interrupt"))
    for cpu in whole:
        most = cpu.sections
        assert max((each.parts["poid"] for each in cpu.latencies), default=0) <= most.poid
        assert max((each.parts["paie"] for each in cpu.latencies), default=0) <= most.paie
    without = [ThreadLatency(0, cpu.sections.paie, cpu.sections.psd, cpu.sections.dst) for cpu in whole]
    assert any(cpu.worst_ns > solve(less, as_observed(cpu.interrupts.values())).latency for cpu, less in zip(whole, without, strict=True))


def watched(kernel: KernelConfig = FULL, **costs: int) -> Lab:
    lab = Lab(1, kernel, **costs)
    rv.watch(lab.sched)
    return lab


def measured(records: list[Record]) -> CpuLatency:
    (cpu,) = thread_latencies(capture_from_records(records, "lab").events)
    return cpu


def test_parts_of_one_latency() -> None:
    """At 1000 an interrupt of 70 ns wakes a task while preemption is off up to 1500; another one of 40 comes meanwhile."""
    lab = watched(switch_preempt_ns=30, switch_in_ns=20)

    async def sleeper(task: Task) -> None:
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        await task.schedule()

    async def hog(task: Task) -> None:
        await task.spend(500)
        cpu = task.preempt_disable()
        await cpu.spend(1000)
        await task.preempt_enable()
        await task.spend(5000)

    task = lab.start(sleeper, "sleeper", policy=SCHED_FIFO, rt_priority=1)
    lab.start(hog, "hog")

    async def wakes(cpu: Cpu) -> None:
        await lab.sched.wake_up_process(cpu, task)
        await cpu.spend(70)

    async def other(cpu: Cpu) -> None:
        await cpu.spend(40)

    lab.interrupt(1000, wakes)
    lab.interrupt(1200, other)
    lab.play(5000)
    lab.end()
    cpu = measured(lab.records())
    (latency,) = [each for each in cpu.latencies if each.asked_ns == 1000]
    begin = next(record.ts for record in lab.records() if getattr(record, "prev_comm", "") == "sleeper") + 20 + 500
    assert latency.parts == {"poid": begin + 1000 - 1000, "paie": 0, "psd": 30, "dst": 20, "interrupt": 110}
    assert (latency.asked_ns, latency.returned_ns) == (1000, 1000 + sum(latency.parts.values()))
    assert cpu.interrupts == {"vector:49": [(1000, 1070), (1200, 1240)]}
    assert (cpu.sections.poid, cpu.sections.psd, cpu.sections.dst, cpu.worst_ns) == (1000, 50, 50, latency.latency_ns)
    assert cpu.bound().latency == 1000 + 50 + 110


def test_a_window_that_begins_in_an_interrupt_has_the_rest_of_it() -> None:
    worst = as_observed([[(0, 10), (100, 130)], [(500, 505)]])
    assert worst(0) == 30 + 5
    # From 5 on: 5 ns of the first, and the second comes at the end of 95 ns.
    assert worst(95) == 35 + 5
    assert worst(100) == 40 + 5


def test_a_trace_without_the_events_is_refused() -> None:
    with pytest.raises(UsageError, match="no irq_disable, irq_enable, preempt_disable"):
        thread_latencies([])

"""Show the tasklet cases of the catalogue."""

from __future__ import annotations

import pytest

from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import in_serving_softirq
from asyncirq.sched.task import Task
from asyncirq.trace.record import tag_of
from tests.bottom_half.harness import FULL1000, MS, Bench


class Scene(Bench):
    """Tasklets that note their name, the CPU and that a softirq is served."""

    def tasklet(self, name: str, ns: int = 0) -> Tasklet:
        async def note_name(cpu: Cpu, tasklet: Tasklet) -> None:
            assert in_serving_softirq(cpu)
            self.note(f"{tasklet.name}{cpu.id}")
            if ns:
                await cpu.spend(ns)
                self.note(f"{tasklet.name}{cpu.id} ends")

        return Tasklet(note_name, name)

    def passes(self, cpu: int = 0) -> list[int]:
        return [time for time, *_ in self.events("softirq_entry", cpu=cpu)]


@pytest.mark.covers("S0-124", "S0-131")
def test_TASK_01_fifo_per_cpu_and_hi_first() -> None:
    m = Scene()
    a, b, c, hi = (m.tasklet(name) for name in ("A", "B", "C", "H"))

    async def handler(cpu: Cpu) -> None:
        for tasklet in (a, b, c):
            await m.tasklets.tasklet_schedule(cpu, tasklet)
        await m.tasklets.tasklet_hi_schedule(cpu, hi)
        assert m.tasklets.queued(0) == ([hi], [a, b, c])

    m.irq_at(1000, handler)
    m.play(2000)
    assert m.log == [(1000, "H0"), (1000, "A0"), (1000, "B0"), (1000, "C0")]


@pytest.mark.covers("S0-130", "S0-125")
def test_TASK_02_idempotent() -> None:
    m = Scene()
    a = m.tasklet("A")
    assert (a.scheduled, a.running, a.count) == (False, False, 0)

    async def handler(cpu: Cpu) -> None:
        for _ in range(5):
            await m.tasklets.tasklet_schedule(cpu, a)

    m.irq_at(1000, handler)
    m.play(2000)
    assert m.log == [(1000, "A0")]
    assert m.events("softirq_raise") == [(1000, "softirq_raise", 6)]


@pytest.mark.covers("S0-126", "S0-127")
def test_TASK_03_reschedule_itself() -> None:
    m = Scene(tasklet_ns=10)
    runs = 0

    async def again(cpu: Cpu, tasklet: Tasklet) -> None:
        nonlocal runs
        runs += 1
        m.note(f"A{cpu.preempt_count & 0xF0000:x}/{cpu.pid}")
        if runs < 12:
            await m.tasklets.tasklet_schedule(cpu, tasklet)

    a = Tasklet(again, "A")

    async def handler(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, a)
        await m.tasklets.tasklet_schedule(cpu, b)

    b = m.tasklet("B")
    m.irq_at(1000, handler)
    m.play(2000)
    # B, of the same list, comes before A's second run; ten passes at the interrupt's exit, the rest in ksoftirqd (pid 1).
    assert m.log[:3] == [(1010, "A0/0"), (1020, "B0"), (1030, "A0/0")]
    assert [text for _, text in m.log] == ["A0/0", "B0"] + ["A0/0"] * 9 + ["A0/1"] * 2
    assert m.passes()[:10] == [1000, *range(1020, 1110, 10)]
    assert runs == 12


def test_S0_125_function_and_data_or_callback() -> None:
    m = Scene()

    async def with_data(cpu: Cpu, data: str) -> None:
        m.note(f"data {data}")

    async def with_tasklet(cpu: Cpu, tasklet: Tasklet) -> None:
        m.note(f"tasklet {tasklet.name}")

    one, other, new = (*(Tasklet.with_data(with_data, data, data) for data in ("rx", "tx")), Tasklet(with_tasklet, "new"))

    async def handler(cpu: Cpu) -> None:
        for tasklet in (one, other, new, one):
            await m.tasklets.tasklet_schedule(cpu, tasklet)

    m.irq_at(1000, handler)
    m.play(2000)
    assert m.log == [(1000, "data rx"), (1000, "data tx"), (1000, "tasklet new")]
    assert m.events("tasklet_entry") == [
        (1000, "tasklet_entry", "rx", "with_data"),
        (1000, "tasklet_entry", "tx", "with_data"),
        (1000, "tasklet_entry", "new", "with_tasklet"),
    ]


def test_unlock_wait_waits_for_the_run_and_not_for_the_next() -> None:
    m = Scene(2)
    a = m.tasklet("A", ns=1000)

    async def handler(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, a)

    async def waits(task: Task) -> None:
        await m.tasklets.tasklet_unlock_wait(task, a)
        m.note("not running")
        await task.spend(500)
        await m.tasklets.tasklet_unlock_wait(task, a)
        m.note("not running any more")

    m.start(waits, "waits", cpu=1)
    m.irq_at(100, handler, cpu=0)
    m.play(2000)
    assert m.log == [(0, "not running"), (100, "A0"), (1100, "A0 ends"), (1100, "not running any more")]


def test_TASK_04_runs_where_scheduled() -> None:
    m = Scene(2)
    a = m.tasklet("A")

    async def handler(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, a)

    m.irq_at(1000, handler, cpu=0)
    m.irq_at(2000, handler, cpu=1)
    m.irq_at(3000, handler, cpu=0)
    m.play(4000)
    assert m.log == [(1000, "A0"), (2000, "A1"), (3000, "A0")]


@pytest.mark.covers("S0-128")
def test_S0_128_never_on_two_cpus_at_once() -> None:
    m = Scene(2, tasklet_ns=10)
    a = m.tasklet("A", ns=1005)

    async def handler(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, a)

    m.irq_at(1000, handler, cpu=0)
    m.irq_at(1100, handler, cpu=1)
    m.play(4000)
    assert m.log == [(1010, "A0"), (2015, "A0 ends"), (2020, "A1"), (3025, "A1 ends")]
    # CPU1 tries every 10 ns until then, ten times at the interrupt's exit.
    assert m.passes(1)[:3] == [1100, 1110, 1120]
    assert len(m.passes(1)) == 92


def test_S2_69_different_tasklets_overlap() -> None:
    m = Scene(2)
    a, b = m.tasklet("A", ns=1000), m.tasklet("B", ns=1000)

    async def first(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, a)

    async def second(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, b)

    m.irq_at(1000, first, cpu=0)
    m.irq_at(1500, second, cpu=1)
    m.play(4000)
    assert m.log == [(1000, "A0"), (1500, "B1"), (2000, "A0 ends"), (2500, "B1 ends")]


@pytest.mark.covers("S0-129")
def test_TASK_06_disabled() -> None:
    m = Scene(tasklet_ns=100)
    a = m.tasklet("A")
    m.tasklets.tasklet_disable_nosync(a)

    async def handler(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, a)

    m.irq_at(1000, handler)
    m.at(5050, lambda: m.tasklets.tasklet_enable(a))
    m.play(6000)
    assert m.log == [(5100, "A0")]
    assert m.passes() == list(range(1000, 5001, 100))
    # Ten passes at the interrupt's exit, the rest in ksoftirqd, which re-raised as often as it ran in vain.
    pids = [record.pid for record in m.records() if tag_of(type(record)) == "softirq_entry"]
    assert pids == [0] * 10 + [1] * 31
    assert len(m.events("softirq_raise")) == 41


def test_TASK_06_disable_waits_for_a_running_instance() -> None:
    m = Scene(2)
    a = m.tasklet("A", ns=1000)

    async def handler(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, a)

    async def disabler(task: Task) -> None:
        await task.spend(1500)
        await m.tasklets.tasklet_disable(task, a)
        m.note("disabled")
        m.tasklets.tasklet_enable(a)
        cpu = task.preempt_disable()
        await m.tasklets.tasklet_disable_in_atomic(cpu, a)
        await task.preempt_enable()
        m.note("disabled again")

    m.irq_at(1000, handler)
    m.start(disabler, "disabler", cpu=1)
    m.play(3000)
    assert m.log == [(1000, "A0"), (2000, "A0 ends"), (2000, "disabled"), (2000, "disabled again")]
    with pytest.raises(KernelBug, match="tasklet_enable of A, which is not disabled"):
        m.tasklets.tasklet_enable(a)
        m.tasklets.tasklet_enable(a)


def test_TASK_07_kill_waits_and_lets_it_be_scheduled_again() -> None:
    m = Scene(2)
    a = m.tasklet("A", ns=1000)

    async def handler(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, a)

    async def killer(task: Task) -> None:
        await task.spend(1500)
        await m.tasklets.tasklet_kill(task, a)
        m.note("killed")
        assert (a.scheduled, a.running) == (False, False)

    m.irq_at(1000, handler)
    m.start(killer, "killer", cpu=1)
    m.irq_at(3000, handler)
    m.play(5000)
    assert m.log == [(1000, "A0"), (2000, "A0 ends"), (2000, "killed"), (3000, "A0"), (4000, "A0 ends")]


def test_TASK_07_kill_from_interrupt_and_of_a_disabled_one() -> None:
    m = Scene(2, FULL1000, tasklet_ns=1000)
    a, b = m.tasklet("A"), m.tasklet("B")
    m.tasklets.tasklet_disable_nosync(a)

    async def handler(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, a)

    async def killer(task: Task) -> None:
        await task.spend(2000)
        await m.tasklets.tasklet_kill(task, a)
        m.note("killed")

    async def killer_in_irq(cpu: Cpu) -> None:
        with pytest.raises(KernelBug, match="sleeping function called from invalid context at tasklet B"):
            b.scheduled = True
            await m.tasklets.tasklet_kill(m.sched.rqs[1].curr, b)

    m.irq_at(1000, handler)
    m.start(killer, "killer", cpu=1)
    m.irq_at(100_000, killer_in_irq, cpu=1)
    m.play(MS)
    assert m.log == []
    assert m.said() == [
        "tasklet_kill: A is disabled and scheduled, it will not finish until it is enabled",
        "Attempt to kill tasklet from interrupt",
    ]


def test_TASK_07_kill_from_its_own_callback() -> None:
    m = Scene()

    async def suicide(cpu: Cpu, tasklet: Tasklet) -> None:
        await m.tasklets.tasklet_kill(m.sched.rqs[0].curr, tasklet)

    a = Tasklet(suicide, "A")

    async def handler(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, a)

    m.irq_at(1000, handler)
    with pytest.raises(KernelBug, match="deadlock at 1000 ns: swapper/0/0 waits for tasklet A from within it"):
        m.play(2000)


@pytest.mark.covers("S0-87")
def test_TASK_09_cpu_death() -> None:
    m = Scene(2)
    names = [m.tasklet(name) for name in "ABCDEF"]

    async def dying(cpu: Cpu) -> None:
        for tasklet in names[:2]:
            await m.tasklets.tasklet_schedule(cpu, tasklet)
        await m.tasklets.tasklet_hi_schedule(cpu, names[2])
        m.softirq.pending[1] = 0

    async def taking_over(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, names[3])
        await m.tasklets.tasklet_hi_schedule(cpu, names[4])
        await m.tasklets.takeover(cpu, 1)

    m.irq_at(1000, dying, cpu=1)
    m.irq_at(2000, taking_over, cpu=0)
    m.play(3000)
    assert [text for _, text in m.log] == ["E0", "C0", "D0", "A0", "B0"]
    assert m.events("softirq_raise", cpu=0) == [(2000, "softirq_raise", vec) for vec in (6, 0, 6, 0)]


def test_TASK_10_trace_order() -> None:
    m = Scene()
    a, b = m.tasklet("A"), m.tasklet("B")

    async def handler(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, a)
        await m.tasklets.tasklet_schedule(cpu, b)

    m.irq_at(1000, handler)
    m.play(2000)
    assert m.events("softirq_raise", "softirq_entry", "tasklet_entry", "tasklet_exit", "softirq_exit") == [
        (1000, "softirq_raise", 6),
        (1000, "softirq_raise", 6),
        (1000, "softirq_entry", 6),
        (1000, "tasklet_entry", "A", "note_name"),
        (1000, "tasklet_exit", "A", "note_name"),
        (1000, "tasklet_entry", "B", "note_name"),
        (1000, "tasklet_exit", "B", "note_name"),
        (1000, "softirq_exit", 6),
    ]
    entered, *inside = [r for r in m.records() if tag_of(type(r)) in ("softirq_entry", "tasklet_entry")]
    assert [record.cause for record in inside] == [entered.seq] * 2

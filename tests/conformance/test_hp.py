"""Show the cases of section 18: CPUs that go down and come up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from asyncirq import Machine
from asyncirq.bottom_half.softirq import BLOCK_SOFTIRQ, HOTPLUG_SAFE_MASK, SCHED_SOFTIRQ
from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.config import KernelConfig, preset
from asyncirq.errors import UsageError
from asyncirq.hotplug import CpuhpState
from asyncirq.hotplug.registration import add_instance, remove_state, setup_state, setup_state_multi
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_WAKE_THREAD
from asyncirq.sched.task import Task
from asyncirq.trace.events_sched import CpuhpEnter, CpuhpExit, CpuhpMultiEnter, Printk

US = 1_000
MS = 1_000_000
HZ1000 = preset("linux-6.12", hz=1000)
SYS = "/sys/devices/system/cpu/"

Body = Callable[[Machine, Task], Awaitable[None]]


def play(body: Body, cpus: int = 3, config: KernelConfig = HZ1000, controller: str | None = None) -> Machine:
    """Run a task of real-time priority on a machine to its end."""
    machine = Machine(cpus, config, controller=controller, check=True)
    over: list[bool] = []

    async def main(task: Task) -> None:
        await body(machine, task)
        over.append(True)

    async def run() -> None:
        async with machine as m:
            m.start_thread(main, "plug", policy=1, rt_priority=50)
            assert await m.run_until(lambda: bool(over), 5_000 * MS)

    asyncio.run(run())
    return machine


def steps(machine: Machine) -> list[tuple[str, int]]:
    """Return the functions of the hotplug steps in order, each with the CPU that ran it."""
    return [(record.function, record.cpu) for record in machine.records if isinstance(record, CpuhpEnter)]


def said(machine: Machine) -> list[str]:
    """Return what the kernel said."""
    return [record.text for record in machine.records if isinstance(record, Printk)]


async def down(m: Machine, task: Task, cpu: int) -> int:
    """Take a CPU down."""
    return await m.kernel.hotplug.cpu_down(task, cpu)


async def up(m: Machine, task: Task, cpu: int) -> int:
    """Bring a CPU up."""
    return await m.kernel.hotplug.cpu_up(task, cpu)


def test_HP_01_off_and_on() -> None:
    async def body(m: Machine, task: Task) -> None:
        sysfs = m.kernel.sysfs_cpu
        assert sysfs.read(SYS + "online") == "0-3\n"
        assert sysfs.read(SYS + "offline") == "\n"
        for cpu in (3, 2, 1):
            await sysfs.write(task, SYS + f"cpu{cpu}/online", 0)
            assert (sysfs.read(SYS + f"cpu{cpu}/online"), sysfs.read(SYS + f"cpu{cpu}/hotplug/state")) == ("0\n", "0\n")
        assert (sysfs.read(SYS + "online"), sysfs.read(SYS + "offline"), sysfs.read(SYS + "present")) == ("0\n", "1-3\n", "0-3\n")
        for cpu in (1, 3):
            await sysfs.write(task, SYS + f"cpu{cpu}/online", 1)
        assert (sysfs.read(SYS + "online"), sysfs.read(SYS + "offline")) == ("0-1,3\n", "2\n")
        await sysfs.write(task, SYS + "cpu2/online", 1)
        assert sysfs.read(SYS + "online") == "0-3\n"
        # The boot CPU of x86 has no such switch.
        with pytest.raises(UsageError):
            sysfs.read(SYS + "cpu0/online")

    machine = play(body, 4)
    assert [text for text in said(machine) if "offline" in text] == [f"smpboot: CPU {cpu} is now offline" for cpu in (3, 2, 1)]


def test_HP_02_interrupts_follow() -> None:
    handled: list[int] = []

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        handled.append(cpu.id)
        return IRQ_HANDLED

    async def body(m: Machine, task: Task) -> None:
        disk = m.msi("disk")
        await m.irq.request_irq(None, disk.irq, handler, 0, "disk", None)
        await m.irq.irq_set_affinity(task, disk.irq, 0b10)

        async def write(times: int) -> list[int]:
            handled.clear()
            for _ in range(times):
                disk.send()
                await m.sleep.nanosleep(task, 100 * US)
            return list(handled)

        # The first one still arrives where the interrupt was started.
        await write(1)
        assert await write(3) == [1, 1, 1]
        for _ in range(3):
            assert await down(m, task, 1) == 0
            assert await write(3) == [0, 0, 0]
            assert m.kernel.proc("/proc/interrupts").splitlines()[0].split() == ["CPU0", "CPU2"]
            assert await up(m, task, 1) == 0
            assert await write(1) == [0]

    machine = play(body)
    assert [text for text in said(machine) if text.startswith("IRQ")] == ["IRQ16: no longer affine to CPU1"]


def test_HP_03_task_is_moved_off() -> None:
    async def body(m: Machine, task: Task) -> None:
        stop: list[bool] = []

        async def spin(spinner: Task) -> None:
            while not stop:
                await spinner.user(20 * US)

        spinner = m.start_thread(spin, "spin")
        cpu = task.preempt_disable()
        m.sched.set_cpus_allowed(cpu, spinner, 0b10)
        await task.preempt_enable()
        await m.sleep.nanosleep(task, 1 * MS)
        assert spinner.cpu.id == 1
        assert await down(m, task, 1) == 0
        before = spinner.sum_exec
        await m.sleep.nanosleep(task, 1 * MS)
        assert spinner.cpu.id != 1
        assert spinner.sum_exec > before
        assert spinner.allowed == 0b111
        stop.append(True)

    machine = play(body)
    assert any(text.startswith("process ") and text.endswith("(spin) no longer affine to cpu1") for text in said(machine))


def test_HP_04_tasks_use_a_new_cpu() -> None:
    async def body(m: Machine, task: Task) -> None:
        stop: list[bool] = []

        async def spin(spinner: Task) -> None:
            while not stop:
                await spinner.user(20 * US)

        assert await down(m, task, 1) == 0
        spinners = [m.start_thread(spin, f"spin{n}") for n in range(5)]
        await m.sleep.nanosleep(task, 5 * MS)
        assert {spinner.cpu.id for spinner in spinners} == {0, 2}
        assert await up(m, task, 1) == 0
        await m.sleep.nanosleep(task, 100 * MS)
        assert 1 in {spinner.cpu.id for spinner in spinners}
        stop.append(True)

    play(body)


def test_HP_05_last_cpu() -> None:
    async def body(m: Machine, task: Task) -> None:
        hotplug = m.kernel.hotplug
        assert await down(m, task, 0) == 0
        assert (await down(m, task, 1), hotplug.online, hotplug.cpus[1].state) == (-16, 0b10, CpuhpState.ONLINE)
        with pytest.raises(UsageError) as refused:
            await m.kernel.sysfs_cpu.write(task, SYS + "cpu1/online", 0)
        assert refused.value.errno == 16
        hotplug.disabled = 1
        assert await up(m, task, 0) == -16
        hotplug.disabled = 0
        assert (await up(m, task, 0), await down(m, task, 7)) == (0, -22)

    play(body, 2, controller="gicv3")


def test_HP_06_statistics() -> None:
    async def body(m: Machine, task: Task) -> None:
        def figures() -> tuple[int, ...]:
            rq = m.sched.rqs[1]
            return rq.nr_switches, m.kernel.tick.ts[1].nr_ticks, sum(m.softirq.counts[1])

        async def busy(load: Task) -> None:
            while not over:
                await load.user(100 * US)

        over: list[bool] = []
        loads = [m.start_thread(busy, f"load{n}") for n in range(4)]
        await m.sleep.nanosleep(task, 5 * MS)
        assert await down(m, task, 1) == 0
        still = figures()
        await m.sleep.nanosleep(task, 20 * MS)
        assert figures() == still
        assert not any(load.cpu.id == 1 for load in loads)
        assert await up(m, task, 1) == 0
        await m.sleep.nanosleep(task, 50 * MS)
        assert all(now > then for now, then in zip(figures()[:2], still[:2], strict=True))
        over.append(True)

    play(body)


def test_HP_07_managed_interrupt_keeps_its_depth() -> None:
    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        return IRQ_HANDLED

    async def body(m: Machine, task: Task) -> None:
        desc = m.irq.desc(m.msi("managed").irq)
        desc.managed, desc.affinity, desc.affinity_set = True, 0b10, True
        await m.irq.request_irq(None, desc.irq, handler, 0, "managed", None)
        await m.irq.irq_set_affinity(task, desc.irq, 0b10)
        await m.irq.disable_irq(task, desc.irq)
        assert desc.depth == 1
        assert await down(m, task, 1) == 0
        assert (desc.depth >= 1, desc.activated, desc.affinity) == (True, False, 0b10)
        assert await up(m, task, 1) == 0
        assert desc.depth == 1
        await m.irq.enable_irq(task, desc.irq)
        assert (desc.activated, desc.started, desc.depth) == (True, True, 0)

    play(body)


def test_HP_12_what_pends_in_the_dying_cpu_is_sent_again() -> None:
    handled: list[tuple[int, int]] = []

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        handled.append((cpu.id, cpu.engine.now))
        return IRQ_HANDLED

    async def body(m: Machine, task: Task) -> None:
        late = m.msi("late")
        await m.irq.request_irq(None, late.irq, handler, 0, "late", None)
        await m.irq.irq_set_affinity(task, late.irq, 0b10)
        late.send()
        await m.sleep.nanosleep(task, 100 * US)
        late.send()
        await m.sleep.nanosleep(task, 100 * US)
        handled.clear()

        class Sender:
            """Send in the middle of the stop, before the interrupt has moved."""

            def __init__(self) -> None:
                self.inner = m.irq.force_complete_move

            def __call__(self, cpu: Cpu, desc: object) -> None:
                if desc is m.irq.desc(late.irq):
                    late.send()
                    assert cpu.lapic.irr
                assert self.inner is not None
                self.inner(cpu, desc)  # type: ignore[arg-type]

        m.irq.force_complete_move = Sender()
        before = m.now
        assert await down(m, task, 1) == 0
        # One interrupt, elsewhere, after the millisecond in which the CPU waits for what is under way.
        assert [cpu for cpu, _ in handled] == [0]
        assert handled[0][1] - before > 1 * MS

    machine = play(body)
    assert not any("No irq handler" in text for text in said(machine))


DOWN = [
    ("sched_cpu_deactivate", 1),
    ("workqueue_offline_cpu", 1),
    ("smpboot_park_threads", 1),
    ("sched_cpu_wait_empty", 1),
    ("takedown_cpu", 0),
    ("tick_cpu_dying", 1),
    ("hrtimers_cpu_dying", 1),
    ("smpcfd_dying_cpu", 1),
    ("sched_cpu_dying", 1),
    ("timers_dead_cpu", 0),
    ("rcutree_dead_cpu", 0),
    ("takeover", 0),
    ("blk_softirq_cpu_dead", 0),
    ("takeover_tasklets", 0),
]
UP = [
    ("smpboot_create_threads", 0),
    ("hrtimers_prepare_cpu", 0),
    ("rcutree_prepare_cpu", 0),
    ("timers_prepare_cpu", 0),
    ("bringup_cpu", 0),
    ("sched_cpu_starting", 1),
    ("smpboot_unpark_threads", 1),
    ("irq_affinity_online_cpu", 1),
    ("workqueue_online_cpu", 1),
    ("sched_cpu_activate", 1),
]


async def down_and_up(m: Machine, task: Task) -> None:
    """Take CPU 1 down and bring it up."""
    assert await down(m, task, 1) == 0
    assert await up(m, task, 1) == 0


def test_HP_13_order_going_down() -> None:
    machine = play(down_and_up, 2)
    assert steps(machine)[: len(DOWN)] == DOWN
    # From the stop of the machine on nothing of it is preemptible or interruptible.
    dying = [record for record in machine.records if isinstance(record, CpuhpEnter) and record.function.endswith("dying_cpu")]
    assert all(record.irqs_off for record in dying)


def test_HP_14_order_coming_up() -> None:
    machine = play(down_and_up, 2)
    assert steps(machine)[len(DOWN) :] == UP
    starting = [record for record in machine.records if isinstance(record, CpuhpEnter) and record.function == "sched_cpu_starting"]
    assert [record.irqs_off for record in starting] == [True]
    numbers = [record.step for record in machine.records if isinstance(record, CpuhpEnter)]
    down_numbers, up_numbers = numbers[: len(DOWN)], numbers[len(DOWN) :]
    assert down_numbers == sorted(down_numbers, reverse=True)
    assert up_numbers == sorted(up_numbers)


def test_HP_14_gic_starts_on_the_new_cpu() -> None:
    machine = play(down_and_up, 2, controller="gicv3")
    came = steps(machine)[len(DOWN) :]
    assert [step for step in came if step[0].startswith("gic")] == [("gic_check_rdist", 0), ("gic_starting_cpu", 1)]


def test_HP_15_a_failing_startup_is_undone_in_reverse() -> None:
    calls: list[tuple[str, str, int]] = []
    fails: list[str] = []

    def make(name: str) -> tuple[Callable[[Task, int], Awaitable[int]], Callable[[Task, int], Awaitable[int]]]:
        async def start(task: Task, cpu: int) -> int:
            calls.append(("start", name, cpu))
            return -12 if name in fails else 0

        async def stop(task: Task, cpu: int) -> int:
            calls.append(("stop", name, cpu))
            return -16 if "-" + name in fails else 0

        return start, stop

    async def body(m: Machine, task: Task) -> None:
        hotplug = m.kernel.hotplug
        for name, state in (("a", CpuhpState.BP_PREPARE_DYN), ("b", CpuhpState.AP_ONLINE_DYN), ("c", CpuhpState.AP_ONLINE_DYN)):
            start, stop = make(name)
            await setup_state(hotplug, task, state, f"test/{name}", start, stop, invoke=False)  # type: ignore[arg-type]
        # Up: the last step fails; all below it is undone, highest first.
        assert await down(m, task, 1) == 0
        assert calls == [("stop", "c", 1), ("stop", "b", 1), ("stop", "a", 1)]
        calls.clear()
        fails.append("c")
        assert await up(m, task, 1) == -12
        assert calls == [("start", "a", 1), ("start", "b", 1), ("start", "c", 1), ("stop", "b", 1), ("stop", "a", 1)]
        assert (hotplug.cpus[1].state, hotplug.online) == (CpuhpState.OFFLINE, 0b101)
        fails.clear()
        assert await up(m, task, 1) == 0
        # Down: one in the middle fails; what was torn down above it is started again.
        calls.clear()
        fails.append("-b")
        assert await down(m, task, 1) == -16
        assert calls == [("stop", "c", 1), ("stop", "b", 1), ("start", "c", 1)]
        assert (hotplug.cpus[1].state, hotplug.online, m.sched.active) == (CpuhpState.ONLINE, 0b111, 0b111)
        fails.clear()
        assert await down(m, task, 1) == 0
        # PREPARE: the control CPU alone.
        fails.append("a")
        calls.clear()
        assert await up(m, task, 1) == -12
        assert calls == [("start", "a", 1)]
        fails.clear()
        assert await up(m, task, 1) == 0

    play(body)


def test_HP_15_the_platform_refuses() -> None:
    """A CPU whose vectors fit nowhere stays, and everything goes on as before."""

    async def body(m: Machine, task: Task) -> None:
        hotplug = m.kernel.hotplug
        arch = m.kernel.arch
        vectors = arch.vectors.matrix  # type: ignore[attr-defined]
        vectors.maps[1].allocated += 1000
        assert await down(m, task, 1) == -28
        vectors.maps[1].allocated -= 1000
        assert (hotplug.cpus[1].state, hotplug.online, m.sched.active, m.irq.online_mask) == (CpuhpState.ONLINE, 0b111, 0b111, 0b111)
        assert await down(m, task, 1) == 0

    machine = play(body)
    assert any(text.endswith("available. Cannot disable CPU") for text in said(machine))


def test_HP_15_every_step_can_be_made_to_fail() -> None:
    async def body(m: Machine, task: Task) -> None:
        hotplug = m.kernel.hotplug
        sysfs = m.kernel.sysfs_cpu
        failed = 0
        for state in sorted(hotplug.steps.table):
            try:
                await sysfs.write(task, SYS + "cpu1/hotplug/fail", state)
            except UsageError as error:
                assert error.errno == 22
                continue
            step = hotplug.steps.table[state]
            ret = await down(m, task, 1)
            assert ret == (0 if step.teardown is None else -11)
            if ret:
                failed += 1
                assert hotplug.online == 0b111
            hotplug.cpus[1].fail = -1
            if not ret:
                assert await up(m, task, 1) == 0
            assert hotplug.cpus[1].state == CpuhpState.ONLINE
        assert failed == 5
        with pytest.raises(UsageError):
            await sysfs.write(task, SYS + "cpu1/hotplug/target", CpuhpState.BRINGUP_CPU)
        await sysfs.write(task, SYS + "cpu1/hotplug/target", CpuhpState.AP_WORKQUEUE_ONLINE)
        assert (hotplug.cpus[1].state, hotplug.online) == (CpuhpState.AP_WORKQUEUE_ONLINE, 0b111)
        await sysfs.write(task, SYS + "cpu1/hotplug/target", CpuhpState.ONLINE)
        assert hotplug.cpus[1].state == CpuhpState.ONLINE

    play(body)


def test_HP_15_instances_of_a_step() -> None:
    calls: list[tuple[str, int, object]] = []

    async def start(task: Task, cpu: int, node: object) -> int:
        calls.append(("start", cpu, node))
        return -5 if (cpu, node) == (1, "bad") else 0

    async def stop(task: Task, cpu: int, node: object) -> int:
        calls.append(("stop", cpu, node))
        return 0

    async def body(m: Machine, task: Task) -> None:
        hotplug = m.kernel.hotplug
        state = await setup_state_multi(hotplug, task, CpuhpState.AP_ONLINE_DYN, "test/multi", start, stop)
        assert await add_instance(hotplug, task, state, "x") == 0
        assert calls == [("start", 0, "x"), ("start", 1, "x")]
        calls.clear()
        assert await add_instance(hotplug, task, state, "bad") == -5
        assert calls == [("start", 0, "bad"), ("start", 1, "bad"), ("stop", 0, "bad")]
        assert await add_instance(hotplug, task, state, "y") == 0
        calls.clear()
        assert await down(m, task, 1) == 0
        assert calls == [("stop", 1, "y"), ("stop", 1, "x")]
        assert await up(m, task, 1) == 0
        with pytest.raises(UsageError):
            await remove_state(hotplug, task, state)

    machine = play(body, 2)
    multi = [record for record in machine.records if isinstance(record, CpuhpMultiEnter)]
    assert [(record.function, record.target_cpu) for record in multi[:2]] == [("start", 0), ("start", 1)]


def test_HP_16_softirqs_left_at_death() -> None:
    ran: list[tuple[str, int]] = []

    async def body(m: Machine, task: Task) -> None:
        async def tasklet(cpu: Cpu, which: Tasklet) -> None:
            ran.append((which.name, cpu.id))

        async def block(cpu: Cpu) -> None:
            ran.append(("block", cpu.id))

        m.softirq.open_softirq(BLOCK_SOFTIRQ, block)
        inner = m.kernel.idle.play_dead
        assert inner is not None

        async def leave(idle: Task) -> None:
            # In the very last moment, when no interrupt comes any more, something is raised.
            cpu = idle.cpu
            cpu.irq_disable()
            for name in ("one", "two"):
                await m.tasklets.tasklet_schedule(cpu, Tasklet(tasklet, name))
            await m.tasklets.tasklet_hi_schedule(cpu, Tasklet(tasklet, "high"))
            m.softirq.raise_softirq_nowake(cpu, BLOCK_SOFTIRQ)
            m.softirq.raise_softirq_nowake(cpu, SCHED_SOFTIRQ)
            await inner(idle)

        m.kernel.idle.play_dead = leave
        assert await down(m, task, 1) == 0
        assert m.softirq.pending[1] == 0
        await m.sleep.nanosleep(task, 2 * MS)
        assert sorted(ran) == [("block", 0), ("high", 0), ("one", 0), ("two", 0)]
        assert [name for name, _ in ran if name in ("one", "two")] == ["one", "two"]
        assert HOTPLUG_SAFE_MASK == 1 << 1 | 1 << 5 | 1 << 8 | 1 << 9

    machine = play(body, 2)
    assert not any("NOHZ tick-stop error" in text for text in said(machine))


def test_HP_18_irq_thread_follows_its_line() -> None:
    ran: list[int] = []

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        return IRQ_WAKE_THREAD

    async def body(m: Machine, task: Task) -> None:
        async def thread_fn(thread: Task, irq: int, dev_id: object) -> int:
            ran.append(thread.cpu.id)
            return IRQ_HANDLED

        dev = m.msi("dev")
        await m.irq.request_threaded_irq(task, dev.irq, handler, thread_fn, 0, "dev", None)
        await m.irq.irq_set_affinity(task, dev.irq, 0b10)

        async def send() -> None:
            dev.send()
            await m.sleep.nanosleep(task, 200 * US)

        await send()
        await send()
        assert ran[-1] == 1
        assert await down(m, task, 1) == 0
        await send()
        target = m.irq.desc(dev.irq).effective_affinity
        assert (target & 0b101, ran[-1] != 1) == (target, True)
        await send()
        assert 1 << ran[-1] == target

    play(body)


def test_S0_88_hotplug_callback_names() -> None:
    async def body(m: Machine, task: Task) -> None:
        names = {line[5:]: int(line[:3]) for line in m.kernel.sysfs_cpu.read(SYS + "hotplug/states").splitlines()}
        ours = ["softirq:dead", "irqchip/arm/gicv3:checkrdist", "irqchip/arm/gicv3:starting"]
        assert [names[name] for name in ours] == [CpuhpState.SOFTIRQ_DEAD, CpuhpState.BP_PREPARE_DYN, CpuhpState.AP_IRQ_GIC_STARTING]
        table = m.kernel.hotplug.steps.table
        dead = table[CpuhpState.SOFTIRQ_DEAD]
        assert (dead.empty(True), dead.empty(False)) == (True, False)
        assert table[CpuhpState.BP_PREPARE_DYN].empty(False)
        await down_and_up(m, task)

    machine = play(body, 2, controller="gicv3")
    entered = [record for record in machine.records if isinstance(record, CpuhpEnter)]
    left = {record.step: record.ret for record in machine.records if isinstance(record, CpuhpExit)}
    names = ("takeover_tasklets", "gic_check_rdist", "gic_starting_cpu")
    assert [(record.function, left[record.step]) for record in entered if record.function in names] == [(name, 0) for name in names]

"""Show the rows of inventory group X: what fits nowhere else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncirq import Machine
from asyncirq.bottom_half.napi import Napi
from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.config import IdtPolicy, KernelConfig, preset
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.idt import Gate, Idt
from asyncirq.irq.desc import IRQ_HANDLED
from asyncirq.kernel import Kernel
from asyncirq.locking.percpu import PerCpu
from asyncirq.sched.preempt import in_hardirq, in_serving_softirq
from asyncirq.sched.task import Task
from asyncirq.trace.events import LapicIrr, LockdepReport, Printk
from tests.sched.harness import Lab

US = 1_000


def test_S2_31_two_halves() -> None:
    """A long top half delays another device's edges and merges them; the same work in a bottom half does not."""

    async def scene(split: bool) -> tuple[int, list[int], int]:
        async with Machine(cpus=1, kernel="linux-2.6") as m:
            slow, fast = m.msi("slow"), m.msi("fast")
            latencies: list[int] = []
            raised: list[int] = []

            async def work(cpu: Cpu, tasklet: Tasklet) -> None:
                # Interrupts are on, and nothing of the scheduler comes in between.
                assert in_serving_softirq(cpu)
                assert not cpu.irqs_off
                await cpu.spend(100 * US)

            tasklet = Tasklet(work, "work")

            async def slow_handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                assert in_hardirq(cpu)
                cpu.irq_disable()
                if split:
                    await m.tasklets.tasklet_schedule(cpu, tasklet)
                else:
                    await cpu.spend(100 * US)
                return IRQ_HANDLED

            async def fast_handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                latencies.append(m.now - raised[-1])
                return IRQ_HANDLED

            async def driver(task: Task) -> None:
                await m.irq.request_irq(None, slow.irq, slow_handler, 0, "slow", None)
                await m.irq.request_irq(None, fast.irq, fast_handler, 0, "fast", None)

            m.start_thread(driver, "driver")
            await m.run_for(1000 * US)
            slow.send()
            for _ in range(4):
                await m.run_for(20 * US)
                raised.append(m.now)
                fast.send()
            await m.run_for(1000 * US)
            merged = max(record.coalesced for record in m.records if isinstance(record, LapicIrr))
            late = sum(latency > 5 * US for latency in latencies)
            return len(latencies), [merged, late], max(latencies)

    handled, (merged, late), worst = asyncio.run(scene(split=False))
    assert (handled, merged, late) == (1, 3, 1)
    assert worst > 20 * US
    handled, (merged, late), worst = asyncio.run(scene(split=True))
    assert (handled, merged, late) == (4, 0, 0)
    assert worst < 5 * US


def test_S4_22_lock_free_per_cpu_rule() -> None:
    """A list of its CPU alone, with interrupts off, needs no lock; another CPU's hand in it is recorded, and so is an open window."""

    def scene(lockdep: str) -> tuple[list[Any], list[list[str]]]:
        lab = Lab(2, preset("linux-6.12", lockdep=lockdep))
        lists: PerCpu[list[str]] = PerCpu(lab.sched, "poll_list", list)

        async def local(task: Task) -> None:
            cpu = task.preempt_disable()
            was_off = cpu.irq_disable()
            lists.mine(cpu).append("local")
            await cpu.spend(10)
            await cpu.irq_restore(was_off)
            await task.preempt_enable()

        async def remote(task: Task) -> None:
            await task.spend(100)
            cpu = task.preempt_disable()
            lists.of(cpu, 0).append("remote")
            lists.mine(cpu).append("open")
            cpu.irq_disable()
            lists.take_over(cpu, 0).append("taken over")
            lists.alive(0)
            await cpu.irq_enable()
            await task.preempt_enable()

        lab.start(local, "local", cpu=0)
        lab.start(remote, "remote", cpu=1)
        lab.play(1000)
        lab.end()
        found = [record for record in lab.records() if isinstance(record, LockdepReport)]
        return found, [lists._each[0], lists._each[1]]

    found, kept = scene("all")
    assert [(record.ts, record.cpu, record.kind, record.comm, record.lock) for record in found] == [
        (100, 1, "percpu", "remote", "poll_list"),
        (100, 1, "percpu", "remote", "poll_list"),
    ]
    assert kept == [["local", "remote", "taken over"], ["open"]]
    assert scene("off") == ([], kept)


@pytest.mark.parametrize("name", ["tasklet_vec", "tasklet_hi_vec", "softnet_data.poll_list"])
def test_S4_22_poll_and_tasklet_lists_are_touched_by_their_cpu_alone(name: str) -> None:
    """A driver that passes a CPU which it does not run on puts its hand into that CPU's list: a record. On its own CPU it may."""

    async def scene(remote: bool) -> list[tuple[int, str, str]]:
        async with Machine(2, preset("linux-6.12", lockdep="raise")) as m:

            async def poll(cpu: Cpu, napi: Napi, budget: int) -> int:
                await m.napi.napi_complete_done(cpu, napi, 0)
                return 0

            async def work(cpu: Cpu, tasklet: Tasklet) -> None:
                await cpu.spend(1)

            napi = Napi(poll, 64, "rx", "eth0")
            m.napi.netif_napi_add(napi)
            m.napi.napi_enable(napi)

            async def driver(task: Task) -> None:
                here = task.preempt_disable()
                cpu = m.cpus[0] if remote else here
                if name == "tasklet_vec":
                    await m.tasklets.tasklet_schedule(cpu, Tasklet(work, "normal"))
                elif name == "tasklet_hi_vec":
                    await m.tasklets.tasklet_hi_schedule(cpu, Tasklet(work, "urgent"))
                else:
                    await m.napi.napi_schedule(cpu, napi)
                await task.preempt_enable()

            m.start_thread(driver, "driver", cpu=1)
            if remote:
                with pytest.raises(KernelBug, match=f"{name} of CPU0 is used by CPU1"):
                    await m.run_for(100 * US)
            else:
                await m.run_for(100 * US)
            assert m.trace is not None
            m.trace.flush()
            return [(record.cpu, record.kind, record.lock) for record in m.records if isinstance(record, LockdepReport)]

    assert asyncio.run(scene(remote=True)) == [(1, "percpu", name)]
    assert asyncio.run(scene(remote=False)) == []


def test_S0_60_message_throttling() -> None:
    """A thousand strays are ten lines and an exact count; what is said once is said once."""

    async def scene() -> None:
        async with Machine(cpus=1, kernel="linux-6.12") as m:
            vector = 0x77
            cpu = m.cpus[0]
            for _ in range(1000):
                cpu.lapic.send_ipi(0, vector, cause=0)
                await m.run_for(2 * US)
            said = [record for record in m.records if isinstance(record, Printk)]
            line = f"common_interrupt: 0.{vector} No irq handler for vector"
            assert [(record.level, record.text) for record in said] == [(0, line)] * 10
            assert m.kernel.arch.entry.unhandled == [1000]
            # Five seconds after the first the next one says how many were left out.
            await m.run_for(5_000_000_000)
            cpu.lapic.send_ipi(0, vector, cause=0)
            await m.run_for(10 * US)
            said = [record for record in m.records if isinstance(record, Printk)]
            assert [record.text for record in said[10:]] == ["common_interrupt: 990 callbacks suppressed", line]

            msi = m.msi("dev")

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                await cpu.irq_enable()
                return IRQ_HANDLED

            async def driver(task: Task) -> None:
                await m.irq.request_irq(None, msi.irq, handler, 0, "dev", None)

            m.start_thread(driver, "driver")
            await m.run_for(100 * US)
            for _ in range(100):
                msi.send()
                await m.run_for(10 * US)
            said = [record for record in m.records if isinstance(record, Printk)]
            assert [record.text for record in said[12:]] == [f"irq {msi.irq} handler handler enabled interrupts"]

    asyncio.run(scene())


def test_S3_20_RCU_must_watch_in_handler() -> None:
    """An interrupt of an idle CPU wakes RCU on its way in; an entry that forgets it is found out in the handler's brackets."""

    async def scene(wake: bool) -> bool:
        async with Machine(cpus=1, kernel=preset("linux-6.12", entry_detail=True)) as m:
            await m.run_for(10_000 * US)
            entry: Any = m.kernel.arch.entry
            state = entry.path.cpus[0]
            assert not state.watching
            if not wake:
                # Plant the mistake: the entry goes on to the handler without a word to RCU.
                async def forgetful(cpu: Cpu, entered: object) -> None:
                    assert cpu.irqs_off

                entry.code.irqentry_enter = forgetful
            m.cpus[0].lapic.send_ipi(0, 0x77, cause=0)
            await m.run_for(100 * US)
            return bool(entry.unhandled[0])

    assert asyncio.run(scene(wake=True))
    with pytest.raises(KernelBug, match="^WARNING: suspicious RCU usage: IRQ failed to wake up RCU, on CPU0 at 100"):
        asyncio.run(scene(wake=False))


def test_S0_13_platform_hooks() -> None:
    """Set-up goes through replaceable operations: each replaced one leaves its own record, at its place in the boot."""
    steps: list[str] = []

    def prepare(kernel: Kernel) -> None:
        platform = kernel.arch.platform  # type: ignore[attr-defined]
        native = platform.pre_vector_init, platform.intr_init, platform.load_idt

        def note(text: str) -> None:
            steps.append(text)
            kernel.irq.boot_note(f"xen: {text}")

        def pre_vector_init() -> None:
            note("pre_vector_init")
            native[0]()

        def intr_init() -> None:
            note("intr_init")
            native[1]()

        def load_idt(table: Idt, base: int) -> None:
            note(f"load_idt of {sum(gate is not None for gate in table.gates)} gates")
            native[2](table, base)

        def write_idt_entry(table: Idt, vector: int, gate: Gate) -> None:
            table.set_gate(vector, gate)
            if vector == 0x80:
                note(f"write_idt_entry {gate.name}")

        platform.pre_vector_init, platform.intr_init, platform.load_idt = pre_vector_init, intr_init, load_idt
        platform.trap_init = lambda: note("trap_init")
        platform.write_idt_entry = write_idt_entry

    async def scene(kernel: KernelConfig | str, prepare: Any) -> list[str]:
        async with Machine(cpus=1, kernel=kernel, debug=True, prepare=prepare) as m:
            await m.run_for(1000)
            return [record.text for record in m.records if isinstance(record, Printk)]

    native = asyncio.run(scene("linux-6.1", None))
    said = asyncio.run(scene("linux-6.1", prepare))
    assert steps[-3:] == ["intr_init", "pre_vector_init", "load_idt of 256 gates"]
    assert steps[0].startswith("write_idt_entry asm_")
    assert "trap_init" not in steps
    assert [text for text in said if not text.startswith("xen: ")] == native
    assert [text for text in said if text.startswith("xen: ")] == [f"xen: {step}" for step in steps]
    place = said.index("xen: intr_init")
    assert said[place + 1 : place + 3] == ["xen: pre_vector_init", "x86: init_ISA_irqs"]
    # A kernel that installs its traps in two passes has a hook at the end of trap_init too.
    steps.clear()
    asyncio.run(scene(preset("linux-6.1", idt=IdtPolicy(gates="two-pass")), prepare))
    assert [step for step in steps if "init" in step] == ["trap_init", "intr_init", "pre_vector_init"]

"""Show that the detail of entry code changes nothing else: the same records at the same times, and clean stacks at the end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from asyncirq import Machine
from asyncirq.config import STACKS_4_X, KernelConfig, preset
from asyncirq.entry.detailed import Detailed
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED
from asyncirq.sched.task import SCHED_FIFO, Task
from asyncirq.trace.record import tag_of

KERNELS = {
    "7.1": preset("linux-7.1"),
    "6.12": preset("linux-6.12"),
    "6.12 full": preset("linux-6.12", preemption="full"),
    "6.12 rt": preset("linux-6.12", rt=True),
    "6.1 threadirqs": preset("linux-6.1", threadirqs=True),
    "4.x code": preset("linux-6.1", entry_code="do_irq", stacks=STACKS_4_X),
    "2.6": preset("linux-2.6"),
    "2.6, 32 bits": preset("linux-2.6", bits=32),
}


async def run(kernel: KernelConfig, detail: bool) -> list[tuple[Any, ...]]:
    """Run a machine with interrupts of every kind; return what it recorded but for the steps, sequence numbers and causes."""
    async with Machine(cpus=2, kernel=kernel, seed=5, detail=detail, check=True) as m:
        msis = [m.msi(name) for name in ("disk", "net")]

        async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
            await cpu.spend(3_000)
            return IRQ_HANDLED

        for number, msi in enumerate(msis):
            await m.irq.request_irq(None, msi.irq, handler, 0, f"dev{number}", None)

        async def device() -> None:
            stream = m.engine.stream("device")
            for _ in range(60):
                await m.engine.sleep(stream.below(60_000))
                msis[stream.below(2)].send()
                if stream.below(10) == 0:
                    m.cpus[stream.below(2)].lapic.latch_nmi()

        async def user(task: Task) -> None:
            for _ in range(20):
                await task.user(30_000)
                await task.spend(20_000)

        async def urgent(task: Task) -> None:
            for _ in range(20):
                await m.sleep.usleep_range(task, 70_000, 80_000)
                await task.spend(5_000)

        m.spawn(device(), "device")
        m.start_thread(user, "user1")
        m.start_thread(user, "user2")
        m.start_thread(urgent, "urgent", policy=SCHED_FIFO, rt_priority=60)
        await m.run_for(5_000_000)
        if detail:
            entry = m.kernel.entry
            assert isinstance(entry, Detailed)
            for cpu in m.cpus:
                stacks, state = entry.stacks.cpus[cpu.id], entry.path.cpus[cpu.id]
                assert (stacks.current, stacks.inuse, stacks.count, state.switched, state.irq_regs) == (None, False, -1, [], None)
                assert entry.stacks.of(cpu.current).depth == entry.stacks.regs_size
            assert any(tag_of(type(record)) == "entry_step" for record in m.records)
        return [
            (tag_of(type(record)), *msgspec.structs.astuple(record)[2:])
            for record in m.records
            if tag_of(type(record)) not in ("entry_step", "nmi_unmasked")
        ]


@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.parametrize("name", list(KERNELS))
async def test_the_detail_changes_nothing_else(name: str) -> None:
    plain = await run(KERNELS[name], False)
    detailed = await run(KERNELS[name], True)
    assert len(plain) > 500
    assert detailed == plain

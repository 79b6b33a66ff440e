from __future__ import annotations

import asyncio

import pytest

from asyncirq import Costs, Machine, Task, UsageError
from asyncirq.drivers import RegisterWindow


def window() -> tuple[RegisterWindow, list[tuple[int, int]]]:
    """Return a window with a register of each kind, and what was written."""
    writes: list[tuple[int, int]] = []
    regs = RegisterWindow("disk")
    regs.define(0x10, "STATUS", lambda: 5)
    regs.define(0x00, "CTRL", lambda: 7, lambda value, cause: writes.append((value, cause)))
    regs.define(0x20, "BELL", None, lambda value, cause: writes.append((value, cause)))
    return regs, writes


def test_names_are_in_the_order_of_the_offsets() -> None:
    assert window()[0].names() == {0x00: "CTRL", 0x10: "STATUS", 0x20: "BELL"}
    assert list(window()[0].names()) == [0x00, 0x10, 0x20]


def test_accesses_without_time() -> None:
    regs, writes = window()
    assert (regs.peek(0x10), regs.peek(0x00)) == (5, 7)
    regs.poke(0x20, 9, cause=3)
    assert writes == [(9, 3)]


def test_wrong_accesses_name_device_and_register() -> None:
    regs, writes = window()
    with pytest.raises(UsageError, match="^disk: register BELL cannot be read$"):
        regs.peek(0x20)
    with pytest.raises(UsageError, match="^disk: register STATUS cannot be written$"):
        regs.poke(0x10, 1)
    with pytest.raises(UsageError, match="^disk: there is no register at 0x30$"):
        regs.peek(0x30)
    with pytest.raises(UsageError, match="^disk: there is no register at 0x30$"):
        asyncio.run(regs.write(None, 0x30, 1))
    with pytest.raises(UsageError, match="^disk: register BELL cannot be read$"):
        asyncio.run(regs.read(None, 0x20))
    assert writes == []


def test_bad_definitions_are_refused() -> None:
    regs, _ = window()
    with pytest.raises(UsageError, match="^disk: register STAT would be at 0x10, which is STATUS$"):
        regs.define(0x10, "STAT", lambda: 1)
    with pytest.raises(UsageError, match="^disk: register NONE can be neither read nor written$"):
        regs.define(0x40, "NONE")
    with pytest.raises(UsageError, match="^disk: a register access cannot take -1 ns$"):
        regs.set_costs(-1, 0)


def test_boot_takes_no_time_and_has_no_cause() -> None:
    regs, writes = window()
    regs.set_costs(800, 30)
    assert asyncio.run(regs.read(None, 0x10)) == 5
    asyncio.run(regs.write(None, 0x00, 1))
    assert writes == [(1, 0)]


def test_a_driver_waits_for_reads_and_hardly_for_writes() -> None:
    regs, writes = window()
    regs.set_costs(800, 30)
    log: list[tuple[str, int]] = []

    async def thread(task: Task) -> None:
        start = task.sched.engine.now
        assert await regs.read(task, 0x10) == 5
        log.append(("read", task.sched.engine.now - start))
        cpu = task.preempt_disable()
        cpu.cause = 42
        await regs.write(cpu, 0x20, 1)
        log.append(("write", task.sched.engine.now - start))
        await regs.write(task, 0x20, 2)
        await task.preempt_enable()

    async def run() -> None:
        async with Machine(costs=Costs()) as m:
            m.start_thread(thread, "insmod")
            await m.run_for(1_000_000)

    asyncio.run(run())
    assert log == [("read", 800), ("write", 830)]
    assert writes == [(1, 42), (2, 42)]

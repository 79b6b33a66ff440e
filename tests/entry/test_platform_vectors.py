"""Take the system vectors of the platform."""

from __future__ import annotations

import pytest

from asyncirq.entry.platform_vectors import ERROR_APIC_VECTOR, REBOOT_VECTOR, THERMAL_APIC_VECTOR
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task
from asyncirq.trace.events import Printk
from tests.softirq_rig import Rig


def test_a_hook_runs_in_hard_interrupt_context() -> None:
    m = Rig(sysvec_entry_ns=20)

    async def hot(cpu: Cpu) -> None:
        await cpu.spend(5)
        m.note(f"hot {cpu.preempt_count:#x}")

    m.entry.platform.hooks[THERMAL_APIC_VECTOR] = hot
    m.raise_at(100, THERMAL_APIC_VECTOR)
    m.play(1_000)
    assert m.log == [(125, "hot 0x10001")]
    assert m.entry.counts[THERMAL_APIC_VECTOR] == [1]
    m.end()


@pytest.mark.parametrize(("vector", "text"), [(0x41, "APIC error on CPU0: 00"), (0x05, "APIC error on CPU0: 20 : Send illegal vector")])
def test_an_apic_error_is_read_and_reported(vector: int, text: str) -> None:
    m = Rig()
    lapic = m.cpus[0].lapic

    async def body(task: Task) -> None:
        await task.spend(50)
        if vector < 16:
            lapic.send_ipi(0, vector)
        lapic.send_ipi(0, ERROR_APIC_VECTOR)
        await task.spend(50)

    m.start(body, "body", cpu=0)
    m.play(1_000)
    assert [record.text for record in m.records() if isinstance(record, Printk)] == [text]
    m.end()


def test_a_rebooting_machine_s_cpus_halt_for_good() -> None:
    m = Rig(cpus=2)

    async def body(task: Task) -> None:
        await task.spend(500)
        m.note("not reached")

    m.start(body, "body", cpu=1)
    m.raise_at(100, REBOOT_VECTOR, cpu=1)
    m.raise_at(200, 0x41, cpu=1)
    m.play(10_000)
    assert (m.log, m.entry.platform.stopped) == ([], [1])
    m.end()

"""Show what the kernel sets up in local APICs: each local source reaches its handler on its own CPU, in either mode."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.arch import ApicArch
from asyncirq.hw.apic_message import NMI
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.lapic_lvt import CMCI, ERROR, LINT1, MASKED, PERF, THERMAL
from asyncirq.hw.lapic_regs import SPIV, TPR
from asyncirq.hw.port61 import NMI_REASON_CLEAR_SERR, NMI_REASON_SERR
from asyncirq.machine import Machine
from asyncirq.trace import tag_of
from asyncirq.trace.events import Printk
from asyncirq.units import ms, us


def arch_of(m: Machine) -> ApicArch:
    assert isinstance(m.kernel.arch, ApicArch)
    return m.kernel.arch


@pytest.mark.parametrize("cpus", [2, 256], ids=["xAPIC", "x2APIC"])
def test_local_sources_lead_to_the_kernel(cpus: int) -> None:
    """What is raised on the last CPU is handled there alone; its error status is read through the window that is open."""
    last = cpus - 1

    async def main() -> None:
        async with Machine(cpus) as m:
            platform = arch_of(m).entry.platform
            ran: list[int] = []

            async def hook(cpu: Cpu) -> None:
                ran.append(cpu.id)

            platform.hooks |= {0xFA: hook, 0xF9: hook}
            await m.run_for(us(100))
            regs = arch_of(m).board.lapics[last].regs
            assert regs.x2apic is (cpus == 256)
            assert [regs.get(offset) for offset in (TPR, SPIV, ERROR, THERMAL, CMCI)] == [0, 0x1FF, 0xFE, 0xFA, 0xF9]
            lapic = arch_of(m).board.lapics[last]
            assert lapic.lvt.fire(THERMAL)
            assert lapic.lvt.fire(CMCI)
            await m.run_for(us(10))
            assert ran == [last, last]
            lapic.send_ipi(0, 5)
            await m.run_for(us(10))
            kinds = ("thermal_apic_entry", "threshold_apic_entry", "error_apic_entry", "error_apic_exit")
            assert [(r.cpu, tag_of(type(r))) for r in m.records if tag_of(type(r)) in kinds] == [(last, kind) for kind in kinds]
            assert [r.text for r in m.records if isinstance(r, Printk)] == [f"APIC error on CPU{last}: 20 : Send illegal vector"]
            assert (lapic.isr, lapic.irr) == (0, 0)

    asyncio.run(main())


def test_a_counter_that_overflows_leads_to_the_nmi_handlers() -> None:
    async def main() -> None:
        async with Machine(2) as m:
            taken: list[int] = []

            async def pmi(cpu: Cpu) -> int:
                taken.append(cpu.id)
                return 1

            arch_of(m).nmi.register("local", pmi, "perf_event_nmi_handler_of_a_test")
            await m.run_for(us(100))
            lapic = arch_of(m).board.lapics[1]
            lapic.lvt.write(PERF, NMI << 8)
            assert lapic.lvt.fire(PERF)
            await m.run_for(us(10))
            assert taken == [1]
            assert lapic.read(PERF) == MASKED | NMI << 8

    asyncio.run(main())


def test_the_board_s_nmi_comes_by_lint1_of_the_boot_cpu() -> None:
    async def main() -> None:
        async with Machine(2) as m:
            arch = arch_of(m)
            await m.run_for(ms(1))
            assert [lapic.read(LINT1) for lapic in arch.board.lapics] == [NMI << 8, MASKED | NMI << 8]
            taken = []
            for mask in (0, MASKED, 0):
                arch.board.lapics[0].write(LINT1, mask | NMI << 8)
                arch.port61.error(NMI_REASON_SERR)
                await m.run_for(us(10))
                arch.port61.write(NMI_REASON_CLEAR_SERR)
                arch.port61.write(0)
                taken.append(list(arch.entry.counts[2]))
            assert taken == [[1, 0], [1, 0], [2, 0]]

    asyncio.run(main())

"""Boot a large machine and let everything on it interrupt."""

from __future__ import annotations

import asyncio

from asyncirq.arch import ApicArch
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED
from asyncirq.machine import Machine
from asyncirq.units import ms, us

CPUS = 256
VECTORS = 2_000
ROUNDS = 3


def test_256_cpus_and_2000_vectors() -> None:
    async def main() -> None:
        async with Machine(CPUS, trace=False, check=True) as m:
            arch = m.kernel.arch
            assert isinstance(arch, ApicArch)
            handled = [0] * VECTORS
            where: list[set[int]] = [set() for _ in range(VECTORS)]

            async def handler(cpu: Cpu, irq: int, number: object) -> int:
                assert isinstance(number, int)
                handled[number] += 1
                where[number].add(cpu.id)
                await cpu.spend(500)
                return IRQ_HANDLED

            messages = [m.msi(f"queue{number}") for number in range(VECTORS)]
            for number, msi in enumerate(messages):
                await m.irq.request_irq(None, msi.irq, handler, 0, msi.name, number)
            # Each got a vector of one CPU, and the CPUs have as many as each other.
            counts = [cm.allocated for cm in arch.vectors.matrix.maps]
            assert (sum(counts), max(counts) - min(counts) <= 1) == (VECTORS, True)
            await m.run_for(ms(1))
            for _ in range(ROUNDS):
                for msi in messages:
                    msi.send()
                await m.run_for(us(100))
            assert handled == [ROUNDS] * VECTORS
            assert all(len(cpus) == 1 for cpus in where)
            assert len(set.union(*where)) == CPUS
            assert sum(lapic.coalesced_total for lapic in arch.board.lapics) == 0
            assert [cpu.lapic.isr | cpu.lapic.irr for cpu in m.cpus] == [0] * CPUS

    asyncio.run(main())

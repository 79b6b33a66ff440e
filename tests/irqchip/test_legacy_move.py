"""Move a line of the first controller in a kernel whose fixed vectors lie below those that it hands out."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq import IRQ_HANDLED, Cpu, Machine, us


@pytest.mark.parametrize("release", ["linux-2.6", "linux-6.1", "linux-6.12"])
def test_a_legacy_line_leaves_its_fixed_vector(release: str) -> None:
    async def main() -> list[int]:
        ran: list[int] = []

        async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
            ran.append(cpu.id)
            return IRQ_HANDLED

        async with Machine(2, release, check=True) as m:
            line, irq = m.line(9, level=False)
            await m.irq.request_irq(None, irq, handler, 0, "acpi")
            for mask in (0b10, 0b01, 0b10):
                await m.irq.irq_set_affinity(None, irq, mask)
                # The first one moves the line, the second completes the move, the third finds it cleaned up.
                for _ in range(3):
                    line.pulse()
                    await m.run_for(us(5000))
            # Another machine-wide look: the old vector belongs to nobody now.
            assert [desc for table in m.kernel.arch.vectors.vector_irq for desc in table].count(m.irq.desc(irq)) == 1  # type: ignore[attr-defined]
            return ran

    assert asyncio.run(main()) == [0, 1, 1, 1, 0, 0, 0, 1, 1]

"""Hold the MSI-X table and the MSI capability, alone and under the kernel."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.arch import ApicArch
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.msi import MsiMessage
from asyncirq.hw.msix import MsiCapability, MsixTable
from asyncirq.irq.desc import IRQ_HANDLED
from asyncirq.machine import Machine
from asyncirq.units import ms, us

Sent = list[tuple[int, int, int]]


def bus() -> tuple[Sent, MsixTable]:
    sent: Sent = []

    def send(message: MsiMessage, cause: int) -> int:
        sent.append((message.address, message.data, cause))
        return 1

    return sent, MsixTable(4, send)


def test_registers_of_the_table() -> None:
    _, table = bus()
    assert [table.read(offset) for offset in (0, 4, 8, 12)] == [0, 0, 0, 1]
    for offset, value in ((16, 0xFEE0_1003), (20, 0x1), (24, 0x4031), (28, 0)):
        table.write(offset, value)
    assert [table.read(offset) for offset in (16, 20, 24, 28)] == [0xFEE0_1000, 1, 0x4031, 0]
    for offset in (-4, 2, 64):
        with pytest.raises(UsageError, match="has no register at"):
            table.read(offset)


def test_a_message_that_is_held_back_is_pending_once() -> None:
    sent, table = bus()
    table.control(True)
    for number in (0, 1):
        table.write(16 * number, 0xFEE0_0000)
        table.write(16 * number + 8, 0x40 + number)
    table.write(12, 0)
    assert table.raise_entry(0, 7) == 1
    for cause in (8, 9):
        assert table.raise_entry(1, cause) == 0
    assert (sent, table.pending_bits) == ([(0xFEE0_0000, 0x40, 7)], 0b10)
    table.write(28, 0)
    assert (sent[1:], table.pending_bits) == ([(0xFEE0_0000, 0x41, 8)], 0)


def test_the_function_mask_holds_everything_back() -> None:
    sent, table = bus()
    table.control(True, function_masked=True)
    for number in (2, 0):
        table.write(16 * number, 0xFEE0_0000)
        table.write(16 * number + 8, 0x40 + number)
        table.write(16 * number + 12, 0)
        table.raise_entry(number, number)
    assert (sent, table.pending_bits) == ([], 0b101)
    table.control(True)
    assert (sent, table.pending_bits) == ([(0xFEE0_0000, 0x40, 0), (0xFEE0_0000, 0x42, 2)], 0)
    table.control(False)
    assert (table.raise_entry(0), table.pending_bits, len(sent)) == (0, 0, 2)


def test_several_messages_share_address_and_data() -> None:
    sent: Sent = []

    def send(message: MsiMessage, cause: int) -> int:
        sent.append((message.address, message.data, cause))
        return 1

    function = MsiCapability(8, send)
    assert function.raise_message() == 0
    function.write_msi(MsiMessage(0xFEE0_0000, 0x4033))
    function.raise_message(5)
    function.grant(4)
    for number in (0, 3, 5):
        function.raise_message(number)
    assert [data for _, data, _ in sent] == [0x4033, 0x4030, 0x4033, 0x4033]
    function.mask(2, True)
    function.raise_message(2, 11)
    function.raise_message(2, 12)
    assert (len(sent), function.pending) == (4, 0b100)
    function.mask(2, False)
    assert (sent[4:], function.pending) == ([(0xFEE0_0000, 0x4032, 11)], 0)


def test_what_cannot_be_is_refused() -> None:
    for count in (0, 2049):
        with pytest.raises(UsageError, match="1 to 2048 entries"):
            MsixTable(count, lambda message, cause: 0)
    for count in (0, 3, 64):
        with pytest.raises(UsageError, match="messages, not"):
            MsiCapability(count, lambda message, cause: 0)
    function = MsiCapability(4, lambda message, cause: 0, can_mask=False)
    with pytest.raises(UsageError, match="no mask bits"):
        function.mask(0, True)
    with pytest.raises(UsageError, match="cannot be granted 8"):
        function.grant(8)


def test_the_kernel_serves_a_table() -> None:
    async def main() -> None:
        async with Machine(2, check=True) as m:
            arch = m.kernel.arch
            assert isinstance(arch, ApicArch)
            table = MsixTable(3, m.board.send_msi)
            table.control(True)
            ran: list[int] = []

            async def handler(cpu: Cpu, irq: int, number: object) -> int:
                assert isinstance(number, int)
                ran.append(number)
                return IRQ_HANDLED

            irqs = [arch.map_msi(entry) for entry in table.entries]
            for number, irq in enumerate(irqs):
                await m.irq.request_irq(None, irq, handler, 0, f"queue{number}", number)
            await m.run_for(ms(1))
            for entry in table.entries:
                entry.send()
            await m.run_for(us(50))
            assert sorted(ran) == [0, 1, 2]
            # A line that is disabled and interrupts is masked in the table; the next message waits there.
            await m.irq.disable_irq_nosync(None, irqs[1])
            for _ in range(2):
                table.entries[1].send()
                await m.run_for(us(50))
            assert (table.entries[1].masked, table.pending_bits) == (True, 0b10)
            await m.irq.enable_irq(None, irqs[1])
            await m.run_for(us(50))
            assert (ran.count(1) >= 2, table.pending_bits) == (True, 0)

    asyncio.run(main())

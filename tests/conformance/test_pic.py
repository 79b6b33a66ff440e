"""Show the cases of the 8259."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.arch import I8259Arch
from asyncirq.board import ApicBoard, I8259Board
from asyncirq.hw.apic_message import EXTINT
from asyncirq.hw.i8259_pair import I8259Pair
from asyncirq.hw.lapic_lvt import LINT0, MODE_SHIFT
from asyncirq.machine import Machine
from asyncirq.trace import tag_of
from asyncirq.units import us


def init(icw4: int) -> I8259Pair:
    """Return a pair that was initialised with first vectors 0x08 and 0x70; ICW4 0x01 is 8086, 0x02 automatic EOI, 0x10 specially nested."""
    pair = I8259Pair(None)
    for port, base, icw3 in ((0x20, 0x08, 0x04), (0xA0, 0x70, 0x02)):
        for offset, word in ((0, 0x11), (1, base), (1, icw3), (1, icw4)):
            pair.write(port + offset, word)
    return pair


def inta(pair: I8259Pair) -> int | None:
    """Acknowledge if there is an interrupt, and return the vector."""
    return pair.acknowledge()[0] if pair.out else None


def pulse(pair: I8259Pair, line: int) -> None:
    pair.set_line(line, True)
    pair.set_line(line, False)


def virtual_wire(board: ApicBoard) -> None:
    """Let line 0 of the 8259 reach the boot CPU through LINT0."""
    board.lapics[0].regs.put(LINT0, EXTINT << MODE_SHIFT)
    board.pic.write(0x21, 0xFE)


def state(pair: I8259Pair) -> tuple[int, int, int, int]:
    """Return IRR and ISR of the first chip, then of the second."""
    return pair.master.irr, pair.master.isr, pair.slave.irr, pair.slave.isr


def test_PIC_01_elcr() -> None:
    pair = I8259Pair(None)
    assert (pair.read(0x4D0), pair.read(0x4D1)) == (0, 0)
    pair.write(0x4D0, 0x5F)
    pair.write(0x4D1, 0x5F)
    assert (pair.read(0x4D0), pair.read(0x4D1)) == (0x58, 0x5E)


@pytest.mark.parametrize("port", [0x20, 0xA0])
def test_PIC_02_three_word_init(port: int) -> None:
    pair = I8259Pair(None)
    chip = pair.slave if port == 0xA0 else pair.master
    seen = []
    for offset, word in ((0, 0x10), (1, 0x08), (1, 0xFF)):
        pair.write(port + offset, word)
        seen.append(chip.ready)
    assert (seen, chip.base) == ([False, False, True], 0x08)
    # The next one is a mask.
    pair.write(port + 1, 0xFE)
    assert (chip.imr, chip.auto_eoi, chip.special_nested) == (0xFE, False, False)


def test_PIC_03_state_after_init() -> None:
    pair = init(0x13)
    for chip in (pair.master, pair.slave):
        assert (chip.irr, chip.wires, chip.imr, chip.isr, chip.rotation) == (0, 0, 0, 0, 0)
        assert (chip.read_isr, chip.poll, chip.special_mask, chip.auto_eoi, chip.special_nested) == (False, False, False, True, True)


def test_PIC_05_rotate_on_aeoi_toggle() -> None:
    pair = init(0x13)
    pair.write(0x20, 0x80)
    assert pair.master.rotate_on_auto_eoi
    pulse(pair, 5)
    assert (inta(pair), pair.master.rotation) == (0x0D, 6)
    pair.write(0x20, 0x00)
    pulse(pair, 1)
    assert (inta(pair), pair.master.rotation, pair.master.rotate_on_auto_eoi) == (0x09, 6, False)


def test_PIC_06_auto_eoi() -> None:
    pair = init(0x13)
    pair.set_line(12, True)
    assert state(pair) == (1 << 2, 0, 1 << 4, 0)
    assert inta(pair) == 0x74
    assert state(pair) == (0, 0, 0, 0)
    assert inta(pair) is None


@pytest.mark.parametrize(("icw4", "nested"), [(0x01, None), (0x11, 0x70)])
def test_PIC_08_special_fully_nested_off_and_on(icw4: int, nested: int | None) -> None:
    pair = init(icw4)
    pair.set_line(12, True)
    assert inta(pair) == 0x74
    pair.set_line(8, True)
    assert state(pair) == (1 << 2, 1 << 2, 1 << 0, 1 << 4)
    if nested is None:
        assert inta(pair) is None
        pair.write(0xA0, 0x20)
        pair.write(0x20, 0x20)
        assert inta(pair) == 0x70
    else:
        # The first chip lets the second one interrupt itself.
        assert inta(pair) == nested
        assert state(pair) == (0, 1 << 2, 0, 1 << 4 | 1 << 0)


def test_special_fully_nested_lets_nothing_lower_through() -> None:
    """While the second chip is served, line 3 waits as it always does; line 1 does not."""
    pair = init(0x11)
    pair.set_line(12, True)
    assert inta(pair) == 0x74
    pair.set_line(3, True)
    assert inta(pair) is None
    pair.set_line(1, True)
    assert inta(pair) == 0x09
    pair.write(0x20, 0x20)
    assert inta(pair) is None
    pair.write(0xA0, 0x20)
    pair.write(0x20, 0x20)
    assert inta(pair) == 0x0B


def test_PIC_09_imr() -> None:
    pair = init(0x01)
    pair.write(0xA1, 0x40)
    pair.set_line(14, True)
    assert (inta(pair), pair.slave.irr, pair.master.irr) == (None, 0x40, 0)
    pair.write(0xA1, 0x00)
    assert inta(pair) == 0x76


def test_PIC_12_poll() -> None:
    pair = init(0x01)
    pulse(pair, 4)
    pulse(pair, 5)
    assert inta(pair) == 0x0C
    pair.write(0x20, 0x20)
    pair.write(0x20, 0x0C)
    assert pair.read(0x20) == 0x80 | 5
    assert (state(pair)[:2], inta(pair)) == ((0, 1 << 5), None)
    pair.write(0x20, 0x0C)
    assert pair.read(0x21) == 0x07
    assert pair.read(0x21) == 0


def test_PIC_13_bare_irq2_is_a_spurious_15() -> None:
    pair = init(0x01)
    pair.set_line(2, True)
    assert inta(pair) == 0x77
    assert (state(pair), pair.spurious) == ((0, 1 << 2, 0, 0), 1)


@pytest.mark.parametrize(("elcr", "again"), [(0x10, 0x0C), (0x00, None)])
def test_PIC_15_level(elcr: int, again: int | None) -> None:
    pair = init(0x01)
    pair.write(0x4D0, elcr)
    pair.set_line(4, True)
    assert inta(pair) == 0x0C
    pair.write(0x20, 0x64)
    assert inta(pair) == again


def test_PIC_16_specific_eoi() -> None:
    pair = init(0x01)
    pulse(pair, 4)
    assert inta(pair) == 0x0C
    pair.write(0x20, 0x63)
    assert pair.master.isr == 0x10
    pair.write(0x20, 0x64)
    assert pair.master.isr == 0


def test_PIC_18_rotate_on_specific_eoi() -> None:
    pair = init(0x01)
    pulse(pair, 5)
    assert inta(pair) == 0x0D
    pair.write(0x20, 0xE4)
    assert pair.master.isr == 0x20
    pair.write(0x20, 0xE5)
    assert (pair.master.isr, pair.master.rotation) == (0, 6)


def test_PIC_19_rotate_on_non_specific_eoi() -> None:
    pair = init(0x01)
    pulse(pair, 5)
    assert inta(pair) == 0x0D
    pair.write(0x20, 0xA0)
    assert (pair.master.isr, pair.master.rotation) == (0, 6)
    # Line 6 goes first now, line 5 last.
    for line in (5, 0, 7, 6):
        pulse(pair, line)
    order = []
    while (vector := inta(pair)) is not None:
        order.append(vector - 8)
        pair.write(0x20, 0x20)
    assert order == [6, 7, 0, 5]


def test_PIC_21_pic_reaches_cpu0_only_and_once() -> None:
    async def main() -> tuple[list[tuple[int, int, str]], int]:
        async with Machine(cpus=2) as m:
            board = m.board
            assert isinstance(board, ApicBoard)
            virtual_wire(board)
            pulse(board.pic, 0)
            await m.run_for(us(100))
            seen = [(record.ts, record.cpu, tag_of(type(record))) for record in m.records if tag_of(type(record)).startswith("pic")]
            return seen, sum(m.kernel.entry.unhandled)

    seen, unhandled = asyncio.run(main())
    assert seen == [(0, -1, "pic_irr"), (0, 0, "pic_inta")]
    assert unhandled == 1


def test_PIC_22_spurious_at_inta() -> None:
    pair = init(0x01)
    pair.write(0x4D0, 0x20)
    pair.write(0x4D1, 0x08)
    pair.set_line(5, True)
    pair.set_line(5, False)
    assert (pair.acknowledge()[0], state(pair)) == (0x0F, (0, 0, 0, 0))
    pair.set_line(11, True)
    pair.set_line(11, False)
    assert (pair.acknowledge()[0], state(pair)) == (0x77, (0, 1 << 2, 0, 0))
    pair.write(0x20, 0x62)
    assert (state(pair), pair.spurious) == ((0, 0, 0, 0), 2)


def test_PIC_22_an_edge_withdrawn_is_kept_or_spurious() -> None:
    for latched, vector in ((True, 0x0D), (False, 0x0F)):
        pair = I8259Pair(None, latched=latched)
        for offset, word in ((0, 0x13), (1, 0x08), (1, 0x01)):
            pair.write(0x20 + offset, word)
        pulse(pair, 5)
        assert pair.acknowledge()[0] == vector


def test_PIC_23_inta_and_irr() -> None:
    pair = init(0x01)
    pair.write(0x4D0, 0x10)
    pair.set_line(3, True)
    pair.set_line(4, True)
    assert inta(pair) == 0x0B
    assert pair.master.irr == 1 << 4
    pair.write(0x20, 0x63)
    assert inta(pair) == 0x0C
    assert pair.master.irr == 1 << 4
    pair.set_line(4, False)
    assert pair.master.irr == 0


class Ports(I8259Pair):
    """A pair that writes down every access of its ports."""

    def __init__(self) -> None:
        super().__init__(None)
        self.log: list[str] = []

    def read(self, port: int) -> int:
        value = super().read(port)
        self.log.append(f"in {port:x} = {value:02x}")
        return value

    def write(self, port: int, value: int) -> None:
        self.log.append(f"out {port:x} {value:02x}")
        super().write(port, value)


async def run_on_pic(line: int, mask_first: bool, raise_line: bool) -> tuple[list[str], list[tuple[int, str]], int, int]:
    """Acknowledge a line on a machine; return the ports accessed, the kernel's messages, its error count and the cost in ns."""
    async with Machine(controller="i8259") as m:
        arch = m.kernel.arch
        assert isinstance(arch, I8259Arch)
        chip = arch.legacy.chip
        ports = Ports()
        chip.pair = ports
        chip.init()
        desc = m.irq.desc(line)
        cpu = m.cpus[0]
        chip.irq_unmask(cpu, desc.data)
        if raise_line:
            pulse(ports, line)
            ports.acknowledge()
        if mask_first:
            chip.irq_mask(cpu, desc.data)
        ports.log.clear()
        cost = 0
        for _ in range(2):
            cost = chip.irq_mask_ack(cpu, desc.data)
        said = [(record.level, record.text) for record in m.records if tag_of(type(record)) == "printk"]  # type: ignore[attr-defined]
        return ports.log, said, m.irq.err_count, cost


def test_PIC_25_linux_mask_and_ack() -> None:
    log, *_ = asyncio.run(run_on_pic(4, mask_first=False, raise_line=True))
    # The timer's and the cascade's lines are unmasked, as the machine has booted.
    assert log[:3] == ["in 21 = ea", "out 21 fa", "out 20 64"]
    log, *_ = asyncio.run(run_on_pic(12, mask_first=False, raise_line=True))
    assert log[:4] == ["in a1 = ef", "out a1 ff", "out a0 64", "out 20 62"]


@pytest.mark.parametrize(("line", "port"), [(7, 0x20), (15, 0xA0)])
def test_PIC_26_linux_spurious_test(line: int, port: int) -> None:
    bit = 1 << (line & 7)
    # In service: real, although it is masked. The second time it is not any more.
    log, said, errors, cost = asyncio.run(run_on_pic(line, mask_first=True, raise_line=True))
    assert log[:3] == [f"out {port:x} 0b", f"in {port:x} = {bit:02x}", f"out {port:x} 0a"]
    assert (said, errors) == ([(7, f"spurious 8259A interrupt: IRQ{line}.")], 1)
    # Not in service: counted each time, said once, ended like any other.
    log, said, errors, cost = asyncio.run(run_on_pic(line, mask_first=True, raise_line=False))
    assert log[1] == f"in {port:x} = 00"
    assert (said, errors) == ([(7, f"spurious 8259A interrupt: IRQ{line}.")], 2)
    assert [entry for entry in log if entry == f"out {port:x} 67"] == [f"out {port:x} 67"] * 2
    assert cost == 700 * (3 + 3 + (line > 7))


def test_special_mask_lets_lower_lines_through() -> None:
    pair = init(0x01)
    pulse(pair, 3)
    assert inta(pair) == 0x0B
    pulse(pair, 6)
    assert inta(pair) is None
    pair.write(0x21, 1 << 3)
    assert inta(pair) is None
    pair.write(0x20, 0x68)
    assert inta(pair) == 0x0E
    # A non-specific EOI leaves a masked line in service alone.
    pair.write(0x20, 0x20)
    assert pair.master.isr == 1 << 3
    pair.write(0x20, 0x48)
    pair.write(0x20, 0x20)
    assert pair.master.isr == 0


def test_set_priority_rotates_without_an_eoi() -> None:
    pair = init(0x01)
    pair.write(0x20, 0xC0 | 4)
    for line in (0, 5):
        pulse(pair, line)
    assert inta(pair) == 0x0D


def test_single_chip_and_level_by_icw1() -> None:
    pair = I8259Pair(None)
    pair.write(0x20, 0x1A)
    pair.write(0x21, 0x20)
    assert pair.master.ready
    pair.set_line(1, True)
    assert inta(pair) == 0x21
    pair.write(0x20, 0x20)
    assert inta(pair) == 0x21


def test_linux_shuts_down_and_resumes() -> None:
    async def main() -> None:
        async with Machine(controller="i8259") as m:
            arch, board = m.kernel.arch, m.board
            assert isinstance(arch, I8259Arch)
            assert isinstance(board, I8259Board)
            chip, pair = arch.legacy.chip, board.pic
            m.line(10)
            cached = chip.cached_mask
            chip.suspend()
            assert chip.trigger == (0, 1 << 2)
            chip.mask_all()
            assert (pair.read(0x21), pair.read(0xA1), chip.cached_mask) == (0xFF, 0xFF, cached)
            pair.write(0x4D1, 0)
            pair.master.base = 0
            chip.resume()
            assert (pair.master.base, pair.slave.base, pair.read(0x4D1)) == (0x30, 0x38, 1 << 2)
            assert pair.read(0x21) | pair.read(0xA1) << 8 == cached
            assert chip.probe()
            chip.restore_mask()
            chip.init(auto_eoi=True)
            pair.set_line(0, False)
            pulse(pair, 0)
            assert inta(pair) == 0x30
            assert pair.master.isr == 0
            assert chip.irq_mask_ack(m.cpus[0], m.irq.desc(0).data) == 700

    asyncio.run(main())

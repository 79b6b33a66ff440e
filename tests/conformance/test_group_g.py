"""Show the inventory's group G: vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from asyncirq.arch import ApicArch
from asyncirq.board import ApicBoard, Board
from asyncirq.config import KernelConfig, VectorMap, preset
from asyncirq.costs import Costs
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.idt import Gate
from asyncirq.irq.core import early_irq_init
from asyncirq.irq.matrix import IrqMatrix
from asyncirq.irqchip.vector import IA32_SYSCALL_VECTOR, NR_VECTORS, VectorDomain
from asyncirq.irqchip.vector_code import VectorCode, decode, pushed, slot
from asyncirq.kernel import Kernel
from asyncirq.machine import Machine
from asyncirq.sim import Driver, Engine
from asyncirq.units import ms, us
from tests.irq.harness import STOCK, Rig, boot, close_rigs  # noqa: F401
from tests.irqchip.chips import Chips

OLD = preset("linux-2.6")


@contextmanager
def bare_kernel(config: KernelConfig, cpus: int = 1) -> Iterator[tuple[Board, Kernel]]:
    """Make a board and a kernel that has not booted."""
    driver = Driver(Engine())
    board = ApicBoard(driver.engine, cpus, Costs(), None)
    yield board, Kernel(board, config, Costs(), None)
    asyncio.run(driver.close())


def vectors_of(kernel: Kernel) -> VectorDomain:
    """Return the vector domain of a kernel."""
    assert isinstance(kernel.arch, ApicArch)
    return kernel.arch.vectors


def every_vector(kernel: KernelConfig) -> list[int]:
    """Take vectors of one CPU until none is left."""
    matrix = Chips(kernel=kernel).vectors.matrix
    taken = []
    while True:
        try:
            taken.append(matrix.alloc(1, False).bit)
        except UsageError as error:
            assert error.errno == 28
            return taken


@pytest.mark.parametrize("kernel", [preset("linux-7.1"), preset("linux-6.1"), OLD], ids=lambda kernel: kernel.release)
def test_S0_02_vector_map(kernel: KernelConfig) -> None:
    vectors = kernel.vectors
    taken = every_vector(kernel)
    special = {*range(32), 0x80, *range(vectors.first_system, 256)} | ({0xCC} if kernel is OLD else set())
    assert not special & set(taken)
    assert sorted(taken) == [n for n in range(vectors.first_device, vectors.first_system) if n not in special]
    # 2.6 leaps from one priority class to the next.
    assert taken[:4] == ([0x41, 0x49, 0x51, 0x59] if kernel is OLD else [vectors.first_device + n for n in range(4)])


def test_S0_05_constants() -> None:
    vectors = VectorMap()
    assert (vectors.first_device, IA32_SYSCALL_VECTOR, NR_VECTORS) == (0x20, 0x80, 256)
    assert (vectors.first_system_vector(local_apic=False), vectors.first_system_vector()) == (256, 0xEB)
    # Without a local APIC every vector above the system call is a device's.
    matrix = IrqMatrix(Rig().cpus, vectors.first_device, vectors.first_system_vector(local_apic=False), None)
    matrix.assign_system(IA32_SYSCALL_VECTOR)
    matrix.online(0)
    assert matrix.maps[0].available == 256 - 32 - 1


@pytest.mark.parametrize("per_cpu", [False, True])
def test_S0_04_per_cpu_idt_claim(per_cpu: bool) -> None:
    async def handler(cpu: Cpu, vector: int) -> None:
        return

    with bare_kernel(preset("linux-6.12", idt_per_cpu=per_cpu), cpus=2) as (board, kernel):
        kernel.arch.setup_gates()
        early_irq_init(kernel.irq)
        assert isinstance(kernel.arch, ApicArch)
        for setup in kernel.arch.setups:
            setup.irq_init()
        board.cpus[0].idt.set_gate(0x41, Gate(handler, "new"))
        seen = [gate.name for cpu in board.cpus if (gate := cpu.idt.gates[0x41]) is not None]
        assert seen == (["new", "asm_common_interrupt"] if per_cpu else ["new", "new"])
        assert (board.cpus[0].idt is board.cpus[1].idt) is not per_cpu


@pytest.mark.parametrize("release", ["linux-2.6", "linux-6.12"])
def test_S0_33_isa_irq_vectors(release: str) -> None:
    kernel = preset(release) if release == "linux-2.6" else preset(release, vectors=VectorMap(legacy=16))
    rig = Chips(cpus=2, kernel=kernel)
    table = rig.vectors.vector_irq
    assert [desc.irq if (desc := table[0][0x30 + n]) is not None else None for n in range(16)] == list(range(16))
    assert [table[1][0x30 + n] for n in range(16)] == [None] * 16
    irq = rig.pins.create_mapping(4, irq=4)
    boot(rig.core.request_irq(None, irq, rig.handler()))
    assert (irq, rig.vector_of(4).vector, rig.vector_of(4).cpu, rig.core.desc(4).effective_affinity) == (4, 0x34, 0, 0b01)
    # It stays while nobody uses the line, and no other interrupt gets it.
    boot(rig.core.free_irq(None, 4))
    assert table[0][0x34] is rig.core.desc(4)
    if release == "linux-6.12":
        assert rig.vectors.matrix.maps[0].alloc_map >> 0x30 & 0xFFFF == 0xFFFF & ~(1 << 2)


def test_S0_33_a_legacy_line_interrupts_with_its_vector() -> None:
    async def main() -> list[int]:
        async with Machine(kernel="linux-2.6") as m:
            line, irq = m.line(4)
            assert irq == 4

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                line.set(False)
                return 1

            await m.irq.request_irq(None, irq, handler, 0, "serial")
            line.set(True)
            await m.run_for(ms(1))
            return [record.vector for record in m.records if type(record).__name__ == "VectorEntry"]  # type: ignore[attr-defined]

    assert asyncio.run(main()) == [0x34]


def test_S0_74_per_cpu_vector_irq() -> None:
    rig = Chips(cpus=2, kernel=preset("linux-6.12", vectors=VectorMap(first_device=0x41)))
    assert all(entry is None for table in rig.vectors.vector_irq for entry in table)
    devices = [rig.device(n) for n in range(2)]
    for number, (irq, _) in enumerate(devices):
        desc = rig.core.desc(irq)
        desc.affinity, desc.affinity_set = 1 << number, True
        rig.request(desc, rig.handler(f"irq {number}"))
    assert [(rig.vector_of(irq).cpu, rig.vector_of(irq).vector) for irq, _ in devices] == [(0, 0x41), (1, 0x41)]
    assert [rig.vectors.vector_irq[cpu][0x41] for cpu in range(2)] == [rig.core.desc(irq) for irq, _ in devices]
    for _, device in devices:
        device.fire()
    rig.play(1000)
    assert rig.log == [(0, "irq 0 on 0"), (0, "irq 1 on 1")]


def test_S0_58_unknown_vector_outcomes() -> None:
    rig = Chips()
    irq, device = rig.device()
    rig.request(rig.core.desc(irq), rig.handler())
    vector = device.message
    boot(rig.core.free_irq(None, irq))
    device.message, device.masked = vector, False
    device.fire()
    rig.play(1000)
    # The line was just shut down: the marker is reset without a word, and the interrupt is ended.
    assert (rig.said(), rig.entry.unhandled, rig.cpus[0].lapic.isr, rig.vectors.vector_irq[0][0x20]) == ([], [1], 0, None)
    device.fire()
    rig.play(2000)
    assert [(event[0], *event[3:]) for event in rig.events("printk")] == [(1000, 0, "common_interrupt: 0.32 No irq handler for vector")]
    assert (rig.entry.unhandled, rig.cpus[0].lapic.isr) == ([2], 0)


def test_S0_58_the_message_is_rate_limited() -> None:
    rig = Chips()
    for _ in range(25):
        rig.vectors.handle_unused(rig.cpus[0], 0x55)
    assert rig.said() == ["common_interrupt: 0.85 No irq handler for vector"] * 10
    rig.play(5_000_000_000)
    rig.vectors.handle_unused(rig.cpus[0], 0x55)
    assert rig.said()[10:] == ["common_interrupt: 15 callbacks suppressed", "common_interrupt: 0.85 No irq handler for vector"]


@pytest.mark.parametrize(("code", "low", "high"), [("minus256", -224, -1), ("complement", -256, -33), ("byte", -128, 127)])
def test_S0_42_vector_number_encodings(code: VectorCode, low: int, high: int) -> None:
    external = range(32, 256)
    slots = [slot(code, vector) for vector in external]
    assert [decode(code, value) for value in slots] == list(external)
    assert (min(slots), max(slots)) == (low, high)
    wide = [vector for vector in external if not -128 <= pushed(code, vector) <= 127]
    assert wide == (list(range(32, 128)) if code == "minus256" else [])
    with pytest.raises(UsageError, match="vector 31 has no stub of its own"):
        pushed(code, 31)


def test_S0_32_vector_matrix_allocator() -> None:
    rig = Chips()
    room = rig.vectors.matrix.global_available
    assert room == 0xEB - 0x20 - 1
    irqs = [rig.device(n)[0] for n in range(room + 1)]
    for irq in irqs[:-1]:
        boot(rig.core.request_irq(None, irq, rig.handler()))
    with pytest.raises(UsageError) as exhausted:
        boot(rig.core.request_irq(None, irqs[-1], rig.handler()))
    assert (exhausted.value.errno, rig.core.desc(irqs[-1]).action) == (28, None)
    assert rig.events("vector_alloc")[-1][3:] == (irqs[-1], 0, True, -28)
    # What one gives back the next one gets.
    freed = rig.vector_of(irqs[7]).vector
    boot(rig.core.free_irq(None, irqs[7]))
    boot(rig.core.request_irq(None, irqs[-1], rig.handler()))
    assert rig.vector_of(irqs[-1]).vector == freed == 0x27


def test_S0_32_a_matrix_that_cannot_be_made_is_fatal() -> None:
    with pytest.raises(KernelBug, match="make no vector domain"):
        Chips(kernel=preset("linux-6.12", vectors=VectorMap(first_device=0xF0)))


def test_S0_35_system_vector_reservation() -> None:
    rig = Rig(debug=True)
    vectors = VectorDomain(rig.core, system=False)
    assert (vectors.matrix.system_map, vectors.matrix.global_available) == (0, 0)
    rig.entry.install(rig.cpus[0].idt)
    vectors.assign_system_vectors()
    system = [0x80, 0xEC, 0xEF, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF]
    assert [event[3] for event in rig.events("irq_matrix_assign_system")] == system
    shown = vectors.matrix.show().splitlines()
    assert shown[4] == f"System: 13: {','.join(str(vector) for vector in system)}"
    assert shown[6] == "      0   202     0     0    0  "
    # In the kernel the gates come first: every system vector that has one of its own is cut out of the matrix.
    with bare_kernel(STOCK) as (board, kernel):
        assert vectors_of(kernel).matrix.system_map == 0
        kernel.boot()
        gates = [n for n, gate in enumerate(board.cpus[0].idt.gates) if gate is not None and gate.name.startswith("sysvec")]
        assert [n for n in gates if not vectors_of(kernel).matrix.system_map >> n & 1] == []


@pytest.mark.parametrize("release", ["linux-6.1", "linux-6.12"])
def test_S0_40_move_cleanup_vector(release: str) -> None:
    by_vector = release == "linux-6.1"

    async def main() -> tuple[list[tuple[str, int, int]], int | None, int]:
        async with Machine(2, release) as m:
            msi = m.msi("eth0")

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                return 1

            await m.irq.request_irq(None, msi.irq, handler, 0, "eth0")
            old = vectors_of(m.kernel).vector_irq[0].index(m.irq.desc(msi.irq))
            await m.irq.irq_set_affinity(None, msi.irq, 0b10)
            msi.send()
            await m.run_for(us(10))
            before = len(m.records)
            msi.send()
            await m.run_for(us(10) if by_vector else ms(5))
            seen = [
                (type(record).__name__, record.cpu, getattr(record, "vector", getattr(record, "prev_vector", 0)))
                for record in m.records[before:]
                if type(record).__name__ in ("LapicInta", "VectorFreeMoved")
            ]
            left = vectors_of(m.kernel).vector_irq[0][old]
            return seen, left.irq if left is not None else None, old

    seen, left, old = asyncio.run(main())
    assert left is None
    moved = [event for event in seen if event[0] == "VectorFreeMoved"]
    cleanups = [event for event in seen if event[:3] == ("LapicInta", 0, 0x20)]
    # 6.1 interrupts the old CPU for it; later kernels wait for a tick of that CPU.
    assert (len(moved), len(cleanups)) == (1, int(by_vector))
    assert old == (0x21 if by_vector else 0x20)


def test_S0_40_a_pending_interrupt_is_taken_before_its_vector_goes() -> None:
    rig = Chips(cpus=2, kernel=preset("linux-6.1"))
    rig.entry.move_cleanup = rig.vectors.move_cleanup
    irq, _ = rig.device()
    rig.request(rig.core.desc(irq), rig.handler())
    vectors = rig.vector_of(irq)
    cpu0 = rig.cpus[0]
    old = vectors.vector
    assert vectors.cpu == 0
    rig.vectors.assign(cpu0, rig.core.desc(irq).datas()[-1], 0b10)
    cpu0.lapic.irr |= 1 << old
    rig.vectors.complete_move(rig.cpus[1], rig.core.desc(irq).datas()[-1], vectors)
    boot(rig.vectors.move_cleanup(cpu0))
    assert (vectors.cleanup, rig.vectors.vector_irq[0][old]) == (True, rig.core.desc(irq))
    cpu0.lapic.irr &= ~(1 << old)
    boot(rig.vectors.move_cleanup(cpu0))
    assert (vectors.cleanup, rig.vectors.vector_irq[0][old]) == (False, None)


def test_S4_03_i386_irq_count() -> None:
    rig = Rig(kernel=OLD)
    assert (OLD.nr_irqs, len(rig.core.descs)) == (256 - 32, 224)
    assert rig.core.desc(223).irq == 223
    for irq in (224, 1000):
        with pytest.raises(UsageError) as refused:
            boot(rig.core.request_irq(None, irq, rig.handler()))
        assert refused.value.errno == 22
    with pytest.raises(UsageError) as full:
        rig.core.alloc_desc(224)
    assert full.value.errno == 28

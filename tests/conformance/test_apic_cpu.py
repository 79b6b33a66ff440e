"""Show the APIC cases of the catalogue that need a real CPU with an interrupt flag and a HLT."""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu, Thread
from asyncirq.hw.idt import Gate, Idt
from asyncirq.hw.ioapic_regs import RedirectionEntry
from tests.hw.apics import World


class Board:
    """A world whose CPUs are those of the model, each with one thread at preempt count 1; every gate leads to ``handler``."""

    def __init__(self, cpus: int = 1) -> None:
        self.world = World(cpus)
        self.entered: list[tuple[int, int, int]] = []
        self.progress = 0
        idt = Idt()
        for vector in range(32, 256):
            idt.set_gate(vector, Gate(self.handler, "device"))
        self.cpus = [Cpu(self.world.engine, lapic.cpu_id, lapic, idt, None) for lapic in self.world.lapics]
        for cpu in self.cpus:
            cpu.preempt_count = 1
            thread = Thread(cpu.id + 1)
            thread.cpu = cpu
            cpu.current = thread

    async def handler(self, cpu: Cpu, vector: int) -> None:
        self.entered.append((cpu.id, vector, self.progress))
        await cpu.spend(10)
        cpu.lapic.eoi()


def test_IOAPIC_04_two_edges_are_taken_by_vector_before_any_further_step() -> None:
    board = Board()
    world, cpu = board.world, board.cpus[0]
    lines = {pin: world.wire(pin, RedirectionEntry(vector=vector)) for pin, vector in ((0xE, 0x78), (0xF, 0x66))}

    async def program() -> None:
        for pin in (0xF, 0xE):
            lines[pin].pulse()
        await cpu.spend(100)
        board.progress += 1
        await cpu.irq_enable()
        board.progress += 1

    cpu.current.sim = world.engine.spawn(program(), "program")
    world.settle()
    assert board.entered == [(0, 0x78, 1), (0, 0x66, 1)]
    assert (board.progress, world.engine.now) == (2, 120)


def test_LAPIC_30_ipi_wakes_a_halted_cpu() -> None:
    board = Board(cpus=2)
    world, (sender, sleeper) = board.world, board.cpus
    counts: list[tuple[int, int, int]] = []
    halts = wakes = 0

    async def sleep() -> None:
        nonlocal halts, wakes
        while True:
            halts += 1
            await sleeper.safe_halt()
            wakes += 1

    async def send() -> None:
        for _ in range(20):
            await sender.spend(50)
            counts.append((halts, wakes, len(board.entered)))
            sender.lapic.send_ipi(1, 0xA5)

    sleeper.current.sim = world.engine.spawn(sleep(), "sleep")
    sender.current.sim = world.engine.spawn(send(), "send")
    world.settle()
    assert counts == [(number + 1, number, number) for number in range(20)]
    assert (halts, wakes, board.entered) == (21, 20, [(1, 0xA5, 0)] * 20)

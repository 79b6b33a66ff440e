"""Interleave what happens to APICs at random, on one to eight CPUs, and ask what must always hold.

Devices raise edges and levels, software masks pins and moves the task priority, CPUs send each other interrupts and NMIs, and
handlers let higher ones in. At every entry, exit and operation:

* each bit in service belongs to one hard interrupt on the stack of its CPU, and the classes on a stack strictly rise;
* remote IRR is set if and only if a local APIC has accepted the level and not ended it;
* an NMI never nests without an IRET.

At the end, with everything unmasked: no level is left that nobody served, and every message that was accepted was taken or
coalesced and counted.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncirq.hw.apic_message import NMI, ApicMessage
from asyncirq.hw.cpu import NMI_VECTOR, Cpu, Thread
from asyncirq.hw.idt import Gate, Idt
from asyncirq.hw.ioapic_regs import RedirectionEntry
from tests.hw.apics import World

EDGES = {0: 0x31, 1: 0x42, 2: 0x53, 3: 0x64}
LEVELS = {4: 0x38, 5: 0x4A, 6: 0x5B, 7: 0x7C}
IPIS = (0x71, 0x91)
TPRS = (0x00, 0x30, 0x50, 0x70, 0xF0)

Operation = tuple[str, int, int]


class Bench:
    """CPUs that run a program with interrupts on and off in turn, and a board of eight pins."""

    def __init__(self, cpus: int, turns: list[tuple[int, int]], handler_ns: int, *, ends: bool = True) -> None:
        self.world = World(cpus, latency_ns=7)
        self.ends = ends
        self.handler_ns = handler_ns
        self.frames: list[list[int]] = [[] for _ in range(cpus)]
        self.in_nmi = [0] * cpus
        self.taken = self.nmis = self.accepted = self.pulses = 0
        self.lines = {}
        for pin, vector in (EDGES | LEVELS).items():
            self.lines[pin] = self.world.wire(pin, self.entry(pin, vector))
        idt = Idt()
        for vector in range(32, 256):
            idt.set_gate(vector, Gate(self.handler, "device"))
        idt.set_gate(NMI_VECTOR, Gate(self.nmi, "nmi"))
        self.cpus = [Cpu(self.world.engine, lapic.cpu_id, lapic, idt, None) for lapic in self.world.lapics]
        deliver = self.world.bus.deliver

        def counted(message: ApicMessage) -> int:
            accepted = deliver(message)
            self.accepted += accepted
            return accepted

        self.world.bus.deliver = counted  # type: ignore[method-assign]
        for cpu in self.cpus:
            cpu.preempt_count = 1
            thread = Thread(cpu.id + 1)
            thread.cpu = cpu
            cpu.current = thread
            thread.sim = self.world.engine.spawn(self.program(cpu, turns), f"program{cpu.id}")

    def entry(self, pin: int, vector: int, masked: bool = False) -> RedirectionEntry:
        return RedirectionEntry(vector=vector, level=pin in LEVELS, masked=masked, dest=pin % len(self.world.lapics))

    # --- the CPUs

    async def program(self, cpu: Cpu, turns: list[tuple[int, int]]) -> None:
        for on, off in turns:
            await cpu.irq_enable()
            await cpu.spend(on)
            cpu.irq_disable()
            await cpu.spend(off)
        while True:
            await cpu.safe_halt()

    async def handler(self, cpu: Cpu, vector: int) -> None:
        stack = self.frames[cpu.id]
        stack.append(vector)
        self.taken += 1
        self.check()
        await cpu.irq_enable()
        await cpu.spend(self.handler_ns)
        cpu.irq_disable()
        for pin, level in LEVELS.items():
            if level == vector:
                self.lines[pin].set(False)
        assert stack.pop() == vector
        if self.ends:
            cpu.lapic.eoi()
        self.check()

    async def nmi(self, cpu: Cpu, vector: int) -> None:
        self.nmis += 1
        self.in_nmi[cpu.id] += 1
        assert self.in_nmi[cpu.id] == 1, f"NMIs nest on {cpu.name}"
        await cpu.spend(3)
        self.in_nmi[cpu.id] -= 1

    # --- what must hold

    def check(self) -> None:
        """Ask what must hold at any time."""
        for stack, lapic in zip(self.frames, self.world.lapics, strict=True):
            assert lapic.isr == sum(1 << vector for vector in set(stack)), f"in service {lapic.isr:#x}, on the stack {stack}"
            classes = [vector >> 4 for vector in stack]
            assert classes == sorted(set(classes)), f"classes on the stack: {classes}"
        for pin, vector in LEVELS.items():
            lapic = self.world.lapics[pin % len(self.world.lapics)]
            unended = bool((lapic.irr | lapic.isr) >> vector & 1)
            assert self.world.ioapic.pins[pin].remote_irr is unended, f"pin {pin}: remote IRR, but accepted and not ended is {unended}"

    # --- what happens

    def do(self, what: str, number: int, value: int) -> None:
        """Do one thing now."""
        cpus = len(self.cpus)
        target = self.world.lapics[number % cpus]
        if what == "edge":
            self.pulses += 1
            self.lines[number % 4].pulse()
        elif what == "level":
            self.lines[4 + number % 4].set(True)
        elif what in ("mask", "unmask"):
            pin = number % 8
            self.world.set_entry(pin, self.entry(pin, (EDGES | LEVELS)[pin], masked=what == "mask"))
        elif what == "tpr":
            target.tpr = TPRS[value % len(TPRS)]
        elif what == "ipi":
            target.send_ipi(value % cpus, IPIS[value // 8 % 2])
        else:
            target.send_ipi(value % cpus, 0, NMI)
        self.check()

    def run(self, operations: list[tuple[int, Operation]]) -> None:
        """Do everything in its time, then let what is left come, and ask what must hold at the end."""
        when = 0
        for gap, operation in operations:
            when += gap
            self.world.engine.timer(lambda operation=operation: self.do(*operation), "operation").arm(when)  # type: ignore[misc]
        self.world.settle()
        for lapic in self.world.lapics:
            lapic.tpr = 0
        for pin in range(8):
            self.do("unmask", pin, 0)
        self.world.settle()
        self.check()
        pins = self.world.ioapic.pins
        assert [pin for pin in LEVELS if self.lines[pin].level or pins[pin].remote_irr] == [], "a level is lost"
        assert [lapic.irr | lapic.isr for lapic in self.world.lapics] == [0] * len(self.cpus)
        coalesced = sum(lapic.coalesced_total for lapic in self.world.lapics)
        assert self.accepted == self.taken + self.nmis + coalesced, "a message is lost without being counted"
        assert sum(pins[pin].lost_edges for pin in EDGES) <= self.pulses


OPERATIONS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.tuples(st.sampled_from(["edge", "level", "mask", "unmask", "tpr", "ipi", "nmi"]), st.integers(0, 7), st.integers(0, 15)),
    ),
    max_size=60,
)
TURNS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=10)


@settings(max_examples=150)
@given(st.integers(1, 8), TURNS, st.integers(1, 50), OPERATIONS)
def test_invariants_hold_under_any_interleaving(
    cpus: int, turns: list[tuple[int, int]], handler_ns: int, operations: list[tuple[int, Operation]]
) -> None:
    Bench(cpus, turns, handler_ns).run(operations)


RICH: list[tuple[int, Operation]] = [
    (5, (what, number, number * 3))
    for number in range(8)
    for what in ("edge", "level", "nmi", "nmi", "edge", "tpr", "ipi", "ipi", "mask", "level", "unmask")
]


def forget_remote_irr(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the IO-APIC forget that a level was accepted."""
    serve = bench.world.ioapic._serve

    def broken(pin: object, edge: bool, cause: int) -> None:
        serve(pin, edge, cause)  # type: ignore[arg-type]
        pin.remote_irr = False  # type: ignore[attr-defined]

    monkeypatch.setattr(bench.world.ioapic, "_serve", broken)


def ignore_the_priority(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a local APIC interrupt whatever is in service."""
    for lapic in bench.world.lapics:
        monkeypatch.setattr(lapic, "_recompute", lambda lapic=lapic: raise_intr(lapic))


def raise_intr(lapic: object) -> None:
    lapic.ppr = 0  # type: ignore[attr-defined]
    lapic.intr = lapic.irr > 0  # type: ignore[attr-defined]
    lapic.nmi_pending = lapic._nmi  # type: ignore[attr-defined]
    lapic.on_output()  # type: ignore[attr-defined]


def count_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a coalesced message vanish."""
    for lapic in bench.world.lapics:
        monkeypatch.setattr(lapic, "accept", lambda message, accept=lapic.accept, lapic=lapic: swallow(lapic, accept, message))


def swallow(lapic: object, accept: Callable[[ApicMessage], bool], message: ApicMessage) -> bool:
    found = accept(message)
    lapic.coalesced_total = 0  # type: ignore[attr-defined]
    return found


def never_block_nmis(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an NMI in while one is being handled."""
    handled = bench.nmi

    async def open_at_once(cpu: Cpu, vector: int) -> None:
        cpu.iret(cpu.irqs_off)
        await handled(cpu, vector)

    monkeypatch.setattr(bench.cpus[0].idt, "gates", [*bench.cpus[0].idt.gates])
    bench.cpus[0].idt.gates[NMI_VECTOR] = Gate(open_at_once, "nmi")


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (forget_remote_irr, "remote IRR"),
        (ignore_the_priority, "classes on the stack|in service"),
        (count_nothing, "lost without being counted"),
        (never_block_nmis, "NMIs nest"),
    ],
)
def test_each_invariant_can_fail(mistake: Callable[[Bench, pytest.MonkeyPatch], None], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(2, [(50, 50)] * 6, 40)
    mistake(bench, monkeypatch)
    operations = RICH if mistake is not never_block_nmis else [(10, ("nmi", 0, 0)), (1, ("nmi", 0, 0))]
    with pytest.raises(AssertionError, match=words):
        bench.run(operations)


def test_a_missing_eoi_is_found() -> None:
    with pytest.raises(AssertionError, match="in service"):
        Bench(2, [(50, 50)] * 6, 40, ends=False).run(RICH)


def test_the_rich_scene_is_right() -> None:
    bench = Bench(2, [(50, 50)] * 6, 40)
    bench.run(RICH)
    assert bench.taken > 20
    assert bench.nmis > 5

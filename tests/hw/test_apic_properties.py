"""Interleave what happens to APICs at random, on one to eight CPUs, and ask what must always hold.

Devices raise edges and levels, software masks pins and moves the task priority, CPUs send each other interrupts and NMIs, and
handlers let higher ones in. At every entry, exit and operation:

* each bit in service belongs to one hard interrupt on the stack of its CPU, and the classes on a stack strictly rise;
* remote IRR is set if and only if a local APIC has accepted the level and not ended it;
* an NMI never nests without an IRET;
* where the task priority was raised between INTR and the acknowledge, the CPU gets the spurious vector and nothing enters service.

At the end, with everything unmasked: no level is left that nobody served, every edge was sent or counted as lost behind a mask,
and every message that was accepted was taken or coalesced and counted, vector by vector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncirq.hw.apic_message import NMI, ApicMessage
from asyncirq.hw.cpu import NMI_VECTOR, Cpu, Thread
from asyncirq.hw.idt import Gate, Idt
from asyncirq.hw.ioapic_regs import RedirectionEntry
from asyncirq.hw.lapic import Lapic
from tests.hw.apics import World

EDGES = {0: 0x31, 1: 0x42, 2: 0x53, 3: 0x64}
LEVELS = {4: 0x38, 5: 0x4A, 6: 0x5B, 7: 0x7C}
IPIS = (0x71, 0x91)
TPRS = (0x00, 0x30, 0x50, 0x70, 0xF0)
SPURIOUS_VECTOR = 0xFF

Operation = tuple[str, int, int]


class Bench:
    """CPUs that run a program with interrupts on and off in turn, and a board of eight pins."""

    def __init__(self, cpus: int, turns: list[tuple[int, int]], handler_ns: int, *, ends: bool = True, late: tuple[bool, ...] = ()) -> None:
        self.world = World(cpus, latency_ns=7)
        self.ends = ends
        self.late = list(late)
        self.withdrawn = self.spurious = 0
        self.handler_ns = handler_ns
        self.frames: list[list[int]] = [[] for _ in range(cpus)]
        self.in_nmi = [0] * cpus
        self.nmis = 0
        self.pulses: Counter[int] = Counter()
        self.sent: Counter[int] = Counter()
        self.taken: Counter[int] = Counter()
        self.merged: Counter[int] = Counter()
        self.lines = {}
        for pin, vector in (EDGES | LEVELS).items():
            self.lines[pin] = self.world.wire(pin, self.entry(pin, vector))
        idt = Idt()
        for vector in range(32, 256):
            idt.set_gate(vector, Gate(self.handler, "device"))
        idt.set_gate(SPURIOUS_VECTOR, Gate(self.nothing, "spurious"))
        idt.set_gate(NMI_VECTOR, Gate(self.nmi, "nmi"))
        for lapic in self.world.lapics:
            self.hurry(lapic)
        self.cpus = [Cpu(self.world.engine, lapic.cpu_id, lapic, idt, None) for lapic in self.world.lapics]
        deliver = self.world.bus.deliver

        def counted(message: ApicMessage) -> int:
            vector = NMI_VECTOR if message.delivery_mode == NMI else message.vector
            waiting = [lapic.nmi_pending if vector == NMI_VECTOR else lapic.irr >> vector & 1 for lapic in self.world.lapics]
            accepted = deliver(message)
            self.sent[vector] += 1
            self.merged[vector] += accepted and waiting[message.dest]
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

    def hurry(self, lapic: Lapic) -> None:
        """Have the task priority of an APIC raised right before an acknowledge, whenever the next of ``late`` says so."""
        acknowledge = lapic.inta

        def inta() -> tuple[int, int]:
            if self.late and self.late.pop():
                lapic.tpr = TPRS[-1]
                self.withdrawn += lapic.irr.bit_length() <= TPRS[-1] + 0x10
            return acknowledge()

        lapic.inta = inta  # type: ignore[method-assign]

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
        self.taken[vector] += 1
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

    async def nothing(self, cpu: Cpu, vector: int) -> None:
        self.spurious += 1
        self.check()

    async def nmi(self, cpu: Cpu, vector: int) -> None:
        self.taken[NMI_VECTOR] += 1
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
            self.pulses[number % 4] += 1
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
        self.late.clear()
        for lapic in self.world.lapics:
            lapic.tpr = 0
        for pin in range(8):
            self.do("unmask", pin, 0)
        self.world.settle()
        self.check()
        pins = self.world.ioapic.pins
        assert [pin for pin in LEVELS if self.lines[pin].level or pins[pin].remote_irr] == [], "a level is lost"
        assert [lapic.irr | lapic.isr for lapic in self.world.lapics] == [0] * len(self.cpus)
        for pin, vector in EDGES.items():
            assert self.pulses[pin] == self.sent[vector] + pins[pin].lost_edges, f"pin {pin}: an edge is lost, or sent twice"
        for vector, sent in self.sent.items():
            assert sent == self.taken[vector] + self.merged[vector], f"vector {vector:#x}: not every message was taken once or merged"
        coalesced = sum(lapic.coalesced_total for lapic in self.world.lapics)
        assert sum(self.merged.values()) == coalesced, "a message is lost without being counted"
        assert self.spurious == self.withdrawn


OPERATIONS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.tuples(st.sampled_from(["edge", "level", "mask", "unmask", "tpr", "ipi", "nmi"]), st.integers(0, 7), st.integers(0, 15)),
    ),
    max_size=60,
)
TURNS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=10)


LATE = st.lists(st.booleans(), max_size=12).map(tuple)


@settings(max_examples=150)
@given(st.integers(1, 8), TURNS, st.integers(1, 50), OPERATIONS, LATE)
def test_invariants_hold_under_any_interleaving(
    cpus: int, turns: list[tuple[int, int]], handler_ns: int, operations: list[tuple[int, Operation]], late: tuple[bool, ...]
) -> None:
    Bench(cpus, turns, handler_ns, late=late).run(operations)


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


def drop_an_edge(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the IO-APIC swallow its first edge."""
    repeat(bench, monkeypatch, 0)


def send_an_edge_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the IO-APIC send its first edge twice."""
    repeat(bench, monkeypatch, 2)


def repeat(bench: Bench, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    serve = bench.world.ioapic._serve
    rest = [times]

    def broken(pin: object, edge: bool, cause: int) -> None:
        for _ in range(rest.pop() if edge and rest else 1):
            serve(pin, edge, cause)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.world.ioapic, "_serve", broken)


def take_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a local APIC forget to clear IRR at its first acknowledge."""
    lapic = bench.world.lapics[0]
    acknowledge = lapic.inta
    first = [True]

    def inta() -> tuple[int, int]:
        found = acknowledge()
        if first:
            first.clear()
            lapic.irr |= 1 << found[0]
        return found

    monkeypatch.setattr(lapic, "inta", inta)


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
        (drop_an_edge, "an edge is lost, or sent twice"),
        (send_an_edge_twice, "an edge is lost, or sent twice"),
        (take_twice, "not every message was taken once or merged"),
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
    assert sum(bench.taken.values()) > 25
    assert bench.nmis > 5


def test_a_late_change_of_priority_is_met() -> None:
    bench = Bench(2, [(50, 50)] * 6, 40, late=(True, False) * 6)
    bench.run(RICH)
    assert bench.spurious == bench.withdrawn > 2

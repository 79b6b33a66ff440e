"""Show the NMI cases of the catalogue: when one is taken, who handles it, what becomes of one that nobody knows."""

from __future__ import annotations

import pytest

from asyncirq import Machine
from asyncirq.bottom_half.irq_work import IrqWork
from asyncirq.entry import NMI_VECTOR
from asyncirq.entry.nmi import NmiHandlers
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.apic_message import NMI
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.execute import Program, execute
from asyncirq.hw.insn import Insn, cli, hlt, load, mov_ss, nop, sti
from asyncirq.hw.port61 import NMI_REASON_IOCHK, NMI_REASON_SERR, Port61
from asyncirq.hw.pt_regs import X86_FLAGS_FIXED, X86_FLAGS_IF, PtRegs
from asyncirq.hw.system_regs import DR_CONTROL
from asyncirq.sched.preempt import HARDIRQ_OFFSET, NMI_OFFSET, in_nmi
from asyncirq.sched.task import Task
from asyncirq.trace.record import tag_of
from tests.entry.detail import Detail
from tests.softirq_rig import FULL, Rig

BREAKPOINT = 3


def handlers(m: Rig, port: Port61 | None = None) -> NmiHandlers:
    """Install the machine's NMI handlers."""
    return NmiHandlers(m.entry, port if port is not None else Port61(m.nmi))


def printed(m: Rig) -> list[tuple[int, str]]:
    return [(ts, text.split(": ", 1)[1]) for ts, text in m.story("printk")]


def claim(m: Rig, nmi: NmiHandlers, name: str, *counts: int, cost: int = 0, first: bool = False) -> None:
    """Add a handler that claims so many events, one count for each NMI in turn, then none."""
    left = list(counts)

    async def handler(cpu: Cpu) -> int:
        m.note(name)
        if cost:
            await cpu.spend(cost)
        return left.pop(0) if left else 0

    nmi.register("local", handler, name, first=first)


# --- when an NMI is taken


def run_program(m: Rig, insns: list[Insn], flags: int = X86_FLAGS_FIXED) -> list[int]:
    """Execute instructions of 1 ns each in the kernel, from 100 on; return where NMIs and interrupts found it, from its base."""
    program = Program(insns, 0)
    found: list[int] = []
    regs = PtRegs(ip=0, flags=flags)

    async def body(me: Task) -> None:
        me.preempt_disable()
        await me.spend(100)
        await execute(me, program, regs)
        me.cpu.irqs_off = False
        await me.preempt_enable()

    async def nmi(cpu: Cpu) -> None:
        found.append(regs.ip)

    m.entry.nmi = nmi
    m.start(body, "body", cpu=0)
    return found


STI_LOOP = ((99, 0), (100, 0), (101, 5), (102, 5), (103, 6), (104, 7), (105, 12), (106, 12), (107, 13))
"""When the NMI comes, and where it finds the program: sti 0, load 1, nop 5, cli 6; the second round begins at 7."""


@pytest.mark.parametrize(("when", "where"), STI_LOOP)
def test_NMI_01_nmi_is_not_taken_in_the_sti_shadow(when: int, where: int) -> None:
    m = Rig()
    found = run_program(m, [sti(), load(0x1000), nop(), cli()] * 2)
    m.nmi_at(when)
    m.play(1000)
    # Behind the STI, at 1 and 8, none is ever taken.
    assert found == [where]
    m.end()


@pytest.mark.parametrize(("when", "where"), [(100, 0), (101, 1), (102, 5), (105, 8), (106, 12)])
def test_NMI_01_some_hardware_takes_it_there(when: int, where: int) -> None:
    m = Rig()
    m.cpus[0].system.nmi_in_sti_shadow = True
    taken: list[int] = []
    found = run_program(m, [sti(), load(0x1000), nop(), cli()] * 2)
    m.irq(101, lambda cpu: _note(taken, cpu.engine.now))
    m.nmi_at(when)
    m.play(1000)
    assert found == [where]
    # An interrupt waits for the end of the shadow all the same.
    assert taken == [102]
    m.end()


async def _note(taken: list[int], now: int) -> None:
    taken.append(now)


def test_NMI_07_mov_ss_holds_an_nmi_back_for_one_instruction_and_hlt_does_not() -> None:
    m = Rig()
    found = run_program(m, [mov_ss(), nop(), nop(), nop()])
    m.nmi_at(101)
    m.play(1000)
    assert found == [3]
    m.end()
    m = Rig()
    found = run_program(m, [sti(), hlt(), nop()], X86_FLAGS_FIXED)
    m.nmi_at(500)
    m.play(1000)
    assert (found, m.story("nmi_inta")) == ([2], [(500, "body: nmi")])
    m.end()


# --- who handles it


def test_NMI_08_nmi_ipi_runs_the_local_handler_of_every_other_cpu_once() -> None:
    m = Rig(cpus=4)
    nmi = handlers(m)

    async def selftest(cpu: Cpu) -> int:
        m.note(f"CPU{cpu.id}")
        return 1

    nmi.register("local", selftest, "nmi_selftest", first=True)
    sender = m.cpus[0].lapic
    m.at(100, lambda: [sender.send_ipi(dest, NMI_VECTOR, NMI) for dest in (1, 2, 3)])  # type: ignore[arg-type]
    m.at(200, lambda: sender.send_ipi(0, NMI_VECTOR, NMI))  # type: ignore[arg-type]
    m.play(1_000_000)
    assert m.log == [(100, "CPU1"), (100, "CPU2"), (100, "CPU3"), (200, "CPU0")]
    assert [(stats.normal, stats.unknown) for stats in nmi.stats] == [(1, 0)] * 4
    assert printed(m) == []
    m.end()


@pytest.mark.parametrize(("nested", "passes"), [(0, 1), (1, 2), (5, 2)])
def test_NMI_09_software_latch(nested: int, passes: int) -> None:
    m = Rig()
    cpu0 = m.cpus[0]

    async def nmi(cpu: Cpu) -> None:
        m.note(f"state {m.entry.nmi_state[0]} dr7 {cpu.system.dr[DR_CONTROL]:#x}")
        cpu.system.cr2 = 0xBAD
        if len(m.log) == 1:
            for _ in range(nested):
                m.nmi()
                cpu.iret(True)
                await cpu.spend(10)
        m.note(f"state {m.entry.nmi_state[0]}")

    m.entry.nmi = nmi
    cpu0.system.cr2 = 0x1234
    cpu0.system.set_breakpoint(0, 0x1000)
    dr7 = cpu0.system.dr[DR_CONTROL]
    m.nmi_at(100)
    m.play(1000)
    end = 100 + 10 * nested
    latched = 2 if nested else 1
    expected = [(100, "state 1 dr7 0x400"), (end, f"state {latched}")]
    assert m.log == expected + [(end, "state 1 dr7 0x400"), (end, "state 1")] * (passes - 1)
    assert m.entry.counts[NMI_VECTOR] == [passes]
    assert (cpu0.system.cr2, cpu0.system.dr[DR_CONTROL], m.entry.nmi_state) == (0x1234, dr7, [0])
    m.end()


def test_NMI_10_page_fault_inside_an_nmi() -> None:
    m = Detail()
    faults: list[int] = []

    async def fault(cpu: Cpu) -> None:
        faults.append(cpu.engine.now)

    async def nmi(cpu: Cpu) -> None:
        m.note("pass")
        if not faults:
            await cpu.spend(10)
            await m.hit(cpu, 14)
            await cpu.spend(10)
        m.note("pass ends")

    m.entry.nmi = nmi
    m.trap(14, fault)
    m.run_body(1000)
    m.nmi_at(100)
    m.nmi_at(115)
    m.play(2000)
    assert (faults, m.log) == ([110], [(100, "pass"), (120, "pass ends"), (120, "pass"), (120, "pass ends")])
    tags = [tag for tag in (tag_of(type(r)) for r in m.records()) if tag.startswith("nmi_")]
    assert tags == ["nmi_inta", "nmi_unmasked", "nmi_inta", "nmi_unmasked"]
    assert [record.ts for record in m.records() if tag_of(type(record)) == "sched_process_exit"] == [1020]
    m.end()


def test_NMI_11_all_handlers_run() -> None:
    m = Rig()
    nmi = handlers(m)
    claim(m, nmi, "a", 1, cost=5)
    claim(m, nmi, "b", 0)
    claim(m, nmi, "c", 2, cost=7)
    claim(m, nmi, "d", first=True)
    m.nmi_at(100)
    m.play(1000)
    assert m.log == [(100, "d"), (100, "a"), (105, "b"), (105, "c")]
    found = [(r.handler, r.delta_ns, r.handled) for r in m.records() if tag_of(type(r)) == "nmi_handler"]  # type: ignore[attr-defined]
    assert found == [("d", 0, 0), ("a", 5, 1), ("b", 0, 0), ("c", 7, 2)]
    assert nmi.stats[0].normal == 3
    m.end()


def test_NMI_12_a_back_to_back_nmi_after_two_events_is_swallowed() -> None:
    m = Rig()
    nmi = handlers(m)
    claim(m, nmi, "perf", 2, cost=10)
    m.nmi_at(100)
    m.nmi_at(105)
    m.play(1000)
    assert m.log == [(100, "perf"), (110, "perf")]
    stats = nmi.stats[0]
    assert (stats.normal, stats.swallow, stats.unknown, printed(m)) == (2, 1, 0, [])
    m.end()


@pytest.mark.parametrize(("second", "events"), [(150, 2), (105, 1)])
def test_NMI_12_at_another_instruction_or_after_one_event_it_is_unknown(second: int, events: int) -> None:
    m = Rig()
    nmi = handlers(m)
    claim(m, nmi, "perf", events, cost=10)
    m.nmi_at(100)
    m.nmi_at(second)
    m.play(1000)
    stats = nmi.stats[0]
    at = max(second, 110) + 10
    assert (stats.normal, stats.swallow, stats.unknown) == (events, 0, 1)
    assert printed(m) == [
        (at, "Uhhuh. NMI received for unknown reason 20 on CPU 0."),
        (at, "Dazed and confused, but trying to continue"),
    ]
    m.end()


def test_NMI_12_reasons_come_after_the_local_handlers_and_before_unknown() -> None:
    m = Rig()
    port = Port61(m.nmi)
    nmi = handlers(m, port)
    claim(m, nmi, "local")
    m.at(100, lambda: port.error(NMI_REASON_SERR))
    m.at(200, lambda: port.error(NMI_REASON_SERR))
    m.at(300, lambda: port.error(NMI_REASON_IOCHK))
    m.at(500, lambda: port.error(NMI_REASON_IOCHK))
    m.play(3_000_000_000)
    assert m.log == [(100, "local"), (300, "local")]
    assert printed(m) == [
        (100, "NMI: PCI system error (SERR) for reason a0 on CPU 0."),
        (100, "Dazed and confused, but trying to continue"),
        (300, "NMI: IOCK error (debug interrupt?) for reason 64 on CPU 0."),
    ]
    # The SERR line stays held clear, the IOCHK line is let go two seconds later.
    assert (nmi.stats[0].external, port.read()) == (2, 0x24)
    m.end()


@pytest.mark.parametrize(
    ("sysctl", "bit", "words"),
    [
        ("unknown_nmi_panic", 0, "NMI: Not continuing"),
        ("panic_on_unrecovered_nmi", NMI_REASON_SERR, "NMI: Not continuing"),
        ("panic_on_io_nmi", NMI_REASON_IOCHK, "NMI IOCK error: Not continuing"),
    ],
)
def test_NMI_12_the_machine_stops_if_told_to(sysctl: str, bit: int, words: str) -> None:
    m = Rig()
    port = Port61(m.nmi)
    nmi = handlers(m, port)
    setattr(nmi, sysctl, True)
    m.at(100, lambda: port.error(bit) if bit else m.nmi())
    with pytest.raises(KernelBug, match=f"^Kernel panic - not syncing: {words}, on CPU0 at 100 ns$"):
        m.play(1000)
    m.end()


def test_NMI_12_other_handlers_may_claim_reasons_and_the_unknown() -> None:
    m = Rig()
    port = Port61(m.nmi)
    nmi = handlers(m, port)

    async def mine(cpu: Cpu) -> int:
        m.note("mine")
        port.write(0xC)
        port.write(0)
        return 1

    for kind in ("serr", "io_check", "unknown"):
        nmi.register(kind, mine, "mine")
    m.at(100, lambda: port.error(NMI_REASON_SERR))
    m.at(200, lambda: port.error(NMI_REASON_IOCHK))
    m.nmi_at(300)
    m.play(1000)
    assert ([ts for ts, _ in m.log], printed(m)) == ([100, 200, 300], [])
    nmi.unregister("unknown", "mine")
    with pytest.raises(UsageError, match="^there is no NMI handler 'mine' of kind unknown"):
        nmi.unregister("unknown", "mine")
    with pytest.raises(UsageError, match="^there is an NMI handler 'mine' of kind serr already"):
        nmi.register("serr", mine, "mine")
    with pytest.raises(UsageError, match="^'smi' is no kind of NMI handler: local, unknown, serr, io_check"):
        nmi.register("smi", mine, "mine")  # type: ignore[arg-type]
    m.end()


def test_a_handler_that_takes_long_is_reported_once_for_each_record_of_slowness() -> None:
    m = Rig()
    nmi = handlers(m)
    claim(m, nmi, "slow", 1, 1, 1, cost=1_234_567)
    for when in (100, 2_000_000, 4_000_000):
        m.nmi_at(when)
    m.play(10_000_000)
    assert printed(m) == [(1_234_667, "INFO: NMI handler (slow) took too long to run: 1.234 msecs")]
    m.end()


# --- what an NMI must not do


def test_NMI_13_context_restrictions() -> None:
    m = Rig(kernel=FULL)

    async def nmi(cpu: Cpu) -> None:
        m.note(f"{in_nmi(cpu)} {cpu.preempt_count == NMI_OFFSET + HARDIRQ_OFFSET}")
        # Neither what it raises nor what it asks for is looked at on its way out.
        m.softirq.pending[0] |= 1 << 6
        cpu.need_resched = True
        await cpu.spend(10)

    async def tasklet(cpu: Cpu) -> None:
        m.note("softirq")

    async def body(me: Task) -> None:
        await me.spend(1000)
        m.note("body ends")

    m.entry.nmi = nmi
    m.softirq_does(6, tasklet)
    m.start(body, "body", cpu=0)
    m.nmi_at(100)
    m.irq(300, lambda cpu: cpu.spend(1))
    m.play(5000)
    assert m.log == [(100, "True True"), (301, "softirq"), (1011, "body ends")]
    m.end()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_NMI_13_irq_work_queued_in_an_nmi_runs_after_it_as_a_hardirq() -> None:
    async with Machine(check=True) as m:
        log: list[tuple[int, str, int]] = []

        async def later(cpu: Cpu, work: IrqWork) -> None:
            log.append((m.now, "irq_work", cpu.preempt_count & 0xFF0000))

        work = IrqWork(later, "later")

        async def handler(cpu: Cpu) -> int:
            log.append((m.now, "nmi", cpu.preempt_count & 0xFF0000))
            await m.kernel.irq_work.irq_work_queue(cpu, work)
            await cpu.spend(500)
            return 1

        m.kernel.arch.nmi.register("local", handler, "handler")  # type: ignore[attr-defined]
        m.engine.timer(m.cpus[0].lapic.latch_nmi, "nmi").arm(100_000)
        await m.run_for(200_000)
        assert [(name, count) for _, name, count in log] == [("nmi", 0x110000), ("irq_work", 0x10000)]
        assert log[0][0] == 100_200
        assert log[1][0] >= 100_700


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_NMI_14_an_offline_cpu_ignores_nmis() -> None:
    async with Machine(cpus=2) as m:
        m.kernel.smpboot.online[1] = False
        for cpu in m.cpus:
            m.engine.timer(cpu.lapic.latch_nmi, "nmi").arm(100_000)
        await m.run_for(200_000)
        assert m.kernel.entry.counts[NMI_VECTOR] == [1, 0]
        words = [record.text for record in m.records if tag_of(type(record)) == "printk"]  # type: ignore[attr-defined]
        assert words == ["Uhhuh. NMI received for unknown reason 20 on CPU 0.", "Dazed and confused, but trying to continue"]
        assert "NMI:          1          0   Non-maskable interrupts" in m.proc("interrupts")


def test_if_is_off_in_a_program_that_says_so() -> None:
    m = Rig()
    run_program(m, [nop()], X86_FLAGS_FIXED | X86_FLAGS_IF)
    m.play(1000)
    assert m.cpus[0].irqs_off is False
    m.end()

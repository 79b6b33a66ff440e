"""Show the inventory's group K: flow handlers, the one flow of 2.6 above all."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.config import preset
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import (
    IRQ_HANDLED,
    IRQ_NONE,
    IRQ_WAKE_THREAD,
    IRQF_DISABLED,
    IRQF_NO_SUSPEND,
    IRQF_PERCPU,
    IRQF_SAMPLE_RANDOM,
    IRQF_SHARED,
    IrqDesc,
)
from asyncirq.irq.do_irq import IRQ_AUTODETECT, IRQ_DISABLED, IRQ_INPROGRESS, IRQ_PENDING, IRQ_REPLAY, IRQ_WAITING, status_word
from asyncirq.irq.flow import handle_edge_irq, handle_fasteoi_irq, handle_level_irq, handle_percpu_irq
from asyncirq.irq.sim_chip import IrqSim
from asyncirq.locking.raw_spinlock import RawSpinlock
from asyncirq.machine import Machine
from asyncirq.sched.task import Task
from asyncirq.trace.record import tag_of
from asyncirq.units import ms, us
from tests.irq.harness import STOCK, Rig, boot, close_rigs, none_handler  # noqa: F401

OLD = preset("linux-2.6")
STATES = IRQ_INPROGRESS | IRQ_DISABLED | IRQ_PENDING | IRQ_REPLAY | IRQ_WAITING


def steps(rig: Rig) -> list[tuple[int, int, str]]:
    """Return (time, cpu, step) of what the flow did, its handlers included, from 1000 ns on."""
    found = []
    for record in rig.records():
        kind = tag_of(type(record))
        if record.ts >= 1000 and kind in ("irq_flow", "irq_handler_entry", "irq_handler_exit"):
            text = getattr(record, "action", "entry" if kind == "irq_handler_entry" else "exit")
            found.append((record.ts, record.cpu, text))
    return found


def test_S2_44_per_cpu_fast_path() -> None:
    rig = Rig(cpus=2, kernel=OLD, debug=True)
    desc, _chip = rig.line(handle_percpu_irq)
    rig.request(desc, rig.handler(ns=500), flags=IRQF_PERCPU)
    seen: list[int] = []
    rig.fire_at(1000, desc.irq)
    rig.fire_at(1100, desc.irq, cpu=1)
    rig.at(1200, lambda: seen.append(status_word(desc) & STATES))
    rig.play(5000)
    # Both at once, and neither pending nor in progress was ever set.
    assert steps(rig) == [
        (1000, 0, "ack"),
        (1000, 0, "entry"),
        (1100, 1, "ack"),
        (1100, 1, "entry"),
        (1500, 0, "exit"),
        (1500, 0, "eoi"),
        (1600, 1, "exit"),
        (1600, 1, "eoi"),
    ]
    assert (seen, desc.kstat_irqs) == ([0], [1, 1])


def test_S2_46_ack_first() -> None:
    rig = Rig(kernel=OLD, debug=True)
    desc, _ = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler(ns=100))
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert steps(rig) == [
        (1000, 0, "ack"),
        (1000, 0, "status 0x4"),
        (1000, 0, "status 0x1"),
        (1000, 0, "entry"),
        (1100, 0, "exit"),
        (1100, 0, "status 0x0"),
    ]


def test_S2_47_wanted_bit() -> None:
    rig = Rig(kernel=OLD, debug=True)
    desc, _ = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler())
    boot(rig.core.disable_irq(None, desc.irq))
    desc.replay = desc.waiting = True
    assert status_word(desc) & STATES == IRQ_DISABLED | IRQ_REPLAY | IRQ_WAITING
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert [step for step in steps(rig) if "status" in step[2]] == [(1000, 0, "status 0x6")]
    assert status_word(desc) & STATES == IRQ_DISABLED | IRQ_PENDING


def test_S2_48_commit_rule() -> None:
    rig = Rig(cpus=2, kernel=OLD)
    desc, _ = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler(ns=500))
    boot(rig.core.disable_irq(None, desc.irq))
    rig.fire_at(1000, desc.irq)
    rig.play(1500)
    assert (status_word(desc) & STATES, rig.log) == (IRQ_DISABLED | IRQ_PENDING, [])
    boot(rig.core.enable_irq(None, desc.irq))
    desc.replay = False
    rig.fire_at(2000, desc.irq)
    rig.fire_at(2200, desc.irq, cpu=1)
    rig.play(2300)
    # The second CPU only leaves its mark on what the first one runs.
    assert (status_word(desc) & STATES, rig.log) == (IRQ_INPROGRESS | IRQ_PENDING, [(2000, "handler on 0")])
    rig.play(5000)
    assert (status_word(desc) & STATES, rig.log[1:]) == (0, [(2500, "handler on 0")])


def test_S2_49_early_exit_to_end() -> None:
    rig = Rig(kernel=OLD, debug=True)
    desc, chip = rig.line(handle_fasteoi_irq)
    rig.request(desc, rig.handler())
    boot(rig.core.disable_irq(None, desc.irq))
    chip.calls.clear()
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (steps(rig), chip.taken()) == ([(1000, 0, "status 0x86"), (1000, 0, "eoi")], ["eoi"])
    # A line without an action goes the same way; its first request clears what is left of it.
    bare, bare_chip = rig.line(handle_level_irq)
    bare.disabled = False
    rig.fire_at(3000, bare.irq)
    rig.play(4000)
    assert (status_word(bare) & STATES, bare_chip.taken()) == (IRQ_INPROGRESS, ["ack"])
    rig.request(bare, rig.handler("late"))
    rig.fire_at(5000, bare.irq)
    rig.play(6000)
    assert (status_word(bare) & STATES, rig.log) == (0, [(5000, "late on 0")])


def test_S2_50_loop_for_exactly_one_more() -> None:
    rig = Rig(cpus=4, kernel=OLD)
    desc, chip = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler(ns=500))
    for cpu, when in enumerate((1000, 1100, 1200, 1300)):
        rig.fire_at(when, desc.irq, cpu)
    rig.play(5000)
    assert rig.log == [(1000, "handler on 0"), (1500, "handler on 0")]
    assert (desc.kstat_irqs, chip.taken()) == ([1, 1, 1, 1], ["ack"] * 4)


def test_S2_51_lock_dropped_while_handlers_run() -> None:
    rig = Rig(cpus=2, kernel=OLD, irq_exit_ns=20)
    desc, _ = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler(ns=5000))
    rig.fire_at(1000, desc.irq)
    rig.fire_at(2000, desc.irq, cpu=1)
    rig.play(20_000)
    # The second CPU is out again at once, the first after two runs.
    exits = [(event[0], event[1]) for event in rig.events("vector_exit")]
    assert exits == [(2000, 1), (11_000, 0)]


@pytest.mark.parametrize("flow", [handle_level_irq, handle_fasteoi_irq])
def test_S2_52_end_handles_late_disable(flow: object) -> None:
    rig = Rig(kernel=OLD)
    desc, chip = rig.line(flow)  # type: ignore[arg-type]

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        await rig.core.disable_irq_nosync(cpu, irq)
        return IRQ_HANDLED

    rig.request(desc, handler)
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert chip.taken() == (["mask", "ack"] if flow is handle_level_irq else ["mask", "eoi"])
    assert (desc.masked, status_word(desc) & STATES) == (True, IRQ_DISABLED)


@pytest.mark.parametrize(("first", "second", "nests"), [(0, IRQF_DISABLED, True), (IRQF_DISABLED, 0, False)])
def test_S2_42_handle_irq_event(first: int, second: int, nests: bool) -> None:
    rig = Rig(kernel=OLD)
    shared, _ = rig.line(handle_level_irq)
    other, _ = rig.line(handle_level_irq)
    rig.request(shared, rig.handler("first", ns=300), flags=IRQF_SHARED | first, dev_id="a")
    rig.request(shared, rig.handler("second", IRQ_NONE, ns=300), flags=IRQF_SHARED | second, dev_id="b")
    rig.request(other, rig.handler("other"), flags=IRQF_DISABLED)
    rig.fire_at(1000, shared.irq)
    # A higher vector, so that the controller lets it through.
    rig.fire_at(1400, other.irq)
    off: list[bool] = []
    rig.at(1350, lambda: off.append(rig.cpus[0].irqs_off))
    rig.play(5000)
    # The first action decides for the line; interrupts are off again afterwards.
    when = 1400 if nests else 1600
    assert rig.log == [(1000, "first on 0"), (1300, "second on 0"), (when, "other on 0")]
    assert off == [not nests]


@pytest.mark.parametrize(("random", "credits"), [("a", 0), ("b", 1)])
def test_S2_43_entropy_credit(random: str, credits: int) -> None:
    rig = Rig(kernel=OLD)
    desc, _ = rig.line(handle_level_irq)
    for name, ret in (("a", IRQ_NONE), ("b", IRQ_HANDLED)):
        flags = IRQF_SHARED | (IRQF_SAMPLE_RANDOM if name == random else 0)
        rig.request(desc, rig.handler(ret=ret), flags=flags, dev_id=name)
    credited: list[int] = []

    async def add(cpu: Cpu, desc: IrqDesc) -> None:
        credited.append(desc.irq)

    rig.core.add_randomness = add
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    # Only an action that handled something counts.
    assert (desc.random_samples, credited) == (credits, [desc.irq] * credits)


@pytest.mark.parametrize("release", ["linux-2.6", "linux-6.12"])
@pytest.mark.parametrize("off", [False, True])
def test_S2_45_bad_irq_accounting_hook(release: str, off: bool) -> None:
    rig = Rig(kernel=preset(release), noirqdebug=off)
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, none_handler)
    for n in range(5):
        rig.fire_at(1000 + n, desc.irq)
    rig.play(2000)
    assert (desc.irq_count, desc.irqs_unhandled) == ((0, 0) if off else (5, 5))


@pytest.mark.parametrize("release", ["linux-2.6", "linux-6.12"])
def test_S2_45_window_variants(release: str) -> None:
    rig = Rig(kernel=preset(release))
    desc, _ = rig.line(handle_level_irq)
    rets = [IRQ_HANDLED, IRQ_HANDLED, IRQ_NONE, IRQ_HANDLED]

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        return rets.pop(0)

    rig.request(desc, handler)
    for n in range(4):
        rig.fire_at(1000 + n, desc.irq)
    rig.play(2000)
    # 2.6 counts every interrupt, later kernels from the first unhandled one on.
    assert (desc.irq_count, desc.irqs_unhandled) == (4 if release == "linux-2.6" else 2, 1)


@pytest.mark.parametrize(("release", "unhandled"), [("linux-2.6", 8), ("linux-6.12", 1)])
def test_S2_45_gap_variants(release: str, unhandled: int) -> None:
    rig = Rig(kernel=preset(release))
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, none_handler)
    desc.irqs_unhandled = 7
    rig.fire_at(ms(200), desc.irq)
    rig.play(ms(201))
    assert desc.irqs_unhandled == unhandled


def test_S2_45_a_stuck_line_of_26_is_disabled_by_its_controller() -> None:
    rig = Rig(kernel=OLD)
    desc, chip = rig.line(handle_fasteoi_irq)
    rig.request(desc, none_handler)
    desc.irq_count = desc.irqs_unhandled = 99_999
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (chip.taken(), status_word(desc) & STATES, rig.said()[-1]) == (["mask", "eoi"], IRQ_DISABLED, f"Disabling IRQ #{desc.irq}")


def test_S0_62_modern_action_loop() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)
    results: list[tuple[int, int]] = []
    from asyncirq.irq.handle import handle_irq_event

    async def flow(cpu: Cpu, desc: IrqDesc) -> None:
        results.append((rig.engine.now, await handle_irq_event(cpu, desc)))

    desc.handle_irq = flow
    for n, ret in enumerate((IRQ_NONE, IRQ_HANDLED, IRQ_WAKE_THREAD)):
        thread = rig.thread_fn() if ret == IRQ_WAKE_THREAD else None
        rig.request(desc, rig.handler(f"h{n}", ret), thread, IRQF_SHARED, f"dev{n}", f"id{n}")
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert results == [(1000, IRQ_HANDLED | IRQ_WAKE_THREAD)]
    exits = [event[3:] for event in rig.events("irq_handler_exit")]
    assert exits == [(desc.irq, 0), (desc.irq, 1), (desc.irq, 2)]
    assert rig.log == [(1000, "h0 on 0"), (1000, "h1 on 0"), (1000, "h2 on 0"), (1000, "thread on 0")]


def test_S0_62_flags_are_those_of_the_actions_that_handled() -> None:
    # Kernels since 5.18 collect none; 2.6 does, for the entropy pool: one credit, whichever of the two it is from.
    rig = Rig(kernel=OLD)
    desc, _ = rig.line(handle_level_irq)
    for name, ret in (("a", IRQ_NONE), ("b", IRQ_HANDLED), ("c", IRQ_HANDLED)):
        rig.request(desc, rig.handler(name, ret), flags=IRQF_SHARED | IRQF_SAMPLE_RANDOM, dev_id=name)
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (desc.random_samples, [text for _, text in rig.log]) == (1, ["a on 0", "b on 0", "c on 0"])


def test_S0_78_return_values() -> None:
    assert (IRQ_NONE, IRQ_HANDLED, IRQ_WAKE_THREAD) == (0, 1, 2)
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ret=4))
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    said = [(event[0], *event[3:]) for event in rig.events("printk")]
    assert said[0] == (1000, 3, f"irq event {desc.irq}: bogus return value 4")
    assert (desc.irqs_unhandled, desc.irq_count) == (0, 0)


@pytest.mark.parametrize("bits", [32, 64])
def test_S0_61_flow_handler_dispatch(bits: int) -> None:
    async def main() -> list[tuple[str, str]]:
        async with Machine(kernel=preset("linux-6.12", bits=bits), debug=True) as m:
            msi = m.msi("nic")

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                return IRQ_HANDLED

            await m.irq.request_irq(None, msi.irq, handler, 0, "nic")
            await m.run_for(us(10))
            before = len(m.records)
            msi.send()
            await m.run_for(us(10))
            return [
                (tag_of(type(record)), getattr(record, "action", ""))
                for record in m.records[before:]
                if tag_of(type(record)) in ("irq_flow", "irq_handler_entry")
            ]

    switch = [("irq_flow", "call_on_stack")] if bits == 32 else []
    assert asyncio.run(main()) == [*switch, ("irq_flow", "ack"), ("irq_handler_entry", "")]


def test_S2_54_synchronize_irq() -> None:
    rig = Rig(cpus=2, kernel=OLD)
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ns=800))

    async def main(task: Task) -> None:
        await rig.core.synchronize_irq(task, desc.irq)
        rig.note("nothing runs")
        await task.spend(1200)
        await rig.core.synchronize_irq(task, desc.irq)
        rig.note("synchronized")

    rig.start(main, "main", cpu=1)
    rig.fire_at(1000, desc.irq)
    rig.play(5000)
    assert rig.log == [(0, "nothing runs"), (1000, "handler on 0"), (1800, "synchronized")]


def test_S2_54_synchronize_with_the_handlers_lock_held_is_a_deadlock() -> None:
    rig = Rig(cpus=2, kernel=OLD)
    desc, _ = rig.line(handle_level_irq)
    lock = RawSpinlock("device lock")

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        await lock.lock(cpu)
        await lock.unlock(cpu)
        return IRQ_HANDLED

    rig.request(desc, handler)

    async def main(task: Task) -> None:
        cpu = task.preempt_disable()
        await lock.lock(cpu)
        await cpu.spend(1500)
        await rig.core.synchronize_hardirq(cpu, desc.irq)

    rig.start(main, "main", cpu=1)
    rig.fire_at(1000, desc.irq)
    with pytest.raises(KernelBug, match=rf"deadlock at 1500 ns.*handler of irq {desc.irq}.*device lock"):
        rig.play(5000)


def test_S2_56_disable_irq_nosync() -> None:
    rig = Rig(cpus=2, kernel=OLD)
    desc, chip = rig.line(handle_fasteoi_irq)
    rig.request(desc, rig.handler(ns=800))

    async def main(task: Task) -> None:
        await task.spend(1200)
        for _ in range(2):
            await rig.core.disable_irq_nosync(task, desc.irq)
            rig.note(f"depth {desc.depth}, chip {chip.taken()}")

    rig.start(main, "main", cpu=1)
    rig.fire_at(1000, desc.irq)
    rig.play(5000)
    # It does not wait: the handler that runs goes on to 1800 ns.
    assert rig.log == [(1000, "handler on 0"), (1200, "depth 1, chip ['mask']"), (1200, "depth 2, chip []")]
    assert [event[0] for event in rig.events("irq_handler_exit")] == [1800]


def test_S2_57_disable_irq() -> None:
    rig = Rig(cpus=2, kernel=OLD)
    desc, _ = rig.line(handle_level_irq)
    bare, _ = rig.line(handle_level_irq)
    bare.depth, bare.inprogress = 0, True
    rig.request(desc, rig.handler(ns=800))

    async def main(task: Task) -> None:
        await rig.core.disable_irq(task, bare.irq)
        rig.note("no action")
        await task.spend(1200)
        await rig.core.disable_irq(task, desc.irq)
        rig.note("disabled")

    rig.start(main, "main", cpu=1)
    rig.fire_at(1000, desc.irq)
    rig.play(5000)
    assert rig.log == [(0, "no action"), (1000, "handler on 0"), (1800, "disabled")]


def test_S2_58_enable_irq() -> None:
    rig = Rig(kernel=OLD)
    desc, chip = rig.line(handle_edge_irq, IrqSim(also=("retrigger",)))
    rig.request(desc, rig.handler())
    boot(rig.core.disable_irq(None, desc.irq))
    rig.fire_at(1000, desc.irq)
    rig.fire_at(1100, desc.irq)
    rig.play(1500)
    # One edge is remembered; the second one masks the line.
    assert (status_word(desc) & STATES, chip.taken()) == (IRQ_DISABLED | IRQ_PENDING, ["ack", "mask", "ack"])
    boot(rig.core.enable_irq(None, desc.irq))
    assert (status_word(desc) & STATES, desc.depth) == (IRQ_PENDING | IRQ_REPLAY, 0)
    # Sent again before the controller enables the line.
    assert chip.taken() == ["retrigger", "unmask"]
    boot(rig.core.enable_irq(None, desc.irq))
    assert (rig.said(), desc.depth, chip.taken()) == ([f"enable_irq({desc.irq}) unbalanced"], 0, [])
    # Disabled and enabled again before the replay arrives: it is not sent twice.
    boot(rig.core.disable_irq(None, desc.irq))
    boot(rig.core.enable_irq(None, desc.irq))
    assert chip.taken() == []
    rig.fire_at(2000, desc.irq)
    rig.play(2500)
    assert (rig.log, status_word(desc) & STATES) == ([(2000, "handler on 0")], 0)


@pytest.mark.parametrize("lines", [1, 2])
def test_S4_06_same_irq_serial_different_parallel(lines: int) -> None:
    rig = Rig(cpus=2, kernel=OLD)
    descs = [rig.line(handle_edge_irq)[0] for _ in range(lines)]
    for n, desc in enumerate(descs):
        rig.request(desc, rig.handler(f"line {n}", ns=500))
    rig.fire_at(1000, descs[0].irq, cpu=0)
    rig.fire_at(1100, descs[-1].irq, cpu=1)
    rig.play(5000)
    second = (1500, "line 0 on 0") if lines == 1 else (1100, "line 1 on 1")
    assert rig.log == [(1000, "line 0 on 0"), second]


def test_S4_11_line_disabled_while_its_handler_runs() -> None:
    rig = Rig(kernel=OLD)
    desc, _ = rig.line(handle_edge_irq)
    runs: list[tuple[int, bool]] = []

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        runs.append((rig.engine.now, cpu.irqs_off))
        if len(runs) == 1:
            rig.fire(irq)
        await cpu.spend(400)
        rig.note(f"run {len(runs)} ends")
        return IRQ_HANDLED

    rig.request(desc, handler)
    rig.fire_at(1000, desc.irq)
    rig.play(5000)
    # Interrupts are on, and the line's own still waits until the handler is through.
    assert runs == [(1000, False), (1400, False)]
    assert rig.log == [(1400, "run 1 ends"), (1800, "run 2 ends")]


@pytest.mark.parametrize("release", ["linux-2.6", "linux-6.12"])
def test_S2_39_autodetect_bits(release: str) -> None:
    rig = Rig(kernel=preset(release))
    descs = [rig.line(handle_edge_irq)[0] for _ in range(4)]
    rig.request(descs[0], rig.handler())
    found: list[tuple[int, int]] = []
    states: list[int] = []
    rig.core.msleep = lambda task, milliseconds: rig.nap(task, ms(milliseconds))

    async def main(task: Task) -> None:
        mask = await rig.core.probe_irq_on(task)
        rig.note(f"mask {mask:#x}")
        states.extend(status_word(desc) & (IRQ_AUTODETECT | IRQ_WAITING) for desc in descs)
        rig.fire(descs[2].irq)
        await task.spend(1000)
        states.append(status_word(descs[2]) & (IRQ_AUTODETECT | IRQ_WAITING))
        found.append((mask, await rig.core.probe_irq_off(task)))

    rig.start(main, "main")
    # A line that is not quiet: it comes while nobody has asked for it.
    rig.fire_at(ms(50), descs[3].irq)
    rig.play(ms(500))
    both = IRQ_AUTODETECT | IRQ_WAITING
    assert rig.log == [(ms(120), f"mask {1 << descs[1].irq | 1 << descs[2].irq:#x}")]
    assert states == [0, both, both, 0, IRQ_AUTODETECT]
    assert found == [(1 << descs[1].irq | 1 << descs[2].irq, descs[2].irq)]
    assert [desc.autodetect for desc in descs] == [False] * 4
    # The first request clears both.
    descs[1].autodetect = descs[1].waiting = True
    rig.request(descs[1], rig.handler(), flags=IRQF_NO_SUSPEND)
    assert (descs[1].autodetect, descs[1].waiting) == (False, False)


def test_S4_01_layer_names() -> None:
    async def main() -> tuple[list[str], list[str]]:
        async with Machine(kernel="linux-2.6", debug=True) as m:
            msi = m.msi("nic")
            woken: list[Task] = []

            async def reader(task: Task) -> None:
                task.set_current_state(1)
                await task.schedule()

            async def action(cpu: Cpu) -> None:
                await m.sched.wake_up_process(cpu, woken[0])

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                await m.softirq.raise_softirq(cpu, 3)
                return IRQ_HANDLED

            m.softirq.open_softirq(3, action)
            await m.irq.request_irq(None, msi.irq, handler, 0, "nic")
            woken.append(m.start_thread(reader, "reader"))
            await m.run_for(us(50))
            assert m.trace is not None
            msi.send(m.trace.device_raise(0, "nic", "rx"))
            await m.run_for(us(100))
            by_seq = {record.seq: record for record in m.records}
            record = next(r for r in reversed(m.records) if tag_of(type(r)) == "sched_switch" and r.next_comm == "reader")  # type: ignore[attr-defined]
            chain = [tag_of(type(record))]
            while record.cause:
                record = by_seq[record.cause]
                chain.append(tag_of(type(record)))
            flow = [r.flow + " " + r.action for r in m.records if tag_of(type(r)) == "irq_flow" and r.ts > us(50)]  # type: ignore[attr-defined]
            return chain[::-1], flow

    chain, flow = asyncio.run(main())
    assert chain == [
        "device_raise",  # hardware
        "msi_write",
        "lapic_irr",
        "lapic_inta",  # the architecture's entry, do_IRQ
        "irq_handler_entry",  # __do_IRQ, handle_IRQ_event, the driver's handler
        "softirq_raise",
        "softirq_entry",
        "sched_waking",
        "sched_switch",  # the process
    ]
    assert flow == ["edge ack", "edge status 0x4", "edge status 0x1", "edge status 0x0"]


def test_one_flow_needs_no_second_kernel() -> None:
    """The policy is a field: a current kernel with the old flow, and the old kernel with the current flows."""
    for kernel in (preset("linux-6.12", irq_flow="do_irq"), preset("linux-2.6", irq_flow="genirq")):
        rig = Rig(kernel=kernel)
        desc, _ = rig.line(handle_edge_irq)
        rig.request(desc, rig.handler())
        rig.fire_at(1000, desc.irq)
        rig.play(2000)
        assert rig.log == [(1000, "handler on 0")]
        assert (desc.controller is not None) is (kernel.irq_flow == "do_irq")
    assert STOCK.irq_flow == "genirq"

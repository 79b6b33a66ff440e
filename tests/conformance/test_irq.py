"""Show the cases of the generic interrupt core."""

from __future__ import annotations

import pytest

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import IRQCHIP_EOI_IF_HANDLED, IRQCHIP_MOVE_DEFERRED, IRQCHIP_ONESHOT_SAFE
from asyncirq.irq.cpuhotplug import affinity_online_cpu, migrate_all_off_this_cpu
from asyncirq.irq.desc import (
    IRQ_HANDLED,
    IRQ_NONE,
    IRQ_TYPE_EDGE_RISING,
    IRQ_TYPE_LEVEL_HIGH,
    IRQ_WAKE_THREAD,
    IRQF_COND_ONESHOT,
    IRQF_NO_AUTOEN,
    IRQF_ONESHOT,
    IRQF_PERCPU,
    IRQF_PROBE_SHARED,
    IRQF_SHARED,
    IRQF_TRIGGER_HIGH,
    IRQF_TRIGGER_RISING,
    IrqData,
    IrqDesc,
)
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.flow import (
    handle_edge_irq,
    handle_fasteoi_irq,
    handle_level_irq,
    handle_percpu_devid_irq,
    handle_percpu_irq,
    handle_simple_irq,
    handle_untracked_irq,
)
from asyncirq.irq.proc import interrupts
from asyncirq.irq.resend import check_irq_resend
from asyncirq.irq.sim_chip import IrqSim
from asyncirq.irq.thread import handle_nested_irq
from asyncirq.sched.task import Task
from tests.irq.harness import THREADIRQS, Rig, boot, close_rigs  # noqa: F401


def test_IRQ_01_disable_depth() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)
    assert desc.depth == 1
    rig.request(desc, rig.handler())
    assert desc.depth == 0
    boot(rig.core.disable_irq(None, desc.irq))
    assert desc.depth == 1
    boot(rig.core.enable_irq(None, desc.irq))
    assert desc.depth == 0


def test_IRQ_02_free_while_disabled() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(), dev_id=rig)
    boot(rig.core.disable_irq(None, desc.irq))
    assert boot(rig.core.free_irq(None, desc.irq, rig)) == "lab"
    assert (desc.depth, chip.taken()) == (2, ["mask"])
    rig.request(desc, rig.handler(), dev_id=rig)
    assert (desc.depth, desc.disabled, desc.masked) == (0, False, False)


def test_IRQ_04_managed_interrupt_across_cpu_hotplug() -> None:
    rig = Rig(cpus=2)
    desc, chip = rig.line(handle_edge_irq, IrqSim(also=("set_affinity", "startup", "shutdown")))
    desc.managed, desc.affinity = True, 0b10
    rig.request(desc, rig.handler())
    assert (desc.started, desc.depth, desc.effective_affinity) == (True, 0, 0b10)
    boot(rig.core.disable_irq(None, desc.irq))
    assert desc.depth == 1
    rig.core.online_mask = 0b01
    migrate_all_off_this_cpu(rig.core, rig.cpus[1])
    assert (desc.depth, desc.started, desc.activated, desc.affinity, chip.taken()) == (2, False, False, 0b10, ["shutdown"])
    rig.core.online_mask = 0b11
    affinity_online_cpu(rig.core, rig.cpus[1])
    assert (desc.depth, desc.started, chip.taken()) == (1, False, [])
    boot(rig.core.enable_irq(None, desc.irq))
    assert (desc.depth, desc.started, desc.activated) == (0, True, True)
    assert chip.taken() == ["set_affinity", "startup"]


def test_IRQ_06_unbalanced_enable() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq)
    rig.request(desc, rig.handler())
    boot(rig.core.enable_irq(None, desc.irq))
    assert (desc.depth, chip.taken()) == (0, [])
    assert rig.said() == [f"Unbalanced enable for IRQ {desc.irq}"]


@pytest.mark.parametrize(
    ("flow", "on_arrival", "on_enable"),
    [
        (handle_level_irq, ["mask", "ack"], ["unmask", "retrigger"]),
        (handle_edge_irq, ["mask", "ack"], ["unmask", "retrigger"]),
        (handle_fasteoi_irq, ["mask", "eoi"], ["unmask", "retrigger"]),
    ],
)
def test_IRQ_07_lazy_disable(flow: object, on_arrival: list[str], on_enable: list[str]) -> None:
    rig = Rig()
    desc, chip = rig.line(flow, IrqSim(also=("retrigger",)))  # type: ignore[arg-type]
    rig.request(desc, rig.handler())
    boot(rig.core.disable_irq(None, desc.irq))
    assert (chip.taken(), desc.disabled, desc.masked) == ([], True, False)
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (chip.taken(), desc.pending, rig.log) == (on_arrival, True, [])
    rig.fire_at(3000, desc.irq)
    rig.play(4000)
    assert chip.taken() == on_arrival[1:]
    boot(rig.core.enable_irq(None, desc.irq))
    assert (chip.taken(), desc.pending, desc.replay) == (on_enable, False, True)
    rig.fire_at(5000, desc.irq)
    rig.play(6000)
    assert (rig.log, desc.replay) == ([(5000, "handler on 0")], False)


def test_IRQ_07_level_line_is_not_resent() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq, IrqSim(also=("retrigger", "set_type")))
    rig.request(desc, rig.handler(), flags=IRQF_TRIGGER_HIGH)
    boot(rig.core.disable_irq(None, desc.irq))
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    chip.calls.clear()
    boot(rig.core.enable_irq(None, desc.irq))
    assert (chip.taken(), desc.pending) == (["unmask"], False)


@pytest.mark.parametrize("unlazy", [True, False])
def test_IRQ_07_disable_at_once(unlazy: bool) -> None:
    rig = Rig()
    desc, chip = rig.line(handle_edge_irq, IrqSim(also=() if unlazy else ("disable",)))
    desc.disable_unlazy = unlazy
    rig.request(desc, rig.handler())
    boot(rig.core.disable_irq(None, desc.irq))
    assert (chip.taken(), desc.masked) == (["mask"] if unlazy else ["disable"], True)


def test_IRQ_08_no_event_no_resend() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_edge_irq, IrqSim(also=("retrigger",)))
    rig.request(desc, rig.handler())
    boot(rig.core.disable_irq(None, desc.irq))
    boot(rig.core.enable_irq(None, desc.irq))
    rig.play(1000)
    assert (chip.taken(), rig.log, desc.pending) == ([], [], False)


def test_IRQ_09_level_flow() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq)

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        chip.calls.append(("handler", irq))
        return IRQ_HANDLED

    rig.request(desc, handler)
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert chip.taken() == ["mask", "ack", "handler", "unmask"]


def test_IRQ_09_level_flow_mask_ack_in_one() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq, IrqSim(also=("mask_ack",)))
    rig.request(desc, rig.handler())
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert chip.taken() == ["mask_ack", "unmask"]


def test_IRQ_09_level_in_progress_elsewhere() -> None:
    rig = Rig(cpus=2)
    desc, chip = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ns=500))
    rig.fire_at(1000, desc.irq)
    rig.fire_at(1200, desc.irq, cpu=1)
    rig.play(1300)
    assert (chip.taken(), desc.pending, desc.masked) == (["mask", "ack", "ack"], False, True)
    rig.play(2000)
    assert (chip.taken(), rig.log) == (["unmask"], [(1000, "handler on 0")])


def test_IRQ_09_level_without_action_stays_masked() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq)
    desc.masked = False
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (chip.taken(), desc.masked, desc.pending) == (["mask", "ack"], True, True)


def test_IRQ_10_edge_flow() -> None:
    rig = Rig(cpus=2)
    desc, chip = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler(ns=500))
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (chip.taken(), rig.log) == (["ack"], [(1000, "handler on 0")])
    # Two arrivals during one run make one more run.
    for when in (3000, 3100, 3200):
        rig.fire_at(when, desc.irq, cpu=int(when > 3000))
    rig.play(5000)
    assert chip.taken() == ["ack", "mask", "ack", "ack", "unmask"]
    assert rig.log[1:] == [(3000, "handler on 0"), (3500, "handler on 0")]
    assert (desc.kstat_irqs, desc.tot_count) == ([2, 0], 2)


def test_IRQ_10_edge_disabled_in_the_loop() -> None:
    rig = Rig(cpus=2)
    desc, chip = rig.line(handle_edge_irq)

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        rig.note("handler")
        await cpu.spend(500)
        await rig.core.disable_irq_nosync(cpu, irq)
        return IRQ_HANDLED

    rig.request(desc, handler)
    rig.fire_at(1000, desc.irq)
    rig.fire_at(1100, desc.irq, cpu=1)
    rig.play(5000)
    assert (chip.taken(), rig.log, desc.pending, desc.masked) == (["ack", "mask", "ack"], [(1000, "handler")], True, True)


def test_IRQ_11_edge_action_removed_in_the_loop() -> None:
    rig = Rig(cpus=2)
    desc, chip = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler(ns=500))

    def remove() -> None:
        # Another CPU unlinks the action while it runs; its shutdown has not come yet.
        desc.action = None

    rig.fire_at(1000, desc.irq)
    rig.fire_at(1100, desc.irq, cpu=1)
    rig.at(1200, remove)
    rig.play(5000)
    assert (chip.taken(), desc.masked, rig.log) == (["ack", "mask", "ack"], True, [(1000, "handler on 0")])


def test_IRQ_13_fasteoi_flow() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_fasteoi_irq)
    rig.request(desc, rig.handler())
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert chip.taken() == ["eoi"]


@pytest.mark.parametrize(("ret", "calls"), [(IRQ_WAKE_THREAD, ["mask", "eoi"]), (IRQ_HANDLED, ["mask", "eoi", "unmask"])])
def test_IRQ_13_fasteoi_oneshot(ret: int, calls: list[str]) -> None:
    rig = Rig(switch_in_ns=5000)
    desc, chip = rig.line(handle_fasteoi_irq)
    rig.request(desc, rig.handler(ret=ret), rig.thread_fn(), IRQF_ONESHOT)
    rig.fire_at(20000, desc.irq)
    rig.play(20000)
    assert chip.taken() == calls
    rig.play(40000)
    assert chip.taken() == (["unmask"] if ret == IRQ_WAKE_THREAD else [])


@pytest.mark.parametrize(("flags", "calls"), [(0, ["mask", "eoi"]), (IRQCHIP_EOI_IF_HANDLED, ["mask"])])
def test_IRQ_13_fasteoi_without_action(flags: int, calls: list[str]) -> None:
    rig = Rig()
    desc, chip = rig.line(handle_fasteoi_irq, IrqSim(flags=flags))
    desc.masked = False
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (chip.taken(), desc.pending) == (calls, True)


@pytest.mark.parametrize("resend", [False, True])
def test_IRQ_14_fasteoi_arrival_in_progress(resend: bool) -> None:
    rig = Rig(cpus=2)
    desc, chip = rig.line(handle_fasteoi_irq, IrqSim(also=("retrigger",)))
    desc.needs_resend = resend
    rig.request(desc, rig.handler(ns=500))
    rig.fire_at(1000, desc.irq)
    rig.fire_at(1200, desc.irq, cpu=1)
    rig.play(1300)
    assert (chip.taken(), desc.pending) == (["eoi"], resend)
    rig.play(5000)
    assert chip.taken() == (["eoi", "retrigger"] if resend else ["eoi"])
    assert (rig.log, desc.pending) == ([(1000, "handler on 0")], False)


@pytest.mark.parametrize("flow", [handle_simple_irq, handle_untracked_irq])
def test_IRQ_15_simple_and_untracked_flows(flow: object) -> None:
    tracked = flow is handle_simple_irq
    rig = Rig()
    desc, chip = rig.line(flow)  # type: ignore[arg-type]
    rig.request(desc, rig.handler(ret=IRQ_NONE))
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (chip.taken(), rig.log, desc.pending) == ([], [(1000, "handler on 0")], False)
    assert (desc.kstat_irqs, desc.tot_count, desc.irqs_unhandled) == (([1], 1, 1) if tracked else ([0], 0, 0))


def test_IRQ_16_percpu_flow() -> None:
    rig = Rig(cpus=2)
    desc, chip = rig.line(handle_percpu_irq)
    rig.request(desc, rig.handler(ns=500), flags=IRQF_PERCPU)
    seen: list[bool] = []
    rig.fire_at(1000, desc.irq)
    rig.fire_at(1100, desc.irq, cpu=1)
    rig.at(1200, lambda: seen.append(desc.inprogress))
    rig.play(5000)
    assert chip.taken() == ["ack", "ack", "eoi", "eoi"]
    assert rig.log == [(1000, "handler on 0"), (1100, "handler on 1")]
    assert (seen, desc.kstat_irqs, desc.tot_count, desc.percpu) == ([False], [1, 1], 0, True)


def percpu_line(rig: Rig) -> tuple[IrqDesc, IrqSim]:
    desc, chip = rig.line(handle_percpu_devid_irq)
    rig.core.set_percpu_devid(desc.irq)
    return desc, chip


def test_IRQ_17_percpu_devid_flow() -> None:
    rig = Rig(cpus=3)
    desc, chip = percpu_line(rig)

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        rig.note(str(dev_id))
        return IRQ_HANDLED

    rig.core.request_percpu_irq(desc.irq, handler, "pmu", ["a", "b", "c"], affinity=0b011)
    for cpu in rig.cpus[1:]:
        rig.core.enable_percpu_irq(cpu, desc.irq)
    chip.calls.clear()
    for n in range(3):
        rig.fire_at(1000 + n, desc.irq, cpu=n)
    rig.play(5000)
    assert rig.log == [(1000, "a"), (1001, "b")]
    assert chip.taken() == ["ack", "eoi", "ack", "eoi", "ack", "mask", "eoi"]
    assert desc.percpu_enabled == 0b010
    assert rig.said() == [f"Spurious and unmasked percpu IRQ{desc.irq} on CPU2"]
    rig.fire_at(6000, desc.irq, cpu=2)
    rig.play(7000)
    assert len(rig.said()) == 1


def test_IRQ_17_percpu_devid_not_enabled() -> None:
    rig = Rig()
    desc, _ = percpu_line(rig)
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert rig.said() == [f"Spurious percpu IRQ{desc.irq} on CPU0"]


def test_IRQ_18_request_percpu_irq_does_not_enable() -> None:
    rig = Rig(cpus=2)
    desc, chip = percpu_line(rig)
    rig.core.request_percpu_irq(desc.irq, rig.handler(), "pmu", ["a", "b"])
    assert (chip.taken(), desc.percpu_enabled) == ([], 0)
    rig.core.enable_percpu_irq(rig.cpus[0], desc.irq)
    rig.core.enable_percpu_irq(rig.cpus[1], desc.irq)
    assert (chip.taken(), desc.percpu_enabled) == (["unmask", "unmask"], 0b11)
    rig.core.disable_percpu_irq(rig.cpus[0], desc.irq)
    assert desc.percpu_enabled == 0b10
    assert rig.core.free_percpu_irq(desc.irq, ["a", "b"]) is None
    assert rig.said() == [f"percpu IRQ {desc.irq} still enabled on CPU1!"]
    rig.core.disable_percpu_irq(rig.cpus[1], desc.irq)
    assert rig.core.free_percpu_irq(desc.irq, ["a", "b"]) == "pmu"


def test_IRQ_19_two_percpu_actions() -> None:
    rig = Rig(cpus=2)
    desc, _ = percpu_line(rig)
    rig.core.request_percpu_irq(desc.irq, rig.handler("left"), "left", [1, 2], affinity=0b01)
    rig.core.request_percpu_irq(desc.irq, rig.handler("right"), "right", [3, 4], affinity=0b10)
    with pytest.raises(UsageError) as refused:
        rig.core.request_percpu_irq(desc.irq, rig.handler(), "both", [5, 6], affinity=0b11)
    assert refused.value.errno == 22
    assert rig.said() == [f"Overlapping affinities for both (irq {desc.irq}) on irqchip sim."]
    rig.fire_at(1000, desc.irq, cpu=0)
    rig.fire_at(1001, desc.irq, cpu=1)
    rig.play(2000)
    assert rig.log == [(1000, "left on 0"), (1001, "right on 1")]


def test_IRQ_20_nested_threaded() -> None:
    rig = Rig()
    parent, _ = rig.line(handle_level_irq)
    child, _ = rig.line(handle_simple_irq)
    child.nested_thread = True
    child.parent_irq = parent.irq

    async def demux(task: Task, irq: int, dev_id: object) -> int:
        rig.note(task.comm)
        await handle_nested_irq(task, child)
        return IRQ_HANDLED

    async def nested(task: Task, irq: int, dev_id: object) -> int:
        rig.note(f"{task.comm} {irq - parent.irq}")
        return IRQ_HANDLED

    rig.request(parent, None, demux, IRQF_ONESHOT)
    before = len(rig.sched.tasks)
    rig.request(child, rig.handler(), nested, name="child")
    assert len(rig.sched.tasks) == before
    rig.fire_at(1000, parent.irq)
    rig.play(2000)
    assert rig.log == [(1000, "irq/16-lab"), (1000, "irq/16-lab 1")]
    with pytest.raises(UsageError):
        boot(rig.core.request_irq(None, child.irq, rig.handler(), 0, "no thread"))
    assert child.action is not None
    with pytest.raises(KernelBug, match="Primary handler called for nested irq"):
        boot(child.action.handler(rig.cpus[0], child.irq, None))


def test_IRQ_21_chained() -> None:
    rig = Rig(kernel=THREADIRQS)
    parent, _ = rig.line(handle_level_irq)
    child, _ = rig.line(handle_simple_irq)

    async def demux(cpu: Cpu, desc: IrqDesc) -> None:
        rig.note("demux")
        await rig.core.generic_handle_irq(cpu, child.irq)

    rig.core.irq_set_chained_handler(parent.irq, demux)
    assert (parent.norequest, parent.noprobe, parent.nothread) == (True, True, True)
    with pytest.raises(UsageError) as refused:
        boot(rig.core.request_irq(None, parent.irq, rig.handler()))
    assert refused.value.errno == 22
    rig.request(child, rig.handler())
    rig.fire_at(1000, parent.irq)
    rig.play(2000)
    assert rig.log == [(1000, "demux"), (1000, "handler on 0")]
    rows = interrupts(rig.core, {}).splitlines()
    assert [row for row in rows if row.startswith(f"{parent.irq:>3}:")] == []


def test_IRQ_23_resend_rules() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_edge_irq, IrqSim(also=("retrigger",)))
    cpu = rig.cpus[0]
    assert (check_irq_resend(cpu, desc), chip.taken()) == (0, [])
    desc.pending = True
    assert (check_irq_resend(cpu, desc), desc.pending, desc.replay) == (0, False, True)
    assert chip.taken() == ["retrigger"]
    desc.pending = True
    assert (check_irq_resend(cpu, desc), desc.pending) == (-16, True)
    desc.level, desc.replay = True, False
    assert (check_irq_resend(cpu, desc), desc.pending, chip.taken()) == (-22, False, [])


def test_IRQ_23_software_resend() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_edge_irq)
    scheduled: list[int] = []

    async def tasklet(cpu: Cpu) -> None:
        scheduled.append(cpu.id)

    rig.core.schedule_resend = tasklet
    rig.request(desc, rig.handler())

    async def main(task: Task) -> None:
        await rig.core.disable_irq(task, desc.irq)
        await task.spend(1000)
        await rig.core.enable_irq(task, desc.irq)
        assert (scheduled, desc.replay, rig.log) == ([0], True, [])
        cpu = task.preempt_disable()
        await rig.core.run_resend(cpu)
        await task.preempt_enable()

    rig.start(main, "main")
    rig.fire_at(500, desc.irq)
    rig.play(5000)
    assert (rig.log, desc.replay) == ([(1000, "handler on 0")], False)


def test_IRQ_24_software_resend_limits() -> None:
    rig = Rig()
    parent, _ = rig.line(handle_edge_irq)
    desc, _ = rig.line(handle_edge_irq)

    async def tasklet(cpu: Cpu) -> None:
        return

    rig.core.schedule_resend = tasklet
    cpu = rig.cpus[0]
    desc.enforce_irqctx = True
    desc.pending = True
    assert (check_irq_resend(cpu, desc), desc.replay, rig.core.resend_list) == (-22, False, [])
    desc.enforce_irqctx, desc.nested_thread, desc.pending = False, True, True
    assert check_irq_resend(cpu, desc) == -22
    desc.parent_irq, desc.pending = parent.irq, True
    assert (check_irq_resend(cpu, desc), rig.core.resend_list) == (0, [parent])


def test_IRQ_25_shared_line() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)
    for n, ret in enumerate((IRQ_NONE, IRQ_HANDLED, IRQ_NONE)):
        rig.request(desc, rig.handler(f"h{n}", ret), flags=IRQF_SHARED, name=f"dev{n}", dev_id=f"id{n}")
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert [text for _, text in rig.log] == ["h0 on 0", "h1 on 0", "h2 on 0"]
    assert desc.irqs_unhandled == 0
    entries = [event[3:] for event in rig.events("irq_handler_entry", "irq_handler_exit")]
    n = desc.irq
    assert entries == [(n, "dev0"), (n, 0), (n, "dev1"), (n, 1), (n, "dev2"), (n, 0)]


def test_IRQ_26_handler_must_keep_interrupts_off() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)

    async def rude(cpu: Cpu, irq: int, dev_id: object) -> int:
        await cpu.irq_enable()
        return IRQ_HANDLED

    async def next_one(cpu: Cpu, irq: int, dev_id: object) -> int:
        rig.note(f"irqs_off {cpu.irqs_off}")
        return IRQ_HANDLED

    rig.request(desc, rude, flags=IRQF_SHARED, dev_id="a")
    rig.request(desc, next_one, flags=IRQF_SHARED, dev_id="b")
    rig.fire_at(1000, desc.irq)
    rig.fire_at(1500, desc.irq)
    rig.play(2000)
    assert rig.log == [(1000, "irqs_off True"), (1500, "irqs_off True")]
    assert rig.said() == [f"irq {desc.irq} handler rude enabled interrupts"]


def test_IRQ_27_wake_thread_without_a_thread() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD))
    rig.fire_at(1000, desc.irq)
    rig.fire_at(1500, desc.irq)
    rig.play(2000)
    assert rig.said() == [f"IRQ {desc.irq} device lab returned IRQ_WAKE_THREAD but no thread function available."]
    assert (chip.taken(), rig.events("sched_waking")) == (["mask", "ack", "unmask"] * 2, [])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (0, IRQF_SHARED),
        (IRQF_SHARED, 0),
        (IRQF_SHARED | IRQF_TRIGGER_RISING, IRQF_SHARED | IRQF_TRIGGER_HIGH),
        (IRQF_SHARED | IRQF_ONESHOT, IRQF_SHARED),
        (IRQF_SHARED, IRQF_SHARED | IRQF_ONESHOT),
        (IRQF_SHARED | IRQF_PERCPU, IRQF_SHARED),
        (IRQF_SHARED, IRQF_SHARED | IRQF_PROBE_SHARED | IRQF_PERCPU),
    ],
)
def test_IRQ_28_sharing_needs_agreement(old: int, new: int) -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq, IrqSim(also=("set_type",)))
    rig.request(desc, rig.handler(), rig.thread_fn() if old & IRQF_ONESHOT else None, old, "old", "a")
    with pytest.raises(UsageError) as refused:
        rig.request(desc, rig.handler(), rig.thread_fn() if new & IRQF_ONESHOT else None, new, "new", "b")
    assert refused.value.errno == 16
    trigger = IRQF_TRIGGER_RISING if old & IRQF_TRIGGER_RISING and not new & 0xF else 0
    text = f"Flags mismatch irq {desc.irq}. {new | trigger:08x} (new) vs. {old:08x} (old)"
    assert rig.said() == ([] if new & IRQF_PROBE_SHARED else [text])
    assert [action.name for action in desc.actions()] == ["old"]


def test_IRQ_28_cond_oneshot_adapts() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(), rig.thread_fn(), IRQF_SHARED | IRQF_ONESHOT, "old", "a")
    rig.request(desc, rig.handler(), None, IRQF_SHARED | IRQF_COND_ONESHOT, "new", "b")
    assert [bool(action.flags & IRQF_ONESHOT) for action in desc.actions()] == [True, True]
    assert [action.thread_mask for action in desc.actions()] == [1, 2]


def test_IRQ_29_trigger_inheritance() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq, IrqSim(also=("set_type",)))
    rig.request(desc, rig.handler(), flags=IRQF_SHARED | IRQF_TRIGGER_HIGH, dev_id="a")
    assert (desc.trigger, desc.level) == (IRQ_TYPE_LEVEL_HIGH, True)
    rig.request(desc, rig.handler(), flags=IRQF_SHARED, dev_id="b")
    assert [action.flags & 0xF for action in desc.actions()] == [IRQ_TYPE_LEVEL_HIGH] * 2
    assert chip.taken() == []
    # A chip without irq_set_type records nothing, so the first sharer's trigger becomes the line's.
    other, _ = rig.line(handle_level_irq)
    rig.request(other, rig.handler(), flags=IRQF_SHARED | IRQF_TRIGGER_RISING, dev_id="a")
    assert (other.trigger, other.trigger_set) == (0, False)
    rig.request(other, rig.handler(), flags=IRQF_SHARED | IRQF_TRIGGER_RISING, dev_id="b")
    assert (other.trigger, other.trigger_set) == (IRQ_TYPE_EDGE_RISING, True)


def test_IRQ_31_no_autoen() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq, IrqSim(also=("startup",)))
    boot(rig.core.request_irq(None, desc.irq, rig.handler(), IRQF_NO_AUTOEN, "lab"))
    assert (desc.depth, chip.taken(), desc.started) == (1, [], False)
    boot(rig.core.enable_irq(None, desc.irq))
    assert (desc.depth, chip.taken(), desc.started) == (0, ["startup"], True)


def test_IRQ_32_new_action_resets_spurious_state() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ret=IRQ_NONE), flags=IRQF_SHARED, dev_id="a")
    desc.irq_count = desc.irqs_unhandled = 99_999
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (desc.spurious_disabled, desc.depth, desc.masked) == (True, 1, True)
    chip.calls.clear()
    boot(rig.core.request_irq(None, desc.irq, rig.handler("right"), IRQF_SHARED, "right", "b"))
    assert (desc.spurious_disabled, desc.depth, desc.irq_count, desc.irqs_unhandled) == (False, 0, 0, 0)
    assert chip.taken() == ["unmask"]


def test_IRQ_33_nested_disable() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler("old"), flags=IRQF_SHARED, dev_id="a")
    for _ in range(3):
        boot(rig.core.disable_irq(None, desc.irq))
    rig.request(desc, rig.handler("new"), flags=IRQF_SHARED, dev_id="b")
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    chip.calls.clear()
    for _ in range(2):
        boot(rig.core.enable_irq(None, desc.irq))
        assert (desc.disabled, chip.taken(), rig.log) == (True, [], [])
    boot(rig.core.enable_irq(None, desc.irq))
    assert (desc.disabled, desc.depth, chip.taken()) == (False, 0, ["unmask"])


def test_IRQ_34_null_primary_needs_oneshot() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_edge_irq)
    with pytest.raises(UsageError) as refused:
        boot(rig.core.request_threaded_irq(None, desc.irq, None, rig.thread_fn(), 0, "lab"))
    assert refused.value.errno == 22
    assert rig.said() == [f"Threaded irq requested with handler=NULL and !ONESHOT for lab (irq {desc.irq})"]
    safe, chip = rig.line(handle_edge_irq, IrqSim(flags=IRQCHIP_ONESHOT_SAFE))
    rig.request(safe, None, rig.thread_fn(), IRQF_ONESHOT)
    assert safe.action is not None
    assert (safe.action.flags & IRQF_ONESHOT, safe.action.thread_mask, safe.oneshot) == (0, 0, False)
    rig.fire_at(1000, safe.irq)
    rig.play(2000)
    assert (rig.log, chip.taken()) == ([(1000, "thread on 0")], ["ack"])
    # The refused request's thread has come and gone.
    assert [task.comm for task in rig.sched.tasks.values() if task.comm.startswith("irq/")] == [f"irq/{safe.irq}-lab"]


def test_IRQ_36_free_irq() -> None:
    rig = Rig(cpus=2)
    desc, chip = rig.line(handle_level_irq)
    rig.request(desc, rig.handler("a", ns=500), flags=IRQF_SHARED, name="first", dev_id="a")
    rig.request(desc, rig.handler("b"), flags=IRQF_SHARED, name="second", dev_id="b")

    async def main(task: Task) -> None:
        rig.note(f"{await rig.core.free_irq(task, desc.irq, 'nobody')}")
        rig.note(f"{await rig.core.free_irq(task, desc.irq, 'b')}")
        await task.spend(1500 - rig.engine.now)
        rig.note(f"{await rig.core.free_irq(task, desc.irq, 'a')}")

    rig.start(main, "main", cpu=1)
    rig.fire_at(1400, desc.irq)
    rig.play(5000)
    # The last one waits for the handler that runs on the other CPU.
    assert rig.log == [(0, "None"), (0, "second"), (1400, "a on 0"), (1900, "first")]
    assert rig.said() == [f"Trying to free already-free IRQ {desc.irq}"]
    assert (chip.taken(), desc.depth, desc.started) == (["mask", "ack"], 1, False)


def test_IRQ_36_free_irq_in_a_handler() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        assert isinstance(cpu.current, Task)
        await rig.core.free_irq(cpu.current, irq, dev_id)
        return IRQ_HANDLED

    rig.request(desc, handler)
    rig.fire_at(1000, desc.irq)
    with pytest.raises(KernelBug, match=f"Trying to free IRQ {desc.irq} from IRQ context"):
        rig.play(2000)


def test_IRQ_39_synchronize_irq() -> None:
    rig = Rig(cpus=2)
    desc, chip = rig.line(handle_level_irq, IrqSim(also=("active",)))
    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD, ns=500), rig.thread_fn(ns=300), IRQF_ONESHOT)

    async def main(task: Task) -> None:
        await task.spend(1200)
        await rig.core.synchronize_irq(task, desc.irq)
        rig.note("synchronized")

    rig.start(main, "main", cpu=1)
    rig.fire_at(1000, desc.irq)
    chip.active.add(desc.irq)
    rig.at(1700, chip.active.clear)
    rig.play(5000)
    assert rig.log == [(1000, "handler on 0"), (1500, "thread on 0"), (1800, "thread ends"), (1800, "synchronized")]


def test_IRQ_39_synchronize_in_the_handler_deadlocks() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        await rig.core.synchronize_hardirq(cpu, irq)
        return IRQ_HANDLED

    rig.request(desc, handler)
    rig.fire_at(1000, desc.irq)
    with pytest.raises(KernelBug, match=f"deadlock at 1000 ns: .*handler of irq {desc.irq}"):
        rig.play(2000)


def test_IRQ_41_affinity_change_in_the_interrupt() -> None:
    rig = Rig(cpus=2)
    chip = MovingSim(flags=IRQCHIP_MOVE_DEFERRED, also=("set_affinity",))
    desc, _ = rig.line(handle_edge_irq, chip)
    rig.request(desc, rig.handler())
    boot(rig.core.irq_set_affinity(None, desc.irq, 0b10))
    assert (chip.taken(), desc.setaffinity_pending, desc.pending_mask, desc.effective_affinity) == ([], True, 0b10, 0b11)
    chip.affinity_error = -16
    rig.fire_at(1000, desc.irq)
    rig.play(1500)
    assert (chip.taken(), desc.setaffinity_pending) == (["mask", "set_affinity", "unmask", "ack"], True)
    chip.affinity_error = 0
    rig.fire_at(2000, desc.irq)
    rig.play(2500)
    assert chip.taken() == ["mask", "set_affinity", "unmask", "ack"]
    assert (desc.setaffinity_pending, desc.pending_mask, desc.affinity, desc.effective_affinity) == (False, 0, 0b10, 0b10)
    # A mask that has lost its last online CPU is dropped.
    boot(rig.core.irq_set_affinity(None, desc.irq, 0b01))
    rig.core.online_mask = 0b10
    rig.fire_at(3000, desc.irq)
    rig.play(3500)
    assert (chip.taken(), desc.setaffinity_pending, desc.affinity) == (["mask", "unmask", "ack"], False, 0b10)


class MovingSim(IrqSim):
    """A recording chip that moves its interrupts in the ack, as x86 does."""

    def irq_ack(self, cpu: Cpu, data: IrqData) -> int:
        from asyncirq.irq.affinity import irq_move_irq

        return irq_move_irq(cpu, data.desc) + super().irq_ack(cpu, data)


def test_IRQ_43_effective_affinity() -> None:
    rig = Rig(cpus=4)
    desc, _ = rig.line(handle_edge_irq, IrqSim(also=("set_affinity",)))
    desc.single_target = True
    rig.request(desc, rig.handler(), rig.thread_fn())
    boot(rig.core.irq_set_affinity(None, desc.irq, 0b1100))
    assert (desc.affinity, desc.effective_affinity) == (0b1100, 0b0100)
    assert desc.action is not None
    assert desc.action.affinity_changed
    with pytest.raises(UsageError) as refused:
        boot(rig.core.irq_set_affinity(None, desc.irq, 0x100))
    assert refused.value.errno == 22


def test_IRQ_44_probe_and_autodetect_flags() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_edge_irq)
    desc.autodetect = desc.waiting = True
    rig.request(desc, rig.handler())
    assert (desc.autodetect, desc.waiting) == (False, False)
    desc.waiting = True
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert not desc.waiting


class LoggingDomain(IrqDomain):
    """A domain that notes what it is asked."""

    def __init__(self, rig: Rig, name: str, size: int = 0, parent: IrqDomain | None = None, refuse: bool = False) -> None:
        super().__init__(rig.core, name, size, parent)
        self.rig = rig
        self.refuse = refuse
        self.chip = IrqSim(name)

    def alloc(self, data: IrqData, arg: object) -> None:
        if self.refuse:
            raise UsageError("no room", 28)
        data.chip = self.chip
        data.desc.handle_irq = handle_edge_irq
        self.rig.note(f"alloc {self.name}")

    def free(self, data: IrqData) -> None:
        self.rig.note(f"free {self.name}")

    def activate(self, cpu: Cpu, data: IrqData, reserve: bool) -> int:
        self.rig.note(f"activate {self.name}")
        return 0

    def deactivate(self, cpu: Cpu, data: IrqData) -> None:
        self.rig.note(f"deactivate {self.name}")


def test_IRQ_45_domain_mapping() -> None:
    rig = Rig()
    linear = LoggingDomain(rig, "linear", size=8)
    tree = LoggingDomain(rig, "tree")
    first = linear.create_mapping(3, IRQ_TYPE_LEVEL_HIGH)
    assert (linear.create_mapping(3), linear.create_mapping(3, IRQ_TYPE_LEVEL_HIGH), linear.find_mapping(3)) == (first,) * 3
    assert linear.create_mapping(3, IRQ_TYPE_EDGE_RISING) == 0
    assert rig.said() == ["type mismatch, failed to map hwirq-3 for linear!"]
    assert tree.create_mapping(3) not in (0, first)
    assert tree.create_mapping(70_000) == tree.find_mapping(70_000)
    with pytest.raises(UsageError, match="hwirq 8 is not in domain linear"):
        linear.create_mapping(8)
    assert linear.find_mapping(8) == 0


def test_IRQ_45_hierarchy() -> None:
    rig = Rig()
    root = LoggingDomain(rig, "root")
    outer = LoggingDomain(rig, "outer", parent=root)
    irq = outer.create_mapping(5)
    desc = rig.core.desc(irq)
    assert [(data.chip.name, data.hwirq) for data in desc.datas()] == [("outer", 5), ("root", irq)]
    boot(rig.core.request_irq(None, irq, rig.handler()))
    boot(rig.core.free_irq(None, irq))
    outer.dispose_mapping(irq)
    steps = [
        "alloc outer",
        "alloc root",
        "activate root",
        "activate outer",
        "deactivate outer",
        "deactivate root",
        "free root",
        "free outer",
    ]
    assert [text for _, text in rig.log] == steps
    assert (outer.find_mapping(5), root.find_mapping(irq), irq in rig.core.descs) == (0, 0, False)
    full = LoggingDomain(rig, "full", refuse=True)
    child = LoggingDomain(rig, "child", parent=full)
    rig.log.clear()
    with pytest.raises(UsageError) as refused:
        child.create_mapping(1)
    assert (refused.value.errno, [text for _, text in rig.log]) == (28, ["alloc child", "free child"])

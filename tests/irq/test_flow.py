"""Test what the conformance cases do not say of the flow handlers: their times, their records, and the core's table."""

from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.irq.desc import IRQ_WAKE_THREAD, IRQF_NO_SUSPEND, IRQF_SHARED, Irqf
from asyncirq.irq.flow import handle_edge_irq, handle_fasteoi_irq, handle_level_irq
from asyncirq.irq.sim_chip import IrqSim
from tests.irq.harness import Rig, boot, close_rigs  # noqa: F401


@pytest.mark.parametrize(
    ("flow", "before", "after"),
    [(handle_level_irq, 80, 60 + 40), (handle_edge_irq, 40, 60), (handle_fasteoi_irq, 0, 60 + 40)],
)
def test_times_of_the_flows(flow: object, before: int, after: int) -> None:
    rig = Rig(irq_entry_ns=250, irq_return_ns=60)
    desc, _ = rig.line(flow, IrqSim(ns=40))  # type: ignore[arg-type]
    rig.request(desc, rig.handler(ns=1000))
    rig.fire_at(5000, desc.irq)
    rig.play(10_000)
    start = 5250 + before
    assert [event[0] for event in rig.events("irq_handler_entry", "irq_handler_exit")] == [start, start + 1000]
    assert [event[0] for event in rig.events("vector_exit")] == [start + 1000 + after]


def test_thread_is_woken_after_the_exit_record() -> None:
    rig = Rig(irq_wake_thread_ns=80)
    desc, _ = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD), rig.thread_fn())
    rig.fire_at(5000, desc.irq)
    rig.play(10_000)
    events = rig.events("irq_handler_entry", "irq_handler_exit", "sched_waking", "sched_wakeup", "irq_thread_entry", "irq_thread_exit")
    assert [(event[0], event[2]) for event in events] == [
        (5000, "irq_handler_entry"),
        (5000, "irq_handler_exit"),
        (5080, "sched_waking"),
        (5080, "sched_wakeup"),
        (5080, "irq_thread_entry"),
        (5080, "irq_thread_exit"),
    ]


def test_causes_lead_from_the_thread_to_the_interrupt() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD), rig.thread_fn())
    rig.fire_at(5000, desc.irq)
    rig.play(10_000)
    by_seq = {record.seq: record for record in rig.records()}
    record = next(record for record in rig.records() if type(record).__name__ == "IrqThreadEntry")
    chain = []
    while record.cause:
        record = by_seq[record.cause]
        chain.append(type(record).__name__)
    assert chain == ["SchedSwitch", "SchedWaking", "IrqHandlerEntry", "LapicInta", "LapicIrr"]


def test_debug_switch_shows_the_steps() -> None:
    rig = Rig(debug=True)
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler())
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    steps = [event[3:] for event in rig.events("irq_flow") if event[0] == 1000]
    assert steps == [(desc.irq, "level", "mask"), (desc.irq, "level", "ack"), (desc.irq, "level", "unmask")]
    quiet = Rig()
    line, _ = quiet.line(handle_level_irq)
    quiet.request(line, quiet.handler())
    assert quiet.events("irq_flow") == []


def test_fresh_descriptor_and_bad_irq() -> None:
    rig = Rig()
    desc = rig.core.alloc_desc()
    assert (desc.depth, desc.disabled, desc.masked, desc.action, desc.kstat_irqs) == (1, True, True, None, [0])
    ended: list[int] = []
    rig.core.ack_bad_irq = lambda cpu, irq: ended.append(irq)
    line, _ = rig.line(desc.handle_irq)
    rig.fire_at(1000, line.irq)
    rig.play(2000)
    assert rig.said() == [f"unexpected IRQ trap at irq {line.irq}"]
    assert (ended, line.kstat_irqs, line.tot_count) == ([line.irq], [1], 1)


@pytest.mark.parametrize(
    ("flags", "dev_id", "words"),
    [
        (IRQF_SHARED, None, "needs a dev_id"),
        (Irqf.SHARED | Irqf.NO_AUTOEN, "a", "cannot be both SHARED and NO_AUTOEN"),
        (Irqf.COND_SUSPEND, "a", "COND_SUSPEND needs SHARED"),
        (Irqf.COND_SUSPEND | Irqf.SHARED | IRQF_NO_SUSPEND, "a", "COND_SUSPEND needs SHARED"),
    ],
)
def test_refused_flags(flags: int, dev_id: object, words: str) -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq)
    with pytest.raises(UsageError, match=words) as refused:
        boot(rig.core.request_irq(None, desc.irq, rig.handler(), flags, "lab", dev_id))
    assert (refused.value.errno, chip.taken(), desc.action) == (22, [], None)


def test_refused_lines() -> None:
    rig = Rig()
    with pytest.raises(UsageError) as no_desc:
        boot(rig.core.request_irq(None, 99, rig.handler()))
    desc = rig.core.alloc_desc()
    with pytest.raises(UsageError) as no_chip:
        boot(rig.core.request_irq(None, desc.irq, rig.handler()))
    line, chip = rig.line(handle_level_irq, IrqSim(also=("set_type",)))
    with pytest.raises(UsageError) as nothing_to_call:
        boot(rig.core.request_threaded_irq(None, line.irq, None, None))
    chip.type_error = -22
    with pytest.raises(UsageError) as wrong_type:
        boot(rig.core.request_irq(None, line.irq, rig.handler(), Irqf.TRIGGER_LOW, "lab"))
    assert [error.value.errno for error in (no_desc, no_chip, nothing_to_call, wrong_type)] == [22, 38, 22, 22]
    assert rig.said() == [f"Setting trigger mode 8 for irq {line.irq} failed"]


def test_descriptor_numbers() -> None:
    rig = Rig()
    assert [rig.core.alloc_desc(irq).irq for irq in (-1, 3, -1)] == [16, 3, 17]
    with pytest.raises(UsageError) as taken:
        rig.core.alloc_desc(3)
    assert taken.value.errno == 17
    rig.core.free_desc(16)
    assert [desc.irq for desc in rig.core.all_descs()] == [3, 17]

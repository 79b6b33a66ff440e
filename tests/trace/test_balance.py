from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncirq.trace import PAIRS, RECORD_TYPES, Record, Recorder, Unbalanced, assert_balanced, open_spans, tag_of
from tests.trace.fakes import FakeCpu, own_fields, recorder, tags


def made(emit: Callable[[Recorder], object]) -> list[Record]:
    rec, memory = recorder()
    emit(rec)
    rec.flush()
    return memory.records


def test_every_pair_exists_and_carries_its_key_at_both_ends() -> None:
    kinds = {tag_of(kind): kind for kind in RECORD_TYPES}
    for pair in PAIRS:
        assert set(pair.key) <= set(own_fields(kinds[pair.entry])) & set(own_fields(kinds[pair.exit]))


def test_every_entry_event_is_in_the_table() -> None:
    known = {pair.entry for pair in PAIRS} | {pair.exit for pair in PAIRS}
    ends = {tag_of(kind) for kind in RECORD_TYPES if tag_of(kind).endswith(("_entry", "_exit", "_start", "_end"))}
    assert ends - known == {"sched_process_exit", "timer_start", "hrtimer_start", "cpuhp_exit"}
    assert known <= ends


def interrupt(rec: Recorder, cpu: FakeCpu) -> None:
    rec.vector_entry(cpu, 49)
    rec.irq_handler_entry(cpu, 19, "eth0")
    rec.irq_handler_exit(cpu, 19, 1)
    rec.irq_handler_entry(cpu, 19, "usb")
    rec.irq_handler_exit(cpu, 19, 0)
    rec.vector_exit(cpu, 49)


def test_nested_spans_are_balanced() -> None:
    def emit(rec: Recorder) -> None:
        cpu, other = FakeCpu(id=0), FakeCpu(id=1, pid=43)
        interrupt(rec, cpu)
        rec.softirq_entry(cpu, 6)
        rec.tasklet_entry(cpu, "t", "f")
        rec.softirq_entry(other, 6)
        interrupt(rec, cpu)
        rec.softirq_exit(other, 6)
        rec.tasklet_exit(cpu, "t", "f")
        rec.softirq_exit(cpu, 6)

    assert_balanced(made(emit))


def test_idle_tasks_of_two_cpus_are_two_contexts() -> None:
    def emit(rec: Recorder) -> None:
        zero, one = FakeCpu(id=0, pid=0), FakeCpu(id=1, pid=0)
        rec.local_timer_entry(zero, 236)
        rec.local_timer_entry(one, 236)
        rec.local_timer_exit(zero, 236)
        rec.local_timer_exit(one, 236)

    assert_balanced(made(emit))


def switched(rec: Recorder, begin: Callable[[FakeCpu], object], end: Callable[[FakeCpu], object], back_on: int = 0) -> None:
    begin(FakeCpu(id=0, pid=42))
    rec.sched_switch(FakeCpu(id=0, pid=42), "a", 42, 120, "R+", "b", 43, 120)
    interrupt(rec, FakeCpu(id=0, pid=43))
    rec.sched_switch(FakeCpu(id=back_on, pid=43), "b", 43, 120, "S", "a", 42, 120)
    end(FakeCpu(id=back_on, pid=42))


def test_spans_of_a_task_survive_switches_and_migration() -> None:
    def work(rec: Recorder) -> None:
        switched(rec, lambda cpu: rec.workqueue_execute_start(cpu, "w", "f"), lambda cpu: rec.workqueue_execute_end(cpu, "w", "f"), 1)

    def thread(rec: Recorder) -> None:
        switched(rec, lambda cpu: rec.irq_thread_entry(cpu, 19, "eth0"), lambda cpu: rec.irq_thread_exit(cpu, 19, "eth0"), 1)

    assert_balanced(made(work))
    assert_balanced(made(thread))


def test_softirq_belongs_to_the_task_on_rt_alone() -> None:
    def emit(rec: Recorder) -> None:
        switched(rec, lambda cpu: rec.softirq_entry(cpu, 3), lambda cpu: rec.softirq_exit(cpu, 3))

    records = made(emit)
    assert_balanced(records, rt=True)
    with pytest.raises(Unbalanced, match="switch while this is open: SoftirqEntry") as caught:
        assert_balanced(records)
    assert caught.value.record is records[1]


def test_hardirq_pins_its_cpu_on_rt_too() -> None:
    def switch(rec: Recorder) -> None:
        switched(rec, lambda cpu: rec.irq_handler_entry(cpu, 19, "a"), lambda cpu: rec.irq_handler_exit(cpu, 19, 1))

    def migrate(rec: Recorder) -> None:
        rec.irq_handler_entry(FakeCpu(id=0), 19, "a")
        rec.irq_handler_exit(FakeCpu(id=1), 19, 1)

    with pytest.raises(Unbalanced, match="switch while this is open: IrqHandlerEntry"):
        assert_balanced(made(switch), rt=True)
    with pytest.raises(Unbalanced, match="irq_handler_exit on CPU 1 of a span begun on CPU 0"):
        assert_balanced(made(migrate), rt=True)


def test_exit_without_entry() -> None:
    records = made(lambda rec: rec.softirq_exit(FakeCpu(), 3))
    with pytest.raises(Unbalanced, match="softirq_exit without softirq_entry in pid 42 on CPU 1") as caught:
        assert_balanced(records)
    assert caught.value.record is records[0]


def test_exit_in_another_task() -> None:
    def emit(rec: Recorder) -> None:
        rec.softirq_entry(FakeCpu(pid=42), 3)
        rec.softirq_exit(FakeCpu(pid=43), 3)

    with pytest.raises(Unbalanced, match="softirq_exit without softirq_entry in pid 43"):
        assert_balanced(made(emit))


def test_exit_of_another_key() -> None:
    def emit(rec: Recorder) -> None:
        rec.softirq_entry(FakeCpu(), 3)
        rec.softirq_exit(FakeCpu(), 4)

    records = made(emit)
    with pytest.raises(Unbalanced, match="softirq_exit while this is open: SoftirqEntry") as caught:
        assert_balanced(records)
    assert caught.value.record is records[1]


def test_spans_that_cross() -> None:
    def emit(rec: Recorder) -> None:
        rec.vector_entry(FakeCpu(), 49)
        rec.irq_handler_entry(FakeCpu(), 19, "a")
        rec.vector_exit(FakeCpu(), 49)
        rec.irq_handler_exit(FakeCpu(), 19, 1)

    records = made(emit)
    with pytest.raises(Unbalanced, match="vector_exit while this is open: IrqHandlerEntry") as caught:
        assert_balanced(records)
    assert caught.value.record is records[2]


def test_spans_cut_by_the_end_of_the_run() -> None:
    def emit(rec: Recorder) -> None:
        rec.workqueue_execute_start(FakeCpu(pid=43), "w", "f")
        rec.vector_entry(FakeCpu(pid=42), 49)
        rec.irq_handler_entry(FakeCpu(pid=42), 19, "a")

    records = made(emit)
    assert tags(open_spans(records)) == ["workqueue_execute_start", "vector_entry", "irq_handler_entry"]
    with pytest.raises(Unbalanced, match="3 spans never end") as caught:
        assert_balanced(records)
    assert caught.value.record is records[0]

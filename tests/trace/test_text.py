from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asyncirq.trace import NANOSECONDS, CommTable, Recorder, event_text, render, render_trace
from asyncirq.trace.text import timestamp
from tests.trace.fakes import FakeCpu, one_of_each, recorder

CPU = FakeCpu()
MATRIX = (1, 2, 3, 4)

TEXTS: list[tuple[Callable[[Recorder], Any], str]] = [
    (lambda r: r.irq_handler_entry(CPU, 19, "eth0"), "irq=19 name=eth0"),
    (lambda r: r.irq_handler_exit(CPU, 19, 0), "irq=19 ret=unhandled"),
    (lambda r: r.irq_handler_exit(CPU, 19, 1), "irq=19 ret=handled"),
    (lambda r: r.irq_handler_exit(CPU, 19, 2), "irq=19 ret=handled"),
    (lambda r: r.softirq_raise(CPU, 3), "vec=3 [action=NET_RX]"),
    (lambda r: r.softirq_entry(CPU, 9), "vec=9 [action=RCU]"),
    (lambda r: r.tasklet_entry(CPU, "t", "f"), "tasklet=t function=f"),
    (
        lambda r: r.workqueue_queue_work(CPU, "w", "f", "events", 64, 1),
        "work struct=w function=f workqueue=events req_cpu=64 cpu=1",
    ),
    (lambda r: r.workqueue_activate_work(CPU, "w", "f"), "work struct w function=f "),
    (lambda r: r.workqueue_execute_start(CPU, "w", "f"), "work struct w: function f"),
    (lambda r: r.napi_poll(CPU, "n", "eth0", 7, 64), "napi poll on napi struct n for device eth0 work 7 budget 64"),
    (lambda r: r.timer_init(CPU, "t"), "timer=t"),
    (
        lambda r: r.timer_start(CPU, "t", "f", 110, 10, 112, 1, 5, "D|P"),
        "timer=t function=f expires=110 [timeout=10] bucket_expiry=112 cpu=1 idx=5 flags=D|P",
    ),
    (lambda r: r.timer_expire_entry(CPU, "t", "f", 112, 111), "timer=t function=f now=112 baseclk=111"),
    (lambda r: r.timer_base_idle(CPU, True, 2), "is_idle=1 cpu=2"),
    (lambda r: r.hrtimer_setup(CPU, "h", "CLOCK_MONOTONIC", "ABS|HARD"), "hrtimer=h clockid=CLOCK_MONOTONIC mode=ABS|HARD"),
    (
        lambda r: r.hrtimer_start(CPU, "h", "f", 9, 8, "ABS", True),
        "hrtimer=h function=f expires=9 softexpires=8 mode=ABS was_armed=1",
    ),
    (lambda r: r.hrtimer_expire_entry(CPU, "h", "f", 9), "hrtimer=h function=f now=9"),
    (lambda r: r.hrtimer_rearm(CPU, 9, False), "next_event=9 deferred=0"),
    (lambda r: r.tick_stop(CPU, False, "RCU"), "success=0 dependency=RCU"),
    (lambda r: r.sched_waking(CPU, "bash", 42, 120, 3), "comm=bash pid=42 prio=120 target_cpu=003"),
    (
        lambda r: r.sched_switch(CPU, "bash", 42, 120, "R+", "ksoftirqd/0", 15, 120),
        "prev_comm=bash prev_pid=42 prev_prio=120 prev_state=R+ ==> next_comm=ksoftirqd/0 next_pid=15 next_prio=120",
    ),
    (lambda r: r.sched_migrate_task(CPU, "bash", 42, 120, 0, 1), "comm=bash pid=42 prio=120 orig_cpu=0 dest_cpu=1"),
    (lambda r: r.sched_pi_setprio(CPU, "bash", 42, 120, 49), "comm=bash pid=42 oldprio=120 newprio=49"),
    (lambda r: r.sched_stat_runtime(CPU, "bash", 42, 999), "comm=bash pid=42 runtime=999 [ns]"),
    (lambda r: r.sched_process_exit(CPU, "bash", 42, 120), "comm=bash pid=42 prio=120 group_dead=true"),
    (lambda r: r.sched_process_exit(CPU, "bash", 42, 120, False), "comm=bash pid=42 prio=120 group_dead=false"),
    (lambda r: r.task_newtask(CPU, 42, "bash", 0x800700), "pid=42 comm=bash clone_flags=800700 oom_score_adj=0"),
    (lambda r: r.irq_disable(CPU, "a+0x1", "b"), "caller=a+0x1 parent=b"),
    (lambda r: r.ipi_send_cpu(CPU, 2, "a", "b"), "cpu=2 callsite=a callback=b"),
    (lambda r: r.ipi_send_cpumask(CPU, "0-3", "a", "b"), "cpumask=0-3 callsite=a callback=b"),
    (lambda r: r.csd_queue_cpu(CPU, 2, "a", "f", "c"), "cpu=2 callsite=a func=f csd=c"),
    (lambda r: r.csd_function_entry(CPU, "f", "c"), "func=f, csd=c"),
    (lambda r: r.cpuhp_enter(CPU, 1, 199, 5, "f"), "cpu: 0001 target: 199 step:   5 (f)"),
    (lambda r: r.cpuhp_exit(CPU, 1, 5, 6, -16), " cpu: 0001  state:   5 step:   6 ret: -16"),
    (lambda r: r.nmi_handler(CPU, "perf", 12, 1), "perf() delta_ns: 12 handled: 1"),
    (lambda r: r.local_timer_entry(CPU, 236), "vector=236"),
    (lambda r: r.call_function_single_exit(CPU, 251), "vector=251"),
    (lambda r: r.vector_config(CPU, 19, 49, 1, 0x10), "irq=19 vector=49 cpu=1 apicdest=0x00000010"),
    (lambda r: r.vector_update(CPU, 19, 50, 1, 49, 0), "irq=19 vector=50 cpu=1 prev_vector=49 prev_cpu=0"),
    (lambda r: r.vector_alloc(CPU, 19, 49, True, 0), "irq=19 vector=49 reserved=1 ret=0"),
    (lambda r: r.vector_activate(CPU, 19, False, True, True), "irq=19 is_managed=0 can_reserve=1 reserve=1"),
    (lambda r: r.vector_teardown(CPU, 19, False, True), "irq=19 is_managed=0 has_reserved=1"),
    (lambda r: r.vector_setup(CPU, 19, True, 0), "irq=19 is_legacy=1 ret=0"),
    (lambda r: r.vector_free_moved(CPU, 19, 0, 49, False), "irq=19 cpu=0 vector=49 is_managed=0"),
    (lambda r: r.irq_matrix_online(CPU, *MATRIX), "online_maps=1 global_avl=2, global_rsvd=3, total_alloc=4"),
    (
        lambda r: r.irq_matrix_assign_system(CPU, 48, *MATRIX),
        "bit=48 online_maps=1 global_avl=2, global_rsvd=3, total_alloc=4",
    ),
    (
        lambda r: r.irq_matrix_alloc(CPU, 49, 1, True, 200, 5, 0, *MATRIX),
        "bit=49 cpu=1 online=1 avl=200 alloc=5 managed=0 online_maps=1 global_avl=2, global_rsvd=3, total_alloc=4",
    ),
    (lambda r: r.signal_deliver(CPU, 11, 0, 1, 0x4000, 0x14000000), "sig=11 errno=0 code=1 sa_handler=4000 sa_flags=14000000"),
    (lambda r: r.cpu_idle(CPU, 4294967295), "state=4294967295 cpu_id=1"),
    (lambda r: r.mark(CPU, "hello"), "hello"),
    (lambda r: r.printk(CPU, 3, "nobody cared"), "<3>nobody cared"),
    (lambda r: r.msi_write(0, 0xFEE00000, 0x4031), "address=0xfee00000 data=0x00004031"),
    (
        lambda r: r.ioapic_deliver(0, 0, 19, 49, 1, "physical", "fixed", "level"),
        "ioapic=0 pin=19 vector=49 dest=1 dest_mode=physical delivery_mode=fixed trigger=level",
    ),
]


@pytest.mark.parametrize(("emit", "text"), TEXTS, ids=[text[:40] for _, text in TEXTS])
def test_text_of_an_event(emit: Callable[[Recorder], Any], text: str) -> None:
    rec, memory = recorder()
    emit(rec)
    rec.flush()
    assert event_text(memory.records[0]) == text


def test_every_record_type_has_a_text() -> None:
    for record in one_of_each():
        assert isinstance(event_text(record), str)


def test_line_is_as_in_linux() -> None:
    rec, memory = recorder(now=5_123_456_789)
    rec.irq_handler_entry(FakeCpu(id=12, preempt_count=0x10001, need_resched=True), 19, "eth0")
    rec.flush()
    line = render(memory.records[0], CommTable({42: "bash"}))
    assert line == "            bash-42      [012] dNh1.     5.123457: irq_handler_entry: irq=19 name=eth0"


def test_names_are_learnt_on_the_way_unless_given() -> None:
    rec, memory = recorder(now=0)
    rec.softirq_entry(FakeCpu(id=0, preempt_count=0x100, irqs_off=False), 1)
    rec.sched_switch(FakeCpu(id=0), "bash", 42, 120, "S", "swapper/0", 0, 120)
    rec.softirq_entry(FakeCpu(id=0, pid=0, preempt_count=0x100, irqs_off=False), 1)
    rec.device_raise(0, "eth0", "rx")
    rec.flush()
    heads = [line[:32] for line in render_trace(memory.records)]
    assert heads == [
        "           <...>-42      [000] .",
        "            bash-42      [000] d",
        "          <idle>-0       [000] .",
        "      <hardware>--1      [---] .",
    ]
    assert next(render_trace(memory.records, CommTable.of(memory.records))).startswith("            bash-42 ")


@pytest.mark.parametrize(
    ("ts", "micro", "nano"),
    [
        (0, "    0.000000", "    0.000000000"),
        (499, "    0.000000", "    0.000000499"),
        (500, "    0.000001", "    0.000000500"),
        (999_999_499, "    0.999999", "    0.999999499"),
        (999_999_500, "    1.000000", "    0.999999500"),
        (123_456_000_000_001, "123456.000000", "123456.000000001"),
    ],
)
def test_timestamps_round_as_linux_does_or_not_at_all(ts: int, micro: str, nano: str) -> None:
    assert (timestamp(ts), timestamp(ts, NANOSECONDS)) == (micro, nano)

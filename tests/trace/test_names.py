from __future__ import annotations

import pytest

from asyncirq.trace import CommTable, latency_flags, softirq_name
from tests.trace.fakes import FakeCpu, recorder


@pytest.mark.parametrize(
    ("count", "common", "flags"),
    [
        (0, 0, "....."),
        (0, 1, "d...."),
        (1, 0, "...1."),
        (0x200, 0, "b...."),
        (0x201, 1, "D..1."),
        (0x100, 0, "..s.."),
        (0x300, 0, "b.s.."),
        (0x10000, 1, "d.h.."),
        (0x10101, 5, "dNH1."),
        (0x110000, 1, "d.Z.."),
        (0x100000, 1, "d.z.."),
        (0x110100, 1, "d.Z.."),
        (0x10101, 3, "dlH1."),
        (0x10101, 7, "dBH1."),
        (0x0A, 4, ".N.a."),
        (0x0F, 0, "...f."),
        (0x10, 0, "...f."),
        (0xFF, 0, "...f."),
        (0x80000000, 0, "....."),
    ],
)
def test_flags_are_ftraces(count: int, common: int, flags: str) -> None:
    assert latency_flags(count, common) == flags


@pytest.mark.parametrize(("depth", "flags"), [(0, "....."), (1, "....1"), (15, "....f"), (99, "....f")])
def test_migrate_disable_depth(depth: int, flags: str) -> None:
    assert latency_flags(0, 0, depth) == flags


def test_softirq_names() -> None:
    names = [softirq_name(vec) for vec in range(11)]
    assert names == ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU", "10"]
    assert softirq_name(-1) == "-1"


def test_comm_table_learns_from_records() -> None:
    rec, memory = recorder()
    cpu = FakeCpu()
    rec.task_newtask(cpu, 10, "new")
    rec.sched_switch(cpu, "swapper/1", 0, 120, "R", "next", 11, 120)
    rec.sched_waking(cpu, "woken", 12, 120, 0)
    rec.sched_process_fork(cpu, "parent", 13, "child", 14)
    rec.task_newtask(cpu, 10, "renamed")
    rec.flush()
    table = CommTable.of(memory.records)
    assert [table[pid] for pid in (0, 10, 11, 12, 13, 14, 15, -1)] == [
        *("<idle>", "renamed", "next", "woken", "parent", "child", "<...>", "<hardware>")
    ]


def test_comm_table_begins_with_what_is_known() -> None:
    table = CommTable({0: "swapper/0", 1: "init"})
    assert (table[0], table[1], table[2]) == ("<idle>", "init", "<...>")

"""Hold the soft and napi cases that the copied captures lack against what is known of them on the same kernels.

Of these cases the order of the events is known for every captured kernel, but not their rows.
"""

from __future__ import annotations

import pytest

from asyncirq.trace.names import SOFTIRQ_NAMES
from tests.lab.bench import Bench
from tests.lab.cases import group_of
from tests.lab.compare import told
from tests.lab.extract import rows_of
from tests.lab.kernels import KERNELS, Kernel
from tests.lab.rows import capture
from tests.lab.soft_rows import clean

pytestmark = pytest.mark.softirq_rule("plain timers")
STOCK, SMP2, FORCED, RT, RT_ICOUNT, STOCK_612, RT_612 = KERNELS
INLINE = (STOCK, SMP2, STOCK_612)
every_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.capture)


def seen(kernel: Kernel, case: str) -> list[str]:
    """Return what the model tells of a case that no capture holds."""
    assert all(case not in capture(each.capture) for each in KERNELS)
    group = group_of(case)
    assert group is not None
    return told(clean(rows_of(Bench(kernel.config, kernel.cpus, costs=group.costs).run(case, group.programs[case]))))


def entries(rows: list[str]) -> list[str]:
    """Return who runs which vectors: ``task VECTOR``."""
    return [f"{row.split()[1]} {row.split()[-1]}" for row in rows if " softirq entry " in row]


def top(kernel: Kernel) -> int:
    return 8 if kernel.config.rt else 9


@every_kernel
def test_raised_in_a_hard_interrupt_all_vectors_run_lowest_first(kernel: Kernel) -> None:
    """At the interrupt's exit, or in ksoftirqd where threads are forced; the timer vectors too, since the tick did not raise them."""
    rows = seen(kernel, "soft/raise-all-descending-from-hardirq")
    who = "idle" if kernel in INLINE else "ksoftirqd"
    all_of_them = [f"{who} {name}" for name in SOFTIRQ_NAMES[: top(kernel) + 1]]
    assert entries(rows)[: len(all_of_them)] == all_of_them
    assert {each.split()[1] for each in entries(rows)[len(all_of_them) :]} <= {"TIMER"}


@every_kernel
def test_raised_in_a_task_all_vectors_are_ksoftirqds(kernel: Kernel) -> None:
    """Nothing runs where interrupts are allowed again: the first raise has woken ksoftirqd."""
    rows = seen(kernel, "soft/process-context-irqsoff-raise-all")
    first = SOFTIRQ_NAMES[top(kernel)]
    assert rows[:2] == [f". insmod softirq raise {first}", ". insmod wakeup ksoftirqd prio=120"]
    all_of_them = [f"ksoftirqd {name}" for name in SOFTIRQ_NAMES[: top(kernel) + 1]]
    assert entries(rows)[: len(all_of_them)] == all_of_them
    i = rows.index(". insmod before irq restore")
    assert rows[i + 1] == ". insmod after irq restore"


@every_kernel
def test_tasklets_run_in_the_order_of_their_scheduling_and_hi_ones_first(kernel: Kernel) -> None:
    rows = seen(kernel, "soft/tasklet-order-0-1-2-0-hi3")
    assert [row.split()[3] for row in rows if " tasklet " in row] == ["3", "0", "1", "2"]
    # The second scheduling of tasklet 0 raises nothing.
    assert sum("softirq raise TASKLET" in row for row in rows) == 3


@every_kernel
def test_block_waits_for_a_runnable_ksoftirqd_before_6_5_only(kernel: Kernel) -> None:
    rows = seen(kernel, "soft/ksoftirqd-runnable-not-running-irq-raises-BLOCK")
    who = "insmod" if kernel is STOCK_612 else "ksoftirqd"
    assert entries(rows) == [f"{who} NET_TX", f"{who} BLOCK"]


@every_kernel
def test_softirqs_run_when_the_outer_section_ends(kernel: Kernel) -> None:
    rows = seen(kernel, "soft/irq-while-bh-nested")
    i = rows.index(". insmod after inner enable")
    assert rows[i + 1] == "s insmod softirq entry TASKLET"
    assert rows.index(". insmod after outer enable") > i + 1


@every_kernel
def test_two_instances_are_polled_once_each_in_a_pass(kernel: Kernel) -> None:
    """Nine passes of two polls: the budget of 300 packets is never reached."""
    rows = seen(kernel, "napi/two-8-full-polls-each")
    polls = [row.split()[3] for row in rows if " poll " in row]
    assert polls == ["0", "1"] * 9
    assert len(entries(rows)) == 9


@every_kernel
def test_sixty_full_polls_are_ten_passes_inline_and_the_rest_ksoftirqds(kernel: Kernel) -> None:
    rows = seen(kernel, "napi/one-60-full-polls")
    inline = 10 if kernel in INLINE else 0
    assert entries(rows) == ["idle NET_RX"] * inline + ["ksoftirqd NET_RX"] * (61 - inline)


@pytest.mark.parametrize("kernel", [each for each in KERNELS if each is not FORCED], ids=lambda kernel: kernel.capture)
def test_polls_run_where_a_task_allows_softirqs_again(kernel: Kernel) -> None:
    """With threads forced on 6.1 nothing is known: ksoftirqd is ready still, from the tick that ended the requester's sleep."""
    rows = seen(kernel, "napi/schedule-from-process-bh-off")
    assert entries(rows) == ["insmod NET_RX"] * 2
    assert rows[:2] == [". insmod softirq raise NET_RX", ". insmod before bh enable"]
    assert ". insmod after bh enable" in rows

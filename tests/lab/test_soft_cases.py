"""Show that the comparison of the soft and napi cases covers every capture, and that its filter hides no fault."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from asyncirq.bottom_half import softirq as softirq_module
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.bottom_half.tasklet import Tasklet, Tasklets
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import SOFTIRQ_DISABLE_OFFSET
from asyncirq.sched.task import Task
from tests.lab.bench import MS, US, Bench
from tests.lab.cases import group_of
from tests.lab.compare import MIDDLE, outcome, same, told
from tests.lab.daemons import TURN
from tests.lab.exceptions import EXCEPTIONS
from tests.lab.extract import rows_of
from tests.lab.kernels import KERNELS, Kernel
from tests.lab.normalise import UNKNOWN
from tests.lab.rows import Row, capture, captures
from tests.lab.soft_rows import clean
from tests.lab.table import outcome_of, pairs

pytestmark = pytest.mark.softirq_rule("plain timers")
STOCK, SMP2, FORCED, RT, RT_ICOUNT, STOCK_612, RT_612 = KERNELS
SPIN = "soft/tasklet-disabled"
STORM = "soft/ksoftirqd-runnable-and-new-irq-raises-NET_TX"
AGAIN = "soft/tasklet-self-resched-25"
BUSY = "soft/tasklet-self-resched-8-busy-3ms"
RUNNABLE = "soft/ksoftirqd-runnable-not-running-irq-raises-TASKLET"


def model_rows(kernel: Kernel, case: str, noise: Callable[[Bench], None] | None = None) -> list[Row]:
    group = group_of(case)
    assert group is not None
    bench = Bench(kernel.config, kernel.cpus, costs=group.costs)
    if noise is not None:
        noise(bench)
    return rows_of(bench.run(case, group.programs[case]))


def test_every_captured_soft_and_napi_case_is_expressed() -> None:
    given = {(name, case) for name in captures() for case in capture(name) if case.startswith(("soft/", "napi/"))}
    assert given <= set(pairs())
    assert len(given) == 91


def test_exceptions_differ_in_what_their_reasons_say() -> None:
    unlocked = outcome_of("L-61-rt", BUSY)
    assert unlocked.real[unlocked.first_difference :] == [". ksoftirqd switch ksoftirqd(R+) -> insmod prio=120"]
    late = outcome_of("L-612-stock", "soft/tasklet-busy-2ms-with-irq-raising-during")
    i = late.first_difference
    assert late.real[i] == "s idle softirq entry NET_TX"
    assert late.model[i] == "s idle wakeup ksoftirqd prio=120"
    named = {pair for pair in EXCEPTIONS if pair[1].startswith(("soft/", "napi/"))}
    assert named == {("L-61-rt", BUSY), ("L-612-stock", "soft/tasklet-busy-2ms-with-irq-raising-during")}


# --- a fault in what is told


@pytest.mark.parametrize("kernel", [STOCK, RT_ICOUNT, RT_612], ids=lambda kernel: kernel.capture)
def test_no_event_of_a_case_can_be_missing_unseen(kernel: Kernel) -> None:
    """Leave out each event in turn that the filter keeps: what is told changes every time."""
    for name, case in pairs():
        if name != kernel.capture or not case.startswith(("soft/", "napi/")) or case == SPIN:
            continue
        rows = model_rows(kernel, case)
        whole = clean(rows)
        told_whole = told(whole)
        kept = {(row.ts, row.cpu, row.what) for row in whole}
        step = 1 if len(rows) < 100 else 7
        for i, row in list(enumerate(rows))[::step]:
            if (row.ts, row.cpu, row.what) in kept:
                assert told(clean(rows[:i] + rows[i + 1 :])) != told_whole, (case, row)


@pytest.mark.parametrize("kernel", [STOCK, RT_ICOUNT], ids=lambda kernel: kernel.capture)
def test_no_event_of_a_case_can_change_its_place_unseen(kernel: Kernel) -> None:
    """Exchange neighbours that say different things: what is told changes every time."""
    for name, case in pairs():
        if name != kernel.capture or not case.startswith(("soft/", "napi/")) or case == SPIN:
            continue
        rows = clean(model_rows(kernel, case))
        step = 1 if len(rows) < 100 else 7
        for i, (one, other) in list(enumerate(pairwise(rows)))[::step]:
            if told([one]) != told([other]) and "switch" not in one.what + other.what:
                assert told(clean([*rows[:i], other, one, *rows[i + 2 :]])) != told(rows), (case, one, other)


def test_model_never_lacks_a_switch() -> None:
    for name, case in pairs():
        if case.startswith(("soft/", "napi/")):
            kernel = next(kernel for kernel in KERNELS if kernel.capture == name)
            assert not any(UNKNOWN in row.what for row in clean(model_rows(kernel, case))), (name, case)


def test_middle_that_a_capture_leaves_out_may_be_anything_but_its_ends_may_not() -> None:
    assert same(["a", "b", MIDDLE, "y", "z"], ["a", "b", "c", "y", "z"])
    assert same(["a", MIDDLE, "z"], ["a", "z"])
    assert not same(["a", MIDDLE, "z"], ["a"])
    assert not same(["a", MIDDLE, "a"], ["a"])
    assert not same(["a", "b", MIDDLE, "z"], ["a", "x", "z"])
    assert not same(["a", MIDDLE, "y", "z"], ["a", "b", "z"])


def row(task: str, what: str, context: str = "s") -> Row:
    return Row(0, 0, context, task, what)


SWITCHED = [
    row("idle", "shot begin n=0 cpu=0", "h"),
    row("idle", "softirq raise TASKLET", "h"),
    row("idle", "shot end n=0", "h"),
    row("idle", "wakeup ksoftirqd prio=120", "."),
    row("idle", "switch idle(R) -> ksoftirqd prio=120", "."),
]
TURNS = [row("ksoftirqd", f"softirq {step} TASKLET") for step in ("entry", "raise", "exit")]


def test_turns_of_a_daemon_are_told_once_but_a_pass_with_a_tasklet_is_told() -> None:
    assert told(clean([*SWITCHED, *TURNS, *TURNS])) == [*told(SWITCHED), f"s ksoftirqd {TURN}"]
    entry, _, leave = TURNS
    ran = [entry, row("ksoftirqd", "tasklet_entry"), row("ksoftirqd", "tasklet_exit"), leave]
    assert told(clean([*SWITCHED, *TURNS, *ran])) == [*told(SWITCHED), f"s ksoftirqd {TURN}", *told(ran)]


def test_turn_that_raises_nothing_is_told() -> None:
    entry, _, leave = TURNS
    assert "s ksoftirqd softirq exit TASKLET" in told(clean([*SWITCHED, *TURNS, entry, leave, *TURNS]))


# --- noise


def other_timers(bench: Bench) -> None:
    """Give the machine a task whose sleeps end on ticks: TIMER for ktimers, or for ksoftirqd where threads are forced."""

    async def runs(task: Task) -> None:
        while bench.machine.now < 900 * MS:
            await bench.machine.sleep.msleep(task, 8)
            await task.spend(20 * US)

    bench.machine.start_thread(runs, "usb-storage")


@pytest.mark.parametrize("kernel", [STOCK, FORCED, RT_ICOUNT, STOCK_612, RT_612], ids=lambda kernel: kernel.capture)
@pytest.mark.parametrize("case", [AGAIN, "soft/irq-during-bh-disabled-section", "napi/one-12-full-polls"])
def test_timers_of_others_are_filtered(kernel: Kernel, case: str) -> None:
    loud = model_rows(kernel, case, other_timers)
    assert told(clean(loud)) == told(clean(model_rows(kernel, case)))


def test_noise_of_others_is_heard() -> None:
    loud = model_rows(RT_ICOUNT, AGAIN, other_timers)
    quiet = model_rows(RT_ICOUNT, AGAIN)
    ktimers = [sum("wakeup ktimers" in each.what for each in rows) for rows in (loud, quiet)]
    assert ktimers[0] > ktimers[1] == 1


# --- a fault in the model


def differs(kernel: Kernel, case: str) -> bool:
    return not outcome(kernel, case).equal


@pytest.mark.parametrize(
    ("kernel", "case", "fault"),
    [
        (STOCK, AGAIN, {"softirq_max_restart": 9}),
        (STOCK, AGAIN, {"threadirqs": True}),
        (FORCED, AGAIN, {"threadirqs": False}),
        (STOCK_612, BUSY, {"softirq_max_time_ms": None}),
        (STOCK_612, BUSY, {"softirq_max_time_ms": 20}),
        (STOCK, "soft/process-context-tasklet_schedule", {"preemption": "full"}),
        (RT_ICOUNT, "soft/process-context-tasklet_schedule", {"lazy_preemption": True}),
        (RT_ICOUNT, STORM, {"ktimers": "never"}),
        (RT_ICOUNT, STORM, {"ktimers_wake_in_hardirq": False}),
        (RT_ICOUNT, STORM, {"bh_lock": False}),
        (STOCK, "napi/one-12-full-polls", {"softirq_max_restart": 11}),
        (STOCK, "napi/one-partial", {"napi_threaded": True}),
    ],
)
def test_kernel_with_another_policy_is_seen(kernel: Kernel, case: str, fault: dict[str, Any]) -> None:
    assert not differs(kernel, case)
    assert differs(kernel._replace(config=replace(kernel.config, **fault)), case)


def test_raise_that_forgets_to_wake_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nowake(self: Softirq, cpu: Cpu, nr: int) -> None:
        self.raise_softirq_nowake(cpu, nr)

    monkeypatch.setattr(Softirq, "raise_softirq_irqoff", nowake)
    assert differs(STOCK, "soft/process-context-tasklet_schedule")
    assert differs(STOCK, "napi/schedule-from-process")


def test_hi_and_tasklet_that_wait_for_ksoftirqd_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softirq_module, "SOFTIRQ_NOW_MASK", 0)
    assert differs(STOCK, RUNNABLE)


def test_enable_that_leaves_softirqs_pending_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def careless(self: Softirq, task: Task) -> None:
        task.cpu.preempt_count -= SOFTIRQ_DISABLE_OFFSET

    monkeypatch.setattr(Softirq, "local_bh_enable", careless)
    assert differs(STOCK, "soft/process-context-bh-disabled-tasklet_schedule")


def test_interrupt_that_runs_softirqs_where_they_are_off_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Softirq.irq_exit

    async def careless(self: Softirq, cpu: Cpu) -> None:
        count, cpu.preempt_count = cpu.preempt_count, cpu.preempt_count & 0xFF
        await honest(self, cpu)
        cpu.preempt_count = count

    monkeypatch.setattr(Softirq, "irq_exit", careless)
    assert differs(STOCK, "soft/irq-during-bh-disabled-section")


def test_disabled_tasklet_that_is_forgotten_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tasklets._action

    async def forgetful(self: Tasklets, cpu: Cpu, lists: list[list[Tasklet]], nr: int) -> None:
        if not any(tasklet.count for tasklet in lists[cpu.id]):
            await honest(self, cpu, lists, nr)

    monkeypatch.setattr(Tasklets, "_action", forgetful)
    assert differs(STOCK, SPIN)
    assert differs(RT_ICOUNT, SPIN)

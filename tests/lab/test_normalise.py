"""Show that the filter takes noise out and hides no fault: neither in what is told, nor in the model itself."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from asyncirq.bottom_half.softirq import BLOCK_SOFTIRQ
from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.config import KernelConfig
from asyncirq.hw.cpu import Cpu
from asyncirq.irq import flow, handle, thread
from asyncirq.irq.desc import IrqDesc
from asyncirq.irq.state import mask_irq
from asyncirq.sched.task import Task
from tests.lab.bench import MS, US, Bench
from tests.lab.cases import Group, group_of
from tests.lab.compare import matches, outcome, told
from tests.lab.extract import rows_of
from tests.lab.irq_cases import CASES
from tests.lab.kernels import KERNELS, Kernel
from tests.lab.normalise import SWITCH, UNKNOWN, clean
from tests.lab.rows import BEGIN, Row, capture
from tests.lab.table import Pair, pairs

STOCK, SMP2, FORCED, RT, RT_ICOUNT, STOCK_612, RT_612 = KERNELS
LONG = "irq/level/spurious-100000"
TWINS = [("wq/system-4-sleep-4ms", ".", what) for what in ("switch kworker(D) -> kworker prio=120", "wakeup kworker prio=120")]
"""What maker and new worker do to wait for each other happens twice and is told once: one of the two can be missing."""


def group(case: str) -> Group:
    found = group_of(case)
    assert found is not None
    return found


def short_pairs() -> list[Pair]:
    """Return the pairs but those of the soft and napi cases, which are long: see ``test_soft_cases``."""
    return [pair for pair in pairs() if not pair[1].startswith(("soft/", "napi/"))]


def model_rows(kernel: Kernel, case: str) -> list[Row]:
    of = group(case)
    return rows_of(Bench(kernel.config, kernel.cpus, costs=of.costs).run(case, of.programs[case]), more=of.words)


def filtered(case: str, rows: list[Row]) -> list[Row]:
    of = group(case)
    return of.clean(rows, of.own)


# --- a fault in what is told


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.capture)
def test_no_event_of_a_case_can_be_missing_unseen(kernel: Kernel) -> None:
    """Leave out each event in turn that the filter keeps: what is told changes every time, and never into what the capture lacks."""
    for name, case in short_pairs():
        if name != kernel.capture or case == LONG:
            continue
        rows = model_rows(kernel, case)
        whole = filtered(case, rows)
        told_whole = told(whole)
        kept = {(row.ts, row.cpu, row.what) for row in whole}
        for i, row in enumerate(rows):
            if row.what != BEGIN and (row.ts, row.cpu, row.what) in kept and (case, row.context, row.what) not in TWINS:
                less = told(filtered(case, rows[:i] + rows[i + 1 :]))
                assert less != told_whole, (case, row)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.capture)
def test_no_event_of_a_case_can_change_its_place_unseen(kernel: Kernel) -> None:
    """Exchange neighbours that say different things: what is told changes every time."""
    for name, case in short_pairs():
        if name != kernel.capture or case == LONG:
            continue
        rows = filtered(case, model_rows(kernel, case))
        for i, (one, other) in enumerate(pairwise(rows)):
            if one.cpu == other.cpu and told([one]) != told([other]) and "switch" not in one.what + other.what:
                mixed = told(filtered(case, [*rows[:i], other, one, *rows[i + 2 :]]))
                assert mixed != told(rows), (case, one, other)


def test_model_never_lacks_a_switch() -> None:
    """What the filter puts in as unknown is the capture's alone: the model's switches are complete, so a ? cannot match a ?."""
    for name, case in short_pairs():
        if case == LONG:
            continue
        kernel = next(kernel for kernel in KERNELS if kernel.capture == name)
        assert not any(UNKNOWN in row.what for row in filtered(case, model_rows(kernel, case))), (name, case)


def test_unknown_stands_for_state_and_priority_of_a_switch_alone() -> None:
    assert matches(". insmod switch insmod(?) -> idle prio=?", ". insmod switch insmod(D) -> idle prio=120")
    assert not matches(". insmod switch insmod(?) -> idle prio=?", ". insmod switch insmod(D) -> irq/N-lab prio=49")
    assert not matches(". insmod switch insmod(?) -> idle prio=120", ". insmod switch insmod(D) -> idle prio=49")
    assert not matches("h idle chip mask ---", "h idle chip mask -M-")
    assert not matches(". insmod switch insmod(D) -> idle prio=120", ". insmod switch insmod(?) -> idle prio=?")


# --- a fault in the model


def differs(kernel: Kernel, case: str) -> bool:
    return not outcome(kernel, case).equal


def test_line_that_stays_masked_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "unmask_irq", lambda cpu, desc: 0)
    assert differs(STOCK, "irq/level/hard-nothread")


def test_mask_after_ack_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def ack_then_mask(cpu: Cpu, desc: IrqDesc) -> int:
        cost = desc.chip.irq_ack(cpu, desc.data)
        return cost + mask_irq(cpu, desc)

    monkeypatch.setattr(flow, "mask_ack_irq", ack_then_mask)
    assert differs(STOCK, "irq/level/hard-nothread")


def test_thread_that_is_never_woken_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(cpu: Cpu, desc: IrqDesc, action: object) -> None:
        return None

    monkeypatch.setattr(handle, "irq_wake_thread", forget)
    assert differs(STOCK, "irq/edge/thr-wake-oneshot")


def test_line_that_is_live_only_after_the_softirqs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forced handler's line must be unmasked before bottom halves are enabled."""
    finalize = thread.finalize_oneshot

    async def late(core: Any, desc: IrqDesc, action: Any, task: Task) -> None:
        if not action.forced:
            await finalize(core, desc, action, task)

    async def and_then(desc: IrqDesc, task: Task) -> None:
        action = desc.action
        assert action is not None
        await finalize(desc.core, desc, action, task)
        await done(desc, task)

    done = thread._thread_done
    monkeypatch.setattr(thread, "finalize_oneshot", late)
    monkeypatch.setattr(thread, "_thread_done", and_then)
    assert differs(RT_ICOUNT, "irq/level/hard-tasklet")


@pytest.mark.parametrize(
    ("kernel", "case", "fault"),
    [
        (STOCK, "irq/level/thr-wake-oneshot", {"fifo_irq_prio": 49}),
        (STOCK, "irq/level/thr-wake-oneshot", {"preemption": "none"}),
        (STOCK, "irq/level/hard-tasklet", {"threadirqs": True}),
        (FORCED, "irq/level/hard", {"threadirqs": False}),
        (FORCED, "irq/level/thr-wake-oneshot", {"preemption": "full"}),
        (RT_ICOUNT, "irq/level/hard", {"lazy_preemption": True}),
        (RT_612, "irq/level/hard", {"lazy_preemption": False}),
    ],
)
def test_kernel_with_another_policy_is_seen(kernel: Kernel, case: str, fault: dict[str, Any]) -> None:
    assert not differs(kernel, case)
    config: KernelConfig = replace(kernel.config, **fault)
    assert differs(kernel._replace(config=config), case)


# --- noise


def noisy(bench: Bench) -> None:
    """Give the machine foreign work: a tasklet, a softirq and a kworker every 700 us, and a task that runs now and then."""
    machine = bench.machine

    async def nothing(cpu: Cpu, tasklet: Tasklet) -> None:
        await cpu.spend(3 * US)

    async def block(cpu: Cpu) -> None:
        await cpu.spend(2 * US)

    async def runs(task: Task) -> None:
        while True:
            await task.spend(20 * US)
            await machine.sleep.nanosleep(task, 1_300 * US)

    tasklet = Tasklet(nothing, "usb")
    machine.softirq.open_softirq(BLOCK_SOFTIRQ, block)

    async def hard(cpu: Cpu, irq: int, dev_id: object) -> int:
        await machine.tasklets.tasklet_schedule(cpu, tasklet)
        machine.softirq.raise_softirq_nowake(cpu, BLOCK_SOFTIRQ)
        return 1

    msi = machine.msi("usb")

    async def device() -> None:
        await machine.irq.request_irq(None, msi.irq, hard, 0, "ehci_hcd")
        while machine.now < 400 * MS:
            await machine.engine.sleep(700 * US)
            msi.send()

    machine.spawn(device(), "usb")
    machine.start_thread(runs, "usb-storage")


@pytest.mark.parametrize("kernel", [STOCK, FORCED, RT_ICOUNT, STOCK_612, RT_612], ids=lambda kernel: kernel.capture)
@pytest.mark.parametrize(
    "case", ["irq/level/hard-nothread", "irq/level/hard", "irq/edge/disabled-then-enable", "irq/edge/rearrive-in-handler"]
)
def test_foreign_work_is_filtered(kernel: Kernel, case: str) -> None:
    bench = Bench(kernel.config, kernel.cpus)
    noisy(bench)
    loud = rows_of(bench.run(case, CASES[case]))
    quiet = clean(model_rows(kernel, case))
    foreign = [row for row in loud if re.search("ehci|usb-storage", row.what + row.task)]
    assert foreign, "the noise was not heard"
    assert told(clean(loud)) == told(quiet)


def row(cpu: int, context: str, task: str, what: str) -> Row:
    return Row(0, cpu, context, task, what)


def test_foreign_task_that_an_interrupt_meets_is_idle_if_the_thread_had_slept() -> None:
    begin, end = "shot begin n=1 cpu=0", "shot end n=1"
    rows = [
        row(0, ".", "insmod", "chip unmask -M-"),
        row(0, "h", "insmod", "wakeup irq/N-lab prio=49"),
        row(0, ".", "insmod", "switch insmod(D) -> irq/N-lab prio=49"),
        row(0, ".", "irq/N-lab", "switch irq/N-lab(S) -> kworker prio=120"),
        row(0, "h", "kworker", begin),
        row(0, "h", "kworker", end),
        row(0, ".", "kworker", "switch kworker(I) -> idle prio=120"),
    ]
    assert told(clean(rows))[3:] == [". irq/N-lab switch irq/N-lab(S) -> idle prio=120", f"h idle {begin}", f"h idle {end}"]


def test_foreign_task_that_an_interrupt_meets_is_the_task_that_it_preempted() -> None:
    begin, end = "shot begin n=1 cpu=0", "shot end n=1"
    rows = [
        row(0, ".", "insmod", "chip unmask -M-"),
        row(0, ".", "insmod", "switch insmod(R+) -> ktimers prio=98"),
        row(0, "h", "ktimers", begin),
        row(0, "h", "ktimers", end),
        row(0, ".", "ktimers", "switch ktimers(S) -> insmod prio=120"),
        row(0, ".", "insmod", "free_irq"),
    ]
    assert told(clean(rows)) == [". insmod chip unmask -M-", f"h insmod {begin}", f"h insmod {end}", ". insmod free_irq"]


def test_missing_switch_is_put_in_as_unknown() -> None:
    rows = [row(0, ".", "insmod", "chip unmask -M-"), row(0, "h", "idle", "shot begin n=0 cpu=0")]
    assert told(clean(rows))[1] == ". insmod switch insmod(?) -> idle prio=?"
    assert SWITCH.search(told(clean(rows))[1])


def test_captures_have_the_noise_that_is_filtered() -> None:
    """How many of the captured irq events are the lab's own: the rest is what the rule takes out."""
    found = {}
    for kernel in KERNELS:
        cases = [rows for case, rows in capture(kernel.capture).items() if case.startswith("irq/")]
        own = sum(UNKNOWN not in each.what for rows in cases for each in clean(rows))
        found[kernel.capture] = (sum(map(len, cases)), own)
    assert found == {
        "L-61-stock": (1210, 1180),
        "L-61-stock-smp2": (1309, 1251),
        "L-61-threadirqs": (2685, 1530),
        "L-61-rt": (1992, 1631),
        "L-61-rt-icount": (2453, 1653),
        "L-612-stock": (1477, 1217),
        "L-612-rt": (2125, 1516),
    }

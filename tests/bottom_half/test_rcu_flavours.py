"""Show RCU's readers under lockdep: what protects a pointer, and that no reader sleeps."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.bottom_half.rcu import Rcu
from asyncirq.config import preset
from asyncirq.errors import KernelBug
from asyncirq.locking.mutex import Mutex
from asyncirq.sched.task import Task
from tests.sched.harness import Lab

FULL = preset("linux-6.12", preemption="full", lockdep="all")


def play(body: Any, kernel: Any = FULL) -> list[str]:
    lab = Lab(1, kernel)
    rcu = Rcu(lab.softirq)

    async def main(task: Task) -> None:
        await body(lab, rcu, task)
        lab.note("done")

    lab.start(main, "main")
    lab.play(100_000)
    lab.end()
    assert [text for _, text in lab.log] == ["done"]
    return [] if lab.lockdep is None else [report.lines[5] for report in lab.lockdep.reports]


def test_a_pointer_is_followed_by_readers_alone() -> None:
    async def body(lab: Lab, rcu: Rcu, task: Task) -> None:
        flavours = rcu.flavours
        flavours.check("rcu", task.cpu)
        flavours.check("rcu", task.cpu, condition=True)
        for flavour in ("rcu", "rcu_bh", "rcu_sched"):
            cpu = await flavours.lock(flavour, task)
            flavours.check(flavour, cpu)
            await flavours.unlock(flavour, task)
        # A reader of another flavour protects nothing.
        cpu = await flavours.lock("rcu_bh", task)
        flavours.check("rcu", cpu)
        flavours.check("rcu_sched", cpu)
        await flavours.unlock("rcu_bh", task)
        flavours.check("rcu_sched", task.cpu)
        cpu = task.preempt_disable()
        flavours.check("rcu_sched", cpu)
        await task.preempt_enable()

    assert play(body) == ["body [test_rcu_flavours] suspicious rcu_dereference_check() usage!"] * 3
    assert play(body, preset("linux-6.12")) == []


@pytest.mark.parametrize(("flavour", "name"), [("rcu", "RCU"), ("rcu_bh", "RCU-bh"), ("rcu_sched", "RCU-sched")])
def test_a_reader_must_not_sleep(flavour: Any, name: str) -> None:
    lab = Lab(1, FULL)
    rcu = Rcu(lab.softirq)
    mutex = Mutex(lab.sched, "mutex")

    async def main(task: Task) -> None:
        await rcu.flavours.lock(flavour, task)
        await mutex.lock(task)
        await mutex.unlock(task)
        await rcu.flavours.unlock(flavour, task)

    lab.start(main, "main")
    if flavour == "rcu":
        lab.play(1000)
    else:
        with pytest.raises(KernelBug, match="^BUG: sleeping function called from invalid context at mutex_lock"):
            lab.play(1000)
    lab.end()
    assert lab.lockdep is not None
    report = next(report for report in lab.lockdep.reports if report.kind == "rcu")
    assert report.lines[2] == "WARNING: suspicious RCU usage"
    assert report.lines[5].endswith(f"Illegal context switch in {name} read-side critical section!")

from __future__ import annotations

from functools import partial

from asyncirq.bottom_half.callback_wait import CallbackWait, name_of
from asyncirq.sched.task import Task
from tests.bottom_half.harness import FULL1000, Bench


def _hidden(number: int) -> int:
    return number


def test_names_of_callbacks() -> None:
    assert name_of(_hidden) == "hidden"
    assert name_of(partial(_hidden, 1)) == "hidden"
    assert name_of(Bench.play) == "play"


def test_spinners_and_sleepers_go_on_when_woken_and_the_test_holds() -> None:
    m = Bench(3, FULL1000)
    waits = CallbackWait(m.sched)
    done = [False]

    async def sleeper(task: Task) -> None:
        await waits.sleep(task, "it", lambda: done[0])
        m.note("slept")

    async def spinner(task: Task) -> None:
        cpu = task.preempt_disable()
        await waits.spin(cpu, "it", lambda: done[0])
        m.note("spun")
        await task.preempt_enable()

    async def waker(task: Task) -> None:
        cpu = task.preempt_disable()
        await cpu.spend(1000)
        assert waits.anyone
        await waits.wake(cpu)
        await cpu.spend(1000)
        done[0] = True
        await waits.wake(cpu)
        await task.preempt_enable()

    m.start(sleeper, "sleeper", cpu=0)
    m.start(spinner, "spinner", cpu=1)
    m.start(waker, "waker", cpu=2)
    m.play(5000)
    assert sorted(m.log) == [(2000, "slept"), (2000, "spun")]
    assert not waits.anyone

"""Show kthreadd: threads are made ready in the order of the requests, on its own CPU time, and it exists only once it is needed."""

from __future__ import annotations

from typing import Any

from asyncirq.sched.task import Task
from tests.sched.harness import CFS, Lab


def test_threads_are_made_in_order_while_the_asker_sleeps() -> None:
    lab = Lab(1, CFS, kthread_create_ns=100)

    def body(name: str) -> Any:
        async def run(task: Task) -> None:
            lab.note(name)

        return run

    async def asker(task: Task) -> None:
        assert lab.sched.kthreadd.task is None
        for name in ("a", "b"):
            thread = lab.sched.new_task(body(name), name, kthread=True)
            await lab.sched.kthreadd.start(task, thread)
        lab.note("asked")
        await lab.nap(task, 1000)
        lab.note("asker")

    lab.start(asker, "asker")
    lab.play(5000)
    lab.end()
    # Who of the two runs first is the fair class's choice: a later new task owes less of a slice.
    assert lab.log == [(0, "asked"), (200, "b"), (200, "a"), (1000, "asker")]
    assert lab.story("sched_wakeup_new") == [
        (0, "0 wakeup_new kthreadd on 0"),
        (100, "0 wakeup_new a on 0"),
        (200, "0 wakeup_new b on 0"),
    ]

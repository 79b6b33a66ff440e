"""Show mutex, semaphore and completion, and the threads that use them."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.config import preset
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.completion import Completion
from asyncirq.locking.mutex import Mutex
from asyncirq.locking.semaphore import Semaphore
from asyncirq.sched.kthread import Kthread, kthread_create
from asyncirq.sched.task import TASK_INTERRUPTIBLE, TASK_RUNNING, Task
from asyncirq.sched.wait import WaitQueue
from tests.sched.harness import FULL, RT, STOCK, Lab

KERNELS = pytest.mark.parametrize("kernel", [STOCK, FULL, RT], ids=lambda k: k.preemption)


@KERNELS
def test_a_mutex_goes_to_its_waiters_in_order(kernel: Any) -> None:
    lab = Lab(4, kernel)
    mutex = Mutex(lab.sched, "mutex")

    def user(delay: int) -> Any:
        async def body(task: Task) -> None:
            await task.spend(delay)
            async with mutex.held(task):
                lab.note(task.comm)
                await task.spend(100)

        return body

    for n, delay in enumerate((0, 30, 10, 20)):
        lab.start(user(delay), f"t{n}", cpu=n)
    lab.play(10_000)
    lab.end()
    assert lab.log == [(0, "t0"), (100, "t2"), (200, "t3"), (300, "t1")]
    assert mutex.owner is None


def test_an_overtaken_waiter_is_handed_the_mutex() -> None:
    lab = Lab(2, preset("linux-6.12", preemption="full", mutex_spin_on_owner=False), ttwu_ns=50)
    mutex = Mutex(lab.sched, "mutex")

    async def greedy(task: Task) -> None:
        for _ in range(4):
            async with mutex.held(task):
                lab.note("greedy")
                await task.spend(100)

    async def waiter(task: Task) -> None:
        await task.spend(10)
        async with mutex.held(task):
            lab.note("waiter")

    lab.start(greedy, "greedy", cpu=0)
    lab.start(waiter, "waiter", cpu=1)
    lab.play(10_000)
    lab.end()
    # At 100 the waiter is woken, but the greedy task is quicker; at 250 the unlock hands the mutex over.
    assert lab.log == [(0, "greedy"), (150, "greedy"), (300, "waiter"), (350, "greedy"), (450, "greedy")]


@KERNELS
def test_CTX_03_a_mutex_in_atomic_context(kernel: Any) -> None:
    lab = Lab(1, kernel)
    mutex = Mutex(lab.sched, "m")

    async def handler(cpu: Cpu) -> None:
        task = cpu.current
        assert isinstance(task, Task)
        await mutex.lock(task)

    async def body(task: Task) -> None:
        await task.spend(1000)

    lab.start(body, "body")
    lab.interrupt(100, handler)
    with pytest.raises(
        KernelBug, match=r"^BUG: sleeping function called from invalid context at (rt_)?mutex_lock\(m\): in_atomic\(\): 1, irqs"
    ):
        lab.play(5000)
    lab.end()


@KERNELS
def test_a_mutex_deadlock_prints_its_chain(kernel: Any) -> None:
    lab = Lab(2, kernel)
    a, b = Mutex(lab.sched, "A"), Mutex(lab.sched, "B")

    def crossing(first: Mutex, second: Mutex) -> Any:
        async def body(task: Task) -> None:
            await first.lock(task)
            await task.spend(100)
            await second.lock(task)

        return body

    lab.start(crossing(a, b), "one", cpu=0)
    lab.start(crossing(b, a), "two", cpu=1)
    with pytest.raises(
        KernelBug, match=r"^deadlock detected on CPU1 at 100 ns: two/2 waits for A, held by one/1; one/1 waits for B, held by two/2$"
    ):
        lab.play(5000)
    lab.end()


def test_a_semaphore_gives_its_permits_in_order_of_arrival() -> None:
    lab = Lab(1, FULL)
    semaphore = Semaphore(lab.sched, "permits", 1)

    async def taker(task: Task) -> None:
        await semaphore.down(task)
        lab.note(task.comm)

    async def up(cpu: Cpu) -> None:
        await semaphore.up(cpu)

    for n in range(3):
        lab.begin(10 + n, taker, f"t{n}")
    for when in (100, 200, 300):
        lab.interrupt(when, up)
    lab.play(1000)
    lab.end()
    assert lab.log == [(10, "t0"), (100, "t1"), (200, "t2")]
    assert semaphore.count == 1
    with pytest.raises(UsageError, match=r"^semaphore bad begins with -1 permits \(-EINVAL\)$"):
        Semaphore(lab.sched, "bad", -1)


def test_a_completion_counts() -> None:
    lab = Lab(1, FULL)
    done = Completion("done")

    async def waiter(task: Task) -> None:
        await done.wait(task)
        lab.note(task.comm)

    async def complete(cpu: Cpu) -> None:
        await done.complete(cpu)

    async def complete_all(cpu: Cpu) -> None:
        await done.complete_all(cpu)

    lab.interrupt(10, complete)
    for n in range(4):
        lab.begin(20 + n, waiter, f"t{n}")
    lab.interrupt(100, complete)
    lab.interrupt(200, complete_all)
    lab.begin(300, waiter, "late")
    lab.play(1000)
    lab.end()
    assert lab.log == [(20, "t0"), (100, "t1"), (200, "t2"), (200, "t3"), (300, "late")]
    done.reinit()
    assert not done.try_wait()


def test_a_wait_queue_wakes_everybody_but_one_exclusive_waiter_at_a_time() -> None:
    lab = Lab(1, FULL)
    queue = WaitQueue("queue")
    opened = [False]

    def waiter(exclusive: bool) -> Any:
        async def body(task: Task) -> None:
            await queue.wait_event(task, lambda: opened[0], exclusive=exclusive)
            lab.note(task.comm)

        return body

    async def wake(cpu: Cpu) -> None:
        opened[0] = True
        lab.note(f"woken {await queue.wake_up(cpu)}")

    async def wake_all(cpu: Cpu) -> None:
        lab.note(f"woken {await queue.wake_up_all(cpu)}")

    for n, exclusive in enumerate((True, False, True, False, True)):
        lab.begin(10 + n, waiter(exclusive), f"t{n}")
    lab.interrupt(100, wake)
    lab.interrupt(200, wake_all)
    lab.play(1000)
    lab.end()
    assert sorted(text for ts, text in lab.log if ts == 100) == ["t0", "t1", "t3", "woken 3"]
    assert sorted(text for ts, text in lab.log if ts == 200) == ["t2", "t4", "woken 2"]
    assert queue.entries == []


def test_a_kthread_parks_goes_on_and_stops() -> None:
    lab = Lab(1, FULL)

    async def loop(kthread: Kthread) -> None:
        task = kthread.task
        while True:
            task.set_current_state(TASK_INTERRUPTIBLE)
            if kthread.should_park:
                task.set_current_state(TASK_RUNNING)
                lab.note("parks")
                await kthread.parkme()
                lab.note("goes on")
                continue
            if kthread.should_stop:
                break
            await task.schedule()
        task.set_current_state(TASK_RUNNING)

    thread = kthread_create(lab.sched, loop, "thread", cpu=0)

    async def boss(task: Task) -> None:
        await task.wake(thread.task)
        await lab.nap(task, 100)
        await thread.park(task)
        lab.note(f"parked {thread.parked}")
        await lab.nap(task, 100)
        await thread.unpark(task)
        await lab.nap(task, 100)
        await thread.stop(task)
        lab.note(f"stopped {thread.exited}")

    lab.start(boss, "boss", cpu=0)
    lab.play(1000)
    lab.end()
    assert lab.log == [(100, "parks"), (100, "parked True"), (200, "goes on"), (300, "stopped True")]
    assert [text for _, text in lab.switches() if "(P)" in text] == ["0 thread(P) > boss"]


def test_a_kthread_is_bound_before_its_first_wake_up_alone() -> None:
    lab = Lab(2, FULL)

    async def body(kthread: Kthread) -> None:
        lab.note(kthread.task.cpu.name)

    thread = kthread_create(lab.sched, body, "thread")
    thread.bind(1)
    with pytest.raises(UsageError, match=r"^thread: there is no CPU 2 \(-EINVAL\)$"):
        thread.bind(2)
    lab.sched.start_now(thread.task)
    with pytest.raises(KernelBug, match="^kthread_bind of thread/1, which runs already$"):
        thread.bind(0)
    lab.play(100)
    lab.end()
    assert lab.log == [(0, "CPU1")]

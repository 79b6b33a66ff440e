"""Show the rows of inventory group R: the workqueues of 2.6, one thread for each workqueue and CPU."""

from __future__ import annotations

import pytest

from asyncirq.bottom_half.work import Work
from asyncirq.bottom_half.workqueue_threads import PF_NOFREEZE
from asyncirq.config import preset
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.signal import ALL_SIGNALS, SIGCHLD, SIGTERM
from asyncirq.sched.task import TASK_INTERRUPTIBLE, Task
from tests.bottom_half.harness import MS
from tests.bottom_half.wq_harness import Old


def test_S2_78_the_queue_of_one_cpu() -> None:
    b = Old(2)
    cwq = b.wqs.system_wq.cpu_wq[1]
    seen = []

    async def look(task: Task, work: Work) -> None:
        seen.append((cwq.insert_sequence, cwq.remove_sequence, [item.name for item in cwq.worklist], cwq.run_depth))

    b.queue_at(1, b.wqs.system_wq, Work(look, "a"), Work(look, "b"), cpu=1)
    b.play(2 * MS)
    assert cwq.thread is not None
    assert (cwq.thread.task.comm, cwq.thread.task.allowed) == ("events/1", 0b10)
    assert [entry.task.comm for entry in cwq.more_work.entries] == ["events/1"]
    assert cwq.work_done.entries == []
    assert seen == [(2, 0, ["b"], 1), (2, 1, [], 1)]
    assert (cwq.insert_sequence, cwq.remove_sequence, cwq.run_depth, cwq.wq) == (2, 2, 0, b.wqs.system_wq)


def test_S2_81_workqueue_object_and_a_cpu_that_comes_up() -> None:
    b = Old(2, online=0b01)
    wq = b.wqs.create_workqueue("q")
    single = b.wqs.create_workqueue("alone", single=True)
    assert [cwq.thread is not None for cwq in wq.cpu_wq] == [True, False]
    assert len(single.cpu_wq) == 1

    async def user(task: Task) -> None:
        b.wqs.cpu_up_prepare(1)
        cpu = task.preempt_disable()
        await b.wqs.cpu_online(cpu, 1)
        await task.preempt_enable()

    b.start(user, "user", cpu=0)
    b.queue_at(5, wq, b.item("w", 1), cpu=1)
    b.play(10 * MS)
    started = [fields[0] for _, _, *fields in b.events("sched_wakeup_new") if fields[0] != "user"]
    assert started == ["events/1", "q/1"]
    assert b.log == [(5, "w begins"), (6, "w ends")]


def test_S2_79_a_single_threaded_workqueue_lives_on_cpu_0() -> None:
    b = Old(4)
    wq = b.wqs.create_workqueue("alone", single=True)
    b.queue_at(1, wq, b.item("w", 1), cpu=3)

    async def flusher(task: Task) -> None:
        await b.nap(task, 1)
        await b.wqs.flush_workqueue(task, wq)
        b.tell("flushed")

    b.start(flusher, "flusher", cpu=2)
    b.play(5 * MS)
    assert b.events("workqueue_queue_work")[0][2:] == ("w", "step", "alone", 8192, 0)
    thread = wq.cpu_wq[0].thread
    assert thread is not None
    assert thread.task.comm == "alone"
    assert b.log == [(1, "w begins"), (2, "w ends"), (2, "flushed")]


def test_S2_82_set_up_of_a_worker() -> None:
    b = Old()
    thread = b.wqs.system_wq.cpu_wq[0].thread
    assert thread is not None
    task = thread.task
    assert (task.nice, task.prio, bool(task.flags & PF_NOFREEZE)) == (-5, 115, True)
    signals = b.wqs.system_wq.cpu_wq[0].signals

    async def send(cpu: Cpu) -> None:
        assert not await signals.send(cpu, task, SIGTERM)
        assert not await signals.send(cpu, task, SIGCHLD)

    b.irq_at(2 * MS, send)
    b.play(5 * MS)
    assert task.state == TASK_INTERRUPTIBLE
    assert (signals.blocked, signals.pending) == (ALL_SIGNALS, 1 << SIGTERM - 1)
    assert b.events("sched_waking") == []


@pytest.mark.parametrize("when", range(0, 900, 100))
def test_S2_83_no_wake_up_is_lost_between_the_test_and_the_sleep(when: int) -> None:
    # The thread goes to sleep after the first item: 100 ns to start on it, 300 to block, 100 to come in again.
    b = Old(switch_block_ns=300, switch_in_ns=100, work_start_ns=100)
    done: list[str] = []

    async def note(task: Task, work: Work) -> None:
        done.append(work.name)

    b.queue_at(1, b.wqs.system_wq, Work(note, "first"))

    async def second(cpu: Cpu) -> None:
        await b.wqs.queue_work(cpu, b.wqs.system_wq, Work(note, "second"))

    b.irq_at(MS + when, second)
    b.play(2 * MS)
    assert done == ["first", "second"]


def test_S2_85_queue_work() -> None:
    b = Old()
    work = b.item("w", 1)
    answers = b.queue_at(1, b.wqs.system_wq, work, work)
    b.play(5 * MS)
    assert answers == [True, False]
    assert b.executed() == [(1, "start", "w"), (2, "end", "w")]


def test_S2_85_an_item_that_is_linked_but_not_pending_is_a_bug() -> None:
    b = Old()
    work = b.item("w", 1)

    async def body(cpu: Cpu) -> None:
        await b.wqs.queue_work(cpu, b.wqs.system_wq, work)
        work.pending = False
        await b.wqs.queue_work(cpu, b.wqs.system_wq, work)

    b.irq_at(MS, body)
    with pytest.raises(KernelBug, match="w is not pending but in a queue"):
        b.play(2 * MS)


def test_S2_84_insert() -> None:
    b = Old()
    wq = b.wqs.system_wq
    counts = []
    works = [b.item(name, 1) for name in "abc"]

    async def body(cpu: Cpu) -> None:
        for work in works:
            await b.wqs.queue_work(cpu, wq, work)
            counts.append((wq.cpu_wq[0].insert_sequence, work.wq_data is wq.cpu_wq[0]))

    b.irq_at(MS, body)
    b.play(5 * MS)
    assert counts == [(1, True), (2, True), (3, True)]
    assert b.executed() == [
        (ms, what, name) for ms, name in ((1, "a"), (2, "b"), (3, "c")) for ms, what in ((ms, "start"), (ms + 1, "end"))
    ]
    assert [ts // MS for ts, *_ in b.events("sched_waking")] == [1]


def test_S2_86_an_item_runs_elsewhere_when_its_cpu_goes() -> None:
    b = Old(2)
    b.queue_at(1, b.wqs.system_wq, b.item("hog", 3), b.item("w", 1), cpu=1)

    async def user(task: Task) -> None:
        await b.nap(task, 2)
        await b.wqs.cpu_dead(task, 1)

    b.start(user, "user", cpu=0)
    b.play(10 * MS)
    assert [(r[0] // MS, r[2], r[6]) for r in b.events("workqueue_queue_work")] == [(1, "hog", 1), (1, "w", 1), (4, "w", 0)]
    assert b.log == [(1, "hog begins"), (4, "hog ends"), (4, "w begins"), (5, "w ends")]
    assert b.wqs.online == 0b01
    assert b.wqs.system_wq.cpu_wq[1].thread is None


def test_S2_90_an_item_requeues_itself_while_it_runs() -> None:
    b = Old()
    wq = b.wqs.system_wq
    answers: list[bool] = []

    async def again(task: Task, work: Work) -> None:
        await task.spend(MS)
        if len(answers) < 2:
            cpu = task.preempt_disable()
            answers.append(await b.wqs.queue_work(cpu, wq, work))
            await task.preempt_enable()

    b.queue_at(1, wq, Work(again, "w"))
    b.play(9 * MS)
    assert answers == [True, True]
    assert b.executed() == [(ms + late, what, "w") for ms in (1, 2, 3) for late, what in ((0, "start"), (1, "end"))]


def test_S2_90_an_item_of_another_queue_is_a_bug() -> None:
    b = Old(2)
    wq = b.wqs.system_wq
    work = b.item("w", 1)

    async def body(cpu: Cpu) -> None:
        await b.wqs.queue_work(cpu, wq, work)
        work.wq_data = wq.cpu_wq[1]

    b.irq_at(MS, body)
    with pytest.raises(KernelBug, match="w is in the queue <CpuWorkqueue events/0> but belongs to <CpuWorkqueue events/1>"):
        b.play(2 * MS)


def test_S2_91_the_remove_counter_rises_after_each_item() -> None:
    b = Old()
    wq = b.wqs.system_wq
    b.queue_at(1, wq, b.item("a", 0, 2), b.item("b", 0, 2))
    woken = []

    async def flusher(task: Task) -> None:
        await b.nap(task, 2)
        await b.wqs.flush_workqueue(task, wq)
        b.tell("flushed")

    task = b.start(flusher, "flusher", cpu=0)
    b.play(10 * MS)
    woken = [ts // MS for ts, _, *fields in b.events("sched_waking") if fields[1] == task.pid]
    # At 2 by its timer; the flusher is woken after each item and finds at 3 that one is not enough.
    assert woken == [2, 3, 5]
    assert b.log[-2:] == [(5, "b ends"), (5, "flushed")]
    assert wq.cpu_wq[0].remove_sequence == 2


def nested(b: Old, deep: int) -> None:
    wq = b.wqs.system_wq

    async def flush(task: Task, work: Work) -> None:
        b.tell(f"{work.name} depth {wq.cpu_wq[0].run_depth}")
        await b.wqs.flush_workqueue(task, wq)
        b.tell(f"{work.name} ends")

    b.queue_at(1, wq, *(Work(flush, f"w{n}", f"flush{n}") for n in range(1, deep + 1)))


def test_S2_89_recursion_guard() -> None:
    b = Old()
    nested(b, 4)
    b.play(2 * MS)
    assert b.said() == [
        "run_workqueue: recursion depth exceeded: 4",
        "Call Trace: run_workqueue <- flush3 <- run_workqueue <- flush2 <- run_workqueue <- flush1 <- run_workqueue <- worker_thread",
        # The fourth item flushes too, and finds nothing to run.
        "run_workqueue: recursion depth exceeded: 5",
        "Call Trace: run_workqueue <- flush4 <- run_workqueue <- flush3 <- run_workqueue <- flush2 <- run_workqueue <- flush1"
        " <- run_workqueue <- worker_thread",
    ]
    assert [text for _, text in b.log] == [f"w{n} depth {n}" for n in (1, 2, 3, 4)] + [f"w{n} ends" for n in (4, 3, 2, 1)]


def test_S2_87_a_worker_that_flushes_its_own_queue_runs_it_by_hand() -> None:
    b = Old()
    nested(b, 2)
    b.play(2 * MS)
    assert b.log == [(1, "w1 depth 1"), (1, "w2 depth 2"), (1, "w2 ends"), (1, "w1 ends")]
    assert b.said() == []
    assert b.wqs.system_wq.cpu_wq[0].remove_sequence == 2


def test_S2_80_later_items_do_not_extend_a_flush() -> None:
    b = Old()
    wq = b.wqs.system_wq

    async def grow(task: Task, work: Work) -> None:
        await b.sleep.usleep_range(task, 1000, 1000)
        cpu = task.preempt_disable()
        await b.wqs.queue_work(cpu, wq, Work(grow, "more"))
        await task.preempt_enable()

    b.queue_at(1, wq, Work(grow, "first"), Work(grow, "second"))
    counts = []

    async def flusher(task: Task) -> None:
        await b.sleep.usleep_range(task, 1500, 1500)
        await b.wqs.flush_workqueue(task, wq)
        b.tell("flushed")
        counts.append((wq.cpu_wq[0].insert_sequence, wq.cpu_wq[0].remove_sequence))

    b.start(flusher, "flusher", cpu=0)
    b.play(20 * MS)
    assert b.log == [(3, "flushed")]
    assert counts == [(4, 2)]
    assert wq.cpu_wq[0].insert_sequence > 15


def test_S2_80_the_counters_are_compared_by_their_difference() -> None:
    b = Old()
    cwq = b.wqs.system_wq.cpu_wq[0]
    cwq.insert_sequence = cwq.remove_sequence = -1
    b.queue_at(1, b.wqs.system_wq, b.item("w", 0, 2))

    async def flusher(task: Task) -> None:
        await b.nap(task, 2)
        await b.wqs.flush_workqueue(task, b.wqs.system_wq)
        b.tell("flushed")

    b.start(flusher, "flusher", cpu=0)
    b.play(5 * MS)
    assert b.log == [(1, "w begins"), (3, "w ends"), (3, "flushed")]
    assert (cwq.insert_sequence, cwq.remove_sequence) == (0, 0)


def test_S2_88_each_online_cpu_in_turn() -> None:
    b = Old(3)
    wq = b.wqs.system_wq
    for cpu, ms in enumerate((2, 6, 4)):
        b.queue_at(1, wq, b.item(f"w{cpu}", 0, ms), cpu=cpu)

    async def flusher(task: Task) -> None:
        await b.nap(task, 2)
        await b.wqs.flush_workqueue(task, wq)
        b.tell("flushed")

    task = b.start(flusher, "flusher", cpu=0)
    b.play(10 * MS)
    assert b.log[-2:] == [(7, "w1 ends"), (7, "flushed")]
    # It waits for CPU 0, then for CPU 1; CPU 2 is done by then.
    assert [ts // MS for ts, _, *fields in b.events("sched_waking") if fields[1] == task.pid] == [2, 3, 7]
    assert b.wqs.hotplug_lock.owner is None


def test_S2_88_flush_from_an_interrupt_is_an_error() -> None:
    b = Old()

    async def body(cpu: Cpu) -> None:
        task = cpu.current
        assert isinstance(task, Task)
        await b.wqs.flush_workqueue(task, b.wqs.system_wq)

    b.irq_at(MS, body)
    with pytest.raises(KernelBug, match=r"BUG: sleeping function called from invalid context at flush_workqueue\(events\)"):
        b.play(2 * MS)


def test_S4_46_slow_work_delays_others_on_keventd() -> None:
    b = Old()
    answers = []

    async def body(cpu: Cpu) -> None:
        for name, ms in (("slow", 5), ("quick", 1)):
            answers.append(await b.wqs.schedule_work(cpu, b.item(name, 0, ms)))

    b.irq_at(MS, body)

    async def user(task: Task) -> None:
        await b.nap(task, 2)
        assert b.wqs.keventd_up()
        assert not b.wqs.current_is_keventd(task)
        await b.wqs.flush_scheduled_work(task)
        b.tell("flushed")

    b.start(user, "user", cpu=0)
    b.play(10 * MS)
    assert answers == [True, True]
    assert b.log == [(1, "slow begins"), (6, "slow ends"), (6, "quick begins"), (7, "quick ends"), (7, "flushed")]


def test_WQ_01_one_thread_for_each_cpu_and_workqueue() -> None:
    b = Old(kernel=preset("linux-2.6", hz=1000))
    wq = b.wqs.create_workqueue("q")
    b.queue_at(1, wq, b.item("w0", 5, 10, 5), b.item("w1", 5, 10), b.item("w2", 5, 10))
    b.play(60 * MS)
    assert b.log == [
        (1, "w0 begins"),
        (21, "w0 ends"),
        (21, "w1 begins"),
        (36, "w1 ends"),
        (36, "w2 begins"),
        (51, "w2 ends"),
    ]
    switches = {fields[0] + fields[3] for _, _, *fields in b.events("sched_switch") if fields[0].startswith("q")}
    assert switches == {"q/0D", "q/0S"}


def test_an_item_runs_on_two_cpus_at_once() -> None:
    b = Old(2)
    wq = b.wqs.system_wq
    work = b.item("w", 4)
    b.queue_at(1, wq, work, cpu=0)
    b.queue_at(3, wq, work, cpu=1)
    b.play(20 * MS)
    assert b.executed() == [(1, "start", "w"), (3, "start", "w"), (5, "end", "w"), (7, "end", "w")]


def test_an_item_that_is_taken_back_keeps_its_place_in_the_count() -> None:
    b = Old()
    wq = b.wqs.system_wq
    slow, taken, after = b.item("slow", 0, 4), b.item("taken", 1), b.item("after", 0, 2)
    b.queue_at(1, wq, slow, taken)
    b.queue_at(3, wq, after)

    async def user(task: Task) -> None:
        await b.nap(task, 2)
        b.tell(f"cancelled: {await b.wqs.cancel_work_sync(task, taken)}")
        b.tell(f"cancelled: {await b.wqs.cancel_work_sync(task, slow)}")
        await b.wqs.flush_workqueue(task, wq)
        b.tell("flushed")

    b.start(user, "user", cpu=0)
    b.play(20 * MS)
    assert b.log == [
        (1, "slow begins"),
        (2, "cancelled: True"),
        (5, "slow ends"),
        (5, "after begins"),
        (5, "cancelled: False"),
        (7, "after ends"),
        (7, "flushed"),
    ]


def test_a_workqueue_ends_with_its_threads() -> None:
    b = Old(2)
    wq = b.wqs.create_workqueue("q")
    b.queue_at(1, wq, b.item("w", 0, 2), cpu=1)

    async def user(task: Task) -> None:
        await b.nap(task, 2)
        await b.wqs.destroy_workqueue(task, wq)
        b.tell("destroyed")

    b.start(user, "user", cpu=0)
    b.play(10 * MS)
    assert b.log == [(1, "w begins"), (3, "w ends"), (3, "destroyed")]
    assert sorted(fields[0] for _, _, *fields in b.events("sched_process_exit")) == ["q/0", "q/1", "user"]
    assert wq not in b.wqs.workqueues

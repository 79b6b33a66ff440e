"""Hold the scheduler against what can be computed: response times, accounts of time, one running task, latencies cut into parts."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncirq import Machine, invariants, preset
from asyncirq.analysis import wakeups
from asyncirq.analysis.model import capture_from_records
from asyncirq.analysis.wakeups import wake_ups
from asyncirq.board import BOARDS
from asyncirq.config import KernelConfig
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE, Task
from asyncirq.trace.events_sched import SchedMigrateTask
from asyncirq.trace.record import Record, tag_of
from tests.analysis.test_thread_latency import Random
from tests.sched.harness import FULL, RT, Lab
from tests.stories.one_interrupt import one_interrupt
from tests.stories.test_controllers import KERNELS, Story, edges, message, one_card, shared_wire

US = 1_000
MS = 1_000_000
START = 1_000 * US
STORIES: tuple[Story, ...] = (one_card, shared_wire, edges, message)

# --- fixed priorities: the recurrence of Joseph and Pandya


def response_time(cost: int, blocking: int, higher: list[tuple[int, int]]) -> int:
    """Return the least fixed point of R = C + B + sum of ceil(R / T) C over everything of higher priority."""
    response = cost + blocking
    while True:
        following = cost + blocking + sum(-(-response // period) * each for each, period in higher)
        if following == response or following > 10**9:
            return following
        response = following


def simulated(tasks: list[tuple[int, int]], blocking: int, irq: tuple[int, int] | None, kernel: KernelConfig) -> list[list[int]]:
    """Return the response times of every job of each task, the first of all released at once, the first task the highest."""
    lab = Lab(1, kernel)
    horizon = START + 4 * max(period for _, period in tasks)
    finished: list[list[int]] = [[] for _ in tasks]

    def body(n: int, cost: int) -> Any:
        async def run(task: Task) -> None:
            while True:
                task.set_current_state(TASK_INTERRUPTIBLE)
                await task.schedule()
                await task.spend(cost)
                finished[n].append(lab.engine.now)

        return run

    async def low(task: Task) -> None:
        await task.spend(START - 1)
        task.preempt_disable()
        await task.spend(blocking + 1)
        await task.preempt_enable()

    if blocking:
        lab.start(low, "low", kthread=True)
    for n, (cost, period) in enumerate(tasks):
        task = lab.start(body(n, cost), f"t{n}", policy=SCHED_FIFO, rt_priority=90 - n)
        for when in range(START, horizon, period):
            lab.wake_at(when, task)
    if irq is not None:

        async def handler(cpu: Cpu) -> None:
            await cpu.spend(irq[0])

        for when in range(START, horizon, irq[1]):
            lab.interrupt(when, handler)
    lab.play(horizon)
    lab.end()
    return [[end - START - k * period for k, end in enumerate(ends)] for ends, (_, period) in zip(finished, tasks, strict=True)]


@st.composite
def task_sets(draw: st.DrawFn) -> tuple[list[tuple[int, int]], int, tuple[int, int] | None]:
    # Costs end in one nanosecond and periods in none, so that no job ends at the instant of a release.
    tasks = [
        (draw(st.integers(1, 40)) * US + 1, draw(st.sampled_from([50, 80, 100, 130, 200, 310, 400])) * US)
        for _ in range(draw(st.integers(1, 5)))
    ]
    blocking = draw(st.integers(0, 30)) * US
    irq = draw(st.none() | st.tuples(st.integers(1, 10).map(lambda us: us * US + 1), st.sampled_from([60 * US, 90 * US, 170 * US])))
    return tasks, blocking, irq


@given(task_sets())
@settings(max_examples=60, deadline=None)
def test_worst_response_times_equal_the_recurrence(drawn: tuple[list[tuple[int, int]], int, tuple[int, int] | None]) -> None:
    tasks, blocking, irq = drawn
    higher = [irq] if irq is not None else []
    bounds = []
    for cost, period in tasks:
        bounds.append(response_time(cost, blocking, higher))
        if bounds[-1] > period:
            return
        higher.append((cost, period))
    for bound, responses in zip(bounds, simulated(tasks, blocking, irq, FULL), strict=True):
        assert responses[0] == bound
        assert max(responses) == bound


def test_recurrence_of_a_known_set() -> None:
    sets = [(20 * US + 1, 70 * US), (20 * US + 1, 80 * US), (35 * US + 1, 200 * US)]
    worst = [max(each) for each in simulated(sets, 0, None, FULL)]
    assert worst == [20_001, 40_002, 115_005]


# --- the accounts of a busy machine


class Scene:
    """Fair, real-time and sleeping tasks on some CPUs, under interrupts that raise softirqs and wake them."""

    def __init__(self, cpus: int, kernel: KernelConfig, seed: int) -> None:
        self.m = m = Machine(cpus, kernel, seed=seed, check=True)
        self.tasks: list[Task] = []
        self.checks = 0
        stream = m.engine.stream("scene")

        async def sleeper(task: Task) -> None:
            while True:
                await task.spend(20_000 + stream.below(200_000))
                await m.sleep.usleep_range(task, 50 + stream.below(900), 1000)

        async def hog(task: Task) -> None:
            while True:
                await task.user(50_000 + stream.below(500_000))
                cpu = task.preempt_disable()
                await cpu.spend(10_000)
                await task.preempt_enable()

        for n in range(cpus + 1):
            self.tasks.append(m.start_thread(hog, f"hog{n}", nice=n))
        for n in range(3 * cpus):
            rt = n % 3 == 0
            self.tasks.append(m.start_thread(sleeper, f"sleep{n}", policy=SCHED_FIFO if rt else 0, rt_priority=10 + n if rt else 0))

    def play(self, ns: int) -> None:
        async def run() -> None:
            async with self.m as m:
                end = m.now + ns

                def stop() -> bool:
                    invariants.check_run_queues(m.sched)
                    self.checks += 1
                    return False

                await m.run_until(stop, end - m.now)
                for rq in m.sched.rqs:
                    rq.update_curr(m.now)

        asyncio.run(run())


SCENES = pytest.mark.parametrize(
    ("cpus", "kernel"),
    [(1, preset("linux-6.1")), (2, preset("linux-6.12", preemption="full")), (3, preset("linux-7.1")), (2, preset("linux-6.12", rt=True))],
    ids=["1-cfs", "2-full", "3-lazy", "2-rt"],
)


@SCENES
def test_time_is_accounted_to_the_nanosecond_and_one_task_runs(every_controller: str, cpus: int, kernel: KernelConfig) -> None:
    cpus = min(cpus, BOARDS[every_controller].max_cpus)
    scene = Scene(cpus, kernel, 7)
    scene.play(30 * MS)
    m = scene.m
    assert scene.checks > 500
    used: dict[int, int] = defaultdict(int)
    parts: list[dict[str, int]] = [defaultdict(int) for _ in range(cpus)]
    last = [0] * cpus
    doing = [("idle", 0)] * cpus
    for event in capture_from_records(m.records, "scene").events:
        if event.cpu < 0:
            continue
        kind, pid = doing[event.cpu]
        parts[event.cpu][kind] += event.ts - last[event.cpu]
        used[pid] += (event.ts - last[event.cpu]) if pid else 0
        last[event.cpu] = event.ts
        pid = int(event.fields["next_pid"]) if event.name == "sched_switch" else event.pid
        kind = "interrupt" if event.context != "." and event.name != "sched_switch" else "task" if pid else "idle"
        doing[event.cpu] = (kind, pid)
    for n in range(cpus):
        parts[n][doing[n][0]] += m.now - last[n]
        used[doing[n][1]] += m.now - last[n] if doing[n][1] else 0
        assert sum(parts[n].values()) == m.now
        # The account that the invariants keep, which reads no trace, has the same tasks, each to the nanosecond.
        account = m.accounts[n]
        account.charge(m.cpus[n], m.cpus[n].preempt_count)
        assert sum(account.kinds.values()) == m.now
        assert all(account.kinds[kind] > 0 for kind in ("task", "interrupt"))
    # What the scheduler charged is what the trace shows, for each task; and the rest is what the idle tasks had.
    assert {task.pid: task.sum_exec for task in scene.tasks} == {task.pid: used[task.pid] for task in scene.tasks}
    assert {task.pid: m.accounts[0].used[task] for task in scene.tasks} == {task.pid: used[task.pid] for task in scene.tasks}
    idle = sum(rq.idle.sum_exec for rq in m.sched.rqs)
    assert idle + sum(used.values()) == cpus * m.now


@SCENES
def test_every_wake_up_is_explained_to_the_nanosecond(every_controller: str, cpus: int, kernel: KernelConfig) -> None:
    scene = Scene(min(cpus, BOARDS[every_controller].max_cpus), kernel, 11)
    scene.play(20 * MS)
    found = wake_ups(capture_from_records(scene.m.records, "scene").events)
    assert len(found) > 40
    for wake in found:
        assert sum(wake.parts.values()) == wake.latency_ns
        assert all(part >= 0 for part in wake.parts.values())
    # The scheduler's own counter is the sum of these waits, of the first one and of those of whom was preempted.
    waited: dict[int, int] = defaultdict(int)
    for wake in found:
        waited[wake.pid] += wake.latency_ns - wake.parts["waking"]
    since = {task.pid: 0 for task in scene.tasks}
    for record in scene.m.records:
        if tag_of(type(record)) == "sched_switch":
            switch: Any = record
            waited[switch.next_pid] += switch.ts - since.pop(switch.next_pid, switch.ts)
            if switch.prev_pid and switch.prev_state.startswith("R"):
                since[switch.prev_pid] = switch.ts
    for task in scene.tasks:
        assert task.run_delay == waited[task.pid]


def every_wake_up_is_explained(records: Sequence[Record]) -> int:
    """Check that each wake-up that came to its end is cut without rest; return how many there were."""
    events = capture_from_records(records, "scene").events
    found = wake_ups(events)
    assert all(sum(wake.parts.values()) == wake.latency_ns and min(wake.parts.values()) >= 0 for wake in found)
    # None is left out: each task that was woken and then got a CPU has one, from the last waking before that.
    asked: dict[int, int] = {}
    ended = []
    for event in events:
        if event.name == "sched_waking":
            asked[int(event.fields["pid"])] = event.ts
        elif event.name == "sched_switch" and event.fields["next_pid"]:
            pid = int(event.fields["next_pid"])
            ended += [(pid, asked.pop(pid), event.ts)] if pid in asked else []
    assert [(wake.pid, wake.waking_ns, wake.running_ns) for wake in found] == ended
    return len(found)


@pytest.mark.parametrize("cpus", [2, 4])
@pytest.mark.parametrize("release", ["linux-6.1", "linux-6.12", "linux-7.1"])
def test_every_wake_up_on_realtime_machines_is_explained(release: str, cpus: int) -> None:
    moved = 0
    for seed in range(3):
        scene = Scene(cpus, preset(release, rt=True), seed)
        scene.play(8 * MS)
        assert every_wake_up_is_explained(scene.m.records) > 30
        busy = Random(cpus, preset(release, rt=True, rv=True), seed, devices=3, threads=3 * cpus)
        busy.play(3 * MS)
        assert every_wake_up_is_explained(busy.m.records) > 30
        moved += sum(isinstance(record, SchedMigrateTask) for record in busy.m.records)
    assert moved > 10


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_every_wake_up_of_the_stories_is_explained(kernel: str) -> None:
    async def tell(story: Story) -> list[Record]:
        async with Machine(1, KERNELS[kernel], check=True) as m:
            await story(m)
            return m.records

    assert sum(every_wake_up_is_explained(asyncio.run(tell(story))) for story in STORIES) > 0


def test_every_wake_up_of_one_interrupt_is_explained() -> None:
    assert every_wake_up_is_explained(asyncio.run(one_interrupt())) > 0


def test_a_wake_up_whose_parts_do_not_sum_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = wakeups._Waiting.cut

    def loses(self: Any, ts: int, doing: str) -> None:
        right(self, ts, doing)
        if doing == "hardirq":
            self.parts[doing] -= 1

    monkeypatch.setattr(wakeups._Waiting, "cut", loses)
    with pytest.raises(AssertionError):
        every_wake_up_is_explained(asyncio.run(one_interrupt()))


def test_parts_of_one_wake_up() -> None:
    """From 1000: 100 ns of waking; the interrupt goes on for 50 ns; the idle task leaves in 30 ns."""
    lab = Lab(1, FULL, ttwu_ns=100, switch_idle_ns=30)

    async def sleeper(task: Task) -> None:
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        await task.schedule()

    task = lab.start(sleeper, "sleeper")

    async def body(cpu: Cpu) -> None:
        await lab.sched.wake_up_process(cpu, task)
        await cpu.spend(50)

    lab.interrupt(1000, body)
    lab.play(5000)
    lab.end()
    (wake,) = wake_ups(capture_from_records(lab.records(), "lab").events)
    assert (wake.waking_ns, wake.running_ns, wake.comm) == (1000, 1180, "sleeper")
    assert wake.parts == {"waking": 100, "hardirq": 50, "softirq": 0, "idle": 30, "task": 0}


def test_a_task_on_two_cpus_is_caught() -> None:
    lab = Lab(2, RT)

    async def hog(task: Task) -> None:
        await task.spend(10_000)

    a = lab.start(hog, "a", policy=SCHED_FIFO, rt_priority=1)
    lab.play(100)
    invariants.check_run_queues(lab.sched)
    lab.sched.rqs[1].rt.enqueue(a)
    with pytest.raises(KernelBug, match="one task"):
        invariants.check_run_queues(lab.sched)
    lab.sched.rqs[1].rt.dequeue(a)
    lab.end()

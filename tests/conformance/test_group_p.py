"""Show the rows of inventory group P that no other file shows: smpboot's threads, and ksoftirqd of 2.6."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq import Machine
from asyncirq.bottom_half.ksoftirqd_26 import NOTIFY_BAD, NOTIFY_OK, Ksoftirqd26
from asyncirq.bottom_half.softirq import BLOCK_SOFTIRQ, NET_RX_SOFTIRQ
from asyncirq.config import KernelConfig, preset
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.smpboot import HP_THREAD_ACTIVE, HP_THREAD_NONE, HP_THREAD_PARKED, HotplugThread, Smpboot
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, TASK_PARKED, Task, TaskFn
from tests.softirq_rig import Rig

KERNEL_26 = preset("linux-2.6")
OWN_FULL = preset("linux-2.6", preemption="full")
EARLY_FULL = preset("linux-2.6", preemption="full", ksoftirqd_loop="own-early")


class Scene(Rig):
    """Two CPUs and a kind of thread that notes what becomes of it; ``work[cpu]`` are rounds left to run."""

    def __init__(self, cpus: int = 2) -> None:
        super().__init__(cpus, daemons=False)
        self.smpboot = Smpboot(self.sched)
        self.work = [0] * cpus
        self.said: list[str] = []
        self.kind = kind = HotplugThread("demo", lambda index: self.work[index] > 0, self.run_demo)
        kind.create = lambda index: self.said.append(f"create {index} {self.state(index)}")
        kind.setup = self.callback("setup")
        kind.park = self.callback("park")
        kind.unpark = self.callback("unpark")
        kind.cleanup = self.cleanup

    def state(self, index: int) -> str:
        task = self.kind.threads[index].task
        return "parked" if task.state == TASK_PARKED and not task.on_rq else f"{task.state:#x}"

    def callback(self, name: str) -> TaskFn:
        async def call(task: Task) -> None:
            assert (task.state, task.cpu.preempt_count, task.cpu.irqs_off) == (0, 0, False)
            self.said.append(f"{name} {task.comm}")

        return call

    async def cleanup(self, task: Task, online: bool) -> None:
        assert (task.state, task.cpu.preempt_count, task.cpu.irqs_off) == (0, 0, False)
        self.said.append(f"cleanup {task.comm} {'online' if online else 'offline'}")

    async def run_demo(self, task: Task) -> None:
        self.work[task.cpu.id] -= 1
        self.said.append(f"run {task.comm}")

    def do(self, body: TaskFn, cpu: int = 0) -> None:
        """Run a body in a task of its own, to its end."""
        ended = self.start(body, "admin", cpu=cpu)
        self.play(self.engine.now + 10_000)
        assert ended.exited


def test_S0_86_spawn_in_boot_order() -> None:
    m = Machine(2)
    # The hotplug callbacks, tasklets' first, are there before any thread is.
    assert [name for name, _ in m.kernel.smpboot.dead] == ["softirq:dead", "net/dev:dead"]
    new = [record.new_comm for record in m.records if type(record).__name__ == "TaskNewtask"]  # type: ignore[attr-defined]
    assert new[:2] == ["ksoftirqd/0", "ksoftirqd/1"]
    assert [kind.name for kind in m.kernel.smpboot.kinds] == ["ksoftirqd"]
    asyncio.run(m.close())


def test_S0_86_a_raise_before_spawn_stays_without_a_wake_up() -> None:
    m = Rig(daemons=False)

    async def body(task: Task) -> None:
        cpu = task.preempt_disable()
        await m.softirq.raise_softirq(cpu, BLOCK_SOFTIRQ)
        await task.preempt_enable()
        await task.spend(1000)

    m.start(body, "early", cpu=0)
    m.play(500)
    assert (m.softirq.pending, m.story("sched_waking", "softirq_entry", since=0)) == ([1 << BLOCK_SOFTIRQ], [])
    m.end()


def test_S0_89_register_on_all_online() -> None:
    m = Scene(3)
    m.smpboot.online[1] = False

    async def register(task: Task) -> None:
        await m.smpboot.register_percpu_thread(task, m.kind)

    m.do(register)
    assert m.said == ["create 0 parked", "setup demo/0", "create 2 parked", "setup demo/2"]
    assert sorted(m.kind.threads) == [0, 2]
    assert m.smpboot.kinds == [m.kind]
    m.end()


def test_S0_89_an_error_destroys_all_created() -> None:
    m = Scene(3)
    m.smpboot.may_create = lambda name: name != "demo/2"
    before = sorted(task.comm for task in m.sched.tasks.values())
    found: list[UsageError] = []

    async def register(task: Task) -> None:
        try:
            await m.smpboot.register_percpu_thread(task, m.kind)
        except UsageError as error:
            found.append(error)

    m.do(register)
    assert (found[0].errno, str(found[0])) == (12, "demo/2 cannot be made (-ENOMEM)")
    assert (m.kind.threads, m.smpboot.kinds) == ({}, [])
    assert sorted(task.comm for task in m.sched.tasks.values()) == before
    assert m.said == [
        "create 0 parked",
        "setup demo/0",
        "create 1 parked",
        "setup demo/1",
        "cleanup demo/0 online",
        "cleanup demo/1 online",
    ]
    m.end()


def test_S0_90_create_one() -> None:
    m = Scene()
    results = []

    async def create(task: Task) -> None:
        m.smpboot.may_create = lambda name: False
        results.append(await m.smpboot.create_thread(task, m.kind, 1))
        results.append(len(m.kind.threads))
        m.smpboot.may_create = lambda name: True
        results.append(await m.smpboot.create_thread(task, m.kind, 1))
        thread = m.kind.threads[1]
        results.append(await m.smpboot.create_thread(task, m.kind, 1))
        assert m.kind.threads[1] is thread

    m.do(create)
    # No memory, then made, then there already: the create-callback ran once, after the thread had really parked.
    assert results == [-12, 0, 0, 0]
    assert m.said == ["create 1 parked"]
    assert m.kind.threads[1].status == HP_THREAD_NONE
    m.end()


def test_S0_92_bound_creation() -> None:
    m = Scene()

    async def create(task: Task) -> None:
        await m.smpboot.create_thread(task, m.kind, 1)
        await m.kind.threads[1].kthread.unpark(task)

    m.do(create)
    task = m.kind.threads[1].task
    assert (task.comm, task.allowed, task.percpu, task.pinned, task.cpu.id, task.kthread) == ("demo/1", 0b10, True, True, 1, True)
    with pytest.raises(UsageError, match=r"^demo/1: the affinity of a per-CPU kthread cannot be changed \(-EINVAL\)$"):
        m.sched.set_cpus_allowed(m.cpus[0], task, 0b01)
    m.end()


def test_S0_96_the_state_machine_over_an_offline_online_cycle() -> None:
    m = Scene()
    m.work[1] = 1
    states = []

    async def cycle(task: Task) -> None:
        await m.smpboot.register_percpu_thread(task, m.kind)
        await task.spend(100)
        thread = m.kind.threads[1]
        states.append(thread.status)
        await m.smpboot.park_threads(task, 1)
        states.append(thread.status)
        m.said.append(f"parked {m.state(1)}")
        m.work[1] = 1
        await task.wake(thread.task)  # a wake-up does not unpark
        await task.spend(100)
        await m.smpboot.unpark_threads(task, 1)
        await task.spend(100)
        states.append(thread.status)

    m.do(cycle)
    assert states == [HP_THREAD_ACTIVE, HP_THREAD_PARKED, HP_THREAD_ACTIVE]
    assert [line for line in m.said if "0" not in line or line == "parked parked"] == [
        "create 1 parked",
        "setup demo/1",
        "run demo/1",
        "park demo/1",
        "parked parked",
        "unpark demo/1",
        "run demo/1",
    ]
    m.end()


@pytest.mark.parametrize(("online", "word"), [(True, "online"), (False, "offline")])
def test_S0_99_stop_path(online: bool, word: str) -> None:
    m = Scene()

    async def unregister(task: Task) -> None:
        await m.smpboot.register_percpu_thread(task, m.kind)
        await task.spend(100)
        if not online:
            await m.smpboot.park_threads(task, 1)
            m.smpboot.online[1] = False
        m.said.clear()
        await m.smpboot.unregister_percpu_thread(task, m.kind)

    m.do(unregister)
    assert m.said == ["cleanup demo/0 online", f"cleanup demo/1 {word}"]
    assert (m.kind.threads, m.smpboot.kinds) == ({}, [])
    assert not any(task.comm.startswith("demo") for task in m.sched.tasks.values())
    m.end()


def test_S0_99_stop_before_the_first_run_cleans_nothing_up() -> None:
    m = Scene()

    async def create_and_stop(task: Task) -> None:
        await m.smpboot.create_thread(task, m.kind, 1)
        thread = m.kind.threads[1]
        await thread.kthread.stop(task)
        m.said.append(f"exited {thread.kthread.exited}")

    m.do(create_and_stop)
    assert m.said == ["create 1 parked", "exited True"]
    m.end()


def test_S0_100_on_the_wrong_cpu() -> None:
    m = Scene()

    async def move(task: Task) -> None:
        await m.smpboot.register_percpu_thread(task, m.kind)
        await task.spend(100)
        strayed = m.kind.threads[1].task
        # What nobody can do from outside: lift the binding of a per-CPU kthread.
        strayed.percpu = strayed.pinned = False
        strayed.allowed = 0b01
        await task.wake(strayed)
        await task.spend(100)

    m.start(move, "admin", cpu=0)
    with pytest.raises(KernelBug, match=r"^kernel BUG: demo/1/\d+ runs on CPU0 at 200 ns$"):
        m.play(10_000)


class Old(Rig):
    """ksoftirqd of 2.6 on a preemptible kernel: 50 ns pass between its test for work and the processing."""

    def __init__(self, kernel: KernelConfig, cpus: int = 1) -> None:
        super().__init__(cpus, kernel, ksoftirqd_ns=50)

    @property
    def daemon(self) -> Ksoftirqd26:
        assert self.threads.daemons is not None
        return self.threads.daemons


@pytest.mark.parametrize(
    ("kernel", "order"),
    [
        (OWN_FULL, [(130, "urgent"), (180, "NET_RX")]),
        (EARLY_FULL, [(150, "NET_RX"), (150, "urgent")]),
    ],
    ids=["own", "own-early"],
)
def test_S2_76_where_preemption_is_off(kernel: KernelConfig, order: list[tuple[int, str]]) -> None:
    m = Old(kernel, 2)

    async def run_urgent(task: Task) -> None:
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()
        m.note("urgent")
        await task.spend(30)

    async def net_rx(cpu: Cpu) -> None:
        m.note("NET_RX")

    async def body(task: Task) -> None:
        await task.spend(100)
        cpu = task.preempt_disable()
        await m.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)
        await task.preempt_enable()

    async def waker(task: Task) -> None:
        await task.spend(130)
        await task.wake(urgent)

    urgent = m.start(run_urgent, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50)
    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(body, "body", cpu=0)
    m.start(waker, "waker", cpu=1)
    m.play(5000)
    assert m.log == order
    m.end()


def test_S2_76_it_is_nice_and_offers_the_cpu_between_two_rounds() -> None:
    m = Old(KERNEL_26)
    task = m.softirq.ksoftirqd[0]
    assert task is not None
    assert (task.comm, task.nice, task.allowed) == ("ksoftirqd/0", 19, 1)
    m.end()


def test_S4_49_a_cpu_comes_up_with_its_daemon() -> None:
    m = Old(KERNEL_26, 2)
    daemon = m.daemon
    got: list[object] = []

    async def cycle(task: Task) -> None:
        await daemon.cpu_down(task, 1)
        got.append((m.softirq.ksoftirqd[1], list(m.threads.smpboot.online)))
        got.append(await daemon.cpu_callback(task, "CPU_UP_PREPARE", 1))
        fresh = m.softirq.ksoftirqd[1]
        assert fresh is not None
        got.append((fresh.comm, fresh.allowed, fresh.on_rq))  # made and bound, not woken yet
        m.threads.smpboot.online[1] = True
        got.append(await daemon.cpu_callback(task, "CPU_ONLINE", 1))
        await task.spend(100)
        got.append(fresh.state)

    m.start(cycle, "admin", cpu=0)
    m.play(10_000)
    assert got == [(None, [True, False]), NOTIFY_OK, ("ksoftirqd/1", 0b10, False), NOTIFY_OK, TASK_INTERRUPTIBLE]
    m.end()


def test_S4_49_a_failed_create_keeps_the_cpu_down() -> None:
    m = Old(KERNEL_26, 2)
    daemon = m.daemon
    got: list[object] = []

    async def cycle(task: Task) -> None:
        await daemon.cpu_down(task, 1)
        m.threads.smpboot.may_create = lambda name: False
        got.append(await daemon.cpu_callback(task, "CPU_UP_PREPARE", 1) == NOTIFY_BAD)
        got.append(await daemon.cpu_up(task, 1))
        got.append(list(m.threads.smpboot.online))
        m.threads.smpboot.may_create = lambda name: True
        got.append(await daemon.cpu_up(task, 1))
        got.append(list(m.threads.smpboot.online))

    m.start(cycle, "admin", cpu=0)
    m.play(10_000)
    assert got == [True, False, [True, False], True, [True, True]]
    m.end()


def test_S4_49_tasklets_on_a_cpu_that_is_not_up_are_a_bug() -> None:
    m = Old(KERNEL_26, 2)
    m.daemon.queued = lambda index: index == 1

    async def cycle(task: Task) -> None:
        await m.daemon.cpu_down(task, 1)
        await m.daemon.cpu_up(task, 1)

    m.start(cycle, "admin", cpu=0)
    with pytest.raises(KernelBug, match=r"^kernel BUG: tasklets wait on CPU1, which is not up yet, at 0 ns$"):
        m.play(10_000)


def test_S2_77_wait_to_die() -> None:
    m = Old(KERNEL_26, 2)
    seen: list[object] = []

    async def net_rx(cpu: Cpu) -> None:
        seen.append("processed")

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)

    async def raiser(task: Task) -> None:
        await task.spend(100)
        cpu = task.preempt_disable()
        await m.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)
        await task.preempt_enable()

    async def admin(task: Task) -> None:
        await task.spend(120)
        m.threads.smpboot.online[1] = False  # while the daemon is on its way from the test to the processing
        await task.spend(100)
        daemon = m.softirq.ksoftirqd[1]
        assert daemon is not None
        seen.append((m.daemon.waits_to_die[1], daemon.state, m.softirq.pending[1]))
        await task.wake(daemon)
        await task.spend(100)
        seen.append((m.daemon.waits_to_die[1], daemon.state, m.softirq.pending[1]))
        await m.daemon.cpu_callback(task, "CPU_DEAD", 1)
        seen.append((daemon.exited, m.softirq.ksoftirqd[1]))

    m.start(raiser, "raiser", cpu=1)
    m.start(admin, "admin", cpu=0)
    m.play(10_000)
    bit = 1 << NET_RX_SOFTIRQ
    assert seen == [(True, TASK_INTERRUPTIBLE, bit), (True, TASK_INTERRUPTIBLE, bit), (True, None)]
    m.end()

"""Send signals to user threads, which take them on the way to user mode."""

from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.sched.signal import SI_USER, SIGCHLD, SIGKILL, SIGSEGV, SIGTERM, SIGTRAP, SigInfo
from asyncirq.sched.task import Task
from tests.conformance.trap_scene import Scene, play


async def kill(scene: Scene, task: Task, victim: Task, signal: int) -> bool:
    """Send a signal from a task."""
    cpu = task.preempt_disable()
    woken = await scene.traps.signals.send(cpu, victim, SigInfo(signal, SI_USER))
    await task.preempt_enable()
    return woken


def test_a_thread_in_user_mode_on_another_cpu_is_interrupted_for_it() -> None:
    async def code(scene: Scene, task: Task) -> None:
        async def compute(victim: Task) -> None:
            await victim.user(900_000)
            scene.note("not reached")

        victim = scene.machine.start_thread(compute, "victim", cpu=1)
        await task.spend(10_000)
        assert not await kill(scene, task, victim, SIGTERM)
        await task.spend(10_000)
        assert victim.exited and victim.signals is not None and victim.signals.fatal == SIGTERM
        with pytest.raises(UsageError, match=rf"^victim/{victim.pid} has ended"):
            await scene.traps.signals.send(task.cpu, victim, SigInfo(SIGTERM))
        scene.note("done")

    scene = play(code, cpus=2)
    assert scene.log == [(20_000, "done")]
    assert scene.story("signal_deliver") == [(10_000, f"signal {SIGTERM} code {SI_USER} handler 0x0")]


def test_a_handler_runs_and_the_thread_goes_on() -> None:
    async def code(scene: Scene, task: Task) -> None:
        async def handler(task: Task, info: SigInfo) -> None:
            await task.user(100)
            scene.note(f"handler {info.signo}")

        signals = scene.traps.signals.of(task)
        signals.handle(SIGTERM, handler, address=0x40_2000)
        with pytest.raises(UsageError, match=r"^signal 9 has no handler but the kernel's"):
            signals.handle(SIGKILL, handler)
        assert not await kill(scene, task, task, SIGTERM)
        assert not await kill(scene, task, task, SIGCHLD)
        await task.user(1_000)
        scene.note("on")

    scene = play(code, signal_deliver_ns=50)
    assert scene.log == [(150, f"handler {SIGTERM}"), (1_150, "on")]
    # A child's end is ignored where nobody asks for it; the record says so nevertheless, as Linux's does.
    assert scene.story() == [
        (0, f"signal {SIGTERM} code 0 handler 0x402000"),
        (150, f"signal {SIGCHLD} code 0 handler 0x0"),
        (1_150, "exit app"),
    ]


def test_what_an_instruction_caused_comes_first() -> None:
    async def code(scene: Scene, task: Task) -> None:
        async def handler(task: Task, info: SigInfo) -> None:
            scene.note(str(info.signo))

        signals = scene.traps.signals.of(task)
        for signal in (2, SIGTRAP, SIGSEGV, SIGTERM):
            signals.handle(signal, handler)
            scene.traps.signals.force(task, SigInfo(signal))
        await task.user(10)

    assert [text for _, text in play(code).log] == [str(signal) for signal in (SIGTRAP, SIGSEGV, 2, SIGTERM)]


def test_a_debugger_may_exchange_the_signal() -> None:
    async def code(scene: Scene, task: Task) -> None:
        async def tracer(task: Task, info: SigInfo) -> int:
            return {SIGTERM: 0, SIGTRAP: SIGCHLD}.get(info.signo, info.signo)

        scene.traps.signals.of(task).tracer = tracer
        for signal in (SIGTERM, SIGTRAP):
            scene.traps.signals.force(task, SigInfo(signal))
            await task.user(10)
        scene.note("alive")
        scene.traps.signals.force(task, SigInfo(SIGKILL))
        await task.user(10)

    scene = play(code)
    assert scene.log == [(20, "alive")]
    assert [text for _, text in scene.story("signal_deliver")] == [
        f"signal {SIGCHLD} code 128 handler 0x0",
        "signal 9 code 128 handler 0x0",
    ]

"""Send signals to threads that block them, ignore them, or are woken by them."""

from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.signal import ALL_SIGNALS, SIGCHLD, SIGKILL, SIGTERM, Signals
from asyncirq.sched.task import TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE, Task
from tests.sched.harness import Lab


def send(signals: Signals, signal: int, state: int = TASK_INTERRUPTIBLE) -> tuple[bool, list[str]]:
    """Send a signal at 100 to a task that sleeps in ``state``; return the answer and what the task did."""
    lab = Lab()
    answers = []

    async def sleeper(task: Task) -> None:
        task.set_current_state(state)
        await task.schedule()
        lab.note("woken")

    task = lab.start(sleeper, "sleeper", cpu=0)

    async def body(cpu: Cpu) -> None:
        answers.append(await signals.send(cpu, task, signal))
        if not answers[0]:
            lab.wake_at(200, task)

    lab.interrupt(100, body)
    lab.play(1000)
    lab.end()
    return answers[0], [f"{text} at {when}" for when, text in lab.log]


def test_an_open_signal_ends_an_interruptible_sleep() -> None:
    signals = Signals()
    assert send(signals, SIGTERM) == (True, ["woken at 100"])
    assert signals.pending == 1 << SIGTERM - 1


def test_an_uninterruptible_sleep_goes_on() -> None:
    assert send(Signals(), SIGKILL, TASK_UNINTERRUPTIBLE) == (False, ["woken at 200"])


def test_a_blocked_signal_pends() -> None:
    signals = Signals()
    signals.pending = 1
    signals.block_all()
    assert (signals.blocked, signals.pending) == (ALL_SIGNALS, 0)
    assert send(signals, SIGTERM) == (False, ["woken at 200"])
    assert signals.pending == 1 << SIGTERM - 1


def test_an_ignored_signal_is_thrown_away() -> None:
    signals = Signals()
    signals.ignore(SIGCHLD)
    assert send(signals, SIGCHLD) == (False, ["woken at 200"])
    assert signals.pending == 0


@pytest.mark.parametrize("signal", [0, 65])
def test_there_is_no_such_signal(signal: int) -> None:
    with pytest.raises(UsageError, match=f"signal {signal} is not in 1..64"):
        send(Signals(), signal)

from __future__ import annotations

import pytest

from asyncirq.bottom_half.softirq import HRTIMER_SOFTIRQ, NET_RX_SOFTIRQ, TIMER_SOFTIRQ
from asyncirq.config import KernelConfig, preset
from asyncirq.entry import LOCAL_TIMER_VECTOR
from asyncirq.hw.apic_message import ApicMessage
from asyncirq.hw.cpu import Cpu
from tests.softirq_rig import Rig

THREADIRQS = preset("linux-6.1", threadirqs=True)
RT_61 = preset("linux-6.1", rt=True)
RT_612 = preset("linux-6.12", rt=True)


def test_waking_a_softirq_thread_takes_its_cost_first() -> None:
    m = Rig(kernel=THREADIRQS, softirqd_wake_ns=70)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.play(1000)
    assert m.story("softirq_raise", "sched_waking", "softirq_entry") == [
        (100, "idle: raise NET_RX"),
        (170, "idle: waking ksoftirqd/0"),
        (170, "ksoftirqd/0: NET_RX"),
    ]
    m.end()


@pytest.mark.parametrize(
    ("kernel", "nr", "waking"),
    [(RT_61, TIMER_SOFTIRQ, 100), (RT_61, HRTIMER_SOFTIRQ, 130), (RT_612, TIMER_SOFTIRQ, 130), (RT_612, HRTIMER_SOFTIRQ, 130)],
)
def test_ktimers_is_woken_in_the_interrupt_for_timer_alone(kernel: KernelConfig, nr: int, waking: int) -> None:
    m = Rig(kernel=kernel, sysvec_exit_ns=30)

    async def timer(cpu: Cpu) -> None:
        await m.softirq.raise_timer_softirq(cpu, nr)

    m.entry.timer = timer
    m.at(100, lambda: m.send(ApicMessage(LOCAL_TIMER_VECTOR, 0, False, 0, False, 0)))
    m.play(1000)
    assert m.story("sched_waking") == [(waking, "idle: waking ktimers/0")]
    m.end()

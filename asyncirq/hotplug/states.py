"""Name the states of a CPU between off and on, in their order.

Linux: include/linux/cpuhotplug.h enum cpuhp_state. Model: only states that a subsystem of the model has; their numbers, which
differ from release to release in Linux too, count these.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final


class CpuhpState(IntEnum):
    """A state of a CPU; the step of the same number leads to it from below. A name in ``DYN`` begins a range for whoever comes."""

    OFFLINE = 0
    # The control CPU's part, PREPARE. What ends in DEAD has a way down alone.
    CREATE_THREADS = 1
    SOFTIRQ_DEAD = 2
    BLOCK_SOFTIRQ_DEAD = 3
    NET_DEV_DEAD = 4
    WORKQUEUE_PREP = 5
    HRTIMERS_PREPARE = 6
    SMPCFD_PREPARE = 7
    RCUTREE_PREP = 8
    TIMERS_PREPARE = 9
    BP_PREPARE_DYN = 10
    BP_PREPARE_DYN_END = 30
    BRINGUP_CPU = 31
    # The CPU's own part with interrupts off, STARTING.
    AP_IDLE_DEAD = 32
    AP_OFFLINE = 33
    AP_SCHED_STARTING = 34
    AP_RCUTREE_DYING = 35
    AP_IRQ_GIC_STARTING = 36
    AP_ARM_ARCH_TIMER_STARTING = 37
    AP_SMPCFD_DYING = 38
    AP_HRTIMERS_DYING = 39
    AP_TICK_DYING = 40
    AP_ONLINE = 41
    TEARDOWN_CPU = 42
    # The hotplug thread's part, ONLINE.
    AP_ONLINE_IDLE = 43
    AP_SCHED_WAIT_EMPTY = 44
    AP_SMPBOOT_THREADS = 45
    AP_IRQ_AFFINITY_ONLINE = 46
    AP_WATCHDOG_ONLINE = 47
    AP_WORKQUEUE_ONLINE = 48
    AP_RCUTREE_ONLINE = 49
    AP_ONLINE_DYN = 50
    AP_ONLINE_DYN_END = 90
    AP_ACTIVE = 91
    ONLINE = 92


DYNAMIC: Final[Mapping[int, int]] = MappingProxyType(
    {
        CpuhpState.BP_PREPARE_DYN: CpuhpState.BP_PREPARE_DYN_END,
        CpuhpState.AP_ONLINE_DYN: CpuhpState.AP_ONLINE_DYN_END,
    }
)
"""The ranges of states that are given out one by one, as first and one past the last."""


def is_ap_state(state: int) -> bool:
    """Tell whether a state's step is run by the CPU itself."""
    return state > CpuhpState.BRINGUP_CPU and state != CpuhpState.TEARDOWN_CPU


def is_atomic_state(state: int) -> bool:
    """Tell whether a state's step is run with interrupts off, where nothing can fail any more."""
    return CpuhpState.AP_IDLE_DEAD <= state < CpuhpState.AP_ONLINE

"""Model the Linux interrupt subsystem: deterministic, in virtual time, with a typed record for every transition.

PLACEHOLDER
"""

from __future__ import annotations

from asyncirq.board import Msi
from asyncirq.bottom_half.hrtimer import HRTIMER_MODE_ABS, HRTIMER_MODE_HARD, HRTIMER_MODE_REL, HRTIMER_MODE_SOFT, Hrtimer
from asyncirq.bottom_half.irq_work import IrqWork
from asyncirq.bottom_half.napi import Napi
from asyncirq.bottom_half.softirq import (
    BLOCK_SOFTIRQ,
    HI_SOFTIRQ,
    HRTIMER_SOFTIRQ,
    IRQ_POLL_SOFTIRQ,
    NET_RX_SOFTIRQ,
    NET_TX_SOFTIRQ,
    RCU_SOFTIRQ,
    SCHED_SOFTIRQ,
    TASKLET_SOFTIRQ,
    TIMER_SOFTIRQ,
)
from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.bottom_half.timer_wheel import Timer
from asyncirq.bottom_half.work import DelayedWork, Work
from asyncirq.bottom_half.workqueue import WQ_HIGHPRI, WQ_ORDERED, WQ_UNBOUND, Workqueue
from asyncirq.config import KernelConfig, preset, releases
from asyncirq.costs import Costs, cost_names
from asyncirq.errors import AsyncIrqError, InternalError, KernelBug, ReplayDiverged, SimulationStalled, UsageError
from asyncirq.host import run
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.line import Line
from asyncirq.irq.desc import (
    IRQ_HANDLED,
    IRQ_NONE,
    IRQ_WAKE_THREAD,
    IRQF_NO_AUTOEN,
    IRQF_NO_THREAD,
    IRQF_ONESHOT,
    IRQF_SHARED,
    Irqf,
    IrqReturn,
)
from asyncirq.locking.completion import Completion
from asyncirq.locking.mutex import Mutex
from asyncirq.locking.raw_spinlock import RawSpinlock
from asyncirq.locking.spinlock import Spinlock
from asyncirq.machine import Machine
from asyncirq.sched.task import (
    SCHED_FIFO,
    SCHED_NORMAL,
    SCHED_RR,
    TASK_INTERRUPTIBLE,
    TASK_RUNNING,
    TASK_UNINTERRUPTIBLE,
    Task,
)
from asyncirq.sched.wait import WaitQueue
from asyncirq.sim import Arrival, Choice, Scripted, Seeded, Stream
from asyncirq.trace import (
    FileSink,
    MemorySink,
    Record,
    Recorder,
    Sink,
    StructlogSink,
    assert_balanced,
    read_jsonl,
    render_trace,
)
from asyncirq.units import CpuId, Hwirq, Irq, Pin, Vector, ms, ns, sec, us

__version__ = "0.1.0"

__all__ = [
    "BLOCK_SOFTIRQ",
    "HI_SOFTIRQ",
    "HRTIMER_MODE_ABS",
    "HRTIMER_MODE_HARD",
    "HRTIMER_MODE_REL",
    "HRTIMER_MODE_SOFT",
    "HRTIMER_SOFTIRQ",
    "IRQF_NO_AUTOEN",
    "IRQF_NO_THREAD",
    "IRQF_ONESHOT",
    "IRQF_SHARED",
    "IRQ_HANDLED",
    "IRQ_NONE",
    "IRQ_POLL_SOFTIRQ",
    "IRQ_WAKE_THREAD",
    "NET_RX_SOFTIRQ",
    "NET_TX_SOFTIRQ",
    "RCU_SOFTIRQ",
    "SCHED_FIFO",
    "SCHED_NORMAL",
    "SCHED_RR",
    "SCHED_SOFTIRQ",
    "TASKLET_SOFTIRQ",
    "TASK_INTERRUPTIBLE",
    "TASK_RUNNING",
    "TASK_UNINTERRUPTIBLE",
    "TIMER_SOFTIRQ",
    "WQ_HIGHPRI",
    "WQ_ORDERED",
    "WQ_UNBOUND",
    "Arrival",
    "AsyncIrqError",
    "Choice",
    "Completion",
    "Costs",
    "Cpu",
    "CpuId",
    "DelayedWork",
    "FileSink",
    "Hrtimer",
    "Hwirq",
    "InternalError",
    "Irq",
    "IrqReturn",
    "IrqWork",
    "Irqf",
    "KernelBug",
    "KernelConfig",
    "Line",
    "Machine",
    "MemorySink",
    "Msi",
    "Mutex",
    "Napi",
    "Pin",
    "RawSpinlock",
    "Record",
    "Recorder",
    "ReplayDiverged",
    "Scripted",
    "Seeded",
    "SimulationStalled",
    "Sink",
    "Spinlock",
    "Stream",
    "StructlogSink",
    "Task",
    "Tasklet",
    "Timer",
    "UsageError",
    "Vector",
    "WaitQueue",
    "Work",
    "Workqueue",
    "assert_balanced",
    "cost_names",
    "ms",
    "ns",
    "preset",
    "read_jsonl",
    "releases",
    "render_trace",
    "run",
    "sec",
    "us",
]

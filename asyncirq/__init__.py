"""Model the Linux interrupt subsystem: deterministic, in virtual time, with a typed record for every transition.

An interrupt is a function call that the interrupted code did not write: it runs nested inside the ``await`` of whatever
it interrupted. So the await stack is the kernel stack, and one interrupt is a chain of calls that can be followed from
file to file.

The way of one interrupt
------------------------

A signal goes down this table; each file is visited once. ``def`` marks what takes no time, ``async`` what does.

| # | file: function | | what happens | records |
| --- | --- | --- | --- | --- |
| 1 | ``devices/``, hardware half | async | the device decides to interrupt | device_raise |
| 2 | ``hw/line.py Line.set``, ``hw/msi.py send`` | def | a wire changes its level, a message is written | line_level, msi_write |
| 3 | ``hw/ioapic.py IoApic.run`` | async | inbox in order, latency, edge or level, mask, routing | ioapic_deliver |
| 4 | ``hw/lapic.py accept`` | def | a bit in IRR is set or the raise coalesces; the CPU is poked | lapic_irr |
| 5 | ``hw/cpu.py interrupt_window`` | async | IRR moves to ISR, the gate is looked up, interrupts go off | lapic_inta |
| 6 | ``entry/common.py common_interrupt`` | async | irq_enter, descriptor, flow handler, irq_exit | vector_entry, vector_exit |
| 7 | ``irq/flow.py``, chips in ``irqchip/`` | async | mask, ack, eoi, unmask as the trigger asks for | irq_flow, lapic_eoi, ioapic_eoi |
| 8 | ``irq/handle.py handle_irq_event`` | async | the actions in turn; threads are woken | irq_handler_entry, irq_handler_exit |
| 9 | ``devices/``, driver half | async | the handler: registers, softirq_raise, wake-ups | softirq_raise, sched_waking, sched_wakeup |
| 10 | ``bottom_half/softirq.py irq_exit`` | async | softirqs, up to the limits; ksoftirqd takes the rest | softirq_entry, softirq_exit |
| 11 | ``sched/switch.py preempt_schedule_irq`` | async | the reschedule, last statement of irq_exit | sched_switch |
| 12 | ``irq/thread.py``, ``bottom_half/workqueue.py`` | async | the deferred half in its own task | irq_thread_entry, irq_thread_exit |

The records of one interrupt
----------------------------

A card on a level-triggered wire interrupts a kernel task; its handler raises NET_RX and asks for its thread; the kernel is
fully preemptible. Left, the row of the table; indented, what is nested::

     1  device_raise
     2  line_level
     3  ioapic_deliver
     4  lapic_irr
     5  lapic_inta
     6      vector_entry
     7          irq_flow            mask: the thread is going to unmask
     8          irq_handler_entry
     2              line_level      the driver lets go of the wire
     9              softirq_raise
     8          irq_handler_exit
     9          sched_waking
     9          sched_wakeup
     7          irq_flow            eoi
     7          lapic_eoi
     7          ioapic_eoi
     6      vector_exit
    10      softirq_entry
    10      softirq_exit
    11      sched_switch            to the irq thread
    12  irq_thread_entry
    12  irq_thread_exit
     7  irq_flow                    unmask
    11  sched_switch                back to the task, which returns from its interrupt

``tests/stories/test_map.py`` runs this interrupt and holds the text against its trace.

Three registration tables are the only indirections, as in Linux: the gates, the descriptors, the softirq vectors;
``Machine.describe()`` prints them. Causes, not interrupt ids: edges coalesce and levels re-assert, so each record carries
``seq`` and the ``cause`` that led to it.
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
from asyncirq.bottom_half.workqueue import Workqueue
from asyncirq.bottom_half.workqueue_api import (
    WQ_BH,
    WQ_CPU_INTENSIVE,
    WQ_FREEZABLE,
    WQ_HIGHPRI,
    WQ_MEM_RECLAIM,
    WQ_ORDERED,
    WQ_PERCPU,
    WQ_POWER_EFFICIENT,
    WQ_SYSFS,
    WQ_UNBOUND,
)
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
    IRQF_COND_ONESHOT,
    IRQF_NO_AUTOEN,
    IRQF_NO_SUSPEND,
    IRQF_NO_THREAD,
    IRQF_NOBALANCING,
    IRQF_ONESHOT,
    IRQF_PERCPU,
    IRQF_SHARED,
    IRQF_TRIGGER_FALLING,
    IRQF_TRIGGER_HIGH,
    IRQF_TRIGGER_LOW,
    IRQF_TRIGGER_RISING,
    Irqf,
    IrqReturn,
)
from asyncirq.locking.completion import Completion
from asyncirq.locking.local_lock import LocalLock
from asyncirq.locking.lockdep_check import lockdep_assert_held, might_lock
from asyncirq.locking.lockdep_class import LockKey
from asyncirq.locking.mutex import Mutex
from asyncirq.locking.raw_spinlock import RawSpinlock
from asyncirq.locking.rtmutex import RtMutex
from asyncirq.locking.rwlock import RwLock
from asyncirq.locking.rwsem import RwSemaphore
from asyncirq.locking.semaphore import Semaphore
from asyncirq.locking.seqlock import Seqlock
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
from asyncirq.sim import Arrival, Choice, Policy, Scripted, Seeded, Stream
from asyncirq.trace import (
    RECORD_TYPES,
    FileSink,
    MemorySink,
    Record,
    Recorder,
    Sink,
    StructlogSink,
    assert_balanced,
    read_jsonl,
    render,
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
    "IRQF_COND_ONESHOT",
    "IRQF_NOBALANCING",
    "IRQF_NO_AUTOEN",
    "IRQF_NO_SUSPEND",
    "IRQF_NO_THREAD",
    "IRQF_ONESHOT",
    "IRQF_PERCPU",
    "IRQF_SHARED",
    "IRQF_TRIGGER_FALLING",
    "IRQF_TRIGGER_HIGH",
    "IRQF_TRIGGER_LOW",
    "IRQF_TRIGGER_RISING",
    "IRQ_HANDLED",
    "IRQ_NONE",
    "IRQ_POLL_SOFTIRQ",
    "IRQ_WAKE_THREAD",
    "NET_RX_SOFTIRQ",
    "NET_TX_SOFTIRQ",
    "RCU_SOFTIRQ",
    "RECORD_TYPES",
    "SCHED_FIFO",
    "SCHED_NORMAL",
    "SCHED_RR",
    "SCHED_SOFTIRQ",
    "TASKLET_SOFTIRQ",
    "TASK_INTERRUPTIBLE",
    "TASK_RUNNING",
    "TASK_UNINTERRUPTIBLE",
    "TIMER_SOFTIRQ",
    "WQ_BH",
    "WQ_CPU_INTENSIVE",
    "WQ_FREEZABLE",
    "WQ_HIGHPRI",
    "WQ_MEM_RECLAIM",
    "WQ_ORDERED",
    "WQ_PERCPU",
    "WQ_POWER_EFFICIENT",
    "WQ_SYSFS",
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
    "LocalLock",
    "LockKey",
    "Machine",
    "MemorySink",
    "Msi",
    "Mutex",
    "Napi",
    "Pin",
    "Policy",
    "RawSpinlock",
    "Record",
    "Recorder",
    "ReplayDiverged",
    "RtMutex",
    "RwLock",
    "RwSemaphore",
    "Scripted",
    "Seeded",
    "Semaphore",
    "Seqlock",
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
    "lockdep_assert_held",
    "might_lock",
    "ms",
    "ns",
    "preset",
    "read_jsonl",
    "releases",
    "render",
    "render_trace",
    "run",
    "sec",
    "us",
]

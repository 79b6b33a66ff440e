"""Define the records of the scheduler: wake-ups, switches, preemption, idle, hotplug, and the kernel's own words."""

from __future__ import annotations

from asyncirq.trace.record import Record


class SchedWaking(Record, tag="sched_waking"):
    """Tell that a wake-up of a task began, on the waker's CPU."""

    comm: str
    target_pid: int
    prio: int
    target_cpu: int


class SchedWakeup(Record, tag="sched_wakeup"):
    """Tell that a task became runnable."""

    comm: str
    target_pid: int
    prio: int
    target_cpu: int


class SchedWakeupNew(Record, tag="sched_wakeup_new"):
    """Tell that a new task became runnable for the first time."""

    comm: str
    target_pid: int
    prio: int
    target_cpu: int


class SchedSwitch(Record, tag="sched_switch"):
    """Tell that the CPU changes tasks; ``prev_state`` as Linux prints it, ``+`` appended when preempted."""

    prev_comm: str
    prev_pid: int
    prev_prio: int
    prev_state: str
    next_comm: str
    next_pid: int
    next_prio: int


class SchedMigrateTask(Record, tag="sched_migrate_task"):
    """Tell that a task moves to another CPU."""

    comm: str
    target_pid: int
    prio: int
    orig_cpu: int
    dest_cpu: int


class SchedPiSetprio(Record, tag="sched_pi_setprio"):
    """Tell that priority inheritance changed a task's priority."""

    comm: str
    target_pid: int
    oldprio: int
    newprio: int


class SchedStatRuntime(Record, tag="sched_stat_runtime"):
    """Tell that a task ran for ``runtime`` nanoseconds since the last such record."""

    comm: str
    target_pid: int
    runtime: int


class SchedProcessFork(Record, tag="sched_process_fork"):
    """Tell that a task forked."""

    comm: str
    target_pid: int
    child_comm: str
    child_pid: int


class SchedProcessExit(Record, tag="sched_process_exit"):
    """Tell that a task ended."""

    comm: str
    exit_pid: int
    prio: int
    group_dead: bool = True


class SchedWakeIdleWithoutIpi(Record, tag="sched_wake_idle_without_ipi"):
    """Tell that a polling idle CPU was told to reschedule without an IPI."""

    target_cpu: int


class TaskNewtask(Record, tag="task_newtask"):
    """Tell that a task was created."""

    new_pid: int
    new_comm: str
    clone_flags: int = 0


class IrqDisable(Record, tag="irq_disable"):
    """Tell that interrupts went off."""

    caller: str
    parent: str


class IrqEnable(Record, tag="irq_enable"):
    """Tell that interrupts go on."""

    caller: str
    parent: str


class PreemptDisable(Record, tag="preempt_disable"):
    """Tell that preemption went off."""

    caller: str
    parent: str


class PreemptEnable(Record, tag="preempt_enable"):
    """Tell that preemption goes on."""

    caller: str
    parent: str


class CpuIdle(Record, tag="cpu_idle"):
    """Tell that the CPU entered idle state ``state``, or left idle (``4294967295``)."""

    state: int


class CpuhpEnter(Record, tag="cpuhp_enter"):
    """Tell that a hotplug step is about to run."""

    target_cpu: int
    target: int
    step: int
    function: str


class CpuhpMultiEnter(Record, tag="cpuhp_multi_enter"):
    """Tell that a hotplug step of one instance is about to run."""

    target_cpu: int
    target: int
    step: int
    function: str


class CpuhpExit(Record, tag="cpuhp_exit"):
    """Tell that a hotplug step returned."""

    target_cpu: int
    state: int
    step: int
    ret: int


class TracingMark(Record, tag="tracing_mark_write"):
    """Tell that somebody wrote into the trace."""

    text: str


class Printk(Record, tag="printk"):
    """Tell that the kernel said something at a log level (``KERN_EMERG`` 0 to ``KERN_DEBUG`` 7)."""

    level: int
    text: str


class OtherEvent(Record, tag="other_event"):
    """Tell of a tracepoint that has no record type here: its name, and its fields as text."""

    name: str
    text: str


SCHED_RECORDS: tuple[type[Record], ...] = (
    SchedWaking,
    SchedWakeup,
    SchedWakeupNew,
    SchedSwitch,
    SchedMigrateTask,
    SchedPiSetprio,
    SchedStatRuntime,
    SchedProcessFork,
    SchedProcessExit,
    SchedWakeIdleWithoutIpi,
    TaskNewtask,
    IrqDisable,
    IrqEnable,
    PreemptDisable,
    PreemptEnable,
    CpuIdle,
    CpuhpEnter,
    CpuhpMultiEnter,
    CpuhpExit,
    TracingMark,
    Printk,
    OtherEvent,
)
"""Every record type of this module, in the order above."""

"""Define the records of the handlers: hard interrupt, softirq, tasklet, irq thread, workqueue and NAPI."""

from __future__ import annotations

from asyncirq.trace.record import Record


class IrqHandlerEntry(Record, tag="irq_handler_entry"):
    """Tell that one action of a line is about to be called."""

    irq: int
    name: str


class IrqHandlerExit(Record, tag="irq_handler_exit"):
    """Tell that the action returned; ``ret`` is its ``irqreturn`` as an int."""

    irq: int
    ret: int


class SoftirqRaise(Record, tag="softirq_raise"):
    """Tell that a softirq vector was made pending."""

    vec: int


class SoftirqEntry(Record, tag="softirq_entry"):
    """Tell that the action of a softirq vector is about to be called."""

    vec: int


class SoftirqExit(Record, tag="softirq_exit"):
    """Tell that the action of a softirq vector returned."""

    vec: int


class TaskletEntry(Record, tag="tasklet_entry"):
    """Tell that a tasklet's function is about to be called."""

    tasklet: str
    function: str


class TaskletExit(Record, tag="tasklet_exit"):
    """Tell that a tasklet's function returned."""

    tasklet: str
    function: str


class IrqFlow(Record, tag="irq_flow"):
    """Tell that a flow handler took a step.

    Ours, for debugging: ``flow`` is its name, ``action`` such as ``mask`` or ``pending``.
    """

    irq: int
    flow: str
    action: str


class IrqThreadEntry(Record, tag="irq_thread_entry"):
    """Tell that the thread function of an action is about to be called (ours: Linux has no tracepoint there)."""

    irq: int
    name: str


class IrqThreadExit(Record, tag="irq_thread_exit"):
    """Tell that the thread function of an action returned (ours)."""

    irq: int
    name: str


class WorkqueueQueueWork(Record, tag="workqueue_queue_work"):
    """Tell that a work item was queued; ``req_cpu`` is what the caller asked for."""

    work: str
    function: str
    workqueue: str
    req_cpu: int
    target_cpu: int


class WorkqueueActivateWork(Record, tag="workqueue_activate_work"):
    """Tell that a work item joined the list its pool serves."""

    work: str
    function: str


class WorkqueueExecuteStart(Record, tag="workqueue_execute_start"):
    """Tell that a worker is about to call a work function."""

    work: str
    function: str


class WorkqueueExecuteEnd(Record, tag="workqueue_execute_end"):
    """Tell that a work function returned."""

    work: str
    function: str


class NapiPoll(Record, tag="napi_poll"):
    """Tell that a NAPI instance was polled and handled ``work`` packets."""

    napi: str
    dev_name: str
    work: int
    budget: int


class NetifReceiveSkb(Record, tag="netif_receive_skb"):
    """Tell that a packet of ``len`` bytes entered the stack from device ``name``."""

    name: str
    len: int


IRQ_RECORDS: tuple[type[Record], ...] = (
    IrqHandlerEntry,
    IrqHandlerExit,
    SoftirqRaise,
    SoftirqEntry,
    SoftirqExit,
    TaskletEntry,
    TaskletExit,
    IrqFlow,
    IrqThreadEntry,
    IrqThreadExit,
    WorkqueueQueueWork,
    WorkqueueActivateWork,
    WorkqueueExecuteStart,
    WorkqueueExecuteEnd,
    NapiPoll,
    NetifReceiveSkb,
)
"""Every record type of this module, in the order above."""

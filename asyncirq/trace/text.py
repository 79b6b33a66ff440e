"""Render records as lines of ftrace text: Linux's prefix, Linux's text of each event, ours in the same manner.

Linux: ``trace_print_context``, and the ``TP_printk`` of every event. Where the model has a name, Linux prints an
address (``%p``) or a symbol; the name is printed as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from asyncirq.trace.names import CommTable, latency_flags, softirq_name
from asyncirq.trace.record import NO_CPU, Record, tag_of
from asyncirq.units import NSEC_PER_SEC, NSEC_PER_USEC

_MATRIX: Final = (
    "online_maps={r.online_maps} global_avl={r.global_available}, global_rsvd={r.global_reserved}, total_alloc={r.total_allocated}"
)
_MATRIX_CPU: Final = (
    "bit={r.bit} cpu={r.target_cpu} online={r.online:d} avl={r.available} alloc={r.allocated} managed={r.managed} " + _MATRIX
)
_VECTOR: Final = "vector={r.vector}"
_SOFTIRQ: Final = "vec={r.vec} [action={action}]"
_TASKLET: Final = "tasklet={r.tasklet} function={r.function}"
_WORK: Final = "work struct {r.work}: function {r.function}"
_TIMER: Final = "timer={r.timer}"
_HRTIMER: Final = "hrtimer={r.hrtimer}"
_WAKE: Final = "comm={r.comm} pid={r.target_pid} prio={r.prio} target_cpu={r.target_cpu:03d}"
_CALLER: Final = "caller={r.caller} parent={r.parent}"
_CSD: Final = "func={r.func}, csd={r.csd}"
_MOVED: Final = "irq={r.irq} vector={r.vector} cpu={r.target_cpu} prev_vector={r.prev_vector} prev_cpu={r.prev_cpu}"
_ACTIVATE: Final = "irq={r.irq} is_managed={r.is_managed:d} can_reserve={r.can_reserve:d} reserve={r.reserve:d}"
_CPUHP: Final = "cpu: {r.target_cpu:04d} target: {r.target:3d} step: {r.step:3d} ({r.function})"
_NAMED_IRQ: Final = "irq={r.irq} name={r.name}"
_EXCEPTION: Final = "vector={r.vector} name={r.name}"
_SYSTEM_VECTORS: Final = (
    *("vector", "local_timer", "reschedule", "call_function", "call_function_single", "irq_work", "spurious_apic"),
    *("error_apic", "x86_platform_ipi", "threshold_apic", "deferred_error_apic", "thermal_apic"),
)

_TEMPLATES: Final[Mapping[str, str]] = {
    **{f"{name}_{edge}": _VECTOR for name in _SYSTEM_VECTORS for edge in ("entry", "exit")},
    **{f"irq_matrix_{name}": _MATRIX for name in ("online", "offline", "reserve", "remove_reserved")},
    **{f"irq_matrix_{name}": _MATRIX_CPU for name in ("reserve_managed", "remove_managed", "alloc_managed", "assign", "alloc", "free")},
    "irq_matrix_assign_system": "bit={r.bit} " + _MATRIX,
    "irq_handler_entry": _NAMED_IRQ,
    "irq_handler_exit": "irq={r.irq} ret={handled}",
    "softirq_raise": _SOFTIRQ,
    "softirq_entry": _SOFTIRQ,
    "softirq_exit": _SOFTIRQ,
    "tasklet_entry": _TASKLET,
    "tasklet_exit": _TASKLET,
    "irq_flow": "irq={r.irq} flow={r.flow} action={r.action}",
    "irq_thread_entry": _NAMED_IRQ,
    "irq_thread_exit": _NAMED_IRQ,
    "workqueue_queue_work": "work struct={r.work} function={r.function} workqueue={r.workqueue} req_cpu={r.req_cpu} cpu={r.target_cpu}",
    "workqueue_activate_work": "work struct {r.work} function={r.function} ",
    "workqueue_execute_start": _WORK,
    "workqueue_execute_end": _WORK,
    "napi_poll": "napi poll on napi struct {r.napi} for device {r.dev_name} work {r.work} budget {r.budget}",
    "netif_receive_skb": "dev={r.name} len={r.len}",
    "exception_entry": _EXCEPTION,
    "exception_exit": _EXCEPTION,
    "entry_step": "step={r.step} stack={r.stack} sp={r.sp:#x}",
    "nmi_unmasked": "",
    "nmi_handler": "{r.handler}() delta_ns: {r.delta_ns} handled: {r.handled}",
    "signal_deliver": "sig={r.sig} errno={r.errno} code={r.code} sa_handler={r.sa_handler:x} sa_flags={r.sa_flags:x}",
    "ipi_send_cpu": "cpu={r.target_cpu} callsite={r.callsite} callback={r.callback}",
    "ipi_send_cpumask": "cpumask={r.cpumask} callsite={r.callsite} callback={r.callback}",
    "csd_queue_cpu": "cpu={r.target_cpu} callsite={r.callsite} func={r.func} csd={r.csd}",
    "csd_function_entry": _CSD,
    "csd_function_exit": _CSD,
    "vector_config": "irq={r.irq} vector={r.vector} cpu={r.target_cpu} apicdest=0x{r.apicdest:08x}",
    "vector_update": _MOVED,
    "vector_clear": _MOVED,
    "vector_reserve": "irq={r.irq} ret={r.ret}",
    "vector_reserve_managed": "irq={r.irq} ret={r.ret}",
    "vector_alloc": "irq={r.irq} vector={r.vector} reserved={r.reserved:d} ret={r.ret}",
    "vector_alloc_managed": "irq={r.irq} vector={r.vector} ret={r.ret}",
    "vector_activate": _ACTIVATE,
    "vector_deactivate": _ACTIVATE,
    "vector_teardown": "irq={r.irq} is_managed={r.is_managed:d} has_reserved={r.has_reserved:d}",
    "vector_setup": "irq={r.irq} is_legacy={r.is_legacy:d} ret={r.ret}",
    "vector_free_moved": "irq={r.irq} cpu={r.target_cpu} vector={r.vector} is_managed={r.is_managed:d}",
    "timer_init": _TIMER,
    "timer_start": (
        "timer={r.timer} function={r.function} expires={r.expires} [timeout={r.timeout}] bucket_expiry={r.bucket_expiry} "
        "cpu={r.timer_cpu} idx={r.idx} flags={r.flags}"
    ),
    "timer_expire_entry": "timer={r.timer} function={r.function} now={r.now} baseclk={r.baseclk}",
    "timer_expire_exit": _TIMER,
    "timer_cancel": _TIMER,
    "timer_base_idle": "is_idle={r.is_idle:d} cpu={r.timer_cpu}",
    "hrtimer_setup": "hrtimer={r.hrtimer} clockid={r.clockid} mode={r.mode}",
    "hrtimer_start": (
        "hrtimer={r.hrtimer} function={r.function} expires={r.expires} softexpires={r.softexpires} mode={r.mode} was_armed={r.was_armed:d}"
    ),
    "hrtimer_expire_entry": "hrtimer={r.hrtimer} function={r.function} now={r.now}",
    "hrtimer_expire_exit": _HRTIMER,
    "hrtimer_cancel": _HRTIMER,
    "hrtimer_rearm": "next_event={r.next_event} deferred={r.deferred:d}",
    "tick_stop": "success={r.success:d} dependency={r.dependency}",
    "sched_waking": _WAKE,
    "sched_wakeup": _WAKE,
    "sched_wakeup_new": _WAKE,
    "sched_switch": (
        "prev_comm={r.prev_comm} prev_pid={r.prev_pid} prev_prio={r.prev_prio} prev_state={r.prev_state} ==> "
        "next_comm={r.next_comm} next_pid={r.next_pid} next_prio={r.next_prio}"
    ),
    "sched_migrate_task": "comm={r.comm} pid={r.target_pid} prio={r.prio} orig_cpu={r.orig_cpu} dest_cpu={r.dest_cpu}",
    "sched_pi_setprio": "comm={r.comm} pid={r.target_pid} oldprio={r.oldprio} newprio={r.newprio}",
    "sched_stat_runtime": "comm={r.comm} pid={r.target_pid} runtime={r.runtime} [ns]",
    "sched_process_fork": "comm={r.comm} pid={r.target_pid} child_comm={r.child_comm} child_pid={r.child_pid}",
    "sched_process_exit": "comm={r.comm} pid={r.exit_pid} prio={r.prio} group_dead={group_dead}",
    "sched_wake_idle_without_ipi": "cpu={r.target_cpu}",
    "task_newtask": "pid={r.new_pid} comm={r.new_comm} clone_flags={r.clone_flags:x} oom_score_adj=0",
    "irq_disable": _CALLER,
    "irq_enable": _CALLER,
    "preempt_disable": _CALLER,
    "preempt_enable": _CALLER,
    "cpu_idle": "state={r.state} cpu_id={r.cpu}",
    "cpuhp_enter": _CPUHP,
    "cpuhp_multi_enter": _CPUHP,
    "cpuhp_exit": " cpu: {r.target_cpu:04d}  state: {r.state:3d} step: {r.step:3d} ret: {r.ret}",
    "tracing_mark_write": "{r.text}",
    "printk": "<{r.level}>{r.text}",
    "other_event": "{r.name}: {r.text}",
    "sched_entry_tp": "preempt={r.preempt:d}",
    "sched_exit_tp": "is_switch={r.is_switch:d}",
    "sched_set_state_tp": "comm={r.comm} pid={r.target_pid} state={r.state}",
    "sched_set_need_resched_tp": "comm={r.comm} pid={r.target_pid} cpu={r.target_cpu}",
    "lockdep_report": "kind={r.kind} comm={r.comm} lock={r.lock} other={r.other}",
    "lockup_report": "kind={r.kind} cpu={r.target_cpu} pid={r.target_pid} comm={r.comm} duration={r.duration_ns} [ns]",
    "device_raise": "device={r.device} source={r.source}",
    "line_level": "line={r.line} level={r.level:d}",
    "msi_write": "address=0x{r.address:08x} data=0x{r.data:08x}",
    "ioapic_deliver": (
        "ioapic={r.ioapic} pin={r.pin} vector={r.vector} dest={r.dest} dest_mode={r.dest_mode} "
        "delivery_mode={r.delivery_mode} trigger={r.trigger}"
    ),
    "ioapic_eoi": "ioapic={r.ioapic} pin={r.pin} vector={r.vector}",
    "lapic_irr": "vector={r.vector} trigger={r.trigger} coalesced={r.coalesced}",
    "lapic_inta": _VECTOR,
    "lapic_eoi": _VECTOR,
    "lapic_spurious": _VECTOR,
    "lapic_smi": _VECTOR,
    "pic_irr": "line={r.line}",
    "pic_inta": _VECTOR,
    "pic_eoi": "line={r.line}",
    "nmi_inta": "",
    "gic_pend": "intid={r.intid} trigger={r.trigger} coalesced={r.coalesced}",
    **{f"gic_{register}": "intid={r.intid}" for register in ("iar", "eoir", "dir")},
    "its_translate": "device={r.device} eventid={r.eventid} intid={r.intid}",
    "ipi_raise": "target_mask={r.target_cpus} ({r.reason})",
    "ipi_entry": "({r.reason})",
    "ipi_exit": "({r.reason})",
}

_WORDS: Final[Mapping[str, tuple[str, Callable[[Any], str]]]] = {
    "irq_handler_exit": ("handled", lambda r: "handled" if r.ret else "unhandled"),
    "softirq_raise": ("action", lambda r: softirq_name(r.vec)),
    "softirq_entry": ("action", lambda r: softirq_name(r.vec)),
    "softirq_exit": ("action", lambda r: softirq_name(r.vec)),
    "sched_process_exit": ("group_dead", lambda r: "true" if r.group_dead else "false"),
}

MICROSECONDS: Final = 6
"""Digits of a second that ftrace prints."""
NANOSECONDS: Final = 9
"""Digits that lose nothing; Perfetto and catapult read them too."""


def event_text(record: Record) -> str:
    """Return what ftrace prints behind ``event: `` for a record."""
    tag = tag_of(type(record))
    words = {}
    if tag in _WORDS:
        name, word = _WORDS[tag]
        words[name] = word(record)
    return _TEMPLATES[tag].format(r=record, **words)


def timestamp(ts: int, digits: int = MICROSECONDS) -> str:
    """Render nanoseconds as seconds, rounded to microseconds as Linux does, or exactly with 9 digits."""
    if digits == NANOSECONDS:
        whole, part = divmod(ts, NSEC_PER_SEC)
        return f"{whole:5d}.{part:09d}"
    whole, part = divmod((ts + NSEC_PER_USEC // 2) // NSEC_PER_USEC, NSEC_PER_SEC // NSEC_PER_USEC)
    return f"{whole:5d}.{part:06d}"


def render(record: Record, comms: CommTable, digits: int = MICROSECONDS) -> str:
    """Return a record as one line of ftrace's ``trace`` file, without the newline; ``[---]`` is outside any CPU."""
    cpu = "---" if record.cpu == NO_CPU else f"{record.cpu:03d}"
    flags = latency_flags(record.preempt_count, record.common_flags)
    head = f"{comms[record.pid]:>16}-{record.pid:<7d} [{cpu}] {flags} {timestamp(record.ts, digits)}: "
    return f"{head}{tag_of(type(record))}: {event_text(record)}"


def render_trace(records: Iterable[Record], comms: CommTable | None = None, digits: int = MICROSECONDS) -> Iterator[str]:
    """Render records one by one, learning tasks' names on the way; give a fed ``comms`` to have all names from the start."""
    table = CommTable() if comms is None else comms
    for record in records:
        table.feed(record)
        yield render(record, table, digits)

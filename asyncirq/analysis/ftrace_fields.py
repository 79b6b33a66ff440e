"""Take the text of a tracepoint apart into its fields, under Linux's names.

One table: event to the forms its text has had. A form is written as Linux prints it, with ``{field}`` for a string,
``{field:d}`` for a decimal number and ``{field:w}`` for a word without spaces; several forms of one event are tried
in order, the current kernels' first, trace-cmd's own rendering (its scheduler plugin) last.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

Fields = dict[str, str | int]
Parser = Callable[[str], "Fields | None"]

_WAKE: Final = (
    "comm={comm} pid={pid:d} prio={prio:d} target_cpu={target_cpu:d}",
    "comm={comm} pid={pid:d} prio={prio:d} success={success:d} target_cpu={target_cpu:d}",
    "{comm}:{pid:d} [{prio:d}] CPU:{target_cpu:d}",
    "{comm}:{pid:d} [{prio:d}] success={success:d} CPU:{target_cpu:d}",
    "{comm}:{pid:d} [{prio:d}]<CPU:{target_cpu:d}>",
)
_SOFTIRQ: Final = ("vec={vec:d} [action={action}]", "vec={vec:d}", "softirq={vec:d} action={action}")
_TASKLET: Final = ("tasklet={tasklet} function={function}",)
_WORK_DONE: Final = ("work struct {work:w}: function {function}", "work struct {work:w}")
_VECTOR: Final = ("vector={vector:d}",)
_PREEMPT: Final = ("caller={caller} parent={parent}",)
_CSD_FUNCTION: Final = ("func={func}, csd={csd}",)
_IPI: Final = ("({reason})",)
_STAT: Final = ("comm={comm} pid={pid:d} delay={delay:d} [ns]",)
_ACTIVATE: Final = ("irq={irq:d} is_managed={is_managed:d} can_reserve={can_reserve:d} reserve={reserve:d}",)
_UPDATE: Final = ("irq={irq:d} vector={vector:d} cpu={cpu:d} prev_vector={prev_vector:d} prev_cpu={prev_cpu:d}",)
_CPUHP: Final = ("cpu: {cpu:d} target: {target:d} step: {step:d} ({function})",)

VECTOR_EVENTS: Final = (
    "local_timer",
    "reschedule",
    "call_function",
    "call_function_single",
    "irq_work",
    "spurious_apic",
    "error_apic",
    "x86_platform_ipi",
    "threshold_apic",
    "deferred_error_apic",
    "thermal_apic",
    "vector",
)
"""Interrupts that have no ``irq_handler_entry``: each name has an ``_entry`` and an ``_exit`` event."""

FORMS: Final[dict[str, tuple[str, ...]]] = {
    "irq_handler_entry": ("irq={irq:d} name={name}", "irq={irq:d} handler={name}"),
    "irq_handler_exit": ("irq={irq:d} ret={ret}", "irq={irq:d} return={ret}"),
    "softirq_raise": _SOFTIRQ,
    "softirq_entry": _SOFTIRQ,
    "softirq_exit": _SOFTIRQ,
    "tasklet_entry": _TASKLET,
    "tasklet_exit": _TASKLET,
    "workqueue_queue_work": ("work struct={work:w} function={function} workqueue={workqueue} req_cpu={req_cpu:d} cpu={cpu:d}",),
    "workqueue_activate_work": ("work struct {work:w} function={function}", "work struct {work:w}"),
    "workqueue_execute_start": _WORK_DONE,
    "workqueue_execute_end": _WORK_DONE,
    "napi_poll": (
        "napi poll on napi struct {napi:w} for device {dev_name} work {work:d} budget {budget:d}",
        "napi poll on napi struct {napi:w} for device {dev_name}",
    ),
    "netif_receive_skb": ("dev={name} skbaddr={skbaddr:w} len={len:d}", "dev={name} len={len:d}"),
    "irq_thread_entry": ("irq={irq:d} name={name}",),
    "irq_thread_exit": ("irq={irq:d} name={name}",),
    "irq_flow": ("irq={irq:d} flow={flow} action={action}",),
    "exception_entry": ("vector={vector:d} name={name}",),
    "exception_exit": ("vector={vector:d} name={name}",),
    "task_newtask": ("pid={pid:d} comm={comm} clone_flags={clone_flags:w} oom_score_adj={oom_score_adj:d}",),
    "timer_init": ("timer={timer:w}",),
    "timer_start": (
        "timer={timer:w} function={function} expires={expires:d} [timeout={timeout:d}] bucket_expiry={bucket_expiry:d}"
        " cpu={cpu:d} idx={idx:d} flags={flags}",
        "timer={timer:w} function={function} expires={expires:d} [timeout={timeout:d}] cpu={cpu:d} idx={idx:d} flags={flags}",
        "timer={timer:w} function={function} expires={expires:d} [timeout={timeout:d}] flags={flags}",
        "timer={timer:w} function={function} expires={expires:d} [timeout={timeout:d}]",
    ),
    "timer_expire_entry": (
        "timer={timer:w} function={function} now={now:d} baseclk={baseclk:d}",
        "timer={timer:w} function={function} now={now:d}",
    ),
    "timer_expire_exit": ("timer={timer:w}",),
    "timer_cancel": ("timer={timer:w}",),
    "timer_base_idle": ("is_idle={is_idle:d} cpu={cpu:d}",),
    "hrtimer_setup": ("hrtimer={hrtimer:w} clockid={clockid} mode={mode}",),
    "hrtimer_init": ("hrtimer={hrtimer:w} clockid={clockid} mode={mode}",),
    "hrtimer_start": (
        "hrtimer={hrtimer:w} function={function} expires={expires:d} softexpires={softexpires:d} mode={mode} was_armed={was_armed:d}",
        "hrtimer={hrtimer:w} function={function} expires={expires:d} softexpires={softexpires:d} mode={mode}",
        "hrtimer={hrtimer:w} function={function} expires={expires:d} softexpires={softexpires:d}",
    ),
    "hrtimer_expire_entry": (
        "hrtimer={hrtimer:w} function={function} now={now:d}",
        "hrtimer={hrtimer:w} now={now:d} function={function}",
    ),
    "hrtimer_expire_exit": ("hrtimer={hrtimer:w}",),
    "hrtimer_cancel": ("hrtimer={hrtimer:w}",),
    "hrtimer_rearm": ("next_event={next_event:d} deferred={deferred:d}",),
    "tick_stop": ("success={success:d} dependency={dependency}",),
    "sched_waking": _WAKE,
    "sched_wakeup": _WAKE,
    "sched_wakeup_new": _WAKE,
    "sched_switch": (
        "prev_comm={prev_comm} prev_pid={prev_pid:d} prev_prio={prev_prio:d} prev_state={prev_state:w}"
        " ==> next_comm={next_comm} next_pid={next_pid:d} next_prio={next_prio:d}",
        "{prev_comm}:{prev_pid:d} [{prev_prio:d}] {prev_state:w} ==> {next_comm}:{next_pid:d} [{next_prio:d}]",
    ),
    "sched_migrate_task": ("comm={comm} pid={pid:d} prio={prio:d} orig_cpu={orig_cpu:d} dest_cpu={dest_cpu:d}",),
    "sched_pi_setprio": ("comm={comm} pid={pid:d} oldprio={oldprio:d} newprio={newprio:d}",),
    "sched_stat_runtime": (
        "comm={comm} pid={pid:d} runtime={runtime:d} [ns] vruntime={vruntime:d} [ns]",
        "comm={comm} pid={pid:d} runtime={runtime:d} [ns]",
    ),
    "sched_stat_wait": _STAT,
    "sched_stat_sleep": _STAT,
    "sched_stat_iowait": _STAT,
    "sched_stat_blocked": _STAT,
    "sched_process_fork": ("comm={comm} pid={pid:d} child_comm={child_comm} child_pid={child_pid:d}",),
    "sched_process_exit": (
        "comm={comm} pid={pid:d} prio={prio:d} group_dead={group_dead}",
        "comm={comm} pid={pid:d} prio={prio:d}",
    ),
    "sched_wake_idle_without_ipi": ("cpu={cpu:d}",),
    "irq_disable": _PREEMPT,
    "irq_enable": _PREEMPT,
    "preempt_disable": _PREEMPT,
    "preempt_enable": _PREEMPT,
    "ipi_send_cpu": ("cpu={cpu:d} callsite={callsite} callback={callback}",),
    "ipi_send_cpumask": ("cpumask={cpumask} callsite={callsite} callback={callback}",),
    "ipi_raise": ("target_mask={target_mask:w} ({reason})",),
    "ipi_entry": _IPI,
    "ipi_exit": _IPI,
    "csd_queue_cpu": ("cpu={cpu:d} callsite={callsite} func={func} csd={csd}",),
    "csd_function_entry": _CSD_FUNCTION,
    "csd_function_exit": _CSD_FUNCTION,
    "cpuhp_enter": _CPUHP,
    "cpuhp_multi_enter": _CPUHP,
    "cpuhp_exit": ("cpu: {cpu:d} state: {state:d} step: {step:d} ret: {ret:d}",),
    "cpu_idle": ("state={state:d} cpu_id={cpu_id:d}",),
    "nmi_handler": ("{handler}() delta_ns: {delta_ns:d} handled: {handled:d}",),
    "signal_deliver": ("sig={sig:d} errno={errno:d} code={code:d} sa_handler={sa_handler:w} sa_flags={sa_flags:w}",),
    "vector_config": ("irq={irq:d} vector={vector:d} cpu={cpu:d} apicdest={apicdest:w}",),
    "vector_update": _UPDATE,
    "vector_clear": _UPDATE,
    "vector_reserve": ("irq={irq:d} ret={ret:d}",),
    "vector_reserve_managed": ("irq={irq:d} ret={ret:d}",),
    "vector_alloc": ("irq={irq:d} vector={vector:d} reserved={reserved:d} ret={ret:d}",),
    "vector_alloc_managed": ("irq={irq:d} vector={vector:d} ret={ret:d}",),
    "vector_activate": _ACTIVATE,
    "vector_deactivate": _ACTIVATE,
    "vector_teardown": ("irq={irq:d} is_managed={is_managed:d} has_reserved={has_reserved:d}",),
    "vector_setup": ("irq={irq:d} is_legacy={is_legacy:d} ret={ret:d}",),
    "vector_free_moved": ("irq={irq:d} cpu={cpu:d} vector={vector:d} is_managed={is_managed:d}",),
    **{f"{name}_{edge}": _VECTOR for name in VECTOR_EVENTS for edge in ("entry", "exit")},
}
"""Every event whose text is taken apart; any other keeps it whole under ``text``."""

_SLOT: Final = re.compile(r"\{(\w+)(?::([dw]))?\}")
_PATTERNS: Final = {"d": r"(-?\d+)", "w": r"(\S+)", None: r"(.*?)"}
_HANDLED: Final = {"0": "unhandled", "1": "handled", "2": "handled", "3": "handled"}


def _compile(form: str) -> tuple[re.Pattern[str], tuple[str, ...], tuple[str, ...]]:
    """Return the pattern of one form, its field names in order, and which of them are numbers."""
    pattern, at = "", 0
    names: list[str] = []
    numbers: list[str] = []
    for slot in _SLOT.finditer(form):
        # Linux pads numbers and, in a few events, leaves a space at the end: any run of spaces will do.
        pattern += re.escape(form[at : slot.start()]).replace(r"\ ", " +") + _PATTERNS[slot.group(2)]
        at = slot.end()
        names.append(slot.group(1))
        if slot.group(2) == "d":
            numbers.append(slot.group(1))
    pattern += re.escape(form[at:]).replace(r"\ ", " +")
    return re.compile(pattern + r" *\Z"), tuple(names), tuple(numbers)


def _parser(forms: tuple[str, ...]) -> Parser:
    compiled = [_compile(form) for form in forms]

    def parse(text: str) -> Fields | None:
        for pattern, names, numbers in compiled:
            found = pattern.match(text)
            if found:
                fields: Fields = dict(zip(names, found.groups(), strict=True))
                for name in numbers:
                    fields[name] = int(fields[name])
                return fields
        return None

    return parse


def _handler_exit(parse: Parser) -> Parser:
    def parse_exit(text: str) -> Fields | None:
        fields = parse(text)
        if fields is not None:
            ret = str(fields["ret"])
            fields["ret"] = _HANDLED.get(ret, ret)
        return fields

    return parse_exit


def _function(parse: Parser) -> Parser:
    """Drop the offset that trace-cmd's plugins print after a function's name."""

    def parse_function(text: str) -> Fields | None:
        fields = parse(text)
        if fields is not None and str(fields.get("function", "")).endswith("/0x0"):
            fields["function"] = str(fields["function"])[: -len("/0x0")]
        return fields

    return parse_function


def build_parsers() -> dict[str, Parser]:
    """Return, for every event of ``FORMS``, a function from its text to its fields, None if no form fits."""
    parsers = {name: _parser(forms) for name, forms in FORMS.items()}
    parsers["irq_handler_exit"] = _handler_exit(parsers["irq_handler_exit"])
    for name in ("hrtimer_start", "hrtimer_expire_entry"):
        parsers[name] = _function(parsers[name])
    return parsers

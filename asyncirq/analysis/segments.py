"""Measure what each stretch of kernel code cost in a capture, and name the costs that a replay needs.

The gap between two adjacent events of a CPU is one sample of the segment ``(event, next event, context, extra)``. Segments
are portable: the same code takes the same time under another configuration. A *named* cost is a segment (or a group of
them) that the replayed kernel charges itself. Every named cost tells where it comes from:

* ``measured``: this very mechanism, in this capture;
* ``proxy``: another mechanism of this capture that does nearly the same (an irq thread never runs in a stock capture);
* ``prior``: from somewhere else, stated in ``source``. No prior is fitted to a capture that a prediction is scored on.

All values are ns. A gap holds the tracing cost of the event at its *start*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import msgspec

from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.pack import CostPack, CostSource, Provenance, builtin_pack
from asyncirq.errors import UsageError

ContextKind = Literal["task", "idle", "softirq", "hardirq", "hardirq_in_softirq", "nmi"]

SERVERS: Final = ("ksoftirqd/", "ktimers/")
"""Name prefixes of the threads that only serve softirqs."""

TICK_FUNCTIONS: Final = frozenset({"tick_sched_timer", "tick_nohz_handler"})
"""Names of the tick's hrtimer callback (before and since 6.10)."""


_VECTORS: Final = (
    "local_timer", "reschedule", "call_function", "call_function_single", "irq_work", "x86_platform_ipi", "error_apic",
    "spurious_apic", "thermal_apic", "threshold_apic", "deferred_error_apic", "ipi",
)  # fmt: skip
ENTRY_EXIT: Final[Mapping[str, str]] = MappingProxyType(
    {"irq_handler_entry": "irq_handler_exit", **{f"{v}_entry": f"{v}_exit" for v in _VECTORS}}
)
"""Entry events of hard interrupts, and the exit event of each."""


def is_hard_entry(name: str) -> bool:
    """Tell whether an event begins a hard interrupt handler."""
    return name in ENTRY_EXIT


class SegmentKey(NamedTuple):
    """The kind of a gap; ``extra`` refines it (``preempt``, ``block``, ``idle``, ``exit`` of a switch; ``bh_off``)."""

    event: str
    next: str
    context: ContextKind
    extra: str


class Segment(msgspec.Struct):
    """All gaps of one kind, in file order."""

    key: SegmentKey
    samples: list[int]

    @property
    def n(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    @property
    def mean(self) -> float:
        """Return the mean in ns."""
        return sum(self.samples) / len(self.samples)

    @property
    def median(self) -> int:
        """Return the median (the lower of two) in ns."""
        return median(self.samples)


class ReferenceCosts(NamedTuple):
    """Typical costs (medians, ns) by which ``programs`` splits a gap between a task and the kernel."""

    irq_exit_softirq: int
    bh_enable_softirq: int
    preempt_switch: int
    block_switch: int
    trace_event: int = 0
    thread_enter: int = 0
    hand_over: int = 0


class CostTable(msgspec.Struct):
    """The segments and the named costs of one capture; ``references`` are the medians by which its gaps are split."""

    path: str
    segments: dict[SegmentKey, Segment]
    named: dict[str, CostSource]
    references: ReferenceCosts = ReferenceCosts(0, 0, 0, 0)

    def cost(self, name: str) -> CostSource:
        """Return a named cost; raise ``UsageError`` if the capture has too little to know it."""
        found = self.named.get(name)
        if found is None:
            raise UsageError(f"{self.path}: no sample of cost {name!r} in this capture, and no prior for it")
        return found


def median(samples: list[int]) -> int:
    """Return the lower median of a non-empty list."""
    return sorted(samples)[(len(samples) - 1) // 2]


def context_kind(event: Event) -> ContextKind:
    """Return the context of an event from its flag column."""
    match event.context:
        case "h":
            return "hardirq"
        case "H":
            return "hardirq_in_softirq"
        case "s":
            return "softirq"
        case "z" | "Z":
            return "nmi"
    return "idle" if event.pid == 0 else "task"


def _extra(event: Event, after: Event) -> str:
    if after.name == "sched_switch":
        state = str(after.fields["prev_state"])
        if after.fields["prev_pid"] == 0:
            return "idle"
        if state.startswith("R"):
            return "preempt" if state.endswith("+") else "yield"
        return "exit" if state[0] in "XZ" else "block"
    if event.context == "h" and event.irqs in "bD":
        return "bh_off"
    return ""


def gaps(capture: Capture) -> Iterator[tuple[Event, Event]]:
    """Yield each pair of adjacent events of a CPU, in file order."""
    last: dict[int, Event] = {}
    for event in capture.events:
        before = last.get(event.cpu)
        if before is not None:
            yield before, event
        last[event.cpu] = event


_Test = Callable[[Event, Event], bool]


def _pair(first: str, second: str) -> _Test:
    return lambda e, n: e.name == first and n.name == second


def _switch(e: Event, n: Event, extra: str) -> bool:
    return n.name == "sched_switch" and _extra(e, n) == extra


_TIGHT: Final = {
    ("workqueue_queue_work", "workqueue_activate_work"),
    ("tasklet_exit", "softirq_exit"),
    ("softirq_exit", "softirq_entry"),
}


def _hard_to_softirq(e: Event, n: Event, *, bh_off: bool) -> bool:
    return e.name == "irq_handler_exit" and n.name == "softirq_entry" and e.context == "h" and (e.irqs in "bD") == bh_off


def _server(fields_key: str, event: Event) -> bool:
    return str(event.fields.get(fields_key, "")).startswith(SERVERS)


def _wakes_server(e: Event, n: Event) -> bool:
    return e.name == "softirq_exit" and n.name == "sched_waking" and _server("comm", n)


def _server_blocks(e: Event, n: Event) -> bool:
    return e.name == "softirq_exit" and _switch(e, n, "block") and _server("prev_comm", n)


def _tick_raises(e: Event, n: Event) -> bool:
    return e.name == n.name == "softirq_raise" and n.context in "hH"


def _server_enters(e: Event, n: Event) -> bool:
    return e.name == "sched_switch" and n.name == "softirq_entry" and _server("next_comm", e)


def _bh_enable(e: Event, n: Event) -> bool:
    return e.name == "softirq_raise" and n.name == "softirq_entry" and e.context == "." and e.pid != 0


_BUSY_SWITCH: Final = frozenset({"sched_wakeup", "softirq_exit", "hrtimer_start", *ENTRY_EXIT.values()})


def _idle_tick(event: Event, way: str) -> bool:
    """Tell whether idle stops (way in) or restarts (way out, need_resched is set) its tick."""
    return event.name == "hrtimer_start" and event.pid == 0 and event.context == "." and (event.resched == ".") == (way == "in")


_MEASURED: Final[tuple[tuple[str, str, _Test], ...]] = (
    ("trace_event", "tightest adjacent pairs of events", lambda e, n: (e.name, n.name) in _TIGHT),
    ("try_to_wake_up", "sched_waking -> sched_wakeup", _pair("sched_waking", "sched_wakeup")),
    (
        "switch_from_idle",
        "last event -> sched_switch from idle",
        lambda e, n: _switch(e, n, "idle") and e.name in _BUSY_SWITCH,
    ),
    ("preempt_switch", "sched_wakeup -> sched_switch R+", lambda e, n: e.name == "sched_wakeup" and _switch(e, n, "preempt")),
    (
        "block_kthread",
        "workqueue_execute_end -> sched_switch I",
        lambda e, n: e.name == "workqueue_execute_end" and _switch(e, n, "block"),
    ),
    ("block_ksoftirqd", "softirq_exit -> sched_switch S of ksoftirqd", _server_blocks),
    ("ksoftirqd_enter", "sched_switch -> softirq_entry in ksoftirqd", _server_enters),
    ("irq_exit_softirq", "irq_handler_exit -> softirq_entry, BH on", lambda e, n: _hard_to_softirq(e, n, bh_off=False)),
    ("irq_exit_softirq_bh_off", "irq_handler_exit -> softirq_entry, flag D", lambda e, n: _hard_to_softirq(e, n, bh_off=True)),
    ("bh_enable_softirq", "softirq_raise -> softirq_entry in a task", _bh_enable),
    ("softirq_next", "softirq_exit -> softirq_entry", _pair("softirq_exit", "softirq_entry")),
    ("softirq_wake_ksoftirqd", "softirq_exit -> sched_waking ksoftirqd", _wakes_server),
    ("timer_exit_softirq", "local_timer_exit -> softirq_entry", _pair("local_timer_exit", "softirq_entry")),
    ("tick_entry", "local_timer_entry -> hrtimer_expire_entry", _pair("local_timer_entry", "hrtimer_expire_entry")),
    ("tick_to_raise", "hrtimer_expire_entry -> softirq_raise", _pair("hrtimer_expire_entry", "softirq_raise")),
    ("tick_raise_next", "softirq_raise -> softirq_raise in the tick", _tick_raises),
    ("tick_end", "softirq_raise -> hrtimer_expire_exit", _pair("softirq_raise", "hrtimer_expire_exit")),
    ("tick_rearm", "hrtimer_expire_exit -> hrtimer_start", _pair("hrtimer_expire_exit", "hrtimer_start")),
    ("tick_exit", "hrtimer_start -> local_timer_exit", _pair("hrtimer_start", "local_timer_exit")),
    ("idle_tick_restart", "last event -> hrtimer_start on the way out of idle", lambda e, n: _idle_tick(n, "out")),
    ("idle_tick_stop", "last event -> hrtimer_start on the way into idle", lambda e, n: e.name != "sched_switch" and _idle_tick(n, "in")),
)

_FOLLOWING: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "trace_event": tuple(sorted(after for _, after in _TIGHT)),
        "try_to_wake_up": ("sched_wakeup",),
        "switch_from_idle": ("sched_switch",),
        "preempt_switch": ("sched_switch",),
        "block_kthread": ("sched_switch",),
        "block_ksoftirqd": ("sched_switch",),
        "ksoftirqd_enter": ("softirq_entry",),
        "irq_exit_softirq": ("softirq_entry",),
        "irq_exit_softirq_bh_off": ("softirq_entry",),
        "bh_enable_softirq": ("softirq_entry",),
        "softirq_next": ("softirq_entry",),
        "softirq_wake_ksoftirqd": ("sched_waking",),
        "timer_exit_softirq": ("softirq_entry",),
        "tick_entry": ("hrtimer_expire_entry",),
        "tick_to_raise": ("softirq_raise",),
        "tick_raise_next": ("softirq_raise",),
        "tick_end": ("hrtimer_expire_exit",),
        "tick_rearm": ("hrtimer_start",),
        "tick_exit": ("local_timer_exit",),
        "idle_tick_restart": ("hrtimer_start",),
        "idle_tick_stop": ("hrtimer_start",),
    }
)
"""What a gap of each measured cost ends with."""

_BY_NEXT: Final[Mapping[str, tuple[tuple[str, _Test], ...]]] = MappingProxyType(
    {
        following: tuple((name, test) for name, _, test in _MEASURED if following in _FOLLOWING[name])
        for following in sorted({one for ends in _FOLLOWING.values() for one in ends})
    }
)
"""The tests that a gap has to be put to, by the event at its end."""

_REFERENCES: Final = ("irq_exit_softirq", "bh_enable_softirq", "preempt_switch", "block_kthread")
_HRTIMER_EVENTS: Final = frozenset({"hrtimer_start", "hrtimer_expire_entry"})


_PROXIES: Final[tuple[tuple[str, str, str], ...]] = (
    ("irq_thread_wake", "try_to_wake_up", "any other wake-up"),
    ("irq_thread_enter", "ksoftirqd_enter", "switch-in of ksoftirqd"),
    ("irq_thread_block", "block_kthread", "blocking switch of a kworker"),
    ("irq_thread_bh_enable", "bh_enable_softirq", "softirq_raise -> softirq_entry in a task"),
    ("ktimers_enter", "ksoftirqd_enter", "switch-in of ksoftirqd"),
    ("ktimers_block", "block_ksoftirqd", "blocking switch of ksoftirqd"),
    ("primary_handler", "trace_event", "a primary handler that does nothing costs its own event"),
)


def extract_costs(capture: Capture, pack: CostPack | None = None) -> CostTable:
    """Collect all segments of a capture and derive the named costs from them; ``pack`` (a built-in one by default) has the priors.

    A named cost with no sample is absent; ``CostTable.cost`` says so when it is asked for.
    """
    table = CostTable(capture.path, {}, {})
    samples: dict[str, list[int]] = {name: [] for name, _, _ in _MEASURED}
    late: list[int] = []
    armed: dict[str, int] = {}
    for event, after in gaps(capture):
        ns = after.ts - event.ts
        key = SegmentKey(event.name, after.name, context_kind(event), _extra(event, after))
        segment = table.segments.get(key)
        if segment is None:
            segment = table.segments[key] = Segment(key, [])
        segment.samples.append(ns)
        for name, test in _BY_NEXT.get(after.name, ()):
            if test(event, after):
                samples[name].append(ns)
        if after.name in _HRTIMER_EVENTS:
            _lateness(after, armed, late)
    table.references = ReferenceCosts(*(median(samples[name]) if samples[name] else 0 for name in _REFERENCES))
    for name, source, _ in _MEASURED:
        _add(table, name, samples[name], "measured", source)
    if late:
        value = sorted(late)[len(late) // 10]
        source = "lower bound: now - expires of hrtimers on a busy CPU, p10"
        table.named["hard_entry"] = CostSource("hard_entry", late, value, "proxy", len(late), source)
    _add_residuals(table, capture)
    for name, origin, why in _PROXIES:
        if origin in table.named:
            _add(table, name, table.named[origin].samples, "proxy", f"{origin}: {why}")
    _add_bh_lock_block(table)
    for prior in (pack or builtin_pack()).costs:
        known = table.named.get(prior.name)
        if known is None or known.kind != "measured":
            table.named[prior.name] = prior
    # Means: these are less than the step of a microsecond clock, or stand for many gaps of one kind.
    means = {"trace_event": "trace_event", "thread_enter": "ksoftirqd_enter", "hand_over": "rt_lock_hand_over"}
    table.references = table.references._replace(**{field: table.named[name].value for field, name in means.items() if name in table.named})
    return table


def _add(table: CostTable, name: str, samples: list[int], kind: Provenance, source: str) -> None:
    if samples:
        value = (2 * sum(samples) + len(samples)) // (2 * len(samples))
        table.named[name] = CostSource(name, samples, value, kind, len(samples), source)


def _lateness(event: Event, armed: dict[str, int], late: list[int]) -> None:
    """Collect how late hrtimers expire on a busy CPU: the hard entry that no event shows is a part of it."""
    timer = str(event.fields.get("hrtimer", ""))
    if event.name == "hrtimer_start":
        expires = event.fields.get("expires")
        if isinstance(expires, int):
            armed[timer] = expires
    elif event.name == "hrtimer_expire_entry" and timer in armed:
        expires = armed.pop(timer)
        now = event.fields.get("now")
        if isinstance(now, int) and event.pid != 0 and event.context == "h" and event.irqs == "d":
            late.append(now - expires)


def _add_residuals(table: CostTable, capture: Capture) -> None:
    """Add what a gap takes beyond its mechanism: rest of a BH-off region, delay of a voluntary preemption."""
    refs = table.references
    networks = {event.pid for event in capture.events if event.irqs in "bD"}
    bh, voluntary = [], []
    for event, after in gaps(capture):
        ns = after.ts - event.ts
        if _hard_to_softirq(event, after, bh_off=True):
            bh.append(max(0, ns - refs.irq_exit_softirq))
        elif event.pid in networks:
            continue  # a network system call goes on for as long as syscall_delay says
        elif event.name in ("softirq_exit", *ENTRY_EXIT.values()) and (_switch(event, after, "preempt") or _switch(event, after, "yield")):
            voluntary.append(max(0, ns - refs.preempt_switch))
    _add(table, "bh_off_residual", bh, "measured", "irq_handler_exit -> softirq_entry with flag D, less irq_exit_softirq")
    _add(table, "voluntary_delay", voluntary, "measured", "irq or softirq exit -> switch of a runnable task, less preempt_switch")


def _add_bh_lock_block(table: CostTable) -> None:
    enter, block = table.named.get("ksoftirqd_enter"), table.named.get("block_kthread")
    if enter is not None and block is not None:
        source = "ksoftirqd_enter + block_kthread: a thread that finds the BH lock taken"
        table.named["bh_lock_block"] = CostSource("bh_lock_block", [], enter.value + block.value, "proxy", min(enter.n, block.n), source)


def reference_costs(capture: Capture) -> ReferenceCosts:
    """Return the medians by which a gap is split; a capture without samples splits nothing (0: all is the task's)."""
    return extract_costs(capture).references

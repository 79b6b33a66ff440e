"""Measure in a trace what the analytic bound of the scheduling latency is made of, and every latency that it bounds.

A latency begins when a CPU is asked to reschedule and ends when the scheduler returns there, after a choice that was made later. What a
CPU does meanwhile is one of these, and nothing is left over:

============= ==================================================================================
part          what went on
============= ==================================================================================
``poid``      preemption or interrupts are off, not to schedule; a softirq where it is no thread
``paie``      both are on, although a reschedule is due
``psd``       preemption is off to schedule, up to the return of the scheduler
``dst``       the end of a ``psd`` from where interrupts were turned off, if the choice was made
``interrupt`` hard interrupts, wherever they came
============= ==================================================================================

The greatest of each, interrupts taken out, and the interrupts as they came are all that ``latency_bound`` needs.

Source: Bristot de Oliveira and others, "Demystifying the Real-Time Linux Scheduling Latency", ECRTS 2020, sections 4 and 5.
Model: for traces of our own kernel with ``rv`` on, preemption full or rt; NMIs and exceptions are not told apart from interrupts. What
the idle task does between two halts is a ``poid``; halting is nothing. Where preemption was off already an interrupt lasts up to the
next event: the way into a softirq at its exit is counted with it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from asyncirq.analysis.event import Event
from asyncirq.analysis.latency_bound import Bound, Interference, ThreadLatency, solve
from asyncirq.errors import UsageError

PARTS: Final = ("poid", "paie", "psd", "dst", "interrupt")
HARDWARE: Final = "hardware"
"""``caller`` of what an interrupt's entry or return did to the interrupt flag."""
_NEEDED: Final = ("sched_entry_tp", "sched_exit_tp", "sched_switch", "irq_disable", "irq_enable", "preempt_disable", "preempt_enable")


class Latency(msgspec.Struct):
    """One latency: from the request at ``asked_ns`` to the scheduler's return at ``returned_ns``; the parts sum to it."""

    asked_ns: int
    returned_ns: int
    parts: dict[str, int]

    @property
    def latency_ns(self) -> int:
        """Return the whole latency."""
        return self.returned_ns - self.asked_ns


class CpuLatency(msgspec.Struct):
    """What one CPU did: the greatest sections, ``(begin, end)`` of every interrupt by source, and every latency."""

    cpu: int
    sections: ThreadLatency
    interrupts: dict[str, list[tuple[int, int]]]
    latencies: list[Latency]

    @property
    def worst_ns(self) -> int:
        """Return the greatest latency."""
        return max((each.latency_ns for each in self.latencies), default=0)

    def bound(self) -> Bound:
        """Return the bound that this CPU's own sections and interrupts give."""
        return solve(self.sections, as_observed(self.interrupts.values()))


def as_observed(sources: Iterable[Sequence[tuple[int, int]]]) -> Interference:
    """Say that each source takes as much of any window as it took of its worst one.

    Windows may begin within an interrupt, which then counts from there on, as a latency does that an interrupt begins; what comes at the
    very end of one counts whole, for it may come before the scheduler has returned.
    """
    known = [(tuple(each), [begin for begin, _ in each], [end for _, end in each]) for each in sources]

    def worst(window: int) -> int:
        total = 0
        for spans, begins, ends in known:
            sums = [0]
            for begin, end in spans:
                sums.append(sums[-1] + end - begin)
            best = 0
            for at in (*begins, *(begin - window for begin in begins)):
                first, last = bisect_right(ends, at), bisect_right(begins, at + window)
                if first < last:
                    best = max(best, sums[last] - sums[first] - max(0, at - begins[first]))
            total += best
        return total

    return worst


def thread_latencies(events: Sequence[Event], *, softirq_threads: bool = False) -> list[CpuLatency]:
    """Return what each CPU did, by number; ``softirq_threads``: softirqs are preemptible, as on PREEMPT_RT.

    Errors: ``UsageError`` if the trace has not the events it takes.
    """
    missing = set(_NEEDED) - {event.name for event in events}
    if missing:
        raise UsageError(f"no {', '.join(sorted(missing))} in this trace: it takes one of a kernel with rv on")
    cpus: dict[int, _Cpu] = {}
    for event in events:
        if event.cpu not in cpus:
            cpus[event.cpu] = _Cpu(event.ts, softirq_threads)
        cpus[event.cpu].feed(event)
        if event.name == "sched_set_need_resched_tp" and int(event.fields["target_cpu"]) in cpus:
            cpus[int(event.fields["target_cpu"])].ask(event.ts)
    return [CpuLatency(n, each.greatest(), each.interrupts, each.found) for n, each in sorted(cpus.items())]


class _Cpu:
    """Where one CPU is, and for how long it has been there without its interrupts."""

    def __init__(self, now: int, softirq_threads: bool) -> None:
        self.softirq_threads = softirq_threads
        self.found: list[Latency] = []
        self.interrupts: dict[str, list[tuple[int, int]]] = {}
        self._most = dict.fromkeys(PARTS, 0)
        self._last = now
        self._interrupt = -1
        self._source = ""
        self._halted = False
        self._off = True
        self._scheduling = self._tail = self._chosen = False
        self._turned_off_by = HARDWARE
        self._poid = self._to_schedule = self._paie = self._psd = self._dst = 0
        self._asked: Latency | None = None
        self._served: Latency | None = None

    def greatest(self) -> ThreadLatency:
        most = self._most
        return ThreadLatency(poid=most["poid"], paie=most["paie"], psd=most["psd"], dst=most["dst"])

    def ask(self, now: int) -> None:
        """Begin a latency, unless one is under way that the same choice will end."""
        self._pass(now)
        if self._asked is None:
            self._asked = Latency(now, now, dict.fromkeys(PARTS, 0))

    def feed(self, event: Event) -> None:
        """Let the time up to an event pass, then go where it leads."""
        self._pass(event.ts)
        name = event.name
        self._halted = False
        if name == "sched_entry_tp":
            self._enter(event)
        elif name == "sched_exit_tp":
            self._leave(event.ts)
        elif name in ("irq_disable", "irq_enable"):
            self._switch(event)
        elif name == "preempt_disable":
            self._to_schedule = 0
        elif name == "sched_switch":
            self._choose()
        self._move(event)

    def _pass(self, now: int) -> None:
        ns, self._last = now - self._last, now
        if not ns:
            return
        part = "poid"
        if self._interrupt >= 0:
            part = "interrupt"
        elif self._scheduling:
            part = "dst" if self._tail and self._chosen else "psd"
            self._psd += ns
            self._dst += ns if self._tail else 0
        elif self._off:
            if not self._halted or self._asked is not None:
                self._poid += ns
                self._to_schedule += ns
        else:
            part = "paie"
            self._paie += ns if self._asked is not None else 0
        for each in (self._asked, self._served):
            if each is not None:
                each.parts[part] += ns

    def _move(self, event: Event) -> None:
        """Take from an event's flags what the CPU does from here on. The two that enable are told before they happen."""
        counted = event.name != "preempt_enable"
        interrupted = counted and event.context in "hHzZ"
        if event.name == "irq_disable" and event.fields["caller"] == HARDWARE:
            interrupted = True
        if interrupted and self._interrupt < 0:
            self._interrupt, self._source = event.ts, ""
        elif self._interrupt >= 0 and not interrupted:
            self.interrupts.setdefault(self._source, []).append((self._interrupt, event.ts))
            self._interrupt = -1
        if interrupted:
            if not self._source and event.name.endswith("_entry"):
                self._source = f"{event.name[:-6]}:{event.fields['vector']}" if "vector" in event.fields else event.name[:-6]
            return
        softirq = not self.softirq_threads and (event.context == "s" or event.irqs in "bD")
        preempt_off = counted and (event.depth > 0 or softirq)
        irqs_off = event.name != "irq_enable" and event.irqs in "dD"
        self._off = preempt_off or irqs_off
        if not self._off:
            self._close("poid", self._poid)
            self._poid = 0

    def _switch(self, event: Event) -> None:
        caller = str(event.fields["caller"])
        if event.name == "irq_disable":
            self._turned_off_by = caller
            self._tail = self._tail or (self._scheduling and caller != HARDWARE and self._interrupt < 0)
        elif caller != HARDWARE:
            if self._tail and self._interrupt < 0:
                self._choose()
        elif event.pid == 0 and self._turned_off_by != HARDWARE:
            # STI; HLT
            self._halted = True

    def _enter(self, event: Event) -> None:
        before = self._to_schedule if event.pid else 0
        self._close("poid", self._poid - before)
        self._close("paie", self._paie)
        self._scheduling, self._psd, self._dst = True, before, 0
        self._tail = self._chosen = False
        self._poid = self._paie = 0

    def _choose(self) -> None:
        if self._scheduling and not self._chosen:
            self._chosen = True
            self._served, self._asked = self._asked, None

    def _leave(self, now: int) -> None:
        if not self._scheduling:
            return
        self._close("psd", self._psd)
        self._close("dst", self._dst)
        self._scheduling = self._tail = self._chosen = False
        self._poid = self._to_schedule = self._paie = 0
        if self._served is not None:
            self._served.returned_ns = now
            self.found.append(self._served)
            self._served = None

    def _close(self, part: str, ns: int) -> None:
        self._most[part] = max(self._most[part], ns)

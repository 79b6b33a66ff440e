"""Assert that spans come in pairs and nest: each exit matches the last open entry of its context.

A context is a task (an idle task belongs to its CPU). Interrupts nest on the stack of the task they interrupt, so one stack
per task checks the order of everything. A span that pins its CPU must also end on that CPU, with no switch inside.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from asyncirq.errors import InternalError
from asyncirq.trace.events_sched import SchedSwitch
from asyncirq.trace.record import Record, tag_of


class Pair(NamedTuple):
    """Describe one kind of span: its two events, the fields that both carry, and what it holds on to."""

    entry: str
    exit: str
    key: tuple[str, ...]
    pins_cpu: bool
    pins_cpu_on_rt: bool


def _on_vector(name: str) -> Pair:
    return Pair(f"{name}_entry", f"{name}_exit", ("vector",), True, True)


PAIRS: Final[tuple[Pair, ...]] = (
    Pair("irq_handler_entry", "irq_handler_exit", ("irq",), True, True),
    _on_vector("vector"),
    _on_vector("local_timer"),
    _on_vector("reschedule"),
    _on_vector("call_function"),
    _on_vector("call_function_single"),
    _on_vector("irq_work"),
    _on_vector("spurious_apic"),
    _on_vector("error_apic"),
    _on_vector("x86_platform_ipi"),
    _on_vector("threshold_apic"),
    _on_vector("deferred_error_apic"),
    _on_vector("thermal_apic"),
    Pair("softirq_entry", "softirq_exit", ("vec",), True, False),
    Pair("tasklet_entry", "tasklet_exit", ("tasklet", "function"), True, False),
    Pair("timer_expire_entry", "timer_expire_exit", ("timer",), True, False),
    Pair("hrtimer_expire_entry", "hrtimer_expire_exit", ("hrtimer",), True, False),
    Pair("csd_function_entry", "csd_function_exit", ("func", "csd"), True, False),
    Pair("workqueue_execute_start", "workqueue_execute_end", ("work",), False, False),
    Pair("irq_thread_entry", "irq_thread_exit", ("irq", "name"), False, False),
    Pair("ipi_entry", "ipi_exit", ("reason",), True, True),
    Pair("exception_entry", "exception_exit", ("vector",), False, False),
)
"""Every kind of span. On PREEMPT_RT softirqs and what runs in them are preemptible, so they belong to the task alone."""


class Unbalanced(InternalError):
    """Report a record that breaks the pairing; it is in ``record``."""

    def __init__(self, message: str, record: Record) -> None:
        super().__init__(f"{message}: {record}")
        self.record = record


class _Balance:
    def __init__(self, rt: bool) -> None:
        self._rt = rt
        self._entries = {pair.entry: pair for pair in PAIRS}
        self._exits = {pair.exit: pair for pair in PAIRS}
        self.stacks: dict[int, list[tuple[Pair, Record]]] = {}

    def feed(self, record: Record) -> None:
        tag = tag_of(type(record))
        if tag in self._entries:
            self._stack(record.pid, record.cpu).append((self._entries[tag], record))
        elif tag in self._exits:
            self._exit(self._exits[tag], record)
        elif isinstance(record, SchedSwitch):
            self._switch(record)

    def _stack(self, pid: int, cpu: int) -> list[tuple[Pair, Record]]:
        return self.stacks.setdefault(pid if pid > 0 else -1 - cpu, [])

    def _pins_cpu(self, pair: Pair) -> bool:
        return pair.pins_cpu_on_rt if self._rt else pair.pins_cpu

    def _exit(self, pair: Pair, record: Record) -> None:
        stack = self._stack(record.pid, record.cpu)
        if not stack:
            raise Unbalanced(f"{pair.exit} without {pair.entry} in pid {record.pid} on CPU {record.cpu}", record)
        opened, entry = stack[-1]
        if opened is not pair or any(getattr(entry, field) != getattr(record, field) for field in pair.key):
            raise Unbalanced(f"{pair.exit} while this is open: {entry}, at", record)
        if entry.cpu != record.cpu and self._pins_cpu(pair):
            raise Unbalanced(f"{pair.exit} on CPU {record.cpu} of a span begun on CPU {entry.cpu}", record)
        stack.pop()

    def _switch(self, record: SchedSwitch) -> None:
        for pair, entry in self._stack(record.prev_pid, record.cpu):
            if self._pins_cpu(pair):
                raise Unbalanced(f"switch while this is open: {entry}, at", record)


def open_spans(records: Iterable[Record], rt: bool = False) -> list[Record]:
    """Return the entries that are still open at the end, in order of ``seq``; raise ``Unbalanced`` at a broken pair.

    ``rt`` is for traces of PREEMPT_RT, where softirqs may be switched away from.
    """
    balance = _Balance(rt)
    for record in records:
        balance.feed(record)
    left = [entry for stack in balance.stacks.values() for _, entry in stack]
    return sorted(left, key=lambda entry: entry.seq)


def assert_balanced(records: Iterable[Record], rt: bool = False) -> None:
    """Raise ``Unbalanced`` at the first record that breaks a pair, or for the first entry that never ends."""
    left = open_spans(records, rt)
    if left:
        raise Unbalanced(f"{len(left)} spans never end, the first being", left[0])

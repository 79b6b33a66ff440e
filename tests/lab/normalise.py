"""Take out of a sequence of lab rows what is not the lab's, by one rule for the real kernel and for the model.

A real kernel has other work: its tick, RCU, a USB host that is being probed, work items. The capture leaves most of it
out and names the rest as noise. The rule keeps what the case's own tasks do, and replaces every other task by the idle
task, since without it the CPU would have had nothing to do:

- in a hard interrupt only a shot (from its begin to its end) and the wake-up of one of the case's tasks count; on two
  CPUs also the first call-function interrupt of each CPU;
- in a softirq only tasklets in which the case says something count, and the softirq round them;
- a switch to a foreign task and back is nothing if the task was preempted; else the CPU was idle meanwhile, unless the
  next of the case's tasks was ready already: then it came next;
- an interrupt that meets a foreign task or softirq meets what lies below: the task that was preempted, or idle if it slept;
- a thread's rows before its first wake-up in the case belong to its making by kthreadd, or to the case before.

Where the capture's own rows prove that a switch is missing (the next row is another task's) it is put in with what is
unknown as ``?``. The model's rows are complete, so nothing is ever put in there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from tests.lab.rows import LEFT_OUT, Row

SWITCH: Final = re.compile(r"switch (\S+)\((\S+)\) -> (\S+) prio=(\S+)")
WAKEUP: Final = re.compile(r"wakeup (\S+) prio=(\d+)")
IDLE: Final = "idle"
UNKNOWN: Final = "?"
ASLEEP: Final = ("S", "D", "X", "I")
FROM_EVENT: Final = re.compile(r"(irq_handler_|softirq |tasklet_|switch |wakeup |call_function)")


class Own(NamedTuple):
    """Which tasks a group of cases calls its own; every other one is foreign. ``softirqs``: all softirqs told are the case's, too."""

    tasks: re.Pattern[str]
    softirqs: bool = False

    def has(self, task: str) -> bool:
        """Tell whether a class of tasks takes part in the case."""
        return task == IDLE or self.tasks.fullmatch(task) is not None


IRQ: Final = Own(re.compile(r"insmod|irq/N-(s-)?lab[AB]?"))
"""The irq cases: the requester and the threads of its lines."""


def clean(rows: Iterable[Row], own: Own = IRQ) -> list[Row]:
    """Return the rows that are the case's own."""
    rows = _without_foreign_softirqs(_without_unborn(list(rows), own), own)
    return _without_making(settle(of_the_case(rows, own), own))


def of_the_case(rows: Iterable[Row], own: Own) -> list[Row]:
    """Return rows without what other hard interrupts than the shots do, and without the wake-ups of foreign tasks."""
    shot: dict[int, bool] = {}
    called: set[int] = set()
    kept = []
    for row in rows:
        what = row.what
        inside = shot.get(row.cpu, False)
        if row is LEFT_OUT:
            kept.append(row)
            continue
        if row.context in "hH":
            if what.startswith("shot begin"):
                inside = shot[row.cpu] = True
            elif what.startswith("shot end"):
                shot[row.cpu] = False
            woken = WAKEUP.fullmatch(what)
            if what.startswith("call_function"):
                if row.cpu in called:
                    continue
                called.add(row.cpu)
            elif not inside and not (woken and own.has(woken[1])):
                continue
        woken = WAKEUP.fullmatch(what)
        if woken and not own.has(woken[1]):
            continue
        kept.append(row)
    return kept


def settle(rows: Sequence[Row], own: Own) -> list[Row]:
    """Return rows with switches among the case's own tasks only, as if no other task had been there."""
    return _Switches(own).run(rows)


def _without_making(rows: list[Row]) -> list[Row]:
    """Drop the switches by which a requester waits for kthreadd to make a thread: before a CPU's first step, before a first wake-up."""
    kept: list[Row] = []
    begun: set[int] = set()
    born: set[str] = set()
    for row in rows:
        if row.what.startswith("switch "):
            if row.cpu in begun:
                kept.append(row)
            continue
        begun.add(row.cpu)
        woken = WAKEUP.fullmatch(row.what)
        if woken and woken[1] not in born:
            born.add(woken[1])
            while row.context == "." and kept and kept[-1].what.startswith("switch "):
                kept.pop()
        kept.append(row)
    return kept


def _without_unborn(rows: list[Row], own: Own) -> list[Row]:
    """Call the threads of a line foreign until their first wake-up in the case."""
    born: set[str] = set()
    kept = []
    for row in rows:
        woken = WAKEUP.fullmatch(row.what)
        if woken:
            born.add(woken[1])
        switch = SWITCH.fullmatch(row.what)
        if switch:
            names = [name if not name.startswith("irq/") or name in born else "unborn" for name in (switch[1], switch[3])]
            task = "unborn" if names[0] == "unborn" else row.task
            row = row._replace(task=task, what=f"switch {names[0]}({switch[2]}) -> {names[1]} prio={switch[4]}")
        elif row.task.startswith("irq/") and not born:
            row = row._replace(task="unborn")
        kept.append(row)
    return kept


def _without_foreign_softirqs(rows: list[Row], own: Own) -> list[Row]:
    """Drop tasklets in which the case says nothing, softirqs without any of its tasklets, and their raising."""
    keep = [True] * len(rows)
    open_tasklet: dict[int, list[int]] = {}
    open_softirq: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        cpu, what = row.cpu, row.what
        if what == "tasklet_entry":
            open_tasklet[cpu] = [i]
        elif what == "tasklet_exit":
            span = open_tasklet.pop(cpu, [i])
            _close(rows, keep, [*span, i], own)
        elif what.startswith("softirq entry"):
            open_softirq[cpu] = [i]
        elif what.startswith("softirq exit"):
            span = open_softirq.pop(cpu, [i])
            _close(rows, keep, [*span, i], own)
        elif row.context == "s" and not FROM_EVENT.match(what):
            for spans in (open_tasklet, open_softirq):
                if cpu in spans:
                    spans[cpu].append(-1)
        elif row.context == "s" and what.startswith("softirq raise"):
            keep[i] = False
    return [row for row, kept in zip(rows, keep, strict=True) if kept]


def _close(rows: list[Row], keep: list[bool], span: list[int], own: Own) -> None:
    if -1 not in span:
        for i in span:
            keep[i] = False


class _Switches:
    """Follow each CPU through its tasks and put the switches right."""

    def __init__(self, own: Own) -> None:
        self.own = own
        self.out: list[Row] = []
        self.current: dict[int, str] = {}
        self.left: dict[int, str | None] = {}
        self.soft: dict[int, bool] = {}
        self.ready: set[str] = set()
        self.following: Sequence[Row] = ()

    def run(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows with switches among the case's own tasks only."""
        for i, row in enumerate(rows):
            self.following = rows[i:]
            if row is LEFT_OUT:
                self.out.append(row)
                self.current.clear()
                self.left.clear()
                self.soft.clear()
                continue
            if row.what.startswith("switch "):
                self._switch(row)
            else:
                self._row(row)
        return self.out

    def _emit(self, row: Row, old: str, state: str, new: str, prio: str) -> None:
        self.out.append(Row(row.ts, row.cpu, ".", _class(old), f"switch {old}({state}) -> {new} prio={prio}"))
        if state in ASLEEP:
            self.ready.discard(old)

    def _switch(self, row: Row) -> None:
        match = SWITCH.fullmatch(row.what)
        assert match is not None
        old, state, new, prio = match.groups()
        cpu = row.cpu
        if self.own.has(old):
            self._arrive(row, old, UNKNOWN)
            if self.own.has(new):
                self._emit(row, old, state, new, prio)
                self.current[cpu] = new
            else:
                self.left[cpu] = state
        else:
            if self.left.get(cpu) is None:
                self.left[cpu] = UNKNOWN
            if self.own.has(new):
                self._arrive(row, new, prio)

    def _arrive(self, row: Row, task: str, prio: str) -> None:
        """Take note that one of the case's tasks is seen running; put in what brought it there if no row told."""
        cpu = row.cpu
        current = self.current.get(cpu)
        state = self.left.get(cpu)
        self.left[cpu] = None
        self.current[cpu] = task
        if current is None:
            return
        if state is None:
            if not _same(current, task):
                self._emit(row, current, UNKNOWN, task, prio)
            elif _class(task) != task:
                return
            else:
                self.current[cpu] = current
            return
        slept = state in ASLEEP
        if slept and current != IDLE and task != IDLE and task not in self.ready:
            self._emit(row, current, state, IDLE, "120")
            self._emit(row, IDLE, "R", task, prio)
        elif current != task or (slept and current != IDLE):
            self._emit(row, current, state, task, "120" if task == IDLE else prio)

    def _row(self, row: Row) -> None:
        cpu = row.cpu
        task = row.task
        if not self.own.has(task):
            if self.left.get(cpu) is None:
                self.left[cpu] = UNKNOWN
            if row.context not in "hH":
                return
            self._settle(row)
            row = row._replace(task=_class(self.current.get(cpu, IDLE)))
        elif row.context == "." or not self._below(cpu, task):
            self._arrive(row, task, UNKNOWN)
        if row.what.startswith("softirq entry"):
            self.soft[cpu] = True
        elif row.what.startswith("softirq exit"):
            self.soft[cpu] = False
        if row.context == "H" and not self.soft.get(cpu, False) and not self.own.softirqs:
            row = row._replace(context="h", what=row.what.replace("serving_softirq=1", "serving_softirq=0"))
        woken = WAKEUP.fullmatch(row.what)
        if woken:
            self.ready.add(woken[1])
        self.out.append(row)

    def _settle(self, row: Row) -> None:
        """Decide what an interrupt of a foreign task would have met: the idle task, if the task below had gone to sleep."""
        cpu = row.cpu
        current = self.current.get(cpu, IDLE)
        state = self.left[cpu]
        assert state is not None
        if current != IDLE and (state in ASLEEP or (state == UNKNOWN and self._had_slept(cpu, current))):
            self._emit(row, current, state, IDLE, "120" if state in ASLEEP else UNKNOWN)
            self.ready.discard(current)
            self.current[cpu] = IDLE
            self.left[cpu] = "R"

    def _had_slept(self, cpu: int, task: str) -> bool:
        """Tell from what follows whether a task whose switch away is missing slept: it is woken, or the idle task comes next."""
        for row in self.following:
            woken = WAKEUP.fullmatch(row.what)
            if woken and woken[1] == task:
                return True
            if row is LEFT_OUT or row.cpu != cpu:
                continue
            switch = SWITCH.fullmatch(row.what)
            if switch is not None:
                if task in (switch[1], switch[3]):
                    return False
                if IDLE in (switch[1], switch[3]):
                    return True
            elif row.task == IDLE:
                return True
            elif row.context == "." and _same(row.task, task):
                return False
        return False

    def _below(self, cpu: int, task: str) -> bool:
        return _same(self.current.get(cpu, ""), task) and self.left.get(cpu) is None


def _class(task: str) -> str:
    """Return the class under which a row names a task: all threads of the lab's lines are one."""
    return "irq/N-lab" if task.startswith("irq/N-") else task


def _same(a: str, b: str) -> bool:
    return _class(a) == _class(b)

"""Take out of the rows of the ``wq/`` and ``timer/`` cases what is not the case's, before ``normalise`` does the rest.

Kernel workers, ``ktimers`` and ksoftirqd serve the case and everybody else. What tells whom is what they do:

- an *activation* is what such a thread does from a wake-up to its next sleep, over all its preemptions. It is the case's if it
  executes something of the case's, or if the case woke it: a shot, the requester, or an activation that is the case's;
- an activation that only wakes threads is the case's if one of those activations is;
- all other activations become those of a foreign task, and their wake-ups go;
- a worker is made by kthreadd, which is left out: the rows by which maker and new thread wait for each other go, all but the
  last wake-up, by which the maker starts the new worker.

Softirqs count if the case does something in them, and their raising with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from tests.lab.normalise import SWITCH, WAKEUP, Own, settle
from tests.lab.rows import BEGIN, LEFT_OUT, Row

SERVANTS: Final = ("kworker", "kworker-unbound", "kworker-highpri", "ktimers", "ksoftirqd")
WORKERS: Final = SERVANTS[:3]
FOREIGN: Final = "foreign"
DEFERRED: Final = Own(re.compile(r"insmod|(kworker(-unbound|-highpri)?|ktimers|ksoftirqd)(#\d+)?"))
"""The requester and what serves it; each activation has its number."""
_NUMBER: Final = re.compile(r"#\d+")
_EVENT: Final = re.compile(r"softirq |switch |wakeup |tasklet_|irq_handler_")
_SOFTIRQ: Final = re.compile(r"softirq (raise|entry|exit) (\S+)")
_FIRST: Final = re.compile(r"(now|baseclk)=(\d+)")


def clean(rows: Iterable[Row], own: Own = DEFERRED) -> list[Row]:
    """Return the rows that are the case's own."""
    kept = _own_softirqs(_from_begin(list(rows)))
    kept = _own_hardirqs(kept)
    kept = _without_making(kept)
    kept = settle(_Activations(kept).numbered(), own)
    return _from_first_expiry([row._replace(task=_NUMBER.sub("", row.task), what=_NUMBER.sub("", row.what)) for row in kept])


def _from_begin(rows: list[Row]) -> list[Row]:
    """Let the rows of a case start with its begin, where its requester runs: a shot can come right after it."""
    if rows and rows[0].what == BEGIN:
        return rows
    return [Row(0, 0, ".", "insmod", BEGIN), *rows]


def _says(row: Row) -> bool:
    """Tell whether a row is something that the case does, wherever it does it."""
    return row is not LEFT_OUT and not _EVENT.match(row.what)


# --- interrupts


def _own_softirqs(rows: list[Row]) -> list[Row]:
    """Drop the softirqs in which nothing of the case's happens, and what raised them; the wake-ups in them stay."""
    keep = [True] * len(rows)
    raised: dict[tuple[int, str], list[int]] = {}
    inside: dict[int, tuple[int, bool]] = {}
    for i, row in enumerate(rows):
        match = _SOFTIRQ.fullmatch(row.what)
        if match is None:
            if row.cpu in inside and row.context == "s" and _says(row):
                inside[row.cpu] = (inside[row.cpu][0], True)
            continue
        what, vector = match.groups()
        if what == "raise":
            raised.setdefault((row.cpu, vector), []).append(i)
        elif what == "entry":
            inside[row.cpu] = (i, False)
        else:
            begin, used = inside.pop(row.cpu, (i, False))
            raises = raised.pop((row.cpu, vector), [])
            if not used:
                for j in (begin, i, *raises):
                    keep[j] = False
    for raises in raised.values():
        for j in raises:
            keep[j] = False
    return [row for row, kept in zip(rows, keep, strict=True) if kept]


def _own_hardirqs(rows: list[Row]) -> list[Row]:
    """Drop what hard interrupts do outside shots: all but wake-ups, the case's timers and the raising of its softirqs."""
    shot: dict[int, bool] = {}
    kept = []
    for row in rows:
        if row.context in "hH" and row is not LEFT_OUT:
            if row.what.startswith("shot begin"):
                shot[row.cpu] = True
            elif row.what.startswith("shot end"):
                shot[row.cpu] = False
            elif not shot.get(row.cpu) and row.what.startswith(("irq_handler_", "tasklet_")):
                continue
        kept.append(row)
    return kept


# --- workers that are made


def _without_making(rows: list[Row]) -> list[Row]:
    """Let a worker that makes another one wake it, once, and nothing else."""
    gone: set[int] = set()
    waking: dict[int, int | None] = {}
    for i, row in enumerate(rows):
        if row is LEFT_OUT or row.context != ".":
            continue
        cpu = row.cpu
        switch = SWITCH.fullmatch(row.what)
        if switch is not None:
            old, state, new, _ = switch.groups()
            making = cpu in waking and old in WORKERS and state == "D"
            if making and new == old:
                gone.add(i)
            elif new in WORKERS and not (making and new == old):
                waking[cpu] = None
            else:
                waking.pop(cpu, None)
        elif cpu in waking and row.task in WORKERS:
            woken = WAKEUP.fullmatch(row.what)
            if woken is None:
                del waking[cpu]
            elif woken[1] == row.task:
                before = waking[cpu]
                if before is not None:
                    gone.add(before)
                waking[cpu] = i
    return [row for i, row in enumerate(rows) if i not in gone]


# --- activations


class _Activation:
    """What a thread does from its wake-up to its sleep. ``own`` tells that it is the case's, ``woke`` are those that it woke."""

    def __init__(self, own: bool = False) -> None:
        self.own = own
        self.wakeup: int | None = None
        self.woke: list[_Activation] = []
        self.rows: list[int] = []
        self.left: list[int] = []
        self.entered: list[int] = []


class _Activations:
    """Follow each CPU through the activations of its servants."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.all: list[_Activation] = []
        self.current: dict[int, tuple[str, _Activation]] = {}
        self.pending: dict[tuple[int, str], list[_Activation]] = {}
        self.preempted: dict[tuple[int, str], list[_Activation]] = {}
        shot: dict[int, bool] = {}
        for i, row in enumerate(rows):
            if row is LEFT_OUT:
                self.current.clear()
                continue
            if row.what.startswith("shot begin"):
                shot[row.cpu] = True
            elif row.what.startswith("shot end"):
                shot[row.cpu] = False
            switch = SWITCH.fullmatch(row.what)
            woken = WAKEUP.fullmatch(row.what)
            if switch is None and row.cpu in self.current and self.current[row.cpu][0] != row.task:
                del self.current[row.cpu]
            if switch is not None:
                self._switch(i, row.cpu, switch[1], switch[2], switch[3])
            elif woken is not None:
                self._wakeup(i, row, woken[1], shot.get(row.cpu, False))
            elif row.task in SERVANTS:
                activation = self._running(row.cpu, row.task)
                activation.rows.append(i)
                if row.context in ".s":
                    activation.own = activation.own or _says(row)
        self._spread()

    def _new(self, own: bool = False) -> _Activation:
        activation = _Activation(own)
        self.all.append(activation)
        return activation

    def _running(self, cpu: int, task: str) -> _Activation:
        """Return the activation that runs on a CPU, a new one if no row told that it came."""
        current = self.current.get(cpu)
        if current is None or current[0] != task:
            self.current[cpu] = current = (task, self._arriving(cpu, task))
        return current[1]

    def _arriving(self, cpu: int, task: str) -> _Activation:
        pending = self.pending.get((cpu, task))
        if pending:
            return pending.pop(0)
        preempted = self.preempted.get((cpu, task))
        return preempted.pop() if preempted else self._new()

    def _switch(self, i: int, cpu: int, old: str, state: str, new: str) -> None:
        if old in SERVANTS:
            activation = self._running(cpu, old)
            activation.left.append(i)
            if state.startswith("R"):
                self.preempted.setdefault((cpu, old), []).append(activation)
        self.current.pop(cpu, None)
        if new in SERVANTS:
            activation = self._arriving(cpu, new)
            activation.entered.append(i)
            self.current[cpu] = (new, activation)

    def _wakeup(self, i: int, row: Row, woken: str, shot: bool) -> None:
        if row.task in SERVANTS:
            self._running(row.cpu, row.task).rows.append(i)
        if woken not in SERVANTS:
            return
        activation = self._new()
        activation.wakeup = i
        pending = self.pending.setdefault((row.cpu, woken), [])
        if woken not in WORKERS:
            # There is one of them: it has been and gone since.
            pending.clear()
        pending.append(activation)
        if row.context in "hH":
            activation.own = shot
        elif row.task in WORKERS and woken not in WORKERS:
            # The end of an interrupt.
            return
        elif row.task in SERVANTS:
            self._running(row.cpu, row.task).woke.append(activation)
        else:
            activation.own = row.task == "insmod"

    def _spread(self) -> None:
        """Let ownership spread: forward from workers to those they woke, back from the woken to what only woke them."""
        changed = True
        while changed:
            changed = False
            for activation in self.all:
                task = self._task(activation)
                for other in activation.woke:
                    if activation.own and not other.own and task in WORKERS:
                        other.own = changed = True
                    if other.own and not activation.own:
                        activation.own = changed = True

    def _task(self, activation: _Activation) -> str:
        if activation.rows:
            return self.rows[activation.rows[0]].task
        if activation.entered:
            match = SWITCH.fullmatch(self.rows[activation.entered[0]].what)
            return match[3] if match is not None else ""
        return ""

    def numbered(self) -> list[Row]:
        """Return the rows with a number for every activation; those that are not the case's become a foreign task's."""
        rows: list[Row | None] = list(self.rows)
        for n, activation in enumerate(self.all):
            # Whoever is not seen to run served what came after the case.
            own = activation.own and (activation.entered or activation.rows or activation.left)
            name = partial(_numbered, n) if own else _foreign
            if activation.wakeup is not None:
                row = rows[activation.wakeup]
                assert row is not None
                rows[activation.wakeup] = _renamed(row, WAKEUP, 1, name) if own else None
            for i in activation.rows:
                row = rows[i]
                if row is not None:
                    rows[i] = row._replace(task=name(row.task))
            for which, group in ((activation.left, 1), (activation.entered, 3)):
                for i in which:
                    row = rows[i]
                    assert row is not None
                    rows[i] = _renamed(row, SWITCH, group, name)
        return [row for row in rows if row is not None]


def _numbered(n: int, task: str) -> str:
    return f"{task}#{n}"


def _foreign(task: str) -> str:
    return FOREIGN


def _renamed(row: Row, pattern: re.Pattern[str], group: int, name: Callable[[str], str]) -> Row:
    """Return a row with another name in one place, and for its task where that is who leaves."""
    match = pattern.fullmatch(row.what)
    assert match is not None
    what = row.what[: match.start(group)] + name(match[group]) + row.what[match.end(group) :]
    return row._replace(what=what, task=name(match[group]) if pattern is SWITCH and group == 1 else row.task)


# --- clocks


def _from_first_expiry(rows: list[Row]) -> list[Row]:
    """Count jiffies from those of the case's first timer that expires."""
    first = next((int(match[2]) for row in rows if row.what.startswith("timer_expire_entry") for match in _FIRST.finditer(row.what)), 0)
    return [row._replace(what=_FIRST.sub(lambda match: f"{match[1]}=+{int(match[2]) - first}", row.what)) for row in rows]

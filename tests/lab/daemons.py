"""Take out of rows what ksoftirqd and ktimers do for others, and how often they go round while a disabled tasklet is pending.

On a real kernel both threads run for timers of others as well, of which a capture tells the wake-up and the switches and nothing else.
A stint of such a thread, from its wake-up to its sleep, in which no softirq is told is nobody's of the case: its switches are
those of a foreign task. Its wake-up is the case's all the same where it answers something of the case's: in the row before a
softirq was raised, a shot or softirqs ended, on the same CPU and without a switch in between.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tests.lab.rows import LEFT_OUT, Row

DAEMON: Final = re.compile(r"ksoftirqd|ktimers")
WAKES: Final = re.compile(r"wakeup (ksoftirqd|ktimers) ")
SWITCH: Final = re.compile(r"switch (\S+)\((\S+)\) -> (\S+) ")
ANSWERED: Final = ("softirq raise", "softirq exit", "shot end", "wakeup ksoftirqd")
OTHERS: Final = "others"
"""The class of a daemon while it does nothing of the case's."""


def without_idle_daemons(rows: Sequence[Row]) -> list[Row]:
    """Return rows in which daemons that serve others are called ``others``, without the wake-ups of these."""
    kept = list(rows)
    drop: set[int] = set()
    for daemon in ("ksoftirqd", "ktimers"):
        for cpu in sorted({row.cpu for row in rows}):
            for stint in _stints(rows, daemon, cpu):
                if any(rows[i].task == daemon and rows[i].context == "s" and rows[i].what.startswith("softirq") for i in stint):
                    continue
                for i in stint:
                    if WAKES.match(rows[i].what):
                        if not _answers(rows, i):
                            drop.add(i)
                        continue
                    kept[i] = _renamed(kept[i], daemon)
    return [row for i, row in enumerate(kept) if i not in drop]


def _stints(rows: Sequence[Row], daemon: str, cpu: int) -> list[list[int]]:
    """Return the indices of the rows about a daemon of a CPU, from each wake-up (or what is told first) to its sleep.

    The wake-up of a daemon that waits for the BH lock (D) is within its stint.
    """
    stints: list[list[int]] = []
    current: list[int] = []
    blocked = False
    for i, row in enumerate(rows):
        if row is LEFT_OUT or row.cpu != cpu:
            continue
        switch = SWITCH.match(row.what)
        if row.what.startswith(f"wakeup {daemon} "):
            if current and not blocked:
                stints.append(current)
                current = []
            current.append(i)
            blocked = False
        elif row.task == daemon or (switch and daemon in (switch[1], switch[3])):
            current.append(i)
            if switch and switch[1] == daemon:
                blocked = switch[2] == "D"
                if switch[2] == "S":
                    stints.append(current)
                    current = []
    return [*stints, current] if current else stints


def _answers(rows: Sequence[Row], i: int) -> bool:
    before = next((row for row in reversed(rows[:i]) if row.cpu == rows[i].cpu), None)
    return before is not None and before.what.startswith(ANSWERED)


def _renamed(row: Row, daemon: str) -> Row:
    what = row.what
    if what.startswith("switch "):
        what = what.replace(f"switch {daemon}(", f"switch {OTHERS}(").replace(f"-> {daemon} ", f"-> {OTHERS} ")
    return row._replace(task=OTHERS if row.task == daemon else row.task, what=what)


SPIN: Final = ("softirq entry TASKLET", "softirq raise TASKLET", "softirq exit TASKLET")
"""What a softirq does for a disabled tasklet, and for nothing else."""
TURN: Final = "turns of a daemon for a disabled tasklet"


def without_spin(rows: Sequence[Row]) -> list[Row]:
    """Return rows in which such turns of a daemon are one row, however many: how fast it is decides that.

    They are told again after each switch. Where the middle of a case is left out, a turn of which a part is left out goes with it.
    """
    rows = _without_halves(rows)
    turning = _turning(rows)
    told: list[Row] = []
    turns: set[int] = set()
    for i, row in enumerate(rows):
        if i not in turning:
            told.append(row)
            if row is LEFT_OUT or row.what.startswith("switch "):
                turns.discard(row.cpu)
        elif row.cpu not in turns:
            turns.add(row.cpu)
            before = [told[-2]] if len(told) > 1 and told[-1] is LEFT_OUT else []
            if not any(each.what == TURN and each.task == row.task for each in before):
                told.append(row._replace(what=TURN))
    return told


def _turning(rows: Sequence[Row]) -> set[int]:
    """Return the indices of the rows that are part of a daemon's turn."""
    turning: set[int] = set()
    for cpu in sorted({row.cpu for row in rows}):
        soft = [i for i, row in enumerate(rows) if row.cpu == cpu and row.context == "s" and DAEMON.fullmatch(row.task)]
        k = 0
        while k < len(soft):
            turn = soft[k : k + 3]
            if tuple(rows[i].what for i in turn) == SPIN and len({rows[i].task for i in turn}) == 1:
                turning.update(turn)
                k += 3
            else:
                k += 1
    return turning


def _without_halves(rows: Sequence[Row]) -> list[Row]:
    if LEFT_OUT not in rows:
        return list(rows)
    i = rows.index(LEFT_OUT)
    head, tail = list(rows[:i]), list(rows[i + 1 :])
    while head and head[-1].what in SPIN[:2]:
        head.pop()
    while tail and tail[0].what in SPIN[1:]:
        tail.pop(0)
    return [*head, LEFT_OUT, *tail]

"""Take out of the rows of the soft and napi cases what is not theirs, and read from them what is an input: the ends of busy loops.

A delay of 3 ms took 3 to 95 ms where the emulated machine ran in the host's time. It ends with the next row of the task that is busy.
"""

from __future__ import annotations

import re
from typing import Final

from tests.lab.bench import US, Delay
from tests.lab.daemons import without_idle_daemons, without_spin
from tests.lab.normalise import Own, of_the_case, settle
from tests.lab.rows import LEFT_OUT, Row

SOFT: Final = Own(re.compile(r"insmod|ksoftirqd|ktimers"), softirqs=True)
"""The requester and the threads that run softirqs."""


def clean(rows: list[Row], own: Own = SOFT) -> list[Row]:
    """Return the rows that are the case's own."""
    return without_spin(settle(of_the_case(without_idle_daemons(rows), own), own))


TASKLET: Final = re.compile(r"tasklet 0 left=")
BUSY: Final = {
    "busy": (TASKLET, ""),
    "raises-NET_TX": (TASKLET, ""),
    "polls-3ms": (re.compile(r"poll \d budget="), ""),
    "irq-during-bh": (re.compile(r"bh off, spinning"), "before "),
    "not-running": (re.compile(r"wakeup ksoftirqd "), "before "),
}
"""By a word in a case's name: after which rows it is busy, and how the row begins that tells the end (any, if empty)."""


def delays(case: str, rows: list[Row]) -> list[Delay]:
    """Return when a case's delays began and ended, in order."""
    busy = next((BUSY[word] for word in BUSY if word in case), None)
    if busy is None:
        return []
    pattern, last = busy
    found = []
    for i, row in enumerate(rows):
        if pattern.match(row.what):
            end = next((later for later in rows[i + 1 :] if later is not LEFT_OUT and _ends(row, later, last)), None)
            if end is not None:
                found.append(Delay(row.ts * US, end.ts * US))
    return found


def _ends(busy: Row, row: Row, last: str) -> bool:
    return row.task == busy.task and row.context not in "hH" and not row.what.startswith("switch ") and row.what.startswith(last)

"""Name the cases of ``wq/`` and ``timer/`` that a capture holds in a form which the model does not repeat, and why, read in its rows."""

from __future__ import annotations

from typing import Final

ALREADY_AWAKE: Final = "queueing woke no worker: it had been woken before the case (the requester's sleep switches to it) for another item"
LATER_JIFFY: Final = (
    "kthreadd, which is left out, made the workers late: the sleep of an item that waited for one begins a jiffy after the others'"
)
LOST_SWITCH: Final = (
    "the worker of the short item goes to sleep for a task that the capture leaves out, so two switches are missing: the row that tells of "
    "the sleep of one worker is the other's"
)
MICROSECONDS: Final = (
    "two workers are woken at one tick, microseconds of run time apart: with 8 us for the start of a traced item, in place of 3, the order "
    "is the capture's"
)
NOT_OVER: Final = (
    "the second run of the item took 50 ms and more on the emulator: the requester's 40 ms were over first, its end is in the next case"
)
OF_THE_CASE_BEFORE: Final = "the item still ran for the case before, and counted down once more after the case had set its counter: re=-1"
ONE_TICK_MORE: Final = "the second item's sleep took 16 ms, those of the others 12: a tick was lost, so the last ends after the requester's"
TWO_JIFFIES: Final = (
    "the emulator stood still: the first tick came 12 ms after the case's begin and found two jiffies at once, in an interrupted softirq"
)

DEFERRED_EXCEPTIONS: Final[dict[tuple[str, str], str]] = {
    ("L-61-stock", "wq/system-4-sleep-4ms"): LATER_JIFFY,
    ("L-61-stock-smp2", "wq/system-4-sleep-4ms"): LATER_JIFFY,
    ("L-61-stock-smp2", "timer/wheel +1 +1 +2 +5 +70 +100 jiffies"): TWO_JIFFIES,
    ("L-61-threadirqs", "wq/ordered-4-sleep-4ms"): ONE_TICK_MORE,
    ("L-61-threadirqs", "wq/max_active2-4-sleep-4ms"): MICROSECONDS,
    ("L-61-rt", "wq/requeue-while-running-nonreentrant"): NOT_OVER,
    ("L-61-rt", "wq/cpu-hog-30ms-then-other"): OF_THE_CASE_BEFORE,
    ("L-612-stock", "wq/cpu-hog-30ms-then-other"): LOST_SWITCH,
    ("L-612-stock", "wq/cancel-pending"): ALREADY_AWAKE,
}
"""(capture, case) and the reason."""

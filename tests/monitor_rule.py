"""Hold every trace that a test's machine leaves in memory to the runtime monitors whose events every machine records.

These are ``opid``, ``stall`` and the thread model's R2, R3, R8 and R11; a machine whose kernel has ``rv`` on is held to all others, too.
A test that breaks a rule on purpose, or drives a part by hand where no task runs, names the monitors:
``@pytest.mark.monitor_rule("stall")``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncirq.analysis.model import capture_from_records
from asyncirq.analysis.rv import MONITORS, RULES, check_capture
from asyncirq.trace.events_irq import IrqHandlerEntry
from asyncirq.trace.events_sched import SchedSwitch, SchedWakeup, SchedWakeupNew, SchedWaking
from asyncirq.trace.record import Record

_WANTED: Final = (SchedSwitch, SchedWaking, SchedWakeup, SchedWakeupNew, IrqHandlerEntry)
_MUST: Final = [one for one in (*MONITORS, *RULES) if not one.advisory and one.name in {"opid", "stall", "R2", "R3", "R8", "R11"}]


def refused(records: Sequence[Record], excepted: Sequence[str] = ()) -> list[str]:
    """Return what the monitors refuse in the records of a machine."""
    wanted = [record for record in records if isinstance(record, _WANTED)]
    if not any(isinstance(record, SchedSwitch) for record in wanted):
        return []
    results = check_capture(capture_from_records(wanted, "the machine of this test"), [one for one in _MUST if one.name not in excepted])
    return [str(violation) for result in results for violation in result.violations]

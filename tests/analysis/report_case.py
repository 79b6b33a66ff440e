"""One report made from the shipped captures: real metrics stand for predicted ones. Nobody changes what it returns."""

from __future__ import annotations

import functools
from typing import Final

from asyncirq.analysis.arrivals import LineReport
from asyncirq.analysis.latency import measure_halves
from asyncirq.analysis.pack import CostSource
from asyncirq.analysis.report import ModelRun, RealRun, Report, TraceFile, build_report, input_file
from tests.analysis.linux_captures import RT, STOCK, THREADIRQS, capture, metrics

LINE: Final = LineReport("2-ping", "eth0", 176, "synchronous", {"synchronous": 176}, 0, "95 of 176 <b>arrivals</b> & more")
COSTS: Final = (
    CostSource("try_to_wake_up", [4_000, 5_000, 4_000], 4_333, "measured", 3, "sched_waking -> sched_wakeup"),
    CostSource("irq_thread_wake", [4_000], 4_000, "proxy", 1, "any other wake-up"),
    CostSource("rt_lock_block", [], 9_140, "prior", 7, "another capture"),
)
HOSTILE: Final = "a note with </script><!-- <script> in it"


def case(*, with_target: bool = True) -> Report:
    first, second = measure_halves(capture(RT))
    kernels = [
        ModelRun("threadirqs", metrics(THREADIRQS), "Linux 6.1, threadirqs", {"threadirqs": True, "hz": 250}, [LINE], COSTS[:2]),
        ModelRun(
            "rt", first, "PREEMPT_RT", {"threadirqs": True, "hz": 100}, [LINE], COSTS, TraceFile("rt.jsonl", "ab" * 32, 12), [HOSTILE]
        ),
    ]
    return build_report(
        RealRun(input_file(capture(STOCK), "Linux 6.1"), metrics(STOCK)),
        kernels,
        seed=7,
        versions={"asyncirq": "0"},
        against=RealRun(input_file(capture(RT)), second) if with_target else None,
        target="rt" if with_target else None,
    )


@functools.cache
def report() -> Report:
    return case()

"""Hold what the metric code measured: plain typed results, encoded to the same JSON every time.

A quantity's name is ``family`` or ``family:subject``. Families, with what their samples are:

==========================  ============================================================================================
``hard_handler:LINE``       ``irq_handler_entry`` to ``irq_handler_exit`` of one action
``entry_to_thread:LINE``    FIRST ``irq_handler_entry`` since the irq thread last got a CPU or slept, to the switch to that thread
``entry_to_thread_last:…``  LAST ``irq_handler_entry`` before the thread's ``sched_waking``, to the switch (every wake counts)
``entry_to_NET_RX:LINE``    FIRST ``irq_handler_entry`` of a NIC line since the last NET_RX on the CPU, to the NET_RX entry
``entry_to_NET_RX_last:…``  LAST ``irq_handler_entry`` before the raise that made NET_RX pending, to its entry
``raise_to_entry:VECTOR``   the ``softirq_raise`` that made the vector pending, to ``softirq_entry``
``local_timer_to_TIMER``    last timer interrupt before it, to the entry of TIMER
``waking_to_switch:CLASS``  first ``sched_waking`` of a task, to the switch to it, per class of task
``softirq_run:VECTOR``      ``softirq_entry`` to ``softirq_exit``, with whatever interrupted it
``local_timer_vector``      entry to exit of the CPU's timer interrupt
``queue_to_execute``        ``workqueue_queue_work`` to ``workqueue_execute_start`` of the same work
==========================  ============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from asyncirq.analysis.dist import Dist
from asyncirq.units import NSEC_PER_SEC

POOLED = "pooled"
"""Name of the result over the whole run."""


class PhaseMetrics(msgspec.Struct):
    """What was measured in one phase; every dict is sorted by its keys.

    A sample belongs to the phase in which it ends. ``interrupts`` counts ``irq_handler_entry`` per action name,
    ``vectors`` the interrupts without one (``local_timer``, …), ``softirqs`` the ``softirq_entry`` per vector;
    ``polls`` and ``packets`` come from ``napi_poll``. ``contexts`` says where each vector ran. ``cpu_ns`` is the time of
    all CPUs by ``hardirq``, ``softirq``, ``task`` and ``idle``. ``censored`` counts, per line, interrupts that raised no
    softirq, woke nobody and queued no work (``no_effect:LINE``), and starts that ended in no sample of their own
    because an earlier start was still waiting (``merged:QUANTITY``): they have no latency.
    """

    phase: str
    duration_ns: int
    events: int
    quantities: dict[str, Dist]
    interrupts: dict[str, int]
    vectors: dict[str, int]
    softirqs: dict[str, int]
    polls: int
    packets: int
    switches: int
    contexts: dict[str, dict[str, int]]
    cpu_ns: dict[str, int]
    censored: dict[str, int]

    @property
    def interrupts_per_second(self) -> float:
        """Return the rate of all interrupts, of device lines and of vectors."""
        return self._per_second(sum(self.interrupts.values()) + sum(self.vectors.values()))

    @property
    def switches_per_second(self) -> float:
        """Return the rate of task switches."""
        return self._per_second(self.switches)

    def cpu_share(self, context: str) -> float:
        """Return the share of CPU time, 0 to 1, spent in ``hardirq``, ``softirq``, ``task`` or ``idle``."""
        total = sum(self.cpu_ns.values())
        return self.cpu_ns.get(context, 0) / total if total else 0.0

    def context_share(self, vector: str, context: str) -> float:
        """Return the share, 0 to 1, of a vector's entries that ran in a context."""
        counts = self.contexts.get(vector, {})
        total = sum(counts.values())
        return counts.get(context, 0) / total if total else 0.0

    def _per_second(self, count: int) -> float:
        return count * NSEC_PER_SEC / self.duration_ns if self.duration_ns else 0.0


class Metrics(msgspec.Struct):
    """What was measured in a whole trace: over the run, and per phase.

    ``net_lines`` names the lines that raise NET_RX: found in the trace, not by name.
    """

    name: str
    resolution_ns: int
    pooled: PhaseMetrics
    phases: list[PhaseMetrics]
    net_lines: list[str]

    def of_phase(self, phase: str) -> PhaseMetrics | None:
        """Return the result of a phase, None if the trace has no such phase."""
        return next((found for found in self.phases if found.phase == phase), None)

    def to_json(self) -> bytes:
        """Return the result as JSON: equal results give equal bytes."""
        return msgspec.json.encode(self)


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for key, count in one.items():
            total[key] = total.get(key, 0) + count
    return {key: total[key] for key in sorted(total)}


def pool(name: str, parts: Sequence[PhaseMetrics]) -> PhaseMetrics:
    """Return the sum of several results: all samples of a quantity together, counts and times added."""
    quantities = sorted({key for part in parts for key in part.quantities})
    vectors = sorted({key for part in parts for key in part.contexts})
    return PhaseMetrics(
        phase=name,
        duration_ns=sum(part.duration_ns for part in parts),
        events=sum(part.events for part in parts),
        quantities={
            key: Dist.of(sample for part in parts if key in part.quantities for sample in part.quantities[key].samples)
            for key in quantities
        },
        interrupts=_sum(part.interrupts for part in parts),
        vectors=_sum(part.vectors for part in parts),
        softirqs=_sum(part.softirqs for part in parts),
        polls=sum(part.polls for part in parts),
        packets=sum(part.packets for part in parts),
        switches=sum(part.switches for part in parts),
        contexts={key: _sum(part.contexts.get(key, {}) for part in parts) for key in vectors},
        cpu_ns=_sum(part.cpu_ns for part in parts),
        censored=_sum(part.censored for part in parts),
    )


def join(name: str, parts: Sequence[Metrics]) -> Metrics:
    """Return one result for runs that were measured apart, such as one model run per phase, in the given order."""
    phases = [phase for part in parts for phase in part.phases]
    return Metrics(
        name=name,
        resolution_ns=max((part.resolution_ns for part in parts), default=1),
        pooled=pool(POOLED, [part.pooled for part in parts]),
        phases=phases,
        net_lines=sorted({line for part in parts for line in part.net_lines}),
    )

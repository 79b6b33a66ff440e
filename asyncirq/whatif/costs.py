"""Let the kernel's named costs be what a capture measured: every draw of ``costs.ttwu_ns`` is one of its samples.

A name of ``asyncirq.costs`` maps to a named cost of the capture (``analysis.segments``), which tells whether it was
measured on this very mechanism, on another one that does nearly the same (proxy), or comes from elsewhere (prior). Some
depend on who pays: a blocking switch of an irq thread is not one of ksoftirqd. Names without a row are 0: their time
rides on recorded code. Entry to and return from an interrupt are in the interrupted task's own time, a task's way out of
a switch is in what it does next.

No value is fitted to a capture that a prediction is scored on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from asyncirq.analysis.pack import CostSource
from asyncirq.analysis.segments import CostTable
from asyncirq.costs import Costs, cost_names
from asyncirq.errors import InternalError
from asyncirq.sim import Context, Engine
from asyncirq.sim.stream import Stream

_PLAIN: Final = MappingProxyType(
    {
        "irq_wake_thread_ns": "trace_event",
        "irq_default_primary_ns": "primary_handler",
        "irq_thread_fn_ns": "irq_thread_enter",
        "softirqd_wake_ns": "trace_event",
        "softirq_next_ns": "softirq_next",
        "ksoftirqd_ns": "ksoftirqd_enter",
        "lock_handover_ns": "rt_lock_hand_over",
        "ttwu_ns": "try_to_wake_up",
        "resched_delay_ns": "voluntary_delay",
        "work_queue_ns": "trace_event",
        "work_start_ns": "ksoftirqd_enter",
    }
)
"""Costs that are the same whoever pays them."""

_BLOCK: Final = (
    ("irq/", "irq_thread_block"),
    ("ksoftirqd/", "block_ksoftirqd"),
    ("ktimers/", "ktimers_block"),
    ("rcuc/", "ktimers_block"),
    ("", "block_kthread"),
)
"""The blocking switch by the name of who blocks; recorded tasks bring their own (``pin``)."""

_FOREIGN: Final = ("irq/", "ksoftirqd/", "ktimers/", "rcuc/", "napi/")
"""Threads that the recording does not have, or has no program for."""

_FALLBACK: Final = MappingProxyType(
    {
        "primary_handler": "trace_event",
        "irq_thread_enter": "ksoftirqd_enter",
        "ktimers_enter": "ksoftirqd_enter",
        "ksoftirqd_enter": "irq_exit_softirq",
        "irq_thread_block": "block_kthread",
        "ktimers_block": "block_ksoftirqd",
        "block_ksoftirqd": "block_kthread",
        "block_kthread": "block_ksoftirqd",
        "bh_enable_softirq": "irq_exit_softirq",
        "timer_exit_softirq": "irq_exit_softirq",
        "irq_exit_softirq": "softirq_next",
        "softirq_next": "trace_event",
        "preempt_switch": "switch_from_idle",
        "switch_from_idle": "preempt_switch",
    }
)
"""What stands in for a cost that a capture has no sample of; the report calls it a proxy."""

_DEFAULTS: Final = MappingProxyType(
    {
        "try_to_wake_up": "ttwu_ns",
        "preempt_switch": "switch_preempt_ns",
        "block_kthread": "switch_block_ns",
        "ksoftirqd_enter": "ksoftirqd_ns",
        "idle_tick_restart": "tick_ns",
        "voluntary_delay": "resched_delay_ns",
    }
)
"""The model's own figure for a cost that neither the capture nor a proxy knows."""


def merge_uses(parts: Iterable[Mapping[str, tuple[CostSource, set[str]]]]) -> list[CostSource]:
    """Return the costs that several replays drew, by name, each with what it was used as in its source."""
    sources: dict[str, CostSource] = {}
    uses: dict[str, set[str]] = {}
    for part in parts:
        for name, (source, models) in part.items():
            sources[name] = source
            uses.setdefault(name, set()).update(models)
    merged = []
    for name in sorted(sources):
        source = sources[name]
        used = ", ".join(sorted(uses[name]))
        merged.append(msgspec.structs.replace(source, name=name, source=f"{source.source}; used as {used}"))
    return merged


class SampledCosts(Costs):
    """The cost table of one replayed machine. All are 0 until ``live`` is set: boot takes no time.

    ``pin(name, ns)`` fixes the next draw of a name by whoever runs: a recorded wake-up or block brings its own. ``after_timer`` holds
    the CPUs whose last hard interrupt was the local timer. ``owe(cpu_id, name)`` adds a cost to a CPU's next way out of idle.
    """

    def __init__(self, table: CostTable, *, rt: bool) -> None:
        self.live = False
        self.after_timer: set[int] = set()
        self.used: dict[str, tuple[CostSource, set[str]]] = {}
        self._table = table
        self._rt = rt
        self._engine: Engine | None = None
        self._section: Callable[[], bool] | None = None
        self._waits_for_lock: Callable[[], bool] | None = None
        self._here: Callable[[], int] = int
        self._preempted: set[str] = set()
        self._left_by: dict[int, str] = {}
        self._pinned: dict[tuple[Context | None, str], int] = {}
        self._owed: dict[int, list[str]] = {}
        self._found: dict[str, CostSource] = {}
        self._streams: dict[str, Stream] = {}

    def bind(
        self, engine: Engine, in_section: Callable[[], bool], waits_for_lock: Callable[[], bool], here: Callable[[], int] = int
    ) -> None:
        """Take the streams of a machine's engine, and what depends on who runs.

        ``in_section()`` tells whether it is a recorded task with BH off, ``waits_for_lock()`` whether it had to wait for a lock,
        ``here()`` on which CPU it runs.
        """
        self._engine = engine
        self._here = here
        self._section = in_section
        self._waits_for_lock = waits_for_lock

    def pin(self, name: str, ns: int) -> None:
        """Let the next draw of ``name`` be ``ns``; a negative one is unknown and leaves the draw to the samples."""
        if ns >= 0:
            self._pinned[self._context(), name] = ns

    def unpin(self, name: str) -> None:
        """Forget a pinned draw that was not needed."""
        self._pinned.pop((self._context(), name), None)

    def owe(self, cpu_id: int, name: str) -> None:
        """Let the CPU's next way out of idle cost ``name`` of the capture in addition."""
        self._owed.setdefault(cpu_id, []).append(name)

    # --- drawing

    def draw(self, name: str, model: str) -> int:
        """Return a sample of a cost of the capture; ``model`` is the name under which the report lists it."""
        source = self._found.get(name)
        if source is None:
            source = self._found[name] = self._find(name)
        if not self.live:
            return 0
        self.used.setdefault(name, (source, set()))[1].add(model)
        if not source.samples:
            return source.value
        stream = self._streams.get(name)
        if stream is None:
            if self._engine is None:
                raise InternalError("sampled costs are drawn before they are bound to an engine")
            stream = self._streams[name] = self._engine.stream(f"cost {name}")
        return stream.sample(source.samples)

    def value(self, name: str) -> int:
        """Return the mean of a cost of the capture."""
        return self._find(name).value

    def cost(self, name: str) -> int:
        """Return what ``name`` of the model costs this time."""
        if not self.live:
            return 0
        if self._pinned:
            pinned = self._pinned.pop((self._context(), name), None)
            if pinned is not None:
                if name == "switch_block_ns":
                    self._left_by[self._here()] = self._who()
                return pinned
        plain = _PLAIN.get(name)
        if plain is not None:
            return self.draw(plain, name)
        if name == "switch_idle_ns":
            return self._leave_idle(name)
        if name == "switch_preempt_ns":
            self._left_by[self._here()] = who = self._who()
            self._preempted.add(who)
            return self.draw(self._preempt(), name)
        if name == "switch_block_ns":
            self._left_by[self._here()] = who = self._who()
            return self.draw(next(cost for prefix, cost in _BLOCK if who.startswith(prefix)), name)
        if name == "switch_in_ns":
            return self._switch_in(name)
        if name == "bh_enable_ns":
            return self._bh_enable(name)
        if name == "softirq_entry_ns":
            return self.draw("timer_exit_softirq" if self._here() in self.after_timer else "irq_exit_softirq", name)
        if name == "lock_block_ns":
            self._left_by[self._here()] = self._who()
            return max(0, self.draw("rt_lock_block", name) - self.value("irq_thread_enter"))
        return 0

    def _leave_idle(self, name: str) -> int:
        owed = self._owed.pop(self._here(), ())
        return self.draw("switch_from_idle", name) + sum(self.draw(one, name) for one in owed)

    def _preempt(self) -> str:
        assert self._section is not None
        return "rt_preempt_switch" if self._rt and self._section() else "preempt_switch"

    def _switch_in(self, name: str) -> int:
        """Return the way out of a switch where no recorded code holds it: behind a lock, or a preemption that is not in the recording."""
        assert self._waits_for_lock is not None
        who = self._who()
        again = who in self._preempted
        self._preempted.discard(who)
        if self._waits_for_lock() or (again and self._left_by.get(self._here(), "").startswith(_FOREIGN)):
            return self.draw("irq_thread_enter", name)
        return 0

    def _bh_enable(self, name: str) -> int:
        """Return the way to the first softirq: of a task, or of an irq thread from the end of the handler that was moved there.

        The latter is the way that the handler has to its softirqs on a stock kernel, without the event of its exit.
        """
        if self._who().startswith("irq/"):
            return max(0, self.draw("irq_exit_softirq", name) - self.value("trace_event"))
        return self.draw("bh_enable_softirq", name)

    def _context(self) -> Context | None:
        return self._engine.current if self._engine is not None else None

    def _who(self) -> str:
        assert self._engine is not None and self._engine.current is not None
        return self._engine.current.name

    def _find(self, name: str) -> CostSource:
        known = self._table.named
        seen = [name]
        while seen[-1] not in known:
            following = _FALLBACK.get(seen[-1])
            if following is None or following in seen:
                return self._default(name)
            seen.append(following)
        source = known[seen[-1]]
        if len(seen) == 1:
            return source
        return CostSource(name, source.samples, source.value, "proxy", source.n, f"{seen[-1]}: this capture has no sample of {name}")

    def _default(self, name: str) -> CostSource:
        default = _DEFAULTS.get(name)
        value = int(getattr(Costs, default)) if default is not None else 0
        return CostSource(name, [], value, "prior", 0, f"the model's own {default}" if default is not None else "not known: 0")


def _drawn(name: str) -> property:
    def get(costs: SampledCosts) -> int:
        return costs.cost(name)

    return property(get)


_CHOSEN: Final = frozenset(
    {"switch_idle_ns", "switch_preempt_ns", "switch_block_ns", "switch_in_ns", "bh_enable_ns", "softirq_entry_ns", "lock_block_ns"}
)
"""Costs that depend on who pays."""

for _name in cost_names():
    setattr(SampledCosts, _name, _drawn(_name) if _name in _CHOSEN or _name in _PLAIN else 0)

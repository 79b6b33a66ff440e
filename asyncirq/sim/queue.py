"""Hold what is due: the clock, the heap of due times, the front queue of this instant, and the decisions on ties.

The heap's key is ``(when_ns, seq)``; there is no priority field. An entry is live while its ``seq`` is the ticket of the
context or timer that it names; dead ones are dropped when they surface, or all at once when they are more than half.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heapify, heappop, heappush
from typing import Any, Final

from asyncirq.errors import InternalError, SimulationStalled
from asyncirq.sim.choice import Choice, Policy
from asyncirq.sim.context import NEW, PARKED, READY, Context, Timer
from asyncirq.sim.stacks import describe
from asyncirq.sim.stream import Stream

FOREVER: Final = 1 << 62
"""A time past the end of every run, in ns."""
STEP_LIMIT: Final = 100_000
INLINE_RUN: Final = 1000


class EventQueue:
    """The clock and everything that is due."""

    def __init__(self, seed: int = 0, policy: Policy | None = None, inline: bool = True) -> None:
        self.now = 0
        self.seed = seed
        self.horizon = FOREVER
        self.current: Context | None = None
        self.contexts: list[Context] = []
        self.tape: list[Choice] = []
        self.step_limit = STEP_LIMIT
        self.dead: BaseException | None = None
        self.sleepers: list[Callable[[], list[str]]] = []
        self.on_spawn: Callable[[Context], None] | None = None
        self._inline = inline
        self._driven = False
        self._look = False
        self._policy = policy
        self._heap: list[tuple[int, int, Context | Timer]] = []
        self._front: deque[Context] = deque()
        self._seq = 0
        self._dead_entries = 0
        self._still = 0
        self._inline_left = INLINE_RUN
        self._streams: dict[str, Stream] = {}

    # --- contexts and timers

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> Context:
        """Make a context of a coroutine; it starts in this instant, behind what the front queue holds."""
        ctx = self.adopt(coro, name)
        self.resume(ctx)
        return ctx

    def adopt(self, coro: Coroutine[Any, Any, Any], name: str) -> Context:
        """Make a context of a coroutine without starting it; ``resume`` starts it."""
        ctx = Context(self, coro, name)
        self.contexts.append(ctx)
        if self.on_spawn is not None:
            self.on_spawn(ctx)
        return ctx

    def timer(self, fn: Callable[[], None], name: str) -> Timer:
        """Make a timer that calls ``fn()`` when due; it is not armed yet."""
        return Timer(self, fn, name)

    def arm(self, timer: Timer, when_ns: int) -> None:
        """Make a timer due at ``when_ns``; an earlier due time is dropped."""
        if when_ns < self.now:
            raise InternalError(f"timer {timer.name} armed for {when_ns} ns at {self.now} ns")
        if timer.ticket:
            self._kill(timer)
        self._seq = seq = self._seq + 1
        timer.ticket = seq
        timer.when = when_ns
        heappush(self._heap, (when_ns, seq, timer))

    def disarm(self, timer: Timer) -> None:
        """Drop a timer's due time, if any."""
        if timer.ticket:
            self._kill(timer)

    def _kill(self, who: Context | Timer) -> None:
        who.ticket = 0
        self._dead_entries += 1
        if self._dead_entries > 64 and self._dead_entries * 2 > len(self._heap):
            self._heap[:] = [entry for entry in self._heap if entry[2].ticket == entry[1]]
            heapify(self._heap)
            self._dead_entries = 0

    def poke(self, ctx: Context) -> None:
        """Make a parked context look again in this instant; one that runs or is due to run now needs no poke."""
        if ctx.state == PARKED:
            if ctx.ticket:
                self._kill(ctx)
            ctx.state = READY
            self._front.append(ctx)

    def resume(self, ctx: Context) -> None:
        """Hand the next turn of this instant to a context that waits for exactly this; anything else is our mistake."""
        if (ctx.state != PARKED and ctx.state != NEW) or ctx.ticket:
            raise InternalError(f"{ctx.name} would hold two pending resumes at {self.now} ns")
        ctx.state = READY
        self._front.append(ctx)

    def has_front(self) -> bool:
        """Tell whether the front queue holds something for this instant."""
        return bool(self._front)

    def next_due(self) -> int:
        """Return the time of the earliest live entry, or ``FOREVER``."""
        heap = self._heap
        while heap and heap[0][2].ticket != heap[0][1]:
            heappop(heap)
            self._dead_entries -= 1
        return heap[0][0] if heap else FOREVER

    def heap_length(self) -> int:
        """Return the number of heap entries, dead ones included: unbounded waits must not make it grow."""
        return len(self._heap)

    # --- decisions

    def choose(self, n: int, label: str) -> int:
        """Take one decision among ``n`` alternatives; without a policy always 0, and nothing is taped."""
        if self._policy is None or n <= 1:
            return 0
        value = self._policy.choose(n, label)
        if not 0 <= value < n:
            raise InternalError(f"the policy chose {value} of {n} for {label!r}")
        self.tape.append(Choice(value, n, label))
        return value

    def stream(self, name: str) -> Stream:
        """Return the seeded stream of that name, the same one at every call."""
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = Stream(self.seed, name)
        return stream

    # --- progress

    def _stall(self, why: str) -> None:
        """Raise ``SimulationStalled`` with the await stack of every context."""
        stacks = "\n".join(describe(ctx) for ctx in self.contexts)
        error = SimulationStalled(f"{why} at {self.now} ns\n{stacks}")
        self.dead = error
        raise error

    def _stuck(self) -> None:
        self._stall(f"{self.step_limit} steps without progress of time")

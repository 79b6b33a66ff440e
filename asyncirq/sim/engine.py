"""Step contexts through virtual time: the clock, the heap, the front queue.

The heap's key is ``(when_ns, seq)``; there is no priority field. The front queue holds pokes, hand-offs and switches: it
runs first within the instant and is never a choice. Entries due at the same instant are the only ties, and ties belong
to the policy. The host loop decides nothing: it only executes what the engine hands out.
"""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from typing import Any, Final

from asyncirq.errors import InternalError, SimulationStalled
from asyncirq.sim.choice import Choice, Policy
from asyncirq.sim.context import DONE, NEW, PARKED, READY, RUNNING, Context, Timer
from asyncirq.sim.stacks import describe
from asyncirq.sim.stream import Stream
from asyncirq.sim.word import Word

FOREVER: Final = 1 << 62
"""A time past the end of every run, in ns."""
STEP_LIMIT: Final = 100_000
INLINE_RUN: Final = 1000
PARK: Final = object()


class Engine:
    """The clock and everything that is due.

    ``horizon`` is the last instant that may be reached without asking the driver: the least of run-until, the wall
    clock in live mode and the next taped arrival. ``inline=False`` switches inline advance off; the trace is the same.
    """

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

    # --- what a running context calls

    @types.coroutine
    def park(self) -> Generator[object, None, None]:
        """Give the turn back to the engine until this context is poked, resumed or due."""
        ctx = self.current
        assert ctx is not None
        ctx.state = PARKED
        yield PARK

    def set_due(self, ns: int) -> None:
        """Make the running context due ``ns`` from now: it must yield ``PARK`` next. A poke may wake it earlier."""
        ctx = self.current
        assert ctx is not None
        self._seq = seq = self._seq + 1
        ctx.ticket = seq
        heappush(self._heap, (self.now + ns, seq, ctx))
        ctx.state = PARKED

    def advance(self, ns: int) -> bool:
        """Move time on by ``ns`` in the running context without parking it, if nothing else is due by then.

        The wake-up must lie strictly before every live entry and not beyond the horizon, with the front queue empty.
        Every ``INLINE_RUN``-th time the answer is no, so that the driver can look at the host.
        """
        end = self.now + ns
        if self._front or end > self.horizon or not self._inline:
            return False
        heap = self._heap
        while heap:
            entry = heap[0]
            if entry[2].ticket == entry[1]:
                if end >= entry[0]:
                    return False
                break
            heappop(heap)
            self._dead_entries -= 1
        left = self._inline_left
        if not left:
            self._inline_left = INLINE_RUN
            return False
        self._inline_left = left - 1
        if ns:
            self.now = end
            self._still = 0
        else:
            self._still += 1
            if self._still > self.step_limit:
                self._stuck()
        return True

    @types.coroutine
    def elapse(self, ns: int) -> Generator[object, None, int]:
        """Park the running context for up to ``ns`` and return how many passed: fewer when it was poked.

        It is what remains to be done when ``advance(ns)`` said no.
        """
        start = self.now
        self.set_due(ns)
        yield PARK
        return self.now - start

    async def sleep(self, ns: int) -> None:
        """Let exactly ``ns`` pass in a device or controller task, which no interrupt can shorten."""
        end = self.now + ns
        left = ns
        while not self.advance(left):
            await self.elapse(left)
            left = end - self.now
            if left <= 0:
                return

    async def wait(self, word: Word) -> None:
        """Park a device or controller task until ``word.ready()``; it takes no heap entry."""
        ctx = self.current
        assert ctx is not None
        while not word.ready():
            word.waiters.append(ctx)
            await self.park()
            word.waiters.remove(ctx)

    def step(self) -> None:
        """Count a step that parks nobody: too many at one instant are no progress."""
        self._still += 1
        if self._still > self.step_limit:
            self._stuck()

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

    # --- what the driver calls

    def select(self, limit: int) -> Context | None:
        """Return the next context to run, with time moved to it, calling due timers on the way; None when nothing is due by ``limit``."""
        heap = self._heap
        front = self._front
        while True:
            if front:
                self._still += 1
                if self._still > self.step_limit:
                    self._stuck()
                ctx = front.popleft()
            else:
                if not heap:
                    return None
                when, seq, who = heap[0]
                if who.ticket != seq:
                    heappop(heap)
                    self._dead_entries -= 1
                    continue
                if when > limit:
                    return None
                if self._policy is None:
                    heappop(heap)
                else:
                    who = self._choose_tie(when)
                who.ticket = 0
                if when > self.now:
                    self.now = when
                    self._still = 0
                else:
                    self._still += 1
                    if self._still > self.step_limit:
                        self._stuck()
                if who.fn is not None:
                    self.current = None
                    who.fn()
                    continue
                assert isinstance(who, Context)
                ctx = who
            self.current = ctx
            ctx.state = RUNNING
            return ctx

    def run_slice(self, limit: int, steps: int, stop: Callable[[], bool] | None = None) -> bool:
        """Step contexts natively, at most ``steps`` times and up to ``limit`` ns; return whether nothing was left to do."""
        select = self.select
        try:
            for _ in range(steps):
                ctx = select(limit)
                if ctx is None:
                    return True
                try:
                    ctx.coro.send(None)
                except StopIteration:
                    self.finish(ctx)
                if stop is not None and stop():
                    break
        except BaseException as error:
            self.fail(error)
            raise
        self.current = None
        return False

    def fail(self, error: BaseException) -> None:
        """Declare the machine dead of ``error``: nothing may advance it any more."""
        if self.dead is None:
            self.dead = error
        self.current = None

    @contextmanager
    def stepping(self, single: bool) -> Iterator[None]:
        """Switch inline advance off inside the block if ``single``: a condition is looked at after every step, whatever the setting."""
        inline = self._inline
        self._inline = inline and not single
        try:
            yield
        finally:
            self._inline = inline

    def finish(self, ctx: Context) -> None:
        """Take note that a context's coroutine has returned."""
        ctx.state = DONE
        self.contexts.remove(ctx)

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

    def check_progress(self) -> None:
        """Raise ``SimulationStalled`` when nothing is due any more while a context stalls or sleeps uninterruptibly."""
        if self._front or self.next_due() < FOREVER:
            return
        stuck = [ctx.name for ctx in self.contexts if ctx.stalled_on is not None]
        for probe in self.sleepers:
            stuck += probe()
        if stuck:
            self.stall(f"nothing is left to run while {', '.join(stuck)} cannot go on")

    def stall(self, why: str) -> None:
        """Raise ``SimulationStalled`` with the await stack of every context."""
        stacks = "\n".join(describe(ctx) for ctx in self.contexts)
        error = SimulationStalled(f"{why} at {self.now} ns\n{stacks}")
        self.dead = error
        raise error

    def close(self) -> None:
        """Close every coroutine, unstarted ones too, in reverse order of creation; nothing stays pending."""
        if self.dead is None:
            self.dead = InternalError("the machine is closed")
        while self.contexts:
            ctx = self.contexts.pop()
            ctx.state = DONE
            ctx.coro.close()
        self._heap.clear()
        self._front.clear()

    def _choose_tie(self, when: int) -> Context | Timer:
        heap = self._heap
        ties = []
        while heap and heap[0][0] == when:
            entry = heappop(heap)
            if entry[2].ticket == entry[1]:
                ties.append(entry)
            else:
                self._dead_entries -= 1
        chosen = ties.pop(self.choose(len(ties), "tie")) if len(ties) > 1 else ties.pop()
        for entry in ties:
            heappush(heap, entry)
        return chosen[2]

    def _stuck(self) -> None:
        self.stall(f"{self.step_limit} steps without progress of time")

"""Step contexts through virtual time.

The front queue runs first within the instant and is never a choice. Entries due at the same instant are the only ties,
and ties belong to the policy. The host loop decides nothing: it only executes what the engine hands out. The parts:
``queue`` (what is due), ``waits`` (what a running context calls).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush

from asyncirq.errors import InternalError, UsageError
from asyncirq.sim.context import DONE, RUNNING, Context, Timer
from asyncirq.sim.queue import FOREVER
from asyncirq.sim.stacks import await_stack
from asyncirq.sim.waits import PARK, Waits

__all__ = ["FOREVER", "PARK", "Engine"]


class Engine(Waits):
    """The clock and everything that is due.

    ``horizon`` is the last instant that may be reached without asking the driver: the least of run-until, the wall
    clock in live mode and the next taped arrival. ``inline=False`` switches inline advance off; the trace is the same.
    """

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
        try:
            if self._policy is None and stop is None:
                return self._run_fifo(limit, steps)
            for _ in range(steps):
                ctx = self.select(limit)
                if ctx is None:
                    return True
                try:
                    if ctx.coro.send(None) is not PARK:
                        self.foreign(ctx)
                except StopIteration:
                    self.finish(ctx)
                if self._look or (stop is not None and stop()):
                    self._look = False
                    break
        except BaseException as error:
            self.fail(error)
            raise
        self.current = None
        return False

    def _run_fifo(self, limit: int, steps: int) -> bool:
        """Do what ``run_slice`` does where no policy is asked: ``select`` written out, since a call for each turn shows."""
        heap = self._heap
        front = self._front
        step_limit = self.step_limit
        while steps:
            if front:
                ctx = front.popleft()
            else:
                if not heap:
                    return True
                when, seq, who = heap[0]
                if who.ticket != seq:
                    heappop(heap)
                    self._dead_entries -= 1
                    continue
                if when > limit:
                    return True
                heappop(heap)
                who.ticket = 0
                if when > self.now:
                    self.now = when
                    self._still = -1
                if who.fn is not None:
                    self._still += 1
                    if self._still > step_limit:
                        self._stuck()
                    self.current = None
                    who.fn()
                    continue
                assert isinstance(who, Context)
                ctx = who
            self._still += 1
            if self._still > step_limit:
                self._stuck()
            steps -= 1
            self.current = ctx
            ctx.state = RUNNING
            try:
                if ctx.coro.send(None) is not PARK:
                    self.foreign(ctx)
            except StopIteration:
                self.finish(ctx)
            if self._look:
                self._look = False
                break
        self.current = None
        return False

    def foreign(self, ctx: Context) -> None:
        """Refuse an await of somebody else's: the model's time does not pass there, so the context would never go on."""
        stack = " > ".join(frame.function for frame in await_stack(ctx.coro))
        raise UsageError(
            f"{ctx.name} awaits something that is not the model's ({stack}) at {self.now} ns: "
            "inside a machine let time pass by cpu.spend, task.spend or m.sleep; do real I/O in a task of your own and post it"
        )

    def fail(self, error: BaseException) -> None:
        """Declare the machine dead of ``error``: nothing may advance it any more."""
        if self.dead is None:
            self.dead = error
        self.current = None

    @contextmanager
    def stepping(self, single: bool) -> Iterator[None]:
        """Switch inline advance off inside the block if ``single``: a condition is looked at after every step, whatever the setting."""
        if self._driven:
            raise UsageError("this machine runs already: await the other run_for or run_until first")
        inline = self._inline
        self._inline = inline and not single
        self._driven = True
        try:
            yield
        finally:
            self._inline = inline
            self._driven = False

    def finish(self, ctx: Context) -> None:
        """Take note that a context's coroutine has returned."""
        ctx.state = DONE
        self.contexts.remove(ctx)

    def check_progress(self) -> None:
        """Raise ``SimulationStalled`` when nothing is due any more while a context stalls or sleeps uninterruptibly."""
        if self._front or self.next_due() < FOREVER:
            return
        stuck = [ctx.name for ctx in self.contexts if ctx.stalled_on is not None]
        for probe in self.sleepers:
            stuck += probe()
        if stuck:
            self._stall(f"nothing is left to run while {', '.join(stuck)} cannot go on")

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

"""Put a machine together and run it: reads like a boot log.

``Machine`` is an async context manager inside the user's own program. It owns every part; nothing is global, so two
machines in one process never know of each other. Boot takes no virtual time: at 0 ns every CPU enters its idle loop with
interrupts on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Final

import msgspec

from asyncirq import invariants
from asyncirq.board import ApicWiring, Msi, choose_controller, make_board
from asyncirq.config import KernelConfig, preset
from asyncirq.costs import Costs
from asyncirq.errors import UsageError
from asyncirq.hw.line import Line
from asyncirq.kernel import Kernel
from asyncirq.sched.task import SCHED_NORMAL, Task, TaskFn
from asyncirq.sim import FOREVER, Arrival, Context, Driver, Engine, ExecutorName, Inbox, Policy
from asyncirq.trace.record import Record
from asyncirq.trace.recorder import Recorder
from asyncirq.trace.sinks import MemorySink, Sink

MAX_CPUS: Final = 1024
DEFAULT_CONTROLLER: Final = "apic"


class Machine:
    """A machine with ``cpus`` CPUs and one kernel.

    ::

        async with Machine(cpus=2, kernel="linux-6.12", seed=1) as m:
            ...
            await m.run_for(ms(50))

    ``kernel`` is a preset's name or a ``KernelConfig``, ``arch`` the architecture (``x86``, ``arm64``), ``controller`` the kind of
    interrupt controllers: a name of ``asyncirq.board.BOARDS``, the architecture's first or ``"apic"`` unless given, or an ``ApicWiring``.
    ``trace`` False records nothing at all (the run is the same, only faster); ``sinks`` receive the records, by default one list in
    memory, which ``records`` returns; ``sinks=()`` keeps nothing but the digest. ``executor`` is ``"native"`` or ``"anyio"``.
    ``policy`` decides ties; ``replay`` is the tape of an earlier live run. ``check`` watches the invariants of
    ``asyncirq.invariants``, and ``accounts`` says then what became of each CPU's time. ``debug`` traces every step of the flow handlers,
    ``detail`` every step of the entry code with its stacks.
    ``prepare(kernel)`` is called before the boot: the place to replace a platform's hooks.

    The parts, for experiments that go deeper: ``driver`` (``driver.live(speed)`` paces the run by the wall clock),
    ``engine``, ``board`` (silicon), ``kernel`` and its parts ``sched``, ``softirq``, ``irq``, ``workqueues``, ``timers``,
    ``hrtimers``, ``napi``, ``tasklets``, ``sleep``; ``lockdep`` (its ``reports``) where the kernel is configured with it.
    """

    def __init__(
        self,
        cpus: int = 1,
        kernel: KernelConfig | str = "linux-6.12",
        *,
        arch: str | None = None,
        controller: str | ApicWiring | None = None,
        seed: int = 0,
        costs: Costs | None = None,
        trace: bool = True,
        sinks: Sequence[Sink] | None = None,
        executor: ExecutorName = "native",
        policy: Policy | None = None,
        inline: bool = True,
        replay: Sequence[Arrival] = (),
        check: bool = False,
        debug: bool = False,
        detail: bool = False,
        prepare: Callable[[Kernel], None] | None = None,
    ) -> None:
        if not isinstance(cpus, int) or not 1 <= cpus <= MAX_CPUS:
            raise UsageError(f"a machine has 1 to {MAX_CPUS} CPUs, not {cpus!r}", 22)
        if not isinstance(kernel, str | KernelConfig):
            raise UsageError(f"kernel is {kernel!r}: give a preset's name or a KernelConfig", 22)
        if not isinstance(costs, Costs | None):
            raise UsageError(f"costs is {costs!r}: give a Costs", 22)
        if not isinstance(seed, int):
            raise UsageError(f"seed is {seed!r}: give a whole number", 22)
        self.config = preset(kernel) if isinstance(kernel, str) else kernel
        if detail:
            self.config = msgspec.structs.replace(self.config, entry_detail=True)
        self.costs = costs if costs is not None else Costs()
        self.engine = Engine(seed, policy, inline)
        self.driver = Driver(self.engine, executor, Inbox(replay))
        self._memory = MemorySink() if sinks is None and trace else None
        given: Sequence[Sink] = sinks if sinks is not None else [self._memory] if self._memory is not None else ()
        self.trace = Recorder(self.engine, given) if trace else None
        if not isinstance(controller, ApicWiring):
            controller = choose_controller(arch, controller, DEFAULT_CONTROLLER)
        try:
            self._build(controller, cpus, debug, check, prepare)
        except Exception:
            # The parts' coroutines would outlive a machine that nobody can close.
            self.engine.close()
            raise

    def _build(self, controller: str | ApicWiring, cpus: int, debug: bool, check: bool, prepare: Callable[[Kernel], None] | None) -> None:
        self.board = make_board(controller, self.engine, cpus, self.costs, self.trace)
        self.kernel = Kernel(self.board, self.config, self.costs, self.trace, debug=debug)
        self.sched = self.kernel.sched
        self.softirq = self.kernel.softirq
        self.tasklets = self.kernel.tasklets
        self.timers = self.kernel.timers
        self.hrtimers = self.kernel.hrtimers
        self.sleep = self.kernel.sleep
        self.posix_timers = self.kernel.posix_timers
        self.workqueues = self.kernel.workqueues
        self.napi = self.kernel.napi
        self.irq = self.kernel.irq
        self.lockdep = self.kernel.lockdep
        self.cpus = self.board.cpus
        self._closed = False
        self._entered = False
        if self.trace is not None:
            self.driver.on_slice = self.trace.flush
        self.accounts = invariants.watch(self.sched) if check else []
        if prepare is not None:
            prepare(self.kernel)
        self.kernel.boot()

    # --- running

    async def __aenter__(self) -> Machine:
        if self._closed:
            raise UsageError("this machine is closed: make another one")
        await self.driver.executor.start()
        self._entered = True
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def run_for(self, ns: int) -> None:
        """Run for ``ns`` of virtual time. Raises what the model raises: a handler's own exception, ``KernelBug``, ``SimulationStalled``."""
        if not isinstance(ns, int) or ns < 0:
            raise UsageError(f"a machine cannot run for {ns!r} ns: it is a whole number from 0 on", 22)
        self._check_entered()
        await self.driver.run_until(self.engine.now + ns)

    async def run_until(self, condition: Callable[[], bool], timeout_ns: int | None = None) -> bool:
        """Run until ``condition()`` holds, looked at after every step; return False if ``timeout_ns`` passed first."""
        until = FOREVER if timeout_ns is None else self.engine.now + timeout_ns
        if not condition():
            self._check_entered()
            await self.driver.run_until(until, condition)
        return condition()

    async def close(self) -> None:
        """End the machine: every task is closed, every record reaches its sinks. Twice is once."""
        if self._closed:
            return
        self._closed = True
        try:
            await self.driver.close()
        finally:
            if self.trace is not None:
                self.trace.close()

    def _check_entered(self) -> None:
        if self._closed:
            raise UsageError("this machine is closed: make another one")
        if not self._entered:
            raise UsageError("enter the machine first: async with Machine(...) as m")

    # --- what is on it

    @property
    def now(self) -> int:
        """Return the virtual time in ns."""
        return self.engine.now

    @property
    def records(self) -> list[Record]:
        """Return what was recorded so far. Raises ``UsageError`` when the machine was told to record nowhere or into other sinks."""
        if self._memory is None or self.trace is None:
            raise UsageError("this machine keeps no records in memory: it was made with trace=False or with sinks of its own")
        if not self._closed:
            self.trace.flush()
        return self._memory.records

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the trace so far, as hex. Raises ``UsageError`` on an untraced machine."""
        if self.trace is None:
            raise UsageError("an untraced machine has no digest")
        return self.trace.hexdigest()

    def line(self, gsi: int, *, level: bool = True, active_low: bool = False) -> tuple[Line, int]:
        """Return the wire to an IO-APIC pin and the irq that it raises. Raises ``UsageError`` when the pin is wired otherwise already."""
        return self.board.line(gsi, active_low), self.kernel.gsi_to_irq(gsi, level, active_low)

    def msi(self, name: str) -> Msi:
        """Return a message-signalled interrupt of a device: ``irq`` to request, ``send()`` to raise it."""
        return self.kernel.alloc_msi(name)

    def spawn(self, coro: Coroutine[Any, Any, None], name: str) -> Context:
        """Start a device's task: it may ``await m.engine.sleep(ns)`` and raise interrupts, and knows no CPU."""
        if not inspect.iscoroutine(coro):
            raise UsageError(f"{name}: spawn takes a coroutine, fn(), and not {coro!r}", 22)
        return self.engine.spawn(coro, name)

    def start_thread(
        self,
        fn: TaskFn,
        comm: str,
        *,
        cpu: int | None = None,
        policy: int = SCHED_NORMAL,
        rt_priority: int = 0,
        nice: int = 0,
        kthread: bool = False,
    ) -> Task:
        """Start a thread that runs ``async def fn(task)``, from now on and without a waker; ``cpu`` binds it."""
        task = self.sched.new_task(fn, comm, cpu=cpu, kthread=kthread, policy=policy, rt_priority=rt_priority, nice=nice)
        self.kernel.start_thread(task)
        return task

    def proc(self, path: str) -> str:
        """Return the text of a file under /proc: ``interrupts``, ``softirqs``, ``net/softnet_stat``, ``irq/N/...``."""
        return self.kernel.proc(path)

    def describe(self) -> str:
        """Return the three registration tables as text: the gates, the descriptors, the softirq vectors."""
        return self.kernel.describe()

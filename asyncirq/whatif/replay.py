"""Run one phase of a capture on one machine: boot, put everything in the state of the phase's start, let it run, stop.

Boot takes no time and is not part of the trace. The recorded tasks keep their pids; the machine's own threads get numbers
above all recorded ones. What the capture cannot tell, how far each task is in its share of the CPU, is assumed: a
sleeper has full credit, a runnable task none.
"""

from __future__ import annotations

from typing import Final

import msgspec

from asyncirq.analysis.arrivals import PhasePlan, plan_phase
from asyncirq.analysis.ops import Hit, PhaseCut
from asyncirq.analysis.pack import CostSource
from asyncirq.analysis.segments import CostTable
from asyncirq.errors import InternalError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IrqDesc
from asyncirq.machine import Machine
from asyncirq.sched.task import TASK_INTERRUPTIBLE, TASK_RUNNING, Task
from asyncirq.sim import Context
from asyncirq.sim.word import Flag
from asyncirq.trace.record import Record
from asyncirq.whatif.arrivals import Arrivals
from asyncirq.whatif.bodies import Bodies, Body
from asyncirq.whatif.clock import Clock
from asyncirq.whatif.costs import SampledCosts
from asyncirq.whatif.kernels import Target
from asyncirq.whatif.lines import ReplayLine
from asyncirq.whatif.receive import divert_receive
from asyncirq.whatif.softirqs import SoftirqBodies
from asyncirq.whatif.tasks import RecordedTask
from asyncirq.whatif.verbatim import Verbatim
from asyncirq.whatif.wiring import Wiring

BOOT_NS: Final = 1_000_000
"""Virtual time at which a phase starts, long after everything that boot made sleeps."""
STEP_NS: Final = 4_000_000
"""How far the run goes on at a time behind the recorded end while something is still to come."""
OVERTIME_NS: Final = 50_000_000
"""How much longer than recorded a phase may take, besides its own length once more."""


class PhaseResult(msgspec.Struct):
    """One replayed phase: its records (the phase begins at ``origin_ns``), and what did not go as recorded.

    ``lost`` arrivals were never raised, ``strange`` vectors were left to the machine's own kernel.
    """

    name: str
    records: list[Record]
    origin_ns: int
    span_ns: int
    plan: PhasePlan
    lost: int
    strange: int
    costs: dict[str, tuple[CostSource, set[str]]]


class Setting(msgspec.Struct, frozen=True):
    """What all phases of a prediction share: every line of the capture (irq to action names), wiring, first free pid, controller."""

    lines: dict[int, list[str]]
    wiring: dict[int, Wiring]
    first_pid: int
    cpus: int
    controller: str = "apic"


class Replay:
    """One phase at work. The parts find each other through it."""

    def __init__(self, phase: PhaseCut, table: CostTable, target: Target, setting: Setting, *, seed: int, check: bool = False) -> None:
        self.phase = phase
        self.target = target
        self.costs = SampledCosts(table, rt=target.config.rt)
        self.machine = Machine(setting.cpus, target.config, controller=setting.controller, seed=seed, costs=self.costs, check=check)
        self.costs.bind(self.machine.engine, self._in_section, self._waits_for_lock, self._here)
        if self.machine.trace is None:
            raise InternalError("a replay without a trace")
        self._trace = self.machine.trace
        self._setting = setting
        self._first_record = 0
        self._starting = 0
        self._started = Flag("start of the phase")
        self._tick_stopped = [False] * setting.cpus
        self.verbatim = Verbatim(self._trace)
        self.plan = plan_phase(phase)
        self.tasks: dict[int, RecordedTask] = {}
        self._renumber(setting.first_pid)
        for pid in sorted(phase.tasks):
            self.tasks[pid] = RecordedTask(self, phase.tasks[pid])
        self._of_context: dict[Context | None, RecordedTask] = {one.task.sim: one for one in self.tasks.values()}
        self.softirqs = SoftirqBodies(self)
        self.bodies = Bodies(self)
        self.lines = {irq: ReplayLine(self, irq, setting.lines[irq], setting.wiring[irq]) for irq in sorted(setting.lines)}
        self.clock = Clock(self)
        self.arrivals = Arrivals(self, self.plan)

    async def run(self) -> PhaseResult:
        """Run the phase and return what happened."""
        async with self.machine as machine:
            await self._prepare()
            await machine.run_for(BOOT_NS)
            self._begin()
            await machine.run_for(self.phase.span_ns)
            limit = machine.now + self.phase.span_ns + OVERTIME_NS
            while not self._is_quiet() and machine.now < limit:
                await machine.run_for(STEP_NS)
            records = [record for record in machine.records if record.seq > self._first_record]
        return PhaseResult(
            self.phase.name,
            records,
            BOOT_NS,
            machine.now - BOOT_NS,
            self.plan,
            self.arrivals.lost,
            self.arrivals.strange,
            self.costs.used,
        )

    # --- before the phase

    async def _prepare(self) -> None:
        """Put the recorded parts in the place of the machine's own."""
        kernel = self.machine.kernel
        kernel.hrtimers.program = lambda cpu, when_ns: None
        kernel.entry.timer = self.clock.interrupt
        kernel.idle.enter = None
        kernel.idle.leave = self._leave_idle
        kernel.irq.add_randomness = self._after_actions
        for cpu in self.machine.cpus:
            self.machine.board.program_timer(cpu, None)
        for irq in sorted(self.lines):
            await self.lines[irq].request()
        divert_receive(self)
        self._renumber(self._setting.first_pid)

    def _renumber(self, first: int) -> None:
        """Give the machine's own threads pids from ``first`` on."""
        tasks = self.machine.sched.tasks
        own = [pid for pid in tasks if pid < first and pid not in self.tasks]
        free = max([first - 1, *(pid for pid in tasks if pid >= first)]) + 1
        for number, pid in enumerate(own, free):
            task = tasks.pop(pid)
            task.pid = number
            tasks[number] = task

    def _begin(self) -> None:
        """Bring tasks and softirqs into the state of the phase's start and let it begin."""
        machine = self.machine
        sched = machine.sched
        running = set(self.phase.running.values())
        for task in sched.tasks.values():
            sched.rqs[task.cpu.id].fair.line_up(task, -1)
        for cpu_id, nr, ident in self.phase.pending:
            self.softirqs.preload(cpu_id, nr, Body("soft", ident, self.phase.bodies[ident].ops))
        for pid in sorted(self.tasks):
            recorded = self.tasks[pid]
            if recorded.program.state in ("running", "runnable"):
                self._make_ready(recorded.task, first=pid in running)
                self._starting += pid in running
            elif recorded.program.state == "blocked":
                recorded.task.state = TASK_INTERRUPTIBLE
        for cpu in machine.cpus:
            for thread in self.softirqs.servers(cpu.id):
                if not thread.on_rq:
                    self._make_ready(thread, first=False)
            if cpu.need_resched:
                machine.kernel.arch.kick(cpu)
        if not self._starting:
            self._go()

    def _make_ready(self, task: Task, *, first: bool) -> None:
        rq = self.machine.sched.rqs[task.cpu.id]
        rq.fair.line_up(task, 0 if first else 1)
        task.state = TASK_RUNNING
        rq.activate(task)
        task.cpu.need_resched = True

    async def begin_together(self, task: Task) -> None:
        """Hold the tasks that run at the start of the phase until all of them have their CPU."""
        self._starting -= 1
        if self._starting:
            cpu = task.preempt_disable()
            await cpu.stall(self._started)
            await task.preempt_enable()
        else:
            self._go()
            self._started.set()

    def _go(self) -> None:
        machine = self.machine
        self._first_record = self._trace.seq
        self.costs.live = True
        self.arrivals.start(machine.now)
        # Tasks that sleep uninterruptibly when the recording ends are no stall.
        machine.engine.timer(lambda: None, "end of the phase").arm(machine.now + 4 * (self.phase.span_ns + OVERTIME_NS))

    # --- in the phase

    def soft_body(self, ident: int) -> Body | None:
        """Return the softirq body of a raise, None if it has none."""
        return Body("soft", ident, self.phase.bodies[ident].ops) if ident >= 0 else None

    def note_hit(self, cpu: Cpu, hit: Hit) -> None:
        """Take note of what an arrival hit in the recording: whether idle had its tick stopped."""
        if cpu.current is self.machine.sched.rqs[cpu.id].idle:
            self._tick_stopped[cpu.id] = hit.tick_stopped if hit.kind == "idle" else False

    def _leave_idle(self, cpu: Cpu) -> None:
        if self._tick_stopped[cpu.id]:
            self._tick_stopped[cpu.id] = False
            self.costs.owe(cpu.id, "idle_tick_restart")

    async def _after_actions(self, cpu: Cpu, desc: IrqDesc) -> None:
        line = self.lines.get(desc.irq)
        if line is not None:
            await line.after_actions(cpu, desc)

    def _in_section(self) -> bool:
        recorded = self._of_context.get(self.machine.engine.current)
        return recorded is not None and recorded.in_section

    def _here(self) -> int:
        """Return the CPU of whoever runs."""
        rqs = self.machine.sched.rqs
        if len(rqs) == 1:
            return 0
        current = self.machine.engine.current
        return next((cpu_id for cpu_id, rq in enumerate(rqs) if rq.curr.sim is current), 0)

    def _waits_for_lock(self) -> bool:
        current = self.machine.engine.current
        return any(rq.curr.sim is current and rq.curr.blocked_on is not None for rq in self.machine.sched.rqs)

    def _is_quiet(self) -> bool:
        busy = self.arrivals.waiting or self.clock.busy or any(line.busy for line in self.lines.values())
        return not busy and all(rq.curr.is_idle and not rq.nr_running for rq in self.machine.sched.rqs)

"""Model one CPU: the interrupt flag, the interrupt window, and the three ways to park a software context.

An interrupt is a call that the interrupted code did not write: it runs nested inside the ``await`` of whatever it
interrupted. ``spend`` lets CPU time pass, ``stall`` keeps the CPU until a word is ready, ``switch_to`` gives the CPU to
another thread; interrupts and NMIs nest in the first two.

The window loops over the CPU that the thread is on *now*, read afresh each turn: the handler's last statement may have
been a reschedule, after which the thread woke up elsewhere.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final

from asyncirq.errors import InternalError, KernelBug
from asyncirq.hw.idt import INTERRUPT_GATE, TRAP_GATE, Gate
from asyncirq.hw.lapic import Lapic
from asyncirq.hw.system_regs import SystemRegs
from asyncirq.sim.engine import PARK, Engine
from asyncirq.sim.word import Word

if TYPE_CHECKING:
    from asyncirq.hw.idt import Handler, Idt
    from asyncirq.hw.pins import CpuPins
    from asyncirq.hw.pt_regs import PtRegs
    from asyncirq.hw.stack import Stack
    from asyncirq.sim.context import Context
    from asyncirq.trace.recorder import Recorder

NMI_VECTOR: Final = 2
NMI_BITS: Final = 0xF00000
"""Where ``preempt_count`` counts NMI handlers in progress."""


class Thread:
    """What a CPU executes: one stack of calls. The kernel's task is built on it.

    ``pinned`` says that the thread cannot migrate (a per-CPU kthread, or migration disabled). ``user_mode`` says that it is
    in user mode, ``regs_user`` that the interrupt being handled found it there. ``saved_count`` is its preempt count while
    it is switched out; ``own_irqs_off`` says that it cleared IF itself. ``work`` holds flags of what is to be done before it is in
    user mode again, by ``exit_to_user``. ``stack`` is its kernel stack, on a machine that accounts for them. ``frame`` are the
    registers that the exception being handled saved.
    """

    __slots__ = ("cause", "cpu", "frame", "own_irqs_off", "pid", "pinned", "regs_user", "saved_count", "sim", "stack", "user_mode", "work")

    cpu: Cpu
    sim: Context

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.pinned = False
        self.own_irqs_off = False
        self.user_mode = False
        self.regs_user = False
        self.saved_count = 0
        self.cause = 0
        self.work = 0
        self.stack: Stack | None = None
        self.frame: PtRegs | None = None

    async def exit_to_user(self) -> None:
        """Do what ``work`` asks for; returns with interrupts off."""
        raise InternalError(f"{self.sim.name} has work on its way to user mode, but nobody who does it")


class Cpu:
    """One CPU.

    ``pins`` is the front end of its interrupt controller, and ``lapic`` the same where that is a local APIC.
    ``irqs_off`` is the inverse of IF. ``attention`` is derived: an interrupt or NMI would be taken at the next
    instruction boundary. ``cause`` is the ``seq`` of the record that led to what the CPU executes.
    ``preempt_count`` has Linux's layout and belongs to the thread that runs; ``pid`` is that thread's. ``pushed_irqs_off`` is
    ``irqs_off`` as the frame that was pushed last holds it: read it before anything nests. ``system`` are the registers that
    exceptions use; ``refused``, if set, raises what an interrupt becomes whose gate cannot be passed.
    """

    __slots__ = (
        "attention",
        "cause",
        "check",
        "check_switch",
        "current",
        "engine",
        "id",
        "idt",
        "irqs_off",
        "lapic",
        "name",
        "need_resched",
        "nmi_blocked",
        "pid",
        "pins",
        "preempt_count",
        "pushed_irqs_off",
        "refused",
        "system",
        "trace",
    )

    current: Thread
    lapic: Lapic

    def __init__(self, engine: Engine, cpu_id: int, pins: CpuPins, idt: Idt, trace: Recorder | None) -> None:
        self.engine = engine
        self.id = cpu_id
        self.name = f"CPU{cpu_id}"
        self.pins = pins
        if isinstance(pins, Lapic):
            self.lapic = pins
        self.idt = idt
        self.trace = trace
        self.irqs_off = True
        self.pushed_irqs_off = True
        self.nmi_blocked = False
        self.attention = False
        self.need_resched = False
        self.preempt_count = 0
        self.pid = 0
        self.cause = 0
        self.system = SystemRegs()
        self.refused: Handler | None = None
        self.check: Callable[[Cpu], None] | None = None
        self.check_switch: Callable[[Cpu, Thread], None] | None = None
        pins.on_output = self.recompute

    # --- the output: does anything want attention at the next instruction boundary

    def recompute(self) -> None:
        """Derive ``attention`` and poke the running thread when it rises: the only place that assigns it."""
        pins = self.pins
        wanted = (pins.intr and not self.irqs_off) or (pins.nmi_pending and not self.nmi_blocked)
        if wanted and not self.attention:
            self.attention = True
            self.engine.poke(self.current.sim)
        else:
            self.attention = wanted

    # --- the interrupt flag: its three verbs are irq_disable, irq_enable and iret

    def irq_disable(self) -> bool:
        """Clear IF; return whether interrupts were off already (what ``local_irq_save`` keeps)."""
        was_off = self.irqs_off
        self.irqs_off = True
        if not self.preempt_count:
            self.current.own_irqs_off = True
        if self.attention:
            self.recompute()
        return was_off

    async def irq_enable(self) -> None:
        """Set IF and take what is pending; the thread may be on another CPU when this returns."""
        self.irqs_off = False
        thread = self.current
        thread.own_irqs_off = False
        if self.pins.intr:
            self.recompute()
            if self.attention:
                await interrupt_window(thread)

    async def irq_restore(self, was_off: bool) -> None:
        """Set IF unless it was clear at the matching ``irq_disable``."""
        if not was_off:
            await self.irq_enable()

    def iret(self, irqs_off: bool) -> None:
        """Restore IF as the interrupt frame holds it; any iret ends the blocking of NMIs."""
        self.irqs_off = irqs_off
        if self.nmi_blocked:
            self._unblock_nmi()
        if self.pins.intr or self.pins.nmi_pending:
            self.recompute()

    def _unblock_nmi(self) -> None:
        self.nmi_blocked = False
        if self.preempt_count & NMI_BITS and self.trace is not None:
            self.trace.nmi_unmasked(self)

    # --- the three ways to park

    @types.coroutine
    def spend(self, ns: int) -> Generator[object, None, None]:
        """Let ``ns`` of CPU time pass in a context that cannot migrate; interrupts nest here.

        Raises ``KernelBug`` when the context could migrate: preempt count 0, interrupts on, not pinned.
        """
        thread = self.current
        if not (self.preempt_count or self.irqs_off or thread.pinned):
            self._could_migrate()
        if self.check is not None:
            self.check(self)
        if self.attention:
            yield from interrupt_window(thread)
        engine = self.engine
        left = ns
        while not engine.advance(left):
            start = engine.now
            engine.set_due(left)
            yield PARK
            left -= engine.now - start
            if self.attention:
                yield from interrupt_window(thread)
            if left <= 0:
                return

    @types.coroutine
    def instruction(self, ns: int) -> Generator[object, None, None]:
        """Let ``ns`` pass in one instruction, as a read across a slow bus is: what comes meanwhile is taken when it completes."""
        thread = self.current
        if not (self.preempt_count or self.irqs_off or thread.pinned):
            self._could_migrate()
        if self.check is not None:
            self.check(self)
        if self.attention:
            yield from interrupt_window(thread)
        engine = self.engine
        left = ns
        while not engine.advance(left):
            start = engine.now
            engine.set_due(left)
            yield PARK
            left -= engine.now - start
            if left <= 0:
                break
        if thread.cpu.attention:
            yield from interrupt_window(thread)

    async def safe_halt(self) -> None:
        """Enable interrupts and halt in one step, as ``sti; hlt``; return after the interrupt that ends the halt.

        The STI shadow covers the HLT: what is pending ends the halt, it is not taken before it, so no wake-up is lost
        between the last test of the idle loop and the halt.
        """
        thread = self.current
        if self.check is not None:
            self.check(self)
        self.irqs_off = False
        thread.own_irqs_off = False
        self.recompute()
        while not self.attention:
            await self.engine.park()
        await interrupt_window(thread)

    async def stall(self, word: Word) -> None:
        """Keep this CPU until ``word.ready()``, without a heap entry; interrupts nest.

        Raises ``KernelBug`` on deadlock, and like ``spend`` when the context could migrate. The word is tested before each park and
        after every nested interrupt, so no wake-up can be forgotten.
        """
        thread = self.current
        ctx = thread.sim
        engine = self.engine
        if not (self.preempt_count or self.irqs_off or thread.pinned):
            self._could_migrate()
        if self.check is not None:
            self.check(self)
        outer = ctx.stalled_on
        while True:
            engine.step()
            if self.attention:
                await interrupt_window(thread)
                continue
            if word.ready():
                return
            ctx.stalled_on = word
            find_deadlock(ctx, word, engine.now)
            word.waiters.append(ctx)
            await engine.park()
            word.waiters.remove(ctx)
            ctx.stalled_on = outer

    def no_gate(self, vector: int) -> Gate:
        """Return what an interrupt without a gate leads to; where nothing is set up for that, raise ``KernelBug``."""
        if self.refused is None:
            raise KernelBug(f"no gate for vector {vector} on {self.name} at {self.engine.now} ns")
        return Gate(self.refused, "refused", type=TRAP_GATE)

    def _could_migrate(self) -> None:
        raise KernelBug(
            f"BUG: using smp_processor_id() in preemptible code: {self.current.sim.name} on {self.name} at {self.engine.now} ns"
        )

    async def switch_to(self, following: Thread) -> None:
        """Give this CPU to another thread; return when somebody gives a CPU back, which may be another one.

        Interrupts must be off. Called by the scheduler alone.
        """
        self.install(following)
        self.engine.resume(following.sim)
        await self.engine.park()

    def install(self, following: Thread) -> None:
        """Make ``following`` the thread of this CPU and swap the preempt counts; its context is not resumed here."""
        if not self.irqs_off:
            raise InternalError(f"switch with interrupts on, {self.name} at {self.engine.now} ns")
        if self.check_switch is not None:
            self.check_switch(self, following)
        thread = self.current
        thread.saved_count = self.preempt_count
        self.preempt_count = following.saved_count
        following.cpu = self
        self.current = following
        self.pid = following.pid
        if self.attention:
            self.recompute()


async def interrupt_window(thread: Thread) -> None:
    """Take every interrupt and NMI that is deliverable, one after the other, on the CPU that the thread is on now."""
    while True:
        cpu = thread.cpu
        if not cpu.attention:
            return
        cpu.engine.step()
        pins = cpu.pins
        trace = cpu.trace
        saved_off = cpu.pushed_irqs_off = cpu.irqs_off
        saved_own = thread.own_irqs_off
        saved_user = thread.user_mode
        saved_regs = thread.regs_user
        thread.regs_user = saved_user
        thread.user_mode = False
        saved_cause = cpu.cause
        if pins.nmi_pending and not cpu.nmi_blocked:
            vector = NMI_VECTOR
            cause = pins.nmi_taken()
            cpu.nmi_blocked = True
            if trace is not None:
                cpu.cause = cause
                cpu.cause = trace.nmi_inta(cpu)
        else:
            vector, cause = pins.inta()
            if trace is not None:
                cpu.cause = trace.lapic_inta(cpu, vector, cause) if cause >= 0 else pins.took(cpu, vector, cause)
        gate = cpu.idt.gates[vector]
        if gate is None or not gate.present:
            gate = cpu.no_gate(vector)
        if gate.type == INTERRUPT_GATE:
            cpu.irqs_off = True
        if cpu.attention:
            cpu.recompute()
        await gate.handler(cpu, vector)
        if saved_user and thread.work and vector != NMI_VECTOR:
            await thread.exit_to_user()
        cpu = thread.cpu
        cpu.cause = saved_cause
        thread.own_irqs_off = saved_own
        thread.user_mode = saved_user
        thread.regs_user = saved_regs
        cpu.iret(saved_off)


def find_deadlock(ctx: Context, word: Word, now: int) -> None:
    """Follow word, owner, the word that the owner stalls on; back at the start is a ``KernelBug`` that prints the chain."""
    chain = [f"{ctx.name} stalls on {word.name}"]
    step: Word | None = word
    seen = set()
    while step is not None and step.owner is not None and step not in seen:
        seen.add(step)
        owner = step.owner
        if owner is ctx:
            chain.append(f"{step.name} is held by {step.holder()}")
            raise KernelBug(f"deadlock at {now} ns: " + "; ".join(chain))
        following = owner.stalled_on
        if following is not None:
            chain.append(f"{step.name} is held by {step.holder()}, which stalls on {following.name}")
        step = following

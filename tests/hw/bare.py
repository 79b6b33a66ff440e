"""One CPU without a kernel: programs, gates, and a log of what was entered where."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from asyncirq.hw.cpu import Cpu, Thread
from asyncirq.hw.exception import refused
from asyncirq.hw.execute import Program, execute
from asyncirq.hw.gate import INTERRUPT_GATE
from asyncirq.hw.idt import Gate, Idt
from asyncirq.hw.insn import Insn
from asyncirq.hw.pt_regs import KERNEL_CS, KERNEL_DS, USER_CS, USER_DS, X86_FLAGS_FIXED, X86_FLAGS_IF, PtRegs
from tests.hw.apics import World

Body = Callable[[Cpu, PtRegs], Awaitable[None]]
HANDLER = 0xFFFF_FFFF_8180_0000
"""Where the code of all handlers is."""
IF = X86_FLAGS_FIXED | X86_FLAGS_IF


class Bare:
    """A CPU whose gates are all empty; ``log`` takes (time, vector, saved IP) of each handler that ``gate`` made."""

    def __init__(self) -> None:
        self.world = World(1)
        self.engine = self.world.engine
        self.cpu = Cpu(self.engine, 0, self.world.lapics[0], Idt(), None)
        self.cpu.preempt_count = 1
        self.cpu.refused = refused
        self.thread = Thread(1)
        self.thread.cpu = self.cpu
        self.cpu.current = self.thread
        self.log: list[tuple[int, int, int]] = []

    def gate(
        self, vector: int, body: Body | None = None, *, kind: int = INTERRUPT_GATE, dpl: int = 0, ist: int = 0, present: bool = True
    ) -> None:
        """Set a gate to a handler that takes 10 ns and then runs ``body``; an interrupt's writes EOI."""

        async def handler(cpu: Cpu, number: int) -> None:
            frame = self.thread.frame
            assert frame is not None
            self.log.append((self.engine.now, number, frame.ip))
            await cpu.spend(10)
            if body is not None:
                await body(cpu, frame)
            if cpu.lapic.isr:
                cpu.lapic.eoi(cpu)

        self.cpu.idt.set_gate(vector, Gate(handler, f"gate {vector}", type=kind, dpl=dpl, ist=ist, present=present, offset=HANDLER))

    def run(self, insns: Iterable[Insn], flags: int = IF, *, user: bool = False, **values: int) -> PtRegs:
        """Execute a program from its first instruction to its end and return the registers."""
        program = Program(insns, base=0x1000)
        cs, ss = (USER_CS, USER_DS) if user else (KERNEL_CS, KERNEL_DS)
        regs = PtRegs(ip=program.base, cs=cs, ss=ss, flags=flags, **values)
        self.thread.sim = self.engine.spawn(execute(self.thread, program, regs), "program")
        self.world.settle()
        return regs

    def raise_at(self, when: int, vector: int) -> None:
        """Have the CPU's own APIC raise a vector at a time."""

        def fire() -> None:
            self.cpu.lapic.send_ipi(0, vector)

        self.engine.timer(fire, "raise").arm(when)

    @property
    def entered(self) -> list[tuple[int, int]]:
        """Return the log without times."""
        return [(vector, ip) for _, vector, ip in self.log]

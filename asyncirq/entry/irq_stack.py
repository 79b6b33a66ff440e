"""Switch to the interrupt stack and back, by the rule of each era, and find the way from one stack to the one before.

The switch has four steps: the old stack pointer goes into the highest word of the new stack, which is the link that unwinders
follow; the stack pointer is loaded; the function runs; the old pointer is popped.

| rule | when it switches |
| --- | --- |
| ``conditional`` | unless user mode was interrupted (the task's stack is empty then) or the stack is in use; the flag is set before the switch and cleared after the way back, both with interrupts off |
| ``counted`` | when the count of nested ones, from -1 on, reaches 0 |
| ``none`` | never: handlers use the stack of whom they interrupt |

Linux: arch/x86/include/asm/irq_stack.h, arch/x86/kernel/irq_32.c; before 5.8 the ENTER_IRQ_STACK macro of arch/x86/entry/entry_64.S.
"""  # noqa: E501  # a row of a table is one line

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asyncirq.entry.path import Path
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.stack import WORD, Stack

TI_TASK: Final = 0
TI_PREVIOUS: Final = 4
"""Where the thread_info at the bottom of a 32-bit interrupt stack holds the interrupted task, and its stack pointer."""


class IrqStack:
    """The switches of one machine's interrupt stacks; ``switches`` counts those that really changed the stack."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stacks = path.stacks
        self.rule = path.stacks.policy.irq
        self.switches = 0
        self.exiting = [False] * len(path.cpus)
        self.ksoftirqd = path.softirq.ksoftirqd

    # --- hard interrupts

    async def enter(self, cpu: Cpu, from_user: bool) -> None:
        """Change to the interrupt stack if the rule says so. Interrupts are off. Trace: entry_step."""
        mine = self.stacks.cpus[cpu.id]
        path = self.path
        switched = path.cpus[cpu.id].switched
        irq = mine.irq
        if irq is None or self.rule == "none":
            switched.append(None)
            return
        if self.rule == "counted":
            mine.count += 1
            if mine.count:
                switched.append(None)
                return
        elif from_user or mine.inuse:
            switched.append(None)
            return
        else:
            mine.inuse = True
            await path.step(cpu, "irq_stack_inuse")
        if mine.current is irq:
            raise KernelBug(f"the interrupt stack of {cpu.name} is entered again while it is in use, at {cpu.engine.now} ns")
        switched.append(self._switch(cpu, irq))
        await path.step(cpu, "irq_stack_switch")

    async def leave(self, cpu: Cpu) -> None:
        """Go back to the stack that the interrupt came from, if it changed. Trace: entry_step."""
        mine = self.stacks.cpus[cpu.id]
        path = self.path
        old = path.cpus[cpu.id].switched.pop()
        if self.rule == "counted" and mine.irq is not None:
            mine.count -= 1
        if old is None:
            return
        assert mine.irq is not None
        self._back(cpu, mine.irq, old)
        await path.step(cpu, "irq_stack_restore")
        if self.rule == "conditional":
            mine.inuse = False
            await path.step(cpu, "irq_stack_free")

    def call_on_stack(self, cpu: Cpu) -> None:
        """Change to the interrupt stack on 32 bits, unless it is in use already. Linux: execute_on_irq_stack(). Trace: entry_step."""
        mine = self.stacks.cpus[cpu.id]
        switched = self.path.cpus[cpu.id].switched
        if mine.irq is None or mine.current is mine.irq:
            switched.append(None)
            return
        switched.append(self._switch(cpu, mine.irq))
        self.path.mark(cpu, "call_on_stack")

    def return_from_stack(self, cpu: Cpu) -> None:
        """Go back on 32 bits. Trace: entry_step."""
        old = self.path.cpus[cpu.id].switched.pop()
        irq = self.stacks.cpus[cpu.id].irq
        if old is not None and irq is not None:
            self._back(cpu, irq, old)
            self.path.mark(cpu, "return_from_stack")

    def _switch(self, cpu: Cpu, to: Stack) -> Stack:
        """Change stacks: write the link, load the stack pointer. Returns the old stack."""
        mine = self.stacks.cpus[cpu.id]
        old = self.stacks.current(cpu)
        to.reset()
        if to.word == WORD:
            to.push(old.sp)
        else:
            to.poke(to.base + TI_TASK, cpu.current.pid)
            to.poke(to.base + TI_PREVIOUS, old.sp)
        mine.current = to
        self.switches += 1
        return old

    @staticmethod
    def link(stack: Stack) -> int:
        """Return the old stack pointer that an interrupt stack keeps: in its highest word, on 32 bits in its thread_info."""
        return stack.peek(stack.top - WORD if stack.word == WORD else stack.base + TI_PREVIOUS)

    def _back(self, cpu: Cpu, used: Stack, old: Stack) -> None:
        link = self.link(used)
        if link != old.sp:
            raise KernelBug(f"the link on the {used.name} stack of {cpu.name} is {link:#x}, not {old.sp:#x}, at {cpu.engine.now} ns")
        mine = self.stacks.cpus[cpu.id]
        mine.current = None if old is cpu.current.stack else old

    # --- softirqs

    def enter_softirq(self, cpu: Cpu) -> Stack | None:
        """Change to the stack of softirqs where the caller is not on a suitable one; return what ``leave_softirq`` takes.

        At an interrupt's exit they run where the interrupt ran; ksoftirqd runs them on its own stack; a task that enables bottom
        halves changes to the interrupt stack, or on 32 bits to one of their own.
        """
        mine = self.stacks.cpus[cpu.id]
        policy = self.stacks.policy
        if cpu.current is self.ksoftirqd[cpu.id] or self.rule == "none":
            return None
        if self.exiting[cpu.id] and policy.exit_on_irq and self.stacks.bits == 64:
            return None
        to = mine.softirq if mine.softirq is not None else mine.irq
        if to is None or mine.current is to or (to is mine.irq and mine.inuse):
            return None
        if to is mine.irq:
            mine.inuse = True
            mine.count += self.rule == "counted"
        old = self._switch(cpu, to)
        self.path.mark(cpu, "softirq_stack")
        return old

    def leave_softirq(self, cpu: Cpu, old: Stack | None) -> None:
        """Go back to the stack that softirqs were started from."""
        if old is None:
            return
        mine = self.stacks.cpus[cpu.id]
        used = mine.current
        assert used is not None
        self._back(cpu, used, old)
        if used is mine.irq:
            mine.inuse = False
            mine.count -= self.rule == "counted"
        self.path.mark(cpu, "softirq_stack_restore")

    # --- unwinding

    def unwind(self, cpu: Cpu) -> Iterator[tuple[str, int]]:
        """Yield name and stack pointer of each stack from the one in use down to the task's, by the links that lie on them."""
        stack: Stack | None = self.stacks.current(cpu)
        while stack is not None:
            yield stack.name, stack.sp
            if stack is cpu.current.stack:
                return
            if stack.name in ("IRQ", "SOFTIRQ"):
                link = self.link(stack)
            else:
                # Below the top lie SS and, under it, the interrupted stack pointer.
                link = stack.peek(stack.top - 2 * WORD)
            stack = self.stacks.find(cpu, link)

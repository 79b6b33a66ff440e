"""Deliver exceptions: from what an instruction raised to the handler that its gate leads to, and back by IRET.

The way of one event, in the order of the steps: the vector; its slot in the IDT, which the limit must reach; the segment that
the gate names; the privilege checks; the stack; the saved registers; the handler. Each step may itself raise an exception,
and then ``trapnr.combine`` says what becomes of the two.

| who raises it | gate's DPL | checked |
| --- | --- | --- |
| INT n, INT3, INTO | below CPL | #GP that names the gate |
| an exception, INT1, an interrupt | any | not at all |

``thread.frame`` holds the saved registers while the handler runs; what it writes there is what IRET loads.

Model: registers exist where somebody gives them. Code that is Python has an instruction pointer only if the caller names one.
"""

from __future__ import annotations

from typing import Final, NoReturn

import msgspec

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu, Thread
from asyncirq.hw.gate import INTERRUPT_GATE, TASK_GATE, TRAP_GATE
from asyncirq.hw.idt import Gate
from asyncirq.hw.pt_regs import (
    NO_SYSCALL,
    RPL_MASK,
    X86_FLAGS_FIXED,
    X86_FLAGS_IF,
    X86_FLAGS_NT,
    X86_FLAGS_RF,
    X86_FLAGS_TF,
    X86_FLAGS_VM,
    PtRegs,
)
from asyncirq.hw.system_regs import DR6_RESERVED, DR_STATUS, Raised
from asyncirq.hw.trapnr import (
    TRAPS,
    X86_TRAP_DB,
    X86_TRAP_DF,
    X86_TRAP_GP,
    X86_TRAP_NP,
    X86_TRAP_PF,
    X86_TRAP_SS,
    combine,
    group_of,
    idt_error,
    selector_error,
)

IRET_IP: Final = 0xFFFF_FFFF_8100_1AE7
"""The address of the kernel's one IRET instruction. Linux: native_irq_return_iret."""
CLEARED: Final = ~(X86_FLAGS_TF | X86_FLAGS_NT | X86_FLAGS_RF | X86_FLAGS_VM)
"""The flags that no handler starts with."""


def registers(thread: Thread, ip: int = 0, user: bool | None = None) -> PtRegs:
    """Return registers for code that has none of its own: the selectors of its mode, IF as it is, the given instruction pointer."""
    in_user = thread.user_mode if user is None else user
    flags = X86_FLAGS_FIXED | (0 if thread.cpu.irqs_off else X86_FLAGS_IF)
    gdt = thread.cpu.system.gdt
    if in_user:
        return PtRegs(ip=ip, cs=gdt.user_cs, ss=gdt.user_ds, flags=flags)
    return PtRegs(ip=ip, cs=gdt.kernel_cs, ss=gdt.kernel_ds, flags=flags)


async def raise_exception(thread: Thread, event: Raised, regs: PtRegs) -> None:
    """Raise what code with these registers raised, and return when it goes on; ``regs`` is then what IRET loaded.

    When the delivery raises another exception, which is served first, and whose handler returns to the same place, the first is raised
    again, as by the instruction's second attempt. Raises ``KernelBug`` for a triple fault, ``UsageError`` for no exception's vector.
    """
    if event.source == "exception" and event.vector not in TRAPS:
        raise UsageError(f"{event.vector} is no exception of the CPU's", 22)
    while True:
        ip = regs.ip
        if await deliver(thread, event, regs) is event or regs.ip + event.length != ip:
            return
        regs.ip = ip


async def deliver(thread: Thread, event: Raised, regs: PtRegs) -> Raised:
    """Deliver an event, or what arises instead of it; return what was delivered, after its handler's IRET."""
    cpu = thread.cpu
    cpu.engine.step()
    while True:
        found = _find(cpu, event, regs)
        if isinstance(found, Gate):
            saved = _saved(cpu, event, regs)
            problem = _push(thread, event, found, saved)
            if problem is None:
                break
            found = problem
        verdict = combine(group_of(event.vector, event.source != "exception"), group_of(found.vector))
        if verdict == "shutdown":
            shutdown(cpu, event, found)
        regs.ip -= event.length
        event = found if verdict == "serial" else Raised(X86_TRAP_DF, 0)
    await _handle(thread, event, found, saved, regs)
    return event


def shutdown(cpu: Cpu, event: Raised, problem: Raised) -> NoReturn:
    """Stop the machine: an exception arose while the double fault was delivered."""
    raise KernelBug(
        f"triple fault: {TRAPS[problem.vector].mnemonic} ({problem.error_code or 0:#x}) while {TRAPS[event.vector].mnemonic} was delivered "
        f"on {cpu.name} at {cpu.engine.now} ns: the processor shuts down"
    )


async def refused(cpu: Cpu, vector: int) -> None:
    """Raise what an interrupt becomes whose gate cannot be passed: the CPU took it, so it is gone."""
    thread = cpu.current
    await deliver(thread, Raised(vector, source="external"), registers(thread, user=thread.regs_user))


# --- the steps


def _find(cpu: Cpu, event: Raised, regs: PtRegs) -> Gate | Raised:
    """Return the gate of an event, or the exception that its checks raise, which are made in the CPU's order."""
    vector = event.vector
    steps = cpu.system.steps
    if steps is not None:
        steps += ["instruction boundary", f"vector {vector}", f"IDT slot {vector}"]
    idt = cpu.idt
    gate = idt.gates[vector] if idt.reaches(vector) else None
    external = event.external
    if gate is None or gate.type not in (INTERRUPT_GATE, TRAP_GATE, TASK_GATE):
        return Raised(X86_TRAP_GP, idt_error(vector, external))
    level = _level(regs)
    if event.source == "software" and gate.dpl < level:
        return Raised(X86_TRAP_GP, idt_error(vector, external))
    if not gate.present:
        return Raised(X86_TRAP_NP, idt_error(vector, external))
    if gate.type == TASK_GATE:
        return gate
    segment = cpu.system.gdt.find(gate.selector)
    if steps is not None:
        steps.append(f"segment {gate.selector:#x}")
    if segment is None or not segment.code or segment.dpl > level:
        return Raised(X86_TRAP_GP, selector_error(gate.selector, external))
    if not segment.present:
        return Raised(X86_TRAP_NP, selector_error(gate.selector, external))
    if steps is not None:
        steps.append(f"privilege {level} to {segment.dpl}")
    return gate


def _saved(cpu: Cpu, event: Raised, regs: PtRegs) -> PtRegs:
    """Return the registers as they are saved: with RF for a fault, so that a breakpoint on it does not fire again."""
    saved = msgspec.structs.replace(regs)
    saved.flags = regs.flags & ~X86_FLAGS_IF | (0 if cpu.irqs_off else X86_FLAGS_IF)
    trap = TRAPS.get(event.vector)
    if event.source == "exception" and trap is not None and trap.kind == "fault":
        saved.flags |= X86_FLAGS_RF
    saved.orig_ax = NO_SYSCALL if event.error_code is None else event.error_code
    return saved


def _push(thread: Thread, event: Raised, gate: Gate, saved: PtRegs) -> Raised | None:
    cpu = thread.cpu
    steps = cpu.system.steps
    from_user = saved.user_mode
    if steps is not None:
        wide = cpu.idt.bits == 64
        if from_user:
            steps.append("stack switch, SS:SP saved")
        elif gate.ist:
            steps.append(f"stack switch to IST {gate.ist}, SS:SP saved")
        elif wide:
            steps.append("SS:SP saved")
        steps += [f"return to {saved.ip:#x}", "push flags, CS, IP"]
        if event.error_code is not None:
            steps.append(f"push error code {event.error_code:#x}")
    push = cpu.system.push
    problem = None if push is None else push(thread, gate, saved.frame(event.error_code), from_user)
    if problem is None and steps is not None:
        steps.append(f"load {gate.name}")
    return problem


async def _handle(thread: Thread, event: Raised, gate: Gate, saved: PtRegs, regs: PtRegs) -> None:
    """Run the handler, then IRET: ``regs`` get what the saved registers hold then."""
    cpu = thread.cpu
    system = cpu.system
    if event.vector == X86_TRAP_PF:
        system.cr2 = event.address
    if event.vector == X86_TRAP_DB:
        system.dr[DR_STATUS] = DR6_RESERVED | event.dr6 | (0 if event.source == "software" else system.pending_debug)
        if event.source != "software":
            system.pending_debug = 0
    outer = (thread.own_irqs_off, thread.user_mode, thread.regs_user, thread.frame, cpu.cause)
    from_user = saved.user_mode
    thread.regs_user = from_user
    thread.user_mode = False
    thread.frame = saved
    if gate.type != TRAP_GATE:
        cpu.irqs_off = True
        thread.own_irqs_off = True
        if cpu.attention:
            cpu.recompute()
    regs.ip, regs.cs, regs.ss = gate.offset, gate.selector, system.gdt.kernel_ds
    regs.flags = saved.flags & CLEARED & ~(X86_FLAGS_IF if cpu.irqs_off else 0)
    if system.pending_debug:
        # Held back by MOV SS over a software interrupt: taken before the first instruction of that one's handler.
        await deliver(thread, Raised(X86_TRAP_DB), msgspec.structs.replace(regs))
    await gate.handler(cpu, event.vector)
    if from_user and thread.work:
        await thread.exit_to_user()
    await _iret(thread, saved)
    thread.own_irqs_off, thread.user_mode, thread.regs_user, thread.frame, cause = outer
    thread.cpu.cause = cause
    thread.cpu.iret(saved.irqs_off)
    for name in saved.__struct_fields__:
        setattr(regs, name, getattr(saved, name))


async def _iret(thread: Thread, frame: PtRegs) -> None:
    """Check what IRET loads; where it faults, deliver that, and try again with what its handler made of the frame."""
    while True:
        problem = _bad_frame(thread.cpu, frame)
        if problem is None:
            return
        thread.cpu.system.iret_frame = frame
        await deliver(thread, problem, registers(thread, IRET_IP, user=False))


def _bad_frame(cpu: Cpu, frame: PtRegs) -> Raised | None:
    if frame.flags & X86_FLAGS_VM:
        return None
    code = cpu.system.gdt.find(frame.cs)
    if code is None or not code.code or code.dpl != frame.cs & RPL_MASK:
        return Raised(X86_TRAP_GP, selector_error(frame.cs, False))
    if not code.present:
        return Raised(X86_TRAP_NP, selector_error(frame.cs, False))
    if frame.user_mode:
        stack = cpu.system.gdt.find(frame.ss)
        if stack is None or stack.code or stack.dpl != frame.ss & RPL_MASK:
            return Raised(X86_TRAP_GP, selector_error(frame.ss, False))
        if not stack.present:
            return Raised(X86_TRAP_SS, selector_error(frame.ss, False))
    return None


def _level(regs: PtRegs) -> int:
    return 3 if regs.user_mode else regs.cs & RPL_MASK

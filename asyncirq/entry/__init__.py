"""Lead the CPU into the kernel and out of it: the spine of the project.

| file | what |
| --- | --- |
| ``common.py``, ``brackets.py`` | the entry points of a machine: device vectors, system vectors; what is round each of them |
| ``platform_vectors.py``, ``vectors.py`` | system vectors of the platform; the names of all 256 |
| ``idt_setup.py``, ``kinds.py`` | how a booting kernel fills its gates; the kinds of entry points |
| ``traps.py``, ``special_traps.py``, ``fault.py`` | the exceptions |
| ``die.py`` | the notifier chain, the exception table, oopses and panics |
| ``exit_work.py``, ``signal.py`` | the way back to user mode; signals on it |
| ``nmi.py`` | whose an NMI is |
| ``detailed.py`` | the same entry points, showing every step of what follows |
| ``path.py``, ``irqflags.py`` | single steps, GS, context tracking; marks of interrupts off |
| ``stacks.py``, ``irq_stack.py``, ``arm64_stacks.py`` | all stacks of a machine; changing to the interrupt stack |
| ``idtentry.py``, ``do_irq_entry.py``, ``nmi_entry.py`` | the way in and out since 5.8, and before; that of NMIs |
| ``levels.py`` | the same where interrupts nest by level, as in a classic UNIX |
| ``arm64.py`` | the vector table of arm64, with the root handlers of its interrupt controller |
"""

from __future__ import annotations

from asyncirq.entry.common import (
    CALL_FUNCTION_SINGLE_VECTOR,
    CALL_FUNCTION_VECTOR,
    ERROR_APIC_VECTOR,
    FIRST_EXTERNAL_VECTOR,
    FIRST_SYSTEM_VECTOR,
    IRQ_WORK_VECTOR,
    LOCAL_TIMER_VECTOR,
    NMI_VECTOR,
    RESCHEDULE_VECTOR,
    SPURIOUS_APIC_VECTOR,
    Entry,
    Entry32,
    Hook,
)

__all__ = [
    "CALL_FUNCTION_SINGLE_VECTOR",
    "CALL_FUNCTION_VECTOR",
    "ERROR_APIC_VECTOR",
    "FIRST_EXTERNAL_VECTOR",
    "FIRST_SYSTEM_VECTOR",
    "IRQ_WORK_VECTOR",
    "LOCAL_TIMER_VECTOR",
    "NMI_VECTOR",
    "RESCHEDULE_VECTOR",
    "SPURIOUS_APIC_VECTOR",
    "Entry",
    "Entry32",
    "Hook",
]

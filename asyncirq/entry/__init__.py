"""Lead the CPU into the kernel and out of it: the spine of the project.

| file | what |
| --- | --- |
| ``common.py`` | the entry points of a machine: device vectors, system vectors, the brackets round them |
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

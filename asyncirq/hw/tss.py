"""Model what the CPU knows of stacks: the task state segment, and which stack it takes when it passes a gate.

| the gate's IST field | where it came from | stack |
| --- | --- | --- |
| 1 to 7 | anywhere | that of the interrupt stack table, always from its top |
| 0 | user mode | the one whose top is in ``sp0`` |
| 0 | kernel mode | the one that is in use |

The IST field counts from 1, since 0 means none; Linux's indices count from 0, so the field is the index + 1.
"""

from __future__ import annotations

from typing import Final

from asyncirq.errors import UsageError
from asyncirq.hw.gate import IST_COUNT, ist_field
from asyncirq.hw.stack import Stack

IST_INDEX_DF: Final = 0
IST_INDEX_NMI: Final = 1
IST_INDEX_DB: Final = 2
IST_INDEX_MCE: Final = 3
IST_INDEX_VC: Final = 4
IST_NAMES: Final = ("#DF", "NMI", "#DB", "#MC", "#VC")
"""The stacks of the table by index, as Linux's oops names them; it has room for ``gate.IST_COUNT``."""


class Tss:
    """The task state segment of one CPU, as far as stacks go: ``sp0`` and the table of seven.

    Linux: arch/x86/include/asm/processor.h struct x86_hw_tss.
    """

    __slots__ = ("_ist", "_shift", "sp0")

    def __init__(self) -> None:
        self.sp0: Stack | None = None
        self._ist: list[Stack | None] = [None] * IST_COUNT
        self._shift = [0] * IST_COUNT

    def shift(self, index: int, size: int) -> None:
        """Move an entry of the table down by ``size`` bytes, up if that is negative: the next use of it begins there."""
        ist_field(index)
        self._shift[index] += size

    def set_ist(self, index: int, stack: Stack | None) -> None:
        """Enter a stack into the table. Raises ``UsageError`` for an index that it does not have."""
        ist_field(index)
        self._ist[index] = stack

    def ist(self, index: int) -> Stack | None:
        """Return the stack of an index, None where there is none."""
        return self._ist[index]

    def select(self, ist: int, from_user: bool, current: Stack) -> Stack:
        """Return the stack that the CPU takes for a gate with this IST field; its stack pointer is where the first push goes.

        Raises ``UsageError`` for an entry of the table that nothing was put into.
        """
        if ist:
            stack = self._ist[ist - 1]
        elif from_user:
            stack = self.sp0
        else:
            return current
        if stack is None:
            raise UsageError(f"the TSS has no stack for {f'IST {ist}' if ist else 'the kernel'}")
        stack.reset()
        if ist and self._shift[ist - 1]:
            stack.move(stack.top - self._shift[ist - 1])
        return stack

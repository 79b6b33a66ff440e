"""Run softirqs on a stack of their own, on a machine that accounts for stacks.

Linux: do_softirq_own_stack(). Nothing of it is on the way of an ordinary machine: the function is exchanged at set-up.
"""

from __future__ import annotations

from typing import Any, Protocol

from asyncirq.bottom_half.softirq import Softirq
from asyncirq.hw.cpu import Cpu


class SoftirqStack(Protocol):
    """Change to the stack of softirqs and back."""

    def enter_softirq(self, cpu: Cpu) -> Any:
        """Change to the stack that softirqs run on; return what the way back needs."""

    def leave_softirq(self, cpu: Cpu, old: Any) -> None:
        """Go back."""


def run_on(softirq: Softirq, stacks: SoftirqStack) -> None:
    """Have every round of softirqs run between a change of stacks and the way back."""
    handle = softirq._handle

    async def on_stack(cpu: Cpu, lead_ns: int) -> None:
        old = stacks.enter_softirq(cpu)
        await handle(cpu, lead_ns)
        stacks.leave_softirq(cpu, old)

    softirq._handle = on_stack  # type: ignore[method-assign]  # at set-up, so that other machines pay nothing

"""Define the base of every hardware half: a name, one interrupt output, a window of registers.

The output is a wire to an IO-APIC pin, held or pulsed, or a message. Hardware halves are plain functions that take
effect at once, and tasks that know no CPU.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from asyncirq.bottom_half.napi import NapiCore
from asyncirq.bottom_half.sleep import Sleep
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.bottom_half.tasklet import Tasklets
from asyncirq.bottom_half.workqueue import Workqueues
from asyncirq.costs import Costs
from asyncirq.drivers.dma import DmaMemory
from asyncirq.drivers.register import RegisterWindow
from asyncirq.errors import UsageError
from asyncirq.hw.line import Line
from asyncirq.irq.manage import IrqCore
from asyncirq.sched.core import Sched
from asyncirq.sim import Context, Engine

if TYPE_CHECKING:
    from asyncirq.drivers.driver import Driver
    from asyncirq.trace.recorder import Recorder


class Message(Protocol):
    """A message-signalled interrupt as a device has it: ``send`` raises it, ``irq`` is what its driver requests."""

    irq: int

    def send(self, cause: int = 0) -> None:
        """Write the message onto the bus."""
        ...


class Platform(Protocol):
    """What a device and its driver need of a machine; ``asyncirq.Machine`` is one."""

    engine: Engine
    trace: Recorder | None
    costs: Costs
    sched: Sched
    softirq: Softirq
    tasklets: Tasklets
    workqueues: Workqueues
    napi: NapiCore
    sleep: Sleep
    irq: IrqCore

    def line(self, gsi: int, *, level: bool = True, active_low: bool = False) -> tuple[Line, int]:
        """Return the wire to an IO-APIC pin and the irq that it raises."""
        ...

    def msi(self, name: str) -> Message:
        """Return a new message-signalled interrupt."""
        ...

    def spawn(self, coro: Coroutine[Any, Any, None], name: str) -> Context:
        """Start a device's task."""
        ...


class Device:
    """The hardware half of one device.

    ``gsi`` is the IO-APIC pin that its wire ends at, None for a message instead. ``edge`` makes it pulse the wire rather
    than hold it. ``driver`` is whoever is bound to it. ``regs`` are its registers, ``dma`` is the memory that it may read
    and write by itself.

    Trace: ``device_raise`` when it decides to interrupt.
    """

    def __init__(self, name: str, gsi: int | None = None, *, edge: bool = False) -> None:
        if not name:
            raise UsageError("a device needs a name")
        self.name = name
        self.gsi = gsi
        self.edge = edge
        self.asserted = False
        self.raises = 0
        self.driver: Driver[Any] | None = None
        self.dma = DmaMemory(name)
        self.regs = RegisterWindow(name)
        self._platform: Platform | None = None
        self._line: Line | None = None
        self._message: Message | None = None
        self._input = 0
        self._irq = 0

    # --- wiring

    def connect(self, m: Platform) -> None:
        """Put the device into a machine. Raises ``UsageError`` for a pin that is not there, and when it is in a machine already."""
        if self._platform is not None:
            raise UsageError(f"{self.name} is connected already", 16)
        if self.gsi is None:
            self._message = m.msi(self.name)
            self._irq = self._message.irq
        else:
            self._line, self._irq = m.line(self.gsi, level=not self.edge)
            self._input = self._line.add_driver()
        self._platform = m
        self.regs.set_costs(m.costs.device_read_ns, m.costs.device_write_ns)

    @property
    def connected(self) -> bool:
        """Tell whether the device is in a machine."""
        return self._platform is not None

    @property
    def platform(self) -> Platform:
        """Return the machine that the device is in. Raises ``UsageError`` before ``connect``."""
        if self._platform is None:
            raise UsageError(f"{self.name} is in no machine: connect it first")
        return self._platform

    @property
    def irq(self) -> int:
        """Return the irq number that its driver requests. Raises ``UsageError`` before ``connect``."""
        assert self.platform is not None
        return self._irq

    @property
    def holds_line(self) -> bool:
        """Tell whether the interrupt is a level that stays until it was served."""
        return self.gsi is not None and not self.edge

    # --- the interrupt output

    def drive(self, wanted: bool, source: str, cause: int = 0) -> None:
        """Make the interrupt output what the device's state asks for; only a change does anything.

        ``source`` names the reason in the trace. Trace: device_raise, then line_level or msi_write.
        """
        if wanted == self.asserted:
            return
        self.asserted = wanted
        line = self._line
        if not wanted:
            if line is not None and not self.edge:
                line.set(line.idle, cause, self._input)
            return
        self.raises += 1
        trace = self.platform.trace
        if trace is not None:
            cause = trace.device_raise(cause, self.name, source)
        if line is None:
            assert self._message is not None
            self._message.send(cause)
        elif self.edge:
            line.pulse(cause, self._input)
        else:
            line.set(not line.idle, cause, self._input)

    def signal(self, source: str, cause: int = 0) -> None:
        """Interrupt once: a pulse or a message whatever came before, a held wire if it is not held already."""
        if not self.holds_line:
            self.asserted = False
        self.drive(True, source, cause)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

"""Define what every board offers: CPUs, wires, a clock event for each CPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from asyncirq.costs import Costs
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.line import Line
from asyncirq.hw.msi import MsiMessage
from asyncirq.sim import Engine
from asyncirq.trace.recorder import Recorder


class Board(ABC):
    """The chips of one machine; ``cpus`` are its CPUs, ``lines[gsi]`` the wires that devices have asked for.

    ``controller`` is the name by which a machine asks for the board, which has at most ``max_cpus`` CPUs of the architecture ``arch``.
    """

    controller: ClassVar[str]
    arch: ClassVar[str] = "x86"
    max_cpus: ClassVar[int] = 1024
    cpus: list[Cpu]

    @abstractmethod
    def __init__(self, engine: Engine, cpus: int, costs: Costs, trace: Recorder | None) -> None:
        self.engine = engine
        self.costs = costs
        self.trace = trace
        self.lines: dict[int, Line] = {}

    @abstractmethod
    def program_timer(self, cpu: Cpu, when_ns: int | None) -> None:
        """Have the event timer of a CPU fire once at ``when_ns``, at once if that is past; None stops it."""

    @abstractmethod
    def line(self, gsi: int, active_low: bool = False) -> Line:
        """Return the wire of a global interrupt number, made at the first call. Raises ``UsageError`` for one that is not there."""

    def send_msi(self, message: MsiMessage, cause: int = 0) -> int:
        """Write a device's message onto the bus; return how many CPUs it reached. Raises ``UsageError`` where nothing listens."""
        raise UsageError(f"controller {self.controller} takes no messages ({message!r})", 19)


class Msi(ABC):
    """One message-signalled interrupt of a device: ``irq`` for the driver's request, ``send()`` for the device.

    The device has a mask bit; a message sent while it is masked, or before anybody asked for the interrupt, is kept
    (once) and leaves when the bit is cleared.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.irq = 0
        self.can_mask = True
        self.masked = False
        self.pending = False

    def mask_msi(self, masked: bool) -> None:
        """Set or clear the mask bit; what was kept leaves."""
        self.masked = masked
        if not masked and self.pending:
            self.pending = False
            self.send()

    @abstractmethod
    def write_msi(self, message: MsiMessage) -> None:
        """Take over address and data, as the kernel writes them."""

    @abstractmethod
    def send(self, cause: int = 0) -> None:
        """Raise the interrupt."""


class BusMsi(Msi):
    """A message on a bus: ``send_message(message, cause)`` writes it there, to local APICs or to a board's frame."""

    def __init__(self, name: str, send_message: Callable[[MsiMessage, int], int]) -> None:
        super().__init__(name)
        self._send = send_message
        self._message: MsiMessage | None = None

    def write_msi(self, message: MsiMessage) -> None:
        """Take over address and data, as the kernel writes them."""
        self._message = message if message.address else None

    def send(self, cause: int = 0) -> None:
        """Raise the interrupt. Trace: msi_write."""
        message = self._message
        if self.masked or message is None:
            self.pending = True
            return
        self._send(message, cause)

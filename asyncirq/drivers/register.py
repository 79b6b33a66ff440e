"""Hold a device's registers: named, by offset, with the functions that a read and a write set off.

A read makes the CPU wait for the answer and happens at the end of that wait; a write is posted, it reaches the device
after a short time, before the CPU does anything else with it.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task

Accessor = Cpu | Task | None
"""Who accesses: a context that cannot migrate, a task that may, or boot (None), where no time passes."""
ReadFn = Callable[[], int]
WriteFn = Callable[[int, int], None]
"""``write(value, cause)``: ``cause`` is that of the CPU which writes."""


class RegisterWindow:
    """The registers of one device.

    ``define(offset, name, read, write)`` adds one; without ``read`` it is write-only, without ``write`` read-only.
    ``await read(cpu, offset)`` and ``await write(cpu, offset, value)`` are a driver's accesses and take the costs
    ``device_read_ns`` and ``device_write_ns``, or what ``set_costs`` says; ``peek`` and ``poke`` take no time.
    Every wrong access is a ``UsageError`` that names device and register.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.read_ns = 0
        self.write_ns = 0
        self._names: dict[int, str] = {}
        self._reads: dict[int, ReadFn] = {}
        self._writes: dict[int, WriteFn] = {}

    def set_costs(self, read_ns: int, write_ns: int) -> None:
        """Set what an access takes. Raises ``UsageError`` below 0."""
        if read_ns < 0 or write_ns < 0:
            raise UsageError(f"{self.device}: a register access cannot take {min(read_ns, write_ns)} ns")
        self.read_ns = read_ns
        self.write_ns = write_ns

    def define(self, offset: int, name: str, read: ReadFn | None = None, write: WriteFn | None = None) -> None:
        """Add a register. Raises ``UsageError`` if the offset is taken or the register could not be accessed at all."""
        if offset in self._names:
            raise UsageError(f"{self.device}: register {name} would be at {offset:#x}, which is {self._names[offset]}")
        if read is None and write is None:
            raise UsageError(f"{self.device}: register {name} can be neither read nor written")
        self._names[offset] = name
        if read is not None:
            self._reads[offset] = read
        if write is not None:
            self._writes[offset] = write

    def names(self) -> dict[int, str]:
        """Return the names of the registers by offset."""
        return {offset: self._names[offset] for offset in sorted(self._names)}

    # --- a driver's accesses

    async def read(self, who: Accessor, offset: int) -> int:
        """Read a register: the CPU waits, then the device answers."""
        read = self._reads.get(offset)
        if read is None:
            raise self._refusal(offset, "cannot be read")
        if who is not None and self.read_ns:
            await who.spend(self.read_ns)
        return read()

    async def write(self, who: Accessor, offset: int, value: int) -> None:
        """Write a register; what the device does because of it is caused by what the CPU executes."""
        write = self._writes.get(offset)
        if write is None:
            raise self._refusal(offset, "cannot be written")
        if who is None:
            write(value, 0)
            return
        if self.write_ns:
            await who.spend(self.write_ns)
        write(value, who.cpu.cause if isinstance(who, Task) else who.cause)

    # --- accesses without time

    def peek(self, offset: int) -> int:
        """Read a register at once, with every effect that reading has."""
        read = self._reads.get(offset)
        if read is None:
            raise self._refusal(offset, "cannot be read")
        return read()

    def poke(self, offset: int, value: int, cause: int = 0) -> None:
        """Write a register at once."""
        write = self._writes.get(offset)
        if write is None:
            raise self._refusal(offset, "cannot be written")
        write(value, cause)

    def _refusal(self, offset: int, why: str) -> UsageError:
        name = self._names.get(offset)
        if name is None:
            return UsageError(f"{self.device}: there is no register at {offset:#x}")
        return UsageError(f"{self.device}: register {name} {why}")

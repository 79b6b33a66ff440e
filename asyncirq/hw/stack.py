"""Model a stack: a stretch of memory that is pushed onto from its top, with what lies where to the byte.

Addresses and words are those of the machine: a push writes below the stack pointer, a pop reads above it and leaves the memory as
it is, so that whatever was overwritten stays overwritten. Depth is accounted in bytes, and the deepest point is kept.

What happens at the lower end is the owner's: a guard page makes the write that leaves the stack a fault, without one it goes
through and destroys what lies at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncirq.errors import KernelBug, UsageError

WORD: Final = 8
STACK_END_MAGIC: Final = 0x57AC_6E9D
"""What lies in the last word of a task's stack. Linux: include/uapi/linux/magic.h."""
ALIGN: Final = 16
"""How a 64-bit CPU aligns the stack pointer before it pushes a frame."""


class Stack:
    """One stack: ``name`` in Linux's words, ``base`` its lowest address, ``sp`` where it is pushed onto next.

    ``end`` is the lowest address that may be used: above ``base`` where something lies at the end. ``low`` is the lowest ``sp``
    that ever was. ``guard`` says that a write below ``base`` faults, which calls ``on_guard(stack, address)``; without a guard page it
    goes through and is counted in ``escaped`` bytes, lost to whatever lies there. ``read_only`` memory takes no write at all. ``word``
    is the bytes of a word.
    """

    __slots__ = ("_memory", "base", "end", "escaped", "guard", "low", "name", "on_guard", "read_only", "size", "sp", "top", "word")

    def __init__(self, name: str, base: int, size: int, *, guard: bool = True, reserved: int = 0, word: int = WORD) -> None:
        if size <= 0 or base % ALIGN or size % ALIGN:
            raise UsageError(f"stack {name}: {size} bytes at {base:#x} are no stack: both are multiples of {ALIGN}")
        self.name = name
        self.base = base
        self.size = size
        self.end = base + reserved
        self.top = base + size
        self.sp = self.low = self.top
        self.guard = guard
        self.escaped = 0
        self.read_only = False
        self.word = word
        self.on_guard: Callable[[Stack, int], None] | None = None
        self._memory = bytearray(size)

    def __contains__(self, address: int) -> bool:
        return self.base <= address < self.top

    def __repr__(self) -> str:
        return f"<Stack {self.name} {self.base:x}..{self.top:x}>"

    @property
    def depth(self) -> int:
        """Return the bytes in use."""
        return self.top - self.sp

    @property
    def deepest(self) -> int:
        """Return the most bytes that were ever in use."""
        return self.top - self.low

    # --- the stack pointer

    def reset(self) -> None:
        """Start over at the top, as the CPU does at each use of an IST stack."""
        self.sp = self.top

    def move(self, sp: int) -> None:
        """Set the stack pointer: room is taken or given back, nothing is written."""
        self.sp = sp
        if sp < self.low:
            self.low = sp

    def align(self) -> None:
        """Align the stack pointer, as a 64-bit CPU does before it pushes a frame."""
        self.move(self.sp & -ALIGN)

    # --- memory

    def push(self, value: int) -> int:
        """Push one word and return its address; negative values are in two's complement."""
        word = self.word
        return self.push_bytes((value & (1 << 8 * word) - 1).to_bytes(word, "little"))

    def push_bytes(self, data: bytes) -> int:
        """Push bytes, their first one lowest, and return its address."""
        sp = self.sp - len(data)
        self.write(sp, data)
        self.move(sp)
        return sp

    def pop(self) -> int:
        """Take the lowest word off."""
        value = self.peek(self.sp)
        self.sp += self.word
        return value

    def peek(self, address: int) -> int:
        """Return the word at an address."""
        return int.from_bytes(self.read(address, self.word), "little")

    def poke(self, address: int, value: int) -> None:
        """Write the word at an address."""
        word = self.word
        self.write(address, (value & (1 << 8 * word) - 1).to_bytes(word, "little"))

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the stack. Raises ``UsageError`` outside of it."""
        start = address - self.base
        if start < 0 or start + size > self.size:
            raise UsageError(f"stack {self.name}: {size} bytes at {address:#x} are not on {self.base:#x}..{self.top - 1:#x}")
        return bytes(self._memory[start : start + size])

    def write(self, address: int, data: bytes) -> None:
        """Write bytes. Below the stack it faults or goes astray; raises ``UsageError`` above it, ``KernelBug`` where it is read-only."""
        if self.read_only:
            raise KernelBug(f"BUG: unable to handle page fault for address: {address:x}: the {self.name} stack is read-only")
        start = address - self.base
        if start + len(data) > self.size:
            raise UsageError(f"stack {self.name}: {len(data)} bytes at {address:#x} are beyond its top {self.top:#x}")
        if start < 0:
            if self.guard and self.on_guard is not None:
                self.on_guard(self, address)
            lost = min(-start, len(data))
            self.escaped += lost
            data = data[lost:]
            start = 0
        self._memory[start : start + len(data)] = data

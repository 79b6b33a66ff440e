"""Write the vector number as each kernel's entry stubs push it, and read it back: the hardware leaves it in no register.

| code | pushed | range | read back |
| --- | --- | --- | --- |
| ``minus256`` (2.6, 32 bits) | vector - 256 | -224..-1 | the lower 8 bits |
| ``complement`` (4.x) | ~vector + 0x80, then -0x80 is added | -256..-33 | inverted |
| ``byte`` (since 5.8) | the byte itself, which the CPU extends by its sign | -128..127 | cut to 8 bits |

It lies where the CPU puts the error code of an exception. The later two fit a signed byte, so that every push has two bytes;
2.6's needs five for a vector below 128.

Linux: arch/i386/kernel/entry.S, arch/x86/entry/entry_64.S, arch/x86/include/asm/idtentry.h.
"""

from __future__ import annotations

from typing import Final, Literal

from asyncirq.errors import UsageError

VectorCode = Literal["minus256", "complement", "byte"]
FIRST: Final = 32


def pushed(code: VectorCode, vector: int) -> int:
    """Return the immediate operand of a stub's push. Raises ``UsageError`` for what is no external vector."""
    if not FIRST <= vector < 256:
        raise UsageError(f"vector {vector} has no stub of its own (32..255)")
    if code == "minus256":
        return vector - 256
    if code == "complement":
        return ~vector + 0x80
    return vector - 256 if vector >= 0x80 else vector


def slot(code: VectorCode, vector: int) -> int:
    """Return what the error-code slot holds when the handler begins."""
    return pushed(code, vector) - (0x80 if code == "complement" else 0)


def decode(code: VectorCode, value: int) -> int:
    """Return the vector of what the slot holds."""
    return ~value if code == "complement" else value & 0xFF

"""Lay out what an entry into the kernel leaves on the stack: the frame that the CPU pushes, and ``pt_regs`` above it.

The CPU pushes, from high to low addresses, SS, RSP, RFLAGS, CS, RIP, and for some exceptions an error code. The entry code
completes that to ``pt_regs``: 21 words on 64 bits (``orig_ax`` is where the error code lies), 17 on 32 bits, where the CPU
pushes SS and ESP only when it comes from another privilege level.

Linux: arch/x86/include/asm/ptrace.h, arch/x86/include/asm/segment.h, arch/x86/include/uapi/asm/processor-flags.h. Model:
the register contents that no one reads are zero.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal

import msgspec

from asyncirq.errors import UsageError

X86_FLAGS_FIXED: Final = 1 << 1
X86_FLAGS_CF: Final = 1 << 0
X86_FLAGS_TF: Final = 1 << 8
X86_FLAGS_IF: Final = 1 << 9
X86_FLAGS_DF: Final = 1 << 10
X86_FLAGS_OF: Final = 1 << 11
X86_FLAGS_NT: Final = 1 << 14
X86_FLAGS_RF: Final = 1 << 16
X86_FLAGS_VM: Final = 1 << 17
X86_FLAGS_AC: Final = 1 << 18

KERNEL_CS: Final = 0x10
KERNEL_DS: Final = 0x18
USER32_CS: Final = 0x23
USER_DS: Final = 0x2B
USER_CS: Final = 0x33
KERNEL32_CS: Final = 0x60
KERNEL32_DS: Final = 0x68
USER_CS_32BIT: Final = 0x73
USER_DS_32BIT: Final = 0x7B
RPL_MASK: Final = 3
USER_RPL: Final = 3

NO_SYSCALL: Final = -1
"""What ``orig_ax`` holds when there is no system call to restart."""

Bits = Literal[32, 64]

WORDS_64: Final = (
    "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di",
    "orig_ax", "ip", "cs", "flags", "sp", "ss",
)  # fmt: skip
WORDS_32: Final = ("bx", "cx", "dx", "si", "di", "bp", "ax", "ds", "es", "fs", "gs", "orig_ax", "ip", "cs", "flags", "sp", "ss")
FRAME_WORDS: Final = ("ip", "cs", "flags", "sp", "ss")
"""What the CPU pushes on 64 bits whatever the privilege levels, from low to high addresses; an error code lies below."""

OFFSETS_64: Final = MappingProxyType({name: 8 * index for index, name in enumerate(WORDS_64)})
OFFSETS_32: Final = MappingProxyType({name: 4 * index for index, name in enumerate(WORDS_32)})
SIZE_64: Final = 8 * len(WORDS_64)
SIZE_32: Final = 4 * len(WORDS_32)
FRAME_SIZE: Final = 8 * len(FRAME_WORDS)


class PtRegs(msgspec.Struct, eq=True):
    """The registers of the interrupted context, by Linux's names.

    ``orig_ax`` holds the system call's number, the error code or the vector by the kind of entry, as a signed number; every other
    word is unsigned.
    """

    r15: int = 0
    r14: int = 0
    r13: int = 0
    r12: int = 0
    bp: int = 0
    bx: int = 0
    r11: int = 0
    r10: int = 0
    r9: int = 0
    r8: int = 0
    ax: int = 0
    cx: int = 0
    dx: int = 0
    si: int = 0
    di: int = 0
    orig_ax: int = NO_SYSCALL
    ip: int = 0
    cs: int = KERNEL_CS
    flags: int = X86_FLAGS_FIXED
    sp: int = 0
    ss: int = KERNEL_DS
    ds: int = 0
    es: int = 0
    fs: int = 0
    gs: int = 0

    @property
    def user_mode(self) -> bool:
        """Tell whether the interrupted context was user mode: the saved CS says so, or virtual-8086 mode does."""
        return self.cs & RPL_MASK == USER_RPL or bool(self.flags & X86_FLAGS_VM)

    @property
    def irqs_off(self) -> bool:
        """Tell whether interrupts were off in the interrupted context."""
        return not self.flags & X86_FLAGS_IF

    def encode(self, bits: Bits = 64) -> bytes:
        """Return the structure as it lies in memory, 168 bytes, or 68 with ``bits=32``.

        Raises ``UsageError``, naming the register, for a value that does not fit.
        """
        width = bits >> 3
        return b"".join(encode_word(name, getattr(self, name), width) for name in (WORDS_64 if bits == 64 else WORDS_32))

    @classmethod
    def decode(cls, data: bytes, bits: Bits = 64) -> PtRegs:
        """Take the structure in memory apart. Raises ``UsageError`` unless its size is right."""
        names = WORDS_64 if bits == 64 else WORDS_32
        return cls(**decode_words("pt_regs", names, data, bits >> 3))

    def frame(self, error_code: int | None = None) -> HardwareFrame:
        """Return what the CPU pushed of these registers."""
        return HardwareFrame(self.ip, self.cs, self.flags, self.sp, self.ss, error_code)


class HardwareFrame(msgspec.Struct, frozen=True):
    """What a 64-bit CPU pushes when it passes a gate, and what IRET pops; ``error_code`` is None where it pushes none."""

    ip: int
    cs: int
    flags: int
    sp: int
    ss: int
    error_code: int | None = None

    @property
    def size(self) -> int:
        """Return the bytes that the frame takes on the stack."""
        return FRAME_SIZE + (0 if self.error_code is None else 8)

    def address(self, top: int) -> int:
        """Return where the frame begins, its lowest address, when it is pushed with ``top`` as stack pointer: aligned to 16 bytes first."""
        return (top & ~0xF) - self.size

    def encode(self) -> bytes:
        """Return the frame as it lies in memory, from its lowest address on: 40 bytes, or 48 with an error code."""
        words = [] if self.error_code is None else [encode_word("error_code", self.error_code, 8)]
        return b"".join(words + [encode_word(name, getattr(self, name), 8) for name in FRAME_WORDS])

    @classmethod
    def decode(cls, data: bytes) -> HardwareFrame:
        """Take a frame in memory apart; 48 bytes are one with an error code. Raises ``UsageError`` for any other size than 40 or 48."""
        error_code = None
        if len(data) == FRAME_SIZE + 8:
            error_code = int.from_bytes(data[:8], "little")
            data = data[8:]
        return cls(**decode_words("frame", FRAME_WORDS, data, 8), error_code=error_code)

    def regs(self) -> PtRegs:
        """Return the ``pt_regs`` that the entry code completes the frame to: where the CPU pushed no error code, it pushes -1."""
        code = NO_SYSCALL if self.error_code is None else self.error_code
        return PtRegs(orig_ax=code, ip=self.ip, cs=self.cs, flags=self.flags, sp=self.sp, ss=self.ss)


def encode_word(name: str, value: int, width: int) -> bytes:
    """Return a register as ``width`` bytes; ``orig_ax`` may be negative. Raises ``UsageError`` if it does not fit."""
    signed = name == "orig_ax"
    low, high = (-(1 << 8 * width - 1), 1 << 8 * width - 1) if signed else (0, 1 << 8 * width)
    if not low <= value < high:
        raise UsageError(f"{name}: {value:#x} does not fit into {8 * width} bits")
    return value.to_bytes(width, "little", signed=signed)


def decode_words(what: str, names: tuple[str, ...], data: bytes, width: int) -> dict[str, int]:
    """Return name to value of the words in memory; ``orig_ax`` is signed. Raises ``UsageError`` unless the size is right."""
    if len(data) != width * len(names):
        raise UsageError(f"{what}: {len(data)} bytes, not {width * len(names)}")
    parts = [data[start : start + width] for start in range(0, len(data), width)]
    return {name: int.from_bytes(part, "little", signed=name == "orig_ax") for name, part in zip(names, parts, strict=True)}


def frame_words_32(from_user: bool, error_code: bool) -> tuple[str, ...]:
    """Return what a 32-bit CPU pushes, from low to high addresses: SS and ESP only when the privilege level changes."""
    words = ("ip", "cs", "flags") + (("sp", "ss") if from_user else ())
    return (("error_code", *words)) if error_code else words

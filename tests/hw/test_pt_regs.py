"""Hold the layouts of ``pt_regs`` and of the hardware frame to the bit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncirq.errors import UsageError
from asyncirq.hw.pt_regs import (
    FRAME_WORDS,
    KERNEL_CS,
    OFFSETS_32,
    OFFSETS_64,
    SIZE_32,
    SIZE_64,
    USER32_CS,
    USER_CS,
    WORDS_32,
    WORDS_64,
    X86_FLAGS_IF,
    X86_FLAGS_VM,
    Bits,
    HardwareFrame,
    PtRegs,
    frame_words_32,
)

WORD = st.integers(0, (1 << 64) - 1)
HALF = st.integers(0, (1 << 32) - 1)


def test_offsets_of_64_bits() -> None:
    assert dict(OFFSETS_64) == {
        "r15": 0, "r14": 8, "r13": 16, "r12": 24, "bp": 32, "bx": 40, "r11": 48, "r10": 56, "r9": 64, "r8": 72, "ax": 80,
        "cx": 88, "dx": 96, "si": 104, "di": 112, "orig_ax": 120, "ip": 128, "cs": 136, "flags": 144, "sp": 152, "ss": 160,
    }  # fmt: skip
    assert SIZE_64 == 168


def test_offsets_of_32_bits() -> None:
    assert (OFFSETS_32["bx"], OFFSETS_32["ds"], OFFSETS_32["orig_ax"], OFFSETS_32["ip"], OFFSETS_32["ss"]) == (0, 28, 44, 48, 64)
    assert SIZE_32 == 68


@given(values=st.lists(WORD, min_size=21, max_size=21), orig_ax=st.integers(-(1 << 63), (1 << 63) - 1))
def test_decode_undoes_encode(values: list[int], orig_ax: int) -> None:
    regs = PtRegs(**(dict(zip(WORDS_64, values, strict=True)) | {"orig_ax": orig_ax}))
    data = regs.encode()
    assert len(data) == SIZE_64
    assert PtRegs.decode(data) == regs
    assert PtRegs.decode(data).encode() == data
    for name in set(WORDS_64) - {"orig_ax"}:
        offset = OFFSETS_64[name]
        assert int.from_bytes(data[offset : offset + 8], "little") == getattr(regs, name)


@given(values=st.lists(HALF, min_size=17, max_size=17), orig_ax=st.integers(-(1 << 31), (1 << 31) - 1))
def test_decode_undoes_encode_of_32_bits(values: list[int], orig_ax: int) -> None:
    regs = PtRegs(**(dict(zip(WORDS_32, values, strict=True)) | {"orig_ax": orig_ax}))
    assert PtRegs.decode(regs.encode(32), 32) == regs


@given(data=st.binary(min_size=SIZE_64, max_size=SIZE_64))
def test_encode_undoes_decode(data: bytes) -> None:
    assert PtRegs.decode(data).encode() == data


@given(values=st.lists(WORD, min_size=5, max_size=5), error_code=st.none() | WORD)
def test_frames_round_trip(values: list[int], error_code: int | None) -> None:
    frame = HardwareFrame(**dict(zip(FRAME_WORDS, values, strict=True)), error_code=error_code)
    assert len(frame.encode()) == frame.size
    assert HardwareFrame.decode(frame.encode()) == frame
    assert frame.regs().frame(error_code) == frame


def test_a_frame_in_memory() -> None:
    frame = HardwareFrame(ip=0x1122, cs=USER_CS, flags=0x246, sp=0x7FFF_0000, ss=0x2B, error_code=6)
    assert frame.encode() == bytes.fromhex(
        "0600000000000000 2211000000000000 3300000000000000 4602000000000000 0000ff7f00000000 2b00000000000000"
    )
    assert (frame.size, frame.address(0xFFFF_8000)) == (48, 0xFFFF_7FD0)
    assert frame.address(0xFFFF_8009) == 0xFFFF_7FD0
    assert FRAME_WORDS == ("ip", "cs", "flags", "sp", "ss")
    assert frame.regs() == PtRegs(orig_ax=6, ip=0x1122, cs=USER_CS, flags=0x246, sp=0x7FFF_0000, ss=0x2B)
    assert HardwareFrame(1, KERNEL_CS, 2, 3, 0x18).regs().orig_ax == -1


@pytest.mark.parametrize(
    ("cs", "flags", "user"), [(KERNEL_CS, 0, False), (USER_CS, 0, True), (USER32_CS, 0, True), (0, X86_FLAGS_VM, True)]
)
def test_where_it_came_from(cs: int, flags: int, user: bool) -> None:
    assert PtRegs(cs=cs, flags=flags).user_mode is user


def test_interrupts_of_the_interrupted_context() -> None:
    assert PtRegs(flags=2).irqs_off
    assert not PtRegs(flags=2 | X86_FLAGS_IF).irqs_off


@pytest.mark.parametrize(("bits", "value"), [(64, 1 << 64), (32, 1 << 32), (64, -1)])
def test_a_value_that_does_not_fit(bits: Bits, value: int) -> None:
    with pytest.raises(UsageError, match=f"^ax: {value:#x} does not fit into {bits} bits$"):
        PtRegs(ax=value).encode(bits)


def test_a_size_that_is_not_right() -> None:
    with pytest.raises(UsageError, match="^pt_regs: 167 bytes, not 168$"):
        PtRegs.decode(bytes(167))
    with pytest.raises(UsageError, match="^frame: 39 bytes, not 40$"):
        HardwareFrame.decode(bytes(39))


def test_what_a_32_bit_cpu_pushes() -> None:
    assert frame_words_32(True, False) == ("ip", "cs", "flags", "sp", "ss")
    assert frame_words_32(False, False) == ("ip", "cs", "flags")
    assert frame_words_32(False, True) == ("error_code", "ip", "cs", "flags")

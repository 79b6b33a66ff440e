"""Show the MSI cases of the catalogue that need the chips alone."""

from __future__ import annotations

from asyncirq.hw.msi import MsiMessage


def test_MSI_02_address_and_data_fields() -> None:
    assert (MsiMessage.compose(0x41, 0xA5).address, MsiMessage.compose(0x41, 0xA5).data) == (0xFEEA_5000, 0x0041)
    assert MsiMessage.compose(0, 0, redirection_hint=True).address == 0xFEE0_0008
    assert MsiMessage.compose(0, 0, logical=True).address == 0xFEE0_0004
    assert MsiMessage.compose(0, 0x7F00, extended=True).address == 0xFEE0_0FE0
    assert MsiMessage.compose(0, 0x01FF, extended=True).address == 0xFEEF_F020
    assert MsiMessage.compose(0xFF, 0).data == 0x00FF
    assert MsiMessage.compose(0, 0, delivery_mode=7).data == 0x0700
    assert MsiMessage.compose(0, 0, asserted=True).data == 0x4000
    assert MsiMessage.compose(0, 0, level=True).data == 0x8000
    assert MsiMessage(0xFEE0_0FE0, 0).dest == 0
    assert MsiMessage(0xFEE0_0FE0, 0, extended=True).dest == 0x7F00
    assert not MsiMessage(0xFED0_0000, 0).valid

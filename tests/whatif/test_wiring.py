from __future__ import annotations

from pathlib import Path

from asyncirq.whatif.wiring import Wiring, parse_interrupts, read_controller, read_wiring
from tests.analysis.linux_captures import FOLDER, STOCK

TEXT = """\
           CPU0       CPU1
  1:          9          0   IO-APIC   1-edge      i8042
 21:         10          2   IO-APIC  21-fasteoi   eth0
 27:          3          0   PCI-MSI 32769-edge      virtio0-req.0
 30:          3          0  IR-PCI-MSIX-0000:00:1f.2    0-edge      ahci
 45:          3          0  OTHER  78 Level     uart
LOC:       1678          3   Local timer interrupts
"""


def test_rows_tell_pin_and_trigger() -> None:
    assert parse_interrupts(TEXT) == {
        1: Wiring(1, False),
        21: Wiring(21, True),
        27: Wiring(-1, False),
        30: Wiring(-1, False),
        45: Wiring(-1, True),
    }


def test_level_of_another_controller_gets_a_free_pin(tmp_path: Path) -> None:
    (tmp_path / "before.interrupts").write_text(TEXT)
    assert read_wiring(tmp_path, [21, 45]) == {21: Wiring(21, True), 45: Wiring(23, True)}


def test_unknown_line_is_a_message(tmp_path: Path) -> None:
    assert read_wiring(tmp_path / "trace.txt", [99]) == {99: Wiring()}


def test_shipped_capture_is_wired_as_its_files_tell() -> None:
    assert read_wiring(FOLDER / STOCK, [1, 3, 21, 22, 27, 28]) == {
        1: Wiring(1, False),
        3: Wiring(3, False),
        21: Wiring(21, True),
        22: Wiring(22, True),
        27: Wiring(),
        28: Wiring(),
    }


def test_lines_of_a_gic_are_its_spis(tmp_path: Path) -> None:
    (tmp_path / "after.interrupts").write_text(" 19:  5  GICv3  37 Level  eth0\n 11:  9  GICv3  27 Level  arch_timer\n")
    assert read_controller(tmp_path) == "gicv3"
    assert read_wiring(tmp_path, [19]) == {19: Wiring(5, True)}
    (tmp_path / "after.interrupts").write_text(" 19:  5  GIC-0  232 Edge  eth0\n")
    assert read_controller(tmp_path) == "gicv2"
    assert read_wiring(tmp_path, [19]) == {19: Wiring(200, False)}
    assert read_controller(tmp_path / "nowhere" / "trace.txt") == "apic"

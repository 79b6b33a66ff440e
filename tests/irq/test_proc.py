"""Test what /proc shows."""

from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.irq.desc import IRQF_SHARED
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.flow import handle_edge_irq, handle_fasteoi_irq
from asyncirq.irq.proc import format_list, format_mask, interrupts, parse_list, parse_mask, read_irq_file, softirqs, write_irq_file
from asyncirq.irq.sim_chip import IrqSim
from tests.irq.harness import Rig, boot, close_rigs  # noqa: F401


def test_interrupts() -> None:
    rig = Rig(cpus=2)
    desc, _ = rig.line(handle_fasteoi_irq, IrqSim("IO-APIC"))
    desc.data.domain = IrqDomain(rig.core, "pins")
    desc.data.hwirq = 10
    for name in ("eth0", "usb1"):
        rig.request(desc, rig.handler(), flags=IRQF_SHARED, name=name, dev_id=name)
    unused, _ = rig.line(handle_edge_irq)
    assert unused.action is None
    rig.fire_at(1000, desc.irq, cpu=1)
    rig.play(2000)
    text = interrupts(rig.core, {"LOC": [1234, 56], "RES": [7, 8]}, {"ERR": 3})
    assert text.splitlines() == [
        "           CPU0       CPU1       ",
        " 16:          0          1   IO-APIC  10-fasteoi   eth0, usb1",
        "NMI:          0          0   Non-maskable interrupts",
        "LOC:       1234         56   Local timer interrupts",
        "SPU:          0          0   Spurious interrupts",
        "PMI:          0          0   Performance monitoring interrupts",
        "IWI:          0          0   IRQ work interrupts",
        "RTR:          0          0   APIC ICR read retries",
        "RES:          7          8   Rescheduling interrupts",
        "CAL:          0          0   Function call interrupts",
        "TLB:          0          0   TLB shootdowns",
        "TRM:          0          0   Thermal event interrupts",
        "THR:          0          0   Threshold APIC interrupts",
        "DFR:          0          0   Deferred Error APIC interrupts",
        "MCE:          0          0   Machine check exceptions",
        "MCP:          0          0   Machine check polls",
        "ERR:          3",
        "MIS:          0",
        "PIN:          0          0   Posted-interrupt notification event",
        "NPI:          0          0   Nested posted-interrupt event",
        "PIW:          0          0   Posted-interrupt wakeup event",
    ]


def test_softirqs() -> None:
    lines = softirqs([[0, 1, 0, 345, 0, 0, 0, 0, 0, 9], [2] * 10]).splitlines()
    assert lines[0] == "                    CPU0       CPU1       "
    assert lines[1] == "          HI:          0          2"
    assert lines[4] == "      NET_RX:        345          2"
    assert (lines[10], len(lines)) == ("         RCU:          9          2", 11)


@pytest.mark.parametrize(
    ("mask", "cpus", "text", "listed"),
    [
        (0b1, 1, "1", "0"),
        (0b1011, 4, "b", "0-1,3"),
        (0xF0, 8, "f0", "4-7"),
        (1 << 33 | 1, 40, "02,00000001", "0,33"),
        (0, 4, "0", ""),
    ],
)
def test_masks(mask: int, cpus: int, text: str, listed: str) -> None:
    assert (format_mask(mask, cpus), format_list(mask)) == (text, listed)
    assert parse_mask(text) == mask
    if listed:
        assert parse_list(listed) == mask


@pytest.mark.parametrize("text", ["", "x", "1,,2", "-1", "1-x"])
def test_wrong_masks_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_list(text)
    assert refused.value.errno == 22


def test_irq_files() -> None:
    rig = Rig(cpus=4)
    desc, _ = rig.line(handle_edge_irq, IrqSim(also=("set_affinity",)))
    desc.single_target = True
    rig.request(desc, rig.handler(ret=0))
    boot(write_irq_file(rig.core, None, desc.irq, "smp_affinity", "c\n"))
    assert read_irq_file(rig.core, desc.irq, "smp_affinity") == "c\n"
    assert read_irq_file(rig.core, desc.irq, "effective_affinity") == "4\n"
    boot(write_irq_file(rig.core, None, desc.irq, "smp_affinity_list", "1-2"))
    assert read_irq_file(rig.core, desc.irq, "smp_affinity_list") == "1-2\n"
    assert read_irq_file(rig.core, desc.irq, "effective_affinity_list") == "1\n"
    rig.fire_at(9_000_000, desc.irq)
    rig.play(10_000_000)
    assert read_irq_file(rig.core, desc.irq, "spurious") == "count 1\nunhandled 1\nlast_unhandled 8 ms\n"


@pytest.mark.parametrize(("file", "text", "errno"), [("spurious", "0", 13), ("smp_affinity", "zz", 22), ("smp_affinity", "f0", 22)])
def test_refused_writes(file: str, text: str, errno: int) -> None:
    rig = Rig(cpus=2)
    desc, _ = rig.line(handle_edge_irq, IrqSim(also=("set_affinity",)))
    with pytest.raises(UsageError) as refused:
        boot(write_irq_file(rig.core, None, desc.irq, file, text))
    assert refused.value.errno == errno


def test_line_that_cannot_move() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_edge_irq)
    with pytest.raises(UsageError) as refused:
        boot(write_irq_file(rig.core, None, desc.irq, "smp_affinity", "1"))
    assert refused.value.errno == 5
    with pytest.raises(UsageError) as missing:
        read_irq_file(rig.core, desc.irq, "nothing")
    assert missing.value.errno == 2

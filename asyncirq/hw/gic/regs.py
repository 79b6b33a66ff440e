"""Number the registers of the GIC architecture, and the interrupts. Linux: include/linux/irqchip/arm-gic-v3.h, arm-gic.h."""

from __future__ import annotations

from typing import Final

# Interrupt numbers (INTIDs)
SGI_LIMIT: Final = 16
PPI_LIMIT: Final = 32
SPI_LIMIT: Final = 1020
SPECIAL_SECURE: Final = 1020
SPECIAL_NONSECURE: Final = 1021
SPECIAL_LEGACY: Final = 1022
NONE_PENDING: Final = 1023
EPPI_BASE: Final = 1056
EPPI_LIMIT: Final = 1120
ESPI_BASE: Final = 4096
ESPI_LIMIT: Final = 5120
LPI_BASE: Final = 8192

# Distributor; the frame of SGIs and PPIs has the same layout
GICD_CTLR: Final = 0x0000
GICD_TYPER: Final = 0x0004
GICD_IIDR: Final = 0x0008
GICD_TYPER2: Final = 0x000C
GICD_SETSPI_NSR: Final = 0x0040
GICD_CLRSPI_NSR: Final = 0x0048
IGROUPR: Final = 0x0080
ISENABLER: Final = 0x0100
ICENABLER: Final = 0x0180
ISPENDR: Final = 0x0200
ICPENDR: Final = 0x0280
ISACTIVER: Final = 0x0300
ICACTIVER: Final = 0x0380
IPRIORITYR: Final = 0x0400
ITARGETSR: Final = 0x0800
ICFGR: Final = 0x0C00
IGRPMODR: Final = 0x0D00
NSACR: Final = 0x0E00
GICD_SGIR: Final = 0x0F00
CPENDSGIR: Final = 0x0F10
SPENDSGIR: Final = 0x0F20
IROUTER: Final = 0x6000
IROUTERE: Final = 0x8000
PIDR2: Final = 0xFFE8
ARCH_V2: Final = 0x20
ARCH_V3: Final = 0x30

CTLR_ENABLE_G0: Final = 1 << 0
CTLR_ENABLE_G1: Final = 1 << 1
CTLR_ENABLE_G1S: Final = 1 << 2
CTLR_ARE: Final = 1 << 4
CTLR_ARE_NS: Final = 1 << 5
CTLR_DS: Final = 1 << 6
CTLR_RWP: Final = 1 << 31
TYPER_ESPI: Final = 1 << 8
TYPER_SECURITY: Final = 1 << 10
TYPER_MBIS: Final = 1 << 16
TYPER_LPIS: Final = 1 << 17
IROUTER_IRM: Final = 1 << 31

# Redistributor
SGI_FRAME: Final = 0x10000
GICR_CTLR: Final = 0x0000
GICR_IIDR: Final = 0x0004
GICR_TYPER: Final = 0x0008
GICR_WAKER: Final = 0x0014
GICR_SETLPIR: Final = 0x0040
GICR_CLRLPIR: Final = 0x0048
GICR_PROPBASER: Final = 0x0070
GICR_PENDBASER: Final = 0x0078
GICR_INVLPIR: Final = 0x00A0
GICR_INVALLR: Final = 0x00B0
GICR_SYNCR: Final = 0x00C0
GICR_ENABLE_LPIS: Final = 1 << 0
GICR_RWP: Final = 1 << 3
WAKER_SLEEP: Final = 1 << 1
WAKER_CHILDREN_ASLEEP: Final = 1 << 2
PENDBASER_PTZ: Final = 1 << 62
PROPBASER_ADDRESS: Final = ((1 << 52) - 1) & ~0xFFF
PENDBASER_ADDRESS: Final = ((1 << 52) - 1) & ~0xFFFF
LPI_ENABLE: Final = 1 << 0
LPI_GROUP1: Final = 1 << 1
LPI_PRIORITY: Final = 0xFC

# CPU interface: ICC_CTLR_EL1
CTLR_CBPR: Final = 1 << 0
CTLR_EOIMODE: Final = 1 << 1

# ITS
GITS_CTLR: Final = 0x0000
GITS_IIDR: Final = 0x0004
GITS_TYPER: Final = 0x0008
GITS_CBASER: Final = 0x0080
GITS_CWRITER: Final = 0x0088
GITS_CREADR: Final = 0x0090
GITS_BASER: Final = 0x0100
GITS_TRANSLATER: Final = 0x10040
GITS_QUIESCENT: Final = 1 << 31
BASER_VALID: Final = 1 << 63
BASER_INDIRECT: Final = 1 << 62
BASER_ADDRESS: Final = ((1 << 48) - 1) & ~0xFFF
CREADR_STALLED: Final = 1 << 0

# Groups
GROUP0: Final = 0
GROUP1_NS: Final = 1
GROUP1_S: Final = 2

IDLE_PRIORITY: Final = 0xFF
DEFAULT_PRIORITY: Final = 0xA0
TRIGGERS: Final = ("level", "edge")


def kind_of(intid: int) -> str:
    """Return what an interrupt number is for: sgi, ppi, spi, special, eppi, espi, lpi or reserved."""
    if intid < SGI_LIMIT:
        return "sgi"
    if intid < PPI_LIMIT:
        return "ppi"
    if intid < SPI_LIMIT:
        return "spi"
    if intid <= NONE_PENDING:
        return "special"
    if EPPI_BASE <= intid < EPPI_LIMIT:
        return "eppi"
    if ESPI_BASE <= intid < ESPI_LIMIT:
        return "espi"
    return "lpi" if intid >= LPI_BASE else "reserved"

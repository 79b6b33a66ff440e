"""Render what /proc shows of interrupts, with Linux's layout to the space, and take what can be written there.

Linux: kernel/irq/proc.c, arch/x86/kernel/irq.c, fs/proc/softirqs.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from asyncirq.errors import UsageError
from asyncirq.irq.core import EINVAL, Context, IrqTable
from asyncirq.irq.desc import IrqDesc
from asyncirq.irq.manage import IrqCore

CPU_ROWS: Final = (
    ("NMI", "Non-maskable interrupts"),
    ("LOC", "Local timer interrupts"),
    ("SPU", "Spurious interrupts"),
    ("PMI", "Performance monitoring interrupts"),
    ("IWI", "IRQ work interrupts"),
    ("RTR", "APIC ICR read retries"),
    ("RES", "Rescheduling interrupts"),
    ("CAL", "Function call interrupts"),
    ("TLB", "TLB shootdowns"),
    ("TRM", "Thermal event interrupts"),
    ("THR", "Threshold APIC interrupts"),
    ("DFR", "Deferred Error APIC interrupts"),
    ("MCE", "Machine check exceptions"),
    ("MCP", "Machine check polls"),
)
"""The rows of the architecture, one count for each CPU."""
TOTAL_ROWS: Final = ("ERR", "MIS")
"""The rows with one count for the machine."""
POSTED_ROWS: Final = (
    ("PIN", "Posted-interrupt notification event"),
    ("NPI", "Nested posted-interrupt event"),
    ("PIW", "Posted-interrupt wakeup event"),
)
SOFTIRQ_NAMES: Final = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")


def interrupts(core: IrqTable, counts: Mapping[str, Sequence[int]], totals: Mapping[str, int] | None = None, nr_irqs: int = 0) -> str:
    """Return /proc/interrupts. ``counts`` holds the architecture's rows by label (missing: 0), ``totals`` ERR and MIS.

    The labels are as wide as the number of irqs that the machine expects, ``nr_irqs``, or has.
    """
    online = [cpu.id for cpu in core.cpus if core.online_mask >> cpu.id & 1]
    width = max(3, len(str(max(nr_irqs, max(core.descs, default=0) + 1))))
    lines = [" " * (width + 8) + "".join(f"CPU{cpu:<8}" for cpu in online)]
    for desc in core.all_descs():
        if not desc.hidden and (desc.action is not None or any(desc.kstat_irqs)):
            lines.append(_device_row(desc, online, width))
    lines += _cpu_rows(CPU_ROWS, counts, online, width)
    lines += [f"{label:>{width}}: {(totals or {}).get(label, 0):>10}" for label in TOTAL_ROWS]
    lines += _cpu_rows(POSTED_ROWS, counts, online, width)
    return "".join(f"{line}\n" for line in lines)


def interrupts_with_levels(core: IrqTable, rows: Sequence[tuple[str, Sequence[int], str]], errors: int) -> str:
    """Return /proc/interrupts as architectures write it that show each line's trigger.

    ``rows`` are the architecture's: label, counts, text. Linux: CONFIG_GENERIC_IRQ_SHOW_LEVEL, arch/arm64/kernel/smp.c.
    """
    online = [cpu.id for cpu in core.cpus if core.online_mask >> cpu.id & 1]
    width = max(3, len(str(max(core.descs, default=0) + 1)))
    lines = [" " * (width + 8) + "".join(f"CPU{cpu:<8}" for cpu in online)]
    for desc in core.all_descs():
        if not desc.hidden and (desc.action is not None or any(desc.kstat_irqs)):
            numbers = "".join(f" {desc.kstat_irqs[cpu]:>10}" for cpu in online)
            names = "  " + ", ".join(action.name for action in desc.actions()) if desc.action is not None else ""
            trigger = "Level" if desc.level else "Edge"
            lines.append(f"{desc.irq:>{width}}:{numbers}  {desc.chip.name:>8} {desc.data.hwirq:>{width}} {trigger:<8}{names}")
    for label, counts, text in rows:
        numbers = "".join(f"{counts[cpu]:>10} " for cpu in online)
        # A label that is too wide for its column takes the blank behind it.
        lines.append(f"{f'{label:>{width}}:':<{width + 2}}{numbers}      {text}")
    lines.append(f"{'Err':>{width}}: {errors:>10}")
    return "".join(f"{line}\n" for line in lines)


def _cpu_rows(rows: tuple[tuple[str, str], ...], counts: Mapping[str, Sequence[int]], online: list[int], width: int) -> list[str]:
    lines = []
    for label, text in rows:
        row = counts.get(label)
        numbers = "".join(f"{row[cpu] if row is not None else 0:>10} " for cpu in online)
        lines.append(f"{label:>{width}}: {numbers}  {text}")
    return lines


def _device_row(desc: IrqDesc, online: list[int], width: int) -> str:
    numbers = "".join(f" {desc.kstat_irqs[cpu]:>10}" for cpu in online)
    line = f"{desc.irq:>{width}}:{numbers}  {desc.chip.name:>8}"
    line += f" {desc.data.hwirq:>{width}}" if desc.data.domain is not None else " " * (width + 1)
    if desc.name:
        line += f"-{desc.name:<8}"
    if desc.action is not None:
        line += "  " + ", ".join(action.name for action in desc.actions())
    return line


def softirqs(counts: Sequence[Sequence[int]]) -> str:
    """Return /proc/softirqs from ``counts[cpu][vector]``."""
    lines = [" " * 20 + "".join(f"CPU{cpu:<8}" for cpu in range(len(counts)))]
    for vector, name in enumerate(SOFTIRQ_NAMES):
        lines.append(f"{name:>12}:" + "".join(f" {row[vector]:>10}" for row in counts))
    return "".join(f"{line}\n" for line in lines)


def format_mask(mask: int, cpus: int) -> str:
    """Render a CPU mask as Linux does: hex in groups of 32 bits, with as many digits as there are CPUs."""
    groups = []
    for low in range(0, cpus, 32):
        digits = (min(32, cpus - low) + 3) // 4
        groups.append(f"{mask >> low & 0xFFFFFFFF:0{digits}x}")
    return ",".join(reversed(groups))


def format_list(mask: int) -> str:
    """Render a CPU mask as a list of numbers and ranges: ``0-3,5``."""
    parts = []
    cpu = 0
    while mask >> cpu:
        if mask >> cpu & 1:
            last = cpu
            while mask >> last + 1 & 1:
                last += 1
            parts.append(f"{cpu}" if last == cpu else f"{cpu}-{last}")
            cpu = last
        cpu += 1
    return ",".join(parts)


def parse_mask(text: str) -> int:
    """Read what ``format_mask`` writes. Raises ``UsageError`` EINVAL."""
    try:
        groups = [int(group, 16) for group in text.strip().split(",")]
    except ValueError:
        raise UsageError(f"{text!r} is no CPU mask", EINVAL) from None
    mask = 0
    for group in groups:
        mask = mask << 32 | group
    return mask


def parse_list(text: str) -> int:
    """Read what ``format_list`` writes. Raises ``UsageError`` EINVAL."""
    mask = 0
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise UsageError(f"{text!r} is no CPU list", EINVAL)
        for cpu in range(int(first), int(last or first) + 1):
            mask |= 1 << cpu
    return mask


def read_irq_file(core: IrqTable, irq: int, file: str) -> str:
    """Return what /proc/irq/N shows in a file. Raises ``UsageError`` ENOENT for a file that does not exist."""
    desc = core.desc(irq)
    cpus = len(core.cpus)
    wanted = desc.pending_mask if desc.setaffinity_pending else desc.affinity
    effective = desc.effective_affinity
    if file == "spurious":
        # last_unhandled is in whole jiffies.
        jiffy = core.config.jiffy_ns
        last = desc.last_unhandled // jiffy * jiffy // 1_000_000
        return f"count {desc.irq_count}\nunhandled {desc.irqs_unhandled}\nlast_unhandled {last} ms\n"
    values = {
        "smp_affinity": format_mask(wanted, cpus),
        "smp_affinity_list": format_list(wanted),
        "effective_affinity": format_mask(effective, cpus),
        "effective_affinity_list": format_list(effective),
        "affinity_hint": format_mask(desc.affinity_hint, cpus),
        "node": "0",
    }
    if file not in values:
        raise UsageError(f"there is no /proc/irq/{irq}/{file}", 2)
    return values[file] + "\n"


def read_default_affinity(core: IrqTable) -> str:
    """Return /proc/irq/default_smp_affinity: where a line goes that nobody has placed."""
    return format_mask(core.default_affinity, len(core.cpus)) + "\n"


def write_default_affinity(core: IrqTable, text: str) -> None:
    """Write /proc/irq/default_smp_affinity. Raises ``UsageError`` EINVAL for no mask, or one without an online CPU."""
    mask = parse_mask(text) & core.sched.all_cpus
    if not mask & core.online_mask:
        raise UsageError(f"default affinity {text.strip()} names no online CPU", EINVAL)
    core.default_affinity = mask


async def write_irq_file(core: IrqCore, context: Context, irq: int, file: str, text: str) -> None:
    """Write /proc/irq/N/smp_affinity or smp_affinity_list. Raises ``UsageError``: EACCES for the others, EINVAL, EIO for a managed irq."""
    if file not in ("smp_affinity", "smp_affinity_list"):
        raise UsageError(f"/proc/irq/{irq}/{file} cannot be written", 13)
    desc = core.desc(irq)
    if not desc.chip.has_set_affinity or desc.nobalancing or desc.percpu or desc.managed:
        raise UsageError(f"irq {irq} cannot be moved", 5)
    await core.irq_set_affinity(context, irq, parse_mask(text) if file == "smp_affinity" else parse_list(text))

"""Read what /proc tells of interrupts, from a real kernel or from a modelled one, with the same code.

``/proc/interrupts``, ``/proc/softirqs`` and ``/proc/net/softnet_stat`` are parsed into counts per CPU and can be written
out again; as the layout is part of the row, an unchanged table gives the same bytes. ``irqdirs.txt`` is the list that
goes with a capture: one line for each directory under ``/proc/irq``. Whatever cannot be read is a ``UsageError`` that
names file and line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from asyncirq.errors import UsageError

T = TypeVar("T")

_HEADER: Final = re.compile(r" +(?:CPU\d+ *)+")
_ROW: Final = re.compile(r"(?P<label> *[^\s:]+):(?P<counts>(?: +\d+)*)(?P<rest>.*)")
_TAIL: Final = re.compile(
    r"(?P<chip> *\S+)(?:(?P<hwirq> +\d+)| +)?(?: (?P<trigger>Level|Edge) *)?(?:-(?P<flow>\S+) *)?(?:  (?P<actions>\S.*))?"
)
_SPURIOUS: Final = re.compile(r"count (\d+)\s+unhandled (\d+)\s+last_unhandled (\d+) ms\s*")
_DIRECTORY: Final = re.compile(
    r"/proc/irq/(?P<irq>\d+) (?P<mask>[0-9a-f,]+) eff=(?P<eff>[0-9a-f,]*) spur=\[(?P<spur>[^]]*)\] ?(?P<names>.*)"
)
_MASK: Final = re.compile(r"[0-9a-f]{1,8}(?:,[0-9a-f]{8})*")
_LIST: Final = re.compile(r"(?:\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)?")
_STAT: Final = re.compile(r"[0-9a-f]{8}(?: [0-9a-f]{8}){8,14}")


class DeviceRow(msgspec.Struct, frozen=True):
    """One irq of /proc/interrupts.

    ``hwirq`` is None for a line outside every domain; ``trigger`` is ``Level`` or ``Edge`` where the kernel shows it,
    else empty; ``flow`` is the name of the flow handler, empty if it has none. ``aligned`` False: the chip printed its
    name itself, without padding.
    """

    irq: int
    counts: tuple[int, ...]
    chip: str
    hwirq: int | None
    trigger: str
    flow: str
    actions: tuple[str, ...]
    aligned: bool = True


class CpuRow(msgspec.Struct, frozen=True):
    """One row of the architecture: a count for each CPU, or one for the machine where ``text`` is empty."""

    label: str
    counts: tuple[int, ...]
    text: str
    gap: int = 2


class Interrupts(msgspec.Struct, frozen=True):
    """A whole /proc/interrupts. ``width`` is that of the labels' column, ``cpus`` are those that were online."""

    cpus: tuple[int, ...]
    width: int
    rows: tuple[DeviceRow | CpuRow, ...]

    @property
    def devices(self) -> tuple[DeviceRow, ...]:
        """Return the rows of the irqs."""
        return tuple(row for row in self.rows if isinstance(row, DeviceRow))

    def device(self, irq: int) -> DeviceRow:
        """Return the row of an irq. Raises ``UsageError`` if there is none."""
        for row in self.devices:
            if row.irq == irq:
                return row
        raise UsageError(f"/proc/interrupts has no row for irq {irq}")

    def counts(self, label: str) -> tuple[int, ...]:
        """Return the counts of a row of the architecture, ``LOC`` for instance. Raises ``UsageError`` if there is none."""
        for row in self.rows:
            if isinstance(row, CpuRow) and row.label == label:
                return row.counts
        raise UsageError(f"/proc/interrupts has no row {label}")


class Softirqs(msgspec.Struct, frozen=True):
    """A whole /proc/softirqs: for each vector's name the counts of the CPUs."""

    cpus: tuple[int, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]

    def counts(self, name: str) -> tuple[int, ...]:
        """Return the counts of a vector, ``NET_RX`` for instance. Raises ``UsageError`` if there is none."""
        for found, counts in self.rows:
            if found == name:
                return counts
        raise UsageError(f"/proc/softirqs has no row {name}")


class SoftnetRow(msgspec.Struct, frozen=True):
    """One CPU of /proc/net/softnet_stat: the columns that mean something today, and all of them in ``columns``."""

    columns: tuple[int, ...]
    cpu: int
    processed: int
    dropped: int
    time_squeeze: int


class IrqDirectory(msgspec.Struct, frozen=True):
    """What /proc/irq/N told: the two CPU masks, the three figures of ``spurious``, the directories of the actions."""

    irq: int
    affinity: int
    effective: int
    count: int
    unhandled: int
    last_unhandled_ms: int
    actions: tuple[str, ...]


def read_file(path: str | Path, parse: Callable[[str, str], T]) -> T:
    """Parse a file with one of the functions below. Raises ``UsageError`` naming file and line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}", error.errno or 0) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: this is no text: {error.reason}") from None
    return parse(text, str(path))


# --- /proc/interrupts


def parse_interrupts(text: str, name: str = "/proc/interrupts") -> Interrupts:
    """Parse /proc/interrupts; ``name`` is what errors call it. Raises ``UsageError``."""
    cpus, lines = _split(text, name)
    width = len(text) - len(text.lstrip(" ")) - 8
    rows: list[DeviceRow | CpuRow] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, 2):
        match = _ROW.fullmatch(line)
        if match is None:
            raise _refused(name, number, "no row of /proc/interrupts", line)
        label = match["label"].lstrip(" ")
        if label in seen:
            raise _refused(name, number, f"a second row {label}", line)
        seen.add(label)
        counts, tail = _counts(match, len(cpus))
        one_for_all = len(counts) == 1 and not tail
        if len(counts) != len(cpus) and not one_for_all:
            raise _refused(name, number, f"{len(counts)} counts for {len(cpus)} CPUs", line)
        rows.append(_device(label, counts, tail, name, number) if label.isdigit() else _cpu_row(label, counts, tail))
    return Interrupts(cpus, width, tuple(rows))


def _counts(match: re.Match[str], cpus: int) -> tuple[tuple[int, ...], str]:
    """Return the counts of a row and what follows them; a chip's number is none of them, whatever follows a blank is."""
    found = [(int(part[0]), part.end()) for part in re.finditer(r"\d+", match["counts"])][:cpus]
    end = found[-1][1] if found else 0
    return tuple(count for count, _ in found), match["counts"][end:] + match["rest"]


def _device(label: str, counts: tuple[int, ...], tail: str, name: str, number: int) -> DeviceRow:
    match = _TAIL.fullmatch(tail[1:])
    if match is None:
        raise _refused(name, number, "no chip and actions behind the counts", f"{label}: ...{tail}")
    chip = match["chip"]
    hwirq = match["hwirq"]
    actions = match["actions"]
    return DeviceRow(
        irq=int(label),
        counts=counts,
        chip=chip.strip(),
        hwirq=int(hwirq) if hwirq is not None else None,
        trigger=match["trigger"] or "",
        flow=match["flow"] or "",
        actions=tuple(actions.split(", ")) if actions else (),
        aligned=chip.startswith(" "),
    )


def _cpu_row(label: str, counts: tuple[int, ...], tail: str) -> CpuRow:
    text = tail.lstrip(" ")
    return CpuRow(label, counts, text, gap=len(tail) - len(text) - 1 if text else 0)


def format_interrupts(table: Interrupts) -> str:
    """Write a table out as the kernel lays it out."""
    width = table.width
    lines = [" " * (width + 8) + _cpu_names(table.cpus)]
    for row in table.rows:
        label = str(row.irq) if isinstance(row, DeviceRow) else row.label
        # A label that is too wide for its column takes the blank behind it.
        line = f"{f'{label:>{width}}:':<{width + 2}}" + " ".join(f"{count:>10}" for count in row.counts)
        lines.append(line + (_device_tail(row, width) if isinstance(row, DeviceRow) else _cpu_tail(row)))
    return "".join(f"{line}\n" for line in lines)


def _device_tail(row: DeviceRow, width: int) -> str:
    text = f"  {row.chip:>8}" if row.aligned else f" {row.chip}"
    text += f" {'' if row.hwirq is None else row.hwirq:>{width}}"
    if row.trigger:
        text += f" {row.trigger:<8}"
    if row.flow:
        text += f"-{row.flow:<8}"
    return text + ("  " + ", ".join(row.actions) if row.actions else "")


def _cpu_tail(row: CpuRow) -> str:
    return " " + " " * row.gap + row.text if row.text else ""


# --- /proc/softirqs


def parse_softirqs(text: str, name: str = "/proc/softirqs") -> Softirqs:
    """Parse /proc/softirqs; ``name`` is what errors call it. Raises ``UsageError``."""
    cpus, lines = _split(text, name)
    rows: list[tuple[str, tuple[int, ...]]] = []
    for number, line in enumerate(lines, 2):
        match = _ROW.fullmatch(line)
        if match is None or match["rest"]:
            raise _refused(name, number, "no row of /proc/softirqs", line)
        counts = tuple(int(count) for count in match["counts"].split())
        if len(counts) != len(cpus):
            raise _refused(name, number, f"{len(counts)} counts for {len(cpus)} CPUs", line)
        label = match["label"].strip()
        if any(label == found for found, _ in rows):
            raise _refused(name, number, f"a second row {label}", line)
        rows.append((label, counts))
    return Softirqs(cpus, tuple(rows))


def format_softirqs(table: Softirqs) -> str:
    """Write a table out as the kernel lays it out."""
    lines = [" " * 20 + _cpu_names(table.cpus)]
    lines += [f"{name:>12}:" + "".join(f" {count:>10}" for count in counts) for name, counts in table.rows]
    return "".join(f"{line}\n" for line in lines)


# --- /proc/net/softnet_stat


def parse_softnet_stat(text: str, name: str = "/proc/net/softnet_stat") -> tuple[SoftnetRow, ...]:
    """Parse /proc/net/softnet_stat, of 9 to 15 columns; before the 13th was added, lines are numbered. Raises ``UsageError``."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if _STAT.fullmatch(line) is None:
            raise _refused(name, number, "no row of 9 to 15 hexadecimal numbers", line)
        columns = tuple(int(value, 16) for value in line.split(" "))
        cpu = columns[12] if len(columns) > 12 else number - 1
        rows.append(SoftnetRow(columns, cpu, *columns[:3]))
    if not rows:
        raise UsageError(f"{name}:1: no row for any CPU")
    return tuple(rows)


def format_softnet_stat(rows: Sequence[SoftnetRow]) -> str:
    """Write the rows out as the kernel lays them out."""
    return "".join(" ".join(f"{value:08x}" for value in row.columns) + "\n" for row in rows)


# --- /proc/irq


def parse_irq_directories(text: str, name: str = "irqdirs.txt") -> tuple[IrqDirectory, ...]:
    """Parse the list of a capture's /proc/irq directories, in the order of the irqs. Raises ``UsageError``."""
    found: dict[int, IrqDirectory] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _DIRECTORY.fullmatch(line)
        if match is None:
            raise _refused(name, number, "no directory of /proc/irq", line)
        irq = int(match["irq"])
        if irq in found:
            raise _refused(name, number, f"a second line for irq {irq}", line)
        where = f"{name}:{number}"
        effective = parse_mask(match["eff"], where) if match["eff"] else 0
        actions = _action_names(match["names"], irq)
        if actions is None:
            raise _refused(name, number, f"no directories of irq {irq}", match["names"])
        found[irq] = IrqDirectory(irq, parse_mask(match["mask"], where), effective, *parse_spurious(match["spur"], where), actions)
    return tuple(found[irq] for irq in sorted(found))


def _action_names(text: str, irq: int) -> tuple[str, ...] | None:
    """Take ``/proc/irq/N/a/ /proc/irq/N/b/`` apart; the names may hold blanks."""
    if not text.strip():
        return ()
    start = f"/proc/irq/{irq}/"
    parts = text.rstrip(" ").split(f"/ {start}")
    if not parts[0].startswith(start) or not parts[-1].endswith("/"):
        return None
    parts[0] = parts[0].removeprefix(start)
    parts[-1] = parts[-1].removesuffix("/")
    return tuple(parts) if all(part and "/" not in part for part in parts) else None


def parse_spurious(text: str, name: str = "spurious") -> tuple[int, int, int]:
    """Return count, unhandled and the ms of last_unhandled from /proc/irq/N/spurious. Raises ``UsageError``."""
    match = _SPURIOUS.fullmatch(text)
    if match is None:
        raise UsageError(f"{name}: this is not what /proc/irq/N/spurious holds: {text!r}")
    return int(match[1]), int(match[2]), int(match[3])


def parse_mask(text: str, name: str = "smp_affinity") -> int:
    """Return a CPU mask from its hexadecimal groups, as in /proc/irq/N/smp_affinity. Raises ``UsageError``."""
    digits = text.strip()
    if _MASK.fullmatch(digits) is None:
        raise UsageError(f"{name}: this is no CPU mask: {text!r}")
    return int(digits.replace(",", ""), 16)


def parse_list(text: str, name: str = "smp_affinity_list") -> int:
    """Return a CPU mask from a list of numbers and ranges, as in /proc/irq/N/smp_affinity_list. Raises ``UsageError``."""
    listed = text.strip()
    if _LIST.fullmatch(listed) is None:
        raise UsageError(f"{name}: this is no list of CPUs: {text!r}")
    mask = 0
    for part in listed.split(",") if listed else ():
        first, _, last = part.partition("-")
        for cpu in range(int(first), int(last or first) + 1):
            mask |= 1 << cpu
    return mask


# --- all of them


def _split(text: str, name: str) -> tuple[tuple[int, ...], list[str]]:
    """Return the CPUs of the header, and the lines below it."""
    header, *lines = text.splitlines() or [""]
    if _HEADER.fullmatch(header) is None:
        raise _refused(name, 1, "no header of CPUs", header)
    cpus = tuple(int(part.removeprefix("CPU")) for part in header.split())
    if list(cpus) != sorted(set(cpus)):
        raise _refused(name, 1, "CPUs out of order", header)
    return cpus, lines


def _cpu_names(cpus: Sequence[int]) -> str:
    return "".join(f"CPU{cpu:<8}" for cpu in cpus)


def _refused(name: str, line: int, what: str, text: str) -> UsageError:
    return UsageError(f"{name}:{line}: {what}: {text!r}")

"""Read the /proc texts of real kernels and of modelled ones with one parser, and write them out again to the byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncirq import (
    IRQ_HANDLED,
    IRQ_NONE,
    IRQF_NO_AUTOEN,
    IRQF_ONESHOT,
    IRQF_SHARED,
    Cpu,
    KernelConfig,
    Machine,
    Napi,
    Task,
    UsageError,
    preset,
    us,
)
from asyncirq.analysis.proc_text import (
    CpuRow,
    DeviceRow,
    IrqDirectory,
    SoftnetRow,
    format_interrupts,
    format_softirqs,
    format_softnet_stat,
    parse_interrupts,
    parse_irq_directories,
    parse_list,
    parse_mask,
    parse_softirqs,
    parse_softnet_stat,
    parse_spurious,
    read_file,
)
from asyncirq.board import BOARDS
from asyncirq.irq.proc import format_list, format_mask
from asyncirq.irq.proc import parse_list as kernel_parse_list
from asyncirq.irq.proc import parse_mask as kernel_parse_mask
from tests.analysis.linux_captures import ALL, FOLDER, RT, STOCK, THREADIRQS

X86_ROWS = [
    "NMI",
    "LOC",
    "SPU",
    "PMI",
    "IWI",
    "RTR",
    "RES",
    "CAL",
    "TLB",
    "TRM",
    "THR",
    "DFR",
    "MCE",
    "MCP",
    "ERR",
    "MIS",
    "PIN",
    "NPI",
    "PIW",
]
SOFTIRQS = ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"]

ARM64 = """\
           CPU0       CPU1       
 11:       2472       2792 GIC-0  27 Level     arch_timer
 16:         52          0 GIC-0  36 Level   
 21:        194          0       MSI 98305 Edge      virtio1-requests
IPI0:       244        265       Rescheduling interrupts
IPI3:         0          0       CPU stop (for crash dump) interrupts
Err:          0
"""  # noqa: W291 - the kernel pads the last column
PER_DEVICE_DOMAINS = """\
            CPU0       CPU2       
  24:          0          7  PCI-MSIX-0000:00:04.0    0-edge      virtio1-config
  28:          1          0    XT-PIC       cascade, other name
 NMI:          0          0   Non-maskable interrupts
"""  # noqa: W291
SIX_COLUMNS_MORE = "000007e7 00000001 00000003" + " 00000000" * 9 + " 00000005 00000002 00000004\n"
OLD_KERNEL = "0000089b 00000000 00000002 00000000 00000000 00000000 00000000 00000000 00000000\n"


# --- real kernels


@pytest.mark.parametrize("capture", ALL)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_captured_tables_are_read_and_written_to_the_byte(capture: str, moment: str) -> None:
    path = FOLDER / capture / f"{moment}.interrupts"
    table = read_file(path, parse_interrupts)
    assert format_interrupts(table).encode() == path.read_bytes()
    assert (table.cpus, table.width) == ((0,), 3)
    assert [row.irq for row in table.devices] == [0, 1, 3, 4, 8, 9, 12, 21, 22, 24, 25, 26, 27, 28]
    assert [row.label for row in table.rows if isinstance(row, CpuRow)] == X86_ROWS
    path = FOLDER / capture / f"{moment}.softirqs"
    softirqs = read_file(path, parse_softirqs)
    assert format_softirqs(softirqs).encode() == path.read_bytes()
    assert [name for name, _ in softirqs.rows] == SOFTIRQS


def test_captured_values() -> None:
    table = read_file(FOLDER / STOCK / "after.interrupts", parse_interrupts)
    assert table.device(21) == DeviceRow(21, (414,), "IO-APIC", 21, "", "fasteoi", ("eth0",))
    assert table.device(3) == DeviceRow(3, (81,), "IO-APIC", 3, "", "edge", ())
    assert table.device(28) == DeviceRow(28, (106,), "PCI-MSI", 512000, "", "edge", ("ahci[0000:00:1f.2]",))
    assert (table.counts("LOC"), table.counts("ERR")) == ((2419,), (0,))
    assert read_file(FOLDER / RT / "after.softirqs", parse_softirqs).counts("HRTIMER") == (254,)
    # What the workload caused is the difference of both ends.
    before = read_file(FOLDER / STOCK / "before.interrupts", parse_interrupts)
    assert table.device(27).counts[0] - before.device(27).counts[0] == 100


@pytest.mark.parametrize("capture", ALL)
def test_captured_directories_agree_with_the_table(capture: str) -> None:
    directories = {entry.irq: entry for entry in read_file(FOLDER / capture / "irqdirs.txt", parse_irq_directories)}
    table = read_file(FOLDER / capture / "after.interrupts", parse_interrupts)
    assert [irq for irq, entry in directories.items() if entry.effective != 1] == [2]
    for row in table.devices:
        # irq 0 is the timer of the early kernel: its action was made before there was a /proc.
        if row.irq:
            assert directories[row.irq].actions == row.actions
    assert [irq for irq, entry in directories.items() if entry.actions and irq not in {row.irq for row in table.devices}] == []


def test_captured_spurious_counts() -> None:
    entries = read_file(FOLDER / THREADIRQS / "irqdirs.txt", parse_irq_directories)
    assert entries[4] == IrqDirectory(4, 1, 1, 1, 1, 4294670604, ("ttyS0",))
    assert [entry.irq for entry in entries] == [*range(16), 21, 22, *range(24, 29)]


@pytest.mark.parametrize("text", [ARM64, PER_DEVICE_DOMAINS])
def test_other_layouts_are_read_and_written_to_the_byte(text: str) -> None:
    assert format_interrupts(parse_interrupts(text)) == text


def test_other_layouts_hold_what_they_say() -> None:
    arm = parse_interrupts(ARM64)
    assert arm.devices == (
        DeviceRow(11, (2472, 2792), "GIC-0", 27, "Level", "", ("arch_timer",), aligned=False),
        DeviceRow(16, (52, 0), "GIC-0", 36, "Level", "", (), aligned=False),
        DeviceRow(21, (194, 0), "MSI", 98305, "Edge", "", ("virtio1-requests",)),
    )
    assert (arm.counts("IPI0"), arm.counts("Err")) == ((244, 265), (0,))
    wide = parse_interrupts(PER_DEVICE_DOMAINS)
    assert (wide.cpus, wide.width) == ((0, 2), 4)
    assert wide.device(24) == DeviceRow(24, (0, 7), "PCI-MSIX-0000:00:04.0", 0, "", "edge", ("virtio1-config",))
    assert wide.device(28) == DeviceRow(28, (1, 0), "XT-PIC", None, "", "", ("cascade", "other name"))


def test_softnet_stat_of_three_kernels() -> None:
    now = "000007bc 00000000 00000001" + " 00000000" * 9 + " 00000003\n"
    assert parse_softnet_stat(now)[0] == SoftnetRow((0x7BC, 0, 1, *[0] * 9, 3), 3, 0x7BC, 0, 1)
    assert parse_softnet_stat(SIX_COLUMNS_MORE)[0].cpu == 5
    assert [(row.cpu, row.processed, row.time_squeeze) for row in parse_softnet_stat(OLD_KERNEL * 2)] == [(0, 2203, 2), (1, 2203, 2)]
    for text in (now, SIX_COLUMNS_MORE, OLD_KERNEL):
        assert format_softnet_stat(parse_softnet_stat(text)) == text


# --- modelled kernels


async def handled(cpu: Cpu, irq: int, dev_id: object) -> int:
    return IRQ_HANDLED


async def not_mine(cpu: Cpu, irq: int, dev_id: object) -> int:
    return IRQ_NONE


async def thread_fn(task: Task, irq: int, dev_id: object) -> int:
    await task.spend(us(3))
    return IRQ_HANDLED


class Network:
    """A network device with a poll instance, so that the receive counters are not all zero."""

    def __init__(self, m: Machine) -> None:
        self.m = m
        self.msi = m.msi("eth0")
        self.napi = Napi(self.poll, 64, "eth0", "eth0")
        m.napi.netif_napi_add(self.napi)
        m.napi.napi_enable(self.napi)

    async def poll(self, cpu: Cpu, napi: Napi, budget: int) -> int:
        self.m.kernel.softnet.netif_receive_skb(cpu, "eth0", 60)
        await self.m.napi.napi_complete_done(cpu, napi, 1)
        return 1

    async def handler(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        await self.m.napi.napi_schedule(cpu, self.napi)
        return IRQ_HANDLED


def directories_text(m: Machine, irqs: list[int]) -> str:
    """Write the list that goes with a capture, from the files of a machine, as the captures' script did."""
    lines = []
    for irq in irqs:
        mask, effective, spurious = (m.proc(f"irq/{irq}/{file}") for file in ("smp_affinity", "effective_affinity", "spurious"))
        names = "".join(f"/proc/irq/{irq}/{action.name}/ " for action in m.irq.desc(irq).actions())
        lines.append(f"/proc/irq/{irq} {mask.strip()} eff={effective.strip()} spur=[{spurious.replace(chr(10), ' ')}] {names}\n")
    return "".join(lines)


async def play(m: Machine) -> dict[str, int]:
    """Give a machine five lines in all states, interrupt them, and return their irqs."""
    network = Network(m)
    level, shared = m.line(10)
    edge, off = m.line(4, level=False)
    thread = m.msi("nvme0q0")
    await m.irq.request_irq(None, network.msi.irq, network.handler, 0, "eth0")
    for name in ("ehci_hcd:usb1", "snd, or not"):
        await m.irq.request_irq(None, shared, not_mine, IRQF_SHARED, name, name)
    await m.irq.request_irq(None, off, handled, IRQF_NO_AUTOEN, "rtc0")
    await m.irq.request_threaded_irq(None, thread.irq, None, thread_fn, IRQF_ONESHOT, "nvme0q0")
    if m.irq.desc(thread.irq).chip.has_set_affinity:
        await m.irq.irq_set_affinity(None, thread.irq, 1 << len(m.cpus) - 1)
    for _ in range(3):
        network.msi.send()
        thread.send()
        level.set(True)
        await m.run_for(us(2))
        level.set(False)
        edge.pulse()
        await m.run_for(us(200))
    return {"eth0": network.msi.irq, "usb": shared, "rtc0": off, "nvme0q0": thread.irq}


KERNELS = (preset("linux-6.12"), preset("linux-6.1", threadirqs=True), preset("linux-6.12", rt=True))


@pytest.mark.parametrize("cpus", [1, 2, 8, 64])
@pytest.mark.parametrize("kernel", KERNELS, ids=["stock", "threadirqs", "rt"])
def test_modelled_tables_are_read_and_written_to_the_byte(cpus: int, kernel: KernelConfig) -> None:
    async def body() -> None:
        async with Machine(cpus, kernel, check=True, sinks=()) as m:
            irqs = await play(m)
            text = m.proc("interrupts")
            table = parse_interrupts(text)
            assert format_interrupts(table) == text
            assert (table.cpus, table.width) == (tuple(range(cpus)), 3)
            assert [row.label for row in table.rows if isinstance(row, CpuRow)] == X86_ROWS
            for row in table.devices:
                desc = m.irq.desc(row.irq)
                assert row.counts == tuple(desc.kstat_irqs)
                assert (row.chip, row.hwirq, row.flow) == (desc.chip.name, desc.data.hwirq, desc.name)
            assert table.device(irqs["eth0"]).actions == ("eth0",)
            assert sum(table.device(irqs["nvme0q0"]).counts) == 3
            assert (sum(table.device(irqs["usb"]).counts) >= 3, sum(table.device(irqs["rtc0"]).counts)) == (True, 0)
            assert table.counts("LOC") == tuple(m.kernel.entry.counts[0xEC])

            text = m.proc("softirqs")
            softirqs = parse_softirqs(text)
            assert (format_softirqs(softirqs), [name for name, _ in softirqs.rows]) == (text, SOFTIRQS)
            assert sum(softirqs.counts("NET_RX")) == sum(counts[3] for counts in m.softirq.counts) > 0

            text = m.proc("net/softnet_stat")
            rows = parse_softnet_stat(text)
            assert (format_softnet_stat(rows), [row.cpu for row in rows]) == (text, list(range(cpus)))
            assert sum(row.processed for row in rows) == 3

            entries = parse_irq_directories(directories_text(m, sorted(irqs.values())))
            for entry in entries:
                desc = m.irq.desc(entry.irq)
                assert (entry.affinity, entry.effective) == (desc.affinity, desc.effective_affinity)
                assert (entry.count, entry.unhandled) == (desc.irq_count, desc.irqs_unhandled)
                assert entry.actions == tuple(action.name for action in desc.actions())
                assert parse_list(m.proc(f"irq/{entry.irq}/smp_affinity_list")) == entry.affinity
                assert parse_list(m.proc(f"irq/{entry.irq}/effective_affinity_list")) == entry.effective
            assert next(entry for entry in entries if entry.irq == irqs["nvme0q0"]).affinity == 1 << cpus - 1

    asyncio.run(body())


@pytest.mark.parametrize(("controller", "cpus"), [(name, cpus) for name in BOARDS for cpus in (1, 2) if cpus <= BOARDS[name].max_cpus])
def test_tables_of_every_controller_are_read_and_written_to_the_byte(controller: str, cpus: int) -> None:
    async def body() -> None:
        async with Machine(cpus, controller=controller, check=True, sinks=()) as m:
            irqs = await play(m)
            # A line without an action is shown as long as it has counted something.
            await m.irq.free_irq(None, irqs["eth0"])
            text = m.proc("interrupts")
            table = parse_interrupts(text)
            assert format_interrupts(table) == text
            for row in table.devices:
                desc = m.irq.desc(row.irq)
                actions = tuple(action.name for action in desc.actions())
                assert (row.counts, row.chip) == (tuple(desc.kstat_irqs), desc.chip.name)
                # A name with a comma in it reads as two.
                assert ", ".join(row.actions) == ", ".join(actions)
            assert (table.device(irqs["eth0"]).actions, sum(table.device(irqs["eth0"]).counts)) == ((), 3)
            assert [type(row).__name__ for row in table.rows].count("CpuRow") > 5
            assert format_softirqs(parse_softirqs(m.proc("softirqs"))) == m.proc("softirqs")
            assert format_softnet_stat(parse_softnet_stat(m.proc("net/softnet_stat"))) == m.proc("net/softnet_stat")
            entries = parse_irq_directories(directories_text(m, sorted(irqs.values())))
            assert [entry.irq for entry in entries] == sorted(irqs.values())
            assert {entry.affinity for entry in entries} <= set(range(1, 1 << cpus))

    asyncio.run(body())


@pytest.mark.parametrize(("cpus", "width"), [(71, 3), (72, 4), (256, 4)])
def test_labels_are_as_wide_as_the_expected_irqs(cpus: int, width: int) -> None:
    """A machine of 72 CPUs and one IO-APIC expects 24 + 16 + 8 * 72 + 16 * 24 = 1000 irqs."""

    async def body() -> None:
        async with Machine(cpus, sinks=()) as m:
            await play(m)
            text = m.proc("interrupts")
            table = parse_interrupts(text)
            assert (format_interrupts(table), table.width, len(table.cpus)) == (text, width, cpus)

    asyncio.run(body())


@pytest.mark.parametrize("cpus", [1, 4, 5, 31, 32, 33, 64, 100, 1024])
def test_masks_of_every_width(cpus: int) -> None:
    for mask in {1, 1 << cpus - 1, (1 << cpus) - 1, 0x5555555555 & (1 << cpus) - 1}:
        assert parse_mask(format_mask(mask, cpus) + "\n") == kernel_parse_mask(format_mask(mask, cpus)) == mask
        assert parse_list(format_list(mask) + "\n") == kernel_parse_list(format_list(mask)) == mask
    assert (parse_mask(format_mask(0, cpus)), parse_list("\n")) == (0, 0)


# --- what cannot be read

HEADER = "           CPU0       CPU1       \n"


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_interrupts, "", "f:1: no header of CPUs: ''"),
        (parse_interrupts, "#!/bin/sh\n", "f:1: no header of CPUs: '#!/bin/sh'"),
        (parse_interrupts, "   CPU1   CPU0\n", "f:1: CPUs out of order: '   CPU1   CPU0'"),
        (parse_interrupts, HEADER + "LOC 1 2\n", "f:2: no row of /proc/interrupts: 'LOC 1 2'"),
        (parse_interrupts, HEADER + "LOC: 1 2 a\nLOC: 1 2 a\n", "f:3: a second row LOC: 'LOC: 1 2 a'"),
        (parse_interrupts, HEADER + "LOC: 1   Local\n", "f:2: 1 counts for 2 CPUs: 'LOC: 1   Local'"),
        (parse_interrupts, HEADER + " 16: 1 2\n", "f:2: no chip and actions behind the counts: '16: ...'"),
        (parse_softirqs, HEADER + "HI: 1 2 3\n", "f:2: 3 counts for 2 CPUs: 'HI: 1 2 3'"),
        (parse_softirqs, HEADER + "HI: 1 x\n", "f:2: no row of /proc/softirqs: 'HI: 1 x'"),
        (parse_softirqs, HEADER + "HI: 1 2\nHI: 1 2\n", "f:3: a second row HI: 'HI: 1 2'"),
        (parse_softnet_stat, "", "f:1: no row for any CPU"),
        (parse_softnet_stat, "00000000 1\n", "f:1: no row of 9 to 15 hexadecimal numbers: '00000000 1'"),
        (parse_irq_directories, "/proc/irq/x\n", "f:1: no directory of /proc/irq: '/proc/irq/x'"),
        (
            parse_irq_directories,
            "/proc/irq/1 1 eff=1 spur=[nothing] \n",
            "f:1: this is not what /proc/irq/N/spurious holds: 'nothing'",
        ),
        (
            parse_irq_directories,
            "/proc/irq/1 1 eff=1 spur=[count 0 unhandled 0 last_unhandled 0 ms ] /proc/irq/2/a/ \n",
            "f:1: no directories of irq 1: '/proc/irq/2/a/ '",
        ),
        (
            parse_irq_directories,
            "/proc/irq/1 1 eff=,1 spur=[count 0 unhandled 0 last_unhandled 0 ms ] \n",
            "f:1: this is no CPU mask: ',1'",
        ),
        (
            parse_irq_directories,
            "/proc/irq/1 1 eff= spur=[count 0 unhandled 0 last_unhandled 0 ms ] \n" * 2,
            "f:2: a second line for irq 1: '/proc/irq/1 1 eff= spur=[count 0 unhandled 0 last_unhandled 0 ms ] '",
        ),
        (parse_spurious, "count 1", "f: this is not what /proc/irq/N/spurious holds: 'count 1'"),
        (parse_mask, "xyz", "f: this is no CPU mask: 'xyz'"),
        (parse_list, "1-", "f: this is no list of CPUs: '1-'"),
    ],
)
def test_errors_name_file_and_line(parse: Callable[[str, str], object], text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text, "f")
    assert str(refused.value) == message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as missing:
        read_file(tmp_path / "none", parse_interrupts)
    assert (missing.value.errno, str(missing.value)) == (2, f"{tmp_path}/none: cannot read: No such file or directory (-ENOENT)")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="this is no text"):
        read_file(binary, parse_interrupts)
    wrong = tmp_path / "wrong"
    wrong.write_text(HEADER + "nothing\n")
    with pytest.raises(UsageError) as second_line:
        read_file(str(wrong), parse_interrupts)
    assert str(second_line.value) == f"{wrong}:2: no row of /proc/interrupts: 'nothing'"


def test_rows_that_are_not_there() -> None:
    table = parse_interrupts(ARM64)
    for ask in (lambda: table.device(99), lambda: table.counts("LOC"), lambda: parse_softirqs(HEADER).counts("HI")):
        with pytest.raises(UsageError, match="has no row"):
            ask()

"""Predict an arm64 machine with threadirqs from its stock capture, on a machine with a GICv3."""

from __future__ import annotations

import asyncio
import functools
import re
from pathlib import Path

import pytest

from asyncirq.analysis.accuracy import score
from asyncirq.analysis.event import Event
from asyncirq.analysis.model import capture_from_records
from asyncirq.cli import main as command
from asyncirq.trace.reader import read_jsonl
from asyncirq.whatif.kernels import Target, parse_targets
from asyncirq.whatif.replay import Replay
from asyncirq.whatif.run import KernelPrediction, predict_one
from asyncirq.whatif.source import Source, load
from asyncirq.whatif.wiring import Wiring
from tests.analysis.linux_captures import FOLDER, capture, metrics

# A replay makes recorded wake-ups where their task or handler is now, which need not be where its kernel made them.
pytestmark = pytest.mark.monitor_rule("opid", "R11")

STOCK = "A-61-stock-arm64-gicv3"
THREADIRQS = "A-61-threadirqs-arm64-gicv3"


@functools.cache
def source() -> Source:
    return load(FOLDER / STOCK, ())


def target(kernel: str) -> Target:
    (found,) = parse_targets(kernel, source().release)
    return found


@functools.cache
def prediction(kernel: str) -> KernelPrediction:
    return asyncio.run(predict_one(source(), target(kernel), seed=1, check=True))


def test_capture_names_its_controller_and_wires() -> None:
    setting = source().setting
    assert setting.controller == "gicv3"
    named = {names[0]: setting.wiring[irq] for irq, names in setting.lines.items() if names != ["arch_timer"]}
    assert named == {
        "ttyS0": Wiring(4, True),
        "eth0": Wiring(5, True),
        "ehci_hcd:usb1": Wiring(3, True),
        "virtio0-req.0": Wiring(),
        "ahci[0000:00:04.0]": Wiring(),
    }


def test_levels_and_messages_go_through_the_fasteoi_flow() -> None:
    async def main() -> dict[int, tuple[str, str]]:
        origin = source()
        machine = Replay(origin.programs[0].unpack(), origin.table, target("threadirqs"), origin.setting, seed=1).machine
        assert machine.board.controller == "gicv3"
        descs = {irq: machine.irq.desc(irq) for irq in (16, 19, 23, 24, 25)}
        found = {irq: (desc.handle_irq.__name__, desc.chip.name) for irq, desc in descs.items()}
        await machine.close()
        return found

    wired, message = ("handle_fasteoi_irq", "GICv3"), ("handle_fasteoi_irq", "ITS-MSI")
    assert asyncio.run(main()) == {16: wired, 19: wired, 23: message, 24: wired, 25: message}


def test_stock_replays_its_own_counts() -> None:
    assert prediction("stock").metrics.pooled.interrupts == source().metrics.pooled.interrupts


def test_vectors_run_where_the_real_kernel_ran_them() -> None:
    predicted, real = prediction("threadirqs").metrics, metrics(THREADIRQS)
    assert score(predicted, real, source().metrics).x <= 5
    mine, theirs = predicted.pooled.contexts, real.pooled.contexts
    assert sorted(mine) == sorted(theirs)
    for vector in ("NET_RX", "RCU", "TASKLET", "TIMER"):
        assert max(mine[vector], key=mine[vector].__getitem__) == max(theirs[vector], key=theirs[vector].__getitem__)


def test_counts_of_what_does_not_depend_on_time() -> None:
    mine, theirs = prediction("threadirqs").metrics.pooled.interrupts, metrics(THREADIRQS).pooled.interrupts
    for name in ("ahci[0000:00:04.0]", "ehci_hcd:usb1", "virtio0-req.0"):
        assert mine[name] == theirs[name]


def irq_threads(events: list[Event]) -> set[tuple[str, int]]:
    """Return name and priority of the interrupt threads that ran."""
    switches = ((str(event.fields["next_comm"]), int(event.fields["next_prio"])) for event in events if event.name == "sched_switch")
    return {(comm, prio) for comm, prio in switches if comm.startswith("irq/")}


def test_irq_threads_have_the_real_priorities() -> None:
    """A new thread runs at 120 for a moment, until it has set its own priority; those of the capture are there before it begins."""
    predicted = capture_from_records(read_jsonl(prediction("threadirqs").trace.splitlines()), "threadirqs", resolution_ns=1_000)
    real, mine = irq_threads(capture(THREADIRQS).events), irq_threads(predicted.events)
    assert {prio for _, prio in real} == {49, 120}
    assert mine == {(comm, prio) for comm, prio in real if prio == 49}


def test_command_prints_where_the_vectors_ran(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """NET_TX ran ten times only, so its shares say nothing."""
    against = ["--against", str(FOLDER / THREADIRQS)]
    with pytest.raises(SystemExit) as stop:
        command(["whatif", str(FOLDER / STOCK), "--under", "threadirqs", *against, "--out", str(tmp_path)])
    assert not stop.value.code
    printed = capfd.readouterr().out
    table = printed.partition("Where softirq vectors ran")[2].partition("CPU time")[0]
    vector, rows = "", {}
    for line in table.splitlines():
        found = re.fullmatch(r"\| (\w*) +\| (\w+) +\| +([\d.]+) % \| +([\d.]+) % \| +([\d.]+) % \|", line)
        if found:
            vector = found[1] or vector
            rows[vector, found[2]] = float(found[4]), float(found[5])
    assert {name for name, _ in rows} == {"NET_RX", "NET_TX", "RCU", "TASKLET", "TIMER"}
    assert all(abs(mine - real) <= 5 for (name, _), (mine, real) in rows.items() if name != "NET_TX")
    assert rows["TASKLET", "irq_thread"] == (100, 100)

"""Measure the model: against SimPy, against itself at other sizes, and over a long run. ``make bench`` runs this.

Every measurement is a process of its own, all variants take turns, and each number is the median of its rounds; time is processor
time of the run alone, without imports and boot. Lines are ``ratio NAME VALUE``; limits are judged at the end, and a broken one is
exit status 1. Microseconds are told because they help, not because they mean anything on another machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import bench_trace, callgrind, deferred, prediction
from tests.bench.load import Result

SIZES: Final = (1, 4, 16, 256)
LONG_RUN: Final = 1_000_000
FAR_TIMERS: Final = 100_000
CONTROLLERS: Final = ("gicv3", "gicv2")
"""Interrupt controllers that may cost at most ``CONTROLLER_RATIO`` of what the APICs do."""
CONTROLLER_RATIO: Final = 1.3
MEMORY_MIB: Final = 300
ITEMS: Final = 1_000_000
EVENTS: Final = 1_000_000
PENDING_GROWTH: Final = 1.3


class Limits:
    """Print ratios and judge them; a smaller one is better unless it has a floor. ``broken`` names those that failed."""

    def __init__(self) -> None:
        self.verdicts: list[str] = []
        self.broken = 0

    def ratio(self, name: str, value: float) -> None:
        """Print a comparison."""
        print(f"ratio {name} {value:.2f}", flush=True)

    def floor(self, name: str, value: float, least: float, aim: float) -> None:
        """Judge a value that must not be below ``least``."""
        self._judge(value >= least, f"{name} {value:.2f}, at least {least:g}" + (f" (the aim is {aim:g})" if value < aim else ""))

    def ceiling(self, name: str, value: float, most: float, unit: str = "") -> None:
        """Judge a value that must not be above ``most``."""
        self._judge(value <= most, f"{name} {value:.2f}{unit}, at most {most:g}{unit}")

    def skip(self, name: str, why: str) -> None:
        """Say what is not judged here."""
        self.verdicts.append(f"skipped {name}: {why}")

    def _judge(self, good: bool, text: str) -> None:
        self.broken += not good
        self.verdicts.append(f"{'ok     ' if good else 'BROKEN '} {text}")


def one(side: str, cpus: int, interrupts: int, trace: str, far_timers: int) -> Result:
    """Measure one run in this process."""
    path = Path(trace) if trace else None
    if side in ("asyncirq", *CONTROLLERS):
        from tests.bench import workload

        return workload.run(cpus, interrupts, path, far_timers=far_timers, controller="apic" if side == "asyncirq" else side)
    from tests.bench import peer_simpy

    return peer_simpy.run(cpus, interrupts, path, tuned=side == "tuned")


def measure(side: str, cpus: int, interrupts: int, trace: Path | None = None, far_timers: int = 0) -> Result:
    """Measure one run in a process of its own. Raises ``CalledProcessError`` when it fails."""
    command = [sys.executable, __file__, "--one", side, str(cpus), str(interrupts), str(trace or ""), str(far_timers)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": "0"})
    return msgspec.json.decode(done.stdout, type=Result)


class Rounds:
    """Let variants take turns and keep their results."""

    def __init__(self, folder: Path, interrupts: int) -> None:
        self.folder = folder
        self.interrupts = interrupts
        self.results: dict[str, list[Result]] = {}

    def run(self, name: str, side: str, cpus: int, traced: bool = False, far_timers: int = 0) -> None:
        """Measure a variant once more."""
        trace = self.folder / "trace.jsonl" if traced else None
        result = measure(side, cpus, self.interrupts, trace, far_timers)
        if result.interrupts != self.interrupts // cpus * cpus or result.packets != result.interrupts:
            raise SystemExit(f"{name}: {result.interrupts} interrupts, {result.packets} packets instead of {self.interrupts}")
        self.results.setdefault(name, []).append(result)

    def us(self, name: str) -> float:
        """Return the median cost of an interrupt."""
        return statistics.median(result.us for result in self.results[name])

    def best(self, name: str) -> float:
        """Return the cost of an interrupt in the round that was disturbed least: what shares the caches only adds to it."""
        return min(result.us for result in self.results[name])

    def records(self, name: str) -> float:
        """Return how many records an interrupt made."""
        return self.results[name][0].records_per_interrupt


def versus_peer(rounds: Rounds, limits: Limits, count: int) -> None:
    """Compare with SimPy at every size, and our own sizes with each other."""
    for number in range(count):
        print(f"round {number + 1} of {count}", file=sys.stderr)
        for cpus in SIZES:
            for kind, traced in (("untraced", False), ("traced", True)):
                rounds.run(f"{kind}{cpus}", "asyncirq", cpus, traced)
                rounds.run(f"peer_{kind}{cpus}", "simpy", cpus, traced)
        rounds.run("peer_tuned4", "tuned", 4, True)
        rounds.run("far4", "asyncirq", 4, far_timers=FAR_TIMERS)
        for controller in CONTROLLERS:
            for kind, traced in (("untraced", False), ("traced", True)):
                rounds.run(f"{controller}_{kind}4", controller, 4, traced)
    print("us per interrupt, and records per interrupt where there is a trace:")
    print("CPUs   asyncirq     SimPy   asyncirq, JSON lines on disk   SimPy, structlog JSON on disk")
    for cpus in SIZES:
        ours, peer = rounds.us(f"untraced{cpus}"), rounds.us(f"peer_untraced{cpus}")
        written, logged = f"traced{cpus}", f"peer_traced{cpus}"
        print(
            f"{cpus:4} {ours:10.2f} {peer:9.2f} {rounds.us(written):19.2f} ({rounds.records(written):.1f})"
            f" {rounds.us(logged):25.2f} ({rounds.records(logged):.1f})"
        )
    print("The peer's logic is lighter: no interrupt flag, priorities, gates, descriptors, flow handlers, scheduler, ticks, causes.")
    for cpus in SIZES:
        for kind, least, aim in (("traced", 2, 4), ("untraced", 1, 2)):
            value = rounds.us(f"peer_{kind}{cpus}") / rounds.us(f"{kind}{cpus}")
            limits.ratio(f"{kind}_cpus{cpus}", value)
            limits.floor(f"{kind}_cpus{cpus}", value, least, aim)
    for controller in CONTROLLERS:
        for kind in ("traced", "untraced"):
            value = rounds.us(f"{controller}_{kind}4") / rounds.us(f"{kind}4")
            limits.ratio(f"{kind}_{controller}_to_apic", value)
            limits.ceiling(f"{kind}_{controller}_to_apic", value, CONTROLLER_RATIO)
    limits.ratio("traced_cpus4_tuned_structlog", rounds.us("peer_tuned4") / rounds.us("traced4"))
    for kind in ("traced", "untraced"):
        value = rounds.us(f"{kind}{SIZES[-1]}") / rounds.us(f"{kind}1")
        limits.ratio(f"{kind}_cpus256_to_1", value)
        limits.ceiling(f"{kind}_cpus256_to_1", value, 2.5)
        value = rounds.best(f"{kind}{SIZES[-1]}") / rounds.best(f"{kind}{SIZES[-2]}")
        limits.ratio(f"{kind}_cpus256_to_16", value)
        limits.ceiling(f"{kind}_cpus256_to_16", value, 1.5)
    value = rounds.us("far4") / rounds.us("untraced4")
    limits.ratio("far_timers", value)
    limits.ceiling("far_timers", value, 1.3)


def long_run(limits: Limits, interrupts: int) -> None:
    """Compare the last tenth of a long traced run with its first, and look at the memory."""
    drifts = []
    while True:
        result = measure("asyncirq", 4, interrupts, Path(os.devnull))
        drifts.append(result.tenths[-1] / result.tenths[0])
        if drifts[0] <= 1.1 or len(drifts) == 3:
            break
    drift = statistics.median(drifts)
    memory = [kib / 1024 for kib in result.rss_kib]
    print(f"{interrupts} interrupts: memory after each tenth in MiB: {' '.join(f'{mib:.0f}' for mib in memory)}")
    limits.ratio("last_tenth", drift)
    limits.ceiling("last_tenth", drift, 1.1)
    limits.ceiling("memory", memory[-1], MEMORY_MIB, " MiB")
    growth = memory[-1] / memory[0]
    limits.ratio("memory_last_tenth", growth)
    limits.ceiling("memory_last_tenth", growth, 1.1)


def sinks(rounds: Rounds, limits: Limits) -> None:
    """Say what a record costs."""
    cost = bench_trace.costs()
    bench_trace.report(cost)
    for name, budget in bench_trace.BUDGET.items():
        limits.ceiling(name, cost[name], budget, " us a record")
    whole = (rounds.us("traced4") - rounds.us("untraced4")) / rounds.records("traced4")
    print(f"cost whole_recorder {whole:.3f} us a record (built, encoded, hashed and written, in a run at 4 CPUs)")


def instructions(limits: Limits) -> None:
    """Count the instructions of an interrupt, and compare them with the table."""
    why = callgrind.missing()
    if why is not None:
        limits.skip("instructions", why)
        return
    for name, count in callgrind.count_all().items():
        print(f"instructions {name} {count} an interrupt")
        recorded = callgrind.recorded(name)
        if recorded is None:
            limits.skip(f"instructions {name}", f"no count is recorded for {callgrind.build_name()!r}")
        else:
            limits.ratio(f"instructions_{name}", count / recorded)
            limits.ceiling(f"instructions_{name}", count / recorded, callgrind.TOLERANCE)


def deferred_work(limits: Limits, items: int) -> None:
    """Measure tasklets, work items and timers, and compare few timers pending with many."""
    few, many = deferred.FEW, deferred.MANY
    for kind in deferred.KINDS:
        growths = []
        while True:
            least, most = cost_of(kind, items, few), cost_of(kind, items, many)
            growths.append(most / least)
            print(f"deferred {kind} {least:.2f} us an item with {few} timers pending, {most:.2f} with {many}, {items} items each")
            if growths[0] <= PENDING_GROWTH or len(growths) == 3:
                break
        growth = statistics.median(growths)
        limits.ratio(f"{kind}_pending", growth)
        limits.ceiling(f"{kind}_pending", growth, PENDING_GROWTH)


def cost_of(kind: str, items: int, pending: int) -> float:
    """Measure one kind of deferred work in a process of its own; return us an item."""
    command = [sys.executable, deferred.__file__, kind, str(items), str(pending)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": "0"})
    return msgspec.json.decode(done.stdout, type=deferred.Cost).us


def long_prediction(limits: Limits, events: int) -> None:
    """Predict a long capture under three kernels."""
    cost = prediction.predict(events)
    print(f"prediction {events} events under three kernels: {cost.seconds:.1f} s, {cost.memory_mib:.0f} MiB")
    limits.ceiling("prediction", cost.seconds, prediction.SECONDS, " s")
    limits.ceiling("prediction_memory", cost.memory_mib, prediction.MEMORY_MIB, " MiB")


def main() -> int:
    """Run everything; return 1 when a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the comparison with SimPy (default 5)")
    parser.add_argument("--interrupts", type=int, default=10_240, help="interrupts of each run (default 10240)")
    parser.add_argument("--long", type=int, default=LONG_RUN, help=f"interrupts of the long run (default {LONG_RUN})")
    parser.add_argument("--items", type=int, default=ITEMS, help=f"tasklets, work items and expiries of each kind (default {ITEMS})")
    parser.add_argument("--events", type=int, default=EVENTS, help=f"events of the capture that is predicted (default {EVENTS})")
    parser.add_argument("--one", nargs=5, metavar=("SIDE", "CPUS", "INTERRUPTS", "TRACE", "FAR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        side, cpus, interrupts, trace, far_timers = options.one
        sys.stdout.buffer.write(msgspec.json.encode(one(side, int(cpus), int(interrupts), trace, int(far_timers))))
        return 0
    limits = Limits()
    with tempfile.TemporaryDirectory() as folder:
        rounds = Rounds(Path(folder), options.interrupts)
        versus_peer(rounds, limits, options.rounds)
        long_run(limits, options.long)
        sinks(rounds, limits)
        deferred_work(limits, options.items)
        long_prediction(limits, options.events)
        instructions(limits)
    print("limits:")
    for verdict in limits.verdicts:
        print(f"  {verdict}")
    return 1 if limits.broken else 0


if __name__ == "__main__":
    sys.exit(main())

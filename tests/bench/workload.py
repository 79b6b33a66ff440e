"""Be our side: the workload of ``load.py`` on the full model.

Message-signalled NIC queues, local APICs, gates, the vector domain, the edge flow, a driver with NAPI, NET_RX softirq, idle tasks
with dynamic ticks, the scheduler and ksoftirqd below: nothing is left out for the measurement.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import deque
from pathlib import Path

from asyncirq.bottom_half.napi import Napi
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED
from asyncirq.machine import Machine
from asyncirq.trace.sinks import FileSink
from tests.bench import load
from tests.bench.load import Result

FAR_NS = 1 << 60
BOOT_NS = 1_000_000
TENTHS = 10


class Meter:
    """Look at the clock and the memory after each tenth of the interrupts."""

    def __init__(self, interrupts: int) -> None:
        self.done = 0
        self.tenth = max(1, interrupts // TENTHS)
        self.next = self.tenth
        self.started = time.process_time()
        self.tenths: list[float] = []
        self.rss_kib: list[int] = []

    def look(self) -> None:
        """End a tenth."""
        now = time.process_time()
        self.tenths.append(now - self.started)
        self.started = now
        self.rss_kib.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        self.next += self.tenth


class Nic:
    """One NIC queue bound to one CPU, and its driver."""

    def __init__(self, machine: Machine, cpu: int, meter: Meter) -> None:
        self.machine = machine
        self.engine = machine.engine
        self.trace = machine.trace
        self.number = cpu
        self.meter = meter
        self.msi = machine.msi(f"eth{cpu}")
        self.napi = Napi(self.poll, load.BUDGET, f"eth{cpu}-0", f"eth{cpu}")
        self.ring: deque[int] = deque()
        self.irq_enabled = True
        self.interrupts = 0
        self.packets = 0

    async def probe(self) -> None:
        """Ask for the interrupt, on its CPU, and let it be polled."""
        core = self.machine.irq
        await core.request_irq(None, self.msi.irq, self.handler, name=self.napi.dev_name, dev_id=self)
        await core.irq_set_affinity(None, self.msi.irq, 1 << self.number)
        self.machine.napi.netif_napi_add(self.napi)
        self.machine.napi.napi_enable(self.napi)

    async def receive(self, frames: int) -> None:
        """Be the hardware: receive frames, and raise an interrupt for each while the driver wants them."""
        gap = load.gap_ns(self.number)
        sleep = self.engine.sleep
        for _ in range(frames):
            await sleep(gap)
            self.ring.append(load.PACKET_BYTES)
            if self.irq_enabled:
                cause = 0 if self.trace is None else self.trace.device_raise(0, self.napi.dev_name, "rx")
                self.msi.send(cause)

    async def handler(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        """Be the driver's handler: keep the NIC quiet and ask for a poll."""
        self.interrupts += 1
        self.irq_enabled = False
        await cpu.spend(load.HANDLER_NS)
        await self.machine.napi.napi_schedule(cpu, self.napi)
        return IRQ_HANDLED

    async def poll(self, cpu: Cpu, napi: Napi, budget: int) -> int:
        """Be the driver's poll: take frames off the ring, and let the NIC interrupt again once it is empty."""
        work = 0
        while self.ring and work < budget:
            size = self.ring.popleft()
            await cpu.spend(load.PACKET_NS)
            work += 1
            if self.trace is not None:
                self.trace.netif_receive_skb(cpu, napi.dev_name, size)
        self.packets += work
        if work < budget and await self.machine.napi.napi_complete_done(cpu, napi, work):
            self.irq_enabled = True
        meter = self.meter
        meter.done += work
        if meter.done >= meter.next:
            meter.look()
        return work


async def run_async(
    cpus: int, interrupts: int, trace: Path | None, *, far_timers: int = 0, digest: bool = True, controller: str = "apic"
) -> Result:
    """Run the workload to its end inside the caller's loop."""
    sinks = () if trace is None else (FileSink(trace),)
    async with Machine(cpus=cpus, controller=controller, trace=digest or trace is not None, sinks=sinks) as machine:
        meter = Meter(interrupts)
        nics = [Nic(machine, cpu, meter) for cpu in range(cpus)]
        for nic in nics:
            await nic.probe()
        for number in range(far_timers):
            machine.engine.timer(_never, "far").arm(FAR_NS + number)
        await machine.run_for(BOOT_NS)
        frames = interrupts // cpus
        for nic in nics:
            machine.spawn(nic.receive(frames), nic.napi.dev_name)
        booted = 0 if machine.trace is None else machine.trace.seq
        meter.started = begun = time.process_time()
        await machine.run_for((frames + 1) * load.gap_ns(cpus - 1))
        if machine.trace is not None:
            machine.trace.flush()
        seconds = time.process_time() - begun
        return Result(
            interrupts=sum(nic.interrupts for nic in nics),
            packets=sum(nic.packets for nic in nics),
            records=0 if machine.trace is None else machine.trace.seq - booted,
            seconds=seconds,
            tenths=meter.tenths,
            rss_kib=meter.rss_kib,
            digest="" if machine.trace is None else machine.digest,
        )


def _never() -> None:
    raise AssertionError("a far timer came due")


def run(cpus: int, interrupts: int, trace: Path | None, *, far_timers: int = 0, digest: bool = False, controller: str = "apic") -> Result:
    """Run the workload to its end; ``trace`` is the file that gets the JSON lines, ``digest`` records without one."""
    return asyncio.run(run_async(cpus, interrupts, trace, far_timers=far_timers, digest=digest, controller=controller))

"""Be the peer: the workload of ``load.py`` as somebody who knows SimPy and structlog writes it, without a kernel underneath.

NIC processes, one interrupt-controller process, an interrupt process and a softirq process for each CPU; the CPU is a
``PreemptiveResource``, so an interrupt preempts the softirq. What the peer leaves out, and asyncirq does: interrupt flags and
priorities, a gate table, the local APIC's registers, descriptors, flow handlers and chips, a scheduler with an idle task, preempt
counts, ksoftirqd, need_resched, causes.
"""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import simpy
import structlog

from tests.bench import load
from tests.bench.load import Result

Process = Generator[simpy.Event, Any, None]
IRQ_PRIORITY = 0
SOFTIRQ_PRIORITY = 1


class Message(NamedTuple):
    """What the NIC sends to the controller."""

    cpu: int
    vector: int


class BufferedLogger:
    """Take rendered lines and leave it to the file when to write them."""

    def __init__(self, out: BinaryIO) -> None:
        self._write = out.write

    def info(self, line: bytes) -> None:
        """Write one line."""
        self._write(line + b"\n")


class Log:
    """Log events with the virtual time and count them; without a file log nothing.

    ``tuned`` goes further than most: a faster JSON encoder, bytes instead of text, and no flush after every line, which
    structlog's own loggers do.
    """

    def __init__(self, env: simpy.Environment, out: BinaryIO | None, tuned: bool) -> None:
        self.env = env
        self.records = 0
        self.on = out is not None
        if out is not None:
            text = io.TextIOWrapper(out)
            self.close = text.close
            renderer = structlog.processors.JSONRenderer(serializer=_encode) if tuned else structlog.processors.JSONRenderer()
            self._log = structlog.wrap_logger(
                BufferedLogger(out) if tuned else structlog.WriteLogger(text),
                processors=[renderer],
                wrapper_class=structlog.make_filtering_bound_logger("info"),
                cache_logger_on_first_use=True,
            ).bind()

    def __call__(self, event: str, cpu: int, **fields: Any) -> None:
        self.records += 1
        self._log.info(event, seq=self.records, ts=self.env.now, cpu=cpu, **fields)


def _encode(event: Any, **_options: Any) -> bytes:
    return msgspec.json.encode(event)


class Cpu:
    """One CPU: what its local APIC has accepted, the core that interrupts and softirqs compete for, and its receive ring."""

    def __init__(self, env: simpy.Environment, number: int, log: Log) -> None:
        self.env = env
        self.number = number
        self.log = log
        self.core = simpy.PreemptiveResource(env, capacity=1)
        self.irr: simpy.Store = simpy.Store(env)
        self.requested: set[int] = set()
        self.softirqs: simpy.Store = simpy.Store(env)
        self.pending: set[int] = set()
        self.softirq_core: Any = None
        self.ring: deque[int] = deque()
        self.interrupts = 0
        self.coalesced = 0
        self.packets = 0
        env.process(self.take_interrupts())
        env.process(self.run_softirqs())

    def accept(self, vector: int) -> None:
        """Latch a vector, as the local APIC does; one that is latched already is coalesced."""
        if self.log.on:
            self.log("lapic_irr", self.number, vector=vector, trigger="edge")
        if vector in self.requested:
            self.coalesced += 1
        else:
            self.requested.add(vector)
            self.irr.put(vector)

    def take_interrupts(self) -> Process:
        """Take one vector after the other: entry, handler, exit."""
        env, log, number = self.env, self.log, self.number
        while True:
            vector = yield self.irr.get()
            with self.core.request(priority=IRQ_PRIORITY) as core:
                yield core
                self.requested.discard(vector)
                if log.on:
                    log("lapic_inta", number, vector=vector)
                yield env.timeout(load.IRQ_ENTRY_NS)
                if log.on:
                    log("vector_entry", number, vector=vector)
                    log("lapic_eoi", number, vector=vector)
                yield from self.handler(vector)
                if log.on:
                    log("vector_exit", number, vector=vector)
                yield env.timeout(load.IRQ_EXIT_NS)
            self.interrupts += 1

    def handler(self, vector: int) -> Process:
        """Be the driver's handler: ask for a poll."""
        log, number = self.log, self.number
        if log.on:
            log("irq_handler_entry", number, irq=vector, name="eth0")
        yield self.env.timeout(load.HANDLER_NS)
        if log.on:
            log("softirq_raise", number, vec=load.NET_RX)
        if load.NET_RX not in self.pending:
            self.pending.add(load.NET_RX)
            self.softirqs.put(load.NET_RX)
        if log.on:
            log("irq_handler_exit", number, irq=vector, ret=1)

    def run_softirqs(self) -> Process:
        """Run what was raised, at the priority below interrupts; the core is asked for once a run, and again after a preemption."""
        log, number = self.log, self.number
        while True:
            vec = yield self.softirqs.get()
            self.softirq_core = self.core.request(priority=SOFTIRQ_PRIORITY)
            yield self.softirq_core
            yield from self.spend(load.SOFTIRQ_ENTRY_NS)
            self.pending.discard(vec)
            if log.on:
                log("softirq_entry", number, vec=vec)
            yield from self.spend(load.POLL_NS)
            done = 0
            while self.ring and done < load.BUDGET:
                size = self.ring.popleft()
                yield from self.spend(load.PACKET_NS)
                self.packets += 1
                done += 1
                if log.on:
                    log("netif_receive_skb", number, name="eth0", len=size)
            if log.on:
                log("napi_poll", number, dev_name="eth0", work=done, budget=load.BUDGET)
                log("softirq_exit", number, vec=vec)
            if self.ring and vec not in self.pending:
                self.pending.add(vec)
                self.softirqs.put(vec)
            yield from self.spend(load.SOFTIRQ_EXIT_NS)
            self.core.release(self.softirq_core)

    def spend(self, left: int) -> Process:
        """Let ``left`` ns of softirq work pass; an interrupt takes the core away, and the rest is done when it is back."""
        env = self.env
        while left > 0:
            start = env.now
            try:
                yield env.timeout(left)
                left = 0
            except simpy.Interrupt:
                left -= int(env.now - start)
                self.softirq_core = self.core.request(priority=SOFTIRQ_PRIORITY)
                yield self.softirq_core


def controller(inbox: simpy.Store, cpus: list[Cpu]) -> Process:
    """Take messages in order and deliver each to its CPU."""
    while True:
        message = yield inbox.get()
        cpus[message.cpu].accept(message.vector)


def nic(env: simpy.Environment, cpu: Cpu, inbox: simpy.Store, log: Log, frames: int) -> Process:
    """Receive frames, and raise an interrupt for each."""
    gap = load.gap_ns(cpu.number)
    message = Message(cpu.number, load.VECTOR)
    for _ in range(frames):
        yield env.timeout(gap)
        cpu.ring.append(load.PACKET_BYTES)
        if log.on:
            log("device_raise", cpu.number, device="eth0", source="rx")
            log("msi_write", cpu.number, address=load.MSI_ADDRESS, data=load.VECTOR)
        yield inbox.put(message)


def run(cpus: int, interrupts: int, trace: Path | None, tuned: bool = False) -> Result:
    """Run the workload to its end; ``trace`` is the file that gets the JSON lines."""
    env = simpy.Environment()
    log = Log(env, None if trace is None else trace.open("wb"), tuned)
    all_cpus = [Cpu(env, number, log) for number in range(cpus)]
    inbox: simpy.Store = simpy.Store(env)
    env.process(controller(inbox, all_cpus))
    for cpu in all_cpus:
        env.process(nic(env, cpu, inbox, log, interrupts // cpus))
    begun = time.process_time()
    env.run()
    if log.on:
        log.close()
    seconds = time.process_time() - begun
    return Result(
        interrupts=sum(cpu.interrupts for cpu in all_cpus),
        packets=sum(cpu.packets for cpu in all_cpus),
        records=log.records,
        seconds=seconds,
    )

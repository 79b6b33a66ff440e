"""Drive the lines of a machine at random, and watch every rule of the interrupt core while it runs.

A ``Plan`` says it all: the machine, what kind of handler each device has, what its devices raise and when, and what a driver
thread requests, frees, disables, enables and moves. ``play`` runs it and raises ``Broken`` with the name of the rule.

======================== ==============================================================================================
rule                     what it says
======================== ==============================================================================================
depth                    the depth is what the drivers' calls add up to, and the line is disabled exactly above 0
disabled line ran        from the return of ``disable_irq`` to the next ``enable_irq`` no handler and no thread runs
masked line ran          no handler is entered while its line is masked, but where the flow itself has masked it for this
                         run: a level flow always, the flow with EOI for one-shot lines; nor while a one-shot thread of
                         the line is due, unless the driver unmasked it: by ``disable_irq_nosync`` and ``enable_irq``
run without an arrival   each run has an interrupt of its own, or stands for all that came while the last one ran
lost interrupt           once everything is quiet and enabled, no device waits to be served
wake unaccounted         ``threads_active`` counts the woken threads, every wake is followed by a run, and none is left over
counts                   /proc's counters, the records and the runs agree; each accepted vector is acknowledged once
affinity                 a line that interrupts does so on one online CPU, of its mask unless a move is pending
======================== ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from asyncirq import (
    IRQ_HANDLED,
    IRQ_NONE,
    IRQ_WAKE_THREAD,
    IRQF_ONESHOT,
    IRQF_SHARED,
    Cpu,
    Line,
    Machine,
    Msi,
    Task,
    UsageError,
    ms,
    preset,
    us,
)
from asyncirq.board import BOARDS
from asyncirq.entry import FIRST_SYSTEM_VECTOR
from asyncirq.irq import do_irq, flow
from asyncirq.irq.desc import IrqAction, IrqDesc
from asyncirq.sim.word import Flag
from asyncirq.trace.balance import open_spans
from asyncirq.trace.events_hw import LapicInta, LapicIrr
from asyncirq.trace.events_irq import IrqHandlerEntry
from asyncirq.trace.events_sched import Printk
from asyncirq.trace.events_vector import VectorUpdate

PLAIN: Final = "plain"
"""The handler serves the device."""
THREADED: Final = "threaded"
"""The handler serves the device and wakes a thread for the rest."""
ONESHOT: Final = "oneshot"
"""The handler only looks; the thread serves the device."""
BARE: Final = "bare"
"""There is no handler; the thread serves the device."""
KINDS: Final = (PLAIN, THREADED, ONESHOT, BARE)

KERNELS: Final = {
    "stock": preset("linux-6.12"),
    "full": preset("linux-6.12", preemption="full"),
    "threadirqs": preset("linux-6.12", threadirqs=True),
    "rt": preset("linux-6.12", rt=True),
}
ONE_FLOW: Final = "one flow"
"""The kernel with one flow for all lines, and without threads for them."""
ALL_KERNELS: Final = {**KERNELS, ONE_FLOW: preset("linux-2.6")}
LINES: Final = ("msi", "msi without mask bit", "edge pin", "level pin")
DEVICES: Final = (0, 1, 2, 3, 3, 3)
"""For each device the line it is on: three of them share the level pin."""

CHASE_NS: Final = 700
SETTLE_NS: Final = ms(3)
PATIENCE_NS: Final = ms(50)


class Broken(AssertionError):
    """A rule was broken; the message begins with its name."""


class Raise(NamedTuple):
    """After ``gap_ns``, device ``device`` asks for service ``times`` times in a row."""

    gap_ns: int
    device: int
    times: int


class Op(NamedTuple):
    """After ``gap_ns``, the driver thread does ``what`` to a device (request, free) or a line; ``arg`` is a CPU mask."""

    gap_ns: int
    what: str
    target: int
    arg: int = 0


class Plan(NamedTuple):
    """One run. ``holds`` are the ns that each device's handler and thread take."""

    kernel: str
    cpus: int
    kinds: tuple[str, ...]
    holds: tuple[tuple[int, int], ...]
    raises: tuple[Raise, ...]
    ops: tuple[Op, ...]


def broken(rule: str, what: str) -> Broken:
    return Broken(f"{rule}: {what}")


class Wire:
    """One line: how it is raised, and what must hold for it. ``depth`` is None while nobody holds it."""

    def __init__(self, scene: Scene, number: int) -> None:
        m = scene.m
        self.scene = scene
        self.name = LINES[number]
        self.level = number == 3
        self.msi: Msi | None = None
        self.line: Line | None = None
        if number < 2:
            self.msi = m.msi(f"msi{number}")
            self.msi.can_mask = number == 0
            self.irq = self.msi.irq
        else:
            self.line, self.irq = m.line(number + 7, level=self.level)
        self.desc = m.irq.desc(self.irq)
        self.devices: list[Device] = []
        self.depth: int | None = None
        self.quiet = False
        self.unmasked = False
        self.fresh = 0
        self.merged = 0
        self.runs = 0
        self.reruns = 0
        self.refused = 0
        self.actions_run = 0
        self._flow = self.desc.handle_irq
        self.desc.handle_irq = self.arrive

    async def arrive(self, cpu: Cpu, desc: IrqDesc) -> None:
        """Count an interrupt, and whether it comes while the line is being handled."""
        taken = desc.tot_count
        if desc.inprogress:
            self.merged += 1
        else:
            self.fresh = 1
        await self._flow(cpu, desc)
        if desc.tot_count == taken:
            self.fresh = 0
            self.refused += desc.disabled

    def begin_run(self, actions: int) -> None:
        """Check that the line may be handled now: called where so many actions are about to be."""
        desc = self.desc
        self.runs += 1
        self.actions_run += actions
        if self.quiet:
            raise broken("disabled line ran", f"{self.name} at {self.scene.m.now} ns")
        if self.fresh:
            self.fresh = self.merged = 0
        elif self.merged:
            self.merged = 0
            self.reruns += 1
        else:
            raise broken("run without an arrival", f"{self.name} at {self.scene.m.now} ns")
        if self._flow is do_irq.do_irq:
            return
        masks = self._flow is flow.handle_level_irq or (self._flow is flow.handle_fasteoi_irq and desc.oneshot)
        if desc.masked is not masks:
            raise broken("masked line ran", f"{self.name} is {'' if desc.masked else 'not '}masked at {self.scene.m.now} ns")
        if self.level and desc.oneshot:
            due = [device.name for device in self.devices if device.due and device.action in desc.actions()]
            unmasked, self.unmasked = self.unmasked, False
            if due and not unmasked:
                raise broken("masked line ran", f"{self.name} while the thread of {due[0]} is due, at {self.scene.m.now} ns")

    def end_run(self) -> None:
        """Note which one-shot threads are due now."""
        for device in self.devices:
            action = device.action
            if action is not None and action.thread_mask and action.run_thread:
                device.due = True


class Device:
    """One device with its driver."""

    def __init__(self, scene: Scene, number: int, wire: Wire, kind: str, holds: tuple[int, int]) -> None:
        self.scene = scene
        self.name = f"dev{number}"
        self.wire = wire
        self.kind = kind
        self.holds = holds
        self.driver = wire.line.add_driver() if wire.line is not None else 0
        self.shared = wire.level
        self.action: IrqAction | None = None
        self.active = False
        self.work = False
        self.due = False
        self.busy = 0
        self.wanted = False
        self.wakes = 0
        self.thread_runs = 0
        wire.devices.append(self)

    # --- the hardware half

    def ask(self) -> None:
        """Ask for service, unless the driver has switched the device off."""
        if not self.active:
            return
        self.work = True
        if self.wire.msi is not None:
            self.wire.msi.send()
        elif self.wire.line is not None:
            if self.wire.level:
                self.wire.line.set(True, driver=self.driver)
            else:
                self.wire.line.pulse(driver=self.driver)

    def serve(self) -> bool:
        """Serve everything that the device has asked for so far; tell whether there was anything."""
        had = self.work
        self.work = False
        if self.wire.level and self.wire.line is not None:
            self.wire.line.set(False, driver=self.driver)
        return had

    # --- the driver half

    def check_running(self, what: str) -> None:
        if self.wire.quiet:
            raise broken("disabled line ran", f"{what} of {self.name} at {self.scene.m.now} ns")

    async def handler(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        """Serve the device, or ask for the thread."""
        self.check_running("handler")
        if not self.work:
            return IRQ_NONE
        if self.kind == ONESHOT:
            await cpu.spend(self.holds[0])
            return self.wake()
        # What comes from now on is news: an edge that is taken late would hide a lost one.
        self.serve()
        await cpu.spend(self.holds[0])
        self.check_running("handler")
        if self.kind == PLAIN:
            return IRQ_HANDLED
        return self.wake()

    def wake(self) -> int:
        self.wakes += 1
        self.wanted = True
        return IRQ_WAKE_THREAD

    async def thread_fn(self, task: Task, irq: int, dev_id: object) -> int:
        """Do the rest, or all of it."""
        self.check_running("thread")
        self.busy += 1
        self.thread_runs += 1
        self.wanted = False
        had = self.serve() if self.kind in (ONESHOT, BARE) else True
        await task.spend(self.holds[1])
        self.check_running("thread")
        self.busy -= 1
        self.due = False
        return IRQ_HANDLED if had else IRQ_NONE

    async def forced(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        """Run the handler where forced threading may have moved it: then its line is not due any more."""
        ret = await self.handler(cpu, irq, dev_id)
        if self.action is not None and self.action.forced:
            self.due = False
        return ret

    def check_wakes(self) -> None:
        """Check that each wake was followed by a run, and that nothing ran without one."""
        if self.wanted:
            raise broken("wake unaccounted", f"{self.name} was woken and never ran")
        if self.kind in (THREADED, ONESHOT) and self.thread_runs > self.wakes:
            raise broken("wake unaccounted", f"{self.name} was woken {self.wakes} times and ran {self.thread_runs}")

    async def request(self, task: Task) -> None:
        """Request the line and switch the device on; one that the sharers refuse must be told so."""
        wire = self.wire
        flags = (IRQF_SHARED if self.shared else 0) | (IRQF_ONESHOT if self.kind in (ONESHOT, BARE) else 0)
        handler = None if self.kind == BARE else self.forced
        thread_fn = None if self.kind == PLAIN else self.thread_fn
        agrees = self.scene.agrees(self)
        self.work = self.due = False
        if wire.depth is None:
            wire.quiet = False
        try:
            action = await self.scene.m.irq.request_threaded_irq(task, wire.irq, handler, thread_fn, flags, self.name, self)
        except UsageError as refused:
            if agrees or refused.errno != 16:
                raise
            return
        if not agrees:
            raise broken("sharing", f"{self.name} was accepted")
        self.action = action
        if wire.depth is None:
            wire.depth = 0
        self.active = True

    async def free(self, task: Task) -> None:
        """Switch the device off and free the line."""
        self.active = False
        self.serve()
        if await self.scene.m.irq.free_irq(task, self.wire.irq, self) != self.name:
            raise broken("free", f"{self.name} was not there")
        if self.busy:
            raise broken("free", f"the thread of {self.name} still runs")
        self.check_wakes()
        self.action = None
        self.due = False
        if self.wire.desc.action is None:
            self.wire.depth = None


class Scene:
    """The machine with its lines, its devices, the driver thread, and a hog that all of them preempt."""

    def __init__(self, m: Machine, plan: Plan) -> None:
        self.m = m
        self.plan = plan
        self.wires = [Wire(self, number) for number in range(len(LINES))]
        self.by_irq = {wire.irq: wire for wire in self.wires}
        self.devices = [
            Device(self, number, self.wires[line], plan.kinds[number], plan.holds[number]) for number, line in enumerate(DEVICES)
        ]
        self.ready = Flag("drivers")
        self.done = False
        self.raised = False

    def agrees(self, device: Device) -> bool:
        """Tell whether the line takes one more handler of that kind: all or none of the sharers are one-shot."""
        if device.wire.desc.action is None:
            return True
        forced = self.m.config.force_threads
        kinds = {other.kind in (ONESHOT, BARE) or forced for other in device.wire.devices if other.action is not None}
        return kinds == {device.kind in (ONESHOT, BARE) or forced}

    # --- the tasks

    async def hog(self, task: Task) -> None:
        while True:
            await task.user(us(40))
            await task.spend(us(5))
            await self.m.sleep.nanosleep(task, us(20))

    async def arrivals(self) -> None:
        await self.m.engine.wait(self.ready)
        for gap, number, times in self.plan.raises:
            await self.m.engine.sleep(gap)
            for _ in range(times):
                self.devices[number].ask()
            self.check_step()
        self.raised = True

    async def drive(self, task: Task) -> None:
        for device in self.devices:
            await device.request(task)
        self.ready.set()
        for op in self.plan.ops:
            await self.pause(task, op.gap_ns)
            await self.do(task, op)
            self.check_step()
        while not self.raised:
            await self.pause(task, us(50))
        for wire in self.wires:
            while wire.depth:
                await self.enable(task, wire)
                self.check_step()
        self.done = True

    async def pause(self, task: Task, ns: int) -> None:
        if ns > us(5):
            await self.m.sleep.nanosleep(task, ns)
        elif ns:
            await task.spend(ns)

    async def do(self, task: Task, op: Op) -> None:
        """Do one thing to a line; what makes no sense now is left out."""
        irq = self.m.irq
        device = self.devices[op.target % len(self.devices)]
        wire = device.wire
        if op.what == "request":
            if device.action is None and (device.shared or wire.desc.action is None):
                await device.request(task)
        elif op.what == "free":
            if device.action is not None:
                await device.free(task)
        elif op.what in ("affinity", "chase") and not wire.desc.chip.has_set_affinity:
            return
        elif op.what == "affinity":
            await irq.irq_set_affinity(task, wire.irq, self.mask(op))
        elif op.what == "chase":
            # The first interrupt moves the line while it is handled; the next ones find it in progress elsewhere.
            await irq.irq_set_affinity(task, wire.irq, self.mask(op))
            for _ in range(3):
                device.ask()
                await task.spend(CHASE_NS)
        elif wire.depth is None:
            return
        elif op.what == "disable":
            wire.depth += 1
            await irq.disable_irq(task, wire.irq)
            wire.quiet = True
        elif op.what == "disable_nosync":
            wire.depth += 1
            await irq.disable_irq_nosync(task, wire.irq)
        elif op.what == "synchronize":
            await irq.synchronize_irq(task, wire.irq)
            wire.quiet = wire.depth > 0
        elif op.what == "enable":
            await self.enable(task, wire)

    def mask(self, op: Op) -> int:
        return (op.arg & (1 << self.plan.cpus) - 1) or 1

    async def enable(self, task: Task, wire: Wire) -> None:
        """Undo one disable. At depth 0 this is a mistake that the kernel reports and survives."""
        assert wire.depth is not None
        if wire.depth == 1:
            wire.quiet = False
            # As in Linux, this unmasks a one-shot line whose thread is still due: the next interrupt finds it marked.
            wire.unmasked = True
        wire.depth = max(0, wire.depth - 1)
        await self.m.irq.enable_irq(task, wire.irq)

    # --- the rules

    def check_step(self) -> None:
        """Check what must hold between any two calls of the driver thread, wherever the rest of the machine is."""
        for wire in self.wires:
            desc = wire.desc
            actions = desc.actions()
            if wire.depth is not None and actions and (desc.depth != wire.depth or desc.disabled != (wire.depth > 0)):
                raise broken("depth", f"{wire.name} has {desc.depth}, disabled {desc.disabled}; {wire.depth} are due")
            # One that is being freed is not linked any more, but its thread may still be at it.
            held = actions + [device.action for device in wire.devices if device.action is not None and device.action not in actions]
            threads = [thread for action in held for thread in (action, action.secondary) if thread is not None and thread.thread]
            marked = sum(thread.run_thread for thread in threads)
            busy = sum(device.busy for device in wire.devices)
            # Between its mark and its function, and after it, a thread is counted and neither marked nor busy.
            if not marked + busy <= desc.threads_active <= marked + len(threads):
                raise broken("wake unaccounted", f"{wire.name} has {desc.threads_active} active, {marked} marked, {busy} busy")
            stray = desc.threads_oneshot & ~sum(action.thread_mask for action in held)
            if stray:
                raise broken("wake unaccounted", f"{wire.name} waits for bits {stray:#x} of no action")
            if self.plan.kernel != ONE_FLOW and sum(desc.kstat_irqs) != desc.tot_count:
                raise broken("counts", f"{wire.name} has {desc.kstat_irqs} and {desc.tot_count} in total")

    def check_end(self) -> None:
        """Check what must hold once nothing is under way any more."""
        self.check_step()
        for device in self.devices:
            device.check_wakes()
            if device.work and device.action is not None:
                raise broken("lost interrupt", f"{device.name} ({device.kind}) on {device.wire.name} waits for ever")
        for wire in self.wires:
            self.check_line_end(wire)
        self.check_records()

    def check_line_end(self, wire: Wire) -> None:
        desc = wire.desc
        left = {"threads active": desc.threads_active, "threads_oneshot": desc.threads_oneshot, "in progress": desc.inprogress}
        if self.plan.kernel == ONE_FLOW and desc.action is None:
            # An interrupt that found no action leaves its mark until the next request.
            left["in progress"] = False
        for action in desc.actions():
            left[f"mark of {action.name}"] = action.run_thread
        for what, value in left.items():
            if value:
                raise broken("wake unaccounted", f"{wire.name} is left with {what} {value}")
        if desc.action is None:
            return
        if desc.pending or desc.masked:
            raise broken("lost interrupt", f"{wire.name} is left pending {desc.pending}, masked {desc.masked}")
        # Lines that cannot be moved say nothing of where they go.
        effective = desc.effective_affinity if desc.chip.has_set_affinity else desc.core.online_mask
        wanted = desc.affinity if not desc.setaffinity_pending else -1
        if effective & (effective - 1) or not effective & wanted & desc.core.online_mask:
            raise broken("affinity", f"{wire.name} interrupts {effective:#x} of {desc.affinity:#x}")

    def check_records(self) -> None:
        """Hold the trace against what was seen from inside: the runs, and the vectors taken."""
        records = self.m.records
        open_spans(records, self.m.config.rt)
        entered: dict[int, int] = {}
        vectors: dict[tuple[int, int], int] = {}
        for record in records:
            if isinstance(record, IrqHandlerEntry):
                entered[record.irq] = entered.get(record.irq, 0) + 1
            elif isinstance(record, LapicIrr) and not record.coalesced:
                vectors[record.cpu, record.vector] = vectors.get((record.cpu, record.vector), 0) + 1
            elif isinstance(record, LapicInta):
                vectors[record.cpu, record.vector] = vectors.get((record.cpu, record.vector), 0) - 1
        for wire in self.wires:
            count = entered.get(wire.irq, 0)
            # An action that is freed while its line is in progress may be gone before its turn comes.
            freed = any(op.what == "free" for op in self.plan.ops)
            if count > wire.actions_run or (count < wire.actions_run and not freed):
                raise broken("counts", f"{wire.name}: {count} entries in {wire.actions_run} runs of an action")
        # The tick may come in the very last instant.
        left = {key: count for key, count in sorted(vectors.items()) if count and key[1] < FIRST_SYSTEM_VECTOR}
        if left:
            raise broken("counts", f"vectors accepted and not acknowledged once: {left}")

    def reached(self) -> dict[str, int]:
        """Count what happened in this run, by what the rules are about."""
        said = [record.text for record in self.m.records if isinstance(record, Printk)]
        return {
            "runs": sum(wire.runs for wire in self.wires),
            "runs again for what came meanwhile": sum(wire.reruns for wire in self.wires),
            "interrupts while disabled": sum(wire.refused for wire in self.wires),
            "coalesced in the local APIC": sum(isinstance(record, LapicIrr) and record.coalesced > 0 for record in self.m.records),
            "wakes": sum(device.wakes for device in self.devices),
            "wakes merged into one run": sum(device.wakes > device.thread_runs for device in self.devices if device.kind != BARE),
            "sharers refused": sum(text.startswith("Flags mismatch") for text in said),
            "unbalanced enables": sum(text.startswith("Unbalanced enable") or text.endswith("unbalanced") for text in said),
            "moves": sum(isinstance(record, VectorUpdate) and record.prev_vector > 0 for record in self.m.records),
        }


def watch_runs(scene: Scene, inner: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``handle_irq_event`` with the scene looking on."""

    async def handle_irq_event(cpu: Cpu, desc: IrqDesc, *how: Any) -> Any:
        wire = scene.by_irq.get(desc.irq)
        if wire is None:
            return await inner(cpu, desc, *how)
        # The one flow goes on with the actions that it began with, even if they are freed meanwhile.
        first = how[0] if scene.plan.kernel == ONE_FLOW else desc.action
        actions = 0
        while first is not None:
            actions, first = actions + 1, first.next
        wire.begin_run(actions)
        result = await inner(cpu, desc, *how)
        wire.end_run()
        return result

    return handle_irq_event


async def play(plan: Plan, controller: str = "apic") -> Scene:
    """Run a plan to its end, on as many CPUs as the controller serves. Raises ``Broken``, or whatever the machine raises."""
    plan = plan._replace(cpus=min(plan.cpus, BOARDS[controller].max_cpus))
    names = vars(do_irq if plan.kernel == ONE_FLOW else flow)
    inner = names["handle_irq_event"]
    async with Machine(plan.cpus, ALL_KERNELS[plan.kernel], controller=controller, check=True) as m:
        scene = Scene(m, plan)
        names["handle_irq_event"] = watch_runs(scene, inner)
        try:
            m.start_thread(scene.hog, "hog")
            m.start_thread(scene.drive, "driver", nice=-10)
            m.spawn(scene.arrivals(), "devices")
            if not await m.run_until(lambda: scene.done, PATIENCE_NS):
                raise broken("progress", f"the driver thread is stuck at {m.now} ns")
            await m.run_for(SETTLE_NS)
            scene.check_end()
        finally:
            names["handle_irq_event"] = inner
    return scene

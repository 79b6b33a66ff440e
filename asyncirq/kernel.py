"""Put the kernel of a machine together: its parts in the order of their making, wired to each other and to the board.

Every part knows only those made before it; what must call upwards (a wake-up that sends an IPI, a tick that raises a
softirq) is a callable that is set here, so this file is the map of all upcalls.
"""

from __future__ import annotations

from functools import partial

from asyncirq.arch import ApicArch, make_arch
from asyncirq.arch.x86 import X86
from asyncirq.board import Board, Msi
from asyncirq.bottom_half.backlog import Backlog
from asyncirq.bottom_half.detectors import Detectors
from asyncirq.bottom_half.dev_poll import DevPoll
from asyncirq.bottom_half.dl_timer import DlTimer
from asyncirq.bottom_half.hrtimer import Hrtimers
from asyncirq.bottom_half.irq_work import IrqWorks
from asyncirq.bottom_half.ksoftirqd import SoftirqThreads
from asyncirq.bottom_half.napi import NapiCore
from asyncirq.bottom_half.net_core import NetCore
from asyncirq.bottom_half.posix_timer import PosixTimers
from asyncirq.bottom_half.rcu import Rcu
from asyncirq.bottom_half.sleep import Sleep
from asyncirq.bottom_half.softirq import SCHED_SOFTIRQ, Softirq
from asyncirq.bottom_half.softnet import Softnet
from asyncirq.bottom_half.tasklet import Tasklet, Tasklets
from asyncirq.bottom_half.tick import Tick
from asyncirq.bottom_half.timer import Timers
from asyncirq.bottom_half.timer_wheel import Timer
from asyncirq.bottom_half.workqueue import BhWorkqueues, ManagedWorkqueues, Workqueues
from asyncirq.bottom_half.workqueue_keventd import Keventd
from asyncirq.config import KernelConfig
from asyncirq.costs import Costs
from asyncirq.entry.detailed import Detailed
from asyncirq.entry.special_traps import SpecialTraps
from asyncirq.entry.vectors import vector_name
from asyncirq.errors import UsageError
from asyncirq.hotplug import CpuhpState, Hotplug, KernelSteps, Subsystems, work_steps
from asyncirq.hotplug.sysfs import CpuSysfs
from asyncirq.hw.cpu import Cpu
from asyncirq.irq import proc
from asyncirq.irq.core import early_irq_init
from asyncirq.irq.ipi import SmpCall
from asyncirq.irq.manage import IrqCore
from asyncirq.locking import lockdep_cpu
from asyncirq.locking.lockdep import Lockdep
from asyncirq.sched import rv
from asyncirq.sched.core import Sched
from asyncirq.sched.idle import Idle
from asyncirq.sched.schedstat import schedstat, task_schedstat
from asyncirq.sched.smpboot import Smpboot
from asyncirq.sched.task import Task
from asyncirq.trace.names import SOFTIRQ_NAMES
from asyncirq.trace.recorder import Recorder


class Kernel:
    """The kernel of one machine; its parts are attributes, named after what they are."""

    def __init__(self, board: Board, config: KernelConfig, costs: Costs, trace: Recorder | None, *, debug: bool = False) -> None:
        self.board = board
        self.config = config
        self.sched = Sched(board.engine, board.cpus, config, costs, trace)
        self.lockdep = Lockdep(self.sched) if config.lockdep != "off" else None
        if self.lockdep is not None:
            lockdep_cpu.watch(self.lockdep)
        if config.rv:
            rv.watch(self.sched)
        self.idle = Idle(self.sched)
        self.softirq = Softirq(self.sched)
        self.smpboot = Smpboot(self.sched)
        self.softirq_threads = SoftirqThreads(self.softirq, self.smpboot)
        self.tasklets = Tasklets(self.softirq, early=False)
        self.rcu = Rcu(self.softirq)
        self.timers = Timers(self.softirq)
        self.hrtimers = Hrtimers(self.softirq)
        self.tick = Tick(self.timers, self.hrtimers)
        self.irq_work = IrqWorks(self.softirq)
        self.sleep = Sleep(self.timers, self.hrtimers)
        self.posix_timers = PosixTimers(self.hrtimers, self.tick)
        self.bh: BhWorkqueues | None = None
        self.workqueues: Workqueues
        if config.wq_threads:
            self.workqueues = Keventd(self.sched, self.sleep)
        else:
            self.bh = BhWorkqueues(self.tasklets, self.irq_work) if config.wq_bh else None
            self.workqueues = ManagedWorkqueues(self.sched, self.sleep, self.bh)
        self.detectors = Detectors(self.rcu, self.hrtimers, self.sleep)
        self.softnet = Softnet(self.softirq)
        self.napi = NapiCore(self.softirq, self.softnet, self.sleep)
        self.net = NetCore(self.softnet, self.rcu)
        self.backlog = Backlog(self.napi, self.net)
        self.dev_poll = DevPoll(self.net) if config.net_rx == "quota" else None
        self.irq = IrqCore(self.sched, self.softirq, debug=debug, early=False)
        self.arch = make_arch(board, self.irq, self.softirq)
        self.ipi = self.arch.ipi
        self.entry = self.arch.entry
        self.hotplug = Hotplug(self.sched)
        self.sysfs_cpu = CpuSysfs(self.hotplug)
        self._wire()
        self._wire_hotplug()

    def _wire_hotplug(self) -> None:
        """Register what every subsystem does when a CPU goes or comes. Linux: cpuhp_hp_states."""
        parts = Subsystems(
            arch=self.arch,
            idle=self.idle,
            smpboot=self.smpboot,
            softirq=self.softirq,
            rcu=self.rcu,
            timers=self.timers,
            hrtimers=self.hrtimers,
            tick=self.tick,
            irq_work=self.irq_work,
            sleep=self.sleep,
            detectors=self.detectors,
        )
        self.hotplug_steps = steps = KernelSteps(self.hotplug, parts, self._call_function)
        steps.register()
        daemons = self.softirq_threads.daemons
        for name, function in self.smpboot.dead:
            if name != "softirq:dead":
                steps.register_dead(CpuhpState.NET_DEV_DEAD, name, function)
            elif daemons is None:
                steps.register_dead(CpuhpState.SOFTIRQ_DEAD, name, function)
            else:
                work_steps.DaemonSteps(daemons).register(self.hotplug)
        work_steps.register(self.hotplug, self.workqueues)

    def _wire(self) -> None:
        """Set every upcall."""
        self.sched.send_reschedule = self.ipi.send_reschedule
        self.sched.send_wakeup = self.ipi.send_wakeup
        self.idle.enter = self._idle_enter if self.config.idle_stamp else self.tick.idle_enter
        self.idle.leave = self.tick.idle_leave
        self.hrtimers.program = self.board.program_timer
        self.posix_timers.send = self.entry.signals.send
        self.irq_work.has_interrupt = self.arch.irq_work_interrupts
        self.irq_work.raise_self = self.ipi.irq_work_raise
        self.irq_work.send_call = self.ipi.send_wakeup
        self.irq_work.tick_stopped = self.tick.stopped
        self.backlog.call = self._call_remote
        net_dead = self.backlog.takeover if self.dev_poll is None else self.dev_poll.takeover
        self.smpboot.dead += [("softirq:dead", self._takeover_tasklets), ("net/dev:dead", net_dead)]
        daemons = self.softirq_threads.daemons
        if daemons is not None:
            daemons.queued = lambda index: any(self.tasklets.queued(index))
            daemons.takeover = self.tasklets.takeover
        self.tick.online = self.smpboot.online
        self.tick.hooks.append(self.rcu.tick)
        self.tick.keepers.append(self.rcu.needs_cpu)
        if self.detectors.rcu_stall is not None:
            self.tick.hooks.append(self.detectors.rcu_stall.tick)
        self.tick.hooks.append(self.irq_work.irq_work_tick)
        self.tick.keepers.append(self.irq_work.irq_work_needs_cpu)
        self.sched.deadlines.make_timer = partial(DlTimer, self.hrtimers)
        self.tick.keepers.append(self.sched.rt_throttled)
        if self.sched.smp:
            self.softirq.open_softirq(SCHED_SOFTIRQ, self.sched.rebalance)
            self.sched.raise_softirq = self.softirq.raise_softirq_irqoff
            self.sched.kick_idle = self._kick_idle
            self.sched.tickless = self.tick.stopped
            self.tick.sched_hooks.append(self.sched.balance_tick)
        self.tick.sched_hooks.append(self._worker_tick)
        resend = Tasklet(self._resend, "resend_irqs")
        self.irq.schedule_resend = partial(self._schedule_resend, resend)
        poll = Timer(self._poll_spurious, "poll_spurious_irq_timer")
        self.irq.arm_spurious_poll = partial(self._arm_spurious_poll, poll)
        self.entry.online = self.smpboot.online.__getitem__
        self.entry.timer = self.hrtimers.hrtimer_interrupt
        self.entry.call_function = self._call_function
        self.entry.irq_work = self.irq_work.irq_work_run
        if isinstance(self.entry, Detailed):
            self.entry.watch_idle(self.idle)
        self.irq.msleep = self.sleep.msleep

    def boot(self) -> None:
        """Start the kernel, in Linux's order; no time passes. Linux: init/main.c start_kernel()."""
        self.arch.setup_gates()  # trap_init
        early_irq_init(self.irq)
        self.arch.init_irq()  # init_IRQ
        self.hotplug_steps.register_controller()
        self.irq.boot_note("softirq_init")
        self.tasklets.softirq_init()
        for cpu in self.board.cpus:
            self.board.engine.resume(self.sched.new_idle(cpu, self.idle.cpu_idle).sim)
        for cpu in self.board.cpus:
            self.arch.setup_timer(cpu)  # time_init
            self.tick.start(cpu)
        for cpu in self.board.cpus:
            self.softirq_threads.spawn(cpu)  # early initcalls
            self.irq_work.spawn(self.smpboot, cpu)
        self.net.net_dev_init()  # subsystem initcalls
        self.workqueues.boot()
        for cpu in self.board.cpus:
            self.rcu.spawn(self.smpboot, cpu)
        self.detectors.boot(self.smpboot)
        if self.config.hardlockup_perf and self.detectors.watchdog is not None:
            if isinstance(self.arch, ApicArch):
                self.arch.start_nmi_watchdog(self.detectors.watchdog, self.idle)
            else:
                self.irq.printk(None, 6, "NMI watchdog: Perf NMI watchdog permanently disabled")

    # --- upcalls with a body

    def _idle_enter(self, cpu: Cpu) -> None:
        self.arch.idle_since[cpu.id] = cpu.engine.now
        self.tick.idle_enter(cpu)

    async def _worker_tick(self, cpu: Cpu) -> None:
        worker = self.sched.rqs[cpu.id].curr.worker
        if worker is not None:
            await worker.tick(cpu)

    async def _kick_idle(self, cpu: Cpu, dest: int) -> None:
        await self.ipi.smp_call_function_single_async(cpu, dest, self._balance_for_idle)

    async def _balance_for_idle(self, cpu: Cpu) -> None:
        await self.softirq.raise_softirq_irqoff(cpu, SCHED_SOFTIRQ)

    async def _resend(self, cpu: Cpu, tasklet: Tasklet) -> None:
        await self.irq.run_resend(cpu)

    async def _schedule_resend(self, tasklet: Tasklet, cpu: Cpu) -> None:
        await self.tasklets.tasklet_schedule(cpu, tasklet)

    async def _poll_spurious(self, cpu: Cpu, timer: Timer) -> None:
        await self.irq.poll_spurious(cpu)

    def _arm_spurious_poll(self, timer: Timer, cpu: Cpu, delay_ns: int) -> None:
        self.timers.mod_timer(cpu, timer, self.timers.jiffies + delay_ns // self.config.jiffy_ns)

    async def _call_remote(self, cpu: Cpu, dest: int, function: SmpCall) -> None:
        await self.ipi.smp_call_function_single(cpu, dest, function, False)

    async def _takeover_tasklets(self, cpu: Cpu, dead: int) -> None:
        await self.tasklets.takeover(cpu, dead)
        if self.bh is not None:
            await self.bh.softirq_dead(cpu, dead)

    async def _call_function(self, cpu: Cpu) -> None:
        await self.ipi.flush_queue(cpu)
        await self.irq_work.run_remote(cpu)

    # --- what the machine offers

    @property
    def traps(self) -> SpecialTraps:
        """Return the exceptions: raise them in a task's code, handle their signals, register notifiers.

        Raises ``UsageError`` ENOSYS on a machine that is no x86.
        """
        if not isinstance(self.arch, X86):
            raise UsageError("this machine has no exceptions of x86", 38)
        return self.arch.traps

    def gsi_to_irq(self, gsi: int, level: bool, active_low: bool) -> int:
        """Return the irq of a wire, made at the first call. Raises ``UsageError`` when it is wired otherwise already."""
        return self.arch.line_irq(gsi, level=level, active_low=active_low)

    def alloc_msi(self, name: str) -> Msi:
        """Return a new message of a device, with its irq."""
        return self.arch.alloc_msi(name)

    def start_thread(self, task: Task) -> None:
        """Make a new task ready from outside the model; a halted CPU is told by an interrupt."""
        if not task.percpu:
            usable = [rq for rq in self.sched.rqs if self.sched.usable(task) >> rq.cpu.id & 1]
            task.cpu = min(usable, key=lambda rq: rq.nr_running).cpu
        self.sched.start_now(task)
        if self.board.engine.now:
            self.arch.kick(task.cpu)

    def proc(self, path: str) -> str:
        """Return the text of a file under /proc. Raises ``UsageError`` ENOENT for one that the model does not have."""
        name = path.removeprefix("/proc/")
        if name == "interrupts":
            return self.arch.proc_interrupts()
        if name == "softirqs":
            return proc.softirqs(self.softirq.counts)
        if name == "schedstat":
            return schedstat(self.sched)
        if name == "net/softnet_stat":
            return self.softnet.softnet_stat()
        if name == "irq/default_smp_affinity":
            return proc.read_default_affinity(self.irq)
        parts = name.split("/")
        if len(parts) == 2 and parts[1] == "schedstat" and parts[0].isdigit() and int(parts[0]) in self.sched.tasks:
            return task_schedstat(self.sched.tasks[int(parts[0])])
        if len(parts) == 3 and parts[0] == "irq" and parts[1].isdigit() and int(parts[1]) in self.irq.descs:
            return proc.read_irq_file(self.irq, int(parts[1]), parts[2])
        raise UsageError(f"there is no {path} here", 2)

    def describe(self) -> str:
        """Return the three registration tables as text: the gates, the descriptors, the softirq vectors."""
        lines = ["gates:"]
        gates = self.board.cpus[0].idt.gates
        lines += [f"  {vector:#04x} {gate.name}{self._vector_note(vector)}" for vector, gate in enumerate(gates) if gate is not None]
        lines.append("descriptors:")
        for desc in self.irq.all_descs():
            actions = ", ".join(action.name for action in desc.actions()) or "no action"
            flow = getattr(desc.handle_irq, "__name__", "?")
            lines.append(f"  irq {desc.irq}: {flow}, chip {desc.chip.name}, {actions}")
        lines.append("softirq_vec:")
        lines += [f"  {nr} {SOFTIRQ_NAMES[nr]}: {name}" for nr, name in self.softirq.actions()]
        return "\n".join(lines) + "\n"

    def _vector_note(self, vector: int) -> str:
        if self.board.arch != "x86":
            return ""
        name = vector_name(vector, self.config.vectors, getattr(self.arch.entry, "local_apic", False))
        return "" if name == "device" else f" ({name})"

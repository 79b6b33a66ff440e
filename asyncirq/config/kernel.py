"""Hold every policy of the modelled kernel as a frozen struct: behaviour that differs between kernels is a name here."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from asyncirq.config.policies import IdtPolicy, StackPolicy, VectorMap
from asyncirq.errors import UsageError

Preemption = Literal["none", "voluntary", "full", "lazy", "rt"]

_RANGES: Final = (
    ("hz", 1, 1_000_000),
    ("softirq_max_restart", 1, 1_000_000),
    ("softirq_max_time_ms", 0, 1_000_000),
    ("ksoftirqd_nice", -20, 19),
    ("forced_secondary_prio", 1, 99),
    ("fifo_irq_prio", 1, 99),
    ("napi_weight", 1, 1 << 20),
    ("netdev_budget", 1, 1 << 20),
    ("netdev_budget_usecs", 0, 1 << 31),
    ("cfs_wakeup_granularity_ns", 0, 1 << 40),
    *((name, 1, 1 << 40) for name in ("cfs_latency_ns", "cfs_min_granularity_ns", "eevdf_base_slice_ns", "rr_slice_ns")),
    *((name, 1, 1 << 40) for name in ("rt_runtime_us", "rt_period_us")),
    ("msleep_more_jiffies", 0, 1),
    ("wq_max_active", 1, 1 << 20),
    ("wq_cpu_intensive_us", 0, 1 << 31),
    ("wq_watchdog_thresh_s", 0, 1 << 20),
    ("watchdog_thresh_s", 0, 60),
    ("hung_task_timeout_s", 0, 1 << 20),
    ("rcu_stall_timeout_s", 0, 300),
    ("hardirq_depth", 1, 15),
)
"""Name, least and greatest value of each number that has limits."""


class KernelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Policies of one kernel.

    ``preemption``: where a running kernel task may lose its CPU. ``none``: where it offers it; ``voluntary``: also before it might sleep;
    ``full``: wherever its preempt count is 0; ``lazy``: so, but to another fair task only after the next tick or on the way to user mode
    (one of the two choices left in 7.x); ``rt``: PREEMPT_RT. ``threadirqs``: force handlers into threads (implied by ``rt``). ``hz``:
    ticks a second. ``softirq_max_restart`` passes and ``softirq_max_time_ms`` (None: neither time nor a wanted reschedule ends them, as in
    2.6) bound softirqs at one irq_exit. ``ksoftirqd_defers``: while ksoftirqd is runnable an irq_exit or local_bh_enable leaves softirqs
    to it (4.9 to 6.4), except for HI and TASKLET. ``bh_lock``: PREEMPT_RT's per-CPU BH lock. ``ksoftirqd_loop``: the thread is smpboot's,
    or has a loop of its own as in 2.6, with preemption off round the processing only or round the test for work too. ``nr_softirqs``
    slots, each with a data pointer where ``softirq_data``. ``rcu_qs_each_action``: RCU hears of a quiescent state after each action, not
    once a pass from ksoftirqd. ``net_rx``: NAPI instances, or devices with a quota as before 2.6.24. ``napi_always_raises``: what comes
    onto the poll list while NET_RX runs raises it again (before 6.4). ``ktimers``: which kernels run the tick's TIMER and HRTIMER in
    ``ktimers/N`` (none, PREEMPT_RT, all that force threads); ``ktimers_wake_in_hardirq``: it is woken when raised, not at the interrupt's
    exit. ``forced_secondary_prio``: FIFO priority of ``irq/N-s-name``. ``napi_threaded``: every NAPI polls in its own kthread.
    ``ttwu_queue``: wake-ups of an idle remote CPU go through its call-function queue. ``nohz_idle``: an idle CPU stops its tick. ``fair``:
    how the fair class shares the CPU (``eevdf`` since 6.6), with ``eevdf_*`` (see ``sched/eevdf.py``) and ``cfs_*_ns`` for one CPU, scaled
    by ``1 + log2(cpus)``. ``lazy_preemption``: another kernel with full preemption is lazy too (PREEMPT_RT, where it was a choice at
    boot). ``isolcpus``: CPUs without load balance, on which only those run that ask for them by affinity. ``rt_bandwidth``,
    ``rt_runtime_us`` of ``rt_period_us``: what keeps real-time tasks from taking a CPU for ever (see ``sched/bandwidth.py``).
    ``fifo_irq_prio``: FIFO priority of irq threads. ``netdev_budget`` packets and ``netdev_budget_usecs`` (0: two jiffies) bound one
    NET_RX round. ``msleep_more_jiffies``: how much longer than asked for ``msleep`` sleeps (before 6.10). ``wq_max_active``: default limit
    of a workqueue. ``wq_threads``: each workqueue has a thread of its own on every CPU, as before 2.6.36. ``wq_cpu_intensive_us``: a work
    item that runs so long stops holding others back (0: never); longer on a CPU of less than 4000 ``bogomips``. ``wq_bh``: there are
    workqueues that execute in softirqs (since 6.9). ``wq_rescuer_prefix``: a rescuer is called ``kworker/R-name``, not ``name``.
    ``wq_power_efficient``: workqueues that ask for it are unbound. ``wq_watchdog_thresh_s``: a pool without progress for so long is
    reported (0: never). ``wq_pods``: CPU masks among which unbound workqueues are split, as NUMA nodes or shared caches do; those of no
    mask are one more.

    Interrupts. ``irq_flow``: a flow handler for each kind of line (``genirq``), or one for all of them, which runs handlers with
    interrupts on unless they ask otherwise, and no threads (``do_irq``, before 2.6.18). ``nr_irqs``: the size of the table of descriptors;
    0: they are made one by one. ``spurious_window``: interrupts are counted from the first unhandled one on (``unhandled``, since 5.13) or
    ``all``; ``spurious_gap``: an unhandled one 100 ms after the last restarts the count. ``share_trigger``: a sharer must ask for the
    trigger of the ``line``, or that of the first ``request`` (then another one of the line is a warning). ``oneshot_check``: refuse a
    thread without a primary handler whose line is not held masked for it. ``debug_shirq``: call a shared handler once more after its
    request and after its release. ``hint_mode``: the mode of ``/proc/irq/N/affinity_hint``. ``vectors``: the vector map. ``stacks``: the
    kernel stacks. ``entry_code``: entries of the generic kind, which tell context tracking and RCU (``idtentry``, since 5.8), or those
    that came before (``do_irq``); ``entry_detail`` shows their every step. ``idt``: how gates are filled; ``idt_per_cpu``: every CPU has a
    table of its own. ``panic_on_oops``: a bug of the kernel's ends the machine, not the thread. ``nesting``: only higher classes of vectors
    interrupt a handler (``levels``). ``idle_stamp``: an idle CPU notes when it halts. ``bits``: on 32 bits a flow handler is called
    through the switch to the interrupt stack. On arm64, ``boot_el``: a kernel booted at EL2 ends interrupts in two steps (GIC
    EOImode 1); ``pseudo_nmi``: interrupts off is a priority mask, so that urgent lines get through (GICv3).

    What is stuck. Each is 0, off, unless asked for, since its timers are in the trace. ``watchdog_thresh_s`` (Linux: 10): a CPU that stays
    in the kernel for twice as long is a soft lockup; ``hardlockup_buddy`` (since 6.5): the next CPU notices one that takes no interrupts;
    ``hardlockup_perf``: an NMI of its own cycle counter does. ``softlockup_stopper`` (since 4.19): not a thread shows that a CPU is alive.
    ``hung_task_timeout_s`` (120): a task that sleeps uninterruptibly; ``hung_task_blocker``: with who owns its lock (since 6.16).
    ``rcu_stall_timeout_s`` (21): a grace period. ``panic_on_lockup``: a report is a ``KernelBug``.

    Locks. ``mutex_spin_on_owner``: whoever finds a mutex's owner running spins for it (since 2.6.29). ``queued_rwlocks``: whoever finds an
    rwlock waited for waits too (since 3.16), not readers past writers. ``lockdep``: validate locking, and be silent after the first report
    as Linux (``once``), report everything (``all``), or make the first report a ``KernelBug`` (``raise``). ``raw_lock_nesting``: a
    spinlock_t inside a raw one is wrong on every kernel, as it is on PREEMPT_RT.

    ``rv``: emit the records that runtime monitors need (outermost switches of interrupts and preemption, the scheduler's way in and
    out, task states).
    """

    release: str = "linux-6.12"
    preemption: Preemption = "voluntary"
    threadirqs: bool = False
    hz: int = 250
    softirq_max_restart: int = 10
    softirq_max_time_ms: int | None = 2
    ksoftirqd_defers: bool = False
    ksoftirqd_nice: int = 0
    ksoftirqd_loop: Literal["smpboot", "own", "own-early"] = "smpboot"
    nr_softirqs: int = 10
    softirq_data: bool = False
    rcu_qs_each_action: bool = False
    net_rx: Literal["napi", "quota"] = "napi"
    napi_always_raises: bool = False
    bh_lock: bool = True
    forced_secondary_prio: int = 50
    fifo_irq_prio: int = 50
    napi_threaded: bool = False
    napi_weight: int = 64
    netdev_budget: int = 300
    netdev_budget_usecs: int = 0
    ttwu_queue: bool = True
    nohz_idle: bool = True
    fair: Literal["cfs", "eevdf"] = "eevdf"
    eevdf_base_slice_ns: int = 750_000
    eevdf_run_to_parity: bool = True
    eevdf_preempt_short: bool = True
    eevdf_delay_dequeue: bool = True
    cfs_latency_ns: int = 6_000_000
    cfs_min_granularity_ns: int = 750_000
    cfs_wakeup_granularity_ns: int = 1_000_000
    lazy_preemption: bool = False
    isolcpus: tuple[int, ...] = ()
    rr_slice_ns: int = 100_000_000
    rt_bandwidth: Literal["none", "throttle", "server"] = "server"
    rt_runtime_us: int = 950_000
    rt_period_us: int = 1_000_000
    msleep_more_jiffies: int = 0
    wq_max_active: int = 256
    wq_threads: bool = False
    wq_cpu_intensive_us: int = 10_000
    bogomips: int = 4000
    wq_bh: bool = True
    wq_rescuer_prefix: bool = True
    wq_power_efficient: bool = False
    wq_watchdog_thresh_s: int = 0
    wq_pods: tuple[int, ...] = ()
    ktimers: Literal["never", "rt", "forced"] = "rt"
    ktimers_wake_in_hardirq: bool = False
    hardirq_depth: int = 15
    irq_flow: Literal["genirq", "do_irq"] = "genirq"
    nr_irqs: int = 0
    spurious_window: Literal["unhandled", "all"] = "unhandled"
    spurious_gap: bool = True
    share_trigger: Literal["line", "request"] = "line"
    oneshot_check: bool = True
    debug_shirq: bool = False
    hint_mode: int = 0o444
    vectors: VectorMap = VectorMap()
    stacks: StackPolicy = StackPolicy()
    entry_code: Literal["idtentry", "do_irq"] = "idtentry"
    entry_detail: bool = False
    idt: IdtPolicy = IdtPolicy()
    panic_on_oops: bool = False
    idt_per_cpu: bool = False
    nesting: Literal["handler", "levels"] = "handler"
    idle_stamp: bool = False
    bits: Literal[32, 64] = 64
    boot_el: Literal[1, 2] = 1
    pseudo_nmi: bool = False
    watchdog_thresh_s: int = 0
    hardlockup_buddy: bool = False
    hardlockup_perf: bool = False
    softlockup_stopper: bool = True
    hung_task_timeout_s: int = 0
    hung_task_blocker: bool = False
    rcu_stall_timeout_s: int = 0
    panic_on_lockup: bool = False
    mutex_spin_on_owner: bool = True
    queued_rwlocks: bool = True
    lockdep: Literal["off", "once", "all", "raise"] = "off"
    raw_lock_nesting: bool = True
    rv: bool = False

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"kernel: {name} is {value}, not in {low}..{high}", 22)
        taken = 0
        for mask in self.wq_pods:
            if mask <= 0 or mask & taken:
                raise UsageError(f"kernel: wq_pods holds the mask {mask:#x}, which has no CPU or one of another mask", 22)
            taken |= mask

    @property
    def rt(self) -> bool:
        """Tell whether this is a PREEMPT_RT kernel."""
        return self.preemption == "rt"

    @property
    def lazy(self) -> bool:
        """Tell whether fair tasks preempt each other lazily."""
        return self.preemption == "lazy" or self.lazy_preemption

    @property
    def force_threads(self) -> bool:
        """Tell whether handlers are forced into threads."""
        return self.threadirqs or self.rt

    @property
    def has_ktimers(self) -> bool:
        """Tell whether the timer vectors raised by the tick run in ``ktimers/N``."""
        return self.rt if self.ktimers == "rt" else self.force_threads and self.ktimers == "forced"

    @property
    def wq_hog_us(self) -> int:
        """Return ``wq_cpu_intensive_us``, longer on a slow CPU, at most a second."""
        if not 0 < self.bogomips < 4000:
            return self.wq_cpu_intensive_us
        return min(self.wq_cpu_intensive_us * 4000 // self.bogomips, 1_000_000)

    @property
    def jiffy_ns(self) -> int:
        """Return the length of a tick in ns."""
        return 1_000_000_000 // self.hz

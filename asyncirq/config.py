"""Hold every policy of the modelled kernel and every size of the machine, as frozen structs.

Behaviour that differs between kernels is a named policy here, never an ``if version``. ``preset("linux-6.1",
rt=True)`` fills a ``KernelConfig``.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from asyncirq.errors import UsageError

Preemption = Literal["none", "voluntary", "full", "rt"]


class KernelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Policies of one kernel.

    ``preemption``: where a running kernel task may lose its CPU. ``threadirqs``: force handlers into threads (implied
    by ``rt``). ``hz``: ticks a second. ``softirq_max_restart`` passes and ``softirq_max_time_ms`` (None: neither time
    nor a wanted reschedule ends them, as in 2.6) bound softirqs at one irq_exit. ``ksoftirqd_defers``: while ksoftirqd is
    runnable an irq_exit or local_bh_enable leaves softirqs to it (4.9 to 6.4), except for HI and TASKLET. ``bh_lock``: PREEMPT_RT's
    per-CPU BH lock.
    ``ktimers``: which kernels run the tick's TIMER and HRTIMER in ``ktimers/N`` (none, PREEMPT_RT, all that force threads);
    ``ktimers_wake_in_hardirq``: it is woken when raised, not at the interrupt's exit.
    ``forced_secondary_prio``: FIFO priority of ``irq/N-s-name``. ``napi_threaded``: every NAPI polls in its own kthread.
    ``ttwu_queue``: wake-ups of an idle remote CPU go through its call-function queue. ``nohz_idle``: an idle CPU stops
    its tick. ``cfs_*_ns``: the fair class at one CPU, scaled by ``1 + log2(cpus)``. ``fifo_irq_prio``: FIFO priority of
    irq threads. ``netdev_budget`` packets and ``netdev_budget_usecs`` (0: two jiffies) bound one NET_RX round.
    ``wq_max_active``: default limit of a workqueue. ``wq_threads``: each workqueue has a thread of its own on every CPU, as
    before 2.6.36. ``wq_cpu_intensive_us``: a work item that runs so long stops holding others back (0: never).
    """

    release: str = "linux-6.12"
    preemption: Preemption = "voluntary"
    threadirqs: bool = False
    hz: int = 250
    softirq_max_restart: int = 10
    softirq_max_time_ms: int | None = 2
    ksoftirqd_defers: bool = False
    ksoftirqd_nice: int = 0
    bh_lock: bool = True
    forced_secondary_prio: int = 50
    fifo_irq_prio: int = 50
    napi_threaded: bool = False
    napi_weight: int = 64
    netdev_budget: int = 300
    netdev_budget_usecs: int = 0
    ttwu_queue: bool = True
    nohz_idle: bool = True
    cfs_latency_ns: int = 6_000_000
    cfs_min_granularity_ns: int = 750_000
    cfs_wakeup_granularity_ns: int = 1_000_000
    rr_slice_ns: int = 100_000_000
    wq_max_active: int = 256
    wq_threads: bool = False
    wq_cpu_intensive_us: int = 10_000
    ktimers: Literal["never", "rt", "forced"] = "rt"
    ktimers_wake_in_hardirq: bool = False
    hardirq_depth: int = 15

    @property
    def rt(self) -> bool:
        """Tell whether this is a PREEMPT_RT kernel."""
        return self.preemption == "rt"

    @property
    def force_threads(self) -> bool:
        """Tell whether handlers are forced into threads."""
        return self.threadirqs or self.rt

    @property
    def has_ktimers(self) -> bool:
        """Tell whether the timer vectors raised by the tick run in ``ktimers/N``."""
        return self.rt if self.ktimers == "rt" else self.force_threads and self.ktimers == "forced"

    @property
    def jiffy_ns(self) -> int:
        """Return the length of a tick in ns."""
        return 1_000_000_000 // self.hz


_RELEASES: Final = (
    KernelConfig(release="linux-7.1", wq_max_active=1024, forced_secondary_prio=49, ktimers="forced"),
    KernelConfig(release="linux-6.12", wq_max_active=1024),
    KernelConfig(release="linux-6.1", ksoftirqd_defers=True, ktimers_wake_in_hardirq=True, wq_cpu_intensive_us=0),
    KernelConfig(
        release="linux-2.6",
        preemption="none",
        softirq_max_time_ms=None,
        ksoftirqd_nice=19,
        ttwu_queue=False,
        nohz_idle=False,
        wq_threads=True,
        wq_cpu_intensive_us=0,
    ),
)


def releases() -> tuple[str, ...]:
    """Return the names of the kernel presets."""
    return tuple(config.release for config in _RELEASES)


def preset(release: str, *, threadirqs: bool = False, rt: bool = False, **overrides: object) -> KernelConfig:
    """Return the policies of a release, with ``threadirqs`` or PREEMPT_RT and any field overridden.

    Raises ``UsageError`` for an unknown release or field, and for ``rt`` where it did not exist.
    """
    for config in _RELEASES:
        if config.release == release:
            break
    else:
        raise UsageError(f"no kernel preset is named {release!r}; there are {', '.join(releases())}")
    if release == "linux-2.6" and (rt or threadirqs):
        raise UsageError("linux-2.6 has neither threadirqs nor PREEMPT_RT")
    fields = msgspec.structs.asdict(config)
    if rt:
        fields.update(preemption="rt", ttwu_queue=False, ksoftirqd_defers=False)
    fields.update(threadirqs=threadirqs or rt)
    for name in overrides:
        if name not in fields:
            raise UsageError(f"KernelConfig has no field {name!r}")
    fields.update(overrides)
    try:
        return msgspec.convert(fields, KernelConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"kernel: {error}") from None

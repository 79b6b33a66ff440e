"""Fill the policies of known kernel releases."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

import msgspec

from asyncirq.config.kernel import KernelConfig
from asyncirq.config.policies import MAP_2_6, MAP_6_1, STACKS_2_6, IdtPolicy
from asyncirq.errors import UsageError

_RELEASES: Final = (
    KernelConfig(
        release="linux-7.1",
        preemption="lazy",
        wq_max_active=1024,
        forced_secondary_prio=49,
        ktimers="forced",
        eevdf_base_slice_ns=700_000,
        hung_task_blocker=True,
    ),
    KernelConfig(release="linux-6.12", wq_max_active=1024),
    KernelConfig(
        release="linux-6.1",
        fair="cfs",
        rt_bandwidth="throttle",
        ksoftirqd_defers=True,
        msleep_more_jiffies=1,
        napi_always_raises=True,
        ktimers_wake_in_hardirq=True,
        wq_bh=False,
        wq_rescuer_prefix=False,
        wq_cpu_intensive_us=0,
        vectors=MAP_6_1,
    ),
    KernelConfig(
        release="linux-2.6",
        fair="cfs",
        rt_bandwidth="none",
        preemption="none",
        softirq_max_time_ms=None,
        ksoftirqd_nice=19,
        msleep_more_jiffies=1,
        ksoftirqd_loop="own",
        nr_softirqs=32,
        softirq_data=True,
        rcu_qs_each_action=True,
        napi_always_raises=True,
        ttwu_queue=False,
        nohz_idle=False,
        wq_threads=True,
        wq_cpu_intensive_us=0,
        irq_flow="do_irq",
        idle_stamp=True,
        nr_irqs=224,
        spurious_window="all",
        spurious_gap=False,
        share_trigger="request",
        hint_mode=0o400,
        vectors=MAP_2_6,
        softlockup_stopper=False,
        mutex_spin_on_owner=False,
        queued_rwlocks=False,
        raw_lock_nesting=False,
        stacks=STACKS_2_6,
        entry_code="do_irq",
        idt=IdtPolicy(gates="classes", cet=False, ibt=False),
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
            near = get_close_matches(name, fields, 1)
            raise UsageError(f"KernelConfig has no field {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if rt and overrides.get("preemption", "rt") != "rt":
        raise UsageError(f"kernel: PREEMPT_RT with preemption {overrides['preemption']!r} is a contradiction")
    fields.update(overrides)
    try:
        return msgspec.convert(fields, KernelConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"kernel: {error}") from None

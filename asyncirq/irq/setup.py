"""Install an action on a line: every check of a request, then the order in which it takes effect.

Linux: kernel/irq/manage.c __setup_irq(). Model: no request mutex; what it and the descriptor's lock protect is one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.errors import UsageError, check_async
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import IRQCHIP_ONESHOT_SAFE
from asyncirq.irq.desc import (
    IRQ_NOTCONNECTED,
    IRQ_TYPE_SENSE_MASK,
    IRQF_COND_ONESHOT,
    IRQF_COND_SUSPEND,
    IRQF_NO_AUTOEN,
    IRQF_NO_DEBUG,
    IRQF_NO_SUSPEND,
    IRQF_NO_THREAD,
    IRQF_NOBALANCING,
    IRQF_ONESHOT,
    IRQF_PERCPU,
    IRQF_PROBE_SHARED,
    IRQF_SHARED,
    IRQF_TRIGGER_MASK,
    IrqAction,
    IrqDesc,
)
from asyncirq.irq.state import enable_depth, irq_activate, irq_startup, note, set_trigger, set_trigger_type
from asyncirq.irq.thread import make_default_primary, nested_primary_handler, setup_forced_threading, setup_irq_thread

if TYPE_CHECKING:
    from asyncirq.irq.core import IrqTable

EINVAL: Final = 22
EBUSY: Final = 16
ENOSYS: Final = 38
ENOTCONN: Final = 107
ALL_SHARERS: Final = (1 << 64) - 1
"""One bit for each one-shot sharer of a line."""


def connected_desc(core: IrqTable, irq: int, name: str) -> IrqDesc:
    """Return the descriptor that ``name`` requests. Raises ``UsageError``: ENOTCONN for ``IRQ_NOTCONNECTED``, EINVAL."""
    if irq == IRQ_NOTCONNECTED:
        raise UsageError(f"the interrupt of {name} is not connected", ENOTCONN)
    return core.desc(irq)


def check_request(desc: IrqDesc, action: IrqAction, has_handler: bool) -> None:
    """Refuse a request that can never work. Raises ``UsageError`` EINVAL."""
    flags = action.flags
    irq = desc.irq
    if flags & IRQF_SHARED and action.dev_id is None:
        raise UsageError(f"irq {irq}: a shared handler ({action.name}) needs a dev_id", EINVAL)
    if flags & IRQF_SHARED and flags & IRQF_NO_AUTOEN:
        raise UsageError(f"irq {irq}: {action.name} cannot be both SHARED and NO_AUTOEN", EINVAL)
    if flags & IRQF_COND_SUSPEND and (not flags & IRQF_SHARED or flags & IRQF_NO_SUSPEND):
        raise UsageError(f"irq {irq}: {action.name}: COND_SUSPEND needs SHARED without NO_SUSPEND", EINVAL)
    if desc.norequest or desc.percpu_devid:
        raise UsageError(f"irq {irq} cannot be requested by {action.name}", EINVAL)
    if not has_handler and action.thread_fn is None:
        raise UsageError(f"irq {irq}: {action.name} has neither a handler nor a thread function", EINVAL)
    check_async(action.handler, f"irq {irq}: the handler of {action.name}")
    if action.thread_fn is not None:
        check_async(action.thread_fn, f"irq {irq}: the thread function of {action.name}")


def prepare_action(core: IrqTable, desc: IrqDesc, action: IrqAction, has_handler: bool, live: bool) -> None:
    """Settle what an action's primary handler is and make its threads: all that comes before the line is looked at."""
    if desc.chip is core.no_irq_chip:
        raise UsageError(f"irq {desc.irq} has no controller", ENOSYS)
    if not has_handler:
        make_default_primary(core, action)
    if not action.flags & IRQF_TRIGGER_MASK:
        action.flags |= desc.trigger & IRQ_TYPE_SENSE_MASK
    if desc.nested_thread:
        if action.thread_fn is None:
            raise UsageError(f"irq {desc.irq} is nested: {action.name} needs a thread function", EINVAL)
        action.handler = nested_primary_handler
        action.default_primary = False
    else:
        if not desc.nothread:
            setup_forced_threading(core, action)
        if action.thread_fn is not None or action.primary is not None:
            setup_irq_thread(core, desc, action, secondary=False, live=live)
        if action.secondary is not None:
            setup_irq_thread(core, desc, action.secondary, secondary=True, live=live)
    if core.sched.lockdep is not None and not (desc.nothread or action.flags & (IRQF_NO_THREAD | IRQF_PERCPU | IRQF_ONESHOT)):
        action.handler = core.sched.lockdep.may_thread(action.handler)
    if desc.chip.flags & IRQCHIP_ONESHOT_SAFE:
        action.flags &= ~IRQF_ONESHOT


def install_action(core: IrqTable, cpu: Cpu, desc: IrqDesc, action: IrqAction) -> int:
    """Check an action against the line and its sharers, start the line up for the first one, and link the action.

    Returns the ns that the register writes take. Raises ``UsageError`` with nothing changed.
    """
    last: IrqAction | None = None
    if desc.action is None:
        cost = _install_first(core, cpu, desc, action)
        desc.action = action
    else:
        last, taken = _check_sharers(core, cpu, desc, action)
        _take_oneshot_bit(core, cpu, desc, action, taken)
        # Nobody has set a trigger so far: what the two agree on, known or not, is the line's from now on.
        if not desc.trigger_set:
            set_trigger_type(desc, action.flags & IRQF_TRIGGER_MASK)
        cost = 0
        last.next = action
    note(cpu, desc, f"linked {action.name}")
    desc.irq_count = 0
    desc.irqs_unhandled = 0
    if last is not None and desc.spurious_disabled:
        desc.spurious_disabled = False
        cost += enable_depth(cpu, desc)
    return cost


def _install_first(core: IrqTable, cpu: Cpu, desc: IrqDesc, action: IrqAction) -> int:
    """Start a line up for its first action, with the chip's resources, which are given back if that fails."""
    note(cpu, desc, "request_resources")
    error = desc.chip.irq_request_resources(desc.data)
    if error:
        text = f"Failed to request resources for {action.name} (irq {desc.irq}) on irqchip {desc.chip.name}"
        core.printk(cpu, 3, text)
        raise UsageError(text, -error)
    try:
        _take_oneshot_bit(core, cpu, desc, action, 0)
        return _first_action(core, cpu, desc, action, action.flags & IRQF_TRIGGER_MASK)
    except UsageError:
        desc.chip.irq_release_resources(desc.data)
        raise


def _check_sharers(core: IrqTable, cpu: Cpu, desc: IrqDesc, action: IrqAction) -> tuple[IrqAction, int]:
    """Return the last sharer and the one-shot bits in use, after every sharer agreed to the newcomer.

    Model: Linux records the trigger of a newcomer on a line that has none even if it refuses it.
    """
    old = desc.action
    assert old is not None
    if desc.nmi:
        text = f"Invalid attempt to share NMI for {action.name} (irq {desc.irq}) on irqchip {desc.chip.name}."
        core.printk(cpu, 3, text)
        raise UsageError(text, EINVAL)
    trigger = desc.trigger if desc.trigger_set else action.flags & IRQF_TRIGGER_MASK
    wanted = action.flags & IRQF_TRIGGER_MASK
    if core.config.share_trigger == "request":
        trigger = old.flags & IRQF_TRIGGER_MASK
    agreed = bool(old.flags & action.flags & IRQF_SHARED) and trigger == wanted
    if old.flags & IRQF_ONESHOT and action.flags & IRQF_COND_ONESHOT:
        action.flags |= IRQF_ONESHOT
    if not agreed or (old.flags ^ action.flags) & (IRQF_ONESHOT | IRQF_PERCPU):
        text = f"Flags mismatch irq {desc.irq}. {action.flags:08x} ({action.name}) vs. {old.flags:08x} ({old.name})"
        if not action.flags & IRQF_PROBE_SHARED:
            core.printk(cpu, 3, text)
        raise UsageError(text, EBUSY)
    if wanted and desc.trigger_set and wanted != desc.trigger:
        core.printk(cpu, 4, f"irq {desc.irq} uses trigger mode {desc.trigger}; requested {wanted}")
    taken = old.thread_mask
    while old.next is not None:
        old = old.next
        taken |= old.thread_mask
    return old, taken


def _take_oneshot_bit(core: IrqTable, cpu: Cpu, desc: IrqDesc, action: IrqAction, taken: int) -> None:
    if action.flags & IRQF_ONESHOT:
        if taken == ALL_SHARERS:
            raise UsageError(f"irq {desc.irq} has 64 one-shot sharers already, {action.name} is one too many", EBUSY)
        action.thread_mask = ~taken & (taken + 1)
    elif action.default_primary and not desc.chip.flags & IRQCHIP_ONESHOT_SAFE and core.config.oneshot_check:
        text = f"Threaded irq requested with handler=NULL and !ONESHOT for {action.name} (irq {desc.irq})"
        core.printk(cpu, 3, text)
        raise UsageError(text, EINVAL)


def _first_action(core: IrqTable, cpu: Cpu, desc: IrqDesc, action: IrqAction, kind: int) -> int:
    if kind:
        error = set_trigger(cpu, desc, kind)
        if error:
            raise UsageError(f"Setting trigger mode {kind} for irq {desc.irq} failed", -error)
    # A managed line's CPUs may all be offline: it is activated when it starts.
    error = 0 if desc.managed else irq_activate(cpu, desc)
    if error:
        raise UsageError(f"irq {desc.irq} of {action.name} could not be activated", -error)
    flags = action.flags
    desc.autodetect = desc.spurious_disabled = desc.oneshot = desc.waiting = False
    desc.inprogress = False
    if flags & IRQF_PERCPU:
        desc.percpu = True
        desc.no_debug = bool(flags & IRQF_NO_DEBUG)
    if core.noirqdebug:
        desc.no_debug = True
    if flags & IRQF_ONESHOT:
        desc.oneshot = True
    if flags & IRQF_NOBALANCING:
        desc.nobalancing = True
    if flags & IRQF_NO_AUTOEN or desc.noautoen:
        if flags & IRQF_SHARED and not core.warned_noautoen:
            # A sharer might come while it is off and wait for ever.
            core.warned_noautoen = True
            core.printk(cpu, 4, f"irq {desc.irq}: {action.name} shares a line that is not enabled by its request")
        desc.depth = 1
        return 0
    return irq_startup(cpu, desc, resend=True)

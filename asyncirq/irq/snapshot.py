"""Take a picture of a descriptor or an action: the fields that its kernel keeps, by Linux's names.

Linux: include/linux/irqdesc.h, include/linux/interrupt.h, kernel/irq/debugfs.c; include/linux/irq.h of 2.6.16.
"""

from __future__ import annotations

from typing import Any, Final

from asyncirq.irq.desc import IrqAction, IrqDesc
from asyncirq.irq.do_irq import status_word

IRQS_AUTODETECT: Final = 0x1
IRQS_SPURIOUS_DISABLED: Final = 0x2
IRQS_POLL_INPROGRESS: Final = 0x8
IRQS_ONESHOT: Final = 0x20
IRQS_REPLAY: Final = 0x40
IRQS_WAITING: Final = 0x80
IRQS_PENDING: Final = 0x200
IRQS_SUSPENDED: Final = 0x800
IRQS_NMI: Final = 0x2000

WORD_BYTES: Final = 4
DESC_ALIGN: Final = 32


def istate(desc: IrqDesc) -> int:
    """Return the core's states of a line as Linux's ``istate`` word."""
    return (
        (IRQS_AUTODETECT if desc.autodetect else 0)
        | (IRQS_SPURIOUS_DISABLED if desc.spurious_disabled else 0)
        | (IRQS_POLL_INPROGRESS if desc.poll_inprogress else 0)
        | (IRQS_ONESHOT if desc.oneshot else 0)
        | (IRQS_REPLAY if desc.replay else 0)
        | (IRQS_WAITING if desc.waiting else 0)
        | (IRQS_PENDING if desc.pending else 0)
        | (IRQS_SUSPENDED if desc.suspended else 0)
        | (IRQS_NMI if desc.nmi else 0)
    )


def irq_desc(desc: IrqDesc) -> dict[str, Any]:
    """Return the fields of a descriptor, in the order of its kernel's struct."""
    names = tuple(action.name for action in desc.actions())
    if desc.core.config.irq_flow == "do_irq":
        assert desc.controller is not None
        return {
            "handler": desc.controller.typename,
            "handler_data": desc.handler_data,
            "action": names,
            "status": status_word(desc),
            "depth": desc.depth,
            "irq_count": desc.irq_count,
            "irqs_unhandled": desc.irqs_unhandled,
            "lock": "unlocked",
            "move_irq": desc.setaffinity_pending,
        }
    return {
        "irq_common_data": {
            "affinity": desc.affinity,
            "effective_affinity": desc.effective_affinity,
            "handler_data": desc.handler_data,
            "msi_desc": desc.msi_desc,
        },
        "irq_data": tuple((data.irq, data.hwirq, data.chip.name) for data in desc.datas()),
        "kstat_irqs": tuple(desc.kstat_irqs),
        "handle_irq": getattr(desc.handle_irq, "__name__", "?"),
        "action": names,
        "istate": istate(desc),
        "depth": desc.depth,
        "tot_count": desc.tot_count,
        "irq_count": desc.irq_count,
        "irqs_unhandled": desc.irqs_unhandled,
        "percpu_enabled": desc.percpu_enabled,
        "threads_oneshot": desc.threads_oneshot,
        "threads_active": desc.threads_active,
        "wait_for_threads": len(desc.thread_waiters),
        "request_mutex": desc.request_mutex.owner is not None,
        "name": desc.name,
    }


def desc_bytes(move_flag: bool) -> int:
    """Return the size of a 2.6 descriptor on 32 bits: its words, the optional move flag, padded to a cache line of 32 bytes."""
    words = 8 + int(move_flag)
    return (words * WORD_BYTES + DESC_ALIGN - 1) // DESC_ALIGN * DESC_ALIGN


def irqaction(action: IrqAction, do_irq: bool) -> dict[str, Any]:
    """Return the fields of an action, in the order of its kernel's struct; ``do_irq`` for one of 2.6.

    ``handler`` is what it is called with: a 2.6 handler gets the interrupted registers too.
    """
    if do_irq:
        return {
            "handler": ("irq", "dev_id", "regs"),
            "flags": action.flags,
            "mask": 0,
            "name": action.name,
            "dev_id": action.dev_id,
            "next": action.next.name if action.next is not None else None,
            "irq": action.irq,
            "dir": action.proc_dir,
        }
    return {
        "handler": ("irq", "dev_id"),
        "dev_id": action.dev_id,
        "percpu_dev_id": action.percpu_dev_id,
        "next": action.next.name if action.next is not None else None,
        "thread_fn": getattr(action.thread_fn, "__name__", None),
        "thread": action.thread.comm if action.thread is not None else None,
        "secondary": action.secondary.thread.comm if action.secondary is not None and action.secondary.thread is not None else None,
        "irq": action.irq,
        "flags": action.flags,
        "thread_flags": tuple(
            name
            for name, is_set in (
                ("RUNTHREAD", action.run_thread),
                ("WARNED", action.warned),
                ("AFFINITY", action.affinity_changed),
                ("FORCED_THREAD", action.forced),
                ("READY", action.ready),
            )
            if is_set
        ),
        "thread_mask": action.thread_mask,
        "name": action.name,
        "dir": action.proc_dir,
    }

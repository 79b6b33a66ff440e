"""Give vectors, interrupt lines and tasks the names under which they are counted, in captures and in our own traces."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from asyncirq.analysis.event import Event

TIMER: Final = 1
NET_TX: Final = 2
NET_RX: Final = 3
HRTIMER: Final = 8
RCU: Final = 9

TIMER_LINES: Final = frozenset({"arch_timer"})
"""Names of device lines that are a CPU's own timer, where it has no vector of its own (arm64)."""

CPU_LINES: Final = TIMER_LINES | {"IPI"}
"""Names of lines that no device drives."""

_IRQ_THREAD: Final = re.compile(r"irq/(\d+)-(s-)?(.*)")
_PER_CPU_THREAD: Final = re.compile(r"(ksoftirqd|ktimers|rcuc|rcub|migration|napi|cpuhp|irq_work)/")
_HIGHPRI_WORKER: Final = re.compile(r"kworker/\d+:\d+H")
_OTHER_KTHREAD: Final = re.compile(
    r"(rcu_|scsi_eh_|scsi_tmf_|kcompactd|kswapd|jbd2/|pr/|card\d|nvme|md\d|dm-)"
    r"|(kthreadd|kdevtmpfs|kauditd|khungtaskd|oom_reaper|writeback|ksmd|khugepaged|usb-storage|watchdogd|hwrng|kstrp"
    r"|kintegrityd|kblockd|kthrotld|kpsmoused|ata_sff|edac-poller|netns|mld|ipv6_addrconf|inet_frag_wq|mm_percpu_wq)$"
)

USER: Final = "user"
"""Class of every task that is no known kernel thread."""


def irq_thread_line(comm: str) -> int | None:
    """Return the interrupt number that a thread's comm (``irq/28-ahci``) names, None for any other task."""
    found = _IRQ_THREAD.match(comm)
    return int(found.group(1)) if found else None


def line_names(events: Iterable[Event]) -> dict[int, str]:
    """Return the display name of each interrupt line: that of its first action in ``irq_handler_entry``."""
    names: dict[int, str] = {}
    for event in events:
        if event.name == "irq_handler_entry":
            irq = event.fields["irq"]
            assert isinstance(irq, int)
            names.setdefault(irq, str(event.fields["name"]))
    return names


class TaskClasses:
    """Sort tasks into classes by their comm, remembering each answer.

    An irq thread's comm is cut at 15 characters, so it is joined to its line by the number: ``irq/28-virtio0-`` is
    class ``irq/virtio0-req.0`` if line 28 is called so. A secondary thread keeps its ``-s``. Per-CPU kernel threads
    lose their CPU, kworkers are ``kworker``, ``kworker-highpri`` or ``kworker-unbound``, the idle task is ``idle``,
    other known kernel threads keep their comm, and what remains is ``user``.
    """

    def __init__(self, lines: dict[int, str]) -> None:
        self._lines = lines
        self._known: dict[str, str] = {"<idle>": "idle"}

    def of(self, comm: str) -> str:
        """Return the class of a task."""
        found = self._known.get(comm)
        if found is None:
            found = self._known[comm] = self._classify(comm)
        return found

    def _classify(self, comm: str) -> str:
        thread = _IRQ_THREAD.match(comm)
        if thread:
            number, secondary, tail = thread.groups()
            return f"irq/{self._lines.get(int(number), tail)}{'-s' if secondary else ''}"
        per_cpu = _PER_CPU_THREAD.match(comm)
        if per_cpu:
            return per_cpu.group(1)
        if comm.startswith("kworker/u"):
            return "kworker-unbound"
        if comm.startswith("kworker/"):
            return "kworker-highpri" if _HIGHPRI_WORKER.match(comm) else "kworker"
        if comm.startswith("swapper/"):
            return "idle"
        return comm if _OTHER_KTHREAD.match(comm) else USER

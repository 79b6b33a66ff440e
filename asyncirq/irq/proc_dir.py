"""Keep the directories of /proc/irq: one for each irq that was ever requested, in it one for each action, and the files.

An action whose name another action of the line has already gets none. Linux: kernel/irq/proc.c. Trace: irq_flow at each
registration, while the debug switch is on.
"""

from __future__ import annotations

from typing import NamedTuple

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IrqAction, IrqDesc
from asyncirq.irq.state import note

DIRECTORY_MODE = 0o555


class ProcEntry(NamedTuple):
    """One name in a directory of /proc/irq: its permission bits, and whether it is a directory itself."""

    name: str
    mode: int
    directory: bool = False


def register_irq_proc(cpu: Cpu, desc: IrqDesc) -> None:
    """Make ``/proc/irq/N``, at the first request of the line; a line without a controller has none."""
    if not desc.proc_dir and desc.chip is not desc.core.no_irq_chip:
        desc.proc_dir = True
        note(cpu, desc, "proc")


def register_handler_proc(cpu: Cpu, desc: IrqDesc, action: IrqAction) -> None:
    """Make ``/proc/irq/N/<name>``, unless the line has the name already or the action has none."""
    taken = any(other.proc_dir == action.name for other in desc.actions())
    if desc.proc_dir and action.name and not taken:
        action.proc_dir = action.name
        note(cpu, desc, f"proc {action.name}")


def unregister_handler_proc(action: IrqAction) -> None:
    """Remove an action's directory."""
    action.proc_dir = ""


def list_irq_dir(desc: IrqDesc) -> list[ProcEntry]:
    """Return what ``/proc/irq/N`` holds, in the order in which it was made; nothing for a line that was never requested."""
    if not desc.proc_dir:
        return []
    files = [
        ProcEntry("smp_affinity", 0o644),
        ProcEntry("affinity_hint", desc.core.config.hint_mode),
        ProcEntry("smp_affinity_list", 0o644),
        ProcEntry("node", 0o444),
    ]
    if desc.core.config.irq_flow == "genirq":
        files += [ProcEntry("effective_affinity", 0o444), ProcEntry("effective_affinity_list", 0o444)]
    files.append(ProcEntry("spurious", 0o444))
    return files + [ProcEntry(action.proc_dir, DIRECTORY_MODE, True) for action in desc.actions() if action.proc_dir]

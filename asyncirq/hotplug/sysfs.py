"""Offer the files of CPUs: which are online, switches to change that, each CPU's place among the hotplug states.

| file | read | written |
| --- | --- | --- |
| ``online``, ``offline``, ``present``, ``possible`` | a list of CPUs | |
| ``hotplug/states`` | every step: its state and name | |
| ``cpuN/online`` | 1 or 0; a CPU that never goes has no such file | brings it up or takes it down |
| ``cpuN/hotplug/state`` | the state it is in | |
| ``cpuN/hotplug/target`` | where it goes | has it go there |
| ``cpuN/hotplug/fail`` | the state whose next step fails, or -1 | makes it fail, once |

Linux: drivers/base/cpu.c, drivers/base/core.c online_store(), kernel/cpu.c.
"""

from __future__ import annotations

from typing import Final

from asyncirq.errors import UsageError
from asyncirq.hotplug.core import Hotplug
from asyncirq.hotplug.states import CpuhpState, is_atomic_state
from asyncirq.hotplug.steps import EINVAL, CpuhpCpu
from asyncirq.sched.task import Task

ROOT: Final = "/sys/devices/system/cpu/"
ENOENT: Final = 2
EACCES: Final = 13


class CpuSysfs:
    """The files under ``/sys/devices/system/cpu`` of one machine."""

    def __init__(self, hotplug: Hotplug) -> None:
        self.hotplug = hotplug

    def read(self, path: str) -> str:
        """Return the text of a file. Raises ``UsageError`` ENOENT for one that is not there."""
        hotplug = self.hotplug
        everyone = hotplug.sched.all_cpus
        name = path.removeprefix(ROOT)
        masks = {"online": hotplug.online, "offline": everyone & ~hotplug.online, "present": everyone, "possible": everyone}
        if name in masks:
            return cpulist(masks[name]) + "\n"
        if name == "hotplug/states":
            table = hotplug.steps.table
            return "".join(f"{state:3d}: {table[state].name}\n" for state in sorted(table))
        st, file = self._cpu_file(path)
        values = {"online": hotplug.online >> st.id & 1, "hotplug/state": st.state, "hotplug/target": st.target, "hotplug/fail": st.fail}
        return f"{int(values[file])}\n"

    async def write(self, task: Task, path: str, value: int) -> None:
        """Write a number into a file. Trace: cpuhp_enter, cpuhp_exit.

        Raises ``UsageError``: ENOENT, EACCES for a file that is only read, EINVAL for a value that makes no sense, and what ``cpu_up`` and
        ``cpu_down`` return.
        """
        st, file = self._cpu_file(path)
        hotplug = self.hotplug
        if file == "online":
            if value not in (0, 1):
                raise UsageError(f"{path}: {value} is neither 0 nor 1", EINVAL)
            ret = await (hotplug.cpu_up(task, st.id) if value else hotplug.cpu_down(task, st.id))
        elif file == "hotplug/target":
            ret = await self._write_target(task, st, value)
        elif file == "hotplug/fail":
            ret = self._write_fail(st, value)
        else:
            raise UsageError(f"{path} cannot be written", EACCES)
        if ret:
            raise UsageError(f"{path}: {value} was refused ({ret})", -ret)

    async def _write_target(self, task: Task, st: CpuhpCpu, value: int) -> int:
        step = self.hotplug.steps.table.get(value)
        if step is None or step.cant_stop or is_atomic_state(value):
            return -EINVAL
        if st.state < value:
            return await self.hotplug.cpu_up(task, st.id, value)
        if st.state > value:
            return await self.hotplug.cpu_down(task, st.id, value)
        return 0

    def _write_fail(self, st: CpuhpCpu, value: int) -> int:
        if value == -1:
            st.fail = -1
            return 0
        step = self.hotplug.steps.table.get(value)
        # What runs with interrupts off, and what only leads down to death, cannot fail.
        if step is None or is_atomic_state(value) or (value <= CpuhpState.BRINGUP_CPU and st.state > CpuhpState.BRINGUP_CPU):
            return -EINVAL
        if step.startup is None and step.teardown is None:
            return -EINVAL
        st.fail = value
        return 0

    def _cpu_file(self, path: str) -> tuple[CpuhpCpu, str]:
        head, _, file = path.removeprefix(ROOT).partition("/")
        number = head.removeprefix("cpu")
        known = ("online", "hotplug/state", "hotplug/target", "hotplug/fail")
        if head.startswith("cpu") and number.isdecimal() and int(number) < len(self.hotplug.cpus) and file in known:
            cpu_id = int(number)
            if file != "online" or self.hotplug.hotpluggable(cpu_id):
                return self.hotplug.cpus[cpu_id], file
        raise UsageError(f"there is no {path} here", ENOENT)


def cpulist(mask: int) -> str:
    """Return a mask of CPUs as the kernel prints lists: ``0-2,5``."""
    parts = []
    cpu = 0
    while mask >> cpu:
        if not mask >> cpu & 1:
            cpu += 1
            continue
        first = cpu
        while mask >> (cpu + 1) & 1:
            cpu += 1
        parts.append(str(first) if first == cpu else f"{first}-{cpu}")
        cpu += 1
    return ",".join(parts)

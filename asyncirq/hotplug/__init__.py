"""Take CPUs down and bring them up: the states that a CPU passes, the steps between them, what every subsystem does in each.

| file | what |
| --- | --- |
| ``states.py`` | the states in order, and which part of the way they belong to |
| ``steps.py`` | the table of steps: a name, a startup, a teardown, instances; how one step is run |
| ``core.py`` | the state machine: the control CPU's part and the hotplug threads' ``cpuhp/N``, rollback |
| ``starting.py`` | the ends of a CPU's life: stopped for good, dead, woken again |
| ``registration.py`` | steps that come and go: ``setup_state``, ``remove_state``, instances |
| ``subsystem_steps.py``, ``work_steps.py`` | what the subsystems do in them |
| ``wiring.py`` | which step is whose |
| ``sysfs.py`` | the files under ``/sys/devices/system/cpu`` |

A CPU comes up through three sections. In PREPARE the control CPU (whichever runs the request) makes ready what the CPU needs. In STARTING
the CPU itself runs, with interrupts off. In ONLINE its hotplug thread goes on, preemptible. It goes down the same way backwards; the way
from ONLINE to STARTING is a stop of the whole machine.

Linux: kernel/cpu.c, include/linux/cpuhotplug.h.
"""

from __future__ import annotations

from asyncirq.hotplug.core import Hotplug
from asyncirq.hotplug.states import CpuhpState
from asyncirq.hotplug.subsystem_steps import Subsystems
from asyncirq.hotplug.wiring import KernelSteps

__all__ = ["CpuhpState", "Hotplug", "KernelSteps", "Subsystems"]

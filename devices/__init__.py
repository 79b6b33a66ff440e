"""Provide devices to interrupt a machine with: each a hardware half and a driver half that talk through registers, rings, wires.

| module | device |
| --- | --- |
| ``e1000`` | an Ethernet controller with rings, throttle and a choice of bottom half |
| ``timer_card`` | periodic or random interrupts, with a choice of bottom half |
| ``scripted`` | interrupts at given instants with handlers of given lengths |

``arrivals`` says when packets and ticks come.
"""

from __future__ import annotations

from devices.arrivals import Arrivals, At, Exponential, Periodic
from devices.e1000 import E1000Driver
from devices.e1000_hw import E1000
from devices.scripted import Scripted, ScriptedDriver
from devices.timer_card import TimerCard, TimerCardDriver

__all__ = [
    "E1000",
    "Arrivals",
    "At",
    "E1000Driver",
    "Exponential",
    "Periodic",
    "Scripted",
    "ScriptedDriver",
    "TimerCard",
    "TimerCardDriver",
]

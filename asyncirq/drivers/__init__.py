"""Give drivers and devices what they share: the base of both halves, register windows, memory that a device reads itself.

A device in ``devices/`` is a hardware half (a ``Device``) and a driver half (a ``Driver``) that face each other and talk
only through registers, descriptor rings and wires. ``await driver.bind(machine)`` connects the device and probes it.
"""

from __future__ import annotations

from asyncirq.drivers.device import Device, Message, Platform
from asyncirq.drivers.dma import DmaMemory
from asyncirq.drivers.driver import Driver
from asyncirq.drivers.register import RegisterWindow

__all__ = ["Device", "DmaMemory", "Driver", "Message", "Platform", "RegisterWindow"]

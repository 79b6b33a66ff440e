"""Hold the direction of imports: the table of rooms, and a walk over every import statement of the tree.

An import counts wherever it stands: at the top, inside a function, under ``TYPE_CHECKING``, or spelled as a string for
``importlib``. A room is a module or a folder of ``asyncirq/``; ``devices`` and ``asyncirq`` (the package's own
``__init__.py``, the public names) are rooms too. Within its room a module imports what it likes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from tests.source_tree import Module, expect_none, plant, read_modules

BASE: Final = ("units", "errors", "costs", "config", "trace")
CHAIN: Final = ("sim", "hw", "sched", "locking", "bottom_half", "irq", "irqchip", "entry", "drivers", "machine")
"""The kernel and what it stands on: each room may import those before it, but ``irq`` sees silicon as a protocol only."""


def below(room: str) -> frozenset[str]:
    """Return what a room of the chain may import: the base and every room before it."""
    return frozenset(BASE + CHAIN[: CHAIN.index(room)])


KERNEL: Final = frozenset((*BASE, *CHAIN, "firmware", "board", "arch", "hotplug", "kernel"))

ALLOWED: Final = MappingProxyType(
    {
        "units": frozenset({"errors"}),
        "errors": frozenset[str](),
        "costs": frozenset({"units", "errors"}),
        "config": frozenset({"units", "errors", "costs"}),
        "trace": frozenset({"units", "errors"}),
        "sim": frozenset({"units", "errors"}),
        "hw": frozenset({"units", "errors", "costs", "trace", "sim"}),
        "sched": below("sched"),
        "locking": below("locking"),
        "bottom_half": below("bottom_half"),
        "irq": below("irq") - {"hw"} | {"hw.cpu"},
        "irqchip": below("irqchip"),
        "entry": below("entry"),
        "drivers": below("drivers"),
        "invariants": below("machine"),
        "firmware": frozenset({"units", "errors"}),
        "board": frozenset({"units", "errors", "costs", "trace", "sim", "hw", "firmware"}),
        "arch": below("drivers") | {"board", "firmware"},
        "hotplug": below("drivers") | {"arch"},
        "kernel": below("drivers") | {"board", "arch", "hotplug"},
        "machine": below("machine") | {"invariants", "board", "kernel"},
        "host": frozenset[str](),
        "scenario": KERNEL | {"devices", "asyncirq"},
        "analysis": frozenset({"units", "errors", "trace"}),
        "explore": frozenset({"units", "errors", "trace", "sim"}),
        "whatif": KERNEL | {"analysis", "invariants"},
        "asyncirq": KERNEL | {"invariants", "analysis", "explore", "whatif", "host"},
        "devices": KERNEL - {"hw"} | {"hw.cpu", "hw.line", "hw.msi", "asyncirq"},
        "cli": KERNEL | {"invariants", "analysis", "explore", "whatif", "asyncirq", "devices", "scenario", "host"},
        "__main__": frozenset({"cli"}),
    }
)
"""Who may import whom. ``room.module`` grants one module of a room."""

SILICON: Final = frozenset({"apic", "lapic", "ioapic", "x2apic", "i8259", "pic", "gic", "its", "hpet"})
"""Words that no identifier of ``irq/`` is made of."""


def imported(module: Module) -> Iterator[tuple[int, str, str]]:
    """Yield line, module and name ('' for the module itself) of each import of our own code."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.name.split(".")
                keep = len(parts) - node.level + (1 if module.is_package else 0)
                base = ".".join([*parts[:keep], base]).strip(".")
            for alias in node.names:
                yield node.lineno, base, alias.name
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            argument = node.args[0] if node.args else None
            if called in {"import_module", "__import__"} and isinstance(argument, ast.Constant):
                yield node.lineno, str(argument.value), ""


def target(base: str, name: str, rooms: frozenset[str]) -> tuple[str, str] | None:
    """Return (room, room.module) that an import reaches, or None for somebody else's code."""
    parts = base.split(".")
    if parts[0] == "devices":
        return "devices", ".".join(parts)
    if parts[0] != "asyncirq":
        return None
    parts = parts[1:]
    if name and (parts or name in rooms):
        parts = [*parts, name]
    return (parts[0], ".".join(parts[:2])) if parts else ("asyncirq", "asyncirq")


def violations(modules: list[Module]) -> list[str]:
    """Return one line per import that the table does not grant."""
    rooms = frozenset(ALLOWED) | {module.room for module in modules}
    bad = []
    for module in modules:
        if module.room not in ALLOWED:
            bad.append(f"{module.path}: room {module.room!r} has no row in the table")
            continue
        granted = ALLOWED[module.room]
        for line, base, name in imported(module):
            reached = target(base, name, rooms)
            if reached is None:
                continue
            room, submodule = reached
            if room != module.room:
                if room not in granted and submodule not in granted:
                    bad.append(f"{module.path}:{line}: {module.room} may not import {submodule}")
                elif any(part.startswith("_") and not part.startswith("__") for part in (*base.split("."), name)):
                    bad.append(f"{module.path}:{line}: {base}.{name} is private to {room}")
    return bad


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each name that code defines or uses; prose and message texts do not count."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield getattr(node, "lineno", 0), value


def silicon_names(modules: list[Module]) -> list[str]:
    """Return the identifiers of ``irq/`` that name a piece of silicon."""
    bad = set()
    for module in modules:
        if module.room == "irq":
            for line, name in identifiers(module.tree):
                words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
                if SILICON & set(words):
                    bad.add(f"{module.path}:{line}: {name} names silicon")
    return sorted(bad)


def test_imports_follow_the_table() -> None:
    expect_none(violations(read_modules()))


def test_irq_names_no_silicon() -> None:
    expect_none(silicon_names(read_modules()))


def test_table_has_no_way_round() -> None:
    """No room reaches itself through what it may import."""

    def reach(room: str, seen: set[str]) -> set[str]:
        for next_room in sorted(ALLOWED[room]):
            name = next_room.split(".", maxsplit=1)[0]
            if name not in seen:
                seen.add(name)
                reach(name, seen)
        return seen

    assert [room for room in ALLOWED if room in reach(room, set())] == []


def test_every_room_below_the_table_has_a_row() -> None:
    assert {grant.split(".", maxsplit=1)[0] for grants in ALLOWED.values() for grant in grants} <= set(ALLOWED)


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("asyncirq/sim/engine.py", "import asyncirq.hw.cpu\n", "asyncirq/sim/engine.py:1: sim may not import hw.cpu"),
        ("asyncirq/hw/cpu.py", "from asyncirq.sched import core\n", "asyncirq/hw/cpu.py:1: hw may not import sched.core"),
        ("asyncirq/hw/cpu.py", "from asyncirq import irq\n", "asyncirq/hw/cpu.py:1: hw may not import irq"),
        ("asyncirq/hw/cpu.py", "from asyncirq import Machine\n", "asyncirq/hw/cpu.py:1: hw may not import asyncirq"),
        ("asyncirq/irq/flow.py", "from asyncirq.hw.lapic import Lapic\n", "asyncirq/irq/flow.py:1: irq may not import hw.lapic"),
        ("asyncirq/irq/flow.py", "from ..irqchip.msi import MsiChip\n", "asyncirq/irq/flow.py:1: irq may not import irqchip.msi"),
        ("asyncirq/irq/__init__.py", "from ..irqchip import msi\n", "asyncirq/irq/__init__.py:1: irq may not import irqchip.msi"),
        (
            "asyncirq/sched/core.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from asyncirq.irq.desc import IrqDesc\n",
            "asyncirq/sched/core.py:3: sched may not import irq.desc",
        ),
        (
            "asyncirq/analysis/chains.py",
            "def f() -> None:\n    from asyncirq.machine import Machine\n",
            "asyncirq/analysis/chains.py:2: analysis may not import machine.Machine",
        ),
        (
            "asyncirq/trace/sinks.py",
            "import importlib\nimportlib.import_module('asyncirq.sim.engine')\n",
            "asyncirq/trace/sinks.py:2: trace may not import sim.engine",
        ),
        ("asyncirq/machine.py", "import devices.nic\n", "asyncirq/machine.py:1: machine may not import devices.nic"),
        ("devices/nic.py", "from asyncirq.hw.lapic import Lapic\n", "devices/nic.py:1: devices may not import hw.lapic"),
        ("devices/nic.py", "from asyncirq.irq.manage import _setup\n", "devices/nic.py:1: asyncirq.irq.manage._setup is private to irq"),
        ("asyncirq/cellar.py", "", "asyncirq/cellar.py: room 'cellar' has no row in the table"),
    ],
)
def test_planted_import_is_reported(tmp_path: Path, path: str, source: str, complaint: str) -> None:
    assert violations(plant(tmp_path, path, source)) == [complaint]


def test_granted_imports_pass(tmp_path: Path) -> None:
    plant(tmp_path, "asyncirq/irq/flow.py", "from asyncirq.hw.cpu import Cpu\nfrom asyncirq.irq.desc import _x\nimport heapq\n")
    plant(tmp_path, "asyncirq/__init__.py", "from asyncirq.machine import Machine\nfrom . import config\n")
    modules = plant(tmp_path, "devices/nic.py", "from asyncirq import Machine\nfrom devices.wire import _cable\n")
    assert violations(modules) == []


def test_planted_silicon_is_reported(tmp_path: Path) -> None:
    modules = plant(tmp_path, "asyncirq/irq/flow.py", '"""An APIC in prose is fine."""\ndef ack(theLapic: int) -> None: ...\nlogic = 1\n')
    assert silicon_names(modules) == ["asyncirq/irq/flow.py:2: theLapic names silicon"]

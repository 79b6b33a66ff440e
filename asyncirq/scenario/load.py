"""Read a scenario file and check it, down to what the kernel's and the cost table's own checks say."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from asyncirq.board import board_class, choose_controller
from asyncirq.config import KernelConfig, preset
from asyncirq.costs import Costs
from asyncirq.errors import UsageError
from asyncirq.scenario.explain import explain
from asyncirq.scenario.file import ScenarioFile, decode_hook

T = TypeVar("T")
OWN_KEYS: Final = (("release", "kernel"), ("rt", "rt"), ("threadirqs", "threadirqs"))
"""Policies that have a key of their own in ``[machine]``."""


class Scenario(msgspec.Struct):
    """A checked scenario: ``path`` names it in messages, ``file`` is its content, ``kernel`` and ``costs`` are ready to use."""

    path: str
    file: ScenarioFile
    kernel: KernelConfig
    costs: Costs

    @property
    def name(self) -> str:
        """Return the file's name without folder and ending."""
        return Path(self.path).stem


def load_scenario(path: str | Path) -> Scenario:
    """Read and check a scenario. Raises ``UsageError`` that names file and key."""
    try:
        text = Path(path).read_bytes().decode()
    except OSError as error:
        raise UsageError(f"{path}: cannot read the scenario: {error.strerror}", error.errno or 0) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    return parse_scenario(text, str(path))


def parse_scenario(text: str, path: str = "<scenario>") -> Scenario:
    """Check a scenario given as text; ``path`` names it in messages. Raises ``UsageError`` that names file and key."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    try:
        file = msgspec.convert(data, ScenarioFile, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {explain(str(error), ScenarioFile, data)}") from None
    machine = file.machine
    for name, key in OWN_KEYS:
        if name in machine.policies:
            raise UsageError(f"{path}: machine.policies.{name}: give it as machine.{key}")
    kernel = _named(path, "machine", lambda: preset(machine.kernel, rt=machine.rt, threadirqs=machine.threadirqs, **machine.policies))
    if machine.arch is not None or machine.controller is not None:
        key = "machine.arch" if machine.controller is None else "machine.controller"
        _named(path, key, lambda: board_class(choose_controller(machine.arch, machine.controller, ""), machine.cpus))
    costs = _named(path, "costs", lambda: Costs(**file.costs))
    _check_names(path, file)
    _check_cpus(path, file)
    return Scenario(path, file, kernel, costs)


def with_seed(scenario: Scenario, seed: int) -> Scenario:
    """Return the same scenario with another seed."""
    machine = msgspec.structs.replace(scenario.file.machine, seed=seed)
    return msgspec.structs.replace(scenario, file=msgspec.structs.replace(scenario.file, machine=machine))


def _named(path: str, key: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except UsageError as error:
        raise UsageError(f"{path}: {key}: {error}") from None


def _check_names(path: str, file: ScenarioFile) -> None:
    names = [(f"device[{index}].name", device.name) for index, device in enumerate(file.device)]
    names += [(f"thread[{index}].comm", thread.comm) for index, thread in enumerate(file.thread)]
    for key, name in names:
        if not name.isprintable():
            raise UsageError(f"{path}: {key}: {name!r} has characters that cannot be printed")
    seen: dict[str, int] = {}
    for index, device in enumerate(file.device):
        first = seen.setdefault(device.name, index)
        if first != index:
            raise UsageError(f"{path}: device[{index}].name: {device.name!r} is the name of device[{first}]")


def _check_cpus(path: str, file: ScenarioFile) -> None:
    cpus = file.machine.cpus
    asked = [(f"thread[{index}].cpu", [thread.cpu]) for index, thread in enumerate(file.thread) if thread.cpu is not None]
    asked += [(f"device[{index}].cpus", device.cpus) for index, device in enumerate(file.device)]
    for key, numbers in asked:
        for number in numbers:
            if not 0 <= number < cpus:
                raise UsageError(f"{path}: {key}: there is no CPU {number}, only 0 to {cpus - 1}")

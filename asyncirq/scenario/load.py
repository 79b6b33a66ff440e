"""Read a scenario file and check it, down to what the kernel's and the cost table's own checks say."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from asyncirq.board import board_class, choose_controller
from asyncirq.config import KernelConfig, preset
from asyncirq.costs import Costs
from asyncirq.errors import UsageError
from asyncirq.scenario.file import ScenarioFile, decode_hook

T = TypeVar("T")


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
        file = msgspec.convert(tomllib.loads(text), ScenarioFile, dec_hook=decode_hook)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {explain(str(error))}") from None
    machine = file.machine
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


def explain(message: str) -> str:
    """Put the key first in a message of the decoder: ``device[0].name: expected `str`, got `int```."""
    what, _, where = message.partition(" - at `$")
    key = where.removesuffix("`").removeprefix(".")
    for start, words in (("Object contains unknown field `", "unknown key"), ("Object missing required field `", "missing")):
        if what.startswith(start):
            field = what.removeprefix(start).removesuffix("`")
            return f"{key}.{field}: {words}" if key else f"{field}: {words}"
    if what.startswith(("Expected", "Invalid")):
        what = what[0].lower() + what[1:]
    return f"{key}: {what}" if key else what


def _named(path: str, key: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except UsageError as error:
        raise UsageError(f"{path}: {key}: {error}") from None


def _check_names(path: str, file: ScenarioFile) -> None:
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

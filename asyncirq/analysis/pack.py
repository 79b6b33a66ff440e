"""Read and write cost packs: what captures of other configurations told of a kernel release, for those that cannot tell it.

A pack is a TOML file with ``format``, ``kernel`` and one table ``[costs.NAME]`` per cost: ``value_ns``, ``n``, ``source`` and, where its
spread is known, ``samples_ns``. The packs of known releases are part of this package.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeGuard

import msgspec

from asyncirq.errors import UsageError

Provenance = Literal["measured", "proxy", "prior"]

FORMAT: Final = 1
DEFAULT: Final = "linux-6.1"
"""The pack that stands in for a release that has none of its own."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_FIELDS: Final = frozenset({"value_ns", "n", "source", "samples_ns"})


class CostSource(msgspec.Struct):
    """One named cost and its origin; ``samples`` is empty when only ``value`` is known."""

    name: str
    samples: list[int]
    value: int
    kind: Provenance
    n: int
    source: str


class CostPack(msgspec.Struct, frozen=True):
    """The costs of one kernel release; ``origin`` says where the pack comes from."""

    kernel: str
    origin: str
    costs: tuple[CostSource, ...]


def builtin_pack(release: str = DEFAULT) -> CostPack:
    """Return the pack of a release that is part of the package; of ``DEFAULT`` if it has none."""
    folder = resources.files("asyncirq.analysis") / "packs"
    file = folder / f"{release}.toml"
    if not file.is_file():
        file = folder / f"{DEFAULT}.toml"
    return _pack(file.name, file.read_text(encoding="utf-8"))


def read_pack(path: Path) -> CostPack:
    """Read a pack. Raises ``UsageError`` that names file and field."""
    try:
        return _pack(str(path), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}", error.errno or 0) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: {error}") from None


def format_pack(pack: CostPack) -> str:
    """Return a pack as the text of its file."""
    lines = [f"format = {FORMAT}", f"kernel = {json.dumps(pack.kernel)}"]
    for cost in sorted(pack.costs, key=lambda cost: cost.name):
        lines += ["", f"[costs.{cost.name}]", f"value_ns = {cost.value}", f"n = {cost.n}", f"source = {json.dumps(cost.source)}"]
        if cost.samples:
            lines.append(f"samples_ns = [{', '.join(map(str, sorted(cost.samples)))}]")
    return "\n".join(lines) + "\n"


def _pack(origin: str, text: str) -> CostPack:
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{origin}: {error}") from None
    if data.get("format") != FORMAT:
        raise UsageError(f"{origin}: format is {data.get('format')!r}, not {FORMAT}: this is no cost pack that is known")
    kernel, costs = data.get("kernel"), data.get("costs", {})
    if not isinstance(kernel, str) or not isinstance(costs, dict):
        raise UsageError(f"{origin}: kernel has to be a text, costs a table")
    return CostPack(kernel, origin, tuple(_cost(origin, name, costs[name]) for name in costs))


def _cost(origin: str, name: str, fields: Any) -> CostSource:
    where = f"{origin}: costs.{name}"
    if not _NAME.fullmatch(name) or not isinstance(fields, dict):
        raise UsageError(f"{where}: not the table of a cost")
    for field in fields:
        if field not in _FIELDS:
            raise UsageError(f"{where}.{field}: unknown; there are {', '.join(sorted(_FIELDS))}")
    value, n, source, samples = fields.get("value_ns"), fields.get("n", 0), fields.get("source"), fields.get("samples_ns", [])
    if not _is_ns(value) or not _is_ns(n):
        raise UsageError(f"{where}: value_ns and n have to be whole numbers, 0 or more")
    if not isinstance(source, str) or not source:
        raise UsageError(f"{where}.source: say where this figure comes from")
    if not isinstance(samples, list) or not all(_is_ns(sample) for sample in samples):
        raise UsageError(f"{where}.samples_ns: not a list of whole numbers, 0 or more")
    return CostSource(name, samples, value, "prior", n, source)


def _is_ns(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


UNTRACEABLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rt_lock_hand_over": "how long an rt_mutex owner runs from unlock to the waiter's wake-up: one lab sample stands in",
        "rt_body_premium": "spinlocks inside handler and softirq bodies become rt_mutexes: bodies are replayed at their stock cost",
        "rt_syscall_preempt": "preempting a task inside a syscall costs more on RT than elsewhere: rt_preempt_switch is an average",
        "bh_off_start": "where a BH-off region began: the capture shows only that an interrupt or event fell into it",
        "user_mode": "kernel or user mode of an interrupted task (a switch in state R, not R+, shows user mode afterwards)",
        "virtual_run_time": "a task's virtual run time when the phase begins: sleepers get full sleeper credit, runnable ones none",
        "ring_drops": "packets that the NIC dropped because its ring was full",
    }
)
"""What no stock capture tells, with what the replay does instead. A report prints this list."""

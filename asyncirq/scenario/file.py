"""Define what may stand in a scenario file: one struct for each table; unknown keys are refused."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from asyncirq.sim import ExecutorName
from asyncirq.units import NSEC_PER_MSEC, NSEC_PER_SEC, NSEC_PER_USEC
from devices.arrivals import Arrivals, At, Exponential, Periodic
from devices.e1000 import DEFAULT_ITR_NS, DEFAULT_RING
from devices.e1000 import BottomHalf as E1000BottomHalf
from devices.timer_card import BottomHalf as TimerCardBottomHalf

_DURATION: Final = re.compile(r"\s*([0-9]+(?:_[0-9]+)*)\s*(ns|us|ms|s)?\s*")
_UNITS: Final = (("ns", 1), ("us", NSEC_PER_USEC), ("ms", NSEC_PER_MSEC), ("s", NSEC_PER_SEC))
LONGEST_NS: Final = 1 << 60
"""36 years: the sum of a few durations is still a number of 64 bits."""


class Nanoseconds(int):
    """A duration: a whole number of ns, written with a unit or bare."""


def parse_duration(value: object) -> Nanoseconds:
    """Read ``"50 us"`` or a bare number of ns. Raises ``ValueError``."""
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            shown = str(value).lower() if isinstance(value, bool) else repr(value)
            raise ValueError(f'{shown} is no duration: write a whole number with ns, us, ms or s, like "50 us"')
        number = int(found[1]) * dict(_UNITS)[found[2] or "ns"]
    if number < 0:
        raise ValueError(f"{value!r} is below 0")
    if number > LONGEST_NS:
        raise ValueError(f"{value!r} is longer than {LONGEST_NS // NSEC_PER_SEC} s")
    return Nanoseconds(number)


def decode_hook(kind: type, value: object) -> Any:
    """Decode what msgspec does not know: durations."""
    if kind is Nanoseconds:
        return parse_duration(value)
    raise NotImplementedError(f"nothing decodes {kind}")  # what msgspec asks of a hook


class _Table(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Base of every table."""


class MachineSection(_Table, frozen=True):
    """``[machine]``: CPUs, architecture and interrupt controller, kernel preset with its variants and single policies, seed, executor."""

    cpus: Annotated[int, Meta(ge=1, le=1024)] = 1
    arch: str | None = None
    controller: str | None = None
    kernel: str = "linux-6.12"
    rt: bool = False
    threadirqs: bool = False
    policies: dict[str, bool | int | str] = {}
    seed: int = 0
    executor: ExecutorName = "native"


class ArrivalsSection(_Table, frozen=True):
    """When packets or ticks come: exactly one of ``period``, ``mean`` (random) and ``at`` (a list of instants).

    ``length`` (bytes) and ``burst`` are for packets.
    """

    period: Nanoseconds | None = None
    mean: Nanoseconds | None = None
    at: list[Nanoseconds] | None = None
    start: Nanoseconds = Nanoseconds(0)
    count: Annotated[int, Meta(ge=0)] | None = None
    length: Annotated[int, Meta(ge=1, le=16_384)] = 1_500
    burst: Annotated[int, Meta(ge=1, le=4096)] = 1

    def __post_init__(self) -> None:
        given = [name for name in ("period", "mean", "at") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of period, mean and at, not {' and '.join(given) or 'none'}")
        if self.period == 0 or self.mean == 0:
            raise ValueError(f"{given[0]} must be above 0 ns")
        if self.at is not None:
            if self.start or self.count is not None:
                raise ValueError("at holds the instants themselves: start and count do not go with it")
            if list(self.at) != sorted(self.at):
                raise ValueError("the instants of at must not fall")

    def make(self) -> Arrivals:
        """Return the arrivals that are described."""
        if self.period is not None:
            return Periodic(self.period, start_ns=self.start, count=self.count)
        if self.mean is not None:
            return Exponential(self.mean, start_ns=self.start, count=self.count)
        return At(self.at or [])


Gsi = Annotated[int, Meta(ge=0, le=23)]


class E1000Section(_Table, tag_field="type", tag="e1000", frozen=True):
    """``[[device]]`` with ``type = "e1000"``: an Ethernet controller."""

    name: Annotated[str, Meta(min_length=1)] = "eth0"
    irq: Literal["msi"] | Gsi = "msi"
    cpus: list[int] = []
    bottom_half: E1000BottomHalf = "softirq"
    arrivals: ArrivalsSection | None = None
    itr: Nanoseconds = Nanoseconds(DEFAULT_ITR_NS)
    dma: Nanoseconds = Nanoseconds(1_000)
    mbps: Annotated[int, Meta(ge=1)] = 1_000
    ring: Annotated[int, Meta(ge=8, le=4096, multiple_of=8)] = DEFAULT_RING
    budget: Annotated[int, Meta(ge=1)] = 64
    reply: bool = False


class TimerCardSection(_Table, tag_field="type", tag="timer_card", frozen=True):
    """``[[device]]`` with ``type = "timer_card"``: ticks that take ``handler`` in the hard handler and ``work`` in the bottom half."""

    name: Annotated[str, Meta(min_length=1)] = "timer0"
    irq: Literal["msi"] | Gsi = "msi"
    cpus: list[int] = []
    edge: bool = False
    bottom_half: TimerCardBottomHalf = "none"
    arrivals: ArrivalsSection | None = None
    handler: Nanoseconds = Nanoseconds(0)
    work: Nanoseconds = Nanoseconds(0)


class ScriptEvent(_Table, frozen=True):
    """One interrupt of a script: when, and how long its handler takes."""

    at: Nanoseconds
    handler: Nanoseconds = Nanoseconds(0)


class ScriptedSection(_Table, tag_field="type", tag="scripted", frozen=True):
    """``[[device]]`` with ``type = "scripted"``: interrupts at given instants; ``no_thread`` keeps its handler out of forced threads."""

    script: list[ScriptEvent]
    name: Annotated[str, Meta(min_length=1)] = "scripted0"
    irq: Literal["msi"] | Gsi = "msi"
    cpus: list[int] = []
    edge: bool = False
    no_thread: bool = False

    def __post_init__(self) -> None:
        times = [event.at for event in self.script]
        if times != sorted(times):
            raise ValueError("the instants of script must not fall")


class Step(_Table, frozen=True):
    """One step of a thread: exactly one of ``run`` (in user mode), ``kernel`` (in the kernel, as a long system call) and ``sleep``."""

    run: Nanoseconds | None = None
    kernel: Nanoseconds | None = None
    sleep: Nanoseconds | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.run, self.kernel, self.sleep) if value is not None]
        if len(given) != 1:
            raise ValueError("a step is exactly one of run, kernel and sleep")
        if given[0] == 0:
            raise ValueError("a step must take more than 0 ns")


class ThreadSection(_Table, frozen=True):
    """``[[thread]]``: a thread that does its program once, ``repeat`` times, or for ever (``true``)."""

    comm: Annotated[str, Meta(min_length=1, max_length=15)]
    program: Annotated[list[Step], Meta(min_length=1)]
    policy: Literal["normal", "fifo", "rr"] = "normal"
    prio: Annotated[int, Meta(ge=0, le=99)] = 0
    nice: Annotated[int, Meta(ge=-20, le=19)] = 0
    cpu: int | None = None
    repeat: bool | Annotated[int, Meta(ge=1)] = False

    def __post_init__(self) -> None:
        if self.policy == "normal" and self.prio:
            raise ValueError("prio is for the policies fifo and rr; a normal thread has nice")
        if self.policy != "normal" and not self.prio:
            raise ValueError(f"policy {self.policy} needs a prio of 1 to 99")
        if self.policy != "normal" and self.nice:
            raise ValueError(f"nice is for normal threads, not for policy {self.policy}")


class TraceSection(_Table, frozen=True):
    """``[trace]``: ``file``, relative to the current folder, gets JSON lines; ``stdout`` shows the records there.

    ``debug`` traces every step of the flow handlers.
    """

    file: Annotated[str, Meta(min_length=1)] | None = None
    stdout: Literal["json", "console", "logfmt"] | None = None
    debug: bool = False


class ScenarioFile(_Table, frozen=True):
    """A whole scenario file."""

    duration: Nanoseconds
    machine: MachineSection = MachineSection()
    costs: dict[str, int] = {}
    device: list[E1000Section | TimerCardSection | ScriptedSection] = []
    thread: list[ThreadSection] = []
    trace: TraceSection = TraceSection()

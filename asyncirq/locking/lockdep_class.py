"""Name what lockdep knows of locks: classes with their usage, edges between classes, and the locks that a task holds.

A lock is of a class of its own, as one that is defined statically; locks made with the same ``LockKey`` share a class, as
those that one line of a driver initialises. A subclass of 1 to 7 (``lock(..., subclass=1)``) is another class: it tells that
a lock of the class is taken inside another one of it, in a known order.

Linux: include/linux/lockdep_types.h, kernel/locking/lockdep_internals.h.
"""

from __future__ import annotations

import sys
from typing import Final, NamedTuple

LD_WAIT_INV: Final = 0
LD_WAIT_FREE: Final = 1
LD_WAIT_SPIN: Final = 2
LD_WAIT_CONFIG: Final = 3
LD_WAIT_SLEEP: Final = 4
LD_WAIT_MAX: Final = 5
"""How a lock waits: never, by spinning, as the kernel is configured (spinning or, on PREEMPT_RT, sleeping), by sleeping, in any way."""

READ_BIT: Final = 1
ENABLED_BIT: Final = 2
"""A usage bit is ``state << 2 | enabled << 1 | read``; the states are hardirq (0) and softirq (1)."""
HARDIRQ: Final = 0
SOFTIRQ: Final = 4
USED: Final = 8
USED_READ: Final = 9
STATE_NAMES: Final = ("HARDIRQ", "SOFTIRQ")
USED_IN_MASK: Final = 0x33
ENABLED_MASK: Final = 0xCC
WRITE_MASK: Final = 0x55
MAX_SUBCLASSES: Final = 8
MAX_LOCK_DEPTH: Final = 48

LOCKING_ROOM: Final = ("asyncirq/locking/", "asyncirq\\locking\\", "bottom_half/rcu_flavours.py")
ENGINE_ROOM: Final = ("asyncirq/sim/", "asyncirq\\sim\\")


class Frame(NamedTuple):
    """One call of a backtrace, printed as ``function [module]``."""

    function: str
    module: str

    def __str__(self) -> str:
        return f"{self.function} [{self.module}]"


Trace = tuple[Frame, ...]


def backtrace() -> Trace:
    """Return the calls that led here, the innermost first: those of the model, without the locks' own and the engine's."""
    frames = []
    frame = sys._getframe(1)
    inside = True
    while frame is not None:
        code = frame.f_code
        file = code.co_filename
        if any(room in file for room in ENGINE_ROOM):
            break
        inside = inside and any(room in file for room in LOCKING_ROOM)
        if not inside:
            frames.append(_frame(code.co_name, file))
        if frame.f_back is None:
            break
        frame = frame.f_back
    return tuple(frames)


def call_site() -> Frame:
    """Return the innermost call of the model that is not the locks' own."""
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not any(room in code.co_filename for room in LOCKING_ROOM):
            return _frame(code.co_name, code.co_filename)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return Frame("0x0", "vmlinux")


def _frame(function: str, file: str) -> Frame:
    return Frame(function, file.replace("\\", "/").rpartition("/")[2].removesuffix(".py"))


class LockKey:
    """What locks of one class have in common; ``name`` is the class's in reports. A plain name is a key too, for locks of one kind."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


Key = LockKey | str


class Tracked:
    """Whatever lockdep follows: every kind of lock, and the maps that stand for no lock, such as RCU's readers.

    ``dep`` holds the classes by subclass once the lock has been used, ``number`` its place among all locks used.
    ``wait_inner`` is how the lock waits and what may be taken inside it, ``wait_outer`` what must be allowed where it is
    taken (INV: the same). ``percpu`` marks a lock that no other CPU waits for, which carries no dependency between interrupts.
    """

    __slots__ = ("dep", "key", "name", "number")

    wait_outer: int = LD_WAIT_INV
    wait_inner: int = LD_WAIT_INV
    percpu: bool = False

    def __init__(self, name: str, key: Key | None = None) -> None:
        self.name = name
        self.key = key
        self.dep: dict[int, LockClass] | None = None
        self.number = 0

    @property
    def class_name(self) -> str:
        """The name of the lock's class."""
        key = self.key
        if key is None:
            return self.name
        return key.name if isinstance(key, LockKey) else key

    def __repr__(self) -> str:
        return self.name


class LockMap(Tracked):
    """Something to be followed like a lock that is none: a context, a wait for a task."""

    __slots__ = ("percpu", "wait_inner", "wait_outer")

    def __init__(self, name: str, inner: int = LD_WAIT_INV, outer: int = LD_WAIT_INV, *, percpu: bool = False) -> None:
        super().__init__(name)
        self.wait_inner = inner
        self.wait_outer = outer
        self.percpu = percpu


class Edge:
    """A dependency: ``next`` was taken while ``prev`` was held, there and then.

    ``dep`` has a bit for each pair of ways: ``1 << ((prev exclusive) + 2 * (next not a recursive reader))``. ``distance`` 1: nothing
    was taken in between.
    """

    __slots__ = ("dep", "distance", "next", "prev", "trace")

    def __init__(self, prev: LockClass, following: LockClass, dep: int, distance: int, trace: Trace) -> None:
        self.prev = prev
        self.next = following
        self.dep = dep
        self.distance = distance
        self.trace = trace


class LockClass:
    """A class of locks. ``usage`` is the mask of the usage bits, ``traces`` where each of them was set.

    ``after`` are the edges to what was taken while a lock of the class was held, ``before`` those from what was held then.
    """

    __slots__ = ("after", "before", "index", "inner", "name", "outer", "percpu", "subclass", "traces", "usage", "version")

    def __init__(self, lock: Tracked, subclass: int, index: int, version: int) -> None:
        self.name = lock.class_name
        self.subclass = subclass
        self.index = index
        self.version = version
        self.inner = lock.wait_inner
        self.outer = lock.wait_outer or lock.wait_inner
        self.percpu = lock.percpu
        self.usage = 0
        self.traces: dict[int, Trace] = {}
        self.after: dict[LockClass, Edge] = {}
        self.before: dict[LockClass, Edge] = {}

    def __str__(self) -> str:
        version = f"#{self.version}" if self.version > 1 else ""
        return f"{self.name}{version}" + (f"/{self.subclass}" if self.subclass else "")

    def usage_chars(self) -> str:
        """Return the four characters of a report: hardirq, hardirq-read, softirq, softirq-read.

        ``+`` taken with interrupts on, ``-`` taken in the interrupt, ``?`` both, ``.`` neither.
        """
        chars = ""
        for bit in (HARDIRQ, HARDIRQ | READ_BIT, SOFTIRQ, SOFTIRQ | READ_BIT):
            chars += ".-+?"[(self.usage >> bit & 1) + 2 * (self.usage >> (bit | ENABLED_BIT) & 1)]
        return chars


class HeldLock:
    """A lock that a task holds, or is about to take.

    ``read``: 0 exclusive, 1 shared, 2 shared by readers that may recurse. ``check`` False: only its being held counts.
    ``context``: 1 in a hard interrupt, 2 in a softirq, 3 in the former over the latter. ``chain`` is the number of the chain of
    locks before it. ``references``: how many locks of the class are held under ``nest``.
    """

    __slots__ = ("chain", "check", "cls", "context", "irqs_off", "lock", "nest", "read", "references", "site", "trylock")

    def __init__(self, lock: Tracked, cls: LockClass, read: int, trylock: bool, check: bool, nest: Tracked | None) -> None:
        self.lock = lock
        self.cls = cls
        self.read = read
        self.trylock = trylock
        self.check = check
        self.nest = nest
        self.context = 0
        self.irqs_off = False
        self.references = 0
        self.chain = 0
        self.site = Frame("?", "?")

    def __str__(self) -> str:
        return f"{address(self.lock):016x} {named(self.cls)}, at: {self.site}"


def address(lock: Tracked) -> int:
    """Return a number that stands for a lock's address: by the order in which locks were used first."""
    return 0xFFFF888100000000 + 0x40 * lock.number


def named(cls: LockClass) -> str:
    """Return a class as reports name it: name, usage, wait types."""
    return f"({cls}){{{cls.usage_chars()}}}-{{{cls.outer}:{cls.inner}}}"


def usage_name(bit: int) -> str:
    """Return the name of a usage bit: ``IN-HARDIRQ-W``, ``SOFTIRQ-ON-R``, ``INITIAL USE``."""
    if bit >= USED:
        return "INITIAL READ USE" if bit == USED_READ else "INITIAL USE"
    state = STATE_NAMES[bit >> 2]
    way = "R" if bit & READ_BIT else "W"
    return f"{state}-ON-{way}" if bit & ENABLED_BIT else f"IN-{state}-{way}"


def state_name(bit: int) -> str:
    """Return the name of a usage bit's state: ``HARDIRQ``, ``SOFTIRQ-READ``."""
    return STATE_NAMES[bit >> 2] + ("-READ" if bit & READ_BIT else "")

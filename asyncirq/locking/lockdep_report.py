"""Write lockdep's reports in Linux's form: what is wrong, the chains that led there, the scenario, the locks held.

Linux: kernel/locking/lockdep.c, the print functions. Model: a place is a function and its module instead of a symbol with an
offset; a lock's address is its number among all locks used; the second backtrace of a dependency is not printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from asyncirq.hw.cpu import Cpu
from asyncirq.locking.lockdep_class import Frame, HeldLock, LockClass, Trace, named, state_name, usage_name
from asyncirq.locking.lockdep_graph import Step
from asyncirq.sched.preempt import HARDIRQ_MASK, SOFTIRQ_MASK, SOFTIRQ_OFFSET
from asyncirq.sched.task import Task

RIGHT = " " * 31
DEADLOCK = ("", " *** DEADLOCK ***", "")


class LockdepReport(NamedTuple):
    """One finding: its ``kind``, when and where, the classes it is about, the whole text, and the calls that led there.

    ``lock`` is the class that was to be taken, or whose state changed; ``other`` the class it conflicts with, "" without one.
    """

    kind: str
    time_ns: int
    cpu: int
    pid: int
    comm: str
    lock: str
    other: str
    lines: tuple[str, ...]
    trace: Trace

    @property
    def text(self) -> str:
        """Return the whole report."""
        return "\n".join(self.lines)


class Finding(NamedTuple):
    """What a check has found: the kind, Linux's headline, the two classes, the body of the report."""

    kind: str
    headline: str
    rule: int
    lock: str
    other: str
    body: Sequence[str]


def framed(finding: Finding, release: str, trace: Trace) -> tuple[str, ...]:
    """Return a report's lines: the headline between its rules, the kernel, the body, the backtrace."""
    ident = f"{release.removeprefix('linux-')}.0 #1 Not tainted"
    head = ("", "=" * finding.rule, finding.headline, ident, "-" * finding.rule)
    return (*head, *finding.body, "", "stack backtrace:", *stack(trace, 1))


def stack(trace: Trace, indent: int) -> list[str]:
    """Return a backtrace, one call a line."""
    return [" " * indent + str(frame) for frame in trace]


def who(task: Task) -> str:
    """Return a task as reports name it."""
    return f"{task.comm}/{task.pid}"


def contexts(cpu: Cpu) -> str:
    """Return in which contexts a CPU is: ``[HC1[1]:SC0[0]:HE0:SE1]``."""
    count = cpu.preempt_count
    hard = (count & HARDIRQ_MASK) >> 16
    soft = (count & SOFTIRQ_MASK) >> 8
    serving = int(count & SOFTIRQ_OFFSET != 0)
    return f"[HC{int(hard > 0)}[{hard}]:SC{serving}[{soft}]:HE{int(not cpu.irqs_off)}:SE{int(not soft)}]"


def held_lines(task: Task, held: Sequence[HeldLock]) -> list[str]:
    """Return the list of the locks that a task holds."""
    if not held:
        return [f"no locks held by {who(task)}."]
    plural = "s" if len(held) > 1 else ""
    return [f"{len(held)} lock{plural} held by {who(task)}:", *(f" #{index}: {lock}" for index, lock in enumerate(held))]


# --- scenarios


def _two_cpus(left: Sequence[str], rows: Sequence[tuple[bool, str]], title: str) -> list[str]:
    pairs = [RIGHT + text if right else "  " + text for right, text in rows]
    return [
        *left,
        f" Possible {title}:",
        "",
        "       CPU0                    CPU1",
        "       ----                    ----",
        *pairs,
        *DEADLOCK,
    ]


def _chain(first: LockClass, middle: LockClass, last: LockClass) -> list[str]:
    return ["Chain exists of:", f"  {first} --> {middle} --> {last}", ""]


def _recursion_scenario(following: HeldLock, prev: HeldLock) -> list[str]:
    head = [" Possible unsafe locking scenario:", "", "       CPU0", "       ----"]
    rows = [f"  lock({prev.cls});", f"  lock({following.cls});"]
    return [*head, *rows, *DEADLOCK, " May be due to missing lock nesting notation", ""]


def _usage_scenario(cls: LockClass) -> list[str]:
    head = [" Possible unsafe locking scenario:", "", "       CPU0", "       ----"]
    return [*head, f"  lock({cls});", "  <Interrupt>", f"    lock({cls});", *DEADLOCK]


def _circular_scenario(following: HeldLock, prev: HeldLock, parent: LockClass) -> list[str]:
    chain = _chain(following.cls, parent, prev.cls) if parent is not following.cls else []
    last = "rlock" if following.read else "lock"
    rows = [
        (False, f"{'rlock' if prev.read else 'lock'}({prev.cls});"),
        (True, f"lock({parent});"),
        (True, f"lock({prev.cls});"),
        (False, f"{last}({following.cls});"),
    ]
    return _two_cpus(chain, rows, "unsafe locking scenario")


def _irq_scenario(safe: LockClass, unsafe: LockClass, prev: LockClass, following: LockClass) -> list[str]:
    middle = following if prev is safe else prev
    chain = _chain(safe, middle, unsafe) if middle is not unsafe else []
    rows = [
        (False, f"lock({unsafe});"),
        (True, "local_irq_disable();"),
        (True, f"lock({safe});"),
        (True, f"lock({middle});"),
        (False, "<Interrupt>"),
        (False, f"  lock({safe});"),
    ]
    return _two_cpus(chain, rows, "interrupt unsafe locking scenario")


# --- classes along a path


def _class_lines(cls: LockClass, depth: int) -> list[str]:
    pad = " " * depth
    lines = [f"{pad}-> {named(cls)} {{"]
    for bit in sorted(cls.traces):
        lines += [f"{pad}   {usage_name(bit)} at:", *stack(cls.traces[bit], depth + 5)]
    return [*lines, f"{pad} }}"]


def _path_forwards(leaf: Step, trace: Trace) -> list[str]:
    """Return the classes from a leaf back to its root, each with where it was taken inside the one before."""
    lines = []
    step: Step | None = leaf
    depth = leaf.depth()
    while step is not None:
        lines += _class_lines(step.cls, depth)
        lines += [f"{' ' * depth} ... acquired at:", *stack(trace if step.edge is None else step.edge.trace, 2), ""]
        step = step.parent
        depth -= 1
    return lines


def _path_backwards(leaf: Step) -> list[str]:
    """Return the classes from what a search backwards has found to its root, which is the order in which they were taken."""
    lines = []
    step: Step | None = leaf
    depth = leaf.depth()
    taken: Trace = ()
    while step is not None:
        lines += _class_lines(step.cls, depth)
        if taken:
            lines += [f"{' ' * depth} ... acquired at:", *stack(taken, 2), ""]
        taken = step.edge.trace if step.edge is not None else ()
        step = step.parent
        depth -= 1
    return lines


# --- the findings


def recursion(task: Task, prev: HeldLock, following: HeldLock, held: Sequence[HeldLock]) -> Finding:
    """Report a lock taken inside another one of its class."""
    body = [
        f"{who(task)} is trying to acquire lock:",
        str(following),
        "",
        "but task is already holding lock:",
        str(prev),
        "",
        "other info that might help us debug this:",
        *_recursion_scenario(following, prev),
        *held_lines(task, held),
    ]
    return Finding("recursive", "WARNING: possible recursive locking detected", 44, str(following.cls), str(prev.cls), body)


def circular(task: Task, target: Step, prev: HeldLock, following: HeldLock, held: Sequence[HeldLock], trace: Trace) -> Finding:
    """Report a dependency that closes a circle; ``target`` is the end of the path that leads from ``following`` to ``prev``."""
    body = [
        f"{who(task)} is trying to acquire lock:",
        str(following),
        "",
        "but task is already holding lock:",
        str(prev),
        "",
        "which lock already depends on the new lock.",
        "",
        "",
        "the existing dependency chain (in reverse order) is:",
    ]
    step: Step | None = target
    while step is not None:
        body += ["", f"-> #{step.depth()} {named(step.cls)}:", *stack(trace if step.edge is None else step.edge.trace, 6)]
        step = step.parent
    assert target.parent is not None
    body += ["", "other info that might help us debug this:", "", *_circular_scenario(following, prev, target.parent.cls)]
    body += held_lines(task, held)
    return Finding("circular", "WARNING: possible circular locking dependency detected", 54, str(following.cls), str(prev.cls), body)


def bad_irq_dependency(
    cpu: Cpu,
    task: Task,
    ends: tuple[Step, Step],
    bits: tuple[int, int],
    pair: tuple[HeldLock, HeldLock],
    held: Sequence[HeldLock],
    at: Trace,
) -> Finding:
    """Report a dependency that leads from a lock taken in interrupts to one taken with interrupts on."""
    back, fore = ends
    prev, following = pair
    irq = state_name(bits[0])
    safe, unsafe = back.cls, fore.cls
    body = [
        f"{who(task)} {contexts(cpu)} is trying to acquire:",
        str(following),
        "",
        "and this task is already holding:",
        str(prev),
        "which would create a new lock dependency:",
        f" {named(prev.cls)} -> {named(following.cls)}",
        "",
        f"but this new dependency connects a {irq}-irq-safe lock:",
        f" {named(safe)}",
        "",
        f"... which became {irq}-irq-safe at:",
        *stack(safe.traces[bits[0]], 1),
        "",
        f"to a {irq}-irq-unsafe lock:",
        f" {named(unsafe)}",
        "",
        f"... which became {irq}-irq-unsafe at:",
        "...",
        *stack(unsafe.traces[bits[1]], 1),
        "",
        "other info that might help us debug this:",
        "",
        *_irq_scenario(safe, unsafe, prev.cls, following.cls),
        *held_lines(task, held),
        "",
        f"the dependencies between {irq}-irq-safe lock and the holding lock:",
        *_path_backwards(back),
        "",
        f"the dependencies between the lock to be acquired and {irq}-irq-unsafe lock:",
        *_path_forwards(fore, at),
    ]
    return Finding(
        "irq-dependency", f"WARNING: {irq}-safe -> {irq}-unsafe lock order detected", 53, str(following.cls), str(prev.cls), body
    )


def inconsistent(cpu: Cpu, task: Task, lock: HeldLock, bits: tuple[int, int], held: Sequence[HeldLock], events: Sequence[str]) -> Finding:
    """Report a lock that is taken both in interrupts and with them on; ``bits``: how it was used before, and now (-1: in an NMI)."""
    before, now = bits
    new = usage_name(now) if now >= 0 else "IN-NMI"
    body = [
        f"inconsistent {{{usage_name(before)}}} -> {{{new}}} usage.",
        f"{who(task)} {contexts(cpu)} takes:",
        str(lock),
        f"{{{usage_name(before)}}} state was registered at:",
        *stack(lock.cls.traces.get(before, ()), 1),
        *events,
        "",
        "other info that might help us debug this:",
        *_usage_scenario(lock.cls),
        *held_lines(task, held),
    ]
    return Finding("inconsistent", "WARNING: inconsistent lock state", 32, str(lock.cls), "", body)


def inversion(task: Task, lock: HeldLock, other: Step, bit: int, forwards: bool, held: Sequence[HeldLock], at: Trace) -> Finding:
    """Report a lock whose new state conflicts with that of a lock before or behind it."""
    irq = state_name(bit)
    if forwards:
        how = f"but this lock took another, {irq}-unsafe lock in the past:"
    else:
        how = f"but this lock was taken by another, {irq}-safe lock in the past:"
    middle = other
    while middle.parent is not None and middle.parent.parent is not None:
        middle = middle.parent
    root = lock.cls
    scenario = _irq_scenario(root, other.cls, middle.cls, other.cls) if forwards else _irq_scenario(other.cls, root, middle.cls, root)
    body = [
        f"{who(task)} just changed the state of lock:",
        str(lock),
        how,
        f" {named(other.cls)}",
        "",
        "and interrupts could create inverse lock ordering between them.",
        "",
        "",
        "other info that might help us debug this:",
        *scenario,
        *held_lines(task, held),
        "",
        "the shortest dependencies between 2nd lock and 1st lock:",
        *_path_forwards(other, at),
    ]
    return Finding("inversion", "WARNING: possible irq lock inversion dependency detected", 56, str(root), str(other.cls), body)


def invalid_wait(task: Task, lock: HeldLock, context: int, held: Sequence[HeldLock]) -> Finding:
    """Report a lock that may sleep where nothing may."""
    body = [
        f"{who(task)} is trying to lock:",
        str(lock),
        "other info that might help us debug this:",
        f"context-{{{context}:{context}}}",
        *held_lines(task, held),
    ]
    return Finding("wait-context", "[ BUG: Invalid wait context ]", 29, str(lock.cls), "", body)


def unbalanced(task: Task, name: str, site: Frame, held: Sequence[HeldLock]) -> Finding:
    """Report the release of a lock that is not held."""
    body = [
        f"{who(task)} is trying to release lock ({name}) at:",
        str(site),
        "but there are no more locks to release!",
        "",
        "other info that might help us debug this:",
        *held_lines(task, held),
    ]
    return Finding("unbalanced", "WARNING: bad unlock balance detected!", 37, name, "", body)


def nest_not_held(task: Task, lock: HeldLock, nest: str, held: Sequence[HeldLock]) -> Finding:
    """Report a lock taken under another one that is not held."""
    body = [
        f"{who(task)} is trying to lock:",
        str(lock),
        "",
        "but this task is not holding:",
        nest,
        "",
        "other info that might help us debug this:",
        *held_lines(task, held),
    ]
    return Finding("nest", "WARNING: Nested lock was not taken", 34, str(lock.cls), nest, body)

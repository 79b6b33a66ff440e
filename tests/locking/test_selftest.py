"""Show each situation of the kernel's locking self-test: reported, and not reported on its correct twin.

Linux: lib/locking-selftest.c, with the results that it expects of each kind of lock. Wound/wait mutexes and fs_reclaim are left out.
"""

from __future__ import annotations

from itertools import permutations

import pytest

from asyncirq.config import KernelConfig, preset
from tests.locking.selftest import SelfTest

STOCK = preset("linux-6.12", lockdep="all", queued_rwlocks=False)
QUEUED = preset("linux-6.12", lockdep="all")
RT = preset("linux-6.12", rt=True, lockdep="all", queued_rwlocks=False)
KINDS = ("spin", "write", "read", "mutex", "wsem", "rsem", "rt")
IRQ_KINDS = ("spin", "write", "read")


def reports(text: str, kind: str = "spin", soft: bool = False, kernel: KernelConfig = STOCK) -> list[str]:
    return SelfTest(kernel).run(text, kind, soft)


def pairs(*names: str) -> str:
    """Return the steps that take two locks, one inside the other, for each pair of letters."""
    return " ".join(f"+{name[0]} +{name[1]} -{name[1]} -{name[0]}" for name in names)


ORDERS = {
    "A-A": ("+X1 +X2", "recursive", "+X1 +Y1"),
    "A-B-B-A": (pairs("AB", "BA"), "circular", pairs("AB", "AB")),
    "A-B-B-C-C-A": (pairs("AB", "BC", "CA"), "circular", pairs("AB", "BC", "AC")),
    "A-B-C-A-B-C": (pairs("AB", "CA", "BC"), "circular", pairs("AB", "CA", "CB")),
    "A-B-B-C-C-D-D-A": (pairs("AB", "BC", "CD", "DA"), "circular", pairs("AB", "BC", "CD", "AD")),
    "A-B-C-D-B-D-D-A": (pairs("AB", "CD", "BD", "DA"), "circular", pairs("AB", "CD", "BD", "AD")),
    "A-B-C-D-B-C-D-A": (pairs("AB", "CD", "BC", "DA"), "circular", pairs("AB", "CD", "BC", "AD")),
}


@pytest.mark.parametrize("kernel", [STOCK, RT], ids=["stock", "rt"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ORDERS)
def test_order(case: str, kind: str, kernel: KernelConfig) -> None:
    wrong, found, right = ORDERS[case]
    # Readers of an rwlock that may recurse block nobody but writers.
    assert reports(wrong, kind, kernel=kernel) == ([] if kind == "read" else [found])
    assert reports(right, kind, kernel=kernel) == []


@pytest.mark.parametrize("kernel", [STOCK, RT], ids=["stock", "rt"])
@pytest.mark.parametrize("kind", KINDS)
def test_double_unlock(kind: str, kernel: KernelConfig) -> None:
    assert reports("+A -A -A", kind, kernel=kernel) == ["unbalanced"]
    assert reports("+A -A +A -A", kind, kernel=kernel) == []


@pytest.mark.parametrize("kernel", [STOCK, RT], ids=["stock", "rt"])
@pytest.mark.parametrize("kind", KINDS)
def test_initialize_held(kind: str, kernel: KernelConfig) -> None:
    assert reports("+A !A", kind, kernel=kernel) == ["freed"]
    assert reports("+A -A !A +A -A", kind, kernel=kernel) == []


READS = [
    ("recursive read-lock", "read+X1 read+X1", [], "rsem+X1 rsem+X1", ["recursive"]),
    ("recursive read-lock #2", "read+X1 read+X2", [], "rsem+X1 rsem+X2", ["recursive"]),
    ("mixed read-write-lock", "read+X1 write+X2", ["recursive"], "rsem+X1 wsem+X2", ["recursive"]),
    ("mixed write-read-lock", "write+X1 read+X2", ["recursive"], "wsem+X1 rsem+X2", ["recursive"]),
    (
        "mixed read-lock/lock-write ABBA",
        "read+X1 spin+Y1 spin-Y1 read-X1 spin+Y1 write+X1 write-X1 spin-Y1",
        ["circular"],
        "rsem+X1 mutex+Y1 mutex-Y1 rsem-X1 mutex+Y1 wsem+X1 wsem-X1 mutex-Y1",
        ["circular"],
    ),
    (
        "mixed read-lock/lock-read ABBA",
        "read+X1 spin+Y1 spin-Y1 read-X1 spin+Y1 read+X1 read-X1 spin-Y1",
        [],
        "rsem+X1 mutex+Y1 mutex-Y1 rsem-X1 mutex+Y1 rsem+X1 rsem-X1 mutex-Y1",
        ["circular"],
    ),
    (
        "mixed write-lock/lock-write ABBA",
        "write+X1 spin+Y1 spin-Y1 write-X1 spin+Y1 write+X1 write-X1 spin-Y1",
        ["circular"],
        "wsem+X1 mutex+Y1 mutex-Y1 wsem-X1 mutex+Y1 wsem+X1 wsem-X1 mutex-Y1",
        ["circular"],
    ),
    (
        "chain cached mixed R-L/L-W ABBA",
        "read+X1 spin+Y1 spin-Y1 read-X1 spin+Y1 read+X1 read-X1 spin-Y1 spin+Y1 write+X1 write-X1 spin-Y1",
        ["circular"],
        "rsem+X1 rsem-X1 mutex+Y1 rsem+X1 rsem-X1 mutex-Y1",
        [],
    ),
]


@pytest.mark.parametrize(("case", "rwlock", "found", "rwsem", "found_sem"), READS, ids=[row[0] for row in READS])
def test_readers(case: str, rwlock: str, found: list[str], rwsem: str, found_sem: list[str]) -> None:
    assert reports(rwlock) == found
    assert reports(rwsem) == found_sem


TRIANGLES = {
    "W1R2/W2R3/W3R1": ("write+X1 read+Y1 read-Y1 write-X1", "write+Y1 read+Z1 read-Z1 write-Y1", "write+Z1 read+X1 read-X1 write-Z1", True),
    "W1W2/R2R3/W3R1": ("write+X1 write+Y1 write-Y1 write-X1", "read+Y1 read+Z1 read-Z1 read-Y1", "write+Z1 read+X1 read-X1 write-Z1", True),
    "W1W2/R2R3/R3W1": (
        "write+X1 write+Y1 write-Y1 write-X1",
        "read+Y1 read+Z1 read-Z1 read-Y1",
        "read+Z1 write+X1 write-X1 read-Z1",
        False,
    ),
    "W1R2/R2R3/W3W1": (
        "write+X1 read+Y1 read-Y1 write-X1",
        "read+Y1 read+Z1 read-Z1 read-Y1",
        "write+Z1 write+X1 write-X1 write-Z1",
        False,
    ),
}


@pytest.mark.parametrize("case", TRIANGLES)
def test_rwlock_triangle(case: str) -> None:
    *events, wrong = TRIANGLES[case]
    for order in permutations([str(event) for event in events]):
        assert reports(" ".join(order)) == (["circular"] if wrong else [])


# Two or three events that are wrong in every order, and what makes them right.
TAKE = "+A -A"
IN_IRQ = "irq{ +A -A }"
UNSAFE = {
    "irqs-on + irq-safe-A": ((IN_IRQ, TAKE), (IN_IRQ, f"disable {TAKE} enable")),
    "safe-A + irqs-on": ((IN_IRQ, "disable +A enable -A"), (IN_IRQ, "disable +A -A enable")),
    "safe-A + unsafe-B #1": (("+A +B -B -A", "+B -B", IN_IRQ), ("disable +A +B -B -A enable", "disable +B -B enable", IN_IRQ)),
    "safe-A + unsafe-B #2": (
        ("disable +A +B -B -A enable", "+B -B", IN_IRQ),
        ("disable +A +B -B -A enable", "disable +B -B enable", IN_IRQ),
    ),
}


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", IRQ_KINDS)
@pytest.mark.parametrize("case", UNSAFE)
def test_irq_unsafe(case: str, kind: str, soft: bool) -> None:
    wrong, right = UNSAFE[case]
    for order in permutations(wrong):
        found = reports(" ".join(order), kind, soft)
        assert (found == []) if kind == "read" else (len(found) >= 1), order
        assert set(found) <= {"inconsistent", "inversion", "irq-dependency"}
    for order in permutations(right):
        assert reports(" ".join(order), kind, soft) == [], order


@pytest.mark.parametrize("kind", IRQ_KINDS)
def test_CTX_08_softirq_safe_with_hardirqs_turned_on(kind: str) -> None:
    wrong = ("soft{ +A -A }", "off +A on -A")
    right = ("soft{ +A -A }", "bhoff off +A on -A bhon")
    for order in permutations(wrong):
        assert reports(" ".join(order), kind) == ([] if kind == "read" else ["inconsistent"])
    for order in permutations(right):
        assert reports(" ".join(order), kind) == []


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", IRQ_KINDS)
def test_CTX_07_lock_inversion(kind: str, soft: bool) -> None:
    events = ("disable write+A +B -B write-A enable", "+B -B", "irq{ read+A read-A }")
    twins = ("disable write+A +B -B write-A enable", "disable +B -B enable", "irq{ read+A read-A }")
    for order in permutations(events):
        found = reports(" ".join(order), kind, soft)
        assert (found == []) if kind == "read" else found[:1] in (["inversion"], ["irq-dependency"]), order
    for order in permutations(twins):
        assert reports(" ".join(order), kind, soft) == []


RECURSION = {
    "#1": ("disable write+A write-A enable", "read+A read-A", "irq{ +A spin+B spin-B -A }", "disable read+A read-A enable"),
    "#2": ("disable spin+B +A -A spin-B enable", "read+A read-A", "irq{ spin+B spin-B }", "disable read+A read-A enable"),
    "#3": ("disable write+B +A -A write-B enable", "read+A read-A", "irq{ read+B read-B }", "disable read+A read-A enable"),
}


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", ["read", "write"])
@pytest.mark.parametrize("case", RECURSION)
def test_CTX_09_read_recursion_in_interrupts(case: str, kind: str, soft: bool) -> None:
    first, second, third, twin = RECURSION[case]
    for order in permutations((first, second, third)):
        found = reports(" ".join(order), kind, soft)
        assert (found == []) if kind == "read" else (len(found) >= 1), order
    for order in permutations((first, twin, third)):
        assert reports(" ".join(order), kind, soft) == []


def test_queued_read_locks() -> None:
    """A queued reader outside of interrupts waits behind writers, so it may not recurse."""
    both = "hard{ read+A +B -B read-A } off +B read+A read-A -B on"
    assert reports(both, kernel=QUEUED) == ["circular"]
    assert reports("hard{ +B read+A read-A -B } off read+A +B -B read-A on", kernel=QUEUED) == []
    inversion = "hard{ +B -B } off +B read+A read-A -B on read+A read-A"
    assert reports(inversion, kernel=QUEUED) == ["inversion"]
    # With readers that all get past waiting writers, neither is wrong.
    assert reports(both, kernel=STOCK) == []
    assert reports(inversion, kernel=STOCK) == []


OUTER = {
    "hard": ("hard{", "}", "rrr"),
    "bare": ("bare{", "}", "rr"),
    "soft": ("soft{", "}", "rrr"),
    "rcu": ("rcu+", "rcu-", "rrr"),
    "rcu_bh": ("rcu_bh+", "rcu_bh-", "rrr"),
    "rcu_sched": ("rcu_sched+", "rcu_sched-", "rr"),
    "raw_spinlock": ("raw+A", "raw-A", "rr"),
    "spinlock": ("spin+A", "spin-A", "rrr"),
    "mutex": ("mutex+A", "mutex-A", "rrrr"),
}
INNER = ("rcu+ rcu-", "raw+B raw-B", "spin+B spin-B", "mutex+B mutex-B")


@pytest.mark.parametrize("outer", OUTER)
def test_CTX_04_wait_contexts(outer: str) -> None:
    begin, end, fine = OUTER[outer]
    for index, inner in enumerate(INNER):
        found = reports(f"{begin} {inner} {end}")
        assert found[:1] == ([] if index < len(fine) else ["wait-context"]), inner


def test_wait_contexts_without_raw_lock_nesting() -> None:
    loose = preset("linux-6.12", lockdep="all", raw_lock_nesting=False)
    assert reports("raw+A spin+B spin-B raw-A", kernel=loose) == []
    assert reports("bare{ spin+B spin-B }", kernel=loose) == []
    assert reports("raw+A mutex+B mutex-B raw-A", kernel=loose) == ["wait-context"]


def test_local_locks_carry_no_inversion() -> None:
    two = "local+A local-A hard{ spin+A spin-A } off spin+A local+A local-A spin-A on"
    three = f"local+A spin+B spin-B local-A {two.removeprefix('local+A local-A ')}"
    assert reports(two) == []
    assert reports(three) == []
    assert reports(f"{three} off spin+A spin+B spin-B spin-A") == ["irq-dependency"]


def test_hardirq_unsafe_softirq_safe() -> None:
    """The unsafe lock is softirq-safe: the chain from the softirq-unsafe mutex must not hide the one from the hardirq-safe lock."""
    steps = (
        "mutex+A off spin+C spin-C on mutex-A hard{ spin+A spin-A } off spin+A spin+B spin-B spin-A on "
        "off spin+B spin+C spin-C spin-B on soft{ spin+D spin-D } bhoff spin+D spin-D bhon "
    )
    assert reports(steps + "off spin+C spin+D spin-D spin-C on") == ["irq-dependency"]
    assert reports(steps + "off spin+D spin-D spin+C spin-C on") == []

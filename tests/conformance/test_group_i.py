"""Show group I of the inventory: how firmware's description starts interrupt controllers."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.errors import KernelBug
from asyncirq.firmware.acpi import GIC_CPU_INTERFACE, GIC_DISTRIBUTOR, AcpiProbe, Subtable
from asyncirq.firmware.devicetree import DeviceTree, Node, Value
from asyncirq.firmware.irqchip import IrqchipTable
from asyncirq.firmware.of_irq import Match, match_node, of_irq_init, platform_populate
from tests.conformance.arm64 import arch_of, board_of, machine

Log = list[tuple[int, str]]


def intc(name: str, phandle: int, parent: int | None = None, **more: Value) -> Node:
    """Return a controller node; ``parent`` is the phandle of where its output goes."""
    props: dict[str, Value] = {"compatible": "x,intc", "interrupt-controller": (), "#interrupt-cells": 1, "phandle": phandle}
    if parent is not None:
        props["interrupt-parent"] = parent
    return Node(name, props | {key.replace("_", "-"): value for key, value in more.items()})


class Drivers:
    """A driver that notes what it starts, and fails for names in ``broken``."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken
        self.order: list[tuple[str, str | None]] = []
        self.log: Log = []

    def init(self, node: Node, parent: Node | None) -> int:
        """Start a controller."""
        self.order.append((node.name, parent.name if parent is not None else None))
        return -19 if node.name in self.broken else 0

    def say(self, level: int, text: str) -> None:
        """Note a message."""
        self.log.append((level, text))

    def start(self, *nodes: Node) -> list[str]:
        """Start the controllers of a tree; return the names of those that were."""
        tree = DeviceTree(Node("", {}, nodes))
        return [node.name for node in of_irq_init(tree, [Match("x,intc", self.init)], self.say)]


def test_S1_04_node_filter() -> None:
    drivers = Drivers()
    good = intc("good", 1, 1)
    other = Node("other", {"compatible": "y,intc", "interrupt-controller": ()})
    plain = Node("plain", {"compatible": "x,intc"})
    off = intc("off", 2, 2, status="disabled")
    bare = Node("bare", {"compatible": "x,bare", "interrupt-controller": ()})
    tree = DeviceTree(Node("", {}, [good, other, plain, off, bare]))
    started = of_irq_init(tree, [Match("x,intc", drivers.init), Match("x,bare", None)], drivers.say)
    assert started == [good]
    assert drivers.log == [(4, "of_irq_init: no init function for x,bare")]


def test_S1_06_parent_choice() -> None:
    root = intc("root", 1, 1)
    extended = intc("extended", 2, 9, interrupts_extended=(1, 7, 3, 8))
    inner = intc("inner", 4)
    bus = Node("bus", {"interrupt-parent": 1}, [Node("bridge", {}, [inner])])
    nested = intc("nested", 3, children=())
    root.add(nested)
    tree = DeviceTree(Node("", {}, [root, extended, bus]))
    parents = [(node.name, tree.interrupt_parent(node)) for node in (root, extended, inner, nested)]
    assert parents == [("root", root), ("extended", root), ("inner", root), ("nested", root)]
    drivers = Drivers()
    of_irq_init(tree, [Match("x,intc", drivers.init)], drivers.say)
    assert drivers.order == [("root", None), ("nested", "root"), ("extended", "root"), ("inner", "root")]


def test_S1_07_breadth_first_start_order() -> None:
    drivers = Drivers()
    nodes = [
        intc("a1x", 5, 3),
        intc("b1", 4, 2),
        intc("a2", 6, 1),
        intc("a1", 3, 1),
        intc("b", 2, 2),
        intc("a", 1, 1),
        intc("a2x", 7, 6),
    ]
    started = drivers.start(*nodes)
    assert started == ["b", "a", "b1", "a2", "a1", "a2x", "a1x"]
    assert drivers.order[2:] == [("b1", "b"), ("a2", "a"), ("a1", "a"), ("a2x", "a2"), ("a1x", "a1")]


def test_S1_08_failed_init_isolates_the_subtree() -> None:
    drivers = Drivers("middle")
    nodes = [intc("root", 1, 1), intc("middle", 2, 1), intc("leaf", 3, 2), intc("other", 4, 1)]
    assert drivers.start(*nodes) == ["root", "other"]
    assert [node.populated for node in nodes] == [True, False, False, True]
    assert drivers.log == [
        (3, "of_irq_init: Failed to init /middle, parent /root"),
        (3, "of_irq_init: children remain, but no parents"),
    ]


def test_S1_10_orphans() -> None:
    drivers = Drivers()
    nodes = [intc("root", 1, 1), intc("one", 2, 3), intc("two", 3, 2), intc("lost", 4, 1)]
    assert drivers.start(*nodes) == ["root", "lost"]
    assert [node.populated for node in nodes] == [True, False, False, True]
    assert drivers.log == [(3, "of_irq_init: children remain, but no parents")]


def test_S1_09_populated_flag() -> None:
    first, second = intc("first", 1, 1), intc("second", 2, 2)
    seen = []

    def init(node: Node, parent: Node | None) -> int:
        seen.append(node.populated)
        return -19 if node is second else 0

    tree = DeviceTree(Node("", {}, [first, second]))
    of_irq_init(tree, [Match("x,intc", init)], lambda level, text: None)
    assert seen == [True, True]
    assert (first.populated, second.populated) == (True, False)
    assert platform_populate(tree, "x,intc") == [second]
    assert platform_populate(tree, "x,intc") == []


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_S1_05_allocation_failure_path(nth: int) -> None:
    drivers = Drivers()
    tree = DeviceTree(Node("", {}, [intc("a", 1, 1), intc("b", 2, 1), intc("c", 3, 1)]))
    left = [nth]

    def alloc() -> bool:
        left[0] -= 1
        return left[0] > 0

    assert of_irq_init(tree, [Match("x,intc", drivers.init)], drivers.say, alloc) == []
    assert (drivers.order, [node.populated for node in tree.nodes()]) == ([], [False] * 4)


def test_S1_03_acpi_table_after_dt() -> None:
    order = []

    def of_init(node: Node, parent: Node | None) -> int:
        order.append(node.name)
        return 0

    def acpi_init(entry: Subtable) -> int:
        order.append(f"acpi {entry.kind} v{entry.version}")
        return 0

    table = IrqchipTable()
    table.acpi_declare(AcpiProbe("gic_v3", GIC_DISTRIBUTOR, 3, acpi_init))
    table.acpi_declare(AcpiProbe("gic_v2", GIC_DISTRIBUTOR, 2, acpi_init))
    table.declare("x,intc", of_init)
    madt = (Subtable(GIC_CPU_INTERFACE), Subtable(GIC_DISTRIBUTOR, 3))
    table.irqchip_init(DeviceTree(Node("", {}, [intc("a", 1, 1)])), madt, lambda level, text: None)
    assert order == ["a", "acpi 12 v3"]
    order.clear()
    table.irqchip_init(None, (Subtable(GIC_DISTRIBUTOR, 2),), lambda level, text: None)
    assert order == ["acpi 12 v2"]


def test_S1_01_arm64_init_irq_order() -> None:
    async def main() -> None:
        async with machine(2, debug=True, pseudo_nmi=True) as m:
            texts = [getattr(record, "text", "") for record in m.records]
            assert [text for text in texts if text.startswith("init_irq")] == [
                "init_irq: irq stacks",
                "init_irq: shadow call stacks",
                "init_irq: irqchip",
                "init_irq: PMR 0xc0, DAIF clear",
            ]

    asyncio.run(main())


def test_S1_19_driver_table_by_compatible_string() -> None:
    async def main() -> None:
        async with machine() as m:
            table = arch_of(m).drivers()
            assert [match.compatible for match in table.matches] == ["arm,gic-v3"]
            node = board_of(m).devicetree.find("/intc@8000000")
            assert node is not None
            assert node.populated
            found = match_node(table.matches, node)
            assert found is not None
            assert found.init is not None
            assert found.init(node, None) == -16  # once is enough: the root handler is set
            assert match_node(table.matches, Node("x", {"compatible": ("x,unknown", "arm,gic-v3")})) == found
            assert match_node(table.matches, Node("x", {"compatible": "x,unknown"})) is None

    asyncio.run(main())


def test_machine_without_a_known_controller_does_not_boot() -> None:
    async def main() -> None:
        async with machine() as m:
            arch = arch_of(m)
            board_of(m).devicetree.nodes()[-2].props["compatible"] = b"x,unknown\0"
            arch.entry._irq_set = False
            with pytest.raises(KernelBug, match="No interrupt controller found"):
                arch.init_irq()

    asyncio.run(main())

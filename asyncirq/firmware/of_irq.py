"""Start the interrupt controllers of a device tree, each after its parent.

Linux: drivers/of/irq.c of_irq_init().
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from asyncirq.firmware.devicetree import DeviceTree, Node

InitFn = Callable[[Node, Node | None], int]
"""Start a controller: ``init(node, parent)`` returns 0 or a negative errno."""
Say = Callable[[int, str], None]
"""Say something in the kernel log: ``say(level, text)``."""

KERN_ERR = 3
KERN_WARNING = 4


class Match(NamedTuple):
    """One row of a table of drivers: ``init`` is None in a row that was declared without a function."""

    compatible: str
    init: InitFn | None


class _Pending:
    """A controller that was found and not started yet."""

    __slots__ = ("init", "node", "parent")

    def __init__(self, node: Node, parent: Node | None, init: InitFn) -> None:
        self.node = node
        self.parent = parent
        self.init = init


def match_node(matches: Sequence[Match], node: Node) -> Match | None:
    """Return the row for a node: that of its most specific compatible string, the first one in it that any row has."""
    for name in node.strings("compatible"):
        for match in matches:
            if match.compatible == name:
                return match
    return None


def of_irq_init(tree: DeviceTree, matches: Sequence[Match], say: Say, alloc: Callable[[], bool] | None = None) -> list[Node]:
    """Start every controller of the tree that the table knows; return those that were started, in order.

    Level by level: first those without a parent, then the children of each started one, in the order of their start. The subtree of a
    controller that fails stays as it is, and so do those whose parent never comes. ``alloc()`` False stands for exhausted memory: then
    nothing is started that was not started yet.
    """
    waiting: list[_Pending] = []
    for node in tree.nodes():
        match = match_node(matches, node)
        if match is None or not node.has("interrupt-controller") or not node.available:
            continue
        if match.init is None:
            say(KERN_WARNING, f"of_irq_init: no init function for {match.compatible}")
            continue
        if alloc is not None and not alloc():
            return []
        parent = tree.interrupt_parent(node)
        waiting.append(_Pending(node, None if parent is node else parent, match.init))
    return _start(waiting, say)


def _start(waiting: list[_Pending], say: Say) -> list[Node]:
    """Start what waits, parents first. A started controller is marked populated, so that nobody else binds to it."""
    started: list[Node] = []
    parents: list[Node] = []
    parent: Node | None = None
    while waiting:
        ready = [pending for pending in waiting if pending.parent is parent]
        for pending in ready:
            waiting.remove(pending)
            pending.node.populated = True
            if pending.init(pending.node, parent):
                say(KERN_ERR, f"of_irq_init: Failed to init {pending.node.path}, parent {parent.path if parent is not None else 'none'}")
                pending.node.populated = False
                continue
            started.append(pending.node)
            parents.append(pending.node)
        if not waiting:
            break
        if not parents:
            say(KERN_ERR, "of_irq_init: children remain, but no parents")
            break
        parent = parents.pop(0)
    return started


def platform_populate(tree: DeviceTree, compatible: str) -> list[Node]:
    """Return the devices that a platform driver for ``compatible`` binds to: those that are not populated yet, which they are then.

    Linux: drivers/of/platform.c of_platform_device_create_pdata().
    """
    found = [node for node in tree.compatible(compatible) if not node.populated]
    for node in found:
        node.populated = True
    return found

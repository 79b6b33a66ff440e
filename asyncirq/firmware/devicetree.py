"""Hold a device tree: nodes with properties, which are bytes with conventions.

Linux: drivers/of/base.c, drivers/of/irq.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from asyncirq.errors import UsageError

Value = bytes | str | int | Sequence[int] | Sequence[str]


class Node:
    """One node. ``props`` holds each property's bytes; numbers are 32 bits wide, big-endian.

    A value is given as bytes, a string or several, a number or several, or ``()`` for a property that is only there.
    ``populated`` says that somebody drives the device already.
    """

    def __init__(self, name: str, props: Mapping[str, Value] | None = None, children: Sequence[Node] = ()) -> None:
        self.name = name
        self.props = {key: encode(value) for key, value in (props or {}).items()}
        self.children: list[Node] = []
        self.parent: Node | None = None
        self.populated = False
        for child in children:
            self.add(child)

    def add(self, child: Node) -> Node:
        """Put a node under this one and return it."""
        child.parent = self
        self.children.append(child)
        return child

    @property
    def path(self) -> str:
        """Return the node's full name."""
        if self.parent is None:
            return "/"
        return f"{self.parent.path.rstrip('/')}/{self.name}"

    def has(self, name: str) -> bool:
        """Tell whether a property is there."""
        return name in self.props

    def cells(self, name: str) -> tuple[int, ...]:
        """Return a property's numbers, none when it is not there. Raises ``UsageError`` for bytes that are no numbers."""
        value = self.props.get(name, b"")
        if len(value) % 4:
            raise UsageError(f"{self.path}: {name} has {len(value)} bytes, which are no cells")
        return tuple(int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value), 4))

    def strings(self, name: str) -> tuple[str, ...]:
        """Return a property's strings, none when it is not there."""
        value = self.props.get(name, b"")
        return tuple(part.decode(errors="replace") for part in value.split(b"\0")[:-1]) if value else ()

    @property
    def available(self) -> bool:
        """Tell whether the device may be used: no status, or one that says so."""
        status = self.strings("status")
        return not status or status[0] in ("okay", "ok")

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, in the order of the file."""
        yield self
        for child in self.children:
            yield from child.walk()

    def __repr__(self) -> str:
        return f"<Node {self.path}>"


class DeviceTree:
    """A tree of nodes."""

    def __init__(self, root: Node) -> None:
        self.root = root

    def nodes(self) -> list[Node]:
        """Return all nodes in the order of the file."""
        return list(self.root.walk())

    def find(self, path: str) -> Node | None:
        """Return the node of a path."""
        return next((node for node in self.root.walk() if node.path == path), None)

    def by_phandle(self, phandle: int) -> Node | None:
        """Return the node that others refer to by a number."""
        return next((node for node in self.root.walk() if node.cells("phandle")[:1] == (phandle,)), None)

    def compatible(self, name: str) -> list[Node]:
        """Return every available node that says it is compatible with something."""
        return [node for node in self.root.walk() if name in node.strings("compatible") and node.available]

    def interrupt_parent(self, node: Node) -> Node | None:
        """Return the node that interrupts of ``node`` go to.

        The first entry of ``interrupts-extended`` names it. Else the nearest ``interrupt-parent`` does, or an ancestor that has
        ``#interrupt-cells``; the search goes on from there until it is at a node with ``#interrupt-cells``.
        """
        extended = node.cells("interrupts-extended")
        if extended:
            return self.by_phandle(extended[0])
        here: Node | None = node
        seen: list[Node] = []
        while here is not None and here not in seen:
            seen.append(here)
            named = here.cells("interrupt-parent")
            here = self.by_phandle(named[0]) if named else here.parent
            if here is not None and here.has("#interrupt-cells"):
                return here
        return None

    def interrupts(self, node: Node) -> list[tuple[int, ...]]:
        """Return the specifiers of a device's interrupts, for its parent. Raises ``UsageError`` for cells that do not come out even."""
        cells = node.cells("interrupts-extended")[1:] or node.cells("interrupts")
        parent = self.interrupt_parent(node)
        width = parent.cells("#interrupt-cells")[0] if parent is not None else 1
        if node.has("interrupts-extended"):
            cells = cells[:width]
        if len(cells) % width:
            raise UsageError(f"{node.path}: {len(cells)} cells are no whole number of interrupts of {width}")
        return [cells[at : at + width] for at in range(0, len(cells), width)]


def encode(value: Value) -> bytes:
    """Return the bytes of a property."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode() + b"\0"
    parts = (value,) if isinstance(value, int) else value
    return b"".join(encode(part) if isinstance(part, str) else part.to_bytes(4, "big") for part in parts)

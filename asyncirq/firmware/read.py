"""Read device trees from files: source (``.dts``, with the extra ``dt``) and flattened (``.dtb``).

The flattened form is that of the Devicetree Specification, chapter 5.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncirq.errors import UsageError
from asyncirq.firmware.devicetree import DeviceTree, Node

if TYPE_CHECKING:
    from devicetree import dtlib

MAGIC: Final = 0xD00DFEED
VERSION: Final = 17
BEGIN_NODE: Final = 1
END_NODE: Final = 2
PROP: Final = 3
NOP: Final = 4
END: Final = 9
_HEADER: Final = ">10I"
_HEADER_SIZE: Final = 40


def read_devicetree(path: str | Path) -> DeviceTree:
    """Read a device tree, flattened or source by its first bytes. Raises ``UsageError`` that names the file."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read the device tree: {error.strerror}", error.errno or 0) from None
    if data[:4] == MAGIC.to_bytes(4, "big"):
        return parse_dtb(data, str(path))
    return _read_source(str(path))


def _read_source(path: str) -> DeviceTree:
    try:
        from devicetree import dtlib
    except ImportError:
        raise UsageError(f"{path}: reading device tree source needs the extra 'dt': pip install 'asyncirq[dt]'") from None
    try:
        tree = dtlib.DT(path)
    except dtlib.DTError as error:
        raise UsageError(f"{path}: {error}") from None
    return DeviceTree(_from_source(tree.root))


def _from_source(node: dtlib.Node) -> Node:
    props = {name: bytes(prop.value) for name, prop in node.props.items()}
    return Node("" if node.name == "/" else node.name, props, [_from_source(child) for child in node.nodes.values()])


def parse_dtb(data: bytes, path: str = "<dtb>") -> DeviceTree:
    """Read a flattened device tree. Raises ``UsageError`` for one that is cut short or broken."""
    try:
        return DeviceTree(_Flattened(data).read())
    except (struct.error, IndexError, ValueError) as error:
        raise UsageError(f"{path}: no flattened device tree: {error}") from None


class _Flattened:
    """A flattened tree under way: ``at`` is the offset of the next token."""

    def __init__(self, data: bytes) -> None:
        magic, size, self.at, self.strings, _, version, oldest, *_ = struct.unpack_from(_HEADER, data)
        if magic != MAGIC or size > len(data) or oldest > VERSION:
            raise ValueError(f"magic {magic:#x}, version {version}, {size} bytes of {len(data)}")
        self.data = data

    def token(self) -> int:
        """Take the next token."""
        (token,) = struct.unpack_from(">I", self.data, self.at)
        self.at += 4
        return int(token)

    def text(self, at: int) -> str:
        """Return the string at an offset."""
        return self.data[at : self.data.index(b"\0", at)].decode()

    def read(self) -> Node:
        """Read the root node."""
        while (token := self.token()) == NOP:
            pass
        if token != BEGIN_NODE:
            raise ValueError(f"token {token} where the root begins")
        return self.node()

    def node(self) -> Node:
        """Read a node whose beginning was taken."""
        name = self.text(self.at)
        self.at = self.at + len(name) + 4 & ~3
        node = Node(name)
        while (token := self.token()) != END_NODE:
            if token == PROP:
                length, offset = struct.unpack_from(">2I", self.data, self.at)
                start = self.at + 8
                node.props[self.text(self.strings + offset)] = self.data[start : start + length]
                self.at = start + length + 3 & ~3
            elif token == BEGIN_NODE:
                node.add(self.node())
            elif token != NOP:
                raise ValueError(f"token {token} inside a node")
        return node


def to_dtb(tree: DeviceTree) -> bytes:
    """Write a flattened device tree."""
    offsets: dict[str, int] = {}
    strings = bytearray()
    body = bytearray()

    def put(node: Node) -> None:
        body.extend(struct.pack(">I", BEGIN_NODE) + node.name.encode() + b"\0")
        body.extend(bytes(-len(body) % 4))
        for name, value in node.props.items():
            if name not in offsets:
                offsets[name] = len(strings)
                strings.extend(name.encode() + b"\0")
            body.extend(struct.pack(">3I", PROP, len(value), offsets[name]) + value)
            body.extend(bytes(-len(body) % 4))
        for child in node.children:
            put(child)
        body.extend(struct.pack(">I", END_NODE))

    put(tree.root)
    body.extend(struct.pack(">I", END))
    start = _HEADER_SIZE + 16  # one empty entry in the list of reserved memory
    total = start + len(body) + len(strings)
    head = struct.pack(_HEADER, MAGIC, total, start, start + len(body), _HEADER_SIZE, VERSION, 16, 0, len(strings), len(body))
    return head + bytes(16) + bytes(body) + bytes(strings)

from __future__ import annotations

from pathlib import Path

import pytest

from asyncirq.errors import UsageError
from asyncirq.firmware.devicetree import DeviceTree, Node
from asyncirq.firmware.read import parse_dtb, read_devicetree, to_dtb

SOURCE = """/dts-v1/;
/ {
    #address-cells = <2>;
    interrupt-parent = <&gic>;
    gic: intc@8000000 {
        compatible = "arm,gic-v3";
        #interrupt-cells = <3>;
        interrupt-controller;
        reg = <0x0 0x08000000 0x0 0x10000>;
    };
    uart@9000000 { compatible = "arm,pl011", "arm,primecell"; interrupts = <0 1 4>; status = "okay"; };
    off { compatible = "nothing"; status = "disabled"; interrupts-extended = <&gic 0 5 1>; };
};
"""


def check(tree: DeviceTree) -> None:
    """Assert that a tree is that of ``SOURCE``."""
    gic = tree.find("/intc@8000000")
    assert gic is not None
    assert [node.path for node in tree.nodes()] == ["/", "/intc@8000000", "/uart@9000000", "/off"]
    assert gic.cells("reg") == (0, 0x8000000, 0, 0x10000)
    assert (gic.has("interrupt-controller"), gic.strings("compatible")) == (True, ("arm,gic-v3",))
    uart, off = tree.find("/uart@9000000"), tree.find("/off")
    assert uart is not None
    assert off is not None
    assert uart.strings("compatible") == ("arm,pl011", "arm,primecell")
    assert (uart.available, off.available) == (True, False)
    assert tree.interrupt_parent(uart) is tree.interrupt_parent(off) is tree.interrupt_parent(gic) is gic
    assert (tree.interrupts(uart), tree.interrupts(off)) == ([(0, 1, 4)], [(0, 5, 1)])
    assert tree.compatible("arm,primecell") == [uart]
    assert tree.compatible("nothing") == []


def test_source_and_flattened_are_the_same_tree(tmp_path: Path) -> None:
    pytest.importorskip("devicetree")
    source = tmp_path / "board.dts"
    source.write_text(SOURCE)
    tree = read_devicetree(source)
    check(tree)
    flat = tmp_path / "board.dtb"
    flat.write_bytes(to_dtb(tree))
    again = read_devicetree(flat)
    check(again)
    assert [(node.path, node.props) for node in again.nodes()] == [(node.path, node.props) for node in tree.nodes()]


def test_flattened_tree_byte_for_byte() -> None:
    tree = DeviceTree(Node("", {"a": 1}, [Node("b@1", {"a": (), "cd": "x"})]))
    words = [0xD00DFEED, 0x9D, 0x38, 0x98, 0x28, 17, 16, 0, 5, 0x60, 0, 0, 0, 0]
    body: list[int | str] = [1, 0, 3, 4, 0, 1, 1, "b@1\0", 3, 0, 0, 3, 2, 2, "x\0\0\0", 2, 2, 9]
    parts = [part.encode() if isinstance(part, str) else part.to_bytes(4, "big") for part in [*words, *body]]
    data = b"".join(parts)
    words[1] = len(data) + 5
    words[3] = len(data)
    words[9] = len(data) - 0x38
    data = b"".join(word.to_bytes(4, "big") for word in words) + data[4 * len(words) :] + b"a\0cd\0"
    assert to_dtb(tree) == data
    assert [(node.path, node.props) for node in parse_dtb(data).nodes()] == [
        ("/", {"a": b"\0\0\0\1"}),
        ("/b@1", {"a": b"", "cd": b"x\0"}),
    ]


@pytest.mark.parametrize("cut", [0, 3, 41, 60, 100])
def test_broken_flattened_tree_is_named(tmp_path: Path, cut: int) -> None:
    data = to_dtb(DeviceTree(Node("", {"a": 1}, [Node("b@1", {"cd": "x"})])))
    path = tmp_path / "cut.dtb"
    path.write_bytes(data[:4] + data[4:cut] if cut else b"\xd0\x0d\xfe\xed")
    with pytest.raises(UsageError, match="cut.dtb: no flattened device tree"):
        read_devicetree(path)


def test_broken_source_is_named(tmp_path: Path) -> None:
    pytest.importorskip("devicetree")
    path = tmp_path / "bad.dts"
    path.write_text("/dts-v1/;\n/ {\n  x = <1;\n};\n")
    with pytest.raises(UsageError, match=r"bad.dts:3 \(column 9\)"):
        read_devicetree(path)
    with pytest.raises(UsageError, match="cannot read the device tree: No such file"):
        read_devicetree(tmp_path / "none.dts")


def test_bytes_that_are_no_cells() -> None:
    node = Node("x", {"reg": b"abc"})
    with pytest.raises(UsageError, match="x: reg has 3 bytes, which are no cells".replace("x:", "/:")):
        node.cells("reg")

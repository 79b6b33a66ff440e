from __future__ import annotations

import re

import pytest

from tests.analysis.linux_captures import ALL, FOLDER, metrics


def interrupts(name: str, when: str) -> dict[str, int]:
    """Return the count of each action in a saved ``/proc/interrupts``, lines without an action left out."""
    text = (FOLDER / name / f"{when}.interrupts").read_text()
    rows = re.findall(r"^ *\d+: +(\d+) +\S+ +\S+ +(\S+)$", text, re.MULTILINE)
    return {action: int(count) for count, action in rows}


@pytest.mark.parametrize("name", ALL)
def test_handler_entries_equal_the_kernels_own_counts(name: str) -> None:
    before, after = interrupts(name, "before"), interrupts(name, "after")
    traced = metrics(name).pooled.interrupts
    lines = ("eth0", "ehci_hcd:usb1", "virtio0-req.0", "ahci[0000:00:1f.2]")
    assert {line: after[line] - before[line] for line in lines} == {line: traced[line] for line in lines}


@pytest.mark.parametrize("name", ALL)
def test_net_rx_entries_equal_the_kernels_own_count(name: str) -> None:
    counts = []
    for when in ("before", "after"):
        found = re.search(r"NET_RX: +(\d+)", (FOLDER / name / f"{when}.softirqs").read_text())
        assert found
        counts.append(int(found.group(1)))
    assert counts[1] - counts[0] == metrics(name).pooled.softirqs["NET_RX"]


def test_every_capture_is_described() -> None:
    readme = (FOLDER / "README.md").read_text()
    shipped = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
    assert {*ALL} <= {*shipped}
    assert all(f"`{name}`" in readme for name in shipped)
    files = {path.name for name in shipped for path in (FOLDER / name).iterdir()}
    assert all(f"`{file}`" in readme for file in files)

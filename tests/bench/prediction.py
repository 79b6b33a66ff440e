"""Predict a long capture under three kernels: how long the command takes, and how much memory all its processes have at once."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from tests.bench.long_capture import write_long_capture

STOCK: Final = Path(__file__).resolve().parents[2] / "traces/linux/a4-61-stock-e1000-icount"
SECONDS: Final = 60
MEMORY_MIB: Final = 1_000
_LOOK_S: Final = 0.25


class Cost(msgspec.Struct, frozen=True):
    """What one prediction took; ``memory_mib`` is the most that all processes had, shared pages counted once, 0 if not known."""

    seconds: float
    memory_mib: float


def predict(events: int, kernels: str = "stock,threadirqs,rt") -> Cost:
    """Measure the command on a capture of ``events`` events. Raises ``CalledProcessError`` when it fails."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_long_capture(STOCK, events, folder / "trace.txt")
        (folder / "meta.txt").write_text((STOCK / "meta.txt").read_text(encoding="utf-8"), encoding="utf-8")
        command = [sys.executable, "-m", "asyncirq", "whatif", str(folder), "--under", kernels, "--out", str(folder / "out")]
        begin, most = time.monotonic(), 0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=STOCK.parents[2]) as running:
            while running.poll() is None:
                most = max(most, _shared_once(running.pid))
                time.sleep(_LOOK_S)
        if running.returncode:
            raise subprocess.CalledProcessError(running.returncode, command)
        return Cost(time.monotonic() - begin, most / 1024)


def _shared_once(pid: int) -> int:
    """Return the memory of a process and its children in KiB, 0 where the system does not tell."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            total += _shared_once(int(child))
    except OSError:
        return total
    return total

"""The shipped captures, read and measured once per test run. Nobody changes what these functions return."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

from asyncirq.analysis.event import Capture
from asyncirq.analysis.ftrace import read_capture
from asyncirq.analysis.latency import measure
from asyncirq.analysis.metrics import Metrics

FOLDER: Final = Path(__file__).resolve().parents[2] / "traces" / "linux"
STOCK: Final = "a4-61-stock-e1000-icount"
THREADIRQS: Final = "b4-61-threadirqs-e1000-icount"
RT: Final = "c4-61-rt-e1000-icount"
ALL: Final = (STOCK, THREADIRQS, RT)


@functools.cache
def capture(name: str) -> Capture:
    return read_capture(FOLDER / name)


@functools.cache
def metrics(name: str) -> Metrics:
    return measure(capture(name), name)

"""The shipped stock capture, predicted once per test run under each kernel, with the machine's invariants watched."""

from __future__ import annotations

import asyncio
import functools
from typing import Final

from asyncirq.analysis.event import Event
from asyncirq.analysis.model import capture_from_records
from asyncirq.trace.reader import read_jsonl
from asyncirq.whatif.kernels import parse_targets
from asyncirq.whatif.run import KernelPrediction, predict_one
from asyncirq.whatif.source import Source, load
from tests.analysis.linux_captures import FOLDER, RT, STOCK, THREADIRQS

REAL: Final = {"stock": STOCK, "threadirqs": THREADIRQS, "rt": RT}
SEED: Final = 1


@functools.cache
def source(*phases: str) -> Source:
    return load(FOLDER / STOCK, phases)


@functools.cache
def prediction(kernel: str, *phases: str, seed: int = SEED) -> KernelPrediction:
    origin = source(*phases)
    (target,) = parse_targets(kernel, origin.release)
    return asyncio.run(predict_one(origin, target, seed=seed, check=True))


@functools.cache
def events(kernel: str, *phases: str) -> list[Event]:
    """Return a predicted run as the metrics see it."""
    found = prediction(kernel, *phases)
    return capture_from_records(read_jsonl(found.trace.splitlines()), kernel, resolution_ns=1_000).events

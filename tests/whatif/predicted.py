"""The shipped stock capture, predicted once per test run under each kernel, with the machine's invariants watched."""

from __future__ import annotations

import asyncio
import functools
from typing import Final

from asyncirq.whatif.kernels import parse_targets
from asyncirq.whatif.run import KernelPrediction, Source, load, predict_one
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

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asyncirq.trace.reader import encode_lines, read_jsonl
from asyncirq.whatif.kernels import parse_targets
from asyncirq.whatif.run import predict
from tests.whatif.predicted import SEED, prediction, source

# A replay makes recorded wake-ups where their task or handler is now, which need not be where its kernel made them.
pytestmark = pytest.mark.monitor_rule("opid", "R11")

PROGRAM = """
import asyncio, sys
from pathlib import Path
from asyncirq.whatif.kernels import parse_targets
from asyncirq.whatif.run import predict
from asyncirq.whatif.source import load
source = load(Path(sys.argv[1]), ["8"])
for found in asyncio.run(predict(source, parse_targets("stock,rt", source.release), seed=1)):
    print(found.sha256)
"""


@pytest.mark.parametrize("kernel", ["stock", "threadirqs", "rt"])
def test_same_input_and_seed_give_the_same_bytes(kernel: str) -> None:
    origin = source("2")
    (target,) = parse_targets(kernel, origin.release)
    (again,) = asyncio.run(predict(origin, [target], seed=SEED))
    assert again.trace == prediction(kernel, "2").trace
    assert hashlib.sha256(again.trace).hexdigest() == again.sha256


def test_what_is_predicted_beside_a_kernel_changes_nothing() -> None:
    origin = source("8")
    found = asyncio.run(predict(origin, parse_targets("stock,rt,threadirqs", origin.release), seed=SEED))
    assert found[1].sha256 == prediction("rt", "8").sha256


def test_another_seed_draws_other_costs() -> None:
    assert prediction("stock", "8", seed=2).sha256 != prediction("stock", "8").sha256


def test_hash_seed_changes_nothing() -> None:
    outputs = set()
    for value in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": value}
        command = [sys.executable, "-c", PROGRAM, str(source("8").path)]
        outputs.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=Path.cwd()).stdout)
    assert outputs == {f"{prediction('stock', '8').sha256}\n{prediction('rt', '8').sha256}\n"}


def test_trace_reads_back_as_it_was_written() -> None:
    trace = prediction("rt", "8").trace
    records = list(read_jsonl(trace.splitlines()))
    assert encode_lines(records) == trace
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert all(record.cause < record.seq for record in records)


def test_restricted_replay_is_the_phase_of_the_whole_one() -> None:
    whole = prediction("rt").metrics.of_phase("8-disk-virtio-blk")
    alone = prediction("rt", "8").metrics.of_phase("8-disk-virtio-blk")
    assert whole is not None and alone is not None
    assert whole.quantities == alone.quantities
    assert whole.interrupts == alone.interrupts

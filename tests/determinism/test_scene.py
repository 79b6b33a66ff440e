"""The first invariant: same scenario and seed, same SHA-256 of the trace, whatever executes or records it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from asyncirq import FileSink, KernelConfig, Machine, MemorySink, Scripted, Seeded, Sink, read_jsonl
from asyncirq.sim import ExecutorName, Policy
from asyncirq.trace import open_spans
from tests.conftest import HostRun
from tests.determinism.scene import KERNELS, Outcome, Scene, play

SCENE = Path(__file__).with_name("scene.py")
ROOT = SCENE.parents[2]


def name(kernel: KernelConfig) -> str:
    return f"{kernel.release}-{kernel.preemption}"


@cache
def reference(index: int) -> Outcome:
    return asyncio.run(play(KERNELS[index]))


each_kernel = pytest.mark.parametrize("index", range(len(KERNELS)), ids=[name(kernel) for kernel in KERNELS])


@each_kernel
def test_the_scene_does_something(index: int) -> None:
    outcome = reference(index)
    assert outcome.records > 4000
    assert outcome.migrations > 0
    assert " eth0" in outcome.interrupts


@each_kernel
@pytest.mark.parametrize("executor", ["native", "anyio"])
def test_executors_and_hosts(host_run: HostRun, index: int, executor: ExecutorName) -> None:
    async def body() -> Outcome:
        return await play(KERNELS[index], executor=executor)

    assert host_run(body) == reference(index)


@each_kernel
def test_inline_advance_off(index: int) -> None:
    assert asyncio.run(play(KERNELS[index], inline=False)) == reference(index)


@each_kernel
def test_slices_of_the_run(index: int) -> None:
    assert asyncio.run(play(KERNELS[index], pieces=40)) == reference(index)


def test_sinks(tmp_path: Path) -> None:
    expected = reference(0)
    path = tmp_path / "trace.jsonl"
    memory = MemorySink()
    sinks: list[list[Sink]] = [[], [memory], [FileSink(path)]]
    for given in sinks:
        assert asyncio.run(play(KERNELS[0], sinks=given)) == expected
    assert hashlib.sha256(path.read_bytes()).hexdigest() == expected.digest
    assert list(read_jsonl(path)) == memory.records


@each_kernel
def test_tracing_does_not_change_the_run(index: int) -> None:
    expected = reference(index)
    outcome = asyncio.run(play(KERNELS[index], trace=False))
    assert (outcome.migrations, outcome.interrupts) == (expected.migrations, expected.interrupts)


@each_kernel
def test_spans_are_balanced(index: int) -> None:
    async def body() -> None:
        async with Machine(2, KERNELS[index], seed=3, check=True) as m:
            await Scene(m).start()
            await m.run_for(10_000_000)
            # The run stops at an instant, wherever the CPUs are: what is open then must end when it goes on.
            left = {entry.seq for entry in open_spans(m.records, rt=KERNELS[index].rt)}
            await m.run_for(10_000_000)
            assert left.isdisjoint(entry.seq for entry in open_spans(m.records, rt=KERNELS[index].rt))

    asyncio.run(body())


def test_another_seed_is_another_run() -> None:
    assert asyncio.run(play(KERNELS[0], seed=4)).digest != reference(0).digest


def test_ties_taken_otherwise_replay_from_their_tape() -> None:
    async def body() -> None:
        async def one(policy: Policy) -> tuple[str, list[int]]:
            async with Machine(2, KERNELS[0], policy=policy, sinks=(), check=True) as m:
                await Scene(m).start()
                await m.run_for(5_000_000)
                return m.digest, [choice.value for choice in m.engine.tape]

        digest, tape = await one(Seeded(11))
        assert await one(Scripted(tape)) == (digest, tape)

    asyncio.run(body())


def digests(python: str, hash_seed: str, executor: str = "native") -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    command = [python, str(SCENE), executor]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.split()


@pytest.mark.parametrize("hash_seed", ["1", "20261120"])
def test_hash_seeds(hash_seed: str) -> None:
    assert digests(sys.executable, hash_seed) == [reference(index).digest for index in range(len(KERNELS))]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_python_versions(version: str) -> None:
    """Compare with every other Python that has the dependencies; ``ASYNCIRQ_PYTHONS`` names more places to look."""
    places = os.environ.get("ASYNCIRQ_PYTHONS", "").split(os.pathsep)
    candidates = [sys.executable]
    candidates += [found for place in [*places, None] if (found := shutil.which(f"python{version}", path=place or None))]
    probe = "import sys, anyio, msgspec, structlog; sys.exit(sys.version_info[:2] != tuple(map(int, sys.argv[1].split('.'))))"
    for python in candidates:
        if subprocess.run([python, "-c", probe, version], capture_output=True, check=False).returncode == 0:
            assert digests(python, "0") == [reference(index).digest for index in range(len(KERNELS))]
            return
    pytest.skip(f"no Python {version} with anyio, msgspec and structlog is installed")

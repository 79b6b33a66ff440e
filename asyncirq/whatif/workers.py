"""Predict several kernels at once, each in a process of its own, when a capture is long enough to be worth it.

A prediction depends on the capture, the kernel and the seed alone, so it is the same wherever it is made. A worker writes its trace
itself and sends its figures back. Ctrl-C reaches the parent alone, which ends the workers.
"""

from __future__ import annotations

import contextvars
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from asyncirq.errors import AsyncIrqError, UsageError
from asyncirq.whatif.kernels import Target
from asyncirq.whatif.run import KernelPrediction, Progress, predict_one
from asyncirq.whatif.source import Source

WORTH_IT: Final = 100_000
"""Events of a capture from which processes are started by default."""


class Job(msgspec.Struct, frozen=True):
    """One kernel to predict, and the file that its trace goes to."""

    target: Target
    trace: Path


def usual_jobs(source: Source, kernels: int) -> int:
    """Return how many processes a prediction gets unless its caller says.

    One for each kernel, even if there are a few more than CPUs: the host shares its CPUs out better than turns would.
    """
    cpus = os.cpu_count() or 1
    return min(kernels, 2 * cpus) if cpus > 1 and source.file.events >= WORTH_IT else 1


async def predict_to_files(
    source: Source, jobs: Sequence[Job], *, processes: int, seed: int = 0, progress: Progress | None = None, check: bool = False
) -> list[KernelPrediction]:
    """Predict every kernel of ``jobs`` and write its trace; ``processes``: how many at once.

    Raises what the model raises, and ``UsageError`` if a trace cannot be written.
    """
    if processes <= 1:
        return [await _predict_to_file(source, job, seed, progress, check) for job in jobs]
    limit = anyio.CapacityLimiter(processes)
    found: dict[int, KernelPrediction] = {}
    failures: dict[int, Exception] = {}
    context = multiprocessing.get_context("fork") if sys.platform == "linux" else multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        # All are started before anything else has a thread, and wait for their turn.
        workers: list[tuple[BaseProcess, Connection]] = []
        for job in jobs:
            here, there = context.Pipe()
            worker = context.Process(target=_work, args=(there, source, job, seed, check), daemon=True)
            worker.start()
            stack.callback(_end, worker, here)
            there.close()
            workers.append((worker, here))
        async with anyio.create_task_group() as group:

            async def follow(number: int, pipe: Connection) -> None:
                async with limit:
                    try:
                        found[number] = await _follow(pipe, jobs[number], progress)
                    except (AsyncIrqError, OSError) as error:
                        failures[number] = error
                        group.cancel_scope.cancel()

            for number, (_, pipe) in enumerate(workers):
                group.start_soon(follow, number, pipe)
    for number in sorted(failures):
        raise failures[number]
    return [found[number] for number in range(len(jobs))]


async def _predict_to_file(source: Source, job: Job, seed: int, progress: Progress | None, check: bool) -> KernelPrediction:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(job.trace.open("wb"))
        except OSError as error:
            raise _cannot_write(job, error) from None

        def write(data: bytes) -> None:
            try:
                file.write(data)
                file.flush()
            except OSError as error:
                raise _cannot_write(job, error) from None

        return await predict_one(source, job.target, seed=seed, progress=progress, check=check, write=write)


def _cannot_write(job: Job, error: OSError) -> UsageError:
    return UsageError(f"{job.trace}: cannot write: {error.strerror}", error.errno or 0)


async def _follow(pipe: Connection, job: Job, progress: Progress | None) -> KernelPrediction:
    """Let a worker begin; return its prediction, or raise what it raised."""
    try:
        pipe.send("begin")
        while True:
            message = await anyio.to_thread.run_sync(pipe.recv, abandon_on_cancel=True)
            if isinstance(message, Exception):
                break
            if isinstance(message, KernelPrediction):
                return message
            if progress is not None:
                progress(job.target.name, str(message))
    except (EOFError, ConnectionError):
        raise UsageError(f"{job.target.name}: the process that predicts this kernel was killed") from None
    raise message


def _end(worker: BaseProcess, pipe: Connection) -> None:
    worker.terminate()
    worker.join()
    pipe.close()


def _work(pipe: Connection, source: Source, job: Job, seed: int, check: bool) -> None:
    """Be a worker: one prediction."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pipe.recv()
        # Where this process was forked, it has the parent's context, which says that a loop is running.
        predict = partial(_predict_to_file, source, job, seed, lambda kernel, phase: pipe.send(phase), check)
        result = contextvars.Context().run(anyio.run, predict)
        pipe.send(result)
    except (EOFError, BrokenPipeError):
        return  # nobody waits for the result any more
    except Exception as error:
        pipe.send(_sendable(error))


def _sendable(error: Exception) -> Exception:
    """Return an error that survives the way to the parent."""
    try:
        return error if type(pickle.loads(pickle.dumps(error))) is type(error) else AsyncIrqError(str(error))
    except (TypeError, AttributeError, pickle.PicklingError):
        return AsyncIrqError(f"{type(error).__name__}: {error}")

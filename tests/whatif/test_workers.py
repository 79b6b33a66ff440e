"""Predictions made in processes: the same bytes and figures, and what goes wrong there is told here."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
from pathlib import Path

import msgspec
import pytest

from asyncirq.errors import UsageError
from asyncirq.whatif import workers
from asyncirq.whatif.kernels import Target, parse_targets
from asyncirq.whatif.workers import Job, predict_to_files, usual_jobs
from tests.whatif.predicted import SEED, prediction, source


def targets(text: str) -> list[Target]:
    return parse_targets(text, source("8").release)


def test_processes_predict_what_one_does(tmp_path: Path) -> None:
    jobs = [Job(target, tmp_path / target.name) for target in targets("stock,rt")]
    seen: list[tuple[str, str]] = []
    found = asyncio.run(
        predict_to_files(source("8"), jobs, processes=2, seed=SEED, progress=lambda kernel, phase: seen.append((kernel, phase)))
    )
    assert sorted(seen) == [("rt", "8-disk-virtio-blk"), ("stock", "8-disk-virtio-blk")]
    for one, job in zip(found, jobs, strict=True):
        alone = prediction(job.target.name, "8")
        assert one.trace == b""
        assert job.trace.read_bytes() == alone.trace
        assert msgspec.structs.replace(one, trace=alone.trace) == alone
        assert hashlib.sha256(job.trace.read_bytes()).hexdigest() == one.sha256


def test_trace_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    jobs = [Job(target, tmp_path / "absent" / target.name) for target in targets("stock,rt")]
    for processes in (1, 2):
        with pytest.raises(UsageError, match=r"cannot write: No such file or directory"):
            asyncio.run(predict_to_files(source("8"), jobs, processes=processes))


def test_worker_that_is_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(pipe: object, *_: object) -> None:
        raise SystemExit(9)

    monkeypatch.setattr(workers, "_work", die)
    jobs = [Job(target, tmp_path / target.name) for target in targets("stock,rt")]
    with pytest.raises(UsageError, match="the process that predicts this kernel was killed"):
        asyncio.run(predict_to_files(source("8"), jobs, processes=2))


def test_cancelling_ends_the_workers(tmp_path: Path) -> None:
    async def run() -> None:
        jobs = [Job(target, tmp_path / target.name) for target in targets("stock,rt")]
        begun = asyncio.Event()
        task = asyncio.create_task(predict_to_files(source(), jobs, processes=2, progress=lambda kernel, phase: begun.set()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert multiprocessing.active_children() == []


def test_short_capture_takes_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    short = source("8")
    long = msgspec.structs.replace(short, file=msgspec.structs.replace(short.file, events=workers.WORTH_IT))
    assert usual_jobs(short, 3) == 1
    assert [usual_jobs(long, kernels) for kernels in (1, 3, 9)] == [1, 3, 4]
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert usual_jobs(long, 3) == 1

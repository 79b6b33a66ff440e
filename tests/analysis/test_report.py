from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from asyncirq.analysis.ftrace import read_capture
from asyncirq.analysis.report import (
    CostRow,
    ModelRun,
    Policy,
    RealRun,
    build_report,
    encode_report,
    input_file,
    read_report_json,
    write_report_json,
)
from asyncirq.errors import UsageError
from tests.analysis.linux_captures import FOLDER, STOCK, capture, metrics
from tests.analysis.report_case import case, report


def test_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    write_report_json(report(), tmp_path / "report.json")
    data = (tmp_path / "report.json").read_bytes()
    assert data == encode_report(case())
    assert encode_report(read_report_json(tmp_path / "report.json")) == data
    assert data.endswith(b"}\n")
    assert data.count(b"\n") == 1


def test_names_of_folders_do_not_get_in() -> None:
    assert str(FOLDER).encode() not in encode_report(report())
    source = report().captured.source
    assert source.name == f"{STOCK}/trace.txt.gz"
    assert source.sha256 == hashlib.sha256((FOLDER / STOCK / "trace.txt.gz").read_bytes()).hexdigest()
    assert (source.kernel, source.cpus, source.events, source.resolution_ns) == ("Linux 6.1", 1, 19_556, 1_000)


def test_a_capture_named_by_its_user_keeps_only_that_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.gz"
    file.write_bytes((FOLDER / STOCK / "trace.txt.gz").read_bytes())
    assert input_file(read_capture(file)).name == "mine.gz"


def test_report_holds_every_run_in_order() -> None:
    found = report()
    assert [heading for heading, _ in found.runs()] == ["captured", "threadirqs", "rt", "real"]
    assert [heading for heading, _ in case(with_target=False).runs()] == ["captured", "threadirqs", "rt"]
    assert found.phases == [phase.phase for phase in found.captured.stats.phases]
    assert found.against is not None
    assert [(score.kernel, score.target) for score in found.against.kernels] == [("rt", True), ("threadirqs", False)]
    assert [info.name for info in found.quantities][:2] == ["entry_to_thread:ahci[0000:00:1f.2]", "entry_to_thread:ehci_hcd:usb1"]


def test_costs_say_where_they_come_from() -> None:
    assert report().kernels[1].costs == [
        CostRow("irq_thread_wake", 4_000, "proxy", 1, "any other wake-up", 4_000, 4_000, 4_000),
        CostRow("rt_lock_block", 9_140, "prior", 7, "another capture", None, None, None),
        CostRow("try_to_wake_up", 4_333, "measured", 3, "sched_waking -> sched_wakeup", 4_000, 4_000, 4_000),
    ]


def test_order_of_the_caller_s_dictionaries_does_not_matter() -> None:
    captured = RealRun(input_file(capture(STOCK)), metrics(STOCK))
    policies: dict[str, Policy] = {"hz": 250, "preemption": "voluntary", "softirq_max_time_ms": None, "threadirqs": False}
    versions = {"asyncirq": "1", "other": "2"}
    there = build_report(captured, [ModelRun("stock", metrics(STOCK), policies=policies)], seed=0, versions=versions)
    backwards = ModelRun("stock", metrics(STOCK), policies=dict(reversed(policies.items())))
    back = build_report(captured, [backwards], seed=0, versions=dict(reversed(versions.items())))
    assert encode_report(there) == encode_report(back)
    other = build_report(captured, [backwards], seed=1, versions=versions)
    assert encode_report(there) != encode_report(other)


def test_faults_of_the_caller() -> None:
    captured = RealRun(input_file(capture(STOCK)), metrics(STOCK))
    kernel = ModelRun("rt", metrics(STOCK))
    with pytest.raises(UsageError, match="kernel 'rt' is given twice"):
        build_report(captured, [kernel, kernel], seed=0, versions={})
    with pytest.raises(UsageError, match="target 'stock' is none of the predicted kernels: rt"):
        build_report(captured, [kernel], seed=0, versions={}, target="stock")


def test_faults_of_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone/report.json: cannot write: No such file or directory \(-ENOENT\)"):
        write_report_json(report(), tmp_path / "gone" / "report.json")
    with pytest.raises(UsageError, match=r"gone.json: cannot read"):
        read_report_json(tmp_path / "gone.json")
    (tmp_path / "bad.json").write_text('{"format": "x"}')
    with pytest.raises(UsageError, match=r"bad.json: this is no report: .*`\$.format`"):
        read_report_json(tmp_path / "bad.json")
    moved = msgspec.structs.replace(capture(STOCK), path=str(tmp_path / "gone.txt"))
    with pytest.raises(UsageError, match="gone.txt: no such file"):
        input_file(moved)

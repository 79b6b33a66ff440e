"""Try ``asyncirq check`` as its users do."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from asyncirq.cli import main

STOCK = Path("traces/linux/a4-61-stock-e1000-icount")
HEAD = """# tracer: nop
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""


def wrong_trace() -> str:
    return HEAD + (
        "            init-1       [000] d..2.     1.000000: sched_switch: "
        "prev_comm=init prev_pid=1 prev_prio=120 prev_state=S ==> next_comm=cat next_pid=7 next_prio=120\n"
        "             cat-7       [000] .....     1.000010: sched_waking: comm=init pid=1 prio=120 target_cpu=000\n"
        "             cat-7       [000] d..2.     1.000020: sched_wakeup: comm=init pid=1 prio=120 target_cpu=000\n"
    )


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["check", *args])
    return int(end.value.code or 0)


def test_a_real_capture_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(STOCK)) == 0
    shown = capsys.readouterr().out
    assert "| opid    |   1166 |       0 |" in shown
    assert "not run: the trace has no" in shown


def test_a_refused_event_is_named_and_the_exit_code_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trace.txt").write_text(wrong_trace())
    assert run(str(tmp_path), "--monitor", "opid") == 1
    line = "opid: CPU 0, line 12, 1000010000 ns: sched_waking not allowed with flags ...0, not irqs off and preemption off"
    assert line in capsys.readouterr().out


def test_our_own_trace_is_read_plain_and_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.jsonl"
    with pytest.raises(SystemExit):
        main(["run", "tests/scenarios/nic_softirq.toml", "--trace", str(trace)])
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(trace.read_bytes()))
    capsys.readouterr()
    assert run(str(trace), "--monitor", "R8") == run(str(packed), "--monitor", "R8") == 0
    first, second = capsys.readouterr().out.split("| R8 ")[1:]
    assert first.splitlines()[0] == second.splitlines()[0]


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(STOCK), "--monitor", "wipe") == 2
    assert "no monitor is called 'wipe'; there are wip, wwnr, sco" in capsys.readouterr().err
    assert run(str(tmp_path)) == 2
    assert "no trace.jsonl, trace.txt or trace.txt.gz in this folder" in capsys.readouterr().err
    assert run(str(tmp_path / "none")) == 2
    assert f"{tmp_path}/none: cannot read the trace: No such file" in capsys.readouterr().err
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"{}")[:10])
    assert run(str(tmp_path / "cut.gz")) == 2
    assert "cut.gz: damaged gzip file: " in capsys.readouterr().err
    (tmp_path / "bad.jsonl").write_text("{}\n")
    assert run(str(tmp_path / "bad.jsonl")) == 2
    assert "bad.jsonl:1:" in capsys.readouterr().err

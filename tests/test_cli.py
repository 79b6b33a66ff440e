from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
import typer

from asyncirq import FileSink, UsageError, __version__, cli, read_jsonl
from asyncirq.scenario import parse_scenario, run_scenario
from tests.source_tree import ROOT

SCENARIO = """\
duration = "4 ms"

[machine]
seed = 3

[[device]]
type = "timer_card"
name = "adc"
bottom_half = "tasklet"
handler = "1 us"
work = "7 us"
arrivals = { period = "500 us", count = 6 }
"""
ENDLESS = """\
duration = "10000 s"

[[device]]
type = "timer_card"
arrivals = { period = "10 us" }

[trace]
stdout = "json"
"""
COMMAND = (sys.executable, "-m", "asyncirq")


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """Return a scenario file."""
    path = tmp_path / "adc.toml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Return the trace of a run."""
    path = tmp_path / "adc.jsonl"
    asyncio.run(run_scenario(parse_scenario(SCENARIO), sinks=[FileSink(path)]))
    return path


def call(*args: str) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(args)
    code = exit_.value.code
    return 0 if code is None else int(code)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


# --- the whole


def test_version() -> None:
    found = subprocess.run([*COMMAND, "--version"], env=environment(), capture_output=True, text=True, check=True)
    assert found.stdout == f"asyncirq {__version__}\n"


def test_help_names_the_commands(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plant_whatif(monkeypatch)
    assert call("--help") == 0
    shown = capfd.readouterr().out
    assert [name for name in ("run", "show", "whatif") if f" {name} " not in shown] == []


def plant_whatif(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put a command in place of the real one; return what it is called with."""
    calls: list[str] = []

    def whatif(capture: str) -> None:
        """Stand in."""
        calls.append(capture)

    module = types.ModuleType("asyncirq.whatif.cli")
    module.whatif = whatif  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "asyncirq.whatif.cli", module)
    return calls


def test_whatif_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = plant_whatif(monkeypatch)
    assert call("whatif", "a4") == 0
    assert calls == ["a4"]


def test_other_commands_do_not_wait_for_whatif(scenario: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncirq.whatif.cli", None)
    assert call("run", str(scenario)) == 0


def test_mistakes_of_the_command_line_exit_with_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert call("run") == 2
    assert call("dance") == 2
    assert call("show", "x", "--format", "xml") == 2
    assert "Traceback" not in capfd.readouterr().err


# --- run


def test_run_prints_what_happened(scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("run", str(scenario)) == 0
    shown = capfd.readouterr()
    lines = shown.out.splitlines()
    assert shown.err == ""
    assert lines[0].startswith("adc: ran for 4 ms, ")
    assert lines[1:8] == [
        "",
        "Devices",
        "device  counter     value",
        "adc     ticks           6",
        "adc     interrupts      6",
        "adc     empty           0",
        "adc     runs            6",
    ]
    assert " 16:          6   PCI-MSI   1-edge      adc" in lines
    assert "     TASKLET:          6" in lines
    assert [line.split() for line in lines if line.startswith("Hard handler")] == [
        ["Hard", "handler", "run", "time:", "adc", "6", *["1.8"] * 4]
    ]
    assert not any(line != line.rstrip() for line in lines)


def test_run_is_the_same_every_time(scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("run", str(scenario)) == 0
    first = capfd.readouterr().out
    assert call("run", str(scenario)) == 0
    assert capfd.readouterr().out == first


def test_seed_overrides_the_scenario(scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scenario.write_text(SCENARIO.replace('period = "500 us"', 'mean = "500 us"'))
    heads = []
    for options in ((), ("--seed", "3"), ("--seed", "4")):
        assert call("run", str(scenario), *options) == 0
        heads.append(capfd.readouterr().out.splitlines()[0])
    assert heads[0] == heads[1]
    assert heads[0] != heads[2]


def test_out_and_trace_hold_trace_and_report(scenario: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, trace = tmp_path / "a" / "out", tmp_path / "t.jsonl"
    assert call("run", str(scenario), "--out", str(out), "--trace", str(trace)) == 0
    assert sorted(path.name for path in out.iterdir()) == ["report.txt", "trace.jsonl"]
    assert (out / "report.txt").read_text() == capfd.readouterr().out
    assert trace.read_bytes() == (out / "trace.jsonl").read_bytes()
    assert len(list(read_jsonl(trace))) > 50


def test_shown_trace_is_not_mixed_with_the_report(scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scenario.write_text(SCENARIO + '[trace]\nstdout = "json"\n')
    assert call("run", str(scenario)) == 0
    shown = capfd.readouterr()
    assert all(json.loads(line)["seq"] for line in shown.out.splitlines())
    assert shown.err.startswith("adc: ran for 4 ms, ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"500 us"', '"500 uss"'), "device[0].arrivals.period: '500 uss' is no duration"),
        (("seed = 3", "sed = 3"), "machine.sed: unknown key"),
        (("timer_card", "timer"), "device[0].type: invalid value 'timer'"),
        (("[machine]", "[machine"), "Expected ']' at the end of a table declaration"),
        (('name = "adc"', "irq = 16\ncpus = [3]"), "device[0].cpus: there is no CPU 3, only 0 to 0"),
    ],
)
def test_wrong_scenario_is_one_line_and_exit_code_2(
    scenario: Path, capfd: pytest.CaptureFixture[str], change: tuple[str, str], message: str
) -> None:
    scenario.write_text(SCENARIO.replace(*change))
    assert call("run", str(scenario)) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"asyncirq: error: {scenario}: {message}")
    assert shown.err.count("\n") == 1


def test_missing_files_are_one_line_and_exit_code_2(scenario: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("run", str(tmp_path / "no.toml")) == 2
    assert call("run", str(scenario), "--out", str(scenario)) == 2
    assert call("run", str(scenario), "--trace", str(tmp_path)) == 2
    assert call("show", str(tmp_path / "no.jsonl")) == 2
    assert capfd.readouterr().err.splitlines() == [
        f"asyncirq: error: {tmp_path}/no.toml: cannot read the scenario: No such file or directory (-ENOENT)",
        f"asyncirq: error: {scenario}: cannot make this folder: File exists (-EEXIST)",
        f"asyncirq: error: {tmp_path}: cannot write a trace here: Is a directory (-EISDIR)",
        f"asyncirq: error: {tmp_path}/no.jsonl: cannot read the trace: No such file or directory (-ENOENT)",
    ]


def test_failing_disk_is_one_line_and_exit_code_1(scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no full device here")
    assert call("run", str(scenario), "--trace", str(full)) == 1
    assert capfd.readouterr().err == "asyncirq: error: [Errno 28] No space left on device\n"


def test_show_says_that_a_trace_is_empty(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").touch()
    for form in ("ftrace", "json", "logfmt"):
        assert call("show", str(tmp_path / "empty.jsonl"), "--format", form) == 0
        shown = capfd.readouterr()
        assert shown.out == ""
        assert shown.err == f"asyncirq: {tmp_path}/empty.jsonl holds no records\n"


def test_ctrl_c_keeps_what_was_traced(tmp_path: Path) -> None:
    path, trace = tmp_path / "long.toml", tmp_path / "t.jsonl"
    path.write_text(ENDLESS)
    command = [*COMMAND, "run", str(path), "--trace", str(trace), "--out", str(tmp_path)]
    # Unbuffered: what readline would read ahead, communicate would not see.
    with subprocess.Popen(command, env=environment(), bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, report = process.communicate()
    assert process.returncode == 130
    head = report.decode().splitlines()[0]
    assert head.startswith("long: interrupted at ")
    assert first + rest == trace.read_bytes()
    assert f", {len(list(read_jsonl(trace)))} records, " in head
    assert (tmp_path / "report.txt").read_bytes() == report


def test_report_on_a_terminal_has_the_same_figures() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    result = asyncio.run(run_scenario(parse_scenario(SCENARIO)))
    plain, terminal = io.StringIO(), Terminal()
    cli.print_result(result, plain)
    cli.print_result(result, terminal)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    words = [word for line in shown.splitlines() for word in line.split() if set(word) != {"─"}]
    assert words == plain.getvalue().split()


def test_report_without_any_record_of_a_cpu() -> None:
    result = asyncio.run(run_scenario(parse_scenario(SCENARIO)))
    result.records = []
    text = io.StringIO()
    cli.print_result(result, text)
    assert "Latencies" not in text.getvalue()


# --- show


def test_show_as_ftrace_does(trace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("show", str(trace), "--event", "tasklet_entry", "--event", "sched_s*") == 0
    lines = capfd.readouterr().out.splitlines()
    assert {line.split(": ")[1] for line in lines} == {"tasklet_entry", "sched_switch"}
    assert next(line for line in lines if "tasklet_entry" in line).endswith(": tasklet_entry: tasklet=adc function=timer_card_tasklet")


def test_show_everything(trace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("show", str(trace)) == 0
    assert len(capfd.readouterr().out.splitlines()) == len(list(read_jsonl(trace)))


def test_show_json_gives_the_same_bytes(trace: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert call("show", str(trace), "--format", "json") == 0
    assert capfdbinary.readouterr().out == trace.read_bytes()


def test_show_json_of_one_event(trace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("show", str(trace), "--format", "json", "--event", "softirq_raise") == 0
    lines = capfd.readouterr().out.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["softirq_raise"] * 6


def test_show_logfmt_knows_tasks_from_records_that_are_not_shown(trace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("show", str(trace), "--format", "logfmt", "--event", "tick_stop") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines
    assert {line.split("task=")[1].split(" ")[0] for line in lines} == {"<idle>-0"}


def test_unknown_event_is_refused(trace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("show", str(trace), "--event", "irq_handler") == 2
    assert capfd.readouterr().err == "asyncirq: error: no event is called 'irq_handler'\n"


@pytest.mark.softirq_rule("broken")
def test_damaged_trace_names_its_line(trace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trace.write_bytes(trace.read_bytes()[:-9])
    count = len(trace.read_bytes().splitlines())
    assert call("show", str(trace), "--format", "json") == 2
    assert capfd.readouterr().err.startswith(f"asyncirq: error: {trace}:{count}: ")


def test_reader_that_goes_away_ends_the_command_quietly(trace: Path) -> None:
    trace.write_bytes(trace.read_bytes() * 50)
    with subprocess.Popen([*COMMAND, "show", str(trace)], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (1, b"")


def test_patterns_choose_events() -> None:
    assert cli.matching_events(None) is None
    assert cli.matching_events([]) is None
    assert cli.matching_events(["softirq_*", "printk"]) == frozenset({"softirq_raise", "softirq_entry", "softirq_exit", "printk"})
    with pytest.raises(UsageError, match="no event is called 'nonsense_\\*'"):
        cli.matching_events(["nonsense_*"])


def test_app_is_a_typer_application() -> None:
    assert isinstance(cli.make_app(["run"]), typer.Typer)

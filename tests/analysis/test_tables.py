from __future__ import annotations

import io
import re

import pytest

from asyncirq.analysis.tables import print_report
from tests.analysis.report_case import case, report


def plain(*, phase: str | None = None) -> str:
    out = io.StringIO()
    print_report(report(), out, phase=phase)
    return out.getvalue()


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = io.StringIO()
    print_report(report(), out, width=width)
    assert "\x1b[1m" in out.getvalue()
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_plain_text_depends_on_the_report_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    first = plain()
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "dumb")
    out = io.StringIO()
    print_report(case(), out)
    assert out.getvalue() == first
    assert first.isascii()
    assert "\x1b" not in first
    assert [line for line in first.splitlines() if line != line.rstrip()] == []


def test_latency_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    lines = plain().splitlines()
    row = next(line for line in lines if line.startswith("| Interrupt to NET_RX: eth0"))
    assert cells(row)[1:4] == ["5/6/28 (404)", "14/17/27 (575)", "+9/+11/-1"]
    heading = next(line for line in lines if line.startswith("| quantity"))
    assert cells(heading) == ["quantity", "captured", "threadirqs", "change", "rt", "change", "real", "change"]
    new = next(line for line in lines if line.startswith("| Interrupt to irq thread: eth0"))
    assert cells(new)[1:4] == ["-", "11/13/21 (571)", "new"]


def test_contexts_rates_and_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    rows = [cells(line) for line in plain().splitlines() if line.startswith("|")]
    assert ["NET_RX", "irq_exit", "93 %", "0 %", "0 %", "0 %"] in rows
    assert ["task switches/s", "381", "740", "782", "782"] in rows
    assert ["interrupts eth0", "404", "575", "418", "418"] in rows
    assert ["rt_lock_block", "prior", "another capture", "rt", "9.1", "7"] in rows
    assert ["irq_thread_wake", "proxy", "any other wake-up", "all", "4", "1"] in rows
    assert not any("try_to_wake_up" in row for row in rows)
    assert next(row for row in rows if row[0] == "rt (target)")[1:3] == ["headline", "27"]


def test_one_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    text = plain(phase="2-ping")
    assert "Where softirq vectors ran, phase 2-ping" in text
    row = next(line for line in text.splitlines() if line.startswith("| Interrupt to NET_RX: eth0"))
    assert cells(row)[1:4] == ["5/6/6 (176)", "16/16/18 (149)", "+11/+10/+12"]


@pytest.mark.parametrize("width", [80, 100, 220])
def test_terminal_width_is_kept(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = on_terminal(monkeypatch, width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


def test_narrow_terminal_has_one_row_per_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [line.split() for line in on_terminal(monkeypatch, 80)]
    start = rows.index(["Interrupt", "to", "NET_RX"])
    assert rows[start + 1 : start + 3] == [["eth0", "captured", "5", "6", "28", "404"], ["threadirqs", "14", "17", "27", "575", "+9"]]

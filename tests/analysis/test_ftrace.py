from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from asyncirq.analysis.event import Event, Phase
from asyncirq.analysis.ftrace import read_capture
from asyncirq.errors import UsageError
from tests.analysis.linux_captures import ALL, FOLDER, RT, STOCK, capture
from tests.analysis.text_rows import GOOD, LEGEND_4, LEGEND_5, LEGEND_7, ROWS


def write(folder: Path, text: str, name: str = "trace.txt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refuse(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_capture(path)
    return str(caught.value).replace(str(path.parent) + "/", "").replace(str(path), path.name)


def test_shipped_captures_are_read_whole() -> None:
    read = [capture(name) for name in ALL]
    assert [len(one.events) for one in read] == [19556, 26417, 27115]
    assert {(one.cpus, one.resolution_ns, one.lost_events) for one in read} == {(1, 1000, 0)}
    assert read[0].meta == {"tracer": "nop", "entries": "19556", "flags": "recorded"}
    assert [phase.name for phase in read[0].phases] == [
        *("1-idle", "2-ping", "3-udp-single-1ms-gap", "4-udp-burst64", "5-udp-flood-1000", "6-udp-flood-with-cpu-hog"),
        *("7-udp-tx-200", "8-disk-virtio-blk", "9-disk-sda", "10-disk-sdb", "11-serial-out", "12-serial-in", "13-keyboard"),
        *("14-usleep", "15-end"),
    ]


def test_every_kind_of_event_of_the_shipped_captures_is_taken_apart() -> None:
    whole = {event.name for name in ALL for event in capture(name).events if "text" in event.fields}
    assert whole == {"tracing_mark_write", "napi_gro_receive_entry"}


def test_an_event_is_exact() -> None:
    assert capture(STOCK).events[0] == Event(
        ts=10_184_001_000,
        cpu=0,
        pid=1,
        comm="init",
        irqs="d",
        resched=".",
        context="h",
        depth=0,
        name="local_timer_entry",
        fields={"vector": 236},
        line=13,
    )


def test_seven_columns_of_rt_are_read_by_the_header() -> None:
    event = capture(RT).events[8]
    assert (event.irqs, event.resched, event.context, event.depth) == ("d", "n", "h", 3)
    assert event.fields == {"comm": "ktimers/0", "pid": 15, "prio": 98, "target_cpu": 0}
    assert event.line == 23


def test_a_capture_is_read_fast() -> None:
    # The limit is ten times what was seen: it catches a quadratic reader, not a slow machine.
    begin = time.process_time()
    read_capture(FOLDER / STOCK)
    assert time.process_time() - begin < 1.0


def test_plain_gzip_and_directory_give_the_same_events(tmp_path: Path) -> None:
    plain = write(tmp_path, GOOD)
    zipped = tmp_path / "anything"
    zipped.write_bytes(gzip.compress(GOOD.encode()))
    events = read_capture(plain).events
    assert read_capture(zipped).events == events
    assert read_capture(tmp_path).events == events


def test_small_trace_in_full(tmp_path: Path) -> None:
    read = read_capture(write(tmp_path, GOOD))
    assert (read.cpus, read.resolution_ns, read.phases) == (2, 1000, [Phase("all", 0, 6)])
    assert [event.fields for event in read.events] == [
        {"irq": 21, "name": "eth0"},
        {"vec": 3, "action": "NET_RX"},
        {"irq": 21, "ret": "handled"},
        {"vec": 3, "action": "NET_RX"},
        {"comm": "my-task 1", "pid": 77, "prio": 120, "target_cpu": 1},
        {
            **{"prev_comm": "swapper/0", "prev_pid": 0, "prev_prio": 120, "prev_state": "R"},
            **{"next_comm": "my-task 1", "next_pid": 77, "next_prio": 120},
        },
    ]


@pytest.mark.parametrize(
    ("head", "flags", "expected"),
    [
        (LEGEND_4, "dNH3", ("d", "N", "H", 3)),
        (LEGEND_5, "Dnsb.", ("D", "n", "s", 11)),
        (LEGEND_7, "b.L.2.1", ("b", ".", ".", 2)),
        ("", "d.h1", ("d", ".", "h", 1)),
        ("", "d.h1.", ("d", ".", "h", 1)),
        ("", "d.Lh1..", ("d", ".", "h", 1)),
    ],
)
def test_flag_columns(tmp_path: Path, head: str, flags: str, expected: tuple[str, str, str, int]) -> None:
    row = f"a-1 [000] {flags} 1.000000: irq_handler_entry: irq=1 name=x\n"
    event = read_capture(write(tmp_path, head + row), partial=True).events[0]
    assert (event.irqs, event.resched, event.context, event.depth) == expected


@pytest.mark.parametrize(
    ("row", "comm", "pid"),
    [
        ("      kworker/0:1-eve-17      [000] .....     1.000000: x: y", "kworker/0:1-eve", 17),
        ("   Web Content 3-1234    (   1200) [003] .....     1.000000: x: y", "Web Content 3", 1234),
        ("           <...>-9       (-------) [000] .....     1.000000: x: y", "<...>", 9),
        ("          a-1 [000]-5    [000] .....     1.000000: x: y", "a-1 [000]", 5),
    ],
)
def test_comms_and_tgid(tmp_path: Path, row: str, comm: str, pid: int) -> None:
    event = read_capture(write(tmp_path, LEGEND_5 + row + "\n"), partial=True).events[0]
    assert (event.comm, event.pid, event.name, event.fields) == (comm, pid, "x", {"text": "y"})


def test_nanosecond_stamps(tmp_path: Path) -> None:
    read = read_capture(write(tmp_path, ROWS.replace("10.0000", "10.1234560")))
    assert read.resolution_ns == 1
    assert read.events[0].ts == 10_123_456_001
    assert read.events[5].ts == 10_123_456_010


def test_lost_events_and_report_notes(tmp_path: Path) -> None:
    text = "cpus=4\nCPU 3 is empty\nCPU:1 [LOST 12 EVENTS]\nCPU:0 [LOST EVENTS]\nCPU:2 [30 EVENTS DROPPED]\n" + ROWS
    read = read_capture(write(tmp_path, text))
    assert (read.cpus, read.lost_events, len(read.events)) == (4, 43, 6)


def test_overwritten_events_are_told(tmp_path: Path) -> None:
    assert read_capture(write(tmp_path, GOOD.replace("6/6", "6/100"))).meta["overwritten"] == "94"


def test_markers_cut_phases_and_keep_their_lines(tmp_path: Path) -> None:
    mark = "a-1 [000] ..... {}: tracing_mark_write: {}\n"
    text = LEGEND_5 + mark.format("9.000000", "note") + mark.format("9.000001", "PHASE one") + ROWS
    text += mark.format("10.100000", "PHASE one") + mark.format("10.200000", "two\nlines")
    read = read_capture(write(tmp_path, text))
    assert read.phases == [Phase("one", 1, 8), Phase("one (2)", 8, 10)]
    assert read.events[-1].fields == {"text": "two\nlines"}


def test_trace_cmd_report_without_flags(tmp_path: Path) -> None:
    text = """\
cpus=1
          <idle>-0     [000]    10.464001: irq_handler_entry:    irq=21 name=eth0
          <idle>-0     [000]    10.464003: irq_handler_exit:     irq=21 ret=handled
          <idle>-0     [000]    10.464006: sched_waking:         comm=irq/21-eth0 pid=15 prio=49 target_cpu=000
          <idle>-0     [000]    10.464010: sched_wakeup:         kworker/0:2:57 [120] CPU:000
          <idle>-0     [000]    10.464028: sched_switch:         swapper/0:0 [120] R ==> irq/21-eth0:15 [49]
     irq/21-eth0-15    [000]    10.464030: softirq_entry:        vec=3 [action=NET_RX]
     irq/21-eth0-15    [000]    10.464031: hrtimer_expire_entry: hrtimer=0xff1 now=10464001462 function=tick_sched_timer/0x0
     irq/21-eth0-15    [000]    10.464032: irq_handler_entry:    irq=21 name=eth0
     irq/21-eth0-15    [000]    10.464033: irq_handler_exit:     irq=21 ret=handled
     irq/21-eth0-15    [000]    10.464034: softirq_exit:         vec=3 [action=NET_RX]
     irq/21-eth0-15    [000]    10.464035: print:                tracing_mark_write: PHASE x
"""
    read = read_capture(write(tmp_path, text))
    assert read.meta["flags"] == "inferred"
    assert "".join(event.context for event in read.events) == "hhh..ssHHs."
    assert read.events[3].fields == {"comm": "kworker/0:2", "pid": 57, "prio": 120, "target_cpu": 0}
    assert read.events[6].fields == {"hrtimer": "0xff1", "now": 10464001462, "function": "tick_sched_timer"}
    assert read.phases == [Phase("x", 10, 11)]


def test_trace_cmd_latency_format(tmp_path: Path) -> None:
    text = """\
cpus=1
  <idle>-0       0d..25    10.464028: sched_switch:         swapper/0:0 [120] R ==> ktimers/0:15 [98]
ktimers/-15      0..s.2    10.464030: softirq_entry:        vec=1 [action=TIMER]
"""
    event = read_capture(write(tmp_path, text), partial=True).events[1]
    assert (event.comm, event.pid, event.cpu, event.context, event.ts) == ("ktimers/0", 15, 0, "s", 10_464_030_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "trace.txt: the file is empty"),
        ("\n \n", "trace.txt:1: the file is empty"),
        ("hello\nworld\n", "trace.txt:1: this is not ftrace text: 'hello'"),
        ('{"seq":1}\n', "trace.txt:1: this looks like JSON records, not ftrace text: read them with asyncirq.trace.reader"),
        (LEGEND_5, "trace.txt:1: no events in this trace"),
        (GOOD.replace("handled", "handled\nthis is no event"), "trace.txt:16: cannot read this line (is the file cut or damaged?): "),
        (GOOD[:-40], "trace.txt:18: sched_switch: cannot read its fields: 'prev_comm=swapper/0"),
        (GOOD.replace("preempt-depth", "new-column"), "trace.txt:8: unknown flag column 'new-column'"),
        (GOOD.replace("d.h1. ", "d.h1.x "), "trace.txt:13: unknown flag columns 'd.h1.x' (the header names: irqs-off/BH-disabled, "),
        (GOOD.replace("10.000004", "99999999999.000004"), "trace.txt:15: this stamp is 99999999999 s: no machine runs that long"),
        (GOOD.replace("[000]", "[99999]", 1), "trace.txt:13: this event is on CPU 99999: the highest number is 1023"),
        (GOOD.replace("10.000004", "10.000002"), "trace.txt:15: time goes back by 1 us on CPU 0"),
        (GOOD.replace("10.000004", "10.000004000"), "trace.txt:15: a stamp with 9 digits after the point among stamps with 6"),
        (GOOD.replace("10.00000", "10.0"), "trace.txt:13: a stamp with 2 digits after the point: expected 6 (us) or 9 (ns)"),
        (LEGEND_5 + "a-1 [000] ..... 12345: x: y\n", "trace.txt:13: this stamp is no time in seconds"),
        (GOOD.replace("irq=21 name", "irq=zz name"), "trace.txt:13: irq_handler_entry: cannot read its fields: 'irq=zz name=eth0'"),
        (GOOD.replace("irq_handler_entry", "other"), "trace.txt:18: no interrupt in this trace: enable the events irq:*"),
        (GOOD.replace("sched_waking", "other"), "trace.txt:18: no sched_waking in this trace: enable the event sched:sched_waking"),
        (GOOD.replace("sched_switch", "other"), "trace.txt:18: no sched_switch in this trace: enable the event sched:sched_switch"),
        (GOOD.replace("nop", "function_graph"), "trace.txt:1: made by the tracer 'function_graph'"),
    ],
)
def test_bad_text_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert refuse(write(tmp_path, text)).startswith(message)


def test_binary_formats_get_advice(tmp_path: Path) -> None:
    path = tmp_path / "trace.dat"
    path.write_bytes(b"\x17\x08\x44tracing6\0" + bytes(100))
    assert "binary trace.dat: run 'trace-cmd report" in refuse(path)
    path.write_bytes(gzip.compress(b"\x17\x08\x44tracing6\0" + bytes(100)))
    assert "binary trace.dat: run 'trace-cmd report" in refuse(path)
    path.write_bytes(b"PERFILE2" + bytes(100))
    assert "perf.data" in refuse(path)
    path.write_bytes(bytes(range(256)) * 4)
    assert refuse(path).startswith("trace.dat:1: this is not ftrace text: ")


def test_cut_and_damaged_gzip_name_the_line(tmp_path: Path) -> None:
    raw = (FOLDER / STOCK / "trace.txt.gz").read_bytes()
    path = tmp_path / "trace.txt.gz"
    path.write_bytes(raw[: len(raw) // 2])
    message = refuse(path)
    assert message.endswith(": the gzip data ends here: the file was cut")
    assert 8_000 < int(message.split(":")[1]) < 12_000
    path.write_bytes(raw[:5_000] + b"\xff\xff\xff\xff" + raw[5_004:])
    assert ": the gzip data is damaged: " in refuse(path)


def test_missing_and_unreadable_paths(tmp_path: Path) -> None:
    assert refuse(tmp_path / "none").endswith("none: no such file")
    (tmp_path / "empty").mkdir()
    assert "no trace in this directory (looked for trace.txt.gz, " in refuse(tmp_path / "empty")


def test_equal_stamps_and_other_cpus_may_tie(tmp_path: Path) -> None:
    text = GOOD.replace("10.000004", "10.000003").replace("[000] ..s1.    10.000006", "[001] ..s1.    10.000001")
    assert [event.cpu for event in read_capture(write(tmp_path, text)).events] == [0, 0, 0, 1, 0, 0]

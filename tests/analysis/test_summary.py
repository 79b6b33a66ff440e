from __future__ import annotations

import msgspec

from asyncirq.analysis.report import ModelRun, RealRun, build_report, input_file
from asyncirq.analysis.summary import summarize
from tests.analysis.linux_captures import STOCK, capture, metrics
from tests.analysis.report_case import HOSTILE, case, report


def test_summary_in_words() -> None:
    parts = {part.title: part.sentences for part in summarize(report())}
    assert list(parts) == ["Captured", "threadirqs", "rt", "Against the real kernel", "What this rests on"]
    assert parts["Captured"][0] == f"{STOCK}/trace.txt.gz (Linux 6.1): 1 CPU, 19,556 events in 5.55 s and 15 phases, stamps good to 1 us."
    words = parts["threadirqs"]
    assert words[0] == (
        "Of 13 latencies of scheduling and deferral, 8 get longer and 3 shorter by more than 10 % and 1 us in the median. Largest "
        "(p50/p90/p99 us): Interrupt to NET_RX: eth0 5/6/28 -> 14/17/27; Softirq raise to entry: TIMER 8/9/32 -> 18/23/52; "
        "Softirq raise to entry: RCU 9/25/1301 -> 19/41/1332."
    )
    assert "NET_RX moves from irq_exit (93 %) to irq_thread (98 %)." in words
    assert words[-1].startswith("Interrupts 282 -> 319 a second, task switches 381 -> 740 a second;")
    assert parts["rt"][-1] == HOSTILE
    assert parts["What this rests on"][1] == (
        "rt: 3 constants, 1 measured in the capture, 1 taken from a like mechanism, 1 from elsewhere (rt_lock_block)."
    )


def test_only_the_target_is_judged_in_words() -> None:
    words = next(part.sentences for part in summarize(report()) if part.title == "Against the real kernel")
    assert len(words) == 2
    assert words[1].startswith("rt: 27 latency cells (quantity in a phase) compared: the median is within 10 % in ")
    assert [part.title for part in summarize(case(with_target=False))] == ["Captured", "threadirqs", "rt", "What this rests on"]


def test_a_run_like_the_capture_and_lost_events_are_said() -> None:
    source = msgspec.structs.replace(input_file(capture(STOCK)), lost_events=12_345)
    same = build_report(RealRun(source, metrics(STOCK)), [ModelRun("stock", metrics(STOCK))], seed=0, versions={}, notes=["be careful"])
    parts = summarize(same)
    assert parts[0].sentences[1] == "The capture lost 12,345 events: every figure here may be off."
    assert parts[1].sentences[0] == "None of the 13 latencies of scheduling and deferral moves its median by more than 10 % and 1 us."
    assert parts[2].sentences == ["be careful"]

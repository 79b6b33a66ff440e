"""Guard the hot path with the number of instructions that an interrupt takes."""

from __future__ import annotations

import pytest

from tests.bench import callgrind

RUN = "untraced_cpus4"


def test_an_interrupt_takes_no_more_instructions_than_recorded() -> None:
    why = callgrind.missing()
    if why is not None:
        pytest.skip(why)
    recorded = callgrind.recorded(RUN)
    if recorded is None:
        pytest.skip(f"no count is recorded for {callgrind.build_name()!r}")
    count = callgrind.count(RUN)
    assert count <= recorded * callgrind.TOLERANCE, (
        f"an interrupt takes {count} instructions, {recorded} are recorded; tests/bench/callgrind.py prints the line for the table"
    )

"""Hold the model against real kernels: every case of every capture, event for event."""

from __future__ import annotations

from difflib import unified_diff

import pytest

from tests.lab.cases import GROUPS, group_of
from tests.lab.deferred_exceptions import DEFERRED_EXCEPTIONS
from tests.lab.exceptions import DIFFERENCES, EXCEPTIONS
from tests.lab.kernels import KERNELS
from tests.lab.rows import capture, captures
from tests.lab.table import outcome_of, pairs, table

pytestmark = pytest.mark.softirq_rule("plain timers")


@pytest.mark.parametrize(("kernel", "case"), list(pairs()))
def test_case_is_equal_on_the_model(kernel: str, case: str) -> None:
    result = outcome_of(kernel, case)
    if (kernel, case) in EXCEPTIONS or (kernel, case) in DIFFERENCES:
        assert not result.equal, "equal after all: take it out of tests/lab/exceptions.py"
        return
    assert result.equal, "\n" + "\n".join(unified_diff(result.real, result.model, "real", "model", lineterm=""))


def test_every_captured_irq_case_is_expressed() -> None:
    given = {(name, case) for name in captures() for case in capture(name) if case.startswith(("irq/", "irqsmp/"))}
    assert given <= set(pairs())
    assert {kernel.capture for kernel in KERNELS} == set(captures())
    assert len(given) == 387


def test_every_exception_names_a_captured_case() -> None:
    assert set(EXCEPTIONS) <= set(pairs())
    assert set(DIFFERENCES) <= set(pairs())
    assert not set(EXCEPTIONS) & set(DIFFERENCES)
    assert (len(EXCEPTIONS) - len(DEFERRED_EXCEPTIONS), len(DIFFERENCES)) == (14, 0)


def test_instruction_counted_kernel_needs_neither_exception_nor_placed_shot() -> None:
    """Its clock is its instructions: where nothing is left to the host's time, nothing may differ."""
    for kernel, case in pairs():
        if kernel == "L-61-rt-icount":
            result = outcome_of(kernel, case)
            assert result.equal and not any(shot.n >= 0 for shot in result.placed), case


def test_table_tells_equal_from_different() -> None:
    kernel, case = "L-61-stock", "irq/level/hard-nothread"
    good = outcome_of(kernel, case)
    bad = good._replace(model=good.model[:-1])
    assert table({(kernel, case): good})[1].split() == [case, "=", *"......"]
    assert table({(kernel, case): bad})[1].split() == [case, "!", *"......"]


def test_groups_do_not_overlap() -> None:
    for group in GROUPS:
        assert group_of(group.prefix + "x") is group

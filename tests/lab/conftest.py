"""Print the table of the lab at the end of a test run that compared any of its cases."""

from __future__ import annotations

import pytest

from tests.lab.table import compared, table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print case by kernel, and what is excepted."""
    results = compared()
    if results:
        terminalreporter.section("lab: the model against real kernels")
        for line in table(results):
            terminalreporter.write_line(line)

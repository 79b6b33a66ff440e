"""Hold the map in ``asyncirq/__init__.py`` against the trace of the interrupt that it tells of."""

from __future__ import annotations

import asyncio
import re

import asyncirq
from asyncirq.trace import assert_balanced, tag_of
from tests.stories.one_interrupt import one_interrupt

STEP = re.compile(r"^ {4} ?(\d+) ( +)(\w+)(?: {2,}.*)?$")


def steps() -> list[tuple[int, int, str]]:
    """Return row, depth and record of each line of the list."""
    text = (asyncirq.__doc__ or "").partition("The records of one interrupt")[2]
    found = [match for line in text.splitlines() if (match := STEP.match(line))]
    return [(int(match[1]), (len(match[2]) - 1) // 4, match[3]) for match in found]


def columns() -> dict[int, set[str]]:
    """Return the fifth column of the table by row."""
    rows = {}
    for line in (asyncirq.__doc__ or "").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 7 and cells[1].isdigit():
            rows[int(cells[1])] = set(cells[5].split(", "))
    return rows


def test_the_trace_is_the_map_record_for_record() -> None:
    records = asyncio.run(one_interrupt())
    assert [tag_of(type(record)) for record in records] == [name for _, _, name in steps()]


def test_each_record_is_in_the_column_of_its_row() -> None:
    table = columns()
    assert sorted(table) == list(range(1, 13))
    for row, _, name in steps():
        assert name in table[row]
    assert {row for row, _, _ in steps()} == set(table)


def test_only_what_the_other_way_in_needs_is_not_in_the_list() -> None:
    listed = {name for _, _, name in steps()}
    assert set().union(*columns().values()) - listed == {"msi_write"}


def test_the_indentation_is_the_nesting() -> None:
    depths = {name: depth for _, depth, name in steps()}
    assert depths["vector_entry"] == depths["vector_exit"] == 1
    assert depths["irq_handler_entry"] == depths["irq_handler_exit"] == 2
    assert depths["softirq_raise"] == 3
    assert_balanced(asyncio.run(one_interrupt()))


def test_every_record_but_the_first_has_a_cause_among_those_before_it() -> None:
    records = asyncio.run(one_interrupt())
    first = records[0].seq
    for record in records[1:-1]:
        assert first <= record.cause < record.seq
    # The last switch gives the CPU back to the task that ran before all this.
    assert records[-1].cause < records[-1].seq


def test_every_file_of_the_table_exists() -> None:
    import importlib.resources

    package = importlib.resources.files("asyncirq")
    named = re.findall(r"``((?:hw|irq|sched|bottom_half)/\w+\.py|entry\.py)", asyncirq.__doc__ or "")
    assert len(named) > 8
    assert [name for name in named if not package.joinpath(name).is_file()] == []

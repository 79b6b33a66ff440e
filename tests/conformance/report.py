"""Say of every catalogued behaviour whether a test shows it: run the tests named after ids and print one line per id.

A test shows the id in its name, ``test_LAPIC_01_version_register``, and those of its marker
``@pytest.mark.covers("LAPIC-01", "S0-59")``. README.md in this folder has the rules.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
ID_FILES: Final = (HERE / "ids.txt", HERE / "inventory_ids.txt")
EXCEPTIONS_FILE: Final = HERE / "exceptions.toml"
ID: Final = re.compile(r"[A-Z][A-Z0-9]*-[0-9]{2,}")
NAME: Final = re.compile(r"test_([A-Za-z][A-Za-z0-9]*)_([0-9]+)(?:_|$)")


class CatalogueError(Exception):
    """Report a mistake in an id file or in the exceptions file: file, line or key, and what is wrong."""


def read_ids(files: Iterable[Path]) -> dict[str, str]:
    """Return id to title, in the order of the files; each line is ``ID<TAB>title``."""
    titles: dict[str, str] = {}
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            name, tab, title = line.partition("\t")
            if not ID.fullmatch(name) or not tab or not title.strip():
                raise CatalogueError(f"{file.name}:{number}: expected ID<TAB>title, got {line!r}")
            if name in titles:
                raise CatalogueError(f"{file.name}:{number}: {name} stands there twice")
            titles[name] = title
    return titles


def read_exceptions(file: Path, titles: Mapping[str, str]) -> dict[str, str]:
    """Return id to reason; no file is no exception."""
    if not file.exists():
        return {}
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"{file.name}: {error}") from error
    reasons: dict[str, str] = {}
    for name, table in tables.items():
        if name not in titles:
            raise CatalogueError(f"{file.name}: {name} is in no catalogue")
        reason = table.get("reason") if isinstance(table, dict) and set(table) == {"reason"} else None
        if not isinstance(reason, str) or not reason.strip():
            raise CatalogueError(f"{file.name}: {name} needs a reason, a text, and nothing else")
        reasons[name] = " ".join(reason.split())
    return reasons


def id_of_name(function: str, titles: Mapping[str, str]) -> str | None:
    """Return the id that a test function is named after, catalogued or not, or None: families make the difference.

    ``test_LAPIC_99_x`` names the unknown id LAPIC-99, while ``test_x86_64`` names none, as there is no family X86.
    """
    match = NAME.match(function)
    if match is None:
        return None
    family = match[1].upper()
    if not any(name.startswith(f"{family}-") for name in titles):
        return None
    return f"{family}-{match[2]}"


class Outcomes:
    """Collect, as a pytest plugin, what became of each id; tests of no id are left out of the run."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self.titles = titles
        self.faults: list[str] = []
        self.failed: set[str] = set()
        self.passed: set[str] = set()
        self._ids: dict[str, list[str]] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the tests that show something, and note ids that no catalogue knows."""
        kept: list[pytest.Item] = []
        others: list[pytest.Item] = []
        for item in items:
            named = id_of_name(getattr(item, "originalname", None) or item.name, self.titles)
            ids = [named] if named else []
            for mark in item.iter_markers("covers"):
                ids += [str(name) for name in mark.args]
            for name in ids:
                if name not in self.titles:
                    self.faults.append(f"{item.nodeid}: {name} is in no catalogue")
            self._ids[item.nodeid] = [name for name in ids if name in self.titles]
            (kept if ids else others).append(item)
        items[:] = kept
        config.hook.pytest_deselected(items=others)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that cannot be imported: the ids in it would silently go missing."""
        if report.failed:
            self.faults.append(f"{report.nodeid}: cannot be collected")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of one phase of a test."""
        ids = self._ids.get(report.nodeid, [])
        if report.failed:
            self.failed.update(ids)
        elif report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            self.passed.update(ids)


def judge(titles: Mapping[str, str], reasons: Mapping[str, str], outcomes: Outcomes) -> tuple[list[str], Counter[str], list[str]]:
    """Return the line of each id, how many there are of each kind, and what is wrong with the list of exceptions."""
    lines, counts, faults = [], Counter[str](), []
    for name in titles:
        if name in outcomes.failed:
            state, text = "failed", f"{name} failed"
        elif name in outcomes.passed:
            state, text = "passed", f"{name} passed"
            if name in reasons:
                faults.append(f"{name} passes: take it out of {EXCEPTIONS_FILE.name}, the list only shrinks")
        elif name in reasons:
            state, text = "exceptions", f"{name} exception: {reasons[name]}"
        else:
            state, text = "missing", f"{name} missing"
        counts[state] += 1
        lines.append(text)
    return lines, counts, faults


def run_tests(tests: Path, outcomes: Outcomes) -> str:
    """Run the tests in this process and return what pytest printed."""
    output = io.StringIO()
    arguments = ["-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "--no-header", "--tb=short", str(tests)]
    with redirect_stdout(output), redirect_stderr(output):
        status = pytest.main(arguments, plugins=[outcomes])
    if status in {pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR} and not outcomes.faults:
        outcomes.faults.append(f"pytest ended with status {int(status)}")
    return output.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; return 1 if a test failed or the bookkeeping is wrong."""
    parser = argparse.ArgumentParser(description="Say of every catalogued behaviour whether a test shows it.")
    parser.add_argument("--tests", type=Path, default=ROOT / "tests", help="the folder whose tests are run")
    parser.add_argument("--ids", type=Path, nargs="+", default=list(ID_FILES), help="files of ID<TAB>title lines")
    parser.add_argument("--exceptions", type=Path, default=EXCEPTIONS_FILE, help="ids that are not done, with reasons")
    parser.add_argument("--strict", action="store_true", help="a missing id is a failure too")
    options = parser.parse_args(arguments)
    try:
        titles = read_ids(options.ids)
        reasons = read_exceptions(options.exceptions, titles)
    except (CatalogueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    outcomes = Outcomes(titles)
    printed = run_tests(options.tests, outcomes)
    lines, counts, faults = judge(titles, reasons, outcomes)
    faults = [*outcomes.faults, *faults]
    print("\n".join(lines))
    if counts["failed"] or outcomes.faults:
        print(printed, file=sys.stderr)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    kinds = ", ".join(f"{counts[kind]} {kind}" for kind in ("passed", "failed", "exceptions", "missing"))
    print(f"{len(titles)} ids: {kinds}")
    return 1 if counts["failed"] or faults or (options.strict and counts["missing"]) else 0


if __name__ == "__main__":
    sys.exit(main())

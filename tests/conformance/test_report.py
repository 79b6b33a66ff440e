"""Hold the catalogues and the conformance report itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.report import EXCEPTIONS_FILE, ID_FILES, ROOT, CatalogueError, id_of_name, read_exceptions, read_ids
from tests.source_tree import expect_none

TITLES = {"LAPIC-01": "version", "LAPIC-02": "deadline", "S0-03": "size", "S0-116": "nmi", "WQ-01": "work", "WQ-02": "rescuer"}


def report(tmp_path: Path, source: str, exceptions: str = "", *options: str) -> tuple[int, list[str], list[str]]:
    """Run the report over one synthetic test file; return status, lines and errors."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_planted.py").write_text(f"import pytest\n{source}", encoding="utf-8")
    (tmp_path / "ids.txt").write_text("".join(f"{name}\t{title}\n" for name, title in TITLES.items()), encoding="utf-8")
    (tmp_path / "exceptions.toml").write_text(exceptions, encoding="utf-8")
    command = [sys.executable, str(ROOT / "tests" / "conformance" / "report.py"), "--tests", str(tests)]
    command += ["--ids", str(tmp_path / "ids.txt"), "--exceptions", str(tmp_path / "exceptions.toml"), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return result.returncode, result.stdout.splitlines(), errors


def test_catalogues_are_complete() -> None:
    assert [len(read_ids([file])) for file in ID_FILES] == [298, 370]
    assert len(read_ids(ID_FILES)) == 668


def test_exceptions_are_catalogued_and_have_reasons() -> None:
    read_exceptions(EXCEPTIONS_FILE, read_ids(ID_FILES))


def test_every_test_names_known_ids() -> None:
    titles = read_ids(ID_FILES)
    unknown = []
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = id_of_name(node.name, titles)
                if name is not None and name not in titles:
                    unknown.append(f"{file.name}:{node.lineno}: {node.name}: {name} is in no catalogue")
    expect_none(unknown)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("test_LAPIC_01_version", "LAPIC-01"),
        ("test_lapic_02", "LAPIC-02"),
        ("test_S0_116_accounting", "S0-116"),
        ("test_S0_3_size", "S0-3"),
        ("test_LAPIC_99_x", "LAPIC-99"),
        ("test_x86_64_layout", None),
        ("test_lapic_reads", None),
        ("test_LAPIC_01x", None),
    ],
)
def test_function_names(function: str, name: str | None) -> None:
    assert id_of_name(function, TITLES) == name


def test_one_line_per_id_in_catalogue_order(tmp_path: Path) -> None:
    source = """
@pytest.mark.parametrize("n", [1, 2])
def test_lapic_01_version(n): pass
@pytest.mark.covers("S0-03", "S0-116")
def test_several(): pass
@pytest.mark.skip
def test_LAPIC_02_skipped(): pass
@pytest.mark.xfail
def test_WQ_01_expected_to_fail(): assert 0
def test_of_no_id_is_not_run(): assert 0
"""
    assert report(tmp_path, source, '["WQ-02"]\nreason = "no memory\\n pressure"\n') == (
        0,
        [
            "LAPIC-01 passed",
            "LAPIC-02 missing",
            "S0-03 passed",
            "S0-116 passed",
            "WQ-01 missing",
            "WQ-02 exception: no memory pressure",
            "6 ids: 3 passed, 0 failed, 1 exceptions, 2 missing",
        ],
        [],
    )


def test_failed_test_fails_the_report(tmp_path: Path) -> None:
    source = """
@pytest.fixture
def broken(): raise OSError
@pytest.mark.parametrize("n", [1, 2])
def test_LAPIC_01_version(n): assert n == 1
def test_WQ_01_setup(broken): pass
@pytest.mark.covers("WQ-01")
def test_fine(): pass
"""
    status, lines, errors = report(tmp_path, source)
    assert (status, errors) == (1, [])
    assert lines[0] == "LAPIC-01 failed"
    assert lines[4] == "WQ-01 failed"
    assert lines[-1] == "6 ids: 0 passed, 2 failed, 0 exceptions, 4 missing"


def test_exception_that_passes_fails_the_report(tmp_path: Path) -> None:
    status, lines, errors = report(tmp_path, "def test_WQ_01(): pass\n", '["WQ-01"]\nreason = "later"\n')
    assert (status, lines[4]) == (1, "WQ-01 passed")
    assert errors == ["error: WQ-01 passes: take it out of exceptions.toml, the list only shrinks"]


def test_unknown_id_fails_the_report(tmp_path: Path) -> None:
    source = 'def test_WQ_77_x(): pass\n@pytest.mark.covers("NOPE-01")\ndef test_y(): pass\n'
    status, _, errors = report(tmp_path, source)
    assert status == 1
    assert [error.rsplit(": ", 1)[1] for error in errors] == ["WQ-77 is in no catalogue", "NOPE-01 is in no catalogue"]


def test_file_that_cannot_be_imported_fails_the_report(tmp_path: Path) -> None:
    status, lines, errors = report(tmp_path, "import not_there\ndef test_WQ_01(): pass\n")
    assert (status, lines[4]) == (1, "WQ-01 missing")
    assert len(errors) == 1
    assert errors[0].endswith("test_planted.py: cannot be collected")


def test_missing_id_fails_the_strict_report(tmp_path: Path) -> None:
    assert report(tmp_path, "def test_WQ_01(): pass\n", "", "--strict")[0] == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('["NO-01"]\nreason = "x"\n', "exceptions.toml: NO-01 is in no catalogue"),
        ('["WQ-01"]\nreason = " "\n', "exceptions.toml: WQ-01 needs a reason, a text, and nothing else"),
        ('["WQ-01"]\nreason = "x"\nuntil = "y"\n', "exceptions.toml: WQ-01 needs a reason, a text, and nothing else"),
        ('WQ-01 = "x"\n', "exceptions.toml: WQ-01 needs a reason, a text, and nothing else"),
    ],
)
def test_bad_exception_is_reported(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "exceptions.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError) as caught:
        read_exceptions(file, TITLES)
    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("WQ-01 no tab\n", "ids.txt:1: expected ID<TAB>title, got 'WQ-01 no tab'"),
        ("WQ-01\tx\nwq-02\tx\n", "ids.txt:2: expected ID<TAB>title, got 'wq-02\\tx'"),
        ("WQ-01\tx\nWQ-01\ty\n", "ids.txt:2: WQ-01 stands there twice"),
    ],
)
def test_bad_catalogue_is_reported(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "ids.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError) as caught:
        read_ids([file])
    assert str(caught.value) == complaint

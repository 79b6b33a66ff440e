"""Hold what must not stand anywhere in the repository: paths of one machine, and where packages were fetched from."""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.source_tree import ROOT, expect_none

# Spelled in halves so that this file passes its own test.
HOMES: Final = ("wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers")
HOSTS: Final = (
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "crat" + "es.io",
    "gh" + "cr.io",
    "dock" + "er.io",
    "qu" + "ay.io",
    "ana" + "conda.org",
    "proxy.go" + "lang.org",
    "arti" + "factory",
)
PATTERNS: Final = (
    ("path of one machine", re.compile(rb"(?<![\w.~$)}\-/])/(?:" + "|".join(HOMES).encode() + rb")/[\w.]")),
    ("file address", re.compile(rb"file:" + rb"//+\w")),
    ("registry host", re.compile("|".join(re.escape(host) for host in HOSTS).encode())),
)
PIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+")
SKIPPED: Final = frozenset(
    {".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "__pycache__", "dist", "build", "out", "htmlcov"}
)


def walked_files(root: Path) -> list[Path]:
    """Return every file below ``root`` that no tool generated."""
    inside = (file for file in root.rglob("*") if file.is_file())
    return sorted(file for file in inside if not SKIPPED.intersection(file.relative_to(root).parts) and ".egg-info" not in str(file))


def tracked_files(root: Path) -> list[Path]:
    """Return what git tracks or would add; without git, or in a copy inside somebody else's repository, walk."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        result = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return walked_files(root)
    if result.returncode or not (root / ".git").exists():
        return walked_files(root)
    names = sorted(name for name in result.stdout.decode().split("\0") if name)
    return [root / name for name in names if (root / name).is_file()]


def words(root: Path, files: list[Path]) -> list[str]:
    """Return one line per forbidden word; gzip files are looked into."""
    bad = []
    for file in files:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        for what, pattern in PATTERNS:
            for match in pattern.finditer(data):
                line = data.count(b"\n", 0, match.start()) + 1
                bad.append(f"{file.relative_to(root).as_posix()}:{line}: {what}: {match.group().decode(errors='replace')}")
    return bad


def loose_pins(text: str) -> list[str]:
    """Return the lines of a constraints file that are not one exact pin, and what is out of order or pinned twice."""
    lines = text.splitlines()
    bad = [f"line {number}: {line!r} is no plain name==version" for number, line in enumerate(lines, 1) if not PIN.fullmatch(line)]
    names = [re.sub(r"[-_.]+", "-", line.split("==", maxsplit=1)[0]).lower() for line in lines]
    return bad + [f"{name} is pinned twice" for name in sorted({name for name in names if names.count(name) > 1})]


def test_no_word_of_one_machine() -> None:
    expect_none(words(ROOT, tracked_files(ROOT)))


def test_constraints_are_exact_pins() -> None:
    expect_none(loose_pins((ROOT / "constraints.txt").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"see /{HOMES[0]}/main/x.py", f"a.txt:1: path of one machine: /{HOMES[0]}/m"),
        (f"\n'/{HOMES[1]}/.cache'", f"a.txt:2: path of one machine: /{HOMES[1]}/."),
        (f"={'/' + HOMES[2]}/me", f"a.txt:1: path of one machine: /{HOMES[2]}/m"),
        ("fi" + "le:///opt/x", "a.txt:1: file address: " + "fi" + "le:///o"),
        (f"https://{HOSTS[0]}/simple", f"a.txt:1: registry host: {HOSTS[0]}"),
    ],
)
def test_planted_word_is_reported(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text(text, encoding="utf-8")
    packed = tmp_path / "b.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert words(tmp_path, walked_files(tmp_path)) == [complaint, complaint.replace("a.txt", "b.gz")]


def test_ordinary_paths_pass(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text(
        f"net/{HOMES[0]}/queue.c ~/{HOMES[0]}/x https://example.org/{HOMES[2]}/page /proc/irq/1 a/{HOMES[1]}/b", encoding="utf-8"
    )
    assert words(tmp_path, [file]) == []


def test_walk_skips_what_tools_generate(tmp_path: Path) -> None:
    for name in (".venv/x.py", "asyncirq/__pycache__/x.pyc", "out/report.html", "asyncirq/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert tracked_files(tmp_path) == [tmp_path / "asyncirq" / "x.py"]


@pytest.mark.parametrize(
    "line", ["anyio", "anyio>=4", "anyio @ https://example.org/a.whl", "# comment", "--index-url x", "anyio==4.0 --hash=a", ""]
)
def test_planted_loose_pin_is_reported(line: str) -> None:
    assert loose_pins(f"rich==1.0\n{line}\n") == [f"line 2: {line!r} is no plain name==version"]


def test_planted_second_pin_is_reported() -> None:
    assert loose_pins("ruff==1\nmypy_x==1\nmypy-x==1\n") == ["mypy-x is pinned twice"]

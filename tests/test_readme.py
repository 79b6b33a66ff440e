"""Follow the README: its example runs, its commands exist, its files are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [body for name, body in FENCE.findall(README) if name == language]


def run_python(source: str) -> str:
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_two_commands_come_first() -> None:
    assert README.startswith("# asyncirq\n\n```sh\nmake run ")
    assert re.findall(r"^make (\w+)", blocks("sh")[0], re.MULTILINE) == ["run", "test"]


def test_the_example_opens_the_second_section_and_runs() -> None:
    second = README.split("\n## ")[1]
    source = blocks("python")[0]
    assert source in second
    assert len([line for line in source.splitlines() if line.strip()]) <= 26
    first = run_python(source)
    assert re.search(r"^ +\d+: +\d+ +\d+ +PCI-MSI .*eth0$", first, re.MULTILINE)
    assert first == run_python(source)


@pytest.mark.parametrize("number", range(1, len(blocks("python"))))
def test_other_python_blocks_run(number: int) -> None:
    run_python(blocks("python")[number])


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w.-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`make (\w+)`", README)) | set(re.findall(r"^make (\w+)", README, re.MULTILINE))
    assert named <= targets


def test_commands_and_options_exist() -> None:
    pytest.importorskip("asyncirq.cli")
    for line in "".join(blocks("sh")).splitlines():
        if line.startswith("asyncirq "):
            words = line.split()
            done = subprocess.run(
                [sys.executable, "-m", "asyncirq", words[1], "--help"], capture_output=True, text=True, check=True, cwd=ROOT
            )
            for option in re.findall(r"--[a-z-]+", line):
                assert option in done.stdout


def test_named_files_exist() -> None:
    named = set(re.findall(r"`((?:asyncirq|devices|tests|traces)/[\w./-]+)`", README))
    named |= {word for block in blocks("sh") for word in re.findall(r"(?:traces|tests)/[\w./-]+", block)}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_scenario_is_the_file_it_says() -> None:
    assert blocks("toml") == [(ROOT / "tests/scenarios/nic_softirq.toml").read_text(encoding="utf-8")]

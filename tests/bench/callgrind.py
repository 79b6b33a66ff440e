"""Count the machine instructions of one interrupt: the guard of the hot path that no noise can fool.

Two runs of different length under ``valgrind --tool=callgrind``; the difference, divided by the difference in interrupts, is free of
start-up, imports and boot. Run ``python tests/bench/callgrind.py`` to get the line for the table: a change that makes an interrupt
dearer on purpose changes the table with it. Counts belong to one build of Python, so the table is keyed by it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TOLERANCE: Final = 1.03
RUNS: Final = {"untraced_cpus4": (4, False), "traced_cpus4": (4, True), "untraced_cpus64": (64, False)}
SHORT: Final = 640
LONG: Final = 1280
RECORDED: Final[dict[str, dict[str, int]]] = {
    "3.11 x86_64 plain": {"untraced_cpus4": 146_721, "traced_cpus4": 267_064, "untraced_cpus64": 217_840},
}
"""Instructions of an interrupt, by build of Python."""


def build_name() -> str:
    """Name the build of Python: minor version, machine, and whether it was built with profile-guided optimisation."""
    profiled = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return f"{sys.version_info.major}.{sys.version_info.minor} {platform.machine()} {'pgo' if profiled else 'plain'}"


def missing() -> str | None:
    """Say why nothing can be counted here, None when it can."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    if platform.python_implementation() != "CPython":
        return "instruction counts are recorded for CPython alone"
    return None


def recorded(name: str) -> int | None:
    """Return the count in the table for this build, None when there is none."""
    return RECORDED.get(build_name(), {}).get(name)


def instructions(cpus: int, traced: bool, interrupts: int) -> int:
    """Return the instructions of a whole process that runs so many interrupts."""
    program = f"from tests.bench.workload import run; run({cpus}, {interrupts}, None, digest={traced})"
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path},
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"callgrind reported no count:\n{done.stderr}")
    return int(found.group(1))


def count(name: str) -> int:
    """Return the instructions of one interrupt of a run in ``RUNS``."""
    cpus, traced = RUNS[name]
    # What goes to the byte-code cache goes there before it is counted.
    subprocess.run([sys.executable, "-c", "import tests.bench.workload"], check=True, cwd=ROOT)
    with ThreadPoolExecutor(2) as pool:
        short, long = pool.map(lambda interrupts: instructions(cpus, traced, interrupts), (SHORT, LONG))
    return (long - short) // (LONG - SHORT)


def count_all() -> dict[str, int]:
    """Return the instructions of one interrupt of every run."""
    return {name: count(name) for name in RUNS}


def main() -> None:
    """Print the line for the table."""
    why = missing()
    if why is not None:
        raise SystemExit(why)
    print(f"    {build_name()!r}: {count_all()!r},")


if __name__ == "__main__":
    main()

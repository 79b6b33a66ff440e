"""Print which case is equal on which kernel: ``python -m tests.lab.table``.

``=`` the sequences are equal; ``+`` equal, with shots or ticks placed where the capture's landed, or with something in the past of the
case chosen that the capture does not tell; ``m`` differs because the model
lacks something, ``x`` because of an accident of the capture (``exceptions.py`` says which); ``!`` differs; ``.`` not in the capture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.lab.cases import group_of
from tests.lab.compare import Outcome, outcome
from tests.lab.exceptions import DIFFERENCES, EXCEPTIONS
from tests.lab.kernels import KERNELS
from tests.lab.normalise import UNKNOWN
from tests.lab.rows import capture

Pair = tuple[str, str]
"""A capture and a case."""


def pairs() -> Iterator[Pair]:
    """Return every (capture, case) that is expressed on the model."""
    for kernel in KERNELS:
        for case in capture(kernel.capture):
            if group_of(case) is not None:
                yield kernel.capture, case


_COMPARED: dict[Pair, Outcome] = {}


def outcome_of(capture_name: str, case: str) -> Outcome:
    """Compare a case on a captured kernel, once in a test run."""
    pair = (capture_name, case)
    if pair not in _COMPARED:
        _COMPARED[pair] = outcome(next(kernel for kernel in KERNELS if kernel.capture == capture_name), case)
    return _COMPARED[pair]


def compared() -> dict[Pair, Outcome]:
    """Return what has been compared so far, in the order of the captures."""
    return {pair: _COMPARED[pair] for pair in pairs() if pair in _COMPARED}


def symbol(pair: Pair, result: Outcome) -> str:
    """Return a pair's place in the table."""
    if result.equal:
        return "+" if result.helped else "="
    if pair in DIFFERENCES:
        return "m"
    return "x" if pair in EXCEPTIONS else "!"


def table(results: Mapping[Pair, Outcome]) -> list[str]:
    """Return the table of case by kernel, its totals and the reasons for its exceptions."""
    kernels = [kernel.capture for kernel in KERNELS]
    cases = list(dict.fromkeys(case for _, case in results))
    width = max(map(len, cases), default=0)
    lines = [" " * width + "  " + "  ".join(kernels)]
    for case in cases:
        cells = [
            symbol((kernel, case), results[kernel, case]).center(len(kernel)) if (kernel, case) in results else ".".center(len(kernel))
            for kernel in kernels
        ]
        lines.append(f"{case:{width}}  {'  '.join(cells)}".rstrip())
    equal = sum(result.equal for result in results.values())
    placed = sum(result.equal and result.helped for result in results.values())
    rows = [row for result in results.values() for row in result.real]
    unknown = sum(UNKNOWN in row for row in rows)
    lines.append(f"{equal} of {len(results)} sequences equal, {placed} of them with shots or ticks placed where the capture's landed (+)")
    lines.append(f"{len(rows)} events of real kernels, of {unknown} of them (switches) a part is missing in the capture")
    lacking: dict[str, list[str]] = {}
    for pair in results:
        if pair in DIFFERENCES:
            lacking.setdefault(DIFFERENCES[pair], []).append(" ".join(pair))
    lines += [f"m {len(which)} cases: {reason}" for reason, which in lacking.items()]
    lines += [f"x {kernel} {case}: {EXCEPTIONS[kernel, case]}" for kernel, case in results if (kernel, case) in EXCEPTIONS]
    return lines


def main() -> None:
    """Compare everything and print the table."""
    print("\n".join(table({pair: outcome_of(*pair) for pair in pairs()})))


if __name__ == "__main__":
    main()

"""Read what ``--under`` names: kernels to predict, and where the NIC's receive work runs in them.

``stock``, ``threadirqs``, ``rt``, ``napi-threaded``, ``workqueue`` and ``tasklet`` are options of the captured release;
``+`` joins them (``rt+napi-threaded``, ``linux-6.12+threadirqs``). A preset's name (``linux-6.12``) changes the release. A path ending
in ``.toml`` overrides fields of ``KernelConfig``; its ``release``, ``rt``, ``threadirqs`` and ``bottom_half`` are read first.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

from asyncirq.config import KernelConfig, preset, releases
from asyncirq.errors import UsageError

BottomHalf = Literal["softirq", "napi-threaded", "workqueue", "tasklet"]
"""Where the body of NET_RX runs: in its softirq, in a ``napi/`` thread, in a kworker, in TASKLET."""

OPTIONS: Final = ("stock", "threadirqs", "rt", "napi-threaded", "workqueue", "tasklet")
_RELEASE: Final = re.compile(r"\b(\d+)\.(\d+)(?:\.\d+)?[-\w.]*")
DEFAULT_RELEASE: Final = "linux-6.12"


class Target(msgspec.Struct, frozen=True):
    """One kernel to predict; ``name`` is how the user called it."""

    name: str
    config: KernelConfig
    bottom_half: BottomHalf = "softirq"


def guess_release(meta: str) -> str:
    """Return the preset whose rules a captured kernel follows, from ``uname -a`` in its ``meta.txt``.

    The newest preset that is not newer than the kernel; 6.12 if the text names none.
    """
    for line in meta.splitlines():
        if line.startswith("Linux "):
            found = _RELEASE.search(line)
            if found:
                version = int(found[1]), int(found[2])
                known = sorted((_version(name), name) for name in releases())
                return next((name for number, name in reversed(known) if number <= version), known[0][1])
    return DEFAULT_RELEASE


def captured_threading(meta: str) -> str:
    """Return ``rt``, ``threadirqs`` or ``stock`` from a capture's ``meta.txt``."""
    first = next((line for line in meta.splitlines() if line.startswith("Linux ")), "")
    if "PREEMPT_RT" in first:
        return "rt"
    return "threadirqs" if "threadirqs" in meta.split() else "stock"


def kernel_name(meta: str) -> str:
    """Return what a report calls a captured kernel, empty if its ``meta.txt`` does not tell."""
    known = any(line.startswith("Linux ") for line in meta.splitlines())
    return f"{guess_release(meta)} {captured_threading(meta)}" if known else ""


def is_kernel_of(target: Target, meta: str, release: str) -> bool:
    """Tell whether a target is the kernel that a capture was taken on: same release and threading, no other policy changed."""
    config = target.config
    if target.bottom_half != "softirq" or config.release != release or _threading(config) != captured_threading(meta):
        return False
    return config == preset(release, threadirqs=config.threadirqs and not config.rt, rt=config.rt)


def match_target(targets: list[Target], meta: str, release: str, path: Path) -> Target:
    """Return the target that a real capture is the truth for: of its release if there is one, else of its threading.

    Raises ``UsageError`` if none of the targets is.
    """
    wanted = captured_threading(meta)
    alike = [target for target in targets if target.bottom_half == "softirq" and _threading(target.config) == wanted]
    if not alike:
        names = ", ".join(target.name for target in targets)
        raise UsageError(f"--against {path}: this is a {wanted} kernel, and --under names {names} only")
    return next((target for target in alike if target.config.release == release), alike[0])


def _threading(config: KernelConfig) -> str:
    return "rt" if config.rt else "threadirqs" if config.threadirqs else "stock"


def _version(name: str) -> tuple[int, int]:
    major, minor = name.removeprefix("linux-").split(".")
    return int(major), int(minor)


def parse_targets(text: str, release: str) -> list[Target]:
    """Return the kernels that a comma-separated list names. Raises ``UsageError`` for an unknown or a repeated name."""
    names = [name.strip() for name in text.split(",")]
    if not any(names):
        raise UsageError("--under names no kernel")
    targets: list[Target] = []
    for name in names:
        if not name:
            raise UsageError(f"--under {text}: a name between two commas is missing")
        target = _from_toml(Path(name), release) if name.endswith(".toml") else _from_words(name, release)
        if any(target.name == other.name for other in targets):
            raise UsageError(f"--under names {target.name} twice")
        targets.append(target)
    return targets


def _from_words(name: str, release: str) -> Target:
    threadirqs = rt = False
    bottom_half: BottomHalf = "softirq"
    for word in name.split("+"):
        if word in releases():
            release = word
        elif word == "threadirqs":
            threadirqs = True
        elif word == "rt":
            rt = True
        elif word in ("napi-threaded", "workqueue", "tasklet"):
            if bottom_half != "softirq":
                raise UsageError(f"--under {name}: the receive work cannot run in two places")
            bottom_half = msgspec.convert(word, BottomHalf)
        elif word != "stock":
            known = ", ".join((*OPTIONS, *releases()))
            raise UsageError(f"--under {name}: {word!r} is no kernel that is known ({known}), nor a .toml file")
    config = preset(release, threadirqs=threadirqs, rt=rt, napi_threaded=bottom_half == "napi-threaded")
    return Target(name, config, bottom_half)


def _from_toml(path: Path, release: str) -> Target:
    try:
        fields: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}", error.errno or 0) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    release = str(fields.pop("release", release))
    chosen = str(fields.pop("bottom_half", "softirq"))
    if chosen not in get_args(BottomHalf):
        raise UsageError(f"{path}: bottom_half is {chosen!r}, not one of {', '.join(get_args(BottomHalf))}")
    flags = {name: fields.pop(name, False) for name in ("rt", "threadirqs")}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise UsageError(f"{path}: {name} is {value!r}, not true or false")
    try:
        config = preset(release, rt=flags["rt"], threadirqs=flags["threadirqs"], **fields)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return Target(path.stem, config, msgspec.convert(chosen, BottomHalf))

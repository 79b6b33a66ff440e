"""Read the source tree as data, for the tests that hold its shape."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("asyncirq", "devices")


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, the room it belongs to, its syntax tree."""

    name: str
    path: str
    lines: int
    tree: ast.Module
    is_package: bool

    @property
    def room(self) -> str:
        """Return the room: ``asyncirq.hw.cpu`` is in ``hw``, ``asyncirq/__init__.py`` is the room ``asyncirq``."""
        parts = self.name.split(".")
        return parts[1] if parts[0] == "asyncirq" and len(parts) > 1 else parts[0]

    @property
    def is_public(self) -> bool:
        """Tell whether no part of the name starts with an underscore."""
        return not any(part.startswith("_") for part in self.name.split("."))


def read_modules(root: Path = ROOT) -> list[Module]:
    """Parse every module of the two packages under ``root``, in the order of their paths."""
    found = []
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            text = file.read_text(encoding="utf-8")
            found.append(
                Module(
                    name=".".join(parts[:-1] if is_package else parts),
                    path=file.relative_to(root).as_posix(),
                    lines=len(text.splitlines()),
                    tree=ast.parse(text, filename=str(file)),
                    is_package=is_package,
                )
            )
    return found


def plant(root: Path, path: str, source: str) -> list[Module]:
    """Write one file into a synthetic tree and read the tree again."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source, encoding="utf-8")
    return read_modules(root)


def expect_none(complaints: list[str]) -> None:
    """Fail with every complaint on its own line."""
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)

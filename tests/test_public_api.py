"""Hold the public interface: what is exported exists, is sorted, typed and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source_tree import PACKAGES, ROOT, Module, expect_none, plant, read_modules

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sort_key(name: str) -> tuple[int, str]:
    """Return the key of ruff's RUF022: CONSTANTS, then Classes, then functions."""
    if name.isupper():
        return 0, name
    return (1 if name[0].isupper() else 2), name


def is_overload(node: Function) -> bool:
    """Tell whether a definition is one signature of several, or the setter of a documented property."""
    return any(
        getattr(decorator, "id", "") == "overload" or getattr(decorator, "attr", "") in {"overload", "setter", "deleter"}
        for decorator in node.decorator_list
    )


def public_definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Yield the public functions and classes of a body, and those inside its public classes."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_definitions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If):
            yield from public_definitions([*node.body, *node.orelse], prefix)


def undocumented(modules: list[Module]) -> list[str]:
    """Return the public modules, functions and classes without a docstring; a method may speak through its name and its class."""
    bad = []
    for module in modules:
        if not module.is_public:
            continue
        if not ast.get_docstring(module.tree):
            bad.append(f"{module.path}: the module has no docstring")
        for name, node in public_definitions(module.tree.body):
            is_method = "." in name and not isinstance(node, ast.ClassDef)
            if not is_method and not (isinstance(node, Function) and is_overload(node)) and not ast.get_docstring(node):
                bad.append(f"{module.path}:{node.lineno}: {name} has no docstring")
    return bad


def untyped(modules: list[Module]) -> list[str]:
    """Return the parameters and results of public functions and methods without an annotation."""
    bad = []
    for module in modules:
        if not module.is_public:
            continue
        for name, node in public_definitions(module.tree.body):
            if isinstance(node, ast.ClassDef):
                continue
            is_static = any(getattr(decorator, "id", "") == "staticmethod" for decorator in node.decorator_list)
            positional = [*node.args.posonlyargs, *node.args.args]
            if "." in name and not is_static:
                positional = positional[1:]
            extra = [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
            for argument in [*positional, *node.args.kwonlyargs, *extra]:
                if argument.annotation is None:
                    bad.append(f"{module.path}:{node.lineno}: {name}: {argument.arg} has no annotation")
            if node.returns is None:
                bad.append(f"{module.path}:{node.lineno}: {name} does not say what it returns")
    return bad


def export_faults(package: object, exported: list[str]) -> list[str]:
    """Return what is wrong with a list of exported names."""
    bad = [f"{name} is exported twice" for name in sorted({name for name in exported if exported.count(name) > 1})]
    if exported != sorted(exported, key=sort_key):
        bad.append(f"__all__ is not sorted: {sorted(exported, key=sort_key)}")
    for name in exported:
        value = getattr(package, name, None)
        if not hasattr(package, name):
            bad.append(f"{name} does not exist")
        elif name.startswith("_") and not name.startswith("__"):
            bad.append(f"{name} is private")
        elif (inspect.isclass(value) or inspect.isroutine(value)) and not (value.__doc__ or "").strip():
            bad.append(f"{name} has no docstring")
    return bad


def test_exports_of_asyncirq() -> None:
    package = importlib.import_module("asyncirq")
    exported = list(package.__all__)
    assert exported
    expect_none(export_faults(package, exported))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_marked_as_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_public_names_are_documented() -> None:
    expect_none(undocumented(read_modules()))


def test_public_functions_are_annotated() -> None:
    expect_none(untyped(read_modules()))


def test_planted_names_without_docstring_are_reported(tmp_path: Path) -> None:
    source = "def f(): ...\nclass A:\n    class B: ...\n    def method(self): ...\ndef _private(): ...\n@overload\ndef g(): ...\n"
    plant(tmp_path, "asyncirq/_private.py", source)
    assert undocumented(plant(tmp_path, "asyncirq/cli.py", source)) == [
        "asyncirq/cli.py: the module has no docstring",
        "asyncirq/cli.py:1: f has no docstring",
        "asyncirq/cli.py:2: A has no docstring",
        "asyncirq/cli.py:3: A.B has no docstring",
    ]


def test_planted_names_without_annotation_are_reported(tmp_path: Path) -> None:
    source = "class A:\n    def m(self, a, *b, c: int, **d) -> None: ...\n    @staticmethod\n    def s(a: int): ...\n"
    assert untyped(plant(tmp_path, "asyncirq/cli.py", source)) == [
        "asyncirq/cli.py:2: A.m: a has no annotation",
        "asyncirq/cli.py:2: A.m: b has no annotation",
        "asyncirq/cli.py:2: A.m: d has no annotation",
        "asyncirq/cli.py:4: A.s does not say what it returns",
    ]


def test_planted_export_faults_are_reported() -> None:
    class Package:
        """Stand for a package."""

        LIMIT = 1
        _hidden = 2

        class Silent:
            __doc__ = None

    assert export_faults(Package, ["LIMIT", "Silent"]) == ["Silent has no docstring"]
    assert export_faults(Package, ["LIMIT", "LIMIT", "gone", "_hidden"]) == [
        "LIMIT is exported twice",
        "__all__ is not sorted: ['LIMIT', 'LIMIT', '_hidden', 'gone']",
        "gone does not exist",
        "_hidden is private",
    ]

"""Judge from the source alone whether a module-level value can change under a second machine in the same process."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tests.source_tree import Module

FROZEN_TYPES: Final = frozenset(
    [
        "tuple",
        "frozenset",
        "MappingProxyType",
        "Final",
        "int",
        "str",
        "bytes",
        "bool",
        "None",
        "range",
        "Callable",
        "type",
        "Decimal",
        "Fraction",
        "Pattern",
        "struct.Struct",
    ]
)
FROZEN_CALLS: Final = frozenset(
    [
        "tuple",
        "frozenset",
        "MappingProxyType",
        "int",
        "str",
        "bytes",
        "bool",
        "range",
        "object",
        "min",
        "max",
        "len",
        "sum",
        "abs",
        "pow",
        "divmod",
        "round",
        "type",
        "NewType",
        "TypeVar",
        "ParamSpec",
        "TypeVarTuple",
        "compile",
        "encode",
        "from_bytes",
        "join",
        "to_bytes",
        "attrgetter",
        "itemgetter",
        "methodcaller",
        "getLogger",
    ]
)
"""Callables whose results never change; a result of ``re.compile`` is named by its last part."""
FROZEN_BASES: Final = frozenset(["NamedTuple", "Enum", "IntEnum", "StrEnum", "Flag", "IntFlag"])


def last_name(node: ast.expr | None) -> str:
    """Return the last part of a dotted or subscripted name: ``Final`` for ``typing.Final[int]``."""
    if isinstance(node, ast.Subscript):
        return last_name(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.split("[", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1]
    return ""


def is_frozen_class(node: ast.ClassDef) -> bool:
    """Tell whether instances cannot change: a named tuple, an enum, a frozen dataclass or a frozen struct."""
    if any(last_name(base) in FROZEN_BASES for base in node.bases):
        return True
    calls = [decorator for decorator in node.decorator_list if isinstance(decorator, ast.Call)]
    keywords = [*node.keywords, *(keyword for call in calls for keyword in call.keywords)]
    return any(keyword.arg == "frozen" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True for keyword in keywords)


def frozen_callables(modules: list[Module]) -> frozenset[str]:
    """Return the names of our classes and functions whose results cannot change."""
    frozen: set[str] = set(FROZEN_CALLS)
    for module in modules:
        for node in module.tree.body:
            if (isinstance(node, ast.ClassDef) and is_frozen_class(node)) or (
                isinstance(node, ast.FunctionDef) and last_name(node.returns) in FROZEN_TYPES
            ):
                frozen.add(node.name)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and last_name(node.value.func) == "NewType":
                frozen.update(name.id for name in node.targets if isinstance(name, ast.Name))
    return frozenset(frozen)


def is_frozen(value: ast.expr, frozen: frozenset[str]) -> bool:
    """Tell whether a value, down to its elements, cannot change. A class's frozen constant method counts by its class."""
    if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp | ast.GeneratorExp):
        return False
    if isinstance(value, ast.Tuple):
        return all(is_frozen(item, frozen) for item in value.elts)
    if isinstance(value, ast.IfExp):
        return is_frozen(value.body, frozen) and is_frozen(value.orelse, frozen)
    if isinstance(value, ast.BinOp):
        return is_frozen(value.left, frozen) and is_frozen(value.right, frozen)
    if isinstance(value, ast.Call):
        owner = value.func.value if isinstance(value.func, ast.Attribute) else None
        if last_name(value.func) not in frozen and last_name(owner) not in frozen:
            return False
        return all(is_frozen_argument(argument, frozen) for argument in value.args)
    return True


def is_frozen_argument(value: ast.expr, frozen: frozenset[str]) -> bool:
    """Tell whether what a frozen container is built from holds nothing that can change; the builder itself is gone."""
    if isinstance(value, ast.Dict):
        return all(is_frozen(item, frozen) for item in value.values)
    if isinstance(value, ast.List | ast.Set):
        return all(is_frozen(item, frozen) for item in value.elts)
    if isinstance(value, ast.DictComp):
        return is_frozen(value.value, frozen)
    if isinstance(value, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        return is_frozen(value.elt, frozen)
    return isinstance(value, ast.Call) or is_frozen(value, frozen)


def module_statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements that run at import, also those under ``if`` and ``for`` at the top."""
    todo = list(tree.body)
    while todo:
        node = todo.pop(0)
        yield node
        if isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try):
            todo[:0] = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def mutable_state(module: Module, frozen: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield each module-level name that holds something mutable, and each ``global`` statement."""
    for node in module_statements(module.tree):
        if isinstance(node, ast.Assign):
            names = [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            value: ast.expr | None = node.value
            promised = False
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names, value = [node.target.id], node.value
            inner = node.annotation.slice if isinstance(node.annotation, ast.Subscript) else None
            # Final[tuple[...]] is a promise that the type checker keeps; plain Final says nothing about the value.
            promised = last_name(node.annotation) == "Final" and last_name(inner) in FROZEN_TYPES
        elif isinstance(node, ast.AugAssign):
            yield node.lineno, f"{ast.unparse(node.target)} is changed after it was made"
            continue
        else:
            continue
        if value is None or all(name.startswith("__") for name in names):
            continue
        if not is_frozen(value, frozen) and not (promised and isinstance(value, ast.Call)):
            yield node.lineno, f"{', '.join(names)} is module-level mutable state"
    for inside in ast.walk(module.tree):
        if isinstance(inside, ast.Global):
            yield inside.lineno, f"global {', '.join(inside.names)}"

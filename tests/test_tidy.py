"""Hold sizes and forbidden constructs. The exceptions table may only shrink: a row that is not needed any more fails."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from tests.frozen_values import frozen_callables, last_name, mutable_state
from tests.source_tree import Module, expect_none, plant, read_modules

MODULE_LINES: Final = 400
FUNCTION_LINES: Final = 70
PUBLIC_METHODS: Final = 12

SIZE_EXCEPTIONS: Final[Mapping[str, int]] = MappingProxyType(
    {
        # One emit method per tracepoint.
        "asyncirq/trace/emit_entry.py:EntryEmitter": 33,
        "asyncirq/trace/emit_irq.py:IrqEmitter": 16,
        "asyncirq/trace/emit_sched.py:SchedEmitter": 22,
        "asyncirq/trace/emit_time.py:TimeEmitter": 13,
        "asyncirq/trace/emit_vector.py:VectorEmitter": 23,
    }
)
"""What may be larger than the limit, and exactly how large it is: ``path`` (lines), ``path:function`` (lines), ``path:Class`` (methods)."""

RULE_EXCEPTIONS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("asyncirq/sim/driver.py", "host"): "runs the model inside the host's loop and paces a live run by the wall clock",
        ("asyncirq/sim/driver.py", "float"): "the host's sleep takes seconds as a float; nothing of it reaches virtual time",
        ("asyncirq/sim/executor.py", "host"): "makes each context a task of the host's loop",
        ("asyncirq/sim/engine.py", "catch-all"): "notes that the machine is dead, whatever it died of, and raises on",
        ("asyncirq/sim/engine.py", "finally"): "restores a setting on the host's side; no context runs inside the block",
        ("asyncirq/sim/executor.py", "catch-all"): "hands whatever ended a turn, Ctrl-C included, to the driver that waits for it",
        ("asyncirq/sim/executor.py", "finally"): "closes the contexts even if the host cancels the close; none of them runs in it",
        ("asyncirq/machine.py", "finally"): "hands the last records to the sinks even if the host cancels the close",
    }
)
"""(path, rule): the reason why this file may."""

MODEL: Final = frozenset(
    [
        "sim",
        "hw",
        "sched",
        "locking",
        "bottom_half",
        "irq",
        "irqchip",
        "entry",
        "drivers",
        "machine",
        "devices",
        "board",
        "arch",
        "firmware",
        "hotplug",
    ]
)
INTEGER: Final = MODEL | frozenset(["units", "errors", "costs", "config", "invariants"])
HOST_MODULES: Final = frozenset(
    [
        "anyio",
        "asyncio",
        "concurrent",
        "datetime",
        "multiprocessing",
        "os",
        "queue",
        "secrets",
        "selectors",
        "signal",
        "socket",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "trio",
        "uuid",
        "uvloop",
    ]
)

Finding = tuple[int, str]


def forbid_finally(module: Module) -> Iterator[Finding]:
    """Refuse ``finally``: it would run handlers while a dead machine is closed."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Try | ast.TryStar) and node.finalbody:
            yield node.lineno, "finally"


def forbid_catch_all(module: Module) -> Iterator[Finding]:
    """Refuse to catch what closes a coroutine: ``except:``, ``BaseException``, ``GeneratorExit``, or to suppress them."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield node.lineno, "bare except"
                continue
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        elif isinstance(node, ast.Call) and last_name(node.func) == "suppress":
            kinds = node.args
        else:
            continue
        for kind in kinds:
            if last_name(kind) in {"BaseException", "GeneratorExit"}:
                yield node.lineno, f"catches {last_name(kind)}"


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield what belongs to a function itself, not to functions and classes inside it."""
    for child in ast.iter_child_nodes(function):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from own_nodes(child)


def forbid_async_generators(module: Module) -> Iterator[Finding]:
    """Refuse async generators: the host's loop decides when they are finalised."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef) and any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in own_nodes(node)):
            yield node.lineno, f"{node.name} is an async generator"
        elif isinstance(node, ast.GeneratorExp):
            awaits = any(isinstance(inner, ast.Await) for inner in own_nodes(node))
            if awaits or any(clause.is_async for clause in node.generators):
                yield node.lineno, "async generator expression"


def forbid_contextvars(module: Module) -> Iterator[Finding]:
    """Refuse context variables: they belong to the host's tasks, not to the model's."""
    for line, name in imports(module):
        if name.split(".")[0] == "contextvars":
            yield line, "contextvars"


def forbid_host(module: Module) -> Iterator[Finding]:
    """Refuse whatever differs from run to run: the host's clock, loop, threads, addresses, and the global random generator."""
    for line, name in imports(module):
        parts = name.split(".")
        if parts[0] in HOST_MODULES:
            yield line, f"imports {parts[0]}"
        if parts[0] == "random" and len(parts) > 1 and parts[1] != "Random":
            yield line, f"random.{parts[1]} is global"
    hashes = {
        id(inner)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef) and node.name == "__hash__"
        for inner in ast.walk(node)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"id", "hash"} and id(node) not in hashes:
            yield node.lineno, f"{node.func.id}() differs from run to run"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random" and node.attr != "Random":
            yield node.lineno, f"random.{node.attr} is global"


def forbid_floats(module: Module) -> Iterator[Finding]:
    """Refuse floats and true division: time is an integer of nanoseconds."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield node.lineno, f"float literal {node.value}"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "true division"
        elif isinstance(node, ast.Name) and node.id == "float":
            yield node.lineno, "float"


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Yield each import as ``module`` or ``module.name``."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


RULES: Final[Mapping[str, tuple[Callable[[Module], Iterator[Finding]], frozenset[str]]]] = MappingProxyType(
    {
        "finally": (forbid_finally, MODEL),
        "catch-all": (forbid_catch_all, MODEL),
        "async-generator": (forbid_async_generators, MODEL),
        "contextvars": (forbid_contextvars, MODEL),
        "host": (forbid_host, MODEL),
        "float": (forbid_floats, INTEGER),
    }
)


def broken_rules(modules: list[Module], exceptions: Mapping[tuple[str, str], str] = MappingProxyType({})) -> list[str]:
    """Return what breaks a rule without a reason, and the reasons that nothing needs."""
    frozen = frozen_callables(modules)
    unused = set(exceptions)
    bad = []
    for module in modules:
        findings = [(rule, found) for rule, (check, rooms) in RULES.items() if module.room in rooms for found in check(module)]
        if module.room in MODEL:
            findings += [("state", found) for found in mutable_state(module, frozen)]
        for rule, (line, text) in findings:
            if exceptions.get((module.path, rule), "").strip():
                unused.discard((module.path, rule))
            else:
                bad.append(f"{module.path}:{line}: {rule}: {text}")
    return bad + [f"{path}: exception {rule!r} is stale" for path, rule in sorted(unused)]


def public_methods(node: ast.ClassDef) -> set[str]:
    """Return the public methods a class defines; a property with its setter is one."""
    return {
        child.name for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_")
    }


def sizes(module: Module) -> Iterator[tuple[str, int, int]]:
    """Yield (key, size, limit) of the module, its functions and its classes."""
    yield module.path, module.lines, MODULE_LINES
    todo: list[tuple[str, ast.AST]] = [("", module.tree)]
    while todo:
        prefix, parent = todo.pop()
        for node in ast.iter_child_nodes(parent):
            inner = prefix
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = f"{prefix}{node.name}."
                yield f"{module.path}:{inner[:-1]}", (node.end_lineno or node.lineno) - node.lineno + 1, FUNCTION_LINES
            elif isinstance(node, ast.ClassDef):
                inner = f"{prefix}{node.name}."
                yield f"{module.path}:{inner[:-1]}", len(public_methods(node)), PUBLIC_METHODS
            todo.append((inner, node))


def broken_sizes(modules: list[Module], exceptions: Mapping[str, int]) -> list[str]:
    """Return what is too large without an exception, and every exception that is not exactly the size it excuses."""
    excess: dict[str, int] = {}
    limits: dict[str, int] = {}
    for module in modules:
        for key, size, limit in sizes(module):
            if size > limit and size > excess.get(key, 0):
                excess[key], limits[key] = size, limit
    bad = [
        f"{key}: {size}, the limit is {exceptions.get(key, limits[key])}"
        for key, size in excess.items()
        if size > exceptions.get(key, limits[key])
    ]
    for key, granted in exceptions.items():
        if key not in excess:
            bad.append(f"{key}: the exception is stale")
        elif excess[key] < granted:
            bad.append(f"{key}: the exception grants {granted}, {excess[key]} is enough")
    return sorted(bad)


def test_sizes() -> None:
    expect_none(broken_sizes(read_modules(), SIZE_EXCEPTIONS))


def test_rules() -> None:
    expect_none(broken_rules(read_modules(), RULE_EXCEPTIONS))


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("try:\n    x()\nfinally:\n    y()\n", "1: finally: finally"),
        ("try:\n    x()\nexcept* ValueError:\n    pass\nfinally:\n    y()\n", "1: finally: finally"),
        ("try:\n    x()\nexcept:\n    y()\n", "3: catch-all: bare except"),
        ("try:\n    x()\nexcept (ValueError, BaseException):\n    y()\n", "3: catch-all: catches BaseException"),
        ("with contextlib.suppress(GeneratorExit):\n    x()\n", "1: catch-all: catches GeneratorExit"),
        ("async def f():\n    yield 1\n", "1: async-generator: f is an async generator"),
        ("async def f(xs):\n    return g(x async for x in xs)\n", "2: async-generator: async generator expression"),
        ("async def f(xs):\n    return g(await x for x in xs)\n", "2: async-generator: async generator expression"),
        ("def f():\n    from contextvars import ContextVar\n", "2: contextvars: contextvars"),
        ("import time\n", "1: host: imports time"),
        ("from asyncio import sleep\n", "1: host: imports asyncio"),
        ("from random import randint\n", "1: host: random.randint is global"),
        ("import random\nr = random.randint\n", "2: host: random.randint is global"),
        ("def f(x):\n    return id(x)\n", "2: host: id() differs from run to run"),
        ("X = 1.5\n", "1: float: float literal 1.5"),
        ("def f(a):\n    return a / 2\n", "2: float: true division"),
        ("def f(a):\n    a /= 2\n", "2: float: true division"),
        ("def f(a: float): ...\n", "1: float: float"),
        ("TABLE = {}\n", "1: state: TABLE is module-level mutable state"),
        ("TABLE: Final = [1]\n", "1: state: TABLE is module-level mutable state"),
        ("TABLE: Final[dict[str, int]] = dict()\n", "1: state: TABLE is module-level mutable state"),
        ("TABLE = tuple([[1]])\n", "1: state: TABLE is module-level mutable state"),
        ("TABLE = (1, [2])\n", "1: state: TABLE is module-level mutable state"),
        ("TABLE = MappingProxyType({1: []})\n", "1: state: TABLE is module-level mutable state"),
        ("if x:\n    NAMES = set()\n", "2: state: NAMES is module-level mutable state"),
        ("class Box: ...\nBOX: Final = Box()\n", "2: state: BOX is module-level mutable state"),
        ("NAMES = 'a b'.split()\n", "1: state: NAMES is module-level mutable state"),
        ("N = 0\nN += 1\n", "2: state: N is changed after it was made"),
        ("N = 0\ndef f():\n    global N\n", "3: state: global N"),
    ],
)
def test_planted_construct_is_reported(tmp_path: Path, source: str, finding: str) -> None:
    assert broken_rules(plant(tmp_path, "asyncirq/irq/flow.py", source)) == [f"asyncirq/irq/flow.py:{finding}"]
    assert broken_rules(plant(tmp_path / "host", "asyncirq/cli.py", source)) == []


def test_frozen_constants_pass(tmp_path: Path) -> None:
    source = """\
__all__ = ["A"]
class Gate(NamedTuple):
    vector: int
@dataclass(frozen=True)
class Row:
    n: int
class Rec(Struct, frozen=True, gc=False):
    n: int
Vector = NewType("Vector", int)
def build() -> tuple[int, ...]:
    return (1,)
A: Final = (1, "x", (2, 3))
B: Final = MappingProxyType({"a": (1,), "b": Gate(2)})
C: Final = frozenset({1, 2}) | frozenset(range(3))
D: Final = (Gate(1), Row(2), Rec(3), Vector(4))
E: Final = build()
F: Final = re.compile("x")
G: Final[tuple[int, ...]] = elsewhere.build()
H: Final = "a b".split
I = object()
"""
    assert broken_rules(plant(tmp_path, "asyncirq/hw/idt.py", source)) == []


def test_rule_exception_excuses_its_file_and_rule_alone(tmp_path: Path) -> None:
    modules = plant(tmp_path, "asyncirq/sim/pacing.py", "import time\nX = 0.5\n")
    assert broken_rules(modules, {("asyncirq/sim/pacing.py", "host"): "the wall clock paces it"}) == [
        "asyncirq/sim/pacing.py:2: float: float literal 0.5"
    ]


def test_rule_exception_must_be_needed_and_have_a_reason(tmp_path: Path) -> None:
    modules = plant(tmp_path, "asyncirq/sim/pacing.py", "X = 1\n")
    assert broken_rules(modules, {("asyncirq/sim/pacing.py", "host"): "was once"}) == ["asyncirq/sim/pacing.py: exception 'host' is stale"]
    modules = plant(tmp_path, "asyncirq/sim/pacing.py", "import time\n")
    assert broken_rules(modules, {("asyncirq/sim/pacing.py", "host"): " "}) == [
        "asyncirq/sim/pacing.py:1: host: imports time",
        "asyncirq/sim/pacing.py: exception 'host' is stale",
    ]


def test_planted_sizes_are_reported(tmp_path: Path) -> None:
    methods = "".join(f"    def m{n}(self): ...\n" for n in range(13))
    body = "class Big:\n" + methods + "    def _hidden(self): ...\ndef long():\n" + "    x()\n" * 70
    source = body + "\n" * (401 - len(body.splitlines()))
    modules = plant(tmp_path, "asyncirq/cli.py", source)
    assert broken_sizes(modules, {}) == [
        "asyncirq/cli.py: 401, the limit is 400",
        "asyncirq/cli.py:Big: 13, the limit is 12",
        "asyncirq/cli.py:long: 71, the limit is 70",
    ]
    exact = {"asyncirq/cli.py": 401, "asyncirq/cli.py:Big": 13, "asyncirq/cli.py:long": 71}
    assert broken_sizes(modules, exact) == []
    assert broken_sizes(modules, exact | {"asyncirq/cli.py:Big": 14, "asyncirq/cli.py:gone": 99, "asyncirq/cli.py:long": 70}) == [
        "asyncirq/cli.py:Big: the exception grants 14, 13 is enough",
        "asyncirq/cli.py:gone: the exception is stale",
        "asyncirq/cli.py:long: 71, the limit is 70",
    ]


def test_largest_allowed_sizes_pass(tmp_path: Path) -> None:
    methods = "".join(f"    def m{n}(self): ...\n" for n in range(12))
    body = "class Big:\n" + methods + "def long():\n" + "    x()\n" * 69
    assert broken_sizes(plant(tmp_path, "asyncirq/cli.py", body + "\n" * (400 - len(body.splitlines()))), {}) == []

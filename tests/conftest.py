"""Share what every test may need: the host loops, and a Hypothesis profile without a clock.

A test of the host side is a coroutine marked ``@pytest.mark.asyncio``; it runs once on asyncio and once on uvloop. One
that cannot tell them apart says so and runs once::

    @pytest.mark.asyncio(loop_factories=["asyncio"])
    async def test_something() -> None: ...

A test that must hold on every backend, trio included, is a plain function that takes ``host_run``::

    def test_digest(host_run: HostRun) -> None:
        assert host_run(simulate, 42) == EXPECTED      # simulate is a coroutine function
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import anyio
import hypothesis
import pytest

from asyncirq.board import BOARDS
from tests.softirq_rule import softirq_rule

__all__ = ("softirq_rule",)

try:
    import uvloop
except ImportError:  # there is none for Windows
    HAVE_UVLOOP = False
else:
    HAVE_UVLOOP = True

Result = TypeVar("Result")

# The same examples every time, judged by their result and never by how long they took.
hypothesis.settings.register_profile("asyncirq", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("asyncirq")


class HostRun(Protocol):
    """Run a coroutine function to its end on one host loop."""

    def __call__(self, function: Callable[..., Awaitable[Result]], /, *args: Any) -> Result:
        """Return what ``function(*args)`` returns."""


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Name the loops that every test marked ``asyncio`` runs on."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if HAVE_UVLOOP:
        loops["uvloop"] = uvloop.new_event_loop
    return loops


HOSTS: Final = ("asyncio", "uvloop", "trio")


@pytest.fixture(params=HOSTS)
def host_run(request: pytest.FixtureRequest) -> HostRun:
    """Return a runner for each host in turn: asyncio, uvloop, trio."""
    host: str = request.param
    if host == "uvloop" and not HAVE_UVLOOP:
        pytest.skip("there is no uvloop here")
    if host == "trio":
        pytest.importorskip("trio")

    def run(function: Callable[..., Awaitable[Result]], /, *args: Any) -> Result:
        if host == "trio":
            return anyio.run(function, *args, backend="trio")
        return anyio.run(function, *args, backend="asyncio", backend_options={"use_uvloop": host == "uvloop"})

    return run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses ``every_controller`` on each; on those that a mark ``controllers`` names; marked ``smp`` not on those of one CPU."""
    if "every_controller" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("controllers")
        names = BOARDS if marker is None else marker.args
        smp = metafunc.definition.get_closest_marker("smp") is not None
        metafunc.parametrize("every_controller", [name for name in names if not smp or BOARDS[name].max_cpus > 1], indirect=True)


@pytest.fixture
def every_controller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have machines that name no interrupt controller take the one of the test's turn. Returns its name.

    A module asks for it with ``pytestmark = pytest.mark.usefixtures("every_controller")``.
    """
    controller: str = request.param
    monkeypatch.setattr("asyncirq.machine.DEFAULT_CONTROLLER", controller)
    return controller

"""Take CPUs down and bring them up under load: nothing is lost, nothing happens twice, nothing runs on a CPU that is down."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncirq import Machine
from asyncirq.config import KernelConfig, preset
from asyncirq.trace.record import Record
from tests.hotplug.load import MS, US, Load, plug

KERNELS = {
    "7.1": preset("linux-7.1", hz=1000),
    "6.12": preset("linux-6.12", hz=1000),
    "6.12-rt": preset("linux-6.12", rt=True),
    "6.1": preset("linux-6.1", hz=1000),
    "2.6": preset("linux-2.6", hz=1000),
}


def ran_while_dead(records: list[Record], cpus: int) -> list[Record]:
    """Return the records of CPUs between the switch to their idle task that ends in death and their first step up."""
    dead = [False] * cpus
    found = []
    for record in records:
        name = type(record).__name__
        if name == "CpuhpEnter" and getattr(record, "function", "") in ("timers_dead_cpu", "sched_cpu_starting"):
            target: int = record.target_cpu  # type: ignore[attr-defined]
            dead[target] = getattr(record, "function", "") == "timers_dead_cpu"
        # The making of a thread is recorded on CPU 0, whoever makes it.
        if 0 <= record.cpu < cpus and name != "TaskNewtask" and dead[record.cpu] and record.pid >= 0:
            found.append(record)
    return found


async def scene(config: KernelConfig, cpus: int, controller: str | None, actions: list[tuple[int, int]]) -> tuple[Load, list[Record]]:
    """Run a load over hotplug actions and check what holds for each."""
    async with Machine(cpus, config, controller=controller, check=True) as m:
        load, results = await plug(m, actions)
        assert [ret for _, _, ret in results] == [0] * len(actions)
        assert load.lost() == {}
        hotplug = m.kernel.hotplug
        assert m.sched.active == m.sched.online == m.irq.online_mask == hotplug.online
        records = m.records
    assert ran_while_dead(records, cpus) == []
    return load, records


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_loses_nothing(name: str) -> None:
    actions = [(1, 1 * MS), (2, 500 * US), (1, 2 * MS), (2, 300 * US)]
    load, _ = asyncio.run(scene(KERNELS[name], 3, None, actions))
    assert sorted(load.done) == ["delayed", "hrtimer", "level", "msi0", "msi1", "msi2", "rcu", "sleep", "tasklet", "timer", "work"]


@pytest.mark.parametrize("controller", ["gicv3", "gicv2"])
def test_every_controller_loses_nothing(controller: str) -> None:
    asyncio.run(scene(KERNELS["6.12"], 3, controller, [(0, 1 * MS), (2, 500 * US), (0, 2 * MS), (2, 300 * US)]))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(3, 5), st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3 * MS)), min_size=1, max_size=6))
def test_any_order_of_downs_and_ups(cpus: int, actions: list[tuple[int, int]]) -> None:
    actions = [(1 + cpu % (cpus - 1), wait) for cpu, wait in actions]
    asyncio.run(scene(KERNELS["7.1"], cpus, None, actions))


def test_the_counts_notice_a_loss() -> None:
    """A dead CPU whose timers nobody takes over loses them."""

    async def main() -> dict[str, int]:
        async with Machine(3, KERNELS["6.12"], trace=False) as m:
            m.kernel.hotplug.steps.table[9].teardown = None
            load, _ = await plug(m, [(1, 5 * MS)])
            return load.lost()

    assert {"timer", "delayed"} >= set(asyncio.run(main())) > set()

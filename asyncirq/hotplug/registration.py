"""Add steps to the hotplug states and take them away, as drivers do; instances of a step that is run for each of them.

Linux: kernel/cpu.c __cpuhp_setup_state(), __cpuhp_remove_state(), __cpuhp_state_add_instance().
"""

from __future__ import annotations

from asyncirq.errors import UsageError
from asyncirq.hotplug.core import Hotplug
from asyncirq.hotplug.steps import EBUSY, EINVAL, CpuhpCpu, MultiFn, Step, StepFn
from asyncirq.sched.task import Task


async def setup_state(
    hotplug: Hotplug,
    task: Task,
    state: int,
    name: str,
    startup: StepFn | None,
    teardown: StepFn | None,
    *,
    invoke: bool = True,
) -> int:
    """Register a step and, with ``invoke``, run its startup for every CPU that has passed it; return its state.

    ``CpuhpState.BP_PREPARE_DYN`` and ``AP_ONLINE_DYN`` ask for the first free state of their ranges. If a startup fails, the CPUs before
    it are torn down again and the step is gone. Raises ``UsageError``: EBUSY for a state that is taken, ENOSPC for a full range, else
    what the startup returned. Trace: cpuhp_enter, cpuhp_exit.
    """
    await hotplug.lock.lock(task)
    refused: UsageError | None = None
    try:
        state = hotplug.steps.reserve(state, Step(name, startup, teardown))
    except UsageError as error:
        refused = error
    if refused is None and invoke and startup is not None:
        done: list[CpuhpCpu] = []
        for st in hotplug.cpus:
            if not hotplug.reached(st, state):
                continue
            ret = await hotplug.issue(task, st, state, True)
            if ret:
                for passed in done:
                    await hotplug.issue(task, passed, state, False)
                del hotplug.steps.table[state]
                refused = UsageError(f"{name}: startup failed on CPU{st.id} ({ret})", -ret)
                break
            done.append(st)
    await hotplug.lock.unlock(task)
    if refused is not None:
        raise refused
    return state


async def setup_state_multi(hotplug: Hotplug, task: Task, state: int, name: str, startup: MultiFn | None, teardown: MultiFn | None) -> int:
    """Register a step that is run for each of its instances; it has none yet. Raises ``UsageError`` as ``setup_state`` does."""
    await hotplug.lock.lock(task)
    refused: UsageError | None = None
    try:
        state = hotplug.steps.reserve(state, Step(name, startup, teardown, multi=True))
    except UsageError as error:
        refused = error
    await hotplug.lock.unlock(task)
    if refused is not None:
        raise refused
    return state


async def remove_state(hotplug: Hotplug, task: Task, state: int, *, invoke: bool = True) -> None:
    """Take a step away; with ``invoke`` its teardown runs for every CPU that has passed it.

    Raises ``UsageError`` EINVAL for a state without a step, EBUSY for one that still has instances. Trace: cpuhp_enter, cpuhp_exit.
    """
    step = hotplug.steps.table.get(state)
    if step is None:
        raise UsageError(f"hotplug state {state} has no step", EINVAL)
    if step.instances:
        raise UsageError(f"Error: Removing state {state} which has instances left.", EBUSY)
    await hotplug.lock.lock(task)
    if invoke:
        for st in hotplug.cpus:
            if hotplug.reached(st, state):
                await hotplug.issue(task, st, state, False)
    del hotplug.steps.table[state]
    await hotplug.lock.unlock(task)


async def add_instance(hotplug: Hotplug, task: Task, state: int, node: object, *, invoke: bool = True) -> int:
    """Add an instance and run the startup for it on every CPU that has passed the step; return 0 or what it returned, with none added.

    Raises ``UsageError`` EINVAL for a state whose step has no instances. Trace: cpuhp_multi_enter, cpuhp_exit.
    """
    instances = _instances(hotplug, state)
    await hotplug.lock.lock(task)
    done: list[CpuhpCpu] = []
    ret = 0
    for st in hotplug.cpus if invoke else ():
        if not hotplug.reached(st, state):
            continue
        ret = await hotplug.issue(task, st, state, True, node)
        if ret:
            for passed in done:
                await hotplug.issue(task, passed, state, False, node)
            break
        done.append(st)
    if not ret:
        instances.insert(0, node)
    await hotplug.lock.unlock(task)
    return ret


async def remove_instance(hotplug: Hotplug, task: Task, state: int, node: object, *, invoke: bool = True) -> None:
    """Take an instance away, its teardown first. Raises ``UsageError`` EINVAL for one that is not there."""
    instances = _instances(hotplug, state)
    if node not in instances:
        raise UsageError(f"{hotplug.steps.table[state].name}: {node!r} is no instance", EINVAL)
    await hotplug.lock.lock(task)
    for st in hotplug.cpus if invoke else ():
        if hotplug.reached(st, state):
            await hotplug.issue(task, st, state, False, node)
    instances.remove(node)
    await hotplug.lock.unlock(task)


def _instances(hotplug: Hotplug, state: int) -> list[object]:
    step = hotplug.steps.table.get(state)
    if step is None or step.instances is None:
        raise UsageError(f"the step of hotplug state {state} has no instances", EINVAL)
    return step.instances

"""Keep the table of hotplug steps and run one of them.

Linux: kernel/cpu.c cpuhp_hp_states, cpuhp_invoke_callback(), cpuhp_store_callbacks().
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.bottom_half.callback_wait import name_of
from asyncirq.errors import UsageError
from asyncirq.hotplug.states import DYNAMIC, CpuhpState
from asyncirq.sched.task import Task

EPERM: Final = 1
EAGAIN: Final = 11
EBUSY: Final = 16
EINVAL: Final = 22
ENOSPC: Final = 28

StepFn = Callable[[Task, int], Coroutine[Any, Any, int]]
"""``async def step(task, cpu_id)``, run by ``task``: 0 or a negative errno."""
MultiFn = Callable[[Task, int, object], Coroutine[Any, Any, int]]
"""The same for one instance of a step that has several."""


class Step:
    """One step: ``startup`` leads to its state from below, ``teardown`` away from it; None: there is nothing to do.

    ``cant_stop``: no CPU may be left in this state by request. ``instances`` is None unless the step is run for each of them.
    """

    __slots__ = ("cant_stop", "instances", "name", "startup", "teardown")

    def __init__(
        self,
        name: str,
        startup: Callable[..., Coroutine[Any, Any, int]] | None,
        teardown: Callable[..., Coroutine[Any, Any, int]] | None,
        *,
        cant_stop: bool = False,
        multi: bool = False,
    ) -> None:
        self.name = name
        self.startup = startup
        self.teardown = teardown
        self.cant_stop = cant_stop
        self.instances: list[object] | None = [] if multi else None

    def empty(self, bringup: bool) -> bool:
        """Tell whether there is nothing to do on the way up, or down."""
        return (self.startup if bringup else self.teardown) is None


class CpuhpCpu:
    """Where one CPU is on its way.

    ``state`` is the last it reached, ``target`` where it goes, ``bringup`` the direction. ``rollback``: a step failed, and it goes back.
    ``fail`` is the state whose next step is made to fail, or -1. The hotplug thread runs while ``should_run``, one step at a time, or the
    ``single`` one (``cb_state``, ``node``) that was asked for; ``result`` is what it returned last.
    """

    __slots__ = ("bringup", "cb_state", "fail", "id", "node", "result", "rollback", "should_run", "single", "state", "target")

    def __init__(self, cpu_id: int) -> None:
        self.id = cpu_id
        self.state: int = CpuhpState.ONLINE
        self.target: int = CpuhpState.ONLINE
        self.bringup = False
        self.rollback = False
        self.single = False
        self.should_run = False
        self.cb_state = -1
        self.node: object = None
        self.result = 0
        self.fail = -1


class Steps:
    """The steps of one machine, by the state that they lead to. Trace: cpuhp_enter, cpuhp_multi_enter, cpuhp_exit."""

    def __init__(self) -> None:
        self.table: dict[int, Step] = {}

    def reserve(self, state: int, step: Step) -> int:
        """Put a step into the table, at the first free place of a dynamic range; return its state.

        Raises ``UsageError``: EBUSY for a state that is taken, ENOSPC for a full range, EINVAL for a state that is none.
        """
        end = DYNAMIC.get(state)
        if end is not None:
            for free in range(state, end):
                if free not in self.table:
                    self.table[free] = step
                    return free
            raise UsageError(f"{step.name}: no more dynamic states available for CPU hotplug", ENOSPC)
        if not CpuhpState.OFFLINE <= state <= CpuhpState.ONLINE:
            raise UsageError(f"{step.name}: there is no hotplug state {state}", EINVAL)
        if state in self.table:
            raise UsageError(f"{step.name}: hotplug state {state} is {self.table[state].name} already", EBUSY)
        self.table[state] = step
        return state

    def following(self, st: CpuhpCpu, target: int) -> int:
        """Go to the next state on the way to ``target`` that has a step to run, and return it; -1 when there is none."""
        while True:
            if st.bringup:
                if st.state >= target:
                    return -1
                st.state += 1
                state = st.state
            else:
                if st.state <= target:
                    return -1
                state = st.state
                st.state -= 1
            step = self.table.get(state)
            if step is not None and not step.empty(st.bringup):
                return state

    async def invoke(self, task: Task, st: CpuhpCpu, state: int, bringup: bool, node: object = None) -> int:
        """Run one step, or one instance of it; of several those before one that fails are undone. Return 0 or a negative errno."""
        step = self.table[state]
        if st.fail == state:
            st.fail = -1
            return 0 if step.empty(bringup) else -EAGAIN
        callback = step.startup if bringup else step.teardown
        if callback is None:
            return 0
        if step.instances is None:
            return await self._call(task, st, state, callback)
        if node is not None:
            return await self._call(task, st, state, callback, node)
        done: list[object] = []
        for each in tuple(step.instances):
            ret = await self._call(task, st, state, callback, each)
            if ret:
                undo = step.teardown if bringup else step.startup
                if undo is not None:
                    for passed in done:
                        await self._call(task, st, state, undo, passed)
                return ret
            done.append(each)
        return 0

    async def _call(self, task: Task, st: CpuhpCpu, state: int, callback: Callable[..., Coroutine[Any, Any, int]], *node: object) -> int:
        trace = task.sched.trace
        if trace is not None:
            enter = trace.cpuhp_multi_enter if node else trace.cpuhp_enter
            enter(task.cpu, st.id, st.target, state, name_of(callback))
        ret = await callback(task, st.id, *node)
        if trace is not None:
            trace.cpuhp_exit(task.cpu, st.id, st.state, state, ret)
        return ret

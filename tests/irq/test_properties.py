"""Look for a sequence of calls and interrupts that breaks a rule of the interrupt core; show that each rule can be broken.

The rules and the machine are in ``random_lines.py``. The second half plants a mistake for each rule and lets the same
search find it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from asyncirq import Cpu, Task
from asyncirq.board import BOARDS
from asyncirq.irq import affinity, do_irq, do_irq_manage, flow, handle, manage, state, thread
from asyncirq.irq.desc import IrqAction, IrqDesc
from asyncirq.irqchip import ioapic, msi
from tests.irq.random_lines import DEVICES, KERNELS, KINDS, ONE_FLOW, PLAIN, Broken, Op, Plan, Raise, play

GAPS = st.sampled_from((0, 0, 200, 900, 3_000, 12_000, 60_000))
WHATS = st.sampled_from(("request", "free", "disable", "disable_nosync", "synchronize", "enable", "enable", "affinity", "chase", "chase"))
DEVICE = st.integers(0, len(DEVICES) - 1)
RAISES = st.lists(st.builds(Raise, GAPS, DEVICE, st.integers(1, 3)), min_size=10, max_size=40).map(tuple)
OPS = st.lists(st.builds(Op, GAPS, WHATS, DEVICE, st.integers(1, 15)), min_size=4, max_size=30).map(tuple)
HOLDS = st.tuples(st.sampled_from((0, 150, 1_500, 9_000)), st.sampled_from((0, 700, 6_000, 30_000)))


def plans(kernels: Sequence[str] = tuple(KERNELS)) -> st.SearchStrategy[Plan]:
    """Return plans for these kernels."""
    count = len(DEVICES)
    kinds = st.tuples(*[st.sampled_from(KINDS)] * count)
    return st.builds(Plan, st.sampled_from(kernels), st.integers(1, 4), kinds, st.tuples(*[HOLDS] * count), RAISES, OPS)


def chases() -> st.SearchStrategy[Plan]:
    """Return plans in which edges follow their line from CPU to CPU, and nothing comes after them."""
    chase = st.lists(st.builds(Op, st.just(60_000), st.just("chase"), st.integers(0, 2), st.integers(1, 15)), min_size=6, max_size=12)
    count = len(DEVICES)
    holds = ((1_500, 700),) * count
    return st.builds(
        Plan,
        st.sampled_from(("stock", "full")),
        st.integers(2, 4),
        st.just((KINDS[0],) * count),
        st.just(holds),
        st.just(()),
        chase.map(tuple),
    )


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=150)
@given(data=st.data())
def test_rules_hold_for_every_sequence(kernel: str, data: st.DataObject) -> None:
    asyncio.run(play(data.draw(plans([kernel]))))


@pytest.mark.parametrize("controller", [name for name in BOARDS if name != "apic"])
@settings(max_examples=60)
@given(plan=plans())
def test_rules_hold_on_every_controller(controller: str, plan: Plan) -> None:
    asyncio.run(play(plan, controller))


def one_flow_plans() -> st.SearchStrategy[Plan]:
    """Return plans for the kernel with one flow for all lines, whose handlers serve their devices themselves."""
    return plans([ONE_FLOW]).map(lambda plan: plan._replace(kinds=(PLAIN,) * len(DEVICES)))


def test_rules_hold_for_the_one_flow_of_26() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=150)
    @given(one_flow_plans())
    def look(plan: Plan) -> None:
        seen.update(asyncio.run(play(plan)).reached())

    look()
    reached = ("runs", "runs again for what came meanwhile", "interrupts while disabled", "unbalanced enables", "moves")
    assert [what for what in reached if not seen[what]] == []


def test_search_reaches_what_the_rules_are_about() -> None:
    """Count what happened in the plans that are tried: rules that nothing puts to the test would prove nothing."""
    seen: Counter[str] = Counter()

    @settings(max_examples=200, phases=[Phase.generate])
    @given(plans())
    def count(plan: Plan) -> None:
        scene = asyncio.run(play(plan))
        seen.update(scene.reached())

    count()
    assert {what for what, times in seen.items() if times} == {
        "runs",
        "runs again for what came meanwhile",
        "interrupts while disabled",
        "coalesced in the local APIC",
        "wakes",
        "wakes merged into one run",
        "sharers refused",
        "unbalanced enables",
        "moves",
    }


# --- planted mistakes: each is found by the same search

Plant = Callable[[pytest.MonkeyPatch], None]


def nested_disable_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    right = state.disable_depth
    patch.setattr(manage, "disable_depth", lambda cpu, desc: 0 if desc.depth else right(cpu, desc))


def enable_starts_the_line_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(manage, "enable_depth", lambda cpu, desc: state.irq_startup(cpu, desc, resend=True))


def disabled_line_is_handled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(flow, "_has_actions", lambda desc: desc.action is not None)


def disable_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    async def wrong(self: manage.IrqCore, task: Task, irq: int) -> None:
        return None

    patch.setattr(manage.IrqCore, "synchronize_irq", wrong)


def oneshot_line_is_not_masked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(flow, "mask_irq", lambda cpu, desc: 0)


def edge_is_handled_again_while_it_is_masked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(flow, "unmask_irq", lambda cpu, desc: state.unmask_irq(cpu, desc) if desc.level else 0)


def woken_thread_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    right = handle.irq_wake_thread

    async def wrong(cpu: Cpu, desc: IrqDesc, action: IrqAction) -> None:
        await right(cpu, desc, action)
        desc.threads_oneshot &= ~action.thread_mask

    patch.setattr(handle, "irq_wake_thread", wrong)


def pending_is_not_cleared(patch: pytest.MonkeyPatch) -> None:
    right = handle.handle_irq_event

    async def wrong(cpu: Cpu, desc: IrqDesc, cost: int = 0) -> int:
        result = await right(cpu, desc, cost)
        desc.pending = not desc.level
        return result

    patch.setattr(flow, "handle_irq_event", wrong)


def every_edge_that_came_meanwhile_is_handled(patch: pytest.MonkeyPatch) -> None:
    right = handle.handle_irq_event
    owed: dict[int, int] = {}

    def count(cpu: Cpu, desc: IrqDesc) -> int:
        owed[desc.irq] = owed.get(desc.irq, 0) + desc.inprogress
        return state.mask_ack_irq(cpu, desc)

    async def wrong(cpu: Cpu, desc: IrqDesc, cost: int = 0) -> int:
        result = await right(cpu, desc, cost)
        if owed.get(desc.irq, 0) > 0:
            owed[desc.irq] -= 1
            desc.pending = True
        return result

    patch.setattr(flow, "mask_ack_irq", count)
    patch.setattr(flow, "handle_irq_event", wrong)


def thread_does_not_unmask(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(thread, "unmask_threaded_irq", lambda cpu, desc: 0)


def nothing_is_resent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state, "check_irq_resend", lambda cpu, desc, inject=False: 0)


def edge_in_progress_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    right = flow.handle_edge_irq

    async def wrong(cpu: Cpu, desc: IrqDesc) -> None:
        pending = desc.pending
        busy = desc.inprogress
        await right(cpu, desc)
        if busy:
            desc.pending = pending
            state.unmask_irq(cpu, desc)

    for chip in (msi, ioapic):
        patch.setattr(chip, "handle_edge_irq", wrong)


def thread_stays_active(patch: pytest.MonkeyPatch) -> None:
    async def wrong(desc: IrqDesc, task: Task) -> None:
        return None

    patch.setattr(thread, "_thread_done", wrong)


def wake_of_a_running_thread_is_dropped(patch: pytest.MonkeyPatch) -> None:
    right = handle.irq_wake_thread

    async def wrong(cpu: Cpu, desc: IrqDesc, action: IrqAction) -> None:
        if desc.level or action.thread is None or not action.thread.on_rq:
            await right(cpu, desc, action)

    patch.setattr(handle, "irq_wake_thread", wrong)


def interrupt_is_counted_twice(patch: pytest.MonkeyPatch) -> None:
    right = handle.run_actions

    async def wrong(cpu: Cpu, desc: IrqDesc) -> int:
        desc.tot_count += 1
        return await right(cpu, desc)

    patch.setattr(handle, "run_actions", wrong)


def move_does_not_reach_the_chip(patch: pytest.MonkeyPatch) -> None:
    def wrong(cpu: Cpu, desc: IrqDesc, mask: int, force: bool) -> int:
        desc.affinity = mask
        return 0

    patch.setattr(affinity, "do_set_affinity", wrong)


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (nested_disable_is_not_counted, "depth"),
        (enable_starts_the_line_at_once, "depth"),
        (disabled_line_is_handled, "disabled line ran"),
        (disable_does_not_wait, "disabled line ran"),
        (oneshot_line_is_not_masked, "masked line ran"),
        (edge_is_handled_again_while_it_is_masked, "masked line ran"),
        (woken_thread_is_not_waited_for, "masked line ran"),
        (pending_is_not_cleared, "run without an arrival"),
        (thread_does_not_unmask, "lost interrupt"),
        (nothing_is_resent, "lost interrupt"),
        (thread_stays_active, "wake unaccounted"),
        (wake_of_a_running_thread_is_dropped, "wake unaccounted"),
        (interrupt_is_counted_twice, "counts"),
        (move_does_not_reach_the_chip, "affinity"),
    ],
)
def test_planted_mistake_is_found(plant: Plant, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(Broken, match=f"^{rule}: "):
        search(plans())


def test_planted_second_run_for_two_edges_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run once more for each of the edges that came while the first was handled: they are one."""
    every_edge_that_came_meanwhile_is_handled(monkeypatch)
    with pytest.raises(Broken, match="^run without an arrival: "):
        search(chases())


def test_planted_loss_of_an_edge_in_progress_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    search(chases())
    edge_in_progress_is_forgotten(monkeypatch)
    with pytest.raises(Broken, match="^lost interrupt: "):
        search(chases())


def one_flow_runs_once_too_often(patch: pytest.MonkeyPatch) -> None:
    right = do_irq.handle_irq_event

    async def wrong(cpu: Cpu, desc: IrqDesc, first: IrqAction | None) -> int:
        desc.pending = True
        return await right(cpu, desc, first)

    patch.setattr(do_irq, "handle_irq_event", wrong)


def one_flow_counts_disables_alone(patch: pytest.MonkeyPatch) -> None:
    def wrong(cpu: Cpu, desc: IrqDesc) -> int:
        desc.depth += 1
        return 0

    patch.setattr(do_irq_manage, "disable_once", wrong)


def one_flow_resends_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(do_irq_manage, "retrigger", lambda cpu, desc: True)


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (one_flow_runs_once_too_often, "run without an arrival"),
        (one_flow_resends_nothing, "lost interrupt"),
        (one_flow_counts_disables_alone, "depth"),
    ],
)
def test_planted_mistake_in_the_one_flow_is_found(plant: Plant, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(Broken, match=f"^{rule}: "):
        search(one_flow_plans())


def search(strategy: st.SearchStrategy[Plan]) -> None:
    """Play plans until one breaks a rule; it is not made smaller."""

    @settings(max_examples=100, phases=[Phase.generate], report_multiple_bugs=False)
    @given(strategy)
    def look(plan: Plan) -> None:
        asyncio.run(play(plan))

    look()

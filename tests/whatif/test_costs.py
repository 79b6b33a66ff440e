from __future__ import annotations

import pytest

from asyncirq.analysis.pack import CostSource
from asyncirq.analysis.segments import CostTable
from asyncirq.costs import cost_names
from asyncirq.errors import InternalError
from asyncirq.sim import Engine
from asyncirq.whatif.costs import SampledCosts, merge_uses


class Runner:
    """Stands for whoever runs: the name of the engine's current context, and what is asked of it."""

    def __init__(self) -> None:
        self.engine = Engine(seed=7)
        self.section = False
        self.waits = False
        self.cpu = 0

    def become(self, name: str) -> None:
        async def nothing() -> None:
            return

        coro = nothing()
        self.engine.current = self.engine.adopt(coro, name)
        coro.close()


def table(**samples: list[int]) -> CostTable:
    named = {
        name: CostSource(name, values, sum(values) // len(values), "measured", len(values), "test") for name, values in samples.items()
    }
    return CostTable("capture", {}, named)


def costs(runner: Runner, *, rt: bool = False, **samples: list[int]) -> SampledCosts:
    made = SampledCosts(table(**samples), rt=rt)
    made.bind(runner.engine, lambda: runner.section, lambda: runner.waits, lambda: runner.cpu)
    made.live = True
    runner.become("task-1")
    return made


def test_nothing_costs_anything_before_the_phase_begins() -> None:
    made = SampledCosts(table(try_to_wake_up=[4000]), rt=False)
    assert [getattr(made, name) for name in cost_names()] == [0] * len(cost_names())


def test_draws_are_samples_of_the_capture() -> None:
    made = costs(Runner(), try_to_wake_up=[3000, 4000, 5000])
    drawn = [made.ttwu_ns for _ in range(60)]
    assert set(drawn) == {3000, 4000, 5000}
    assert drawn == [again.ttwu_ns for again in [costs(Runner(), try_to_wake_up=[3000, 4000, 5000])] for _ in range(60)]


def test_entry_and_return_ride_on_recorded_code() -> None:
    made = costs(Runner(), trace_event=[1000])
    assert (made.irq_entry_ns, made.irq_exit_ns, made.sysvec_entry_ns, made.irq_return_ns, made.mmio_ns) == (0, 0, 0, 0, 0)


def test_recorded_value_is_used_once() -> None:
    made = costs(Runner(), try_to_wake_up=[4000])
    made.pin("ttwu_ns", 7000)
    assert (made.ttwu_ns, made.ttwu_ns) == (7000, 4000)
    made.pin("ttwu_ns", -1)
    assert made.ttwu_ns == 4000
    made.pin("ttwu_ns", 7000)
    made.unpin("ttwu_ns")
    assert made.ttwu_ns == 4000


def test_tick_that_starts_again_delays_the_way_out_of_idle_once() -> None:
    made = costs(Runner(), switch_from_idle=[4000], idle_tick_restart=[3000])
    made.owe(0, "idle_tick_restart")
    assert (made.switch_idle_ns, made.switch_idle_ns) == (7000, 4000)


@pytest.mark.parametrize(
    ("who", "ns"), [("irq/21-eth0-9", 6000), ("ksoftirqd/0-3", 5000), ("ktimers/0-4", 5500), ("kworker/0:1-5", 6500), ("ping-6", 6500)]
)
def test_blocking_costs_what_it_costs_the_one_who_blocks(who: str, ns: int) -> None:
    runner = Runner()
    made = costs(runner, irq_thread_block=[6000], block_ksoftirqd=[5000], ktimers_block=[5500], block_kthread=[6500])
    runner.become(who)
    assert made.switch_block_ns == ns


def test_first_softirq_after_a_timer_has_its_own_cost() -> None:
    made = costs(Runner(), irq_exit_softirq=[2000], timer_exit_softirq=[1500])
    assert made.softirq_entry_ns == 2000
    made.after_timer.add(0)
    assert made.softirq_entry_ns == 1500


def test_way_back_from_a_preemption_that_is_not_recorded_is_charged() -> None:
    runner = Runner()
    made = costs(runner, preempt_switch=[4000], irq_thread_block=[6000], irq_thread_enter=[2000])
    assert made.switch_in_ns == 0
    assert made.switch_preempt_ns == 4000
    runner.become("irq/21-eth0-9")
    assert made.switch_in_ns == 0
    assert made.switch_block_ns == 6000
    runner.become("task-1")
    assert (made.switch_in_ns, made.switch_in_ns) == (2000, 0)


def test_preemption_by_a_recorded_task_is_in_the_recording() -> None:
    runner = Runner()
    made = costs(runner, preempt_switch=[4000], block_kthread=[6000], irq_thread_enter=[2000])
    assert made.switch_preempt_ns == 4000
    runner.become("kworker/0:1-5")
    assert made.switch_block_ns == 6000
    runner.become("task-1")
    assert made.switch_in_ns == 0


def test_preempt_rt_pays_more_inside_a_section() -> None:
    runner = Runner()
    made = costs(runner, rt=True, preempt_switch=[4000], rt_preempt_switch=[6400], rt_lock_block=[9100], irq_thread_enter=[2000])
    assert made.switch_preempt_ns == 4000
    runner.section = True
    assert made.switch_preempt_ns == 6400
    assert made.lock_block_ns == 7100
    runner.waits = True
    assert made.switch_in_ns == 2000


def test_missing_cost_is_taken_from_its_like_and_says_so() -> None:
    made = costs(Runner(), block_kthread=[6000])
    assert made.draw("block_ksoftirqd", "test") == 6000
    (use,) = merge_uses([made.used])
    assert (use.kind, use.source) == ("proxy", "block_kthread: this capture has no sample of block_ksoftirqd; used as test")


def test_cost_that_nothing_knows_is_the_models_own() -> None:
    made = costs(Runner())
    assert made.ttwu_ns == 350
    (use,) = merge_uses([made.used])
    assert (use.name, use.kind, use.source) == ("try_to_wake_up", "prior", "the model's own ttwu_ns; used as ttwu_ns")


def test_draw_without_a_machine_is_our_mistake() -> None:
    made = SampledCosts(table(try_to_wake_up=[4000]), rt=False)
    made.live = True
    with pytest.raises(InternalError, match="before they are bound"):
        made.draw("try_to_wake_up", "test")


def test_what_happened_on_one_cpu_is_not_paid_on_another() -> None:
    runner = Runner()
    made = costs(runner, irq_exit_softirq=[2000], timer_exit_softirq=[1500], switch_from_idle=[4000], idle_tick_restart=[3000])
    made.after_timer.add(1)
    made.owe(1, "idle_tick_restart")
    assert (made.softirq_entry_ns, made.switch_idle_ns) == (2000, 4000)
    runner.cpu = 1
    assert (made.softirq_entry_ns, made.switch_idle_ns) == (1500, 7000)


def test_pinned_draw_belongs_to_who_pinned_it() -> None:
    runner = Runner()
    made = costs(runner, try_to_wake_up=[4000])
    made.pin("ttwu_ns", 7000)
    first = runner.engine.current
    runner.become("task-2")
    assert made.ttwu_ns == 4000
    runner.engine.current = first
    assert made.ttwu_ns == 7000

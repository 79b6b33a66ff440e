"""Show the inventory's group L: request, setup, free, per-CPU lines; and what suspend makes of them."""

from __future__ import annotations

import pytest

from asyncirq.config import preset
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import (
    IRQCHIP_ENABLE_WAKEUP_ON_SUSPEND,
    IRQCHIP_MASK_ON_SUSPEND,
    IRQCHIP_STATE_ACTIVE,
    IRQCHIP_STATE_PENDING,
    IRQCHIP_SUPPORTS_NMI,
    SET_MASK_OK_NOCOPY,
)
from asyncirq.irq.desc import (
    IRQ_HANDLED,
    IRQ_NONE,
    IRQ_TYPE_LEVEL_HIGH,
    IRQF_COND_SUSPEND,
    IRQF_DISABLED,
    IRQF_EARLY_RESUME,
    IRQF_FORCE_RESUME,
    IRQF_NO_AUTOEN,
    IRQF_NO_DEBUG,
    IRQF_NO_SUSPEND,
    IRQF_NOBALANCING,
    IRQF_ONESHOT,
    IRQF_PERCPU,
    IRQF_SAMPLE_RANDOM,
    IRQF_SHARED,
    IRQF_TRIGGER_FALLING,
    IRQF_TRIGGER_HIGH,
    IRQF_TRIGGER_RISING,
    IrqData,
    IrqDesc,
)
from asyncirq.irq.devres import DeviceIrqs
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.flow import (
    handle_edge_eoi_irq,
    handle_edge_irq,
    handle_fasteoi_irq,
    handle_fasteoi_nmi,
    handle_level_irq,
    handle_percpu_devid_irq,
    handle_simple_irq,
)
from asyncirq.irq.manage import IRQC_IS_HARDIRQ, IRQC_IS_NESTED
from asyncirq.irq.sim_chip import IrqSim
from asyncirq.irq.thread import handle_nested_irq
from asyncirq.sched.task import Task
from tests.irq.harness import Rig, boot, close_rigs, none_handler  # noqa: F401
from tests.irqchip.chips import Chips

OLD = preset("linux-2.6")


def refused(rig: Rig, desc: IrqDesc, flags: int = 0, name: str = "new", dev_id: object = "new") -> int:
    """Return the errno of a request that must fail, and see that it left nothing behind."""
    before = [action.name for action in desc.actions()]
    tasks = len(rig.sched.tasks)
    with pytest.raises(UsageError) as error:
        boot(rig.core.request_irq(None, desc.irq, rig.handler(), flags, name, dev_id))
    assert ([action.name for action in desc.actions()], len(rig.sched.tasks)) == (before, tasks)
    return error.value.errno


def test_S0_79_request_irq_is_threaded_request() -> None:
    pictures = []
    for threaded in (False, True):
        rig = Rig(debug=True)
        desc, _ = rig.line(handle_level_irq)
        if threaded:
            boot(rig.core.request_threaded_irq(None, desc.irq, rig.handler(), None, 0, "nic", "id"))
        else:
            boot(rig.core.request_irq(None, desc.irq, rig.handler(), 0, "nic", "id"))
        rig.fire_at(1000, desc.irq)
        rig.play(2000)
        pictures.append([(type(record).__name__, record.ts, record.cpu, getattr(record, "action", "")) for record in rig.records()])
    assert pictures[0] == pictures[1]
    assert ("IrqHandlerEntry", 1000, 0, "") in pictures[0]


def test_S0_80_action_construction() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)
    handler, thread_fn = rig.handler(), rig.thread_fn()
    action = boot(rig.core.request_threaded_irq(None, desc.irq, handler, thread_fn, IRQF_ONESHOT, "nic", "cookie"))
    assert (action.handler, action.thread_fn, action.flags, action.name, action.dev_id, action.irq, action.next) == (
        handler,
        thread_fn,
        IRQF_ONESHOT,
        "nic",
        "cookie",
        desc.irq,
        None,
    )
    assert (desc.action, action.thread.comm) == (action, "irq/16-nic")
    with pytest.raises(UsageError) as unknown:
        boot(rig.core.request_irq(None, 999, handler))
    assert unknown.value.errno == 22


def test_S2_67_26_argument_checks() -> None:
    rig = Rig(kernel=OLD)
    desc, chip = rig.line(handle_level_irq)
    assert refused(rig, desc, IRQF_SHARED, dev_id=None) == 22
    for irq, handler, errno in ((224, rig.handler(), 22), (desc.irq, None, 22)):
        with pytest.raises(UsageError) as error:
            boot(rig.core.request_threaded_irq(None, irq, handler, None, 0, "new", "new"))
        assert error.value.errno == errno

    def no_memory(*arguments: object) -> object:
        raise UsageError("no memory for an irqaction", 12)

    make, rig.core.alloc_action = rig.core.alloc_action, no_memory  # type: ignore[assignment]
    assert refused(rig, desc) == 12
    rig.core.alloc_action = make
    bare = rig.core.alloc_desc()
    assert refused(rig, bare) == 38
    assert (chip.taken(), desc.action, bare.action, desc.depth) == ([], None, None, 1)


@pytest.mark.parametrize(
    ("flags", "seen"), [(0, (False, 0)), (IRQF_DISABLED, (True, 0)), (IRQF_SAMPLE_RANDOM, (False, 1)), (IRQF_SHARED, (False, 0))]
)
def test_S2_66_26_flags(flags: int, seen: tuple[bool, int]) -> None:
    rig = Rig(kernel=OLD)
    desc, _ = rig.line(handle_level_irq)
    off: list[bool] = []

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        off.append(cpu.irqs_off)
        return IRQ_HANDLED

    rig.request(desc, handler, flags=flags, dev_id="a")
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (off, desc.random_samples) == ([seen[0]], seen[1])
    if flags & IRQF_SHARED:
        rig.request(desc, handler, flags=flags, dev_id="b")
    else:
        assert refused(rig, desc, IRQF_SHARED) == 16


def test_S2_59_no_controller() -> None:
    rig = Rig(kernel=OLD)
    assert refused(rig, rig.core.desc(100)) == 38


def test_S2_60_entropy_init_outside_the_lock() -> None:
    rig = Rig(kernel=OLD)
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler())
    assert not desc.random_state
    assert refused(rig, desc, IRQF_SAMPLE_RANDOM) == 16
    assert desc.random_state


def test_S2_61_26_sharing_rule() -> None:
    rig = Rig(kernel=OLD)
    desc, _ = rig.line(handle_level_irq)
    for name in ("a", "b", "c"):
        rig.request(desc, rig.handler(name), flags=IRQF_SHARED, name=name, dev_id=name)
    assert refused(rig, desc) == 16
    alone, _ = rig.line(handle_level_irq)
    rig.request(alone, rig.handler())
    assert (refused(rig, alone, IRQF_SHARED), rig.said()) == (16, [])
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert [text for _, text in rig.log] == ["a on 0", "b on 0", "c on 0"]


@pytest.mark.parametrize("also", [("startup",), ()])
def test_S2_62_first_action_starts_the_line(also: tuple[str, ...]) -> None:
    rig = Rig(kernel=OLD)
    desc, chip = rig.line(handle_level_irq, IrqSim(also=also))
    desc.autodetect = desc.waiting = desc.inprogress = True
    boot(rig.core.request_irq(None, desc.irq, rig.handler(), IRQF_SHARED, "a", "a"))
    assert (desc.depth, desc.disabled, desc.autodetect, desc.waiting, desc.inprogress) == (0, False, False, False, False)
    assert chip.taken() == (["startup"] if also else ["unmask"])
    boot(rig.core.request_irq(None, desc.irq, rig.handler(), IRQF_SHARED, "b", "b"))
    assert chip.taken() == []


@pytest.mark.parametrize("hardware_first", [True, False])
def test_S2_64_handler_may_run_at_once(hardware_first: bool) -> None:
    rig = Rig(kernel=OLD)
    chip = IrqSim(ns=200)
    desc, _ = rig.line(handle_level_irq, chip)
    ring: list[str] = []

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        rig.note(f"ring {'ready' if ring else 'uninitialised access'}")
        return IRQ_HANDLED

    async def probe(task: Task) -> None:
        if hardware_first:
            ring.append("descriptors")
        await task.spend(1000)
        await rig.core.request_irq(task, desc.irq, handler, 0, "nic")
        rig.note("request returns")
        ring.append("descriptors")

    rig.start(probe, "probe")
    # While the request still writes the controller's register.
    rig.fire_at(1050, desc.irq)
    rig.play(5000)
    text = "ring ready" if hardware_first else "ring uninitialised access"
    assert [line[1] for line in rig.log] == [text, "request returns"]


def test_S0_82_append_at_tail_collecting_masks() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)
    ids = [object() for _ in range(5)]
    for n in range(4):
        rig.request(desc, rig.handler(f"h{n}"), rig.thread_fn(), IRQF_SHARED | IRQF_ONESHOT, f"dev{n}", ids[n])
    boot(rig.core.free_irq(None, desc.irq, ids[1]))
    rig.request(desc, rig.handler("h4"), rig.thread_fn(), IRQF_SHARED | IRQF_ONESHOT, "dev4", ids[4])
    assert [(action.name, action.thread_mask) for action in desc.actions()] == [("dev0", 1), ("dev2", 4), ("dev3", 8), ("dev4", 2)]
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert [text for _, text in rig.log] == ["h0 on 0", "h2 on 0", "h3 on 0", "h4 on 0"]


def request_steps(rig: Rig, desc: IrqDesc, flags: int = IRQF_TRIGGER_HIGH | IRQF_ONESHOT, name: str = "nic") -> list[str]:
    """Request a line in a task and return the steps that it took, with the threads that were made and woken."""

    async def main(task: Task) -> None:
        try:
            await rig.core.request_threaded_irq(task, desc.irq, None, rig.thread_fn(), flags, name, name)
        except UsageError as error:
            rig.note(f"errno {error.errno}")

    before = len(rig.records())
    rig.begin(main, "main")
    rig.play(rig.engine.now + 100_000)
    found = []
    for record in rig.records()[before:]:
        kind = type(record).__name__
        if kind == "IrqFlow":
            found.append(record.action)  # type: ignore[attr-defined]
        elif kind in ("SchedWakeup", "SchedWakeupNew") and record.comm.startswith("irq/"):  # type: ignore[attr-defined]
            found.append("thread new" if kind == "SchedWakeupNew" else "thread woken")
    return found


FULL = [
    "thread new",
    "mutex_lock",
    "bus_lock",
    "request_resources",
    f"set_type {IRQF_TRIGGER_HIGH}",
    "activate",
    "startup",
    "linked nic",
    "bus_sync_unlock",
    "mutex_unlock",
    "thread woken",
    "proc",
    "proc nic",
]


def test_S1_33_modern_setup_order() -> None:
    rig = Rig(debug=True)
    desc, chip = rig.line(handle_level_irq, IrqSim(also=("startup", "set_type", "bus_lock")))
    assert request_steps(rig, desc) == FULL
    # Each failure ends the order where it is, and undoes what came before.
    for error, steps in (("resources", 4), ("type", 5)):
        rig = Rig(debug=True)
        desc, chip = rig.line(handle_level_irq, ResourceSim(also=("startup", "set_type", "bus_lock")))
        assert isinstance(chip, ResourceSim)
        setattr(chip, f"{error}_error", -19)
        taken = request_steps(rig, desc)
        assert taken == [*FULL[:steps], "bus_sync_unlock", "mutex_unlock", "thread woken"]
        assert (desc.action, desc.activated, desc.depth, chip.resources, rig.log[-1][1]) == (None, False, 1, 0, "errno 19")
        assert [task.comm for task in rig.sched.tasks.values() if task.comm.startswith("irq/")] == []
        assert desc.request_mutex.owner is None


def test_S1_33_requests_of_one_line_come_one_after_the_other() -> None:
    rig = Rig(cpus=2, debug=True)
    chip = SlowBus(rig)
    desc, _ = rig.line(handle_level_irq, chip)

    async def requester(task: Task) -> None:
        await rig.core.request_irq(task, desc.irq, rig.handler(), IRQF_SHARED, task.comm, task)
        rig.note(f"{task.comm} done")

    rig.start(requester, "one", cpu=0)
    rig.start(requester, "two", cpu=1)
    rig.play(100_000)
    assert rig.log == [(0, "bus locked"), (5000, "one done"), (5000, "bus locked"), (10_000, "two done")]
    assert [action.name for action in desc.actions()] == ["one", "two"]


class ResourceSim(IrqSim):
    """A recording chip that counts who holds its resources."""

    resources = 0
    resources_error = 0

    def irq_request_resources(self, data: IrqData) -> int:
        if self.resources_error:
            return self.resources_error
        self.resources += 1
        return 0

    def irq_release_resources(self, data: IrqData) -> None:
        self.resources -= 1


class SlowBus(IrqSim):
    """A chip behind a bus that takes 5000 ns for what was written, in which the writer sleeps."""

    def __init__(self, rig: Rig) -> None:
        super().__init__("bus", also=("bus_lock",))
        self.rig = rig

    async def irq_bus_lock(self, task: Task, data: IrqData) -> None:
        self.rig.note("bus locked")

    async def irq_bus_sync_unlock(self, task: Task, data: IrqData) -> None:
        await self.rig.nap(task, 5000)


def test_S1_38_resources_on_first_action_only() -> None:
    rig = Rig(debug=True)
    desc, chip = rig.line(handle_level_irq, ResourceSim(also=("set_type", "bus_lock", "startup")))
    assert isinstance(chip, ResourceSim)
    flags = IRQF_SHARED | IRQF_ONESHOT | IRQF_TRIGGER_HIGH
    assert request_steps(rig, desc, flags) == FULL
    second = request_steps(rig, desc, flags, "two")
    assert [step for step in second if not step.startswith("thread")] == [
        "mutex_lock",
        "bus_lock",
        "linked two",
        "bus_sync_unlock",
        "mutex_unlock",
        "proc two",
    ]
    assert chip.resources == 1
    boot(rig.core.free_irq(None, desc.irq, "nic"))
    assert chip.resources == 1
    boot(rig.core.free_irq(None, desc.irq, "two"))
    assert chip.resources == 0


def nmi_line(rig: Rig, **chip: int) -> tuple[IrqDesc, IrqSim]:
    return rig.line(handle_fasteoi_nmi, IrqSim(flags=IRQCHIP_SUPPORTS_NMI, also=("nmi_setup",)))


def test_S1_39_nmi_line_cannot_be_shared() -> None:
    rig = Rig()
    desc, chip = nmi_line(rig)
    rig.core.request_nmi(desc.irq, rig.handler("nmi"), IRQF_PERCPU | IRQF_NO_AUTOEN, "pmu", "id")
    assert (desc.nmi, desc.depth, desc.nobalancing, chip.taken()) == (True, 1, True, ["nmi_setup"])
    assert refused(rig, desc, IRQF_SHARED) == 22
    assert rig.said() == [f"Invalid attempt to share NMI for new (irq {desc.irq}) on irqchip sim."]
    rig.core.enable_nmi(rig.cpus[0], desc.irq)
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (rig.log, chip.taken(), desc.kstat_irqs, desc.tot_count) == ([(1000, "nmi on 0")], ["unmask", "eoi"], [1], 0)
    rig.core.disable_nmi_nosync(rig.cpus[0], desc.irq)
    assert (rig.core.free_nmi(desc.irq, "id"), desc.action, desc.nmi, rig.core.free_nmi(desc.irq)) == ("pmu", None, False, None)


@pytest.mark.parametrize(
    ("flags", "supported"),
    [
        (IRQF_PERCPU, True),
        (IRQF_NO_AUTOEN, True),
        (IRQF_PERCPU | IRQF_NO_AUTOEN | IRQF_SHARED, True),
        (IRQF_PERCPU | IRQF_NO_AUTOEN, False),
    ],
)
def test_request_nmi_is_refused(flags: int, supported: bool) -> None:
    rig = Rig()
    desc, chip = nmi_line(rig) if supported else rig.line(handle_fasteoi_nmi)
    with pytest.raises(UsageError) as error:
        rig.core.request_nmi(desc.irq, rig.handler(), flags, "pmu")
    assert (error.value.errno, desc.action, desc.nmi, chip.taken()) == (22, None, False, [])


def test_a_chip_that_refuses_the_nmi_leaves_the_line_free() -> None:
    rig = Rig()
    desc, chip = nmi_line(rig)
    chip.nmi_error = -5
    with pytest.raises(UsageError) as error:
        rig.core.request_nmi(desc.irq, rig.handler(), IRQF_PERCPU | IRQF_NO_AUTOEN, "pmu")
    assert (error.value.errno, desc.action, desc.nmi, desc.activated) == (22, None, False, False)


def test_S1_40_trigger_type_inheritance() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(), flags=IRQF_SHARED | IRQF_TRIGGER_RISING, dev_id="a")
    assert (desc.trigger, desc.trigger_set) == (0, False)
    # Nothing was recorded, so the second one's type becomes the line's, and the third is held against it.
    rig.request(desc, rig.handler(), flags=IRQF_SHARED | IRQF_TRIGGER_FALLING, dev_id="b")
    assert (desc.trigger, desc.trigger_set) == (IRQF_TRIGGER_FALLING, True)
    assert refused(rig, desc, IRQF_SHARED | IRQF_TRIGGER_RISING) == 16
    rig.request(desc, rig.handler(), flags=IRQF_SHARED | IRQF_TRIGGER_FALLING, dev_id="c")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("trigger", [False, True])
@pytest.mark.parametrize("oneshot", [False, True])
@pytest.mark.parametrize("percpu", [False, True])
def test_S1_41_share_compatibility(shared: bool, trigger: bool, oneshot: bool, percpu: bool) -> None:
    """Each of the four agrees or not: only where all agree the newcomer is let in."""
    rig = Rig()
    desc, _ = rig.line(handle_level_irq, IrqSim(also=("set_type",)))
    rig.request(desc, rig.handler(), None, IRQF_SHARED | IRQF_TRIGGER_HIGH, "old", "a")
    flags = (
        (IRQF_SHARED if shared else 0)
        | (IRQF_TRIGGER_HIGH if trigger else IRQF_TRIGGER_RISING)
        | (0 if oneshot else IRQF_ONESHOT)
        | (0 if percpu else IRQF_PERCPU)
    )
    if shared and trigger and oneshot and percpu:
        rig.request(desc, rig.handler(), None, flags, "new", "b")
        assert [action.name for action in desc.actions()] == ["old", "new"]
    else:
        assert refused(rig, desc, flags) == 16
        assert rig.said() == [f"Flags mismatch irq {desc.irq}. {flags:08x} (new) vs. {IRQF_SHARED | IRQF_TRIGGER_HIGH:08x} (old)"]


def test_S1_47_trigger_programmed_when_first() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq, IrqSim(also=("set_type",)))
    boot(rig.core.request_irq(None, desc.irq, rig.handler(), IRQF_SHARED, "a", "a"))
    assert chip.taken() == ["unmask"]
    other, refusing = rig.line(handle_level_irq, IrqSim(also=("set_type",)))
    refusing.type_error = -22
    assert refused(rig, other, IRQF_TRIGGER_HIGH) == 22
    assert (refusing.taken(), other.depth, other.started, other.trigger) == (["set_type"], 1, False, 0)
    refusing.type_error = 0
    boot(rig.core.request_irq(None, other.irq, rig.handler(), IRQF_SHARED | IRQF_TRIGGER_HIGH, "a", "a"))
    assert (refusing.taken(), other.trigger) == (["set_type", "unmask"], IRQ_TYPE_LEVEL_HIGH)
    boot(rig.core.request_irq(None, other.irq, rig.handler(), IRQF_SHARED | IRQF_TRIGGER_HIGH, "b", "b"))
    assert refusing.taken() == []


def test_S1_48_activation_regardless_of_auto_enable() -> None:
    rig = Chips()
    irq, _ = rig.device()
    rig.vectors.matrix.maps[0].available = 0
    desc = rig.core.desc(irq)
    assert refused(rig, desc, IRQF_NO_AUTOEN) == 28
    rig.vectors.matrix.maps[0].available = 1
    boot(rig.core.request_irq(None, irq, rig.handler(), IRQF_NO_AUTOEN, "nic"))
    rig.vectors.matrix.maps[0].available = 0
    assert (desc.activated, desc.started, rig.vector_of(irq).vector) == (True, False, 0x20)
    boot(rig.core.enable_irq(None, irq))
    assert desc.started


def test_S1_48_managed_shutdown_lines_ignore_it() -> None:
    rig = Chips(cpus=2)
    from asyncirq.irq.spread import AffinityDesc
    from tests.irqchip.chips import Device

    irq = rig.msi.create_mapping(0, arg=Device(rig, True), affinity=AffinityDesc(0b10, True))
    rig.core.online_mask = 0b01
    boot(rig.core.request_irq(None, irq, rig.handler(), 0, "queue"))
    desc = rig.core.desc(irq)
    assert (desc.managed_shutdown, desc.activated, desc.started, desc.depth) == (True, False, False, 1)


def test_S1_49_state_reset_for_first_action() -> None:
    rig = Rig()
    desc, _chip = rig.line(handle_level_irq)
    rig.request(desc, none_handler, dev_id="a")
    desc.irq_count = desc.irqs_unhandled = 99_999
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (desc.spurious_disabled, desc.depth) == (True, 1)
    boot(rig.core.free_irq(None, desc.irq, "a"))
    desc.autodetect = desc.waiting = desc.oneshot = True
    boot(rig.core.request_irq(None, desc.irq, rig.handler(), 0, "lab", "b"))
    assert (desc.autodetect, desc.spurious_disabled, desc.oneshot, desc.waiting, desc.inprogress) == (False,) * 5
    rig.fire_at(3000, desc.irq)
    rig.play(4000)
    assert (rig.log, desc.depth, desc.masked) == ([(3000, "handler on 0")], 0, False)


@pytest.mark.parametrize(
    ("flags", "noirqdebug", "state"),
    [
        (0, False, (False, False, False, False)),
        (IRQF_PERCPU, False, (True, False, False, False)),
        (IRQF_PERCPU | IRQF_NO_DEBUG, False, (True, True, False, False)),
        (0, True, (False, True, False, False)),
        (IRQF_ONESHOT, False, (False, False, True, False)),
        (IRQF_NOBALANCING, False, (False, False, False, True)),
    ],
)
def test_S1_50_flag_effects(flags: int, noirqdebug: bool, state: tuple[bool, ...]) -> None:
    rig = Rig(noirqdebug=noirqdebug)
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(), rig.thread_fn() if flags & IRQF_ONESHOT else None, flags)
    assert (desc.percpu, desc.no_debug, desc.oneshot, desc.nobalancing) == state


def test_S1_52_start_or_stay_off() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_edge_irq, IrqSim(also=("startup", "retrigger")))
    # What came before anybody asked for it is sent again by the start.
    desc.pending = True
    boot(rig.core.request_irq(None, desc.irq, rig.handler(), 0, "a"))
    assert (desc.depth, chip.taken(), desc.replay) == (0, ["startup", "retrigger"], True)
    off, chip = rig.line(handle_edge_irq, IrqSim(also=("startup",)))
    boot(rig.core.request_irq(None, off.irq, rig.handler(), IRQF_NO_AUTOEN, "a"))
    assert (off.depth, chip.taken(), rig.said()) == (1, [], [])
    for _ in range(2):
        shared, chip = rig.line(handle_edge_irq, IrqSim(also=("startup",)))
        shared.noautoen = True
        boot(rig.core.request_irq(None, shared.irq, rig.handler(), IRQF_SHARED, "a", "a"))
        assert (shared.depth, chip.taken()) == (1, [])
    # Said once: a sharer might wait for ever on a line that is off.
    assert rig.said() == [f"irq {shared.irq - 1}: a shares a line that is not enabled by its request"]


class OwnType(IrqSim):
    """A chip that makes its own trigger of what it is asked for."""

    def irq_set_type(self, cpu: Cpu, data: IrqData, kind: int) -> int:
        data.desc.trigger, data.desc.trigger_set, data.desc.level = IRQ_TYPE_LEVEL_HIGH, True, True
        return SET_MASK_OK_NOCOPY


def test_S1_53_sharer_with_different_trigger_warns() -> None:
    kernel = preset("linux-6.12", share_trigger="request")
    rig = Rig(kernel=kernel)
    desc, _ = rig.line(handle_level_irq, OwnType(also=("set_type",)))
    flags = IRQF_SHARED | IRQF_TRIGGER_RISING
    rig.request(desc, rig.handler(), flags=flags, dev_id="a")
    assert (desc.trigger, rig.said()) == (IRQ_TYPE_LEVEL_HIGH, [])
    rig.request(desc, rig.handler(), flags=flags, dev_id="b")
    assert rig.said() == [f"irq {desc.irq} uses trigger mode 4; requested 1"]
    assert len(desc.actions()) == 2
    # Kernels that hold the newcomer against the line refuse it.
    now = Rig()
    line, _ = now.line(handle_level_irq, OwnType(also=("set_type",)))
    now.request(line, now.handler(), flags=flags, dev_id="a")
    assert refused(now, line, flags) == 16


def test_S1_55_counters_reset_on_new_action() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, none_handler, flags=IRQF_SHARED, dev_id="a")
    for n in range(7):
        rig.fire_at(1000 + n, desc.irq)
    rig.play(2000)
    assert (desc.irq_count, desc.irqs_unhandled) == (7, 7)
    rig.request(desc, none_handler, flags=IRQF_SHARED, dev_id="b")
    assert (desc.irq_count, desc.irqs_unhandled) == (0, 0)


def test_S1_56_second_chance() -> None:
    rig = Rig()
    desc, _chip = rig.line(handle_level_irq)
    rig.request(desc, none_handler, flags=IRQF_SHARED, name="wrong", dev_id="a")
    desc.irq_count = desc.irqs_unhandled = 99_999
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert (desc.spurious_disabled, desc.disabled, desc.masked) == (True, True, True)
    rig.request(desc, rig.handler("right"), flags=IRQF_SHARED, name="right", dev_id="b")
    assert (desc.spurious_disabled, desc.disabled, desc.masked, desc.depth) == (False, False, False, 0)
    rig.fire_at(3000, desc.irq)
    rig.play(4000)
    assert (rig.log, desc.irq_count, desc.irqs_unhandled) == ([(3000, "right on 0")], 0, 0)


def test_S1_57_ordered_unlock_and_publish() -> None:
    rig = Rig(debug=True)
    desc, _ = rig.line(handle_level_irq, IrqSim(also=("bus_lock",)))
    steps = request_steps(rig, desc, IRQF_ONESHOT)
    assert steps[steps.index("linked nic") :] == [
        "linked nic",
        "bus_sync_unlock",
        "mutex_unlock",
        "thread woken",
        "proc",
        "proc nic",
    ]
    assert desc.action is not None
    assert desc.action.ready
    # The first interrupt finds its thread ready.
    start = rig.engine.now
    rig.fire_at(start + 1000, desc.irq)
    rig.play(start + 2000)
    assert rig.log == [(start + 1000, "thread on 0")]


def test_S1_32_per_cpu_request() -> None:
    rig = Rig(cpus=2)
    domain = IrqDomain(rig.core, "gate")
    desc, chip = rig.line(handle_percpu_devid_irq)
    desc.data.domain = domain
    rig.core.set_percpu_devid(desc.irq)

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        rig.note(f"{dev_id} on {cpu.id}")
        return IRQ_HANDLED

    with pytest.raises(UsageError):
        rig.core.request_percpu_irq(desc.irq, handler, "pmu", ["slot 0"])
    assert domain.pm_users == 0
    action = rig.core.request_percpu_irq(desc.irq, handler, "pmu", ["slot 0", "slot 1"])
    assert (action.flags, domain.pm_users) == (IRQF_PERCPU | IRQF_NO_SUSPEND, 1)
    for cpu in rig.cpus:
        rig.core.enable_percpu_irq(cpu, desc.irq)
    chip.calls.clear()

    async def main(task: Task) -> None:
        await rig.core.suspend_device_irqs(task)

    rig.start(main, "main")
    rig.fire_at(1000, desc.irq, cpu=0)
    rig.fire_at(1100, desc.irq, cpu=1)
    rig.play(2000)
    assert rig.log == [(1000, "slot 0 on 0"), (1100, "slot 1 on 1")]
    assert (chip.taken(), desc.suspended, desc.percpu_enabled) == (["ack", "eoi"] * 2, False, 0b11)
    for cpu in rig.cpus:
        rig.core.disable_percpu_irq(cpu, desc.irq)
    assert (rig.core.free_percpu_irq(desc.irq, ["slot 0", "slot 1"]), domain.pm_users) == ("pmu", 0)


def test_S2_65_free_needs_the_cookie() -> None:
    rig = Rig(kernel=OLD)
    desc, chip = rig.line(handle_level_irq, IrqSim(also=("shutdown",)))
    for name in ("a", "b", "c"):
        rig.request(desc, rig.handler(name), flags=IRQF_SHARED, name=name, dev_id=name)
    assert refused(rig, desc, IRQF_SHARED, dev_id=None) == 22
    assert (boot(rig.core.free_irq(None, desc.irq, "x")), rig.said()) == (None, [f"Trying to free free IRQ{desc.irq}"])
    assert boot(rig.core.free_irq(None, desc.irq, "b")) == "b"
    assert ([action.name for action in desc.actions()], chip.taken(), desc.disabled) == (["a", "c"], [], False)
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert [text for _, text in rig.log] == ["a on 0", "c on 0"]
    chip.calls.clear()
    assert [boot(rig.core.free_irq(None, desc.irq, name)) for name in ("a", "c")] == ["a", "c"]
    assert (desc.action, chip.taken(), desc.disabled) == (None, ["shutdown"], True)


# --- suspend


def sleep(rig: Rig, *, early: bool = False, wake: bool = True) -> list[str]:
    """Suspend the lines from 1000 ns on and resume them at 5000 ns; return the messages."""

    async def main(task: Task) -> None:
        await task.spend(1000)
        await rig.core.suspend_device_irqs(task)
        rig.note("asleep")
        await rig.nap(task, 4000)
        if early:
            await rig.core.resume_device_irqs(task, early=True)
            rig.note("early")
        if wake:
            await rig.core.resume_device_irqs(task)
            rig.note("awake")

    rig.begin(main, "main")
    rig.play(20_000)
    return rig.said()


def test_S1_54_power_management_bookkeeping() -> None:
    rig = Rig()
    line, chip = rig.line(handle_edge_irq)
    rig.request(line, rig.handler("timer"), flags=IRQF_SHARED | IRQF_NO_SUSPEND, dev_id="a")
    assert (line.nr_actions, line.no_suspend_depth, line.cond_suspend_depth) == (1, 1, 0)
    rig.request(line, rig.handler("uart"), flags=IRQF_SHARED | IRQF_COND_SUSPEND, dev_id="b")
    assert (line.nr_actions, line.no_suspend_depth, line.cond_suspend_depth, rig.said()) == (2, 1, 1, [])
    rig.request(line, rig.handler("disk"), flags=IRQF_SHARED, dev_id="c")
    assert rig.said() == [f"irq {line.irq}: not all sharers ask for NO_SUSPEND or COND_SUSPEND"]
    other, _other_chip = rig.line(handle_edge_irq, IrqSim(also=("retrigger",)))
    rig.request(other, rig.handler("nic"))
    sleep(rig, wake=False)
    # One NO_SUSPEND sharer keeps the whole line on.
    assert (line.suspended, line.depth, other.suspended, other.depth) == (False, 0, True, 1)
    boot(rig.core.free_irq(None, line.irq, "a"))
    assert (line.nr_actions, line.no_suspend_depth, line.cond_suspend_depth) == (2, 0, 1)
    assert chip.taken() == []


@pytest.mark.parametrize(("flags", "chip_flags", "on_suspend"), [(0, 0, []), (0, IRQCHIP_MASK_ON_SUSPEND, ["mask"])])
def test_S1_54_suspended_line_keeps_what_came(flags: int, chip_flags: int, on_suspend: list[str]) -> None:
    rig = Rig()
    desc, chip = rig.line(handle_edge_irq, IrqSim(flags=chip_flags, also=("retrigger",)))
    rig.request(desc, rig.handler(), flags=flags)
    rig.fire_at(3000, desc.irq)
    calls: list[list[str]] = []
    rig.at(2000, lambda: calls.append(chip.taken()))
    rig.at(4000, lambda: calls.append([str(desc.pending), str(desc.depth), *chip.taken()]))
    sleep(rig)
    assert calls == [on_suspend, ["True", "1", "ack"] if chip_flags else ["True", "1", "mask", "ack"]]
    assert (chip.taken(), desc.suspended, desc.depth, desc.replay) == (["unmask", "retrigger"], False, 0, True)


@pytest.mark.parametrize("flow", [handle_edge_irq, handle_level_irq, handle_fasteoi_irq])
def test_S1_54_wake_up_source(flow: object) -> None:
    rig = Rig()
    desc, chip = rig.line(flow, IrqSim(also=("set_wake", "retrigger")))  # type: ignore[arg-type]
    rig.request(desc, rig.handler())
    for _ in range(2):
        boot(rig.core.irq_set_irq_wake(None, desc.irq, True))
    boot(rig.core.irq_set_irq_wake(None, desc.irq, False))
    assert (desc.wake_depth, chip.taken()) == (1, ["set_wake 1"])
    rig.fire_at(3000, desc.irq)
    seen: list[object] = []
    rig.at(2000, lambda: seen.append((desc.wakeup_armed, desc.disabled, rig.core.wakeup_irqs)))
    rig.at(4000, lambda: seen.append((desc.wakeup_armed, desc.disabled, desc.pending, desc.suspended, desc.depth)))
    sleep(rig)
    assert seen[1:] == [(False, True, True, True, 1)]
    assert (seen[0], rig.core.wakeup_irqs) == ((True, False, [desc.irq]), [desc.irq])
    # No handler ran: the interrupt is sent again after the sleep.
    masked = ["eoi"] if flow is handle_fasteoi_irq else ["mask", "ack", "unmask"]
    assert chip.taken() == [*masked, "retrigger"]
    assert (rig.log, desc.depth, desc.handle_irq) == ([(1000, "asleep"), (5000, "awake")], 0, flow)


def test_wake_up_needs_a_chip_that_can() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler())
    with pytest.raises(UsageError) as error:
        boot(rig.core.irq_set_irq_wake(None, desc.irq, True))
    assert (error.value.errno, desc.wake_depth) == (6, 0)
    boot(rig.core.irq_set_irq_wake(None, desc.irq, False))
    assert rig.said() == [f"Unbalanced IRQ {desc.irq} wake disable"]
    able, chip = rig.line(handle_edge_irq, IrqSim(also=("set_wake",)))
    chip.wake_error = -5
    with pytest.raises(UsageError):
        boot(rig.core.irq_set_irq_wake(None, able.irq, True))
    assert able.wake_depth == 0


def test_a_disabled_wake_up_source_is_enabled_while_asleep() -> None:
    rig = Rig()
    desc, _chip = rig.line(handle_edge_irq, IrqSim(flags=IRQCHIP_ENABLE_WAKEUP_ON_SUSPEND, also=("set_wake",)))
    rig.request(desc, rig.handler())
    boot(rig.core.disable_irq(None, desc.irq))
    boot(rig.core.irq_set_irq_wake(None, desc.irq, True))
    seen: list[tuple[int, bool, bool]] = []
    rig.at(2000, lambda: seen.append((desc.depth, desc.disabled, desc.wakeup_armed)))
    sleep(rig)
    assert (seen, desc.depth, desc.disabled, desc.wakeup_armed) == ([(0, False, True)], 1, True, False)


def test_force_resume_and_early_resume() -> None:
    rig = Rig()
    forced, forced_chip = rig.line(handle_edge_irq)
    early, early_chip = rig.line(handle_edge_irq)
    late, _ = rig.line(handle_edge_irq)
    rig.request(forced, rig.handler(), flags=IRQF_NO_SUSPEND | IRQF_FORCE_RESUME)
    rig.request(early, rig.handler(), flags=IRQF_EARLY_RESUME)
    rig.request(late, rig.handler())
    at: list[tuple[bool, bool]] = []
    rig.at(5000, lambda: at.append((early.suspended, late.suspended)))
    sleep(rig, early=True)
    assert (at, early.suspended, late.suspended) == ([(True, True)], False, False)
    assert rig.log == [(1000, "asleep"), (5000, "early"), (5000, "awake")]
    # It was never suspended, and is enabled all the same: the hardware has lost its state.
    assert (forced_chip.taken(), forced.depth, early_chip.taken()) == (["unmask"], 0, [])


def test_suspend_waits_for_the_handler_that_runs() -> None:
    rig = Rig(cpus=2)
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ns=800))
    rig.fire_at(900, desc.irq, cpu=1)
    sleep(rig, wake=False)
    assert rig.log == [(900, "handler on 1"), (1700, "asleep")]


# --- the rest of what a driver can ask


def test_request_any_context_irq() -> None:
    rig = Rig()
    hard, _ = rig.line(handle_level_irq)
    parent, _ = rig.line(handle_level_irq)
    child, _ = rig.line(handle_simple_irq)
    child.nested_thread = True

    async def demux(task: Task, irq: int, dev_id: object) -> int:
        await handle_nested_irq(task, child)
        return IRQ_HANDLED

    async def handler(context: Task | Cpu, irq: int, dev_id: object) -> int:
        rig.note("Task" if isinstance(context, Task) else "Cpu")
        return IRQ_HANDLED

    rig.request(parent, None, demux, IRQF_ONESHOT)
    kinds = [boot(rig.core.request_any_context_irq(None, desc.irq, handler, 0, "any")) for desc in (hard, child)]
    assert kinds == [IRQC_IS_HARDIRQ, IRQC_IS_NESTED]
    rig.fire_at(1000, hard.irq)
    rig.fire_at(2000, parent.irq)
    rig.play(5000)
    assert rig.log == [(1000, "Cpu"), (2000, "Task")]


def test_device_irqs_are_released_last_first() -> None:
    rig = Rig()
    lines = [rig.line(handle_level_irq, IrqSim(also=("shutdown",)))[0] for _ in range(3)]
    device = DeviceIrqs(rig.core, "card")

    async def main(task: Task) -> None:
        for desc in lines:
            await device.request_irq(task, desc.irq, rig.handler(), 0, "", desc)
        assert [desc.action.name if desc.action is not None else "" for desc in lines] == ["card"] * 3
        await device.free_irq(task, lines[1].irq, lines[1])
        with pytest.raises(UsageError) as error:
            await device.free_irq(task, lines[1].irq, lines[1])
        assert error.value.errno == 2
        with pytest.raises(UsageError):
            await device.request_irq(task, lines[0].irq, rig.handler())
        for desc in lines:
            assert isinstance(desc.chip, IrqSim)
            desc.chip.calls.clear()
        await device.release_all(task)
        await device.release_all(task)

    rig.start(main, "main")
    rig.play(5000)
    assert [desc.action for desc in lines] == [None] * 3


@pytest.mark.parametrize("debug_shirq", [False, True])
def test_debug_shirq(debug_shirq: bool) -> None:
    rig = Rig(kernel=preset("linux-6.12", debug_shirq=debug_shirq))
    desc, _ = rig.line(handle_level_irq)

    async def main(task: Task) -> None:
        await rig.core.request_irq(task, desc.irq, rig.handler("shared", IRQ_NONE), IRQF_SHARED, "a", "a")
        rig.note("requested")
        await rig.core.free_irq(task, desc.irq, "a")
        rig.note("freed")

    rig.start(main, "main")
    rig.play(5000)
    extra = ["shared on 0"] if debug_shirq else []
    assert [text for _, text in rig.log] == [*extra, "requested", *extra, "freed"]


def test_disable_hardirq_does_not_wait_for_threads() -> None:
    rig = Rig(cpus=2)
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ret=2, ns=500), rig.thread_fn(ns=5000), IRQF_ONESHOT)

    async def main(task: Task) -> None:
        await task.spend(1100)
        rig.note(f"quiet {await rig.core.disable_hardirq(task, desc.irq)}")

    rig.start(main, "main", cpu=1)
    rig.fire_at(1000, desc.irq)
    rig.play(20_000)
    assert rig.log == [(1000, "handler on 0"), (1500, "quiet False"), (1500, "thread on 0"), (6500, "thread ends")]


def test_irqchip_state() -> None:
    rig = Rig()
    plain, _ = rig.line(handle_edge_irq)
    desc, chip = rig.line(handle_edge_irq, IrqSim(also=("get_state", "set_state")))
    cpu = rig.cpus[0]
    assert not rig.core.irq_get_irqchip_state(cpu, desc.irq, IRQCHIP_STATE_PENDING)
    boot(rig.core.irq_set_irqchip_state(None, desc.irq, IRQCHIP_STATE_PENDING, True))
    assert (rig.core.irq_get_irqchip_state(cpu, desc.irq, IRQCHIP_STATE_PENDING), chip.states) == (True, {(desc.irq, 0): True})
    with pytest.raises(UsageError) as error:
        rig.core.irq_get_irqchip_state(cpu, plain.irq, IRQCHIP_STATE_ACTIVE)
    assert error.value.errno == 22
    with pytest.raises(UsageError) as error:
        boot(rig.core.irq_set_irqchip_state(None, plain.irq, IRQCHIP_STATE_ACTIVE, True))
    assert error.value.errno == 22
    # A wire's controller knows what is in service, wherever it stands in the hierarchy.
    wired = Chips()
    irq, line = wired.pin(3, level=True)
    active: list[bool] = []

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        active.append(wired.core.irq_get_irqchip_state(cpu, irq, IRQCHIP_STATE_ACTIVE))
        line.set(False)
        return IRQ_HANDLED

    wired.request(wired.core.desc(irq), handler)
    wired.at(1000, lambda: line.set(True))
    wired.play(5000)
    assert (active, wired.core.irq_get_irqchip_state(wired.cpus[0], irq, IRQCHIP_STATE_ACTIVE)) == ([True], False)


def test_edge_eoi_flow() -> None:
    rig = Rig(cpus=2)
    desc, chip = rig.line(handle_edge_eoi_irq)
    rig.request(desc, rig.handler(ns=500))
    for when in (1000, 1100, 1200):
        rig.fire_at(when, desc.irq, cpu=int(when > 1000))
    rig.play(5000)
    assert (rig.log, chip.taken()) == ([(1000, "handler on 0"), (1500, "handler on 0")], ["eoi"] * 3)
    boot(rig.core.disable_irq(None, desc.irq))
    rig.fire_at(6000, desc.irq)
    rig.play(7000)
    assert (chip.taken(), desc.pending) == (["eoi"], True)
